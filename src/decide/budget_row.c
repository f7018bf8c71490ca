/*
 * budget_row.c
 *		A decided ad as a row of select_budget.
 *
 * metrics holds everything needed to understand the row and to compute it again.
 */
#include "artery.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "decide/budget_selection.h"
#include "runtime/decimal.h"
#include "runtime/json.h"
#include "runtime/row_object.h"

typedef enum Metric
{
	METRIC_MODEL, METRIC_CTR, METRIC_PIPELINE_ROAS, METRIC_CASH_ROAS, METRIC_WANTED, METRIC_SEED, METRIC_SHARE, METRIC_TOTAL,
	METRIC_BOUNDED_BY, METRIC_UNALLOCATED, METRIC_IGNORED,
	METRIC_CTR_WEIGHT, METRIC_ROAS_WEIGHT, METRIC_NORMALIZED_CTR, METRIC_NORMALIZED_ROAS, METRIC_BLENDED, METRIC_DECAY,
	METRIC_DNA_BOOST, METRIC_FINAL, METRIC_ALPHA, METRIC_BETA, METRIC_DRAW,
	METRIC_MEAN, METRIC_LOW, METRIC_HIGH, METRIC_AVERAGE, METRIC_BEST, METRIC_BUDGET_LOW, METRIC_BUDGET_HIGH,
	METRIC_REFERENCE, METRIC_TYPICAL_CTR, METRIC_WEAR, METRIC_RATES, METRIC_DELAYS, METRIC_DNA_EFFECT, METRIC_DNA_SLOPES,
	METRIC_OWNER_MEAN, METRIC_RESERVE, METRIC_UNRESERVED
} Metric;

static const char *const metric_names[] = {
	"model", "ctr", "pipeline_roas", "cash_roas", "wanted_budget", "seed", "share", "total_budget",
	"bounded_by", "budget_unallocated", "ignored_keys",
	"ctr_weight", "roas_weight", "normalized_ctr", "normalized_roas", "blended_score", "decay_factor",
	"dna_boost", "final_score", "alpha", "beta", "draw",
	"value_mean", "value_low", "value_high", "value_average", "probability_best", "budget_low", "budget_high",
	"reference_spend", "typical_ctr", "wear_per_million", "rates", "delay_days", "dna_effect", "dna_slopes",
	"owner_value_mean", "exploration_reserve", "exploration_missing"
};

typedef union WrittenNumber
{
	int			align;
	char		bytes[DECIMAL_ROOM];
} WrittenNumber;

struct BudgetRows
{
	const BudgetSelection *selection;
	bool		with_reason;
	bool		with_metrics;
	RowObject  *metrics;
	Jsonb	   *rates;			/* of the account, by stage; delays in days */
	Jsonb	   *delays;
	Jsonb	   *slopes;			/* what scores of creatives were found to be worth, by stage */
	StringInfoData id;			/* a text each */
	StringInfoData reason;
	WrittenNumber current;
	WrittenNumber budget;
	WrittenNumber total;
	WrittenNumber seed;
};

static void begin_text(StringInfo text);
static Datum end_text(StringInfo text);
static Datum form_reason(BudgetRows *rows, const AdCase *ad);
static void add_limits(BudgetRows *rows, const AdCase *ad);
static Jsonb *form_metrics(BudgetRows *rows, const AdCase *ad);
static void add_blended(RowObject *metrics, const AdCase *ad);
static void add_delayed(BudgetRows *rows, const AdCase *ad);
static Jsonb *by_stage(const Funnel *funnel, const double *numbers);
static Jsonb *dna_slopes(const Funnel *funnel, const double *slopes);
static void add_number(JsonbParseState **state, const char *name, double number);

BudgetRows *
artery_budget_rows_open(const BudgetSelection *selection, bool with_reason, bool with_metrics)
{
	BudgetRows *rows = palloc0(sizeof(BudgetRows));

	rows->selection = selection;
	rows->with_reason = with_reason;
	rows->with_metrics = with_metrics;
	rows->metrics = artery_row_object_open(metric_names, lengthof(metric_names));
	initStringInfo(&rows->id);
	initStringInfo(&rows->reason);
	artery_decimal_write(rows->total.bytes, selection->total, selection->digits);
	artery_decimal_write(rows->seed.bytes, selection->seed, 0);
	if (selection->is_delayed)
	{
		rows->rates = by_stage(&selection->delayed.funnel, selection->delayed.account.rate);
		rows->delays = by_stage(&selection->delayed.funnel, selection->delayed.account.delay);
		rows->slopes = dna_slopes(&selection->delayed.funnel, selection->delayed.account.dna_slope);
	}
	return rows;
}

