/*
 * owner.c
 *		What a budget owner and its account allow, beyond rate and velocity.
 *
 * What Meta told when it was read last is taken for true; what was read just
 * now, before a change is judged, wins over it. Facts that nobody ever told
 * hold nothing back.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/json.h"

#include "deliver/currency.h"
#include "deliver/owner.h"
#include "runtime/dbtx.h"
#include "runtime/guc.h"

#define ACCOUNT_ACTIVE 1
#define FLOOR_PERCENT 110		/* of what was spent today */

/* What was told of an owner and its account; NULL where nothing was. */
typedef struct OwnerFacts
{
	char	   *status;			/* ARCHIVED and DELETED objects take no change */
	char	   *learning_status;	/* of a campaign: that of its ad sets */
	char	   *currency;
	char	   *account_currency;
	Numeric		own_min;		/* bounds that a person gave this owner; NULL: the tenant's hold */
	Numeric		own_max;
	Numeric		minimum;		/* the greater one of owner and account */
	Numeric		spend_today;	/* on the account's day; NULL if not known */
	int			account_status; /* ACCOUNT_ACTIVE where not known */
	char	   *day;			/* the account's, for the checks */
	TimestampTz day_ends;
} OwnerFacts;

static ArteryStatement select_account = {
	"SELECT x.currency, x.min_daily_budget, COALESCE(x.account_status, 1), x.time_zone FROM artery.ad_account x "
	" WHERE x.tenant_id = $1 AND x.account_id = COALESCE($2, x.account_id) ORDER BY x.synced_at DESC LIMIT 1",
	2, {TEXTOID, TEXTOID}, NULL
};
static ArteryStatement select_facts = {
	"SELECT o.status, "
	"       COALESCE(o.learning_status, (SELECT l.learning_status FROM artery.budget_owner l "
	"         WHERE l.tenant_id = $1 AND l.campaign_id = r.target_id AND l.learning_status = 'LEARNING' "
	"           AND COALESCE(l.effective_status, 'ACTIVE') = 'ACTIVE' LIMIT 1)), o.currency, o.minimum, o.spend_day, o.spend_today, "
	"       (SELECT pg_catalog.sum((SELECT d.spend FROM artery.ad_day d "
	"                                WHERE d.tenant_id = $1 AND d.ad_id = s.ad_id AND d.day = $4)) "
	"          FROM artery.ad_state s WHERE s.tenant_id = $1 AND s.budget_owner_id = r.owner_id), "
	"       k.min_budget, k.max_budget "
	"  FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) WITH ORDINALITY r(target_id, owner_id, n) "
	"  LEFT JOIN artery.budget_owner o ON o.tenant_id = $1 AND o.budget_owner_id = r.target_id "
	"  LEFT JOIN artery.owner_constraint k ON k.tenant_id = $1 AND k.budget_owner_id = r.target_id "
	" ORDER BY r.n",
	4, {TEXTOID, TEXTARRAYOID, TEXTARRAYOID, DATEOID}, NULL
};
static ArteryStatement select_paused = {
	"SELECT (SELECT p.budget_owner_id FROM artery.budget_owner p "
	"         WHERE p.tenant_id = $1 AND p.paused_at IS NOT NULL "
	"           AND (p.budget_owner_id = ANY (ARRAY[r.target_id, r.campaign_id]) "
	"                OR EXISTS (SELECT FROM artery.ad_state a WHERE a.tenant_id = $1 AND a.ad_id = r.target_id "
	"                              AND p.budget_owner_id = ANY (ARRAY[a.adset_id, a.budget_owner_id]))) LIMIT 1) "
	"  FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) WITH ORDINALITY r(target_id, campaign_id, n) ORDER BY r.n",
	3, {TEXTOID, TEXTARRAYOID, TEXTARRAYOID}, NULL
};
static ArteryStatement select_keeper = {
	"SELECT artery.budget_keeper($1, $2, $3)", 3, {TEXTOID, TEXTOID, TEXTOID}, NULL
};
static ArteryStatement lock_tenant_cap = {
	"SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 1667330675))", 1, {TEXTOID}, NULL
};

/*
 * What the others may spend a day, and how much of the target counts already,
 * or will if a status change lets it (or what is in it) deliver: budgets in
 * force, or those being sent. A campaign's budget stands for its ad sets'.
 */
