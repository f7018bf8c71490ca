/*
 * guard_check.c
 *		The guard over the tables: what was done, what is in force, and the
 *		reservation of a place under the campaign's lock.
 *
 * Callers of the extern functions are inside a scope (runtime/dbtx.h); the two
 * SQL functions at the end answer "what if" and reserve nothing.
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
#define MAX_UNITS INT64CONST(10000000000000000) /* 1e12, more than any budget */

typedef struct RateCheck
{
	bool		allowed;
	int			count;
	int			limit;
	TimestampTz next_allowed_at;	/* DT_NOEND if never */
} RateCheck;

/* The budgets of an owner as far as a window needs them. */
typedef struct BudgetHistory
{
	int			nseen;
	GuardObservation *seen;
	GuardRule	rule;
	int			digits;			/* of the currency */
} BudgetHistory;

PG_FUNCTION_INFO_V1(artery_check_rate_limit);
PG_FUNCTION_INFO_V1(artery_check_budget_velocity);
PG_FUNCTION_INFO_V1(artery_currency_digits_sql);

/*
 * The limit-th newest action is the one whose leaving frees a place.
 */
static ArteryStatement count_campaign_actions = {
	"SELECT pg_catalog.count(*), "
	"       (SELECT n.acted_at FROM artery.campaign_action n "
	"         WHERE n.tenant_id = $1 AND n.campaign_id = $2 AND n.acted_at > $3 AND n.acted_at <= $4 "
	"         ORDER BY n.acted_at DESC OFFSET GREATEST($5 - 1, 0) LIMIT 1) "
	"  FROM artery.campaign_action a "
	" WHERE a.tenant_id = $1 AND a.campaign_id = $2 AND a.acted_at > $3 AND a.acted_at <= $4",
	5, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID}, NULL
};
static ArteryStatement count_owner_actions = {
	"SELECT pg_catalog.count(*), "
	"       (SELECT n.acted_at FROM artery.campaign_action n "
	"         WHERE n.tenant_id = $1 AND n.budget_owner_id = $2 AND n.acted_at > $3 AND n.acted_at <= $4 "
	"         ORDER BY n.acted_at DESC OFFSET GREATEST($5 - 1, 0) LIMIT 1) "
	"  FROM artery.campaign_action a "
	" WHERE a.tenant_id = $1 AND a.budget_owner_id = $2 AND a.acted_at > $3 AND a.acted_at <= $4",
	5, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID}, NULL
};
static ArteryStatement select_budgets = {
	"SELECT o.observed_at, o.budget FROM ( "
	"    (SELECT b.observed_at, b.observation_seq, b.budget FROM artery.budget_observation b "
	"      WHERE b.tenant_id = $1 AND b.budget_owner_id = $2 AND b.observed_at <= $3 "
	"      ORDER BY b.observed_at DESC, b.observation_seq DESC LIMIT 1) "
	"    UNION ALL "
	"    (SELECT b.observed_at, b.observation_seq, b.budget FROM artery.budget_observation b "
	"      WHERE b.tenant_id = $1 AND b.budget_owner_id = $2 AND b.observed_at > $3 AND b.observed_at <= $4)) o "
	" ORDER BY o.observed_at, o.observation_seq",
	4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement select_in_force = {
	"SELECT b.budget FROM artery.budget_observation b "
	" WHERE b.tenant_id = $1 AND b.budget_owner_id = $2 AND b.observed_at <= $3 "
	" ORDER BY b.observed_at DESC, b.observation_seq DESC LIMIT 1",
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement insert_guard = {
	"INSERT INTO artery.campaign_guard (tenant_id, campaign_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
	2, {TEXTOID, TEXTOID}, NULL
};
static ArteryStatement select_guard = {
	"SELECT FROM artery.campaign_guard WHERE tenant_id = $1 AND campaign_id = $2", 2, {TEXTOID, TEXTOID}, NULL
};
static ArteryStatement lock_guard = {
	"SELECT FROM artery.campaign_guard WHERE tenant_id = $1 AND campaign_id = $2 FOR UPDATE",
	2, {TEXTOID, TEXTOID}, NULL
};
static ArteryStatement try_lock_guard = {
	"SELECT FROM artery.campaign_guard WHERE tenant_id = $1 AND campaign_id = $2 FOR UPDATE SKIP LOCKED",
	2, {TEXTOID, TEXTOID}, NULL
};
static ArteryStatement insert_action = {
	"INSERT INTO artery.campaign_action (tenant_id, campaign_id, acted_at, budget_owner_id, change_id, attempt, change_type) "
	"VALUES ($1, $2, $3, $4, $5::pg_catalog.uuid, $6, $7)",
	7, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, INT4OID, TEXTOID}, NULL
};
static ArteryStatement delete_action = {
	"DELETE FROM artery.campaign_action WHERE tenant_id = $1 AND change_id = $2::pg_catalog.uuid AND attempt = $3",
	3, {TEXTOID, TEXTOID, INT4OID}, NULL
};
static ArteryStatement insert_observation = {
	"INSERT INTO artery.budget_observation (tenant_id, budget_owner_id, observed_at, budget, source, change_id) "
	"VALUES ($1, $2, $3, $4, $5, $6::pg_catalog.uuid)",
	6, {TEXTOID, TEXTOID, TIMESTAMPTZOID, NUMERICOID, TEXTOID, TEXTOID}, NULL
};
static ArteryStatement upsert_owner = {
	"INSERT INTO artery.budget_owner AS o (tenant_id, budget_owner_id, owner_type, campaign_id, budget, observed_at, updated_at) "
	"VALUES ($1, $2, CASE WHEN $2 = $3 THEN 'campaign' ELSE 'adset' END, $3, $4, $5, $5) "
	"ON CONFLICT (tenant_id, budget_owner_id) DO UPDATE SET budget = EXCLUDED.budget, "
	"  observed_at = EXCLUDED.observed_at, updated_at = EXCLUDED.updated_at, "
	"  campaign_id = COALESCE(o.campaign_id, EXCLUDED.campaign_id)",
	5, {TEXTOID, TEXTOID, TEXTOID, NUMERICOID, TIMESTAMPTZOID}, NULL
};

static void load_budgets(const ArteryTenant *tenant, const char *budget_owner_id, TimestampTz as_of, bool read_only,
						 BudgetHistory *history);
static void check_actions(ArteryStatement *statement, const char *tenant_id, const char *object_id, int limit,
						  TimestampTz as_of, bool read_only, RateCheck *check);
static int64 to_units(Numeric amount, bool up);
static Numeric from_units(int64 units, int digits);

bool
artery_guard_lock(const char *tenant_id, const char *campaign_id, bool skip)
{
	Datum		values[2];

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(campaign_id);
	if (artery_execute(skip ? &try_lock_guard : &lock_guard, values, NULL, false, 0) == 1)
		return true;
	/* queue_ad_change made the row: inserting here, which may wait, is the exception */
	if (skip && artery_execute(&select_guard, values, NULL, false, 0) == 1)
		return false;
	(void) artery_execute(&insert_guard, values, NULL, false, 0);
	return artery_execute(skip ? &try_lock_guard : &lock_guard, values, NULL, false, 0) == 1;
}

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
	BudgetHistory history;
	GuardObservation assumed;
	GuardLimits limits;
	int64		target = to_units(request->target, false);
	int64		step = target;
	TimestampTz next_allowed_at;

	load_budgets(request->tenant, request->budget_owner_id, moment, false, &history);
	if (history.nseen == 0 && request->assumed != NULL)
	{
		assumed.at = moment;
		assumed.budget = to_units(request->assumed, false);
		history.seen = &assumed;
		history.nseen = 1;
	}
	artery_guard_limits(history.seen, history.nseen, moment, &history.rule, &limits);
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
	next_allowed_at = artery_guard_step_at(history.seen, history.nseen, moment, &history.rule, target);
	if (artery_guard_step(&limits, target, &step))
		verdict->step = step == target ? request->target : from_units(step, history.digits);
	else
		artery_guard_block(verdict, "velocity", next_allowed_at);
	appendStringInfo(checks, ", \"velocity\": {\"allowed\": %s, \"in_force\": %s, \"base_budget\": %s, \"wanted\": %s, "
					 "\"min_allowed\": %s, \"max_allowed\": %s, \"max_percentage\": %g, \"next_allowed_at\": %s",
					 next_allowed_at == moment ? "true" : "false",
					 numeric_text(from_units(limits.current, history.digits)),
					 numeric_text(from_units(binding_budget(&limits, target), history.digits)),
					 numeric_text(request->target), numeric_text(from_units(limits.min_allowed, history.digits)),
					 numeric_text(from_units(limits.max_allowed, history.digits)),
					 request->tenant->settings.velocity_percent, time_text(next_allowed_at));
	if (next_allowed_at == moment)
		appendStringInfo(checks, ", \"step\": %s", numeric_text(verdict->step));
	appendStringInfoChar(checks, '}');
}