void
artery_budget_rows_form(BudgetRows *rows, const AdCase *ad, Datum *values, bool *nulls)
{
	const BudgetSelection *selection = rows->selection;
	double		change;

	begin_text(&rows->id);
	appendBinaryStringInfo(&rows->id, ad->ad_id, ad->ad_id_length);
	values[0] = end_text(&rows->id);
	artery_decimal_write(rows->current.bytes, ad->current, selection->digits);
	values[1] = PointerGetDatum(rows->current.bytes);
	artery_decimal_write(rows->budget.bytes, ad->budget, selection->digits);
	values[2] = PointerGetDatum(rows->budget.bytes);
	memset(nulls, false, BUDGET_COLUMNS * sizeof(bool));
	nulls[3] = !artery_ad_case_change(ad, &change);
	values[3] = Float8GetDatum(change);
	values[4] = Float8GetDatum(ad->confidence);
	nulls[BUDGET_REASON] = !rows->with_reason;
	if (rows->with_reason)
		values[BUDGET_REASON] = form_reason(rows, ad);
	nulls[BUDGET_METRICS] = !rows->with_metrics;
	if (rows->with_metrics)
		values[BUDGET_METRICS] = JsonbPGetDatum(form_metrics(rows, ad));
	if (selection->states != NULL)
	{
		values[BUDGET_STATE] = selection->states[ad - selection->ads];
		nulls[BUDGET_STATE] = false;
	}
}

static Datum
form_reason(BudgetRows *rows, const AdCase *ad)
{
	const BudgetSelection *selection = rows->selection;

	begin_text(&rows->reason);
	if (selection->is_delayed)
	{
		char	   *reason = artery_delayed_reason(&selection->delayed, ad, selection->total);

		appendStringInfoString(&rows->reason, reason);
		pfree(reason);
	}
	else
		artery_ad_case_reason(ad, &rows->reason);
	add_limits(rows, ad);
	return end_text(&rows->reason);
}

static void
begin_text(StringInfo text)
{
	/* there is room for that from the start */
	text->len = VARHDRSZ;
}

static Datum
end_text(StringInfo text)
{
	SET_VARSIZE(text->data, text->len);
	return PointerGetDatum(text->data);
}

/* Say what could not be done as it was asked for. */
static void
add_limits(BudgetRows *rows, const AdCase *ad)
{
	const BudgetSelection *selection = rows->selection;
	double		unit;

	if (ad->bound == BOUND_HELD)
		appendStringInfoString(&rows->reason, " Its budget is left as it is.");
	if (selection->unallotted == 0 && selection->unreserved == 0)
		return;
	unit = pow(10, -selection->digits);
	if (selection->unallotted > 0)
		appendStringInfo(&rows->reason, " %.*f of the total stay unspent: the bounds allow no more.",
						 selection->digits, unit * selection->unallotted);
	if (selection->unallotted < 0)
		appendStringInfo(&rows->reason, " The least that the bounds allow is %.*f above the total.",
						 selection->digits, -unit * selection->unallotted);
	if (selection->unreserved > 0 && ad->exploration > 0)
		appendStringInfo(&rows->reason, " Of what is reserved for new ads the bounds leave out %.*f.",
						 selection->digits, unit * selection->unreserved);
}

static Jsonb *
form_metrics(BudgetRows *rows, const AdCase *ad)
{
	static const char *const bounds[] = {NULL, "min_budget", "max_budget", "max_change", "held"};
	const BudgetSelection *selection = rows->selection;
	RowObject  *metrics = rows->metrics;

	artery_row_object_begin(metrics);
	artery_row_object_text(metrics, METRIC_MODEL, selection->is_delayed ? "delayed" : "blended");
	artery_row_object_double(metrics, METRIC_CTR, ad->score.ctr);
	artery_row_object_double(metrics, METRIC_PIPELINE_ROAS, ad->score.roas);
	artery_row_object_double(metrics, METRIC_CASH_ROAS, artery_blended_roas(ad->cash_revenue, ad->input.spend));
	if (selection->is_delayed)
		add_delayed(rows, ad);
	else
		add_blended(metrics, ad);
	if (ad->wanted == ad->budget)
		artery_row_object_numeric(metrics, METRIC_WANTED, rows->budget.bytes);
	else
		artery_row_object_amount(metrics, METRIC_WANTED, ad->wanted, selection->digits);
	if (ad->share > 0)
	{
		artery_row_object_numeric(metrics, METRIC_SEED, rows->seed.bytes);
		if (!selection->is_delayed)
			artery_row_object_double(metrics, METRIC_DRAW, ad->draw);
		artery_row_object_double(metrics, METRIC_SHARE, ad->share);
		artery_row_object_numeric(metrics, METRIC_TOTAL, rows->total.bytes);
	}
	if (ad->bound != BOUND_NONE)
		artery_row_object_text(metrics, METRIC_BOUNDED_BY, bounds[ad->bound]);
	if (selection->unallotted != 0)
		artery_row_object_amount(metrics, METRIC_UNALLOCATED, selection->unallotted, selection->digits);
	if (ad->exploration > 0)
		artery_row_object_amount(metrics, METRIC_RESERVE, selection->reserve, selection->digits);
	if (selection->unreserved > 0)
		artery_row_object_amount(metrics, METRIC_UNRESERVED, selection->unreserved, selection->digits);
	if (ad->ignored != NULL)
		artery_row_object_text(metrics, METRIC_IGNORED, ad->ignored);
	return artery_row_object_end(metrics);
}

