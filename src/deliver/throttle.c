/*
 * throttle.c
 *		Who has to be left alone for a while.
 *
 * A wait is known by whatever ends it: a token by its fingerprint, so that a new
 * one is tried at once; the address and version of the API for what only other
 * settings can cure. What concerns an app or the settings belongs to no tenant
 * and has an empty tenant_id.
 */
#include "artery.h"

#include <math.h>
#include <openssl/sha.h>

#include "catalog/pg_type.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "deliver/meta.h"
#include "deliver/throttle.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/guc.h"

#define CONFIGURATION_WAIT 900	/* seconds; what is outside our settings may get cured, too */
#define FULL_WAIT 300			/* a full quota that does not say when it is free again */
#define SLOW_PERCENT 75.0
#define SLOW_LASTS 600			/* how long what a header said counts */
#define FIRST_GAP 0.5			/* seconds between changes at SLOW_PERCENT, doubling every 5 percent */
#define GAP_DOUBLES 5.0
#define WRITE_AGAIN (30 * USECS_PER_SEC)	/* an unchanged usage is not written more often */
#define FOREVER INFINITY
#define FINGERPRINT_BYTES 8

/* Scope and reason of a wait. */
typedef enum ThrottleKind
{
	THROTTLE_APP,
	THROTTLE_ACCOUNT,
	THROTTLE_APP_INSIGHTS,
	THROTTLE_ACCOUNT_INSIGHTS,
	THROTTLE_OBJECT,
	THROTTLE_TOKEN,
	THROTTLE_HUMAN,				/* the account, until a person has cleared it */
	THROTTLE_SETTINGS,
	THROTTLE_APP_USAGE,			/* these two hold nothing back: they space changes out */
	THROTTLE_ACCOUNT_USAGE
} ThrottleKind;

static const struct
{
	const char *scope;
	const char *reason;
}			kinds[] = {
	{"app", "app_throttle"}, {"account", "account_throttle"}, {"app", "insights_throttle"},
	{"account", "insights_throttle"}, {"object", "object_throttle"}, {"token", "token"},
	{"account", "account_stopped"}, {"configuration", "configuration"}, {"app", "usage"}, {"account", "usage"}
};

typedef struct Throttle
{
	const char *tenant_id;
	const char *scope;
	const char *scope_id;
	const char *reason;
	TimestampTz until;
	TimestampTz written_at;
	double		usage_percent;
} Throttle;

/* When a quota that fills lets the next change begin. */
typedef struct Pace
{
	char	   *key;
	TimestampTz next_at;
} Pace;

static ArteryStatement select_throttles = {
	"SELECT t.tenant_id, t.scope, t.scope_id, t.reason, t.until, t.usage_percent FROM artery.throttle t",
	0, {0}, NULL
};
static ArteryStatement note_throttle = {
	"SELECT artery.note_throttle($1, $2, $3, $4, $5, $6, $7, $8, $9)",
	9, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, FLOAT8OID, INT8OID, INT8OID, FLOAT8OID, TEXTOID}, NULL
};
/* Locked, so that whoever brings another token waits for us, or we see the other one. */
static ArteryStatement lock_token = {
	"SELECT FROM artery.tenant_secret s "
	" WHERE s.tenant_id = $1 AND s.name = 'meta_access_token' AND s.value = $2 FOR SHARE",
	2, {TEXTOID, TEXTOID}, NULL
};
static ArteryStatement lock_throttle = {
	"SELECT FROM artery.throttle t WHERE t.tenant_id = $1 AND t.reason = $2 AND t.until = 'infinity' LIMIT 1 FOR SHARE",
	2, {TEXTOID, TEXTOID}, NULL
};
static ArteryStatement end_throttle = {
	"SELECT artery.end_throttle($1, $2, $3, $4)", 4, {TEXTOID, TEXTOID, TEXTOID, TEXTOID}, NULL
};
static ArteryStatement adopt_configuration = {
	"SELECT artery.adopt_configuration($1)", 1, {TEXTOID}, NULL
};