void
artery_guard_judge(const GuardRequest *request, TimestampTz moment, GuardVerdict *verdict)
{
	const ArteryTenant *tenant = request->tenant;
	StringInfoData checks;
	RateCheck	rate;

	memset(verdict, 0, sizeof(GuardVerdict));
	verdict->allowed = true;
	verdict->next_allowed_at = moment;
	initStringInfo(&checks);
	appendStringInfoChar(&checks, '{');

	check_actions(&count_campaign_actions, tenant->tenant_id, request->campaign_id,
				  tenant->settings.rate_limit_per_hour, moment, false, &rate);
	append_rate(&checks, "rate_limit", &rate);
	if (!rate.allowed)
		artery_guard_block(verdict, "rate_limit", rate.next_allowed_at);
	if (request->target != NULL)
	{
		check_actions(&count_owner_actions, tenant->tenant_id, request->budget_owner_id,
					  tenant->settings.owner_changes_per_hour, moment, false, &rate);
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

void
artery_guard_reserve(const GuardRequest *request, const char *change_id, int attempt, const char *change_type,
					 TimestampTz moment)
{
	Datum		values[7];
	char		nulls[] = "       ";

	values[0] = CStringGetTextDatum(request->tenant->tenant_id);
	values[1] = CStringGetTextDatum(request->campaign_id);
	values[2] = TimestampTzGetDatum(moment);
	if (request->budget_owner_id != NULL)
		values[3] = CStringGetTextDatum(request->budget_owner_id);
	else
		nulls[3] = 'n';
	values[4] = CStringGetTextDatum(change_id);
	values[5] = Int32GetDatum(attempt);
	values[6] = CStringGetTextDatum(change_type);
	(void) artery_execute(&insert_action, values, nulls, false, 0);
}

void
artery_guard_release(const char *tenant_id, const char *change_id, int attempt)
{
	Datum		values[3];

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(change_id);
	values[2] = Int32GetDatum(attempt);
	(void) artery_execute(&delete_action, values, NULL, false, 0);
}

static void
record_budget(const char *tenant_id, const char *campaign_id, const char *budget_owner_id, Numeric budget,
			  const char *change_id, TimestampTz moment)
{
	Datum		values[6];
	char		nulls[] = "      ";

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(budget_owner_id);
	values[2] = TimestampTzGetDatum(moment);
	values[3] = NumericGetDatum(budget);
	values[4] = CStringGetTextDatum(change_id != NULL ? "sent" : "observed");
	if (change_id != NULL)
		values[5] = CStringGetTextDatum(change_id);
	else
		nulls[5] = 'n';
	(void) artery_execute(&insert_observation, values, nulls, false, 0);

	values[2] = CStringGetTextDatum(campaign_id);
	values[4] = TimestampTzGetDatum(moment);
	(void) artery_execute(&upsert_owner, values, NULL, false, 0);
}

void
artery_guard_observe(const char *tenant_id, const char *campaign_id, const char *budget_owner_id, Numeric budget,
					 TimestampTz moment)
{
	Numeric		last = artery_guard_in_force(tenant_id, budget_owner_id, moment);

	if (last == NULL ||
		!DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(last), NumericGetDatum(budget))))
		record_budget(tenant_id, campaign_id, budget_owner_id, budget, NULL, moment);
}

