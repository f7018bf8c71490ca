/*
 * budget_selection.c
 *		select_budget: shares by a model, bounds, cents.
 *
 * Reads no table. Whoever has the inputs and the seed gets the same answer
 * again, row for row.
 */
#include "artery.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "decide/ad_case.h"
#include "decide/allotment.h"
#include "decide/amount.h"
#include "decide/delayed_selection.h"
#include "decide/random.h"
#include "runtime/json.h"

#define SOFTMAX_TEMPERATURE 1.0
#define MAX_DIGITS 4

/* One call: its arguments, its ads, and what the whole of it came to. */
typedef struct Selection
{
	int			digits;			/* decimal places of the currency */
	int64		total;
	int64		seed;
	double		max_change;		/* share; negative is none */
	int			n;
	AdCase	   *ads;
	bool		is_delayed;		/* the model; else blended */
	DelayedSelection delayed;
	int64		unallotted;
} Selection;

PG_FUNCTION_INFO_V1(artery_select_budget);
PG_FUNCTION_INFO_V1(artery_explain_budget);

static void decide(Selection *selection);
static void share_blended(const Selection *selection, AdCase **ads, double *shares);
static int	compare_ids(const void *left, const void *right);
static void mark_bound(AdCase *ad);
static double read_max_change(FunctionCallInfo fcinfo, int argument);
static char *read_model(FunctionCallInfo fcinfo, int argument);
static void form_row(const Selection *selection, const AdCase *ad, Datum *values, bool *nulls);
static Jsonb *form_metrics(const Selection *selection, const AdCase *ad);
static void push_blended(JsonbParseState **state, const AdCase *ad);
static void push_delayed(JsonbParseState **state, const Selection *selection, const AdCase *ad);
static void require_argument(FunctionCallInfo fcinfo, int argument, const char *name);

/*
 * artery.select_budget(ad_states, total_budget, creative_dna_scores, seed,
 * model, max_change, digits)
 */
Datum
artery_select_budget(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Selection	selection = {.digits = 2};
	MemoryContext row_context;
	MemoryContext before;
	char	   *model;
	int			i;

	require_argument(fcinfo, 0, "ad_states");
	require_argument(fcinfo, 1, "total_budget");
	model = read_model(fcinfo, 4);
	if (PG_NARGS() > 6 && !PG_ARGISNULL(6))
		selection.digits = PG_GETARG_INT32(6);
	if (selection.digits < 0 || selection.digits > MAX_DIGITS)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("digits must be between 0 and %d", MAX_DIGITS)));
	selection.total = artery_amount_units(PG_GETARG_NUMERIC(1), selection.digits, AMOUNT_NEAREST, "total_budget");
	selection.seed = PG_ARGISNULL(3) ? artery_random_fresh_seed() : PG_GETARG_INT64(3);
	selection.max_change = read_max_change(fcinfo, 5);
	selection.ads = artery_ad_cases_read(PG_GETARG_JSONB_P(0), selection.digits, &selection.n);
	if (!PG_ARGISNULL(2))
		artery_ad_cases_apply_dna(selection.ads, selection.n, PG_GETARG_JSONB_P(2));
	artery_begin_rows(fcinfo);
	if (selection.n == 0)
		return (Datum) 0;
	selection.is_delayed = model != NULL ? strcmp(model, "delayed") == 0 :
		artery_delayed_possible(selection.ads, selection.n);
	decide(&selection);

	row_context = AllocSetContextCreate(CurrentMemoryContext, "artery budget row", ALLOCSET_DEFAULT_SIZES);
	for (i = 0; i < selection.n; i++)
	{
		Datum		values[7];
		bool		nulls[7] = {false};

		CHECK_FOR_INTERRUPTS();
		before = MemoryContextSwitchTo(row_context);
		form_row(&selection, &selection.ads[i], values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		MemoryContextSwitchTo(before);
		MemoryContextReset(row_context);
	}
	MemoryContextDelete(row_context);
	return (Datum) 0;
}

/*
 * artery.explain_budget(ad_state, wanted, max_change): what select_budget says
 * of one ad when its share comes to the wanted budget.
 */
