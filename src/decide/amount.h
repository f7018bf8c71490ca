/*
 * amount.h
 *		Checked numbers at the SQL surface: money as numeric outside, as whole units
 *		inside.
 */
#ifndef ARTERY_DECIDE_AMOUNT_H
#define ARTERY_DECIDE_AMOUNT_H

#include "postgres.h"

#include "utils/numeric.h"

typedef enum AmountRounding
{
	AMOUNT_NEAREST,
	AMOUNT_UP,
	AMOUNT_DOWN
} AmountRounding;

/* No budget, spend or value may be larger, in account currency. */
#define AMOUNT_MAX 1e12

/*
 * An amount in units of 10^-digits; error 22003, naming what it is, if it is
 * negative, not finite or above AMOUNT_MAX.
 */
extern int64 artery_amount_units(Numeric amount, int digits, AmountRounding rounding, const char *what);

/* Units as an amount with that many digits. */
extern Numeric artery_amount_numeric(int64 units, int digits);

/* Error 22003, naming what it is, unless finite, not negative and at most largest; returns it. */
extern double artery_amount_check(double value, double largest, const char *what);

/* numeric as double, checked like artery_amount_check. */
extern double artery_amount_double(Numeric value, double largest, const char *what);

#endif							/* ARTERY_DECIDE_AMOUNT_H */
