/*
 * aside.c
 *		Changes that cannot be claimed, set aside so that the others go on.
 *
 * A trigger of a user's on artery.ad_change may refuse a row, and then refuses it
 * in every claim. Such a row may refuse to be marked, too, so what is set aside
 * is known in the worker's memory; a worker that is new finds out by itself.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "deliver/aside.h"
#include "runtime/dbtx.h"
#include "runtime/worker.h"

#define FIRST_DELAY (2 * USECS_PER_SEC)
#define LONGEST_DELAY (10 * USECS_PER_MINUTE)
#define FORGET_AFTER USECS_PER_HOUR /* it was not due any more: cancelled, say */
#define MANY 100				/* of one tenant: then all of it is set aside */
#define KIND "unclaimable"

typedef struct Aside
{
	char	   *tenant_id;
	char	   *change_id;		/* "": the tenant as a whole */
	const char *error;			/* only while it is being told */
	TimestampTz until;
	int64		delay;
	bool		shown;			/* run_at holds it back, and whoever changes that is obeyed */
} Aside;

static ArteryStatement postpone = {
	"UPDATE artery.ad_change c SET run_at = $3, last_error = $4 "
	" WHERE c.tenant_id = $1 AND c.change_id = $2::pg_catalog.uuid AND c.state = ANY (ARRAY['approved', 'blocked', 'unknown'])",
	4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID}, NULL
};
static ArteryStatement raise_alert = {
	"SELECT artery.raise_alert($1, '" KIND "', $2, $3)", 3, {TEXTOID, TEXTOID, TEXTOID}, NULL
};
static ArteryStatement clear_alert = {
	"SELECT artery.clear_alert($1, '" KIND "', $2)", 2, {TEXTOID, TEXTOID}, NULL
};
/* Once in a worker's life: what an earlier one met. */
static ArteryStatement clear_alerts = {
	"SELECT artery.clear_alert(a.tenant_id, a.kind, a.key) FROM artery.alert a "
	" WHERE a.kind = '" KIND "' AND a.cleared_at IS NULL",
	0, {0}, NULL
};

static MemoryContext context = NULL;	/* of the list */
static List *asides = NIL;
static char tried[ARTERY_MAX_ID + 1] = "";	/* the tenant whose claim is under way */
static bool inherited = true;	/* alerts of an earlier worker may be open */

static Aside *find(const char *tenant_id, const char *change_id);
static int	count_all(const char *tenant_id);
static void forget(Aside *aside);
static void show(void *argument);
static void tell(void *argument);
static void settle(void *argument);

bool
artery_aside_any(void)
{
	return asides != NIL || tried[0] != '\0' || inherited;
}

void
artery_aside_begin(TimestampTz moment)
{
	List	   *all = list_copy(asides);
	ListCell   *cell;

	if (inherited)
	{
		inherited = false;
		(void) artery_execute(&clear_alerts, NULL, NULL, false, 0);
	}
	if (tried[0] != '\0')
		artery_aside_put(tried, NULL, "a claim was lost with its whole transaction", moment);
	tried[0] = '\0';
	foreach(cell, all)
	{
		Aside	   *aside = lfirst(cell);

		if (aside->until < moment - FORGET_AFTER)
			forget(aside);
	}
}

void
artery_aside_trying(const char *tenant_id)
{
	strlcpy(tried, tenant_id == NULL ? "" : tenant_id, sizeof(tried));
}

void
artery_aside_put(const char *tenant_id, const char *change_id, const char *error, TimestampTz moment)
{
	Aside	   *aside;
	ErrorData  *failure;

	if (change_id == NULL || count_all(tenant_id) >= MANY)
		change_id = "";
	aside = find(tenant_id, change_id);
	if (aside == NULL)
	{
		MemoryContext before;

		if (context == NULL)
			context = AllocSetContextCreate(TopMemoryContext, "artery set aside", ALLOCSET_SMALL_SIZES);
		before = MemoryContextSwitchTo(context);
		aside = palloc0(sizeof(Aside));
		aside->tenant_id = pstrdup(tenant_id);
		aside->change_id = pstrdup(change_id);
		asides = lappend(asides, aside);
		MemoryContextSwitchTo(before);
		artery_worker_record_error(psprintf("delivery: a change cannot be claimed: %s", error));
		ereport(LOG,
				(errmsg("artery sets %s%s of tenant \"%s\" aside, which cannot be claimed: %s",
						change_id[0] == '\0' ? "all changes" : "change ", change_id, tenant_id, error),
				 errhint("It is tried again now and then; artery.v_alerts tells of it until it can be claimed.")));
	}
	aside->delay = Min(Max(aside->delay * 2, FIRST_DELAY), LONGEST_DELAY);
	aside->until = moment + aside->delay;
	aside->error = error;
	aside->shown = false;
	if (change_id[0] != '\0')
		(void) artery_attempt_any(show, aside, &failure);
	(void) artery_attempt_any(tell, aside, &failure);
	aside->error = NULL;
}

