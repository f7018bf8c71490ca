/*
 * guard_check.c
 *		The guard's judgement, by the facts of guard_facts.c.
 *
 * The two SQL functions at the end answer "what if" and reserve nothing.
 */
#include "artery.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "deliver/currency.h"
#include "deliver/guard.h"
#include "deliver/guard_check.h"
#include "deliver/owner.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"

#define ACTION_HOUR (60 * USECS_PER_MINUTE)
/* Where no moment is foreseeable (no budget ever seen, a limit of 0), look again after this. */
#define LOOK_AGAIN USECS_PER_HOUR

typedef struct RateCheck
{
	bool		allowed;
	int			count;
	int			limit;
	TimestampTz next_allowed_at;	/* DT_NOEND if never */
} RateCheck;

PG_FUNCTION_INFO_V1(artery_check_rate_limit);
PG_FUNCTION_INFO_V1(artery_check_budget_velocity);
PG_FUNCTION_INFO_V1(artery_currency_digits_sql);

static void check_actions(const TimestampTz *actions, int count, int limit, TimestampTz as_of, RateCheck *check);

static const char *
time_text(TimestampTz moment)
{
	return TIMESTAMP_NOT_FINITE(moment) ? "null" : psprintf("\"%s\"", timestamptz_to_str(moment));
}

static const char *
numeric_text(Numeric number)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
}

static void
append_rate(StringInfo checks, const char *rule, const RateCheck *check)
{
	appendStringInfo(checks, "%s\"%s\": {\"allowed\": %s, \"count\": %d, \"limit\": %d, \"next_allowed_at\": %s}",
					 checks->len > 1 ? ", " : "", rule, check->allowed ? "true" : "false", check->count, check->limit,
					 time_text(check->next_allowed_at));
}

void
artery_guard_block(GuardVerdict *verdict, const char *rule, TimestampTz next_allowed_at)
{
	if (verdict->allowed || next_allowed_at > verdict->next_allowed_at)
	{
		verdict->rule = rule;
		verdict->next_allowed_at = next_allowed_at;
	}
	verdict->allowed = false;
}

/* The budget of the window that binds: the lowest for an increase, the highest for a decrease. */
static int64
binding_budget(const GuardLimits *limits, int64 target)
{
	bool		increase = target > limits->current || (target == limits->current && target > limits->max_allowed);

	return increase ? limits->lowest : limits->highest;
}

static void
judge_velocity(const GuardRequest *request, TimestampTz moment, GuardVerdict *verdict, StringInfo checks)
{
	const GuardObservation *seen = request->facts->seen;
	int			nseen = request->facts->nseen;
	int			digits = artery_currency_digits(request->tenant->settings.currency);
	GuardObservation assumed;
	GuardRule	rule;
	GuardLimits limits;
	int64		target = artery_guard_units(request->target, false);
	int64		step = target;
	TimestampTz next_allowed_at;

	artery_guard_rule(request->tenant, &rule);
	if (nseen == 0 && request->assumed != NULL)
	{
		assumed.at = moment;
		assumed.budget = artery_guard_units(request->assumed, false);
		seen = &assumed;
		nseen = 1;
	}
	artery_guard_limits(seen, nseen, moment, &rule, &limits);
	verdict->step = request->target;
	if (request->any_step)
	{
		appendStringInfo(checks, ", \"velocity\": {\"overridden\": true, \"wanted\": %s}", numeric_text(request->target));
		return;
	}
	if (!limits.known)
	{
		appendStringInfoString(checks, ", \"velocity\": {\"allowed\": false, \"base_budget\": null}");
		artery_guard_block(verdict, "unknown_budget", DT_NOEND);
		return;
	}
	next_allowed_at = artery_guard_step_at(seen, nseen, moment, &rule, target);
	if (artery_guard_step(&limits, target, &step))
		verdict->step = step == target ? request->target : artery_guard_amount(step, digits);
	else
		artery_guard_block(verdict, "velocity", next_allowed_at);
	appendStringInfo(checks, ", \"velocity\": {\"allowed\": %s, \"in_force\": %s, \"base_budget\": %s, \"wanted\": %s, "
					 "\"min_allowed\": %s, \"max_allowed\": %s, \"max_percentage\": %g, \"next_allowed_at\": %s",
					 next_allowed_at == moment ? "true" : "false",
					 numeric_text(artery_guard_amount(limits.current, digits)),
					 numeric_text(artery_guard_amount(binding_budget(&limits, target), digits)),
					 numeric_text(request->target), numeric_text(artery_guard_amount(limits.min_allowed, digits)),
					 numeric_text(artery_guard_amount(limits.max_allowed, digits)),
					 request->tenant->settings.velocity_percent, time_text(next_allowed_at));
	if (next_allowed_at == moment)
		appendStringInfo(checks, ", \"step\": %s", numeric_text(verdict->step));
	appendStringInfoChar(checks, '}');
}

