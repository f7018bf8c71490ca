/*
 * change.c
 *		Claiming changes: who may handle what, fairly, each once.
 *
 * A claim is a row in state sending with an attempt number and the process that
 * made it. A process is known by pid and start, so that no later one is taken
 * for it. When it is gone, or has held the claim beyond any request's time,
 * the change is taken back: to approved if nothing can have been sent, else to
 * unknown, which is settled by reading what is in force.
 *
 * Every statement that locks or writes reads one tenant only; which tenants
 * have work is found by one plain read of the small partial index.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "deliver/change.h"
#include "deliver/change_row.h"
#include "deliver/guard_check.h"
#include "deliver/owner.h"
#include "deliver/throttle.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/guc.h"
#include "tenant/tenant.h"

/* A claim is three requests and a little more. */
#define LEASE_REQUESTS 10
#define LEASE_LEAST (10 * USECS_PER_MINUTE)
/* When to look again at a due change whose campaign is busy. */
#define BUSY_DELAY USECS_PER_SEC
/* The most that artery.http_max_in_flight allows. */
#define MOST_AT_ONCE 256

typedef struct TenantWork
{
	char	   *tenant_id;
	int			due;			/* changes due now, counted to MOST_AT_ONCE; of a campaign one can be claimed */
	TimestampTz next_due;		/* the first one after now; DT_NOEND if none */
	TimestampTz slowed_until;	/* a quota that fills: none before; DT_NOBEGIN if nothing is in the way */
	bool		sending;		/* some are claimed */
	bool		exhausted;		/* nothing more to claim now */
} TenantWork;

/*
 * From tenant to tenant along the index, and of each no more than can be claimed
 * at once, however long the queue is.
 */
static ArteryStatement select_work = {
	"WITH RECURSIVE busy AS ( "
	"    (SELECT c.tenant_id FROM artery.ad_change c "
	"      WHERE c.state = ANY (ARRAY['approved', 'blocked', 'sending', 'unknown']) ORDER BY c.tenant_id LIMIT 1) "
	"    UNION ALL "
	"    SELECT (SELECT c.tenant_id FROM artery.ad_change c "
	"             WHERE c.state = ANY (ARRAY['approved', 'blocked', 'sending', 'unknown']) "
	"               AND c.tenant_id > b.tenant_id ORDER BY c.tenant_id LIMIT 1) "
	"      FROM busy b WHERE b.tenant_id IS NOT NULL) "
	"SELECT b.tenant_id, "
	"       (SELECT pg_catalog.count(*) FROM ( "
	"            SELECT FROM artery.ad_change c WHERE c.tenant_id = b.tenant_id AND c.run_at <= $1 "
	"               AND c.state = ANY (ARRAY['approved', 'blocked', 'unknown']) LIMIT $2) d), "
	"       (SELECT c.run_at FROM artery.ad_change c WHERE c.tenant_id = b.tenant_id AND c.run_at > $1 "
	"           AND c.state = ANY (ARRAY['approved', 'blocked', 'unknown']) ORDER BY c.run_at LIMIT 1), "
	"       EXISTS (SELECT FROM artery.ad_change c WHERE c.tenant_id = b.tenant_id AND c.state = 'sending') "
	"  FROM busy b WHERE b.tenant_id IS NOT NULL ORDER BY b.tenant_id",
	2, {TIMESTAMPTZOID, INT4OID}, NULL
};
static ArteryStatement select_orphans = {
	"SELECT c.change_id::pg_catalog.text, c.attempt "
	"  FROM artery.ad_change c "
	" WHERE c.tenant_id = $1 AND c.state = 'sending' "
	"   AND (c.updated_at < $2 OR NOT EXISTS ( "
	"        SELECT FROM pg_catalog.pg_stat_get_activity(GREATEST(c.sending_worker, 0)) a "
	"         WHERE a.backend_start IS NULL OR a.backend_start = c.sending_started)) "
	"   FOR UPDATE OF c SKIP LOCKED",
	2, {TEXTOID, TIMESTAMPTZOID}, NULL
};

/*
 * What is not known to be applied or not comes first, and a wish for the same
 * object waits until it is known. Both are read in the order of their index, so
 * that a claim costs the same however long the queue is.
 */