static MemoryContext context = NULL;	/* of the list */
static List *throttles = NIL;
static List *paces = NIL;

static void learn_from_verdict(const ThrottleSubject *subject, const GraphVerdict *verdict);
static void learn_from_usage(const ThrottleSubject *subject, const HttpAnswer *answer, const char *use_case);
static void learn(ThrottleKind kind, const ThrottleSubject *subject, double wait_seconds, const GraphVerdict *verdict,
				  double usage_percent);
static bool is_current_token(const ThrottleSubject *subject);
static void forget_past(const ThrottleSubject *subject);
static bool names_kind(ThrottleKind kind, const ThrottleSubject *subject, Throttle *name);
static Throttle *find(const Throttle *name);
static void remember(const Throttle *throttle);
static const char *settings_key(void);
static char *fingerprint(const char *token);
static Pace *find_pace(const Throttle *throttle);

void
artery_throttle_note(const ThrottleSubject *subject, const HttpAnswer *answer, const GraphVerdict *verdict)
{
	MemoryContext before = CurrentMemoryContext;

	if (verdict->class == GRAPH_OK)
		forget_past(subject);
	learn_from_verdict(subject, verdict);
	learn_from_usage(subject, answer, USE_CASE_MANAGEMENT);
	learn_from_usage(subject, answer, USE_CASE_INSIGHTS);
	MemoryContextSwitchTo(before);	/* a transaction ends in another one */
}

static void
learn_from_verdict(const ThrottleSubject *subject, const GraphVerdict *verdict)
{
	bool		is_app = verdict->scope == SCOPE_APP;
	bool		is_insights = artery_graph_refuses_insights(verdict);

	switch (verdict->class)
	{
		case GRAPH_THROTTLE:
			if (is_insights)
				learn(is_app ? THROTTLE_APP_INSIGHTS : THROTTLE_ACCOUNT_INSIGHTS, subject, verdict->wait_seconds,
					  verdict, 0);
			else
				learn(is_app ? THROTTLE_APP : THROTTLE_ACCOUNT, subject, verdict->wait_seconds, verdict, 0);
			break;
		case GRAPH_THROTTLE_OBJECT:
			if (subject->object_id != NULL)
				learn(THROTTLE_OBJECT, subject, verdict->wait_seconds, verdict, 0);
			break;
		case GRAPH_TOKEN:
			learn(THROTTLE_TOKEN, subject, FOREVER, verdict, 0);
			break;
		case GRAPH_HUMAN:
			learn(THROTTLE_HUMAN, subject, FOREVER, verdict, 0);
			break;
		case GRAPH_CONFIG:
			learn(THROTTLE_SETTINGS, subject, CONFIGURATION_WAIT, verdict, 0);
			break;
		default:
			break;
	}
}

/* A quota shows how full it is before it refuses. */
static void
learn_from_usage(const ThrottleSubject *subject, const HttpAnswer *answer, const char *use_case)
{
	GraphUsage	usage = artery_graph_usage(answer->headers, subject->account_id, use_case);
	bool		is_app = usage.pause_scope == SCOPE_APP;
	bool		is_insights = strcmp(use_case, USE_CASE_INSIGHTS) == 0;

	if (usage.pause_seconds > 0 || usage.max_percent >= 100)
	{
		double		wait = usage.pause_seconds > 0 ? usage.pause_seconds : FULL_WAIT;

		if (is_insights)
			learn(is_app ? THROTTLE_APP_INSIGHTS : THROTTLE_ACCOUNT_INSIGHTS, subject, wait, NULL, usage.max_percent);
		else
			learn(is_app ? THROTTLE_APP : THROTTLE_ACCOUNT, subject, wait, NULL, usage.max_percent);
	}
	else if (usage.max_percent >= SLOW_PERCENT && !is_insights)
		learn(is_app ? THROTTLE_APP_USAGE : THROTTLE_ACCOUNT_USAGE, subject, SLOW_LASTS, NULL, usage.max_percent);
}

