/*
 * fold.c
 *		SQL doors to the sums of the model `delayed`: from what happened when to
 *		what a decision reads.
 */
#include "artery.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "decide/amount.h"
#include "decide/delayed.h"
#include "runtime/json.h"

#define MAX_DAYS 1e5
#define MAX_COUNT 1e15

PG_FUNCTION_INFO_V1(artery_fold_exposure);
PG_FUNCTION_INFO_V1(artery_fold_hop);

static int	read_array(FunctionCallInfo fcinfo, int argument, Datum **values, bool **nulls);
static double check(Datum value, bool null, double largest, const char *what);
static void push_double(JsonbParseState **state, const char *name, double number);
static Numeric to_numeric(double number);

/*
 * artery.fold_exposure(ages, impressions, clicks, spend): one element per period, the
 * oldest first; ages are days since its middle.
 */
Datum
artery_fold_exposure(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"ages", "impressions", "clicks", "spend"};
	Datum	   *values[4];
	bool	   *nulls[4];
	Exposure	exposure = {0};
	DelayedOptions options;
	JsonbParseState *state = NULL;
	double		age = 0;
	int			n = 0;
	int			i;
	int			j;

	for (i = 0; i < 4; i++)
	{
		int			count = read_array(fcinfo, i, &values[i], &nulls[i]);

		if (i > 0 && count != n)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the arrays must be of one length")));
		n = count;
	}
	artery_delayed_defaults(&options, 1);
	for (i = 0; i < n; i++)
	{
		double		given[4];

		for (j = 0; j < 4; j++)
			given[j] = check(values[j][i], nulls[j][i], j == 0 ? MAX_DAYS : MAX_COUNT, names[j]);
		artery_exposure_add(&exposure, options.half_life, i > 0 ? Max(age - given[0], 0) : 0, given[1], given[2], given[3]);
		age = given[0];
	}
	artery_exposure_add(&exposure, options.half_life, age, 0, 0, 0);

	artery_json_begin(&state);
	push_double(&state, "clicks", exposure.clicks);
	push_double(&state, "impressions", exposure.impressions);
	push_double(&state, "shown", exposure.shown);
	push_double(&state, "shown_moment", exposure.shown_moment);
	push_double(&state, "shown_square", exposure.shown_square);
	push_double(&state, "clicks_moment", exposure.clicks_moment);
	push_double(&state, "periods", exposure.periods);
	push_double(&state, "log_spend", exposure.log_spend);
	push_double(&state, "log_impressions", exposure.log_impressions);
	PG_RETURN_JSONB_P(artery_json_end(&state));
}

/*
 * artery.fold_hop(ages, counts, durations, weights): who entered, by age in days and
 * number; who went on, by how long they took (null: not known, taken for the mean
 * of the others) and number.
 */
Datum
artery_fold_hop(PG_FUNCTION_ARGS)
{
	Datum	   *ages;
	Datum	   *counts;
	Datum	   *durations;
	bool	   *age_nulls;
	bool	   *count_nulls;
	bool	   *duration_nulls;
	Datum	   *weights;
	bool	   *weight_nulls;
	int			n = read_array(fcinfo, 0, &ages, &age_nulls);
	int			n_counts = read_array(fcinfo, 1, &counts, &count_nulls);
	int			reached = read_array(fcinfo, 2, &durations, &duration_nulls);
	int			n_weights = read_array(fcinfo, 3, &weights, &weight_nulls);
	double		unknown = 0;
	Hop			hop = {0};
	JsonbParseState *state = NULL;
	int			i;

	if (n != n_counts || reached != n_weights)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ages and counts, and durations and weights, must be of one length")));
	for (i = 0; i < n; i++)
		artery_hop_enter(&hop, check(counts[i], count_nulls[i], MAX_COUNT, "counts"),
						 check(ages[i], age_nulls[i], MAX_DAYS, "ages"));
	for (i = 0; i < reached; i++)
	{
		double		weight = check(weights[i], weight_nulls[i], MAX_COUNT, "weights");

		if (duration_nulls[i])
			unknown += weight;
		else
			artery_hop_reach(&hop, weight, check(durations[i], false, MAX_DAYS, "durations"));
	}
	if (unknown > 0)
		artery_hop_reach(&hop, unknown, hop.reached > 0 ? hop.duration / hop.reached : 1);

	artery_json_begin(&state);
	push_double(&state, "entered", hop.entered);
	push_double(&state, "reached", hop.reached);
	push_double(&state, "duration", hop.duration);
	if (hop.entered > 0)
	{
		artery_json_key(&state, "pending");
		pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		for (i = 0; i < HOP_GRID; i++)
		{
			JsonbValue	element;

			element.type = jbvNumeric;
			element.val.numeric = to_numeric(hop.pending[i]);
			pushJsonbValue(&state, WJB_ELEM, &element);
		}
		pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	}
	PG_RETURN_JSONB_P(artery_json_end(&state));
}

/* Elements of an array argument; NULL is an empty one. */
static int
read_array(FunctionCallInfo fcinfo, int argument, Datum **values, bool **nulls)
{
	int			n;

	if (PG_ARGISNULL(argument))
		return 0;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  values, nulls, &n);
	return n;
}

static double
check(Datum value, bool null, double largest, const char *what)
{
	if (null)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not contain nulls", what)));
	return artery_amount_check(DatumGetFloat8(value), largest, what);
}

static void
push_double(JsonbParseState **state, const char *name, double number)
{
	artery_json_number(state, name, to_numeric(number));
}

/* What underflows is nothing. */
static Numeric
to_numeric(double number)
{
	return DatumGetNumeric(DirectFunctionCall1(float8_numeric, Float8GetDatum(fabs(number) < 1e-9 ? 0 : number)));
}