static void
add_blended(RowObject *metrics, const AdCase *ad)
{
	artery_row_object_double(metrics, METRIC_CTR_WEIGHT, ad->score.ctr_weight);
	artery_row_object_double(metrics, METRIC_ROAS_WEIGHT, ad->score.roas_weight);
	artery_row_object_double(metrics, METRIC_NORMALIZED_CTR, ad->score.normalized_ctr);
	artery_row_object_double(metrics, METRIC_NORMALIZED_ROAS, ad->score.normalized_roas);
	artery_row_object_double(metrics, METRIC_BLENDED, ad->score.blended);
	artery_row_object_double(metrics, METRIC_DECAY, ad->score.decay);
	artery_row_object_double(metrics, METRIC_DNA_BOOST, ad->score.dna_boost);
	artery_row_object_double(metrics, METRIC_FINAL, ad->score.final);
	artery_row_object_double(metrics, METRIC_ALPHA, ad->score.alpha);
	artery_row_object_double(metrics, METRIC_BETA, ad->score.beta);
}

/* Values are per unit of money at the reference spend (per day); rates and delays (days) are the account's. */
static void
add_delayed(BudgetRows *rows, const AdCase *ad)
{
	const BudgetSelection *selection = rows->selection;
	const DelayedAccount *account = &selection->delayed.account;
	RowObject  *metrics = rows->metrics;

	artery_row_object_double(metrics, METRIC_MEAN, ad->delayed.mean);
	artery_row_object_double(metrics, METRIC_LOW, ad->delayed.low);
	artery_row_object_double(metrics, METRIC_HIGH, ad->delayed.high);
	if (ad->part < 1)
		artery_row_object_double(metrics, METRIC_OWNER_MEAN, ad->owner_mean);
	artery_row_object_double(metrics, METRIC_AVERAGE, selection->delayed.average);
	artery_row_object_double(metrics, METRIC_BEST, ad->delayed.best);
	artery_row_object_amount(metrics, METRIC_BUDGET_LOW, ad->supported_low, selection->digits);
	artery_row_object_amount(metrics, METRIC_BUDGET_HIGH, ad->supported_high, selection->digits);
	artery_row_object_double(metrics, METRIC_REFERENCE, account->reference);
	artery_row_object_double(metrics, METRIC_TYPICAL_CTR, account->ctr);
	artery_row_object_double(metrics, METRIC_WEAR, account->wear);
	artery_row_object_json(metrics, METRIC_RATES, rows->rates);
	artery_row_object_json(metrics, METRIC_DELAYS, rows->delays);
	if (account->has_dna)
	{
		artery_row_object_double(metrics, METRIC_DNA_EFFECT, ad->delayed.dna);
		artery_row_object_json(metrics, METRIC_DNA_SLOPES, rows->slopes);
	}
}

static Jsonb *
by_stage(const Funnel *funnel, const double *numbers)
{
	JsonbParseState *state = NULL;
	int			i;

	artery_json_begin(&state);
	for (i = 0; i < funnel->count; i++)
		add_number(&state, funnel->stages[i], numbers[i]);
	return artery_json_end(&state);
}

/* Log odds per standard deviation of the scores: of the CTR, then of the way to each stage. */
static Jsonb *
dna_slopes(const Funnel *funnel, const double *slopes)
{
	JsonbParseState *state = NULL;
	int			i;

	artery_json_begin(&state);
	add_number(&state, "ctr", slopes[0]);
	for (i = 0; i < funnel->count; i++)
		add_number(&state, funnel->stages[i], slopes[i + 1]);
	return artery_json_end(&state);
}

static void
add_number(JsonbParseState **state, const char *name, double number)
{
	artery_json_number(state, name, DatumGetNumeric(DirectFunctionCall1(float8_numeric, Float8GetDatum(number))));
}