#define SELECT_DUE \
	"SELECT c.change_id::pg_catalog.text, c.campaign_id " \
	"  FROM artery.ad_change c " \
	" WHERE c.tenant_id = $1 AND c.run_at <= $2 AND c.campaign_id <> ALL ($3) " \
	"   AND c.campaign_id <> ALL (ARRAY(SELECT o.campaign_id FROM artery.ad_change o " \
	"                                    WHERE o.tenant_id = $1 AND o.state = 'sending')) "
#define FIRST_DUE \
	" ORDER BY c.run_at, c.created_at LIMIT 1 FOR UPDATE OF c SKIP LOCKED"

static ArteryStatement select_doubtful = {
	SELECT_DUE " AND c.state = 'unknown' " FIRST_DUE,
	3, {TEXTOID, TIMESTAMPTZOID, TEXTARRAYOID}, NULL
};
static ArteryStatement select_due = {
	SELECT_DUE " AND c.state = ANY (ARRAY['approved', 'blocked']) "
	"   AND c.target_id <> ALL (ARRAY(SELECT o.target_id FROM artery.ad_change o "
	"                                  WHERE o.tenant_id = $1 AND o.state = 'unknown')) " FIRST_DUE,
	3, {TEXTOID, TIMESTAMPTZOID, TEXTARRAYOID}, NULL
};
static ArteryStatement select_in_flight = {
	"SELECT FROM artery.ad_change o WHERE o.tenant_id = $1 AND o.campaign_id = $2 AND o.state = 'sending' LIMIT 1",
	2, {TEXTOID, TEXTOID}, NULL
};
static ArteryStatement mark_claimed = {
	"UPDATE artery.ad_change c SET state = 'sending', attempt = c.attempt + 1, sending_worker = $3, sending_started = $4, "
	"  reconcile = (c.state = 'unknown'), sending_value = CASE WHEN c.state = 'unknown' THEN c.sending_value END, "
	"  dry_run = $5, updated_at = $6 "
	" WHERE c.tenant_id = $1 AND c.change_id = $2::pg_catalog.uuid "
	"RETURNING c.attempt",
	6, {TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID, BOOLOID, TIMESTAMPTZOID}, NULL
};

static ArteryStatement lock_one = {
	"SELECT FROM artery.ad_change c WHERE c.tenant_id = $1 AND c.change_id = $2::pg_catalog.uuid "
	"   AND c.state = ANY (ARRAY['approved', 'blocked']) FOR UPDATE OF c",
	2, {TEXTOID, TEXTOID}, NULL
};

static char last_served[ARTERY_MAX_ID + 1] = "";	/* tenant with which the last claim ended */

static List *find_work(TimestampTz moment);
static List *turn_to_next(List *work);
static TimestampTz find_next_due(List *work, TimestampTz moment);
static bool rescue(const char *tenant_id, TimestampTz moment);
static ChangeClaim *take(const ArteryTenant *tenant, const char *change_id, TimestampTz moment, MemoryContext context);
static ChangeClaim *claim_slowly(const ArteryTenant *tenant, TenantWork *work, TimestampTz moment,
								 MemoryContext context);
static ChangeClaim *claim_next(const ArteryTenant *tenant, TimestampTz moment, MemoryContext context);

List *
artery_change_claim(int limit, TimestampTz *next_due)
{
	ArteryScope scope;
	TimestampTz moment = artery_clock_moment();
	List	   *claims = NIL;
	List	   *work;
	ListCell   *cell;
	bool		rescued = false;
	bool		found = true;

	if (!artery_settings.enabled)
	{
		*next_due = DT_NOEND;
		return NIL;
	}
	artery_scope_enter(&scope);
	work = find_work(moment);
	foreach(cell, work)
	{
		TenantWork *tenant_work = lfirst(cell);

		if (tenant_work->sending)
			rescued |= rescue(tenant_work->tenant_id, moment);
	}
	work = turn_to_next(rescued ? find_work(moment) : work);

	/* one of each tenant in turn, until there is no more or enough */
	while (found && list_length(claims) < limit)
	{
		found = false;
		foreach(cell, work)
		{
			TenantWork *tenant_work = lfirst(cell);
			const ArteryTenant *tenant = artery_tenant_find(tenant_work->tenant_id);
			ChangeClaim *claim = NULL;
			MemoryContext before;

			if (list_length(claims) >= limit)
				break;
			if (tenant == NULL || !tenant->settings.enabled)
				tenant_work->due = 0;
			else if (tenant_work->due > 0 && !tenant_work->exhausted)
				claim = claim_slowly(tenant, tenant_work, moment, scope.caller);
			if (claim == NULL)
			{
				tenant_work->exhausted = true;
				continue;
			}
			tenant_work->due--;
			found = true;
			strlcpy(last_served, tenant_work->tenant_id, sizeof(last_served));
			before = MemoryContextSwitchTo(scope.caller);
			claims = lappend(claims, claim);
			MemoryContextSwitchTo(before);
		}
	}
	*next_due = find_next_due(work, moment);
	artery_scope_leave(&scope);
	return claims;
}