static void
put_text(Datum *values, char *nulls, int i, const char *text)
{
	if (text != NULL)
		values[i] = CStringGetTextDatum(text);
	else
		nulls[i] = 'n';
}

/* Keep a wait in memory and in the table; what the table says of its end counts. */
static void
learn(ThrottleKind kind, const ThrottleSubject *subject, double wait_seconds, const GraphVerdict *verdict,
	  double usage_percent)
{
	MetaCredentials credentials = {(char *) subject->token, NULL};
	ArteryScope scope;
	Throttle	fresh;
	Throttle   *known;
	Datum		values[9];
	char		nulls[] = "         ";
	bool		has_error = verdict != NULL && verdict->has_error;
	MemoryContext before = CurrentMemoryContext;

	if (!names_kind(kind, subject, &fresh))
		return;
	known = find(&fresh);
	fresh.written_at = artery_clock_moment();
	fresh.usage_percent = usage_percent;
	if (verdict == NULL && known != NULL && known->until > fresh.written_at &&
		known->written_at > fresh.written_at - WRITE_AGAIN && fabs(known->usage_percent - usage_percent) < 1)
		return;
	fresh.until = isinf(wait_seconds) ? DT_NOEND :
		fresh.written_at + (int64) (wait_seconds * USECS_PER_SEC);
	remember(&fresh);			/* whatever becomes of the table */

	put_text(values, nulls, 0, fresh.tenant_id);
	put_text(values, nulls, 1, fresh.scope);
	put_text(values, nulls, 2, fresh.scope_id);
	put_text(values, nulls, 3, fresh.reason);
	values[4] = Float8GetDatum(wait_seconds);
	values[5] = Int64GetDatum(has_error ? verdict->code : 0);
	nulls[5] = has_error ? ' ' : 'n';
	values[6] = Int64GetDatum(has_error ? verdict->subcode : 0);
	nulls[6] = has_error && verdict->subcode != 0 ? ' ' : 'n';
	values[7] = Float8GetDatum(usage_percent);
	nulls[7] = usage_percent > 0 ? ' ' : 'n';
	put_text(values, nulls, 8, has_error && verdict->message != NULL ?
			 artery_meta_redact(verdict->message, &credentials) : NULL);
	artery_transaction_begin(&scope, "artery: noting whom to leave alone");
	if (isinf(wait_seconds) && !is_current_token(subject))
		fresh.until = fresh.written_at; /* the next try has another token */
	else if (artery_execute(&note_throttle, values, nulls, false, 0) == 1)
		fresh.until = artery_field_time(0, 1);
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(before);
	remember(&fresh);
}

static bool
is_current_token(const ThrottleSubject *subject)
{
	Datum		values[2];

	values[0] = CStringGetTextDatum(subject->tenant_id);
	values[1] = CStringGetTextDatum(subject->token);
	return artery_execute(&lock_token, values, NULL, false, 0) == 1;
}

bool
artery_throttle_stands(const char *tenant_id, const char *rule)
{
	Datum		values[2];

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(rule);
	return artery_execute(&lock_throttle, values, NULL, false, 0) == 1;
}

/* Meta answers again: what is over must not double the next wait, and its alert is settled. */
static void
forget_past(const ThrottleSubject *subject)
{
	TimestampTz moment = artery_clock_moment();
	int			kind;

	for (kind = 0; kind < (int) lengthof(kinds) && throttles != NIL; kind++)
	{
		MemoryContext before = CurrentMemoryContext;
		ArteryScope scope;
		Throttle	name;
		Throttle   *known = names_kind((ThrottleKind) kind, subject, &name) ? find(&name) : NULL;
		Datum		values[4];

		/* that an object can be read says nothing of writing it, nor any answer of reports */
		if (known == NULL || known->until > moment || kind == THROTTLE_OBJECT ||
			kind == THROTTLE_APP_INSIGHTS || kind == THROTTLE_ACCOUNT_INSIGHTS)
			continue;
		throttles = list_delete_ptr(throttles, known);
		values[0] = CStringGetTextDatum(name.tenant_id);
		values[1] = CStringGetTextDatum(name.scope);
		values[2] = CStringGetTextDatum(name.scope_id);
		values[3] = CStringGetTextDatum(name.reason);
		artery_transaction_begin(&scope, "artery: a wait is over");
		(void) artery_execute(&end_throttle, values, NULL, false, 0);
		artery_transaction_commit(&scope);
		MemoryContextSwitchTo(before);
	}
}

