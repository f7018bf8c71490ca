/*
 * score_functions.c
 *		SQL doors of the pure mathematics: weights, scores, splits, draws.
 *
 * They read no table and take no time but what they are given.
 */
#include "artery.h"

#include <float.h>
#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "decide/allotment.h"
#include "decide/amount.h"
#include "decide/blended.h"
#include "decide/random.h"

#define MAX_DRAWS 1000000

PG_FUNCTION_INFO_V1(artery_ctr_weight);
PG_FUNCTION_INFO_V1(artery_blended_score_sql);
PG_FUNCTION_INFO_V1(artery_softmax_allocation);
PG_FUNCTION_INFO_V1(artery_fresh_seed);
PG_FUNCTION_INFO_V1(artery_draw_gamma);
PG_FUNCTION_INFO_V1(artery_draw_beta);

static double *read_samples(ArrayType *array, int *n);
static Datum draws_array(Datum *draws, int n);
static int	check_count(int32 count);
static double check_shape(double shape, const char *what);

/* artery.ctr_weight(age_hours) */
Datum
artery_ctr_weight(PG_FUNCTION_ARGS)
{
	double		age_hours = artery_amount_check(PG_GETARG_FLOAT8(0), DBL_MAX, "age_hours");

	PG_RETURN_FLOAT8(artery_blended_ctr_weight(age_hours));
}

/* artery.blended_score(impressions, clicks, spend, pipeline_value, age_hours, dna_score); without a DNA score there is no boost */
Datum
artery_blended_score_sql(PG_FUNCTION_ARGS)
{
	BlendedInput input;
	BlendedScore score;
	TupleDesc	desc;
	Datum		values[10];
	bool		nulls[10] = {false};
	double		dna = PG_ARGISNULL(5) ? 0 : PG_GETARG_FLOAT8(5);
	int			i;

	for (i = 0; i < 5; i++)
		if (PG_ARGISNULL(i))
			PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (isnan(dna) || isinf(dna))
		artery_amount_check(dna, 1, "dna_score");
	input.impressions = artery_amount_check((double) PG_GETARG_INT64(0), DBL_MAX, "impressions");
	input.clicks = artery_amount_check((double) PG_GETARG_INT64(1), DBL_MAX, "clicks");
	input.spend = artery_amount_double(PG_GETARG_NUMERIC(2), AMOUNT_MAX, "spend");
	input.value = artery_amount_double(PG_GETARG_NUMERIC(3), AMOUNT_MAX, "pipeline_value");
	input.age_hours = artery_amount_check(PG_GETARG_FLOAT8(4), DBL_MAX, "age_hours");
	input.dna_score = dna;
	artery_blended_score(&input, &score);

	values[0] = Float8GetDatum(score.ctr);
	values[1] = Float8GetDatum(score.roas);
	values[2] = Float8GetDatum(score.ctr_weight);
	values[3] = Float8GetDatum(score.roas_weight);
	values[4] = Float8GetDatum(score.normalized_ctr);
	values[5] = Float8GetDatum(score.normalized_roas);
	values[6] = Float8GetDatum(score.blended);
	values[7] = Float8GetDatum(score.decay);
	values[8] = Float8GetDatum(score.dna_boost);
	values[9] = Float8GetDatum(score.final);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* artery.softmax_allocation(samples, total_budget, temperature) */
Datum
artery_softmax_allocation(PG_FUNCTION_ARGS)
{
	int			n;
	double	   *samples = read_samples(PG_GETARG_ARRAYTYPE_P(0), &n);
	int64		total = artery_amount_units(PG_GETARG_NUMERIC(1), 2, AMOUNT_NEAREST, "total_budget");
	double		temperature = PG_GETARG_FLOAT8(2);
	int64	   *units;
	Datum	   *amounts;
	int			i;

	if (isnan(temperature) || isinf(temperature) || temperature <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("temperature must be a positive finite number"),
				 errhint("1 is the usual one; a smaller one favours the best more.")));
	if (n == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(NUMERICOID));

	units = palloc_extended(n * sizeof(int64), MCXT_ALLOC_HUGE);
	amounts = palloc_extended(n * sizeof(Datum), MCXT_ALLOC_HUGE);
	artery_allotment_softmax(samples, n, temperature, samples);
	artery_allotment_split(samples, n, total, units);
	for (i = 0; i < n; i++)
		amounts[i] = NumericGetDatum(artery_amount_numeric(units[i], 2));
	PG_RETURN_ARRAYTYPE_P(construct_array(amounts, n, NUMERICOID, -1, false, TYPALIGN_INT));
}

/* artery.fresh_seed() */
Datum
artery_fresh_seed(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(artery_random_fresh_seed());
}

/* artery.draw_gamma(shape, seed, count): draws as the sampler makes them */
Datum
artery_draw_gamma(PG_FUNCTION_ARGS)
{
	double		shape = check_shape(PG_GETARG_FLOAT8(0), "shape");
	int			n = check_count(PG_GETARG_INT32(2));
	Datum	   *draws = palloc(Max(n, 1) * sizeof(Datum));
	ArteryRandom random;
	int			i;

	artery_random_start(&random, PG_GETARG_INT64(1), "", 0);
	for (i = 0; i < n; i++)
		draws[i] = Float8GetDatum(exp(artery_random_log_gamma(&random, shape)));
	return draws_array(draws, n);
}

/* artery.draw_beta(alpha, beta, seed, count) */
Datum
artery_draw_beta(PG_FUNCTION_ARGS)
{
	double		alpha = check_shape(PG_GETARG_FLOAT8(0), "alpha");
	double		beta = check_shape(PG_GETARG_FLOAT8(1), "beta");
	int			n = check_count(PG_GETARG_INT32(3));
	Datum	   *draws = palloc(Max(n, 1) * sizeof(Datum));
	ArteryRandom random;
	int			i;

	artery_random_start(&random, PG_GETARG_INT64(2), "", 0);
	for (i = 0; i < n; i++)
		draws[i] = Float8GetDatum(artery_random_beta(&random, alpha, beta));
	return draws_array(draws, n);
}

static double *
read_samples(ArrayType *array, int *n)
{
	Datum	   *elements;
	bool	   *nulls;
	double	   *samples;
	int			i;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("samples must be an array of one dimension")));
	deconstruct_array(array, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elements, &nulls, n);
	samples = palloc_extended(Max(*n, 1) * sizeof(double), MCXT_ALLOC_HUGE);
	for (i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("samples must not contain nulls"),
					 errhint("Give one number per ad.")));
		samples[i] = DatumGetFloat8(elements[i]);
		if (isnan(samples[i]) || isinf(samples[i]))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("samples must be finite numbers"),
					 errhint("Give one finite number per ad.")));
	}
	return samples;
}

static Datum
draws_array(Datum *draws, int n)
{
	return PointerGetDatum(construct_array(draws, n, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static int
check_count(int32 count)
{
	if (count < 0 || count > MAX_DRAWS)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("count must be between 0 and %d", MAX_DRAWS)));
	return count;
}

static double
check_shape(double shape, const char *what)
{
	if (artery_amount_check(shape, 1e18, what) < 1e-3)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s must be at least 0.001", what)));
	return shape;
}
