/*
 * change_take.c
 *		Taking a tenant's due changes, each once, and taking back what was left.
 *
 * A claim is a row in state sending with an attempt number and the process that
 * made it. A process is known by pid and start, so that no later one is taken
 * for it. When it is gone, or has held the claim beyond any request's time,
 * the change is taken back: to approved if nothing can have been sent, else to
 * unknown, which is settled by reading what is in force.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "deliver/aside.h"
#include "deliver/change.h"
#include "deliver/change_row.h"
#include "deliver/guard_check.h"
#include "deliver/owner.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/guc.h"
#include "tenant/tenant.h"

/* A claim is three requests and a little more. */
#define LEASE_REQUESTS 10
#define LEASE_LEAST (10 * USECS_PER_MINUTE)

static ArteryStatement select_orphans = {
	"SELECT c.change_id::pg_catalog.text, c.attempt "
	"  FROM artery.ad_change c "
	" WHERE c.tenant_id = $1 AND c.state = 'sending' AND c.change_id <> ALL ($3) "
	"   AND (c.updated_at < $2 OR NOT EXISTS ( "
	"        SELECT FROM pg_catalog.pg_stat_get_activity(GREATEST(c.sending_worker, 0)) a "
	"         WHERE a.backend_start IS NULL OR a.backend_start = c.sending_started)) "
	" LIMIT $4 FOR UPDATE OF c SKIP LOCKED",
	4, {TEXTOID, TIMESTAMPTZOID, UUIDARRAYOID, INT8OID}, NULL
};

/*
 * What is not known to be applied or not comes first, and a wish for the same
 * object waits until it is known. Both are read in the order of their index, so
 * that a claim costs the same however long the queue is.
 */
#define SELECT_DUE \
	"SELECT c.change_id::pg_catalog.text, c.campaign_id " \
	"  FROM artery.ad_change c " \
	" WHERE c.tenant_id = $1 AND c.run_at <= $2 AND c.campaign_id <> ALL ($3) AND c.change_id <> ALL ($5) " \
	"   AND c.campaign_id <> ALL (ARRAY(SELECT o.campaign_id FROM artery.ad_change o " \
	"                                    WHERE o.tenant_id = $1 AND o.state = 'sending')) "
#define FIRST_DUE \
	" ORDER BY c.run_at, c.created_at LIMIT $4 FOR UPDATE OF c SKIP LOCKED"

static ArteryStatement select_doubtful = {
	SELECT_DUE " AND c.state = 'unknown' " FIRST_DUE,
	5, {TEXTOID, TIMESTAMPTZOID, TEXTARRAYOID, INT8OID, UUIDARRAYOID}, NULL
};
static ArteryStatement select_due = {
	SELECT_DUE " AND c.state = ANY (ARRAY['approved', 'blocked']) "
	"   AND c.target_id <> ALL (ARRAY(SELECT o.target_id FROM artery.ad_change o "
	"                                  WHERE o.tenant_id = $1 AND o.state = 'unknown')) " FIRST_DUE,
	5, {TEXTOID, TIMESTAMPTZOID, TEXTARRAYOID, INT8OID, UUIDARRAYOID}, NULL
};
static ArteryStatement select_in_flight = {
	"SELECT r.n FROM pg_catalog.unnest($2) WITH ORDINALITY r(campaign_id, n) "
	" WHERE EXISTS (SELECT FROM artery.ad_change o "
	"                WHERE o.tenant_id = $1 AND o.campaign_id = r.campaign_id AND o.state = 'sending')",
	2, {TEXTOID, TEXTARRAYOID}, NULL
};
static ArteryStatement mark_claimed = {
	"UPDATE artery.ad_change c SET state = 'sending', attempt = c.attempt + 1, sending_worker = $3, sending_started = $4, "
	"  reconcile = (c.state = 'unknown'), sending_value = CASE WHEN c.state = 'unknown' THEN c.sending_value END, "
	"  dry_run = $5, updated_at = $6 "
	"  FROM pg_catalog.unnest($2) WITH ORDINALITY r(change_id, n) "
	" WHERE c.tenant_id = $1 AND c.change_id = r.change_id::pg_catalog.uuid "
	"RETURNING r.n, c.attempt",
	6, {TEXTOID, TEXTARRAYOID, INT4OID, TIMESTAMPTZOID, BOOLOID, TIMESTAMPTZOID}, NULL
};

