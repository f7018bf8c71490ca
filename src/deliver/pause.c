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
	const char *rule;			/* a constant */
	TimestampTz until;
} Pause;

static List *pauses = NIL;

static void make_key(char *key, GraphScope scope, const ChangeClaim *claim, const char *token);
static void pause_until(const char *key, const char *rule, TimestampTz until);
static void drop_past(TimestampTz now);

void
artery_pause_note(const ChangeClaim *claim, const char *token, const HttpAnswer *answer, const GraphVerdict *verdict)
{
	TimestampTz now = artery_clock_moment();
	GraphUsage	usage = artery_graph_usage(answer->headers);
	char		key[KEY_LENGTH];

	drop_past(now);
	make_key(key, verdict->scope, claim, token);
	switch (verdict->class)
	{
		case GRAPH_THROTTLE:
			pause_until(key, verdict->scope == SCOPE_APP ? "app_throttle" : "account_throttle",
						now + verdict->wait_seconds * USECS_PER_SEC);
			break;
		case GRAPH_TOKEN:
			pause_until(key, "token", now + TOKEN_PAUSE * USECS_PER_SEC);
			break;
		case GRAPH_HUMAN:
			pause_until(key, "account_stopped", now + (int64) HUMAN_PAUSE * USECS_PER_SEC);
			break;
		case GRAPH_CONFIG:
			snprintf(key, sizeof(key), "settings %s %s", artery_settings.meta_base_url,
					 artery_settings.meta_api_version);
			pause_until(key, "configuration", now + CONFIG_PAUSE * USECS_PER_SEC);
			break;
		default:
			break;
	}
	/* A full quota shows before it is refused; reports have a quota of their own. */
	if (usage.pause_seconds > 0 && (usage.pause_type == NULL || strcmp(usage.pause_type, "ads_management") == 0) &&
		(usage.pause_account == NULL || claim->account_id == NULL ||
		 strcmp(usage.pause_account, claim->account_id) == 0))
	{
		make_key(key, usage.pause_scope, claim, token);
		pause_until(key, usage.pause_scope == SCOPE_APP ? "app_throttle" : "account_throttle",
					now + usage.pause_seconds * USECS_PER_SEC);
	}
}

bool
artery_pause_applies(const ChangeClaim *claim, const char *token, TimestampTz *until, const char **rule)
{
	static const GraphScope scopes[] = {SCOPE_ACCOUNT, SCOPE_TENANT, SCOPE_APP};
	char		keys[lengthof(scopes) + 1][KEY_LENGTH];
	ListCell   *cell;
	int			i;

	for (i = 0; i < (int) lengthof(scopes); i++)
		make_key(keys[i], scopes[i], claim, token);
	snprintf(keys[lengthof(scopes)], KEY_LENGTH, "settings %s %s", artery_settings.meta_base_url,
			 artery_settings.meta_api_version);

	*until = artery_clock_moment();
	*rule = NULL;
	foreach(cell, pauses)
	{
		Pause	   *pause = lfirst(cell);

		for (i = 0; i < (int) lengthof(keys); i++)
		{
			if (pause->until > *until && strcmp(pause->key, keys[i]) == 0)
			{
				*until = pause->until;
				*rule = pause->rule;
			}
		}
	}
	return *rule != NULL;
}

/* Without an account's id the tenant stands for it; the app is known by the address of the API only. */
static void
make_key(char *key, GraphScope scope, const ChangeClaim *claim, const char *token)
{
	uint32		hash = hash_bytes((const unsigned char *) token, strlen(token));

	if (scope == SCOPE_TENANT)
		snprintf(key, KEY_LENGTH, "token %08x %s", hash, claim->tenant_id);
	else if (scope == SCOPE_APP)
		snprintf(key, KEY_LENGTH, "app");
	else if (claim->account_id != NULL)
		snprintf(key, KEY_LENGTH, "account %s", claim->account_id);
	else
		snprintf(key, KEY_LENGTH, "tenant %s", claim->tenant_id);
}

static void
pause_until(const char *key, const char *rule, TimestampTz until)
{
	MemoryContext before;
	ListCell   *cell;
	Pause	   *pause;

	foreach(cell, pauses)
	{
		pause = lfirst(cell);
		if (strcmp(pause->key, key) == 0)
		{
			if (until > pause->until)
			{
				pause->until = until;
				pause->rule = rule;
			}
			return;
		}
	}
	before = MemoryContextSwitchTo(TopMemoryContext);
	pause = palloc0(sizeof(Pause));
	strlcpy(pause->key, key, sizeof(pause->key));
	pause->rule = rule;
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