void
artery_guard_sent(const char *tenant_id, const char *campaign_id, const char *budget_owner_id, Numeric budget,
				  const char *change_id, TimestampTz moment)
{
	record_budget(tenant_id, campaign_id, budget_owner_id, budget, change_id, moment);
}

Numeric
artery_guard_in_force(const char *tenant_id, const char *budget_owner_id, TimestampTz moment)
{
	Datum		values[3];
	bool		isnull;

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(budget_owner_id);
	values[2] = TimestampTzGetDatum(moment);
	if (artery_execute(&select_in_force, values, NULL, false, 1) == 0)
		return NULL;
	return DatumGetNumericCopy(artery_field(0, 1, &isnull));
}

static void
check_actions(ArteryStatement *statement, const char *tenant_id, const char *object_id, int limit, TimestampTz as_of,
			  bool read_only, RateCheck *check)
{
	Datum		values[5];

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(object_id);
	values[2] = TimestampTzGetDatum(as_of - ACTION_HOUR);
	/* who acts counts every action, also one that a clock set back left in the future */
	values[3] = TimestampTzGetDatum(read_only ? as_of : DT_NOEND);
	values[4] = Int32GetDatum(limit);
	(void) artery_execute(statement, values, NULL, read_only, 0);
	check->count = (int) artery_field_int64(0, 1);
	check->limit = limit;
	check->allowed = check->count < limit;
	check->next_allowed_at = check->allowed ? as_of : artery_field_time(0, 2) + ACTION_HOUR;
	if (limit == 0)
		check->next_allowed_at = DT_NOEND;
}