static ArteryStatement select_sum = {
	"WITH owner AS ( "
	"  SELECT o.budget_owner_id, GREATEST(o.budget, f.sending) AS budget, "
	"         f.activating OR NOT (COALESCE(o.status, '') = ANY (ARRAY['PAUSED', 'ARCHIVED', 'DELETED']) "
	"              OR COALESCE(o.effective_status, '') = ANY (ARRAY['PAUSED', 'CAMPAIGN_PAUSED', 'ARCHIVED', 'DELETED'])) "
	"           AS delivers, "
	"         o.budget_owner_id = $2 AS is_target, "
	"         o.budget_owner_id = $2 OR (o.campaign_id = $2 AND COALESCE(o.status, 'ACTIVE') = 'ACTIVE') AS is_let "
	"    FROM artery.budget_owner o "
	"    CROSS JOIN LATERAL ( "
	"         SELECT pg_catalog.max((c.sending_value ->> 'budget')::pg_catalog.numeric) AS sending, "
	"                COALESCE(pg_catalog.bool_or(c.sending_value ->> 'status' = 'ACTIVE'), false) AS activating "
	"           FROM artery.ad_change c "
	"          WHERE c.tenant_id = $1 AND c.target_id = o.budget_owner_id "
	"            AND c.state = ANY (ARRAY['sending', 'unknown']) AND c.change_id <> $3::pg_catalog.uuid) f "
	"   WHERE o.tenant_id = $1 AND o.budget IS NOT NULL "
	"     AND artery.budget_keeper($1, o.campaign_id, o.budget_owner_id) = o.budget_owner_id) "
	"SELECT COALESCE(pg_catalog.sum(w.budget) FILTER (WHERE w.delivers AND NOT w.is_target), 0), "
	"       COALESCE(pg_catalog.bool_and(w.delivers) FILTER (WHERE w.is_target), true), "
	"       COALESCE(pg_catalog.sum(w.budget) FILTER (WHERE w.delivers), 0), "
	"       COALESCE(pg_catalog.sum(w.budget) FILTER (WHERE w.is_let AND NOT w.delivers), 0) "
	"  FROM owner w",
	3, {TEXTOID, TEXTOID, TEXTOID}, NULL
};

static void load_account(const ArteryTenant *tenant, TimestampTz moment, OwnerFacts *account, int32 *today);
static void load_owner(const OwnerFacts *account, int32 today, int row, OwnerFacts *facts);
static void judge_switches(const GuardRequest *request, TimestampTz moment, GuardVerdict *verdict);
static void judge_account(const GuardRequest *request, const OwnerFacts *facts, GuardVerdict *verdict,
						  StringInfo checks);
static void judge_floor(const GuardRequest *request, const OwnerFacts *facts, GuardVerdict *verdict,
						StringInfo checks);
static void judge_owner_cap(const GuardRequest *request, const OwnerFacts *facts, GuardVerdict *verdict, StringInfo checks);
static void judge_tenant_cap(const GuardRequest *request, GuardVerdict *verdict, StringInfo checks);

static int
compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

static const char *
amount_text(Numeric amount)
{
	return amount == NULL ? "null" : DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(amount)));
}

void
artery_owner_judge(const GuardRequest *request, TimestampTz moment, GuardVerdict *verdict, StringInfo checks)
{
	const OwnerFacts *facts = request->facts->owner;
	const char *status = request->live_status != NULL ? request->live_status : facts->status;
	bool		increase;

	if (status != NULL && (strcmp(status, "ARCHIVED") == 0 || strcmp(status, "DELETED") == 0))
	{
		verdict->allowed = false;
		verdict->refused = psprintf("the object is %s", strcmp(status, "DELETED") == 0 ? "deleted" : "archived");
		return;
	}
	judge_account(request, facts, verdict, checks);
	if (request->target != NULL)
	{
		increase = request->in_force == NULL || compare(request->target, request->in_force) > 0;
		judge_floor(request, facts, verdict, checks);
		judge_owner_cap(request, facts, verdict, checks);
		if (increase && request->tenant->settings.hold_while_learning && facts->learning_status != NULL &&
			strcmp(facts->learning_status, "LEARNING") == 0)
		{
			appendStringInfoString(checks, ", \"learning\": {\"allowed\": false, \"learning_status\": \"LEARNING\"}");
			artery_guard_block(verdict, "learning", DT_NOEND);
		}
	}
	/* last, with its lock, and only for what all else lets pass */
	if (verdict->allowed && request->tenant->settings.daily_budget != NULL)
		judge_tenant_cap(request, verdict, checks);
	judge_switches(request, moment, verdict);
}

/* ISO, whatever the session's DateStyle. */
static char *
day_text(int32 day)
{
	int			year;
	int			month;
	int			month_day;

	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &month_day);
	return psprintf("%04d-%02d-%02d", year, month, month_day);
}

