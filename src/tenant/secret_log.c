/*
 * secret_log.c
 *		Keeps statements that set a secret out of the server log.
 *
 * With log_statement, log_min_duration_statement or auto_explain the server
 * prints the statements it is sent, and with an error the statement that met
 * it. One that calls set_secret has the secret in its text or parameters; its
 * line is cut there. Needs the library to be loaded before the statement comes:
 * by shared_preload_libraries, or by any earlier call in the session.
 */
#include "artery.h"

#include "lib/stringinfo.h"
#include "tcop/tcopprot.h"
#include "utils/elog.h"

#include "tenant/secret_log.h"

#define DOOR "set_secret"

static emit_log_hook_type previous_hook = NULL;

/* Where the text calls set_secret, in whatever case; NULL if it does not. */
static char *
find_door(char *text)
{
	size_t		length = strlen(DOOR);
	char	   *place;

	if (text == NULL)
		return NULL;
	for (place = text; *place != '\0'; place++)
	{
		if (pg_strncasecmp(place, DOOR, length) == 0)
			return place + length;
	}
	return NULL;
}

/* The text up to the call. */
static char *
cut(char *text, const char *door)
{
	return psprintf("%.*s(...)", (int) (door - text), text);
}

static void
redact(ErrorData *error)
{
	char	   *door = find_door(error->message);

	if (error->elevel <= LOG_SERVER_ONLY && door != NULL)
	{
		error->message = cut(error->message, door);
		error->detail = error->detail_log = NULL;	/* parameters */
	}
	else if (find_door(error->detail) != NULL)
		error->detail = NULL;	/* the statement behind EXECUTE */
	door = find_door(error->context);
	if (door != NULL)
		error->context = cut(error->context, door);
	if (find_door((char *) debug_query_string) != NULL)
		error->hide_stmt = true;
	if (find_door(error->internalquery) != NULL)
		error->internalquery = NULL;
	if (previous_hook != NULL)
		previous_hook(error);
}

void
artery_secret_log_init(void)
{
	previous_hook = emit_log_hook;
	emit_log_hook = redact;
}
