/*
 * budget_selection.c
 *		select_budget: a draw per ad, a softmax over the draws, bounds, cents.
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
#include "decide/random.h"

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
	int64		unallotted;
} Selection;

PG_FUNCTION_INFO_V1(artery_select_budget);
PG_FUNCTION_INFO_V1(artery_explain_budget);

static void decide(Selection *selection);
static void mark_bound(AdCase *ad);
static double read_max_change(FunctionCallInfo fcinfo, int argument);
static void check_model(FunctionCallInfo fcinfo, int argument);
static void form_row(const Selection *selection, const AdCase *ad, Datum *values, bool *nulls);
static Jsonb *form_metrics(const Selection *selection, const AdCase *ad);
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
	int			i;

	require_argument(fcinfo, 0, "ad_states");
	require_argument(fcinfo, 1, "total_budget");
	check_model(fcinfo, 4);
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

static void
decide(Selection *selection)
{
	int			n = selection->n;
	double	   *shares = palloc_extended(n * sizeof(double), MCXT_ALLOC_HUGE);
	int64	   *amounts = palloc_extended(n * 4 * sizeof(int64), MCXT_ALLOC_HUGE);
	int64	   *wanted = amounts;
	int64	   *low = amounts + n;
	int64	   *high = amounts + 2 * (Size) n;
	int64	   *budget = amounts + 3 * (Size) n;
	int			i;

	for (i = 0; i < n; i++)
	{
		AdCase	   *ad = &selection->ads[i];
		ArteryRandom random;

		artery_ad_case_assess(ad, selection->max_change);
		artery_random_start(&random, selection->seed, ad->ad_id, ad->ad_id_length);
		shares[i] = ad->draw = artery_random_beta(&random, ad->score.alpha, ad->score.beta);
		low[i] = ad->low;
		/* nobody can get more than all, unless its own minimum says so */
		high[i] = Max(Min(ad->high, selection->total), ad->low);
	}
	artery_allotment_softmax(shares, n, SOFTMAX_TEMPERATURE, shares);
	artery_allotment_split(shares, n, selection->total, wanted);
	selection->unallotted = artery_allotment_bounded(shares, low, high, n, selection->total, budget);
	for (i = 0; i < n; i++)
	{
		AdCase	   *ad = &selection->ads[i];

		ad->share = shares[i];
		ad->wanted = wanted[i];
		ad->budget = budget[i];
		mark_bound(ad);
	}
	pfree(shares);
	pfree(amounts);
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

static void
check_model(FunctionCallInfo fcinfo, int argument)
{
	char	   *model;

	if (PG_ARGISNULL(argument))
		return;
	model = text_to_cstring(PG_GETARG_TEXT_PP(argument));
	if (strcmp(model, "blended") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown model \"%s\"", model),
				 errhint("Known models: blended.")));
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
	values[5] = CStringGetTextDatum(artery_ad_case_reason(ad));
	values[6] = JsonbPGetDatum(form_metrics(selection, ad));
}

static void
push_key(JsonbParseState **state, const char *name)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &key);
}

static void
push_numeric(JsonbParseState **state, const char *name, Numeric number)
{
	JsonbValue	value;

	push_key(state, name);
	value.type = jbvNumeric;
	value.val.numeric = number;
	pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_double(JsonbParseState **state, const char *name, double number)
{
	push_numeric(state, name, DatumGetNumeric(DirectFunctionCall1(float8_numeric, Float8GetDatum(number))));
}

static void
push_text(JsonbParseState **state, const char *name, const char *text)
{
	JsonbValue	value;

	push_key(state, name);
	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* Everything needed to understand the row and to compute it again. */
static Jsonb *
form_metrics(const Selection *selection, const AdCase *ad)
{
	static const char *const bounds[] = {NULL, "min_budget", "max_budget", "max_change"};
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_text(&state, "model", "blended");
	push_double(&state, "ctr", ad->score.ctr);
	push_double(&state, "pipeline_roas", ad->score.roas);
	push_double(&state, "cash_roas", artery_blended_roas(ad->cash_revenue, ad->input.spend));
	push_double(&state, "ctr_weight", ad->score.ctr_weight);
	push_double(&state, "roas_weight", ad->score.roas_weight);
	push_double(&state, "normalized_ctr", ad->score.normalized_ctr);
	push_double(&state, "normalized_roas", ad->score.normalized_roas);
	push_double(&state, "blended_score", ad->score.blended);
	push_double(&state, "decay_factor", ad->score.decay);
	push_double(&state, "dna_boost", ad->score.dna_boost);
	push_double(&state, "final_score", ad->score.final);
	push_double(&state, "alpha", ad->score.alpha);
	push_double(&state, "beta", ad->score.beta);
	push_numeric(&state, "wanted_budget", artery_amount_numeric(ad->wanted, selection->digits));
	if (ad->share > 0)
	{
		push_numeric(&state, "seed", int64_to_numeric(selection->seed));
		push_double(&state, "draw", ad->draw);
		push_double(&state, "share", ad->share);
		push_numeric(&state, "total_budget", artery_amount_numeric(selection->total, selection->digits));
	}
	if (ad->bound != BOUND_NONE)
		push_text(&state, "bounded_by", bounds[ad->bound]);
	if (selection->unallotted != 0)
		push_numeric(&state, "budget_unallocated", artery_amount_numeric(selection->unallotted, selection->digits));
	if (ad->ignored != NULL)
		push_text(&state, "ignored_keys", ad->ignored);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
require_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}