void
artery_owner_load(const ArteryTenant *tenant, GuardFacts **facts, int count, TimestampTz moment)
{
	OwnerFacts	account;
	ArteryRows	names;
	Datum		values[4];
	int32		today;
	int			i;

	load_account(tenant, moment, &account, &today);
	artery_rows_init(&names, 2);
	for (i = 0; i < count; i++)
	{
		artery_rows_add(&names);
		artery_rows_put_text(&names, 0, facts[i]->target_id);
		if (facts[i]->is_budget)
			artery_rows_put_text(&names, 1, facts[i]->target_id);
	}
	values[0] = CStringGetTextDatum(tenant->tenant_id);
	values[1] = artery_rows_column(&names, 0, TEXTOID);
	values[2] = artery_rows_column(&names, 1, TEXTOID);
	values[3] = DateADTGetDatum(today);
	(void) artery_execute(&select_facts, values, NULL, false, 0);
	for (i = 0; i < count; i++)
	{
		facts[i]->owner = palloc(sizeof(OwnerFacts));
		load_owner(&account, today, i, facts[i]->owner);
	}
	artery_owner_load_paused(tenant->tenant_id, facts, count);
}

/* What is the same for all objects of the account. */
static void
load_account(const ArteryTenant *tenant, TimestampTz moment, OwnerFacts *account, int32 *today)
{
	const TenantSettings *settings = &tenant->settings;
	const char *time_zone = settings->time_zone;
	Datum		values[2];
	char		nulls[] = "  ";

	memset(account, 0, sizeof(OwnerFacts));
	account->account_status = ACCOUNT_ACTIVE;
	values[0] = CStringGetTextDatum(tenant->tenant_id);
	if (settings->meta_ad_account_id != NULL)
		values[1] = CStringGetTextDatum(settings->meta_ad_account_id);
	else
		nulls[1] = 'n';
	if (artery_execute(&select_account, values, nulls, false, 1) == 1)
	{
		bool		isnull;
		Datum		minimum = artery_field(0, 2, &isnull);

		account->account_currency = artery_field_text(0, 1);
		account->minimum = isnull ? NULL : DatumGetNumericCopy(minimum);
		account->account_status = (int) artery_field_int64(0, 3);
		if (!artery_field_null(0, 4))
			time_zone = artery_field_text(0, 4);
	}
	*today = artery_owner_day(moment, time_zone, &account->day_ends);
	account->day = day_text(*today);
}

/* The greater of two amounts, either of which may be NULL. */
static Numeric
greater(Numeric known, Datum other, bool isnull)
{
	if (isnull || (known != NULL && compare(known, DatumGetNumeric(other)) >= 0))
		return known;
	return DatumGetNumericCopy(other);
}

/* A row of select_facts, beside the account's own facts. */
static void
load_owner(const OwnerFacts *account, int32 today, int row, OwnerFacts *facts)
{
	bool		isnull;
	Datum		field;
	Datum		day;

	*facts = *account;
	facts->status = artery_field_text(row, 1);
	facts->learning_status = artery_field_text(row, 2);
	facts->currency = artery_field_text(row, 3);
	field = artery_field(row, 4, &isnull);
	facts->minimum = greater(account->minimum, field, isnull);
	day = artery_field(row, 5, &isnull);
	if (!isnull && DatumGetDateADT(day) == today)
	{
		field = artery_field(row, 6, &isnull);
		facts->spend_today = greater(NULL, field, isnull);
	}
	field = artery_field(row, 7, &isnull);
	facts->spend_today = greater(facts->spend_today, field, isnull);
	field = artery_field(row, 8, &isnull);
	facts->own_min = greater(NULL, field, isnull);
	field = artery_field(row, 9, &isnull);
	facts->own_max = greater(NULL, field, isnull);
}

/* What people switched off; told before anything else, since only people can end it. */
static void
judge_switches(const GuardRequest *request, TimestampTz moment, GuardVerdict *verdict)
{
	const char *rule = NULL;

	verdict->look_at = 0;
	if (request->facts->paused != NULL)
	{
		rule = "owner_paused";
		verdict->look_at = DT_NOEND;
	}
	else if (!artery_settings.enabled || !request->tenant->settings.enabled)
	{
		rule = "disabled";
		verdict->look_at = moment;	/* nothing is claimed until then */
	}
	if (rule == NULL)
		return;
	verdict->allowed = false;
	verdict->rule = rule;
	verdict->next_allowed_at = DT_NOEND;
}

