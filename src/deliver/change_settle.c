/*
 * change_settle.c
 *		What becomes of a change after it was sent, or could not be.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "deliver/change.h"
#include "deliver/change_row.h"
#include "deliver/guard_check.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "tenant/tenant.h"

#define BACKOFF_FIRST (60 * USECS_PER_SEC)
#define BACKOFF_MOST USECS_PER_HOUR
#define RECONCILE_FIRST (5 * USECS_PER_SEC)
#define THROTTLE_DEFAULT (5 * USECS_PER_MINUTE)

static ArteryStatement update_status = {
	"UPDATE artery.budget_owner SET updated_at = $4, "
	"  status = CASE WHEN budget_owner_id = $2 THEN $3 ELSE status END, "
	"  effective_status = CASE "
	"    WHEN budget_owner_id = $2 AND effective_status = ANY (ARRAY['ACTIVE', 'PAUSED']) THEN $3 "
	"    WHEN budget_owner_id <> $2 AND effective_status = 'ACTIVE' AND $3 = 'PAUSED' THEN 'CAMPAIGN_PAUSED' "
	"    WHEN budget_owner_id <> $2 AND effective_status = 'CAMPAIGN_PAUSED' AND $3 = 'ACTIVE' THEN 'ACTIVE' "
	"    ELSE effective_status END "
	" WHERE tenant_id = $1 AND (budget_owner_id = $2 OR campaign_id = $2)",
	4, {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};
/* In the order in which a sync takes them. */
static ArteryStatement update_ads = {
	"WITH locked AS ("
	"  SELECT ad_id, CASE WHEN adset_id = $2 THEN 'ADSET_PAUSED' ELSE 'CAMPAIGN_PAUSED' END AS paused "
	"    FROM artery.ad_state WHERE tenant_id = $1 AND (ad_id = $2 OR adset_id = $2 OR campaign_id = $2) "
	"   ORDER BY ad_id FOR UPDATE) "
	"UPDATE artery.ad_state s SET updated_at = $4, effective_status = CASE "
	"    WHEN s.ad_id = $2 AND s.effective_status = ANY (ARRAY['ACTIVE', 'PAUSED']) THEN $3 "
	"    WHEN s.ad_id <> $2 AND s.effective_status = 'ACTIVE' AND $3 = 'PAUSED' THEN l.paused "
	"    WHEN s.ad_id <> $2 AND s.effective_status = l.paused AND $3 = 'ACTIVE' THEN 'ACTIVE' "
	"    ELSE s.effective_status END "
	"  FROM locked l WHERE s.tenant_id = $1 AND s.ad_id = l.ad_id",
	4, {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};

static void settle_locked(ChangeRow *row, TimestampTz moment);

void
artery_change_settle(ChangeTask *tasks, int count, bool wait)
{
	ArteryScope scope;
	ChangeBatch batch;
	const ArteryTenant *tenant;
	ChangeRow  *rows;
	GuardFacts **facts;
	TimestampTz moment;
	int			ramps = 0;
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
	count = artery_change_unlike(rows, artery_change_lock(&batch, tasks, count, !wait, rows));
	moment = artery_clock_moment();
	for (i = 0; i < count; i++)
	{
		if (rows[i].task->settlement->outcome == OUTCOME_APPLIED && artery_change_ramps(&rows[i]) && tenant != NULL)
			facts[ramps++] = &rows[i].facts;
	}
	artery_guard_load(tenant, facts, ramps, moment, false);
	for (i = 0; i < count; i++)
	{
		settle_locked(&rows[i], moment);
		rows[i].task->verdict = VERDICT_ALREADY;
		rows[i].task->done = true;
	}
	artery_change_flush(&batch);
	artery_scope_leave(&scope);
}

/* Uniform in 0..1, from the session's generator. */
static double
draw(void)
{
	LOCAL_FCINFO(fcinfo, 0);

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	return DatumGetFloat8(drandom(fcinfo));
}

/* first * 2^(failures - 1), at most an hour, and up to a quarter more by chance. */
static int64
backoff(int64 first, int failures)
{
	int64		delay = first;

	while (--failures > 0 && delay < BACKOFF_MOST)
		delay *= 2;
	delay = Min(delay, BACKOFF_MOST);
	return delay + (int64) (delay / 4 * draw());
}

/* The numbers the guard foresees for the next step; velocity unless something else is in the way. */
static void
plan_next_step(ChangeRow *row, TimestampTz moment, ChangeMove *move)
{
	GuardRequest request = {
		.tenant = artery_tenant_find(row->tenant_id),.facts = &row->facts,.campaign_id = row->campaign_id,
		.budget_owner_id = row->target_id,.target = row->wish.budget,.any_step = row->safety_override,
		.target_id = row->target_id,.change_id = row->change_id,.in_force = row->sending.budget
	};
	GuardVerdict guard;

	move->state = "approved";
	move->run_at = moment;
	if (request.tenant == NULL)
		return;
	if (request.tenant->settings.daily_budget != NULL)
		artery_change_flush(row->batch);
	artery_guard_judge(&request, moment, &guard);
	if (guard.allowed || guard.refused != NULL)
		return;
	move->state = "blocked";
	move->rule = guard.rule;
	move->detail = guard.checks;
	move->next_allowed_at = guard.next_allowed_at;
	move->run_at = artery_guard_run_at(&guard, moment);
}

static void
note_status(const ChangeRow *row, TimestampTz moment)
{
	Datum		values[4];

	values[0] = CStringGetTextDatum(row->tenant_id);
	values[1] = CStringGetTextDatum(row->target_id);
	values[2] = CStringGetTextDatum(row->sending.status);
	values[3] = TimestampTzGetDatum(moment);
	(void) artery_execute(&update_status, values, NULL, false, 0);
	(void) artery_execute(&update_ads, values, NULL, false, 0);
}

bool
artery_change_ramps(const ChangeRow *row)
{
	return row->is_budget && !row->dry_run && !artery_change_same(&row->sending, &row->wish);
}

void
artery_change_applied(ChangeRow *row, const ChangeRecord *proof, TimestampTz moment)
{
	ChangeMove	move = {.state = "completed",.run_at = DT_NOEND,.reached = row->sending};
	ChangeRecord record = *proof;
	bool		is_step = artery_change_ramps(row);

	record.outcome = is_step ? "step" : "completed";
	record.old = row->from;
	record.new = row->sending;
	record.checks = row->checks;
	artery_change_record(row, &record, moment);
	if (!row->dry_run && row->is_budget)
		artery_guard_sent(&row->batch->guard, &row->facts, row->sending.budget, row->change_id, moment);
	else if (!row->dry_run)
		note_status(row, moment);
	if (is_step && row->newer == NULL)
		plan_next_step(row, moment, &move);
	else if (is_step)
	{
		ChangeRecord end = {.outcome = "superseded",.old = row->sending,.new = row->wish,.duration_ms = -1};

		end.error = move.error = psprintf("superseded by change %s", row->newer);
		move.state = end.outcome;
		move.failures = row->failures;
		artery_change_record(row, &end, moment);
	}
	artery_change_move(row, &move, moment);
}

/* An attempt that spends a failure: again later, or after the last one never. */
static void
retry(const ChangeRow *row, const ChangeSettlement *settlement, ChangeMove *move, ChangeRecord *record,
	  TimestampTz moment)
{
	move->failures = row->failures + 1;
	if (move->failures >= CHANGE_MAX_ATTEMPTS)
	{
		move->state = record->outcome = "failed";
		return;
	}
	move->state = "approved";
	record->outcome = "retry";
	move->run_at = Max(moment + backoff(BACKOFF_FIRST, move->failures), settlement->not_before);
}

/* A wait that somebody imposed: spends no attempt. */
static void
throttle(const ChangeRow *row, const ChangeSettlement *settlement, ChangeMove *move, ChangeRecord *record,
		 TimestampTz moment)
{
	move->state = record->outcome = "blocked";
	move->rule = record->rule = settlement->rule != NULL ? settlement->rule : "throttled";
	move->run_at = settlement->not_before;
	if (move->run_at == DT_NOBEGIN)
		move->run_at = moment + THROTTLE_DEFAULT;
	move->next_allowed_at = record->next_allowed_at = move->run_at;
}

/* May have been applied: read what is in force, soon at first. */
static void
leave_unknown(const ChangeRow *row, const ChangeSettlement *settlement, ChangeMove *move, ChangeRecord *record,
			  TimestampTz moment)
{
	move->state = record->outcome = "unknown";
	move->maybe_sent = true;
	if (settlement->outcome != OUTCOME_THROTTLED)
		move->failures = row->failures + 1;
	else
		move->rule = settlement->rule;	/* whoever ends that wait finds it by its rule */
	move->run_at = Max(moment + backoff(RECONCILE_FIRST, move->failures), settlement->not_before);
	move->next_allowed_at = move->run_at;
}

static void
settle_locked(ChangeRow *row, TimestampTz moment)
{
	const ChangeSettlement *settlement = row->task->settlement;
	ChangeMove	move = {.run_at = DT_NOEND,.failures = row->failures,.error = settlement->error};
	ChangeRecord record = {.old = row->from,.new = row->sending,.checks = row->checks,.response = settlement->response,
		.error = settlement->error,.duration_ms = settlement->duration_ms
	};
	bool		may_have_sent = artery_change_json(&row->sending) != NULL;
	bool		say = true;

	if (settlement->outcome == OUTCOME_APPLIED)
	{
		if (!may_have_sent)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("change %s was settled as applied, but nothing was judged to be sent", row->change_id)));
		artery_change_applied(row, &record, moment);
		return;
	}
	/* an attempt before this one is still not known to be applied or not */
	if (settlement->outcome == OUTCOME_UNKNOWN ? may_have_sent : row->reconcile && settlement->outcome != OUTCOME_FAILED)
		leave_unknown(row, settlement, &move, &record, moment);
	else
	{
		if (!row->reconcile)
			artery_guard_release(&row->batch->guard, row->change_id, row->attempt);
		if (settlement->outcome == OUTCOME_FAILED)
			move.state = record.outcome = "failed";
		else if (settlement->outcome == OUTCOME_THROTTLED)
		{
			throttle(row, settlement, &move, &record, moment);
			/* a wait prolonged again and again (no token yet) is told once */
			say = row->blocked_rule == NULL || strcmp(row->blocked_rule, move.rule) != 0;
		}
		else
			retry(row, settlement, &move, &record, moment);
	}
	if (say)
		artery_change_record(row, &record, moment);
	if (row->newer != NULL && !move.maybe_sent && strcmp(move.state, "failed") != 0)
		artery_change_supersede(row, NULL, psprintf("superseded by change %s", row->newer), moment);
	else
		artery_change_move(row, &move, moment);
}