/* When to claim again, after what could be claimed now was. */
static TimestampTz
find_next_due(List *work, TimestampTz moment)
{
	TimestampTz next_due = DT_NOEND;
	ListCell   *cell;

	foreach(cell, work)
	{
		TenantWork *tenant_work = lfirst(cell);
		const ArteryTenant *tenant = artery_tenant_find(tenant_work->tenant_id);

		if (tenant == NULL || !tenant->settings.enabled)
			continue;
		next_due = Min(next_due, tenant_work->next_due);
		if (tenant_work->due > 0 && tenant_work->slowed_until > moment)
			next_due = Min(next_due, tenant_work->slowed_until);
		else if (tenant_work->due > 0)
			next_due = Min(next_due, tenant_work->exhausted ? moment + BUSY_DELAY : moment);
	}
	return next_due;
}

ChangeClaim *
artery_change_claim_one(const char *tenant_id, const char *change_id)
{
	ArteryScope scope;
	const ArteryTenant *tenant = artery_tenant_get(tenant_id);
	ChangeClaim *claim = NULL;
	Datum		values[2];

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(change_id);
	artery_scope_enter(&scope);
	if (artery_execute(&lock_one, values, NULL, false, 0) == 1)
		claim = take(tenant, change_id, artery_clock_moment(), scope.caller);
	artery_scope_leave(&scope);
	return claim;
}

/* The tenants with open changes that can be sent some time. */
static List *
find_work(TimestampTz moment)
{
	Datum		values[2] = {TimestampTzGetDatum(moment), Int32GetDatum(MOST_AT_ONCE)};
	uint64		rows = artery_execute(&select_work, values, NULL, false, 0);
	List	   *work = NIL;
	uint64		i;

	for (i = 0; i < rows; i++)
	{
		TenantWork *tenant_work = palloc0(sizeof(TenantWork));

		tenant_work->tenant_id = artery_field_text(i, 1);
		tenant_work->due = (int) artery_field_int64(i, 2);
		tenant_work->next_due = artery_field_null(i, 3) ? DT_NOEND : artery_field_time(i, 3);
		tenant_work->sending = artery_field_bool(i, 4);
		tenant_work->slowed_until = DT_NOBEGIN;
		work = lappend(work, tenant_work);
	}
	return work;
}

/* Begin after the tenant served last, so that a full house always lets the others in next time. */
static List *
turn_to_next(List *work)
{
	List	   *head = NIL;
	List	   *tail = NIL;
	ListCell   *cell;

	foreach(cell, work)
	{
		TenantWork *tenant_work = lfirst(cell);

		if (strcmp(tenant_work->tenant_id, last_served) > 0)
			head = lappend(head, tenant_work);
		else
			tail = lappend(tail, tenant_work);
	}
	return list_concat(head, tail);
}

/* Take a tenant's claims back whose process is gone or has hung; true if there were any. */
static bool
rescue(const char *tenant_id, TimestampTz moment)
{
	TimestampTz lease = Max(LEASE_LEAST, (int64) artery_settings.http_timeout * 1000 * LEASE_REQUESTS);
	Datum		values[2];
	uint64		rows;
	uint64		i;
	char	  **change_ids;
	int		   *attempts;

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = TimestampTzGetDatum(moment - lease);
	rows = artery_execute(&select_orphans, values, NULL, false, 0);
	change_ids = palloc(Max(rows, 1) * sizeof(char *));
	attempts = palloc(Max(rows, 1) * sizeof(int));
	for (i = 0; i < rows; i++)
	{
		change_ids[i] = artery_field_text(i, 1);
		attempts[i] = (int) artery_field_int64(i, 2);
	}
	for (i = 0; i < rows; i++)
	{
		ChangeRow	row;
		ChangeMove	move = {.run_at = moment};
		ChangeRecord record = {.error = "the process that sent it is gone",.duration_ms = -1};

		if (!artery_change_lock(tenant_id, change_ids[i], attempts[i], &row))
			continue;
		/* a dry run sends nothing, so nothing can have been applied */
		move.maybe_sent = artery_change_json(&row.sending) != NULL && (!row.dry_run || row.reconcile);
		move.state = move.maybe_sent ? "unknown" : "approved";
		move.failures = row.failures;
		move.error = record.error;
		record.outcome = move.maybe_sent ? "unknown" : "retry";
		record.old = row.from;
		record.new = row.sending;
		if (!move.maybe_sent)
			artery_guard_release(tenant_id, row.change_id, row.attempt);
		artery_change_move(&row, &move, moment);
		artery_change_record(&row, &record, moment);
	}
	return rows > 0;
}