static ArteryStatement lock_one = {
	"SELECT FROM artery.ad_change c WHERE c.tenant_id = $1 AND c.change_id = $2::pg_catalog.uuid "
	"   AND c.state = ANY (ARRAY['approved', 'blocked']) FOR UPDATE OF c",
	2, {TEXTOID, TEXTOID}, NULL
};

static List *take(const ArteryTenant *tenant, List *change_ids, TimestampTz moment, MemoryContext context);

ChangeClaim *
artery_change_claim_one(const char *tenant_id, const char *change_id)
{
	ArteryScope scope;
	const ArteryTenant *tenant = artery_tenant_get(tenant_id);
	List	   *claims = NIL;
	Datum		values[2];

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(change_id);
	artery_scope_enter_lookups(&scope);
	if (artery_execute(&lock_one, values, NULL, false, 0) == 1)
		claims = take(tenant, list_make1(unconstify(char *, change_id)), artery_clock_moment(), scope.caller);
	artery_scope_leave(&scope);
	return claims == NIL ? NULL : linitial(claims);
}

/* A claim made before this moment has hung. */
TimestampTz
artery_change_lease(TimestampTz moment)
{
	return moment - Max(LEASE_LEAST, (int64) artery_settings.http_timeout * 1000 * LEASE_REQUESTS);
}

/* Take back a claim: it is settled by reading, unless it certainly was not sent. */
static void
take_back(const ChangeRow *row, TimestampTz moment)
{
	ChangeMove	move = {.run_at = moment,.failures = row->failures,.error = "the process that sent it is gone"};
	ChangeRecord record = {.old = row->from,.new = row->sending,.error = move.error,.duration_ms = -1};

	/* a dry run sends nothing, so nothing can have been applied */
	move.maybe_sent = artery_change_json(&row->sending) != NULL && (!row->dry_run || row->reconcile);
	move.state = move.maybe_sent ? "unknown" : "approved";
	record.outcome = move.maybe_sent ? "unknown" : "retry";
	if (!move.maybe_sent)
		artery_guard_release(&row->batch->guard, row->change_id, row->attempt);
	artery_change_move(row, &move, moment);
	artery_change_record(row, &record, moment);
}

bool
artery_change_rescue(const char *tenant_id, int limit, TimestampTz moment, char **trying)
{
	ChangeBatch batch;
	ChangeTask *tasks;
	ChangeRow  *rows;
	Datum		values[4];
	int			count;
	int			i;

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = TimestampTzGetDatum(artery_change_lease(moment));
	values[2] = artery_aside_changes(tenant_id, moment);
	values[3] = Int64GetDatum(limit);
	count = (int) artery_execute(&select_orphans, values, NULL, false, 0);
	if (count == 0)
		return false;
	tasks = palloc0(count * sizeof(ChangeTask));
	rows = palloc(count * sizeof(ChangeRow));
	for (i = 0; i < count; i++)
	{
		tasks[i].claim = palloc0(sizeof(ChangeClaim));
		tasks[i].claim->change_id = artery_field_text(i, 1);
		tasks[i].claim->attempt = (int) artery_field_int64(i, 2);
	}
	*trying = count == 1 ? tasks[0].claim->change_id : NULL;
	artery_change_begin(&batch, tenant_id);
	count = artery_change_lock(&batch, tasks, count, false, rows);
	for (i = 0; i < count; i++)
		take_back(&rows[i], moment);
	artery_change_flush(&batch);
	return true;
}

