/*
 * pause.c
 *		Who has to be left alone for a while.
 *
 * A pause is known by a key that holds everything whose change ends it: a token
 * by its hash, so that a new token is tried at once; the address and version of
 * the API for what only other settings can cure.
 */
#include "artery.h"

#include "common/hashfn.h"
#include "nodes/pg_list.h"
#include "utils/memutils.h"

#include "deliver/pause.h"
#include "runtime/clock.h"
#include "runtime/guc.h"

#define KEY_LENGTH (ARTERY_MAX_ID + 64)
#define TOKEN_PAUSE 3600		/* seconds */
#define HUMAN_PAUSE 86400
#define CONFIG_PAUSE 900

typedef struct Pause
{
	char		key[KEY_LENGTH];
	TimestampTz until;
} Pause;

static List *pauses = NIL;

/* What a pause is for. */
typedef enum PauseKind
{
	PAUSE_APP,
	PAUSE_ACCOUNT,
	PAUSE_TOKEN,
	PAUSE_HUMAN,				/* the account, until a person has cleared it and set a new token, or a day */
	PAUSE_SETTINGS
} PauseKind;

#define PAUSE_KINDS (PAUSE_SETTINGS + 1)

static const char *const rules[PAUSE_KINDS] = {
	"app_throttle", "account_throttle", "token", "account_stopped", "configuration"
};

static void make_key(char *key, PauseKind kind, const PauseSubject *subject);
static void pause_for(PauseKind kind, const PauseSubject *subject, int64 seconds);
static void drop_past(TimestampTz now);

void
artery_pause_note(const PauseSubject *subject, const HttpAnswer *answer, const GraphVerdict *verdict)
{
	GraphUsage	usage = artery_graph_usage(answer->headers);

	drop_past(artery_clock_moment());
	switch (verdict->class)
	{
		case GRAPH_THROTTLE:
			pause_for(verdict->scope == SCOPE_APP ? PAUSE_APP : PAUSE_ACCOUNT, subject, verdict->wait_seconds);
			break;
		case GRAPH_TOKEN:
			pause_for(PAUSE_TOKEN, subject, TOKEN_PAUSE);
			break;
		case GRAPH_HUMAN:
			pause_for(PAUSE_HUMAN, subject, HUMAN_PAUSE);
			break;
		case GRAPH_CONFIG:
			pause_for(PAUSE_SETTINGS, subject, CONFIG_PAUSE);
			break;
		default:
			break;
	}
	/* A full quota shows before it is refused; reports have a quota of their own. */
	if (usage.pause_seconds > 0 && (usage.pause_type == NULL || strcmp(usage.pause_type, "ads_management") == 0) &&
		(usage.pause_account == NULL || subject->account_id == NULL ||
		 strcmp(usage.pause_account, subject->account_id) == 0))
		pause_for(usage.pause_scope == SCOPE_APP ? PAUSE_APP : PAUSE_ACCOUNT, subject, usage.pause_seconds);
}

bool
artery_pause_applies(const PauseSubject *subject, TimestampTz *until, const char **rule)
{
	ListCell   *cell;
	int			kind;

	*until = artery_clock_moment();
	*rule = NULL;
	for (kind = 0; kind < PAUSE_KINDS; kind++)
	{
		char		key[KEY_LENGTH];

		make_key(key, (PauseKind) kind, subject);
		foreach(cell, pauses)
		{
			Pause	   *pause = lfirst(cell);

			if (pause->until > *until && strcmp(pause->key, key) == 0)
			{
				*until = pause->until;
				*rule = rules[kind];
			}
		}
	}
	return *rule != NULL;
}

/* Where an app or account is not known, the tenant stands for it. */
static void
make_key(char *key, PauseKind kind, const PauseSubject *subject)
{
	uint32		hash = DatumGetUInt32(hash_any((const unsigned char *) subject->token, strlen(subject->token)));

	switch (kind)
	{
		case PAUSE_APP:
			if (subject->app_id != NULL)
				snprintf(key, KEY_LENGTH, "app %s", subject->app_id);
			else
				snprintf(key, KEY_LENGTH, "app of %s", subject->tenant_id);
			break;
		case PAUSE_ACCOUNT:
			if (subject->account_id != NULL)
				snprintf(key, KEY_LENGTH, "account %s", subject->account_id);
			else
				snprintf(key, KEY_LENGTH, "account of %s", subject->tenant_id);
			break;
		case PAUSE_TOKEN:
			snprintf(key, KEY_LENGTH, "token %08x %s", hash, subject->tenant_id);
			break;
		case PAUSE_HUMAN:
			snprintf(key, KEY_LENGTH, "stopped %08x %s", hash, subject->tenant_id);
			break;
		case PAUSE_SETTINGS:
			snprintf(key, KEY_LENGTH, "settings %s %s", artery_settings.meta_base_url,
					 artery_settings.meta_api_version);
			break;
	}
}

static void
pause_for(PauseKind kind, const PauseSubject *subject, int64 seconds)
{
	TimestampTz until = artery_clock_moment() + seconds * USECS_PER_SEC;
	char		key[KEY_LENGTH];
	MemoryContext before;
	ListCell   *cell;
	Pause	   *pause;

	make_key(key, kind, subject);
	foreach(cell, pauses)
	{
		pause = lfirst(cell);
		if (strcmp(pause->key, key) == 0)
		{
			pause->until = Max(pause->until, until);
			return;
		}
	}
	before = MemoryContextSwitchTo(TopMemoryContext);
	pause = palloc0(sizeof(Pause));
	strlcpy(pause->key, key, sizeof(pause->key));
	pause->until = until;
	pauses = lappend(pauses, pause);
	MemoryContextSwitchTo(before);
}

static void
drop_past(TimestampTz now)
{
	ListCell   *cell;

	foreach(cell, pauses)
	{
		Pause	   *pause = lfirst(cell);

		if (pause->until > now)
			continue;
		pauses = foreach_delete_current(pauses, cell);
		pfree(pause);
	}
}