/* A text array of campaign ids. */
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
hold_paused(const ChangeRow *row, const char *owner, TimestampTz moment)
{
	ChangeMove	move = {.state = "blocked",.run_at = DT_NOEND,.failures = row->failures,.rule = "owner_paused",
		.next_allowed_at = DT_NOEND,.error = psprintf("%s is paused", owner)
	};
	ChangeRecord record = {.outcome = "blocked",.old = row->old,.new = row->wish,.rule = move.rule,
		.next_allowed_at = DT_NOEND,.error = move.error,.duration_ms = -1
	};

	artery_change_move(row, &move, moment);
	if (row->blocked_rule == NULL || strcmp(row->blocked_rule, move.rule) != 0)
		artery_change_record(row, &record, moment);
}

/* Mark a change that is locked as claimed by this process; NULL if its owner is paused. */
static ChangeClaim *
take(const ArteryTenant *tenant, const char *change_id, TimestampTz moment, MemoryContext context)
{
	Datum		values[6];
	ChangeRow	row;
	char	   *paused;

	values[0] = CStringGetTextDatum(tenant->tenant_id);
	values[1] = CStringGetTextDatum(change_id);
	values[2] = Int32GetDatum(MyProcPid);
	values[3] = TimestampTzGetDatum(MyStartTimestamp);
	values[4] = BoolGetDatum(tenant->settings.dry_run);
	values[5] = TimestampTzGetDatum(moment);
	(void) artery_execute(&mark_claimed, values, NULL, false, 0);
	if (!artery_change_lock(tenant->tenant_id, change_id, (int) artery_field_int64(0, 1), &row))
		elog(ERROR, "could not read the change %s just claimed", change_id);
	paused = row.reconcile ? NULL : artery_owner_pausing(tenant->tenant_id, row.target_id, row.campaign_id);
	if (paused != NULL)
	{
		hold_paused(&row, paused, moment);
		return NULL;
	}
	return make_claim(tenant, &row, context);
}

/* The tenant's next change, but not before its quotas let it. */
static ChangeClaim *
claim_slowly(const ArteryTenant *tenant, TenantWork *work, TimestampTz moment, MemoryContext context)
{
	ChangeClaim *claim;

	work->slowed_until = artery_throttle_next(tenant);
	if (work->slowed_until > moment)
		return NULL;
	claim = claim_next(tenant, moment, context);
	if (claim != NULL)
		artery_throttle_begun(tenant, moment);
	return claim;
}

/*
 * The tenant's next due change whose campaign nobody is busy with, or NULL.
 *
 * Whether the campaign is free is asked again under its lock: two sessions may
 * have chosen two changes of one campaign at the same moment.
 */
static ChangeClaim *
claim_next(const ArteryTenant *tenant, TimestampTz moment, MemoryContext context)
{
	List	   *busy = NIL;
	Datum		values[3];

	values[0] = CStringGetTextDatum(tenant->tenant_id);
	values[1] = TimestampTzGetDatum(moment);
	for (;;)
	{
		char	   *change_id;
		char	   *campaign_id;
		Datum		campaign[2];
		ChangeClaim *claim;

		values[2] = text_array(busy);
		if (artery_execute(&select_doubtful, values, NULL, false, 0) == 0 &&
			artery_execute(&select_due, values, NULL, false, 0) == 0)
			return NULL;
		change_id = artery_field_text(0, 1);
		campaign_id = artery_field_text(0, 2);
		campaign[0] = values[0];
		campaign[1] = CStringGetTextDatum(campaign_id);
		if (artery_guard_lock(tenant->tenant_id, campaign_id, true) &&
			artery_execute(&select_in_flight, campaign, NULL, false, 0) == 0)
		{
			claim = take(tenant, change_id, moment, context);
			if (claim != NULL)
				return claim;
			continue;			/* it is due no more */
		}
		busy = lappend(busy, campaign_id);
	}
}