/* A text array. */
static Datum
text_array(List *texts)
{
	Datum	   *elements = palloc(Max(list_length(texts), 1) * sizeof(Datum));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, texts)
		elements[n++] = CStringGetTextDatum(lfirst(cell));
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Only what is copied into the claim outlives the scope. */
static ChangeClaim *
make_claim(const ArteryTenant *tenant, const ChangeRow *row, MemoryContext context)
{
	MemoryContext before = MemoryContextSwitchTo(context);
	ChangeClaim *claim = palloc0(sizeof(ChangeClaim));

	claim->tenant_id = pstrdup(row->tenant_id);
	claim->change_id = pstrdup(row->change_id);
	claim->attempt = row->attempt;
	claim->reconcile = row->reconcile;
	claim->is_budget = row->is_budget;
	claim->dry_run = row->dry_run;
	claim->validate = row->dry_run && !row->reconcile && tenant->settings.dry_run_validate;
	claim->campaign_id = pstrdup(row->campaign_id);
	claim->target_id = pstrdup(row->target_id);
	if (tenant->settings.meta_ad_account_id != NULL)
		claim->account_id = pstrdup(tenant->settings.meta_ad_account_id);
	claim->currency = pstrdup(tenant->settings.currency);
	if (row->wish.budget != NULL)
		claim->budget = DatumGetNumericCopy(NumericGetDatum(row->wish.budget));
	if (row->reconcile && row->sending.budget != NULL)
		claim->sending_budget = DatumGetNumericCopy(NumericGetDatum(row->sending.budget));
	if (row->wish.status != NULL)
		claim->status = pstrdup(row->wish.status);
	MemoryContextSwitchTo(before);
	return claim;
}

/* Held back by a person: nothing of it is even read until it is told to go on. */
static void
hold_paused(const ChangeRow *row, TimestampTz moment)
{
	ChangeMove	move = {.state = "blocked",.run_at = DT_NOEND,.failures = row->failures,.rule = "owner_paused",
		.next_allowed_at = DT_NOEND,.error = psprintf("%s is paused", row->facts.paused)
	};
	ChangeRecord record = {.outcome = "blocked",.old = row->old,.new = row->wish,.rule = move.rule,
		.next_allowed_at = DT_NOEND,.error = move.error,.duration_ms = -1
	};

	artery_change_move(row, &move, moment);
	if (row->blocked_rule == NULL || strcmp(row->blocked_rule, move.rule) != 0)
		artery_change_record(row, &record, moment);
}

/* Mark changes that are locked as claimed by this process: as tasks, each with its new attempt. */
static ChangeTask *
mark(const ArteryTenant *tenant, List *change_ids, TimestampTz moment)
{
	ChangeTask *tasks = palloc0(list_length(change_ids) * sizeof(ChangeTask));
	Datum		values[6];
	int			marked;
	int			i;

	values[0] = CStringGetTextDatum(tenant->tenant_id);
	values[1] = text_array(change_ids);
	values[2] = Int32GetDatum(MyProcPid);
	values[3] = TimestampTzGetDatum(MyStartTimestamp);
	values[4] = BoolGetDatum(tenant->settings.dry_run);
	values[5] = TimestampTzGetDatum(moment);
	marked = (int) artery_execute(&mark_claimed, values, NULL, false, 0);
	for (i = 0; i < marked; i++)
	{
		int			n = (int) artery_field_int64(i, 1) - 1;

		tasks[n].claim = palloc0(sizeof(ChangeClaim));
		tasks[n].claim->change_id = list_nth(change_ids, n);
		tasks[n].claim->attempt = (int) artery_field_int64(i, 2);
	}
	return tasks;
}

/* Claim changes that are locked; those whose owner is paused are held instead. The list lives in the context. */
static List *
take(const ArteryTenant *tenant, List *change_ids, TimestampTz moment, MemoryContext context)
{
	int			count = list_length(change_ids);
	ChangeRow  *rows = palloc(Max(count, 1) * sizeof(ChangeRow));
	GuardFacts **facts = palloc(Max(count, 1) * sizeof(GuardFacts *));
	List	   *claims = NIL;
	ChangeBatch batch;
	int			i;

	if (count == 0)
		return NIL;
	artery_change_begin(&batch, tenant->tenant_id);
	if (artery_change_lock(&batch, mark(tenant, change_ids, moment), count, false, rows) != count)
		elog(ERROR, "could not read the changes just claimed");
	for (i = 0; i < count; i++)
		facts[i] = &rows[i].facts;
	artery_owner_load_paused(tenant->tenant_id, facts, count);
	for (i = 0; i < count; i++)
	{
		MemoryContext before;

		if (!rows[i].reconcile && rows[i].facts.paused != NULL)
		{
			hold_paused(&rows[i], moment);
			continue;
		}
		before = MemoryContextSwitchTo(context);
		claims = lappend(claims, make_claim(tenant, &rows[i], context));
		MemoryContextSwitchTo(before);
	}
	artery_change_flush(&batch);
	return claims;
}