Datum
artery_explain_budget(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Selection	selection = {.digits = 2,.n = 1};
	Jsonb	   *state;
	AdCase		ad;
	Datum		values[7];
	bool		nulls[7] = {false};

	require_argument(fcinfo, 0, "ad_state");
	require_argument(fcinfo, 1, "wanted");
	state = PG_GETARG_JSONB_P(0);
	if (!JB_ROOT_IS_OBJECT(state))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ad_state must be a JSON object")));
	selection.max_change = read_max_change(fcinfo, 2);
	artery_ad_case_read(&state->root, selection.digits, &ad);
	artery_ad_case_assess(&ad, selection.max_change);
	selection.ads = &ad;
	ad.wanted = artery_amount_units(PG_GETARG_NUMERIC(1), selection.digits, AMOUNT_NEAREST, "wanted");
	ad.budget = Min(Max(ad.wanted, ad.low), ad.high);
	mark_bound(&ad);
	artery_begin_rows(fcinfo);
	form_row(&selection, &ad, values, nulls);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

/*
 * The model `delayed` takes the ads by their ids, so that not even the last bit
 * of a sum, or a cent left by rounding, depends on the order they came in.
 */
static void
decide(Selection *selection)
{
	int			n = selection->n;
	AdCase	  **ads = palloc_extended(n * sizeof(AdCase *), MCXT_ALLOC_HUGE);
	double	   *shares = palloc_extended(n * sizeof(double), MCXT_ALLOC_HUGE);
	int64	   *amounts = palloc_extended(n * 4 * sizeof(int64), MCXT_ALLOC_HUGE);
	int64	   *wanted = amounts;
	int64	   *low = amounts + n;
	int64	   *high = amounts + 2 * (Size) n;
	int64	   *budget = amounts + 3 * (Size) n;
	int			i;

	for (i = 0; i < n; i++)
		ads[i] = &selection->ads[i];
	if (selection->is_delayed)
		qsort(ads, n, sizeof(AdCase *), compare_ids);
	for (i = 0; i < n; i++)
	{
		artery_ad_case_assess(ads[i], selection->max_change);
		low[i] = ads[i]->low;
		/* nobody can get more than all, unless its own minimum says so */
		high[i] = Max(Min(ads[i]->high, selection->total), ads[i]->low);
	}
	if (selection->is_delayed)
		artery_delayed_shares(&selection->delayed, ads, n, selection->seed, shares);
	else
		share_blended(selection, ads, shares);
	artery_allotment_split(shares, n, selection->total, wanted);
	selection->unallotted = artery_allotment_bounded(shares, low, high, n, selection->total, budget);
	for (i = 0; i < n; i++)
	{
		ads[i]->share = shares[i];
		ads[i]->wanted = wanted[i];
		ads[i]->budget = budget[i];
		mark_bound(ads[i]);
		if (selection->is_delayed)
			artery_delayed_judge(&selection->delayed, ads[i], selection->total);
	}
	pfree(ads);
	pfree(shares);
	pfree(amounts);
}

static void
share_blended(const Selection *selection, AdCase **ads, double *shares)
{
	int			i;

	for (i = 0; i < selection->n; i++)
	{
		ArteryRandom random;

		artery_random_start(&random, selection->seed, ads[i]->ad_id, ads[i]->ad_id_length);
		shares[i] = ads[i]->draw = artery_random_beta(&random, ads[i]->score.alpha, ads[i]->score.beta);
	}
	artery_allotment_softmax(shares, selection->n, SOFTMAX_TEMPERATURE, shares);
}

static int
compare_ids(const void *left, const void *right)
{
	const AdCase *a = *(AdCase *const *) left;
	const AdCase *b = *(AdCase *const *) right;

	return strcmp(a->ad_id, b->ad_id);
}

/* Say which bound held the budget back, if it stands at one. */
static void
mark_bound(AdCase *ad)
{
	if (ad->budget > ad->wanted && ad->budget == ad->low)
		ad->bound = ad->low == ad->minimum ? BOUND_MINIMUM : BOUND_CHANGE;
	else if (ad->budget < ad->wanted && ad->budget == ad->high)
		ad->bound = ad->high == ad->maximum ? BOUND_MAXIMUM : BOUND_CHANGE;
	else
		ad->bound = BOUND_NONE;
}

static double
read_max_change(FunctionCallInfo fcinfo, int argument)
{
	if (PG_ARGISNULL(argument))
		return -1;
	return artery_amount_check(PG_GETARG_FLOAT8(argument), 1e6, "max_change");
}

/* The model's name; NULL where none is given. */
static char *
read_model(FunctionCallInfo fcinfo, int argument)
{
	char	   *model;

	if (PG_ARGISNULL(argument))
		return NULL;
	model = text_to_cstring(PG_GETARG_TEXT_PP(argument));
	if (strcmp(model, "blended") != 0 && strcmp(model, "delayed") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown model \"%s\"", model),
				 errhint("Known models: blended, delayed.")));
	return model;
}

