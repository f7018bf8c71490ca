/*
 * guard_facts.c
 *		What the guard reads and writes, for many changes of one tenant at once.
 *
 * A judgement needs a dozen small facts. Read one by one they cost more than
 * everything else together, so each kind is read, and written, by one statement
 * for all the changes that are judged in a transaction.
 */
#include "artery.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "deliver/currency.h"
#include "deliver/guard_check.h"
#include "deliver/owner.h"
#include "runtime/dbtx.h"

#define ACTION_HOUR (60 * USECS_PER_MINUTE)
#define MAX_UNITS INT64CONST(10000000000000000) /* 1e12, more than any budget */
/* A judgement can add what was in doubt, what was read, and what was sent. */
#define ROOM_TO_ADD 3

/* In one order everywhere; LATERAL, so that each row is looked up by its key whatever the planner expects. */
#define LOCK_GUARDS \
	"SELECT r.n FROM (SELECT u.campaign_id, u.n FROM pg_catalog.unnest($2) WITH ORDINALITY u(campaign_id, n) " \
	"                  ORDER BY u.campaign_id) r " \
	" CROSS JOIN LATERAL (SELECT FROM artery.campaign_guard g " \
	"                      WHERE g.tenant_id = $1 AND g.campaign_id = r.campaign_id LIMIT 1 FOR UPDATE OF g "