void
artery_guard_judge(const GuardRequest *request, TimestampTz moment, GuardVerdict *verdict)
{
	const ArteryTenant *tenant = request->tenant;
	const GuardFacts *facts = request->facts;
	StringInfoData checks;
	RateCheck	rate;

	memset(verdict, 0, sizeof(GuardVerdict));
	verdict->allowed = true;
	verdict->next_allowed_at = moment;
	initStringInfo(&checks);
	appendStringInfoChar(&checks, '{');

	check_actions(facts->actions, facts->nactions, tenant->settings.rate_limit_per_hour, moment, &rate);
	append_rate(&checks, "rate_limit", &rate);
	if (!rate.allowed)
		artery_guard_block(verdict, "rate_limit", rate.next_allowed_at);
	if (request->target != NULL)
	{
		check_actions(facts->owner_actions, facts->nowner_actions, tenant->settings.owner_changes_per_hour, moment,
					  &rate);
		append_rate(&checks, "owner_limit", &rate);
		if (!rate.allowed)
			artery_guard_block(verdict, "owner_limit", rate.next_allowed_at);
		judge_velocity(request, moment, verdict, &checks);
	}
	artery_owner_judge(request, moment, verdict, &checks);
	appendStringInfoChar(&checks, '}');
	verdict->checks = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(checks.data)));
}

TimestampTz
artery_guard_run_at(const GuardVerdict *verdict, TimestampTz moment)
{
	if (!TIMESTAMP_NOT_FINITE(verdict->next_allowed_at))
		return verdict->next_allowed_at;
	return verdict->look_at != 0 ? verdict->look_at : moment + LOOK_AGAIN;
}

/* Actions of the last hour, the newest first: the limit-th is the one whose leaving frees a place. */
static void
check_actions(const TimestampTz *actions, int count, int limit, TimestampTz as_of, RateCheck *check)
{
	check->count = count;
	check->limit = limit;
	check->allowed = count < limit;
	check->next_allowed_at = as_of;
	if (limit == 0)
		check->next_allowed_at = DT_NOEND;
	else if (!check->allowed)
		check->next_allowed_at = actions[limit - 1] + ACTION_HOUR;
}

static void
require_arguments(FunctionCallInfo fcinfo, int count, const char *const *names)
{
	int			i;

	for (i = 0; i < count; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", names[i])));
	if (TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(count - 1)))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_FIELD_OVERFLOW),
				 errmsg("%s must be finite", names[count - 1])));
}

static Datum
answer_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	description;

	if (get_call_result_type(fcinfo, NULL, &description) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(description), values, nulls));
}

/* artery.check_rate_limit(tenant_id, campaign_id, as_of) */
Datum
artery_check_rate_limit(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"tenant_id", "campaign_id", "as_of"};
	const ArteryTenant *tenant;
	ArteryScope scope;
	GuardFacts	facts = {0};
	GuardFacts *asked[] = {&facts};
	RateCheck	check;
	Datum		values[4];
	bool		nulls[4] = {false};

	require_arguments(fcinfo, 3, names);
	tenant = artery_tenant_get(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	facts.campaign_id = text_to_cstring(PG_GETARG_TEXT_PP(1));
	/* the facts live in SPI's memory: everything is worked out before the scope ends */
	artery_scope_enter_lookups(&scope);
	artery_guard_load(tenant, asked, 1, PG_GETARG_TIMESTAMPTZ(2), true);
	check_actions(facts.actions, facts.nactions, tenant->settings.rate_limit_per_hour, PG_GETARG_TIMESTAMPTZ(2),
				  &check);
	artery_scope_leave(&scope);

	values[0] = BoolGetDatum(check.allowed);
	values[1] = Int32GetDatum(check.count);
	values[2] = Int32GetDatum(check.limit);
	values[3] = TimestampTzGetDatum(check.next_allowed_at);
	nulls[3] = TIMESTAMP_NOT_FINITE(check.next_allowed_at);
	return answer_row(fcinfo, values, nulls);
}

