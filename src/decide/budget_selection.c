/*
 * budget_selection.c
 *		select_budget: shares by a model, bounds, cents.
 *
 * Reads no table. Whoever has the inputs and the seed gets the same answer
 * again, row for row.
 */
#include "artery.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "decide/allotment.h"
#include "decide/amount.h"
#include "decide/budget_selection.h"
#include "decide/owner_group.h"
#include "decide/random.h"
#include "runtime/huge.h"

#define SOFTMAX_TEMPERATURE 1.0
#define MAX_DIGITS 4

/*
 * A row takes up to a kilobyte, a few times what the state takes that it answers
 * and that is in memory already; writing many of them to disk and back would take as long
 * as deciding. So they may take more than work_mem: what they need, up to a limit.
 */
#define MANY_ROWS 100
#define MAX_ROWS_KILOBYTES (1024 * 1024)

PG_FUNCTION_INFO_V1(artery_select_budget);
PG_FUNCTION_INFO_V1(artery_explain_budget);

static void decide(BudgetSelection *selection);
static void allot(BudgetSelection *selection, OwnerGroups *groups);
static void share_blended(const BudgetSelection *selection, AdCase **ads, double *shares);
static int	compare_ids(const void *left, const void *right);
static double read_max_change(FunctionCallInfo fcinfo, int argument);
static char *read_model(FunctionCallInfo fcinfo, int argument);
static void require_argument(FunctionCallInfo fcinfo, int argument, const char *name);

/*
 * artery.select_budget(ad_states, total_budget, creative_dna_scores, seed,
 * model, max_change, digits), where it is no scan of its own (budget_scan.c)
 */
