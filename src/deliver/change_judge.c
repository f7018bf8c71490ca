/*
 * change_judge.c
 *		What becomes of a claimed change in view of what is in force now.
 *
 * The order is: what an earlier attempt did is found out first; then whether
 * the wish still stands (a newer one, somebody's own edit); then the guard,
 * under the campaign's lock. With its consent the place is reserved and the
 * value to send is written down before anything is sent.
 */
#include "artery.h"

#include "utils/builtins.h"

#include "deliver/change.h"
#include "deliver/change_row.h"
#include "deliver/guard_check.h"
#include "deliver/owner.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "tenant/tenant.h"

#define RECONCILE_AGAIN USECS_PER_MINUTE
/*
 * A write whose sender is gone, or whose answer got lost, may still be on its way
 * through Meta: that it is not applied counts only this long after it was sent.
 */
#define WRITE_SETTLES (10 * USECS_PER_SEC)

static int	lock_campaigns(ChangeBatch *batch, ChangeRow *rows, int count, bool skip);
static ChangeVerdict judge_locked(ChangeRow *row, const ArteryTenant *tenant, TimestampTz moment);
static void finish(const ChangeRow *row, const char *state, const char *error, const ChangeValue *in_force,
				   TimestampTz moment);
static void ask_again(const ChangeRow *row, TimestampTz run_at, int failures, const char *why, TimestampTz moment);
static bool reconcile(ChangeRow *row, const ChangeValue *in_force, TimestampTz moment, ChangeVerdict *verdict);
static bool already_decided(ChangeRow *row, const LiveState *live, const ChangeValue *in_force, TimestampTz moment,
							ChangeVerdict *verdict);
static ChangeVerdict ask_guard(ChangeRow *row, const ArteryTenant *tenant, const ChangeValue *in_force,
							   TimestampTz moment);
static void block(const ChangeRow *row, const GuardVerdict *guard, TimestampTz moment);

static char *
numeric_text(Numeric number)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
}

void
artery_change_judge(ChangeTask *tasks, int count, bool wait)
{
	ArteryScope scope;
	ChangeBatch batch;
	const ArteryTenant *tenant;
	ChangeRow  *rows;
	GuardFacts **facts;
	TimestampTz moment;
	int			i;

	for (i = 0; i < count; i++)
	{
		tasks[i].verdict = VERDICT_LOST;
		tasks[i].done = wait;
	}
	if (count == 0)
		return;
	artery_scope_enter_lookups(&scope);
	artery_change_begin(&batch, tasks[0].claim->tenant_id);
	tenant = artery_tenant_find(batch.tenant_id);
	rows = palloc(count * sizeof(ChangeRow));
	facts = palloc(count * sizeof(GuardFacts *));
	count = tenant == NULL ? 0 : artery_change_lock(&batch, tasks, count, !wait, rows);
	count = lock_campaigns(&batch, rows, count, !wait);
	moment = artery_clock_moment();
	for (i = 0; i < count; i++)
		facts[i] = &rows[i].facts;
	artery_guard_load(tenant, facts, count, moment, false);
	for (i = 0; i < count; i++)
	{
		rows[i].task->verdict = judge_locked(&rows[i], tenant, moment);
		rows[i].task->done = true;
	}
	artery_change_flush(&batch);
	artery_scope_leave(&scope);
}

/* Lock the campaigns of rows; returns how many rows, moved to the front, have theirs, each another one. */
static int
lock_campaigns(ChangeBatch *batch, ChangeRow *rows, int count, bool skip)
{
	const char **campaign_ids = palloc(Max(count, 1) * sizeof(char *));
	bool	   *locked = palloc(Max(count, 1) * sizeof(bool));
	int			held = 0;
	int			i;

	count = artery_change_unlike(rows, count);
	for (i = 0; i < count; i++)
		campaign_ids[i] = rows[i].campaign_id;
	artery_guard_lock(batch->tenant_id, campaign_ids, count, skip, locked);
	for (i = 0; i < count; i++)
	{
		if (locked[i])
			rows[held++] = rows[i];
	}
	return held;
}