static ArteryStatement lock_guards = {
	LOCK_GUARDS ") g", 2, {TEXTOID, TEXTARRAYOID}, NULL
};
static ArteryStatement try_lock_guards = {
	LOCK_GUARDS "SKIP LOCKED) g", 2, {TEXTOID, TEXTARRAYOID}, NULL
};
static ArteryStatement insert_guards = {
	"INSERT INTO artery.campaign_guard (tenant_id, campaign_id) "
	"SELECT DISTINCT $1, r.campaign_id FROM pg_catalog.unnest($2) r(campaign_id) "
	" WHERE NOT EXISTS (SELECT FROM artery.campaign_guard g WHERE g.tenant_id = $1 AND g.campaign_id = r.campaign_id) "
	" ORDER BY r.campaign_id ON CONFLICT DO NOTHING",
	2, {TEXTOID, TEXTARRAYOID}, NULL
};
static ArteryStatement select_actions = {
	"SELECT ARRAY(SELECT a.acted_at FROM artery.campaign_action a "
	"              WHERE a.tenant_id = $1 AND a.campaign_id = r.campaign_id AND a.acted_at > $4 AND a.acted_at <= $5 "
	"              ORDER BY a.acted_at DESC), "
	"       ARRAY(SELECT a.acted_at FROM artery.campaign_action a "
	"              WHERE a.tenant_id = $1 AND a.budget_owner_id = r.owner_id AND a.acted_at > $4 AND a.acted_at <= $5 "
	"              ORDER BY a.acted_at DESC) "
	"  FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) WITH ORDINALITY r(campaign_id, owner_id, n) ORDER BY r.n",
	5, {TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement select_budgets = {
	"SELECT r.n, o.observed_at, o.budget, o.source = 'sent' "
	"  FROM pg_catalog.unnest($2) WITH ORDINALITY r(owner_id, n) "
	"  CROSS JOIN LATERAL ( "
	"    (SELECT b.observed_at, b.observation_seq, b.budget, b.source FROM artery.budget_observation b "
	"      WHERE b.tenant_id = $1 AND b.budget_owner_id = r.owner_id AND b.observed_at <= $3 "
	"      ORDER BY b.observed_at DESC, b.observation_seq DESC LIMIT 1) "
	"    UNION ALL "
	"    (SELECT b.observed_at, b.observation_seq, b.budget, b.source FROM artery.budget_observation b "
	"      WHERE b.tenant_id = $1 AND b.budget_owner_id = r.owner_id AND b.observed_at > $3 AND b.observed_at <= $4)) o "
	" ORDER BY r.n, o.observed_at, o.observation_seq",
	4, {TEXTOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement insert_actions = {
	"INSERT INTO artery.campaign_action (tenant_id, campaign_id, acted_at, budget_owner_id, change_id, attempt, change_type) "
	"SELECT $1, r.campaign_id, r.acted_at, r.owner_id, r.change_id::pg_catalog.uuid, r.attempt, r.change_type "
	"  FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), "
	"                pg_catalog.unnest($6), pg_catalog.unnest($7)) r(campaign_id, acted_at, owner_id, change_id, attempt, change_type)",
	7, {TEXTOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID}, NULL
};
static ArteryStatement delete_actions = {
	"DELETE FROM artery.campaign_action a USING ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) r(change_id, attempt) "
	" WHERE a.tenant_id = $1 AND a.change_id = r.change_id::pg_catalog.uuid AND a.attempt = r.attempt",
	3, {TEXTOID, TEXTARRAYOID, INT4ARRAYOID}, NULL
};
static ArteryStatement insert_observations = {
	"INSERT INTO artery.budget_observation (tenant_id, budget_owner_id, observed_at, budget, source, change_id) "
	"SELECT $1, r.owner_id, r.observed_at, r.budget, CASE WHEN r.change_id IS NULL THEN 'observed' ELSE 'sent' END, "
	"       r.change_id::pg_catalog.uuid "
	"  FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) r(owner_id, observed_at, budget, change_id)",
	5, {TEXTOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, NUMERICARRAYOID, TEXTARRAYOID}, NULL
};
/* In one order everywhere, and so that whoever else writes several owners meets no deadlock. */
static ArteryStatement upsert_owners = {
	"INSERT INTO artery.budget_owner AS o (tenant_id, budget_owner_id, owner_type, campaign_id, budget, observed_at, updated_at) "
	"SELECT $1, r.owner_id, CASE WHEN r.owner_id = r.campaign_id THEN 'campaign' ELSE 'adset' END, r.campaign_id, "
	"       r.budget, r.observed_at, r.observed_at "
	"  FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) r(owner_id, campaign_id, budget, observed_at) ORDER BY r.owner_id "
	"ON CONFLICT (tenant_id, budget_owner_id) DO UPDATE SET budget = EXCLUDED.budget, "
	"  observed_at = EXCLUDED.observed_at, updated_at = EXCLUDED.updated_at, "
	"  campaign_id = COALESCE(o.campaign_id, EXCLUDED.campaign_id)",
	5, {TEXTOID, TEXTARRAYOID, TEXTARRAYOID, NUMERICARRAYOID, TIMESTAMPTZARRAYOID}, NULL
};

static void load_actions(const ArteryTenant *tenant, GuardFacts **facts, int count, const ArteryRows *names,
						 TimestampTz as_of, bool what_if);
static void load_budgets(const ArteryTenant *tenant, GuardFacts **facts, int count, const ArteryRows *names,
						 TimestampTz as_of, bool what_if);

/* One statement; marks what it locked. */
static int
lock_some(ArteryStatement *statement, Datum *values, bool *locked)
{
	int			rows = (int) artery_execute(statement, values, NULL, false, 0);
	int			i;

	for (i = 0; i < rows; i++)
		locked[artery_field_int64(i, 1) - 1] = true;
	return rows;
}

void
artery_guard_lock(const char *tenant_id, const char *const *campaign_ids, int count, bool skip, bool *locked)
{
	ArteryStatement *statement = skip ? &try_lock_guards : &lock_guards;
	ArteryRows	names;
	Datum		values[2];
	int			i;

	if (count == 0)
		return;
	artery_rows_init(&names, 1);
	for (i = 0; i < count; i++)
	{
		artery_rows_add(&names);
		artery_rows_put_text(&names, 0, campaign_ids[i]);
		locked[i] = false;
	}
	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = artery_rows_column(&names, 0, TEXTOID);
	if (lock_some(statement, values, locked) == count)
		return;
	/* queue_ad_change made the rows: inserting here, which may wait, is the exception */
	if (artery_execute(&insert_guards, values, NULL, false, 0) > 0)
		(void) lock_some(statement, values, locked);
}

void
artery_guard_rule(const ArteryTenant *tenant, GuardRule *rule)
{
	rule->window = (int64) rint(tenant->settings.velocity_window_hours * USECS_PER_HOUR);
	rule->ppm = (int64) rint(tenant->settings.velocity_percent * (GUARD_MILLION / 100));
	rule->step = artery_currency_digits(tenant->settings.currency) == 0 ? GUARD_UNITS : GUARD_UNITS / 100;
}

void
artery_guard_load(const ArteryTenant *tenant, GuardFacts **facts, int count, TimestampTz as_of, bool what_if)
{
	ArteryRows	names;
	int			i;

	if (count == 0)
		return;
	artery_rows_init(&names, 2);
	for (i = 0; i < count; i++)
	{
		artery_rows_add(&names);
		artery_rows_put_text(&names, 0, facts[i]->campaign_id);
		if (facts[i]->is_budget)
			artery_rows_put_text(&names, 1, facts[i]->target_id);
	}
	load_actions(tenant, facts, count, &names, as_of, what_if);
	load_budgets(tenant, facts, count, &names, as_of, what_if);
	if (!what_if)
		artery_owner_load(tenant, facts, count, as_of);
}

/* Moments in a column of the last result. */
static TimestampTz *
field_times(int row, int column, int *count)
{
	bool		isnull;
	Datum	   *elements;
	TimestampTz *times;
	int			i;

	deconstruct_array(DatumGetArrayTypeP(artery_field(row, column, &isnull)), TIMESTAMPTZOID, sizeof(TimestampTz),
					  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elements, NULL, count);
	times = palloc(Max(*count, 1) * sizeof(TimestampTz));
	for (i = 0; i < *count; i++)
		times[i] = DatumGetTimestampTz(elements[i]);
	return times;
}

static void
load_actions(const ArteryTenant *tenant, GuardFacts **facts, int count, const ArteryRows *names, TimestampTz as_of,
			 bool what_if)
{
	Datum		values[5];
	int			i;

	values[0] = CStringGetTextDatum(tenant->tenant_id);
	values[1] = artery_rows_column(names, 0, TEXTOID);
	values[2] = artery_rows_column(names, 1, TEXTOID);
	values[3] = TimestampTzGetDatum(as_of - ACTION_HOUR);
	/* who acts counts every action, also one that a clock set back left in the future */
	values[4] = TimestampTzGetDatum(what_if ? as_of : DT_NOEND);
	(void) artery_execute(&select_actions, values, NULL, what_if, 0);
	for (i = 0; i < count; i++)
	{
		facts[i]->actions = field_times(i, 1, &facts[i]->nactions);
		facts[i]->owner_actions = field_times(i, 2, &facts[i]->nowner_actions);
	}
}

static void
load_budgets(const ArteryTenant *tenant, GuardFacts **facts, int count, const ArteryRows *names, TimestampTz as_of,
			 bool what_if)
{
	GuardRule	rule;
	Datum		values[4];
	int			rows;
	int			row = 0;
	int			i;

	artery_guard_rule(tenant, &rule);
	values[0] = CStringGetTextDatum(tenant->tenant_id);
	values[1] = artery_rows_column(names, 1, TEXTOID);
	values[2] = TimestampTzGetDatum(as_of - rule.window);
	values[3] = TimestampTzGetDatum(as_of);
	rows = (int) artery_execute(&select_budgets, values, NULL, what_if, 0);
	for (i = 0; i < count; i++)
	{
		GuardFacts *fact = facts[i];
		int			end = row;

		while (end < rows && artery_field_int64(end, 1) == i + 1)
			end++;
		fact->seen = palloc((end - row + ROOM_TO_ADD) * sizeof(GuardObservation));
		fact->nseen = 0;
		fact->in_force = NULL;
		for (; row < end; row++)
		{
			bool		isnull;
			Numeric		budget = DatumGetNumeric(artery_field(row, 3, &isnull));

			fact->seen[fact->nseen].at = artery_field_time(row, 2);
			fact->seen[fact->nseen++].budget = artery_guard_units(budget, false);
			if (row == end - 1)
				fact->in_force = DatumGetNumericCopy(NumericGetDatum(budget));
			fact->in_force_sent = artery_field_bool(row, 4);
		}
	}
}

void
artery_guard_writes_init(GuardWrites *writes, const char *tenant_id)
{
	writes->tenant_id = tenant_id;
	artery_rows_init(&writes->actions, 6);
	artery_rows_init(&writes->releases, 2);
	artery_rows_init(&writes->observations, 4);
	artery_rows_init(&writes->owners, 4);
}

void
artery_guard_flush(GuardWrites *writes)
{
	artery_rows_execute(&insert_observations, writes->tenant_id, &writes->observations);
	artery_rows_execute(&upsert_owners, writes->tenant_id, &writes->owners);
	artery_rows_execute(&delete_actions, writes->tenant_id, &writes->releases);
	artery_rows_execute(&insert_actions, writes->tenant_id, &writes->actions);
}

void
artery_guard_reserve(GuardWrites *writes, const GuardRequest *request, int attempt, const char *change_type,
					 TimestampTz moment)
{
	ArteryRows *rows = &writes->actions;

	artery_rows_add(rows);
	artery_rows_put_text(rows, 0, request->campaign_id);
	artery_rows_put_time(rows, 1, moment);
	artery_rows_put_text(rows, 2, request->budget_owner_id);
	artery_rows_put_text(rows, 3, request->change_id);
	artery_rows_put(rows, 4, Int32GetDatum(attempt));
	artery_rows_put_text(rows, 5, change_type);
}

void
artery_guard_release(GuardWrites *writes, const char *change_id, int attempt)
{
	artery_rows_add(&writes->releases);
	artery_rows_put_text(&writes->releases, 0, change_id);
	artery_rows_put(&writes->releases, 1, Int32GetDatum(attempt));
}

/* A budget comes into force: in the facts, and as rows to write. */
static void
record_budget(GuardWrites *writes, GuardFacts *facts, Numeric budget, const char *change_id, TimestampTz moment)
{
	ArteryRows *rows = &writes->observations;

	if (facts->seen != NULL)
	{
		facts->seen[facts->nseen].at = moment;
		facts->seen[facts->nseen++].budget = artery_guard_units(budget, false);
	}
	facts->in_force = budget;
	facts->in_force_sent = change_id != NULL;

	artery_rows_add(rows);
	artery_rows_put_text(rows, 0, facts->target_id);
	artery_rows_put_time(rows, 1, moment);
	artery_rows_put(rows, 2, NumericGetDatum(budget));
	artery_rows_put_text(rows, 3, change_id);

	/* a statement writes a row once: of one owner only the last budget counts */
	rows = &writes->owners;
	if (rows->count == 0 || writes->owner_of != facts)
		artery_rows_add(rows);
	writes->owner_of = facts;
	artery_rows_put_text(rows, 0, facts->target_id);
	artery_rows_put_text(rows, 1, facts->campaign_id);
	artery_rows_put(rows, 2, NumericGetDatum(budget));
	artery_rows_put_time(rows, 3, moment);
}

void
artery_guard_observe(GuardWrites *writes, GuardFacts *facts, Numeric budget, TimestampTz moment)
{
	if (facts->in_force == NULL ||
		!DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(facts->in_force), NumericGetDatum(budget))))
		record_budget(writes, facts, budget, NULL, moment);
}

void
artery_guard_sent(GuardWrites *writes, GuardFacts *facts, Numeric budget, const char *change_id, TimestampTz moment)
{
	record_budget(writes, facts, budget, change_id, moment);
}

int64
artery_guard_units(Numeric amount, bool up)
{
	Datum		units = DirectFunctionCall2(numeric_mul, NumericGetDatum(amount),
											NumericGetDatum(int64_to_numeric(GUARD_UNITS)));
	Datum		most = NumericGetDatum(int64_to_numeric(MAX_UNITS));

	units = up ? DirectFunctionCall1(numeric_ceil, units) : DirectFunctionCall1(numeric_floor, units);
	if (DatumGetBool(DirectFunctionCall2(numeric_gt, units, most)))
		return MAX_UNITS;
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, units));
}

/* Or with four decimals where it has more. */
Numeric
artery_guard_amount(int64 units, int digits)
{
	Datum		amount = DirectFunctionCall2(numeric_div, NumericGetDatum(int64_to_numeric(units)),
											 NumericGetDatum(int64_to_numeric(GUARD_UNITS)));
	int64		step = digits == 0 ? GUARD_UNITS : GUARD_UNITS / 100;

	return DatumGetNumeric(DirectFunctionCall2(numeric_round, amount, Int32GetDatum(units % step == 0 ? digits : 4)));
}