/*
 * Choose due changes, as many as wanted and one of a campaign at most, those in
 * doubt first; what is chosen is locked.
 */
static void
choose(const ArteryTenant *tenant, int wanted, List *busy, TimestampTz moment, List **change_ids, List **campaign_ids)
{
	ArteryStatement *statements[] = {&select_doubtful, &select_due};
	Datum		values[5];
	ListCell   *cell;
	int			k;

	*change_ids = *campaign_ids = NIL;
	values[0] = CStringGetTextDatum(tenant->tenant_id);
	values[1] = TimestampTzGetDatum(moment);
	values[4] = artery_aside_changes(tenant->tenant_id, moment);
	for (k = 0; k < (int) lengthof(statements) && list_length(*change_ids) < wanted; k++)
	{
		int			rows;
		int			i;

		values[2] = text_array(list_concat_copy(busy, *campaign_ids));
		values[3] = Int64GetDatum(wanted - list_length(*change_ids));
		rows = (int) artery_execute(statements[k], values, NULL, false, 0);
		for (i = 0; i < rows; i++)
		{
			char	   *campaign_id = artery_field_text(i, 2);

			foreach(cell, *campaign_ids)
			{
				if (strcmp(lfirst(cell), campaign_id) == 0)
					break;
			}
			if (cell != NULL)
				continue;
			*change_ids = lappend(*change_ids, artery_field_text(i, 1));
			*campaign_ids = lappend(*campaign_ids, campaign_id);
		}
	}
}

/*
 * Of campaigns chosen, which are free: nobody holds them, and nothing of them
 * is being sent. That is asked again under the campaigns' locks, as two sessions
 * may have chosen two changes of one campaign at the same moment.
 */
static bool *
find_free(const ArteryTenant *tenant, List *campaign_ids)
{
	int			count = list_length(campaign_ids);
	const char **names = palloc(Max(count, 1) * sizeof(char *));
	bool	   *is_free = palloc(Max(count, 1) * sizeof(bool));
	Datum		values[2];
	int			rows;
	int			i;

	for (i = 0; i < count; i++)
		names[i] = list_nth(campaign_ids, i);
	artery_guard_lock(tenant->tenant_id, names, count, true, is_free);
	values[0] = CStringGetTextDatum(tenant->tenant_id);
	values[1] = text_array(campaign_ids);
	rows = (int) artery_execute(&select_in_flight, values, NULL, false, 0);
	for (i = 0; i < rows; i++)
		is_free[artery_field_int64(i, 1) - 1] = false;
	return is_free;
}

List *
artery_change_take(const ArteryTenant *tenant, int wanted, TimestampTz moment, MemoryContext context, char **trying)
{
	List	   *claims = NIL;
	List	   *busy = NIL;

	while (list_length(claims) < wanted)
	{
		List	   *change_ids;
		List	   *campaign_ids;
		List	   *free_ids = NIL;
		List	   *fresh;
		MemoryContext before;
		bool	   *is_free;
		int			i;

		choose(tenant, wanted - list_length(claims), busy, moment, &change_ids, &campaign_ids);
		if (change_ids == NIL)
			break;
		is_free = find_free(tenant, campaign_ids);
		for (i = 0; i < list_length(change_ids); i++)
		{
			if (is_free[i])
				free_ids = lappend(free_ids, list_nth(change_ids, i));
			else
				busy = lappend(busy, list_nth(campaign_ids, i));
		}
		*trying = list_length(free_ids) == 1 ? linitial(free_ids) : NULL;
		fresh = take(tenant, free_ids, moment, context);	/* what is held instead is due no more */
		before = MemoryContextSwitchTo(context);
		claims = list_concat(claims, fresh);
		MemoryContextSwitchTo(before);
	}
	return claims;
}