Datum
artery_select_budget(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	BudgetSelection *selection = artery_budget_select(fcinfo);
	BudgetRows *rows;
	int			i;

	if (selection->n < MANY_ROWS)
		artery_begin_rows(fcinfo);
	else
		artery_begin_many_rows(fcinfo, Max(work_mem, Min(selection->n, MAX_ROWS_KILOBYTES)));
	rows = artery_budget_rows_open(selection, true, true);
	for (i = 0; i < selection->n; i++)
	{
		Datum		values[BUDGET_MOST_COLUMNS];
		bool		nulls[BUDGET_MOST_COLUMNS];

		CHECK_FOR_INTERRUPTS();
		artery_budget_rows_form(rows, &selection->ads[i], values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

BudgetSelection *
artery_budget_select(FunctionCallInfo fcinfo)
{
	BudgetSelection *selection = palloc0(sizeof(BudgetSelection));
	char	   *model;

	require_argument(fcinfo, 0, "ad_states");
	require_argument(fcinfo, 1, "total_budget");
	model = read_model(fcinfo, 4);
	selection->digits = PG_NARGS() > 6 && !PG_ARGISNULL(6) ? PG_GETARG_INT32(6) : 2;
	if (selection->digits < 0 || selection->digits > MAX_DIGITS)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("digits must be between 0 and %d", MAX_DIGITS)));
	selection->total = artery_amount_units(PG_GETARG_NUMERIC(1), selection->digits, AMOUNT_NEAREST, "total_budget");
	selection->seed = PG_ARGISNULL(3) ? artery_random_fresh_seed() : PG_GETARG_INT64(3);
	selection->max_change = read_max_change(fcinfo, 5);
	if (get_fn_expr_argtype(fcinfo->flinfo, 0) == JSONBARRAYOID)
		selection->ads = artery_ad_cases_read_array(PG_GETARG_ARRAYTYPE_P(0), selection->digits, &selection->n, &selection->states);
	else
		selection->ads = artery_ad_cases_read(PG_GETARG_JSONB_P(0), selection->digits, &selection->n);
	if (!PG_ARGISNULL(2))
		artery_ad_cases_apply_dna(selection->ads, selection->n, PG_GETARG_JSONB_P(2));
	if (selection->n == 0)
		return selection;
	selection->is_delayed = model != NULL ? strcmp(model, "delayed") == 0 :
		artery_delayed_possible(selection->ads, selection->n);
	decide(selection);
	return selection;
}

/*
 * artery.explain_budget(ad_state, wanted, max_change): what select_budget says
 * of one ad when its share comes to the wanted budget.
 */
Datum
artery_explain_budget(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	BudgetSelection	selection = {.digits = 2,.n = 1};
	Jsonb	   *state;
	AdCase		ad;
	Datum		values[BUDGET_COLUMNS];
	bool		nulls[BUDGET_COLUMNS];

	require_argument(fcinfo, 0, "ad_state");
	require_argument(fcinfo, 1, "wanted");
	state = PG_GETARG_JSONB_P(0);
	if (!JB_ROOT_IS_OBJECT(state))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ad_state must be a JSON object")));
	selection.max_change = read_max_change(fcinfo, 2);
	artery_ad_case_read(state, selection.digits, &ad);
	artery_ad_case_assess(&ad, selection.max_change);
	selection.ads = &ad;
	ad.wanted = artery_amount_units(PG_GETARG_NUMERIC(1), selection.digits, AMOUNT_NEAREST, "wanted");
	ad.budget = Min(Max(ad.wanted, ad.low), ad.high);
	ad.bound = artery_ad_case_bound(ad.wanted, ad.budget, ad.low, ad.high, ad.minimum, ad.maximum,
									ad.budget == ad.current);
	artery_begin_rows(fcinfo);
	artery_budget_rows_form(artery_budget_rows_open(&selection, true, true), &ad, values, nulls);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

/*
 * The model `delayed` takes the ads by their ids, so that not even the last bit
 * of a sum, or a cent left by rounding, depends on the order they came in.
 */
static void
decide(BudgetSelection *selection)
{
	int			n = selection->n;
	AdCase	  **ads = artery_huge_alloc(n * sizeof(AdCase *), 0);
	double	   *shares = artery_huge_alloc(n * sizeof(double), 0);
	OwnerGroups *groups;
	int			i;

	for (i = 0; i < n; i++)
		ads[i] = &selection->ads[i];
	if (selection->is_delayed)
		qsort(ads, n, sizeof(AdCase *), compare_ids);
	for (i = 0; i < n; i++)
		artery_ad_case_assess(ads[i], selection->max_change);
	groups = artery_owner_groups_find(ads, n, selection->max_change);
	if (selection->is_delayed)
		artery_delayed_shares(&selection->delayed, ads, n, groups->count, selection->seed, shares);
	else
		share_blended(selection, ads, shares);
	artery_owner_groups_gather(groups, shares);
	allot(selection, groups);
	artery_owner_groups_spread(groups, shares, ads);
	for (i = 0; i < n; i++)
	{
		ads[i]->share = shares[i];
		if (selection->is_delayed)
			artery_delayed_judge(&selection->delayed, ads[i], selection->total);
	}
	artery_owner_groups_free(groups);
	pfree(ads);
	pfree(shares);
}

/* What each owner gets, by its share and within all bounds. */
static void
allot(BudgetSelection *selection, OwnerGroups *groups)
{
	bool		bounded = false;
	double		reserve = 0;
	int			i;

	for (i = 0; i < selection->n; i++)
		reserve = Max(reserve, selection->ads[i].exploration);
	for (i = 0; i < groups->count; i++)
	{
		/* nobody can get more than all, unless its own minimum says so */
		groups->high[i] = Max(Min(groups->high[i], selection->total), groups->low[i]);
		bounded = bounded || groups->low[i] > 0 || groups->high[i] < selection->total;
	}
	selection->reserve = (int64) rint(reserve * selection->total);
	artery_allotment_split(groups->share, groups->count, selection->total, groups->wanted);
	if (selection->reserve > 0)
		selection->unallotted = artery_allotment_reserving(groups->share, groups->low, groups->high, groups->explores,
														   groups->count, selection->total, selection->reserve,
														   groups->budget, &selection->unreserved);
	else if (bounded)
		selection->unallotted = artery_allotment_bounded(groups->share, groups->low, groups->high, groups->count,
														 selection->total, groups->budget);
	else
		memcpy(groups->budget, groups->wanted, groups->count * sizeof(int64));
}

static void
share_blended(const BudgetSelection *selection, AdCase **ads, double *shares)
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
require_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}
