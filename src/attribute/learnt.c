/*
 * learnt.c
 *		SQL doors to what the calibrated model learns: the values and class of a
 *		click, and arrays of the model's numbers that are summed and faded.
 */
#include "artery.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "attribute/calibrated.h"
#include "attribute/value_count.h"
#include "capture/fields.h"
#include "capture/sighting.h"
#include "tenant/tenant.h"

PG_FUNCTION_INFO_V1(artery_click_values);
PG_FUNCTION_INFO_V1(artery_click_class);
PG_FUNCTION_INFO_V1(artery_learnt_numbers);
PG_FUNCTION_INFO_V1(artery_learnt_step);
PG_FUNCTION_INFO_V1(artery_combine_learnt);
PG_FUNCTION_INFO_V1(artery_faded);

static ArrayType *make_numbers(int count);
static double *numbers_of(ArrayType *array);
static void *plain_data(ArrayType *array);
static int	count_numbers(ArrayType *array);

/*
 * artery.click_values(tenant_id, ip_address, fingerprint_key, hardware_key,
 * agent_key, sighting): the keys that a click counts for.
 */
Datum
artery_click_values(PG_FUNCTION_ARGS)
{
	Datum		keys[6];
	int			count = 0;
	Sighting	sighting = {SIGHTING_OTHER_OS, SIGHTING_OTHER_BROWSER, false, 0, 0, 0, 0, 0};
	const ArteryTenant *tenant;
	int			i;

	artery_fields_require("tenant_id", PG_ARGISNULL(0));
	tenant = artery_tenant_get(TextDatumGetCString(PG_GETARG_DATUM(0)));
	if (!PG_ARGISNULL(1))
	{
		sighting.ip = artery_sighting_address_key(PG_GETARG_DATUM(1));
		sighting.block = artery_sighting_block_key(PG_GETARG_DATUM(1));
	}
	artery_sighting_seal(tenant->salt, &sighting);
	if (sighting.ip != 0)
	{
		keys[count++] = Int64GetDatum(sighting.ip);
		keys[count++] = Int64GetDatum(sighting.block);
	}
	for (i = 2; i < 5; i++)
		if (!PG_ARGISNULL(i))
			keys[count++] = PG_GETARG_DATUM(i);
	if (!PG_ARGISNULL(5))
		artery_sighting_decode(PG_GETARG_INT16(5), &sighting);
	keys[count++] = Int64GetDatum(VALUE_CLASS_KEY(artery_calibrated_class(sighting.os, sighting.in_app)));
	PG_RETURN_ARRAYTYPE_P(construct_array(keys, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* artery.click_class(sighting): 0 to 4 */
Datum
artery_click_class(PG_FUNCTION_ARGS)
{
	Sighting	sighting = {SIGHTING_OTHER_OS, SIGHTING_OTHER_BROWSER, false, 0, 0, 0, 0, 0};

	if (!PG_ARGISNULL(0))
		artery_sighting_decode(PG_GETARG_INT16(0), &sighting);
	PG_RETURN_INT32(artery_calibrated_class(sighting.os, sighting.in_app));
}

/* artery.learnt_numbers(): how many the model learns */
Datum
artery_learnt_numbers(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(CALIBRATED_NUMBERS);
}

/*
 * artery.learnt_step(sums, positions, amounts, weight): adds to the sums of an
 * aggregate, in place, what a conversion taught.
 */
Datum
artery_learnt_step(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	ArrayType  *sums;
	ArrayType  *positions = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	ArrayType  *amounts = PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2);
	double	   *number;
	int			count;
	int			i;

	if (!AggCheckCallContext(fcinfo, &context))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("artery.learnt_step can only be called by its aggregate")));
	if (PG_ARGISNULL(0))
	{
		MemoryContext before = MemoryContextSwitchTo(context);

		sums = make_numbers(CALIBRATED_NUMBERS);
		MemoryContextSwitchTo(before);
	}
	else
		sums = PG_GETARG_ARRAYTYPE_P(0);
	if (positions == NULL || amounts == NULL || PG_ARGISNULL(3))
		PG_RETURN_ARRAYTYPE_P(sums);
	if (ARR_HASNULL(positions) || ARR_HASNULL(amounts) || ARR_NDIM(positions) > 1 || ARR_NDIM(amounts) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("artery.learnt_step takes arrays of one dimension without nulls")));
	number = numbers_of(sums);
	count = Min(count_numbers(positions), count_numbers(amounts));
	for (i = 0; i < count; i++)
	{
		int			place = ((int16 *) plain_data(positions))[i];

		if (place >= 1 && place <= CALIBRATED_NUMBERS)
			number[place - 1] += numbers_of(amounts)[i] * PG_GETARG_FLOAT8(3);
	}
	PG_RETURN_ARRAYTYPE_P(sums);
}

/* artery.combine_learnt(one, weight, other, other_weight): the weighted sum; what is missing counts 0 */
Datum
artery_combine_learnt(PG_FUNCTION_ARGS)
{
	ArrayType  *sum = make_numbers(CALIBRATED_NUMBERS);
	double	   *number = numbers_of(sum);
	int			argument;
	int			i;

	for (argument = 0; argument < 4; argument += 2)
	{
		ArrayType  *array;
		double		weight;

		if (PG_ARGISNULL(argument) || PG_ARGISNULL(argument + 1))
			continue;
		array = PG_GETARG_ARRAYTYPE_P(argument);
		weight = PG_GETARG_FLOAT8(argument + 1);
		if (ARR_HASNULL(array) || ARR_NDIM(array) > 1)
			ereport(ERROR,
					(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
					 errmsg("artery.combine_learnt takes arrays of one dimension without nulls")));
		for (i = 0; i < Min(count_numbers(array), CALIBRATED_NUMBERS); i++)
			number[i] += numbers_of(array)[i] * weight;
	}
	PG_RETURN_ARRAYTYPE_P(sum);
}

/* An array of as many zeros. */
static ArrayType *
make_numbers(int count)
{
	Datum	   *zeros = palloc0(count * sizeof(Datum));

	return construct_array(zeros, count, FLOAT8OID, sizeof(double), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

static double *
numbers_of(ArrayType *array)
{
	return plain_data(array);
}

/* The elements of an array without nulls; ARR_DATA_PTR warns of signs. */
static void *
plain_data(ArrayType *array)
{
	return (char *) array + ARR_OVERHEAD_NONULLS(ARR_NDIM(array));
}

static int
count_numbers(ArrayType *array)
{
	return ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
}

/*
 * artery.faded(age, half_life_days): what is left of 1. The bound keeps sums of
 * very old rows from underflowing.
 */
Datum
artery_faded(PG_FUNCTION_ARGS)
{
	const Interval *age = PG_GETARG_INTERVAL_P(0);
	double		days = age->time / (double) USECS_PER_DAY + age->day + age->month * (double) DAYS_PER_MONTH;

	PG_RETURN_FLOAT8(exp2(-Min(Max(days / PG_GETARG_FLOAT8(1), 0), 200)));
}