static void
require_budget(Numeric budget)
{
	if (numeric_is_nan(budget) || numeric_is_inf(budget) ||
		DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(budget), NumericGetDatum(int64_to_numeric(0)))))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("new_budget %s is out of range", numeric_text(budget)),
				 errdetail("A budget is finite and not negative."),
				 errhint("Give it per day in the account's currency, for example 120.00.")));
}

/* Deviation in percent, with four decimals. */
static Datum
percentage(Numeric budget, Numeric base)
{
	Datum		difference = DirectFunctionCall2(numeric_sub, NumericGetDatum(budget), NumericGetDatum(base));
	Datum		share = DirectFunctionCall2(numeric_div,
											DirectFunctionCall2(numeric_mul, difference,
																NumericGetDatum(int64_to_numeric(100))),
											NumericGetDatum(base));

	return DirectFunctionCall2(numeric_round, share, Int32GetDatum(4));
}

/* artery.check_budget_velocity(tenant_id, budget_owner_id, new_budget, as_of) */
Datum
artery_check_budget_velocity(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"tenant_id", "budget_owner_id", "new_budget", "as_of"};
	const ArteryTenant *tenant;
	ArteryScope scope;
	GuardFacts	facts = {.campaign_id = "",.is_budget = true};
	GuardFacts *asked[] = {&facts};
	GuardRule	rule;
	GuardLimits limits;
	TimestampTz as_of;
	TimestampTz passes_at;
	Numeric		budget;
	Numeric		base;
	int64		low;
	int64		high;
	int			digits;
	Datum		values[7];
	bool		nulls[7] = {false};

	require_arguments(fcinfo, 4, names);
	budget = PG_GETARG_NUMERIC(2);
	as_of = PG_GETARG_TIMESTAMPTZ(3);
	require_budget(budget);
	tenant = artery_tenant_get(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	values[3] = DirectFunctionCall1(float8_numeric, Float8GetDatum(tenant->settings.velocity_percent));

	digits = artery_currency_digits(tenant->settings.currency);
	low = artery_guard_units(budget, false);
	high = artery_guard_units(budget, true);
	facts.target_id = text_to_cstring(PG_GETARG_TEXT_PP(1));
	artery_guard_rule(tenant, &rule);
	artery_scope_enter_lookups(&scope);
	artery_guard_load(tenant, asked, 1, as_of, true);
	artery_guard_limits(facts.seen, facts.nseen, as_of, &rule, &limits);
	passes_at = artery_guard_passes_at(facts.seen, facts.nseen, as_of, &rule, low, high);
	artery_scope_leave(&scope);

	values[0] = BoolGetDatum(passes_at == as_of);
	nulls[1] = nulls[2] = nulls[4] = nulls[5] = !limits.known;
	nulls[6] = TIMESTAMP_NOT_FINITE(passes_at);
	if (limits.known)
	{
		base = artery_guard_amount(binding_budget(&limits, high), digits);
		values[1] = NumericGetDatum(base);
		nulls[2] = artery_guard_units(base, false) == 0;
		if (!nulls[2])
			values[2] = percentage(budget, base);
		values[4] = NumericGetDatum(artery_guard_amount(limits.min_allowed, digits));
		values[5] = NumericGetDatum(artery_guard_amount(limits.max_allowed, digits));
		values[6] = TimestampTzGetDatum(passes_at);
	}
	return answer_row(fcinfo, values, nulls);
}

/* artery.currency_digits(currency) */
Datum
artery_currency_digits_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(artery_currency_digits(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}