bool
artery_throttle_applies(const ThrottleSubject *subject, TimestampTz *until, const char **rule)
{
	int			kind;

	*until = artery_clock_moment();
	*rule = NULL;
	for (kind = 0; kind < THROTTLE_APP_USAGE && throttles != NIL; kind++)
	{
		bool		is_insights = kind == THROTTLE_APP_INSIGHTS || kind == THROTTLE_ACCOUNT_INSIGHTS;
		Throttle	name;
		const Throttle *known;

		if ((is_insights && !subject->insights) || !names_kind((ThrottleKind) kind, subject, &name))
			continue;
		known = find(&name);
		if (known == NULL || known->until <= *until)
			continue;
		*until = known->until;
		*rule = kinds[kind].reason;
	}
	return *rule != NULL;
}

/* What a wait of this kind is called for this subject; false if it cannot concern it. */
static bool
names_kind(ThrottleKind kind, const ThrottleSubject *subject, Throttle *name)
{
	memset(name, 0, sizeof(*name));
	name->tenant_id = subject->tenant_id;
	name->scope = kinds[kind].scope;
	name->reason = kinds[kind].reason;
	name->scope_id = "";
	switch (kind)
	{
		case THROTTLE_APP:
		case THROTTLE_APP_INSIGHTS:
		case THROTTLE_APP_USAGE:
			/* where the app is not known, the tenant stands for it */
			if (subject->app_id != NULL)
			{
				name->tenant_id = "";
				name->scope_id = subject->app_id;
			}
			return true;
		case THROTTLE_ACCOUNT:
		case THROTTLE_ACCOUNT_INSIGHTS:
		case THROTTLE_ACCOUNT_USAGE:
		case THROTTLE_HUMAN:
			if (subject->account_id != NULL)
				name->scope_id = subject->account_id;
			return true;
		case THROTTLE_OBJECT:
			name->scope_id = subject->object_id;
			return subject->object_id != NULL;
		case THROTTLE_TOKEN:
			if (subject->token != NULL)
				name->scope_id = fingerprint(subject->token);
			return subject->token != NULL;
		default:
			name->tenant_id = "";
			name->scope_id = settings_key();
			return true;
	}
}

static Throttle *
find(const Throttle *name)
{
	ListCell   *cell;

	foreach(cell, throttles)
	{
		Throttle   *known = lfirst(cell);

		if (strcmp(known->reason, name->reason) == 0 && strcmp(known->scope, name->scope) == 0 &&
			strcmp(known->scope_id, name->scope_id) == 0 && strcmp(known->tenant_id, name->tenant_id) == 0)
			return known;
	}
	return NULL;
}

static void
remember(const Throttle *throttle)
{
	Throttle   *known = find(throttle);
	MemoryContext before;

	if (known != NULL)
	{
		known->until = throttle->until;
		known->written_at = throttle->written_at;
		known->usage_percent = throttle->usage_percent;
		return;
	}
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "artery throttles", ALLOCSET_SMALL_SIZES);
	before = MemoryContextSwitchTo(context);
	known = palloc(sizeof(Throttle));
	*known = *throttle;
	known->tenant_id = pstrdup(throttle->tenant_id);
	known->scope = pstrdup(throttle->scope);
	known->scope_id = pstrdup(throttle->scope_id);
	known->reason = pstrdup(throttle->reason);
	throttles = lappend(throttles, known);
	MemoryContextSwitchTo(before);
}

