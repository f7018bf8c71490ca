/*
 * change.c
 *		Claiming changes: how many of whom, fairly, and when next.
 *
 * Every statement that locks or writes reads one tenant only; which tenants
 * have work is found by one plain read of the small partial index.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "deliver/change.h"
#include "deliver/change_row.h"
#include "deliver/throttle.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/guc.h"
#include "tenant/tenant.h"

/*
 * A claim is shared by about as many tenants, each with several changes where
 * places are many: what is done for changes of one tenant is done by the same
 * statements. Who was left out comes first next time.
 */
#define TENANTS_AT_ONCE 8
/* When to look again at a due change whose campaign is busy. */
#define BUSY_DELAY USECS_PER_SEC

typedef struct TenantWork
{
	char	   *tenant_id;
	int			due;			/* changes due now, counted to one more than can be claimed; of a campaign one can */
	int			share;			/* how many of them are to be claimed next */
	TimestampTz next_due;		/* the first one after now; DT_NOEND if none */
	TimestampTz slowed_until;	/* a quota that fills: none before; DT_NOBEGIN if nothing is in the way */
	bool		foreign;		/* some are claimed, and not by us just now */
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
	"       EXISTS (SELECT FROM artery.ad_change c WHERE c.tenant_id = b.tenant_id AND c.state = 'sending' "
	"                  AND (c.updated_at < $3 OR c.sending_worker IS DISTINCT FROM $4 "
	"                       OR c.sending_started IS DISTINCT FROM $5)) "
	"  FROM busy b WHERE b.tenant_id IS NOT NULL ORDER BY b.tenant_id",
	5, {TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID}, NULL
};

static char last_served[ARTERY_MAX_ID + 1] = "";	/* tenant with which the last claim ended */

static List *find_work(TimestampTz moment, int limit);
static List *turn_to_next(List *work);
static bool share_out(List *work, int places);
static TimestampTz find_next_due(List *work, TimestampTz moment);
static List *claim_slowly(const ArteryTenant *tenant, TenantWork *work, TimestampTz moment, MemoryContext context);

List *
artery_change_claim(int limit, TimestampTz *next_due)
{
	ArteryScope scope;
	TimestampTz moment = artery_clock_moment();
	List	   *claims = NIL;
	List	   *work;
	ListCell   *cell;
	bool		rescued = false;

	*next_due = DT_NOEND;
	if (!artery_settings.enabled)
		return NIL;
	artery_scope_enter_lookups(&scope);
	work = find_work(moment, limit);
	foreach(cell, work)
	{
		TenantWork *tenant_work = lfirst(cell);

		if (tenant_work->foreign)
			rescued |= artery_change_rescue(tenant_work->tenant_id, moment);
	}
	work = turn_to_next(rescued ? find_work(moment, limit) : work);
	while (share_out(work, limit - list_length(claims)))
	{
		foreach(cell, work)
		{
			TenantWork *tenant_work = lfirst(cell);
			const ArteryTenant *tenant;
			List	   *fresh;
			MemoryContext before;

			if (tenant_work->share == 0)
				continue;
			tenant = artery_tenant_find(tenant_work->tenant_id);
			fresh = claim_slowly(tenant, tenant_work, moment, scope.caller);
			tenant_work->due -= list_length(fresh);
			tenant_work->exhausted = list_length(fresh) < tenant_work->share;
			before = MemoryContextSwitchTo(scope.caller);
			claims = list_concat(claims, fresh);
			MemoryContextSwitchTo(before);
		}
	}
	*next_due = find_next_due(work, moment);
	artery_scope_leave(&scope);
	return claims;
}

/* A few places for each tenant in turn, until there is no more or enough; false if there was nothing to give. */
static bool
share_out(List *work, int places)
{
	int			at_once = Max(places / TENANTS_AT_ONCE, 1);
	bool		any = false;
	bool		found = true;
	ListCell   *cell;

	foreach(cell, work)
		((TenantWork *) lfirst(cell))->share = 0;
	while (found && places > 0)
	{
		found = false;
		foreach(cell, work)
		{
			TenantWork *tenant_work = lfirst(cell);
			const ArteryTenant *tenant;
			int			given;

			if (places == 0 || tenant_work->exhausted || tenant_work->share >= tenant_work->due)
				continue;
			tenant = artery_tenant_find(tenant_work->tenant_id);
			if (tenant == NULL || !tenant->settings.enabled)
			{
				tenant_work->due = 0;
				continue;
			}
			given = Min(Min(at_once, places), tenant_work->due - tenant_work->share);
			tenant_work->share += given;
			places -= given;
			strlcpy(last_served, tenant_work->tenant_id, sizeof(last_served));
			any = found = true;
		}
	}
	return any;
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

/* The tenants with open changes that can be sent some time. */
static List *
find_work(TimestampTz moment, int limit)
{
	Datum		values[5] = {TimestampTzGetDatum(moment), Int32GetDatum(limit + 1), TimestampTzGetDatum(artery_change_lease(moment)),
	Int32GetDatum(MyProcPid), TimestampTzGetDatum(MyStartTimestamp)};
	uint64		rows = artery_execute(&select_work, values, NULL, false, 0);
	List	   *work = NIL;
	uint64		i;

	for (i = 0; i < rows; i++)
	{
		TenantWork *tenant_work = palloc0(sizeof(TenantWork));

		tenant_work->tenant_id = artery_field_text(i, 1);
		tenant_work->due = (int) artery_field_int64(i, 2);
		tenant_work->next_due = artery_field_null(i, 3) ? DT_NOEND : artery_field_time(i, 3);
		tenant_work->foreign = artery_field_bool(i, 4);
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

/* The tenant's share, but not before its quotas let it. */
static List *
claim_slowly(const ArteryTenant *tenant, TenantWork *work, TimestampTz moment, MemoryContext context)
{
	bool		slowed;
	List	   *claims;

	work->slowed_until = artery_throttle_next(tenant, &slowed);
	if (work->slowed_until > moment)
		return NIL;
	claims = artery_change_take(tenant, slowed ? 1 : work->share, moment, context);
	if (claims != NIL && slowed)
	{
		artery_throttle_begun(tenant, moment);
		work->slowed_until = artery_throttle_next(tenant, &slowed);
	}
	return claims;
}