static void
judge_account(const GuardRequest *request, const OwnerFacts *facts, GuardVerdict *verdict, StringInfo checks)
{
	const char *ours = request->tenant->settings.currency;
	const char *told = facts->currency;

	if (told == NULL || strcmp(told, ours) == 0)
		told = facts->account_currency;
	if (facts->account_status != ACCOUNT_ACTIVE)
	{
		appendStringInfo(checks, ", \"account\": {\"allowed\": false, \"account_status\": %d}", facts->account_status);
		artery_guard_block(verdict, "account", DT_NOEND);
	}
	if (request->target != NULL && told != NULL && strcmp(told, ours) != 0)
	{
		appendStringInfoString(checks, ", \"currency\": {\"allowed\": false, \"expected\": ");
		escape_json(checks, ours);
		appendStringInfoString(checks, ", \"found\": ");
		escape_json(checks, told);
		appendStringInfoChar(checks, '}');
		artery_guard_block(verdict, "currency", DT_NOEND);
	}
}

/* 110 % of what was spent, rounded up to what the currency knows. */
static Numeric
spend_floor(Numeric spent, int digits)
{
	Datum		unit = DirectFunctionCall2(numeric_power, NumericGetDatum(int64_to_numeric(10)),
										   NumericGetDatum(int64_to_numeric(digits)));
	Datum		percent = NumericGetDatum(int64_to_numeric(FLOOR_PERCENT));
	Datum		share = DirectFunctionCall2(numeric_mul, NumericGetDatum(spent), percent);
	Datum		units = DirectFunctionCall2(numeric_div, DirectFunctionCall2(numeric_mul, share, unit),
											NumericGetDatum(int64_to_numeric(100)));

	units = DirectFunctionCall1(numeric_ceil, units);
	return DatumGetNumeric(DirectFunctionCall2(numeric_round,
											   DirectFunctionCall2(numeric_div, units, unit),
											   Int32GetDatum(digits)));
}

static void
judge_floor(const GuardRequest *request, const OwnerFacts *facts, GuardVerdict *verdict, StringInfo checks)
{
	Numeric		spend = NULL;
	TimestampTz next_allowed_at = DT_NOEND;
	bool		low_minimum;
	bool		low_spend;

	if (facts->spend_today != NULL)
		spend = spend_floor(facts->spend_today, artery_currency_digits(request->tenant->settings.currency));
	if (spend == NULL && facts->minimum == NULL)
		return;
	/* the step of now, or what is wanted where the velocity allows none yet */
	low_minimum = facts->minimum != NULL && compare(verdict->step, facts->minimum) < 0;
	low_spend = spend != NULL && compare(verdict->step, spend) < 0;
	if (!low_minimum && low_spend)
		next_allowed_at = facts->day_ends;
	appendStringInfo(checks, ", \"floor\": {\"allowed\": %s, \"minimum\": %s, \"spend_today\": %s, "
					 "\"least_by_spend\": %s, \"day\": \"%s\", \"step\": %s}",
					 low_minimum || low_spend ? "false" : "true", amount_text(facts->minimum),
					 amount_text(facts->spend_today), amount_text(spend), facts->day, amount_text(verdict->step));
	if (low_minimum || low_spend)
		artery_guard_block(verdict, "floor", next_allowed_at);
}

static void
judge_owner_cap(const GuardRequest *request, const OwnerFacts *facts, GuardVerdict *verdict, StringInfo checks)
{
	const TenantSettings *settings = &request->tenant->settings;
	bool		increase = request->in_force == NULL || compare(request->target, request->in_force) > 0;
	Numeric		own = increase ? facts->own_max : facts->own_min;
	Numeric		other = increase ? facts->own_min : facts->own_max;
	Numeric		bound = own != NULL ? own : increase ? settings->max_budget : settings->min_budget;
	int			order;

	if (bound == NULL)
		return;
	/* a bound of its own comes before the tenant's that contradicts it */
	if (own == NULL && other != NULL && (increase ? compare(other, bound) > 0 : compare(other, bound) < 0))
		bound = other;
	order = compare(verdict->step, bound);
	if (increase ? order <= 0 : order >= 0)
		return;
	appendStringInfo(checks, ", \"owner_cap\": {\"allowed\": false, \"%s\": %s, \"step\": %s}",
					 increase ? "max_budget" : "min_budget", amount_text(bound), amount_text(verdict->step));
	artery_guard_block(verdict, "owner_cap", DT_NOEND);
}