static ChangeVerdict
judge_locked(ChangeRow *row, const ArteryTenant *tenant, TimestampTz moment)
{
	const LiveState *live = row->task->live;
	GuardWrites *writes = &row->batch->guard;
	ChangeValue in_force = {NULL, NULL};
	ChangeVerdict verdict;

	if (live->known)
	{
		if (row->is_budget)
			in_force.budget = live->budget;
		else
			in_force.status = live->status;
	}
	if (row->reconcile && in_force.budget != NULL && !artery_change_same(&in_force, &row->sending) &&
		!artery_change_same(&in_force, &row->from))
		/* what was sent may have been in force until somebody else's edit: the window must know it */
		artery_guard_sent(writes, &row->facts, row->sending.budget, row->change_id, moment - 1);
	if (in_force.budget != NULL)
		artery_guard_observe(writes, &row->facts, in_force.budget, moment);
	if (row->reconcile && !reconcile(row, &in_force, moment, &verdict))
		return verdict;
	if (row->is_budget && !live->known)
	{
		in_force.budget = row->facts.in_force;
		if (in_force.budget == NULL && row->dry_run)
			in_force.budget = row->old.budget;
	}
	if (already_decided(row, live, &in_force, moment, &verdict))
		return verdict;
	return ask_guard(row, tenant, &in_force, moment);
}

/*
 * Find out by what is in force whether the earlier attempt was applied; true
 * if it was not and the change is to be judged anew.
 */
static bool
reconcile(ChangeRow *row, const ChangeValue *in_force, TimestampTz moment, ChangeVerdict *verdict)
{
	ChangeRecord record = {.outcome = "reconciled",.old = row->from,.new = *in_force,.duration_ms = -1};

	if (in_force->budget == NULL && in_force->status == NULL)
	{
		ask_again(row, moment + RECONCILE_AGAIN, row->failures + 1, "what is in force could not be read", moment);
		*verdict = VERDICT_BLOCKED;
		return false;
	}
	if (moment < row->sending_at + WRITE_SETTLES && artery_change_same(in_force, &row->from))
	{
		ask_again(row, row->sending_at + WRITE_SETTLES, row->failures, "it may still be on its way", moment);
		*verdict = VERDICT_BLOCKED;
		return false;
	}
	artery_change_record(row, &record, moment);
	if (artery_change_same(in_force, &row->sending))
	{
		ChangeRecord proof = {.duration_ms = -1};

		row->dry_run = false;	/* whatever the tenant set since: that attempt was sent */
		artery_change_applied(row, &proof, moment);
		*verdict = VERDICT_ALREADY;
		return false;
	}
	if (!artery_change_same(in_force, &row->from))
	{
		artery_change_supersede(row, in_force, "somebody changed it while the outcome was unknown", moment);
		*verdict = VERDICT_SUPERSEDED;
		return false;
	}
	row->reconcile = false;
	row->sending.budget = NULL;
	row->sending.status = NULL;
	if (row->failures < CHANGE_MAX_ATTEMPTS)
		return true;
	finish(row, "failed", "Meta took it and did not apply it", in_force, moment);
	*verdict = VERDICT_REFUSED;
	return false;
}

/* Still not known: read once more, then. */
static void
ask_again(const ChangeRow *row, TimestampTz run_at, int failures, const char *why, TimestampTz moment)
{
	ChangeMove	move = {.state = "unknown",.run_at = run_at,.failures = failures,.error = why,.maybe_sent = true};

	artery_change_move(row, &move, moment);
}

static void
finish(const ChangeRow *row, const char *state, const char *error, const ChangeValue *in_force, TimestampTz moment)
{
	ChangeMove	move = {.state = state,.run_at = DT_NOEND,.failures = row->failures,.error = error};
	ChangeRecord record = {.outcome = state,.old = *in_force,.new = row->wish,.error = error,.duration_ms = -1};

	artery_change_move(row, &move, moment);
	artery_change_record(row, &record, moment);
}

/*
 * Who set what is in force, if not this change: somebody else, unless the last
 * budget observed is one that artery sent. NULL if nobody did.
 *
 * What the change was planned on is the last step of its ramp, or the value
 * before it. A person's newer edit wins, whatever its direction: the person
 * knows why, and we do not.
 */
static char *
edited_by_hand(const ChangeRow *row, const ChangeValue *in_force)
{
	const ChangeValue *planned_on = row->reached.budget != NULL ? &row->reached : &row->old;

	if (in_force->budget == NULL || planned_on->budget == NULL || artery_change_same(in_force, planned_on))
		return NULL;
	if (row->facts.in_force != NULL && row->facts.in_force_sent)
		return NULL;
	return psprintf("somebody changed the budget: planned on %s, in force is %s",
					numeric_text(planned_on->budget), numeric_text(in_force->budget));
}

/* End a change of an object that was read without a daily budget or, unread, is known to have none. */
static bool
keeps_no_budget(const ChangeRow *row, const LiveState *live, const ChangeValue *in_force, TimestampTz moment)
{
	char	   *keeper = artery_owner_keeper(row->tenant_id, row->campaign_id, row->target_id);
	bool		is_keeper = strcmp(keeper, row->target_id) == 0;

	if (!live->known && is_keeper)
		return false;
	finish(row, "failed", is_keeper ? "the object carries no daily budget" :
		   psprintf("the object carries no daily budget; campaign %s keeps it", keeper), in_force, moment);
	return true;
}