void
artery_aside_end(const char *tenant_id, const char *change_id)
{
	Aside	   *change = find(tenant_id, change_id);
	Aside	   *tenant = find(tenant_id, "");

	if (change != NULL)
		forget(change);
	if (tenant != NULL)
		forget(tenant);
}

Datum
artery_aside_changes(const char *tenant_id, TimestampTz moment)
{
	Datum	   *ids = palloc((list_length(asides) + 1) * sizeof(Datum));
	int			count = 0;
	ListCell   *cell;

	foreach(cell, asides)
	{
		const Aside *aside = lfirst(cell);

		if (strcmp(aside->tenant_id, tenant_id) == 0 && aside->change_id[0] != '\0' && !aside->shown &&
			aside->until > moment)
			ids[count++] = DirectFunctionCall1(uuid_in, CStringGetDatum(aside->change_id));
	}
	return PointerGetDatum(construct_array(ids, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
}

int
artery_aside_count(const char *tenant_id, TimestampTz moment, TimestampTz *first)
{
	int			count = 0;
	ListCell   *cell;

	if (first != NULL)
		*first = DT_NOEND;
	foreach(cell, asides)
	{
		const Aside *aside = lfirst(cell);

		if (aside->change_id[0] == '\0' || aside->shown || aside->until <= moment ||
			(tenant_id != NULL && strcmp(aside->tenant_id, tenant_id) != 0))
			continue;
		count++;
		if (first != NULL)
			*first = Min(*first, aside->until);
	}
	return count;
}

TimestampTz
artery_aside_tenant(const char *tenant_id, TimestampTz moment)
{
	const Aside *aside = find(tenant_id, "");

	return aside == NULL || aside->until <= moment ? DT_NOBEGIN : aside->until;
}

static Aside *
find(const char *tenant_id, const char *change_id)
{
	ListCell   *cell;

	foreach(cell, asides)
	{
		Aside	   *aside = lfirst(cell);

		if (strcmp(aside->tenant_id, tenant_id) == 0 && strcmp(aside->change_id, change_id) == 0)
			return aside;
	}
	return NULL;
}

/* Of a tenant, whether they are to be tried again yet or not. */
static int
count_all(const char *tenant_id)
{
	int			count = 0;
	ListCell   *cell;

	foreach(cell, asides)
	{
		const Aside *aside = lfirst(cell);

		count += strcmp(aside->tenant_id, tenant_id) == 0;
	}
	return count;
}

static void
forget(Aside *aside)
{
	ErrorData  *failure;

	(void) artery_attempt_any(settle, aside, &failure);
	asides = list_delete_ptr(asides, aside);
	pfree(aside->tenant_id);
	pfree(aside->change_id);
	pfree(aside);
}

/* In the change itself, where whoever waits for it looks. */
static void
show(void *argument)
{
	Aside	   *aside = argument;
	Datum		values[4];

	values[0] = CStringGetTextDatum(aside->tenant_id);
	values[1] = CStringGetTextDatum(aside->change_id);
	values[2] = TimestampTzGetDatum(aside->until);
	values[3] = CStringGetTextDatum(aside->error);
	aside->shown = artery_execute(&postpone, values, NULL, false, 0) == 1;
}

static void
tell(void *argument)
{
	const Aside *aside = argument;
	Datum		values[3];

	values[0] = CStringGetTextDatum(aside->tenant_id);
	values[1] = CStringGetTextDatum(aside->change_id);
	values[2] = CStringGetTextDatum(aside->error);
	(void) artery_execute(&raise_alert, values, NULL, false, 0);
}

static void
settle(void *argument)
{
	const Aside *aside = argument;
	Datum		values[2];

	values[0] = CStringGetTextDatum(aside->tenant_id);
	values[1] = CStringGetTextDatum(aside->change_id);
	(void) artery_execute(&clear_alert, values, NULL, false, 0);
}