static void
load_budgets(const ArteryTenant *tenant, const char *budget_owner_id, TimestampTz as_of, bool read_only,
			 BudgetHistory *history)
{
	Datum		values[4];
	uint64		rows;
	uint64		i;

	history->digits = artery_currency_digits(tenant->settings.currency);
	history->rule.window = (int64) rint(tenant->settings.velocity_window_hours * USECS_PER_HOUR);
	history->rule.ppm = (int64) rint(tenant->settings.velocity_percent * (GUARD_MILLION / 100));
	history->rule.step = history->digits == 0 ? GUARD_UNITS : GUARD_UNITS / 100;

	values[0] = CStringGetTextDatum(tenant->tenant_id);
	values[1] = CStringGetTextDatum(budget_owner_id);
	values[2] = TimestampTzGetDatum(as_of - history->rule.window);
	values[3] = TimestampTzGetDatum(as_of);
	rows = artery_execute(&select_budgets, values, NULL, read_only, 0);
	history->nseen = (int) rows;
	history->seen = palloc(Max(rows, 1) * sizeof(GuardObservation));
	for (i = 0; i < rows; i++)
	{
		bool		isnull;

		history->seen[i].at = artery_field_time(i, 1);
		history->seen[i].budget = to_units(DatumGetNumeric(artery_field(i, 2, &isnull)), false);
	}
}

/* Whole units at or below (up: at or above) an amount; no more than MAX_UNITS. */
static int64
to_units(Numeric amount, bool up)
{
	Datum		units = DirectFunctionCall2(numeric_mul, NumericGetDatum(amount),
											NumericGetDatum(int64_to_numeric(GUARD_UNITS)));
	Datum		most = NumericGetDatum(int64_to_numeric(MAX_UNITS));

	units = up ? DirectFunctionCall1(numeric_ceil, units) : DirectFunctionCall1(numeric_floor, units);
	if (DatumGetBool(DirectFunctionCall2(numeric_gt, units, most)))
		return MAX_UNITS;
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, units));
}

/* With the currency's decimals, or four where it has more. */
static Numeric
from_units(int64 units, int digits)
{
	Datum		amount = DirectFunctionCall2(numeric_div, NumericGetDatum(int64_to_numeric(units)),
											 NumericGetDatum(int64_to_numeric(GUARD_UNITS)));
	int64		step = digits == 0 ? GUARD_UNITS : GUARD_UNITS / 100;

	return DatumGetNumeric(DirectFunctionCall2(numeric_round, amount, Int32GetDatum(units % step == 0 ? digits : 4)));
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
	RateCheck	check;
	Datum		values[4];
	bool		nulls[4] = {false};

	require_arguments(fcinfo, 3, names);
	tenant = artery_tenant_get(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	artery_scope_enter(&scope);
	check_actions(&count_campaign_actions, tenant->tenant_id, text_to_cstring(PG_GETARG_TEXT_PP(1)),
				  tenant->settings.rate_limit_per_hour, PG_GETARG_TIMESTAMPTZ(2), true, &check);
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
	BudgetHistory history;
	GuardLimits limits;
	TimestampTz as_of;
	TimestampTz passes_at;
	Numeric		budget;
	Numeric		base;
	int64		low;
	int64		high;
	Datum		values[7];
	bool		nulls[7] = {false};

	require_arguments(fcinfo, 4, names);
	budget = PG_GETARG_NUMERIC(2);
	as_of = PG_GETARG_TIMESTAMPTZ(3);
	require_budget(budget);
	tenant = artery_tenant_get(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	values[3] = DirectFunctionCall1(float8_numeric, Float8GetDatum(tenant->settings.velocity_percent));

	/* history.seen lives in SPI's memory: everything is worked out before the scope ends */
	artery_scope_enter(&scope);
	load_budgets(tenant, text_to_cstring(PG_GETARG_TEXT_PP(1)), as_of, true, &history);
	low = to_units(budget, false);
	high = to_units(budget, true);
	artery_guard_limits(history.seen, history.nseen, as_of, &history.rule, &limits);
	passes_at = artery_guard_passes_at(history.seen, history.nseen, as_of, &history.rule, low, high);
	artery_scope_leave(&scope);

	values[0] = BoolGetDatum(passes_at == as_of);
	nulls[1] = nulls[2] = nulls[4] = nulls[5] = !limits.known;
	nulls[6] = TIMESTAMP_NOT_FINITE(passes_at);
	if (limits.known)
	{
		base = from_units(binding_budget(&limits, high), history.digits);
		values[1] = NumericGetDatum(base);
		nulls[2] = to_units(base, false) == 0;
		if (!nulls[2])
			values[2] = percentage(budget, base);
		values[4] = NumericGetDatum(from_units(limits.min_allowed, history.digits));
		values[5] = NumericGetDatum(from_units(limits.max_allowed, history.digits));
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