/* Whether nothing is left to ask the guard about. */
static bool
already_decided(ChangeRow *row, const LiveState *live, const ChangeValue *in_force, TimestampTz moment,
				ChangeVerdict *verdict)
{
	int			order;
	char	   *why;

	if (row->newer != NULL)
	{
		artery_change_supersede(row, in_force, psprintf("superseded by change %s", row->newer), moment);
		*verdict = VERDICT_SUPERSEDED;
		return true;
	}
	if (artery_change_same(in_force, &row->wish))
	{
		finish(row, "completed", NULL, in_force, moment);
		*verdict = VERDICT_ALREADY;
		return true;
	}
	if (!row->is_budget)
		return false;
	if ((!live->known || live->budget == NULL) && keeps_no_budget(row, live, in_force, moment))
	{
		*verdict = VERDICT_REFUSED;
		return true;
	}
	if (in_force->budget == NULL)
		return false;
	why = edited_by_hand(row, in_force);
	order = artery_change_compare(row->wish.budget, in_force->budget);
	if (why == NULL && (row->increase ? order < 0 : order > 0))
		why = psprintf("the budget in force, %s, is beyond the one wanted", numeric_text(in_force->budget));
	if (why == NULL)
		return false;
	artery_change_supersede(row, in_force, why, moment);
	*verdict = VERDICT_SUPERSEDED;
	return true;
}

static ChangeVerdict
ask_guard(ChangeRow *row, const ArteryTenant *tenant, const ChangeValue *in_force, TimestampTz moment)
{
	const LiveState *live = row->task->live;
	ChangeClaim *claim = row->task->claim;
	GuardRequest request = {
		.tenant = tenant,.facts = &row->facts,.campaign_id = row->campaign_id,
		.budget_owner_id = row->is_budget ? row->target_id : NULL,.target = row->wish.budget,
		.assumed = in_force->budget,.any_step = row->safety_override,.target_id = row->target_id,
		.change_id = row->change_id,.status = row->wish.status,.live_status = live->known ? live->status : NULL,
		.in_force = in_force->budget
	};
	GuardVerdict guard;
	ChangeValue step;
	MemoryContext before;

	if (tenant->settings.daily_budget != NULL)
		artery_change_flush(row->batch);	/* the sum that it caps is of what the others were let send, too */
	artery_guard_judge(&request, moment, &guard);
	if (guard.refused != NULL)
	{
		finish(row, "failed", guard.refused, in_force, moment);
		return VERDICT_REFUSED;
	}
	if (!guard.allowed)
	{
		block(row, &guard, moment);
		return VERDICT_BLOCKED;
	}
	artery_guard_reserve(&row->batch->guard, &request, row->attempt, row->change_type, moment);
	step.budget = guard.step;
	step.status = row->wish.status;
	artery_change_intend(row, &step, in_force, guard.checks, moment);

	before = MemoryContextSwitchTo(row->task->context);
	claim->sending_budget = step.budget == NULL ? NULL : DatumGetNumericCopy(NumericGetDatum(step.budget));
	claim->status = step.status == NULL ? NULL : pstrdup(step.status);
	MemoryContextSwitchTo(before);
	return VERDICT_SEND;
}

/* Wait for the moment it can pass; told in the history only when something is new. */
static void
block(const ChangeRow *row, const GuardVerdict *guard, TimestampTz moment)
{
	ChangeMove	move = {.state = "blocked",.failures = row->failures,.rule = guard->rule,.detail = guard->checks,
		.next_allowed_at = guard->next_allowed_at
	};
	ChangeRecord record = {.outcome = "blocked",.old = row->reached,.new = row->wish,.checks = guard->checks,
		.rule = guard->rule,.next_allowed_at = guard->next_allowed_at,.duration_ms = -1
	};
	TimestampTz before = TIMESTAMP_NOT_FINITE(row->next_allowed_at) ? DT_NOEND : row->next_allowed_at;

	if (record.old.budget == NULL && record.old.status == NULL)
		record.old = row->old;
	move.run_at = artery_guard_run_at(guard, moment);
	artery_change_move(row, &move, moment);
	if (row->blocked_rule == NULL || strcmp(row->blocked_rule, guard->rule) != 0 || before != guard->next_allowed_at)
		artery_change_record(row, &record, moment);
}