/* daily_budget with its tolerance, as configured: percents are no binary fractions. */
static Numeric
tenant_limit(const TenantSettings *settings)
{
	Datum		percent = DirectFunctionCall1(float8_numeric, Float8GetDatum(settings->daily_budget_tolerance_percent));
	Datum		share = DirectFunctionCall2(numeric_add, percent, NumericGetDatum(int64_to_numeric(100)));
	Datum		limit = DirectFunctionCall2(numeric_div,
											DirectFunctionCall2(numeric_mul, NumericGetDatum(settings->daily_budget), share),
											NumericGetDatum(int64_to_numeric(100)));

	return DatumGetNumeric(DirectFunctionCall2(numeric_round, limit,
											   Int32GetDatum(artery_currency_digits(settings->currency))));
}

static void
judge_tenant_cap(const GuardRequest *request, GuardVerdict *verdict, StringInfo checks)
{
	Numeric		limit = tenant_limit(&request->tenant->settings);
	bool		activates = request->status != NULL && strcmp(request->status, "ACTIVE") == 0;
	Datum		values[3];
	Datum		before;
	Datum		after;
	bool		isnull;

	if (!activates && (request->target == NULL || (request->in_force != NULL && compare(verdict->step, request->in_force) <= 0)))
		return;
	values[0] = CStringGetTextDatum(request->tenant->tenant_id);
	(void) artery_execute(&lock_tenant_cap, values, NULL, false, 0);
	values[1] = CStringGetTextDatum(request->target_id);
	values[2] = CStringGetTextDatum(request->change_id);
	(void) artery_execute(&select_sum, values, NULL, false, 0);
	if (!activates && !artery_field_bool(0, 2))
		return;					/* what is paused spends nothing */
	before = artery_field(0, 3, &isnull);
	if (activates)
		after = DirectFunctionCall2(numeric_add, before, artery_field(0, 4, &isnull));
	else
		after = DirectFunctionCall2(numeric_add, artery_field(0, 1, &isnull), NumericGetDatum(verdict->step));
	if (compare(DatumGetNumeric(after), limit) <= 0 || compare(DatumGetNumeric(after), DatumGetNumeric(before)) <= 0)
		return;
	appendStringInfo(checks, ", \"tenant_cap\": {\"allowed\": false, \"daily_budget\": %s, \"limit\": %s, "
					 "\"sum_now\": %s, \"sum_after\": %s}",
					 amount_text(request->tenant->settings.daily_budget), amount_text(limit),
					 amount_text(DatumGetNumeric(before)), amount_text(DatumGetNumeric(after)));
	artery_guard_block(verdict, "tenant_cap", DT_NOEND);
}

void
artery_owner_load_paused(const char *tenant_id, GuardFacts **facts, int count)
{
	ArteryRows	names;
	Datum		values[3];
	int			i;

	artery_rows_init(&names, 2);
	for (i = 0; i < count; i++)
	{
		artery_rows_add(&names);
		artery_rows_put_text(&names, 0, facts[i]->target_id);
		artery_rows_put_text(&names, 1, facts[i]->campaign_id);
	}
	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = artery_rows_column(&names, 0, TEXTOID);
	values[2] = artery_rows_column(&names, 1, TEXTOID);
	(void) artery_execute(&select_paused, values, NULL, false, 0);
	for (i = 0; i < count; i++)
		facts[i]->paused = artery_field_text(i, 1);
}

char *
artery_owner_keeper(const char *tenant_id, const char *campaign_id, const char *budget_owner_id)
{
	Datum		values[3];

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(campaign_id);
	values[2] = CStringGetTextDatum(budget_owner_id);
	(void) artery_execute(&select_keeper, values, NULL, false, 1);
	return artery_field_text(0, 1);
}

int32
artery_owner_day(TimestampTz moment, const char *time_zone, TimestampTz *ends)
{
	pg_tz	   *zone = pg_tzset(time_zone);
	struct pg_tm broken;
	fsec_t		fraction;
	int			offset;
	int			day;

	if (zone == NULL || !pg_tz_acceptable(zone))
		zone = pg_tzset("UTC");
	if (timestamp2tm(moment, &offset, &broken, &fraction, NULL, zone) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	day = date2j(broken.tm_year, broken.tm_mon, broken.tm_mday);
	memset(&broken, 0, sizeof(broken));
	j2date(day + 1, &broken.tm_year, &broken.tm_mon, &broken.tm_mday);
	offset = DetermineTimeZoneOffset(&broken, zone);
	if (tm2timestamp(&broken, 0, &offset, ends) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return day - POSTGRES_EPOCH_JDATE;
}