void
artery_throttle_load(void)
{
	static char adopted[512] = "";	/* settings worked with so far */
	const char *key = settings_key();
	TimestampTz moment = artery_clock_moment();
	uint64		rows;
	uint64		i;

	if (strncmp(adopted, key, sizeof(adopted) - 1) != 0)
	{
		Datum		value = CStringGetTextDatum(key);

		(void) artery_execute(&adopt_configuration, &value, NULL, false, 0);
		strlcpy(adopted, key, sizeof(adopted));
	}
	throttles = NIL;
	if (context != NULL)
		MemoryContextReset(context);
	rows = artery_execute(&select_throttles, NULL, NULL, false, 0);
	for (i = 0; i < rows; i++)
	{
		Throttle	read = {
			artery_field_text(i, 1), artery_field_text(i, 2), artery_field_text(i, 3), artery_field_text(i, 4),
			artery_field_time(i, 5), moment, artery_field_double(i, 6)
		};

		remember(&read);
	}
}

/* Address and version of the API. */
static const char *
settings_key(void)
{
	static char key[512];

	snprintf(key, sizeof(key), "%s/%s", artery_settings.meta_base_url, artery_settings.meta_api_version);
	return key;
}

/* Enough of the SHA-256 of a token to tell it from another, and no more. */
static char *
fingerprint(const char *token)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	char	   *text = palloc(FINGERPRINT_BYTES * 2 + 1);

	SHA256((const unsigned char *) token, strlen(token), digest);
	text[hex_encode((const char *) digest, FINGERPRINT_BYTES, text)] = '\0';
	return text;
}

/* The usage of the tenant's app or account that slows it, if any. */
static const Throttle *
slowing(const ArteryTenant *tenant, ThrottleKind kind, TimestampTz moment)
{
	ThrottleSubject subject = {.tenant_id = tenant->tenant_id,.account_id = tenant->settings.meta_ad_account_id,
		.app_id = tenant->settings.meta_app_id
	};
	Throttle	name;
	const Throttle *known;

	(void) names_kind(kind, &subject, &name);
	known = find(&name);
	return known != NULL && known->until > moment ? known : NULL;
}

TimestampTz
artery_throttle_next(const ArteryTenant *tenant, bool *slowed)
{
	TimestampTz moment = artery_clock_moment();
	TimestampTz next = DT_NOBEGIN;
	int			kind;

	*slowed = false;
	for (kind = THROTTLE_APP_USAGE; kind <= THROTTLE_ACCOUNT_USAGE && throttles != NIL; kind++)
	{
		const Throttle *known = slowing(tenant, (ThrottleKind) kind, moment);

		if (known == NULL)
			continue;
		*slowed = true;
		next = Max(next, find_pace(known)->next_at);
	}
	return next;
}

void
artery_throttle_begun(const ArteryTenant *tenant, TimestampTz moment)
{
	int			kind;

	for (kind = THROTTLE_APP_USAGE; kind <= THROTTLE_ACCOUNT_USAGE && throttles != NIL; kind++)
	{
		const Throttle *known = slowing(tenant, (ThrottleKind) kind, moment);

		if (known != NULL)
			find_pace(known)->next_at = moment +
				(int64) (FIRST_GAP * USECS_PER_SEC * pow(2, (known->usage_percent - SLOW_PERCENT) / GAP_DOUBLES));
	}
}

static Pace *
find_pace(const Throttle *throttle)
{
	char	   *key = psprintf("%s %s %s", throttle->scope, throttle->tenant_id, throttle->scope_id);
	MemoryContext before;
	ListCell   *cell;
	Pace	   *pace;

	foreach(cell, paces)
	{
		pace = lfirst(cell);
		if (strcmp(pace->key, key) == 0)
			return pace;
	}
	before = MemoryContextSwitchTo(TopMemoryContext);
	pace = palloc(sizeof(Pace));
	pace->key = pstrdup(key);
	pace->next_at = DT_NOBEGIN;
	paces = lappend(paces, pace);
	MemoryContextSwitchTo(before);
	return pace;
}
