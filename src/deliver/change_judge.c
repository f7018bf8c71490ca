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

#include "catalog/pg_type.h"
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

static ArteryStatement mark_sending = {
	"UPDATE artery.ad_change SET sending_value = $3, sending_from = $4, checks = $5, blocked_rule = NULL, "
	"  blocked_detail = NULL, next_allowed_at = NULL, reconcile = false, sending_at = $6, updated_at = $6 "
	"WHERE tenant_id = $1 AND change_id = $2::pg_catalog.uuid",
	6, {TEXTOID, TEXTOID, JSONBOID, JSONBOID, JSONBOID, TIMESTAMPTZOID}, NULL
};

static ArteryStatement select_last_source = {
	"SELECT b.source = 'sent' FROM artery.budget_observation b "
	" WHERE b.tenant_id = $1 AND b.budget_owner_id = $2 "
	" ORDER BY b.observed_at DESC, b.observation_seq DESC LIMIT 1",
	2, {TEXTOID, TEXTOID}, NULL
};

static ChangeVerdict judge_locked(ChangeClaim *claim, ChangeRow *row, const LiveState *live, TimestampTz moment,
								  ArteryScope *scope);
static void finish(const ChangeRow *row, const char *state, const char *error, const ChangeValue *in_force,
				   TimestampTz moment);
static void ask_again(const ChangeRow *row, TimestampTz run_at, int failures, const char *why, TimestampTz moment);
static bool reconcile(ChangeRow *row, const ChangeValue *in_force, TimestampTz moment, ChangeVerdict *verdict);
static bool already_decided(ChangeRow *row, const LiveState *live, const ChangeValue *in_force, TimestampTz moment,
							ChangeVerdict *verdict);
static ChangeVerdict ask_guard(ChangeClaim *claim, ChangeRow *row, const LiveState *live, const ChangeValue *in_force,
							   TimestampTz moment, ArteryScope *scope);
static void block(const ChangeRow *row, const GuardVerdict *guard, TimestampTz moment);

static char *
numeric_text(Numeric number)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
}

ChangeVerdict
artery_change_judge(ChangeClaim *claim, const LiveState *live)
{
	ArteryScope scope;
	ChangeRow	row;
	ChangeVerdict verdict = VERDICT_LOST;

	artery_scope_enter(&scope);
	if (artery_change_lock(claim->tenant_id, claim->change_id, claim->attempt, &row) &&
		artery_guard_lock(row.tenant_id, row.campaign_id, false))
		verdict = judge_locked(claim, &row, live, artery_clock_moment(), &scope);
	artery_scope_leave(&scope);
	return verdict;
}

static ChangeVerdict
judge_locked(ChangeClaim *claim, ChangeRow *row, const LiveState *live, TimestampTz moment, ArteryScope *scope)
{
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
		artery_guard_sent(row->tenant_id, row->campaign_id, row->target_id, row->sending.budget, row->change_id,
						  moment - 1);
	if (in_force.budget != NULL)
		artery_guard_observe(row->tenant_id, row->campaign_id, row->target_id, in_force.budget, moment);
	if (row->reconcile && !reconcile(row, &in_force, moment, &verdict))
		return verdict;
	if (row->is_budget && !live->known)
	{
		in_force.budget = artery_guard_in_force(row->tenant_id, row->target_id, moment);
		if (in_force.budget == NULL && row->dry_run)
			in_force.budget = row->old.budget;
	}
	if (already_decided(row, live, &in_force, moment, &verdict))
		return verdict;
	return ask_guard(claim, row, live, &in_force, moment, scope);
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
	Datum		values[2];

	if (in_force->budget == NULL || planned_on->budget == NULL || artery_change_same(in_force, planned_on))
		return NULL;
	values[0] = CStringGetTextDatum(row->tenant_id);
	values[1] = CStringGetTextDatum(row->target_id);
	if (artery_execute(&select_last_source, values, NULL, false, 1) == 1 && artery_field_bool(0, 1))
		return NULL;
	return psprintf("somebody changed the budget: planned on %s, in force is %s",
					numeric_text(planned_on->budget), numeric_text(in_force->budget));
}

/* Whether nothing is left to ask the guard about. */
static bool
already_decided(ChangeRow *row, const LiveState *live, const ChangeValue *in_force, TimestampTz moment,
				ChangeVerdict *verdict)
{
	int			order;
	char	   *why;
	char	   *keeper;

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
	keeper = artery_owner_keeper(row->tenant_id, row->campaign_id, row->target_id);
	if (live->known ? live->budget == NULL : strcmp(keeper, row->target_id) != 0)
	{
		finish(row, "failed", strcmp(keeper, row->target_id) == 0 ? "the object carries no daily budget" :
			   psprintf("the object carries no daily budget; campaign %s keeps it", keeper), in_force, moment);
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
ask_guard(ChangeClaim *claim, ChangeRow *row, const LiveState *live, const ChangeValue *in_force, TimestampTz moment,
		  ArteryScope *scope)
{
	const ArteryTenant *tenant = artery_tenant_find(row->tenant_id);
	GuardRequest request = {
		.tenant = tenant,.campaign_id = row->campaign_id,
		.budget_owner_id = row->is_budget ? row->target_id : NULL,.target = row->wish.budget,
		.assumed = in_force->budget,.any_step = row->safety_override,.target_id = row->target_id,
		.change_id = row->change_id,.status = row->wish.status,.live_status = live->known ? live->status : NULL,
		.in_force = in_force->budget
	};
	GuardVerdict guard;
	ChangeValue step;
	Datum		values[6];
	char		nulls[] = "      ";
	Jsonb	   *from = artery_change_json(in_force);
	MemoryContext before;

	if (tenant == NULL)
		return VERDICT_LOST;
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
	artery_guard_reserve(&request, row->change_id, row->attempt, row->change_type, moment);
	step.budget = guard.step;
	step.status = row->wish.status;
	values[0] = CStringGetTextDatum(row->tenant_id);
	values[1] = CStringGetTextDatum(row->change_id);
	values[2] = PointerGetDatum(artery_change_json(&step));
	values[3] = PointerGetDatum(from);
	nulls[3] = from == NULL ? 'n' : ' ';
	values[4] = PointerGetDatum(guard.checks);
	values[5] = TimestampTzGetDatum(moment);
	(void) artery_execute(&mark_sending, values, nulls, false, 0);

	before = MemoryContextSwitchTo(scope->caller);
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
