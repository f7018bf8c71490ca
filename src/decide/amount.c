/*
 * amount.c
 *		Checked numbers at the SQL surface.
 */
#include "artery.h"

#include <math.h>

#include "utils/builtins.h"

#include "decide/amount.h"

double
artery_amount_check(double value, double largest, const char *what)
{
	if (isnan(value) || isinf(value))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s must be a finite number", what),
				 errhint("NaN and infinities are no amounts; give 0 or leave the ad out.")));
	if (value < 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s must not be negative", what),
				 errdetail("It is %g.", value),
				 errhint("Counts, ages and amounts begin at 0.")));
	if (value > largest)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s is too large", what),
				 errdetail("It is %g, the largest is %g.", value, largest),
				 errhint("Look at the unit: amounts are in the account's currency, ages in hours.")));
	return value;
}

double
artery_amount_double(Numeric value, double largest, const char *what)
{
	if (numeric_is_nan(value) || numeric_is_inf(value))
		artery_amount_check(NAN, largest, what);
	return artery_amount_check(DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
																  NumericGetDatum(value))), largest, what);
}

int64
artery_amount_units(Numeric amount, int digits, AmountRounding rounding, const char *what)
{
	int64		factor = 1;
	Datum		scaled;
	int			i;

	(void) artery_amount_double(amount, AMOUNT_MAX, what);
	for (i = 0; i < digits; i++)
		factor *= 10;
	scaled = DirectFunctionCall2(numeric_mul, NumericGetDatum(amount), NumericGetDatum(int64_to_numeric(factor)));
	switch (rounding)
	{
		case AMOUNT_UP:
			scaled = DirectFunctionCall1(numeric_ceil, scaled);
			break;
		case AMOUNT_DOWN:
			scaled = DirectFunctionCall1(numeric_floor, scaled);
			break;
		case AMOUNT_NEAREST:
			break;				/* numeric_int8 rounds */
	}
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, scaled));
}

Numeric
artery_amount_numeric(int64 units, int digits)
{
	return int64_div_fast_to_numeric(units, digits);
}
