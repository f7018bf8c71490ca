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

#include "deliver/aside.h"
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

/* What is done for one tenant, or one change of it, and may fail alone. */
typedef struct TenantStep
{
	TenantWork *work;
	int			wanted;			/* at most so many changes */
	TimestampTz moment;
	MemoryContext context;		/* of the claims */
	char	   *trying;			/* the only change of the step; NULL: not one */
	bool		rescued;		/* result: claims were taken back */
	List	   *claims;			/* result */
} TenantStep;

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

static ArteryStatement check_at_once = {
	"SET CONSTRAINTS ALL IMMEDIATE", 0, {0}, NULL
};

static char last_served[ARTERY_MAX_ID + 1] = "";	/* tenant with which the last claim ended */

static List *find_work(TimestampTz moment, int limit);
static void leave_aside(TenantWork *work, TimestampTz moment);
static List *turn_to_next(List *work);
static bool share_out(List *work, int places);
static TimestampTz find_next_due(List *work, TimestampTz moment);
static bool rescue(List *work, int limit, bool careful, TimestampTz moment);
static List *claim_share(TenantWork *work, bool careful, TimestampTz moment, MemoryContext context);
static bool attempt(TenantStep *step, void (*run) (void *), bool alone);
static void rescue_step(void *argument);
static void claim_step(void *argument);

List *
artery_change_claim(int limit, bool careful, TimestampTz *next_due)
{
	ArteryScope scope;
	TimestampTz moment = artery_clock_moment();
	List	   *claims = NIL;
	List	   *work;
	ListCell   *cell;

	*next_due = DT_NOEND;
	if (!artery_settings.enabled)
		return NIL;
	artery_scope_enter_lookups(&scope);
	if (careful)
	{
		(void) artery_execute(&check_at_once, NULL, NULL, false, 0);	/* not at the commit of all */
		artery_aside_begin(moment);
	}
	work = find_work(moment, limit);
	work = turn_to_next(rescue(work, limit, careful, moment) ? find_work(moment, limit) : work);
	while (share_out(work, limit - list_length(claims)))
	{
		foreach(cell, work)
		{
			TenantWork *tenant_work = lfirst(cell);
			List	   *fresh;
			MemoryContext before;

			if (tenant_work->share == 0)
				continue;
			fresh = claim_share(tenant_work, careful, moment, scope.caller);
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
	int			set_aside = artery_aside_count(NULL, moment, NULL);
	Datum		values[5] = {TimestampTzGetDatum(moment), Int32GetDatum(limit + 1 + set_aside), TimestampTzGetDatum(artery_change_lease(moment)),
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
		leave_aside(tenant_work, moment);
		work = lappend(work, tenant_work);
	}
	return work;
}

/* What is set aside is not due yet. */
static void
leave_aside(TenantWork *work, TimestampTz moment)
{
	TimestampTz first;
	TimestampTz whole = artery_aside_tenant(work->tenant_id, moment);

	work->due = Max(work->due - artery_aside_count(work->tenant_id, moment, &first), 0);
	work->next_due = Min(work->next_due, first);
	if (whole > moment)
	{
		work->due = 0;
		work->foreign = false;
		work->next_due = whole;
	}
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

/* Take claims back that nobody works on any more; true if there were any. */
static bool
rescue(List *work, int limit, bool careful, TimestampTz moment)
{
	bool		rescued = false;
	ListCell   *cell;

	foreach(cell, work)
	{
		TenantStep	step = {.work = lfirst(cell),.wanted = INT_MAX,.moment = moment};
		int			i;

		if (!step.work->foreign)
			continue;
		if (!careful)
			rescue_step(&step);
		else if (!attempt(&step, rescue_step, false))
		{
			step.wanted = 1;
			for (i = 0; i < limit && artery_aside_tenant(step.work->tenant_id, moment) <= moment; i++)
				if (attempt(&step, rescue_step, true) && !step.rescued)
					break;
			rescued = true;		/* perhaps some were */
		}
		rescued |= step.rescued;
	}
	return rescued;
}

/* The tenant's share; if that fails with care, each change on its own. */
static List *
claim_share(TenantWork *work, bool careful, TimestampTz moment, MemoryContext context)
{
	TenantStep	step = {.work = work,.wanted = work->share,.moment = moment,.context = context};
	List	   *claims = NIL;
	ListCell   *cell;
	int			i;

	if (!careful)
		claim_step(&step);
	if (!careful || attempt(&step, claim_step, false))
		claims = step.claims;
	else
	{
		step.wanted = 1;
		for (i = 0; i < work->share && artery_aside_tenant(work->tenant_id, moment) <= moment; i++)
		{
			MemoryContext before;

			if (!attempt(&step, claim_step, true))
				continue;
			if (step.claims == NIL)
				break;
			before = MemoryContextSwitchTo(context);
			claims = list_concat(claims, step.claims);
			MemoryContextSwitchTo(before);
		}
	}
	foreach(cell, claims)
		artery_aside_end(work->tenant_id, ((ChangeClaim *) lfirst(cell))->change_id);
	return claims;
}

/* In a subtransaction; alone: what fails is set aside. */
static bool
attempt(TenantStep *step, void (*run) (void *), bool alone)
{
	ErrorData  *error;
	bool		went_well;

	step->trying = NULL;
	step->claims = NIL;
	step->rescued = false;
	artery_aside_trying(step->work->tenant_id);
	went_well = artery_attempt_any(run, step, &error);
	artery_aside_trying(NULL);
	if (!went_well && alone)
		artery_aside_put(step->work->tenant_id, step->trying, error->message, step->moment);
	return went_well;
}

static void
rescue_step(void *argument)
{
	TenantStep *step = argument;

	step->rescued = artery_change_rescue(step->work->tenant_id, step->wanted, step->moment, &step->trying);
}

/* As many as wanted, but not before the tenant's quotas let it. */
static void
claim_step(void *argument)
{
	TenantStep *step = argument;
	TenantWork *work = step->work;
	const ArteryTenant *tenant = artery_tenant_find(work->tenant_id);
	bool		slowed;

	work->slowed_until = artery_throttle_next(tenant, &slowed);
	if (work->slowed_until > step->moment)
		return;
	step->claims = artery_change_take(tenant, slowed ? 1 : step->wanted, step->moment, step->context, &step->trying);
	if (step->claims != NIL && slowed)
	{
		artery_throttle_begun(tenant, step->moment);
		work->slowed_until = artery_throttle_next(tenant, &slowed);
	}
}