static void
form_row(const Selection *selection, const AdCase *ad, Datum *values, bool *nulls)
{
	double		change;

	values[0] = PointerGetDatum(cstring_to_text_with_len(ad->ad_id, ad->ad_id_length));
	values[1] = NumericGetDatum(artery_amount_numeric(ad->current, selection->digits));
	values[2] = NumericGetDatum(artery_amount_numeric(ad->budget, selection->digits));
	nulls[3] = !artery_ad_case_change(ad, &change);
	values[3] = Float8GetDatum(change);
	values[4] = Float8GetDatum(ad->confidence);
	values[5] = CStringGetTextDatum(selection->is_delayed ?
									artery_delayed_reason(&selection->delayed, ad, selection->total) :
									artery_ad_case_reason(ad));
	values[6] = JsonbPGetDatum(form_metrics(selection, ad));
}

static void
push_double(JsonbParseState **state, const char *name, double number)
{
	artery_json_number(state, name, DatumGetNumeric(DirectFunctionCall1(float8_numeric, Float8GetDatum(number))));
}

/* Everything needed to understand the row and to compute it again. */
static Jsonb *
form_metrics(const Selection *selection, const AdCase *ad)
{
	static const char *const bounds[] = {NULL, "min_budget", "max_budget", "max_change"};
	JsonbParseState *state = NULL;

	artery_json_begin(&state);
	artery_json_text(&state, "model", selection->is_delayed ? "delayed" : "blended");
	push_double(&state, "ctr", ad->score.ctr);
	push_double(&state, "pipeline_roas", ad->score.roas);
	push_double(&state, "cash_roas", artery_blended_roas(ad->cash_revenue, ad->input.spend));
	if (selection->is_delayed)
		push_delayed(&state, selection, ad);
	else
		push_blended(&state, ad);
	artery_json_number(&state, "wanted_budget", artery_amount_numeric(ad->wanted, selection->digits));
	if (ad->share > 0)
	{
		artery_json_number(&state, "seed", int64_to_numeric(selection->seed));
		if (!selection->is_delayed)
			push_double(&state, "draw", ad->draw);
		push_double(&state, "share", ad->share);
		artery_json_number(&state, "total_budget", artery_amount_numeric(selection->total, selection->digits));
	}
	if (ad->bound != BOUND_NONE)
		artery_json_text(&state, "bounded_by", bounds[ad->bound]);
	if (selection->unallotted != 0)
		artery_json_number(&state, "budget_unallocated", artery_amount_numeric(selection->unallotted, selection->digits));
	if (ad->ignored != NULL)
		artery_json_text(&state, "ignored_keys", ad->ignored);
	return artery_json_end(&state);
}

static void
push_blended(JsonbParseState **state, const AdCase *ad)
{
	push_double(state, "ctr_weight", ad->score.ctr_weight);
	push_double(state, "roas_weight", ad->score.roas_weight);
	push_double(state, "normalized_ctr", ad->score.normalized_ctr);
	push_double(state, "normalized_roas", ad->score.normalized_roas);
	push_double(state, "blended_score", ad->score.blended);
	push_double(state, "decay_factor", ad->score.decay);
	push_double(state, "dna_boost", ad->score.dna_boost);
	push_double(state, "final_score", ad->score.final);
	push_double(state, "alpha", ad->score.alpha);
	push_double(state, "beta", ad->score.beta);
}

/* Values are per unit of money at the reference spend (per day); rates and delays (days) are the account's. */
static void
push_delayed(JsonbParseState **state, const Selection *selection, const AdCase *ad)
{
	const DelayedAccount *account = &selection->delayed.account;
	const Funnel *funnel = &selection->delayed.funnel;
	int			i;

	push_double(state, "value_mean", ad->delayed.mean);
	push_double(state, "value_low", ad->delayed.low);
	push_double(state, "value_high", ad->delayed.high);
	push_double(state, "value_average", selection->delayed.average);
	push_double(state, "probability_best", ad->delayed.best);
	artery_json_number(state, "budget_low", artery_amount_numeric(ad->supported_low, selection->digits));
	artery_json_number(state, "budget_high", artery_amount_numeric(ad->supported_high, selection->digits));
	push_double(state, "reference_spend", account->reference);
	push_double(state, "typical_ctr", account->ctr);
	push_double(state, "wear_per_million", account->wear);
	artery_json_key(state, "rates");
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (i = 0; i < funnel->count; i++)
		push_double(state, funnel->stages[i], account->rate[i]);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
	artery_json_key(state, "delay_days");
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (i = 0; i < funnel->count; i++)
		push_double(state, funnel->stages[i], account->delay[i]);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static void
require_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}
