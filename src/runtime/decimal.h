/*
 * decimal.h
 *		Numbers between numeric and double without going through text.
 *
 * PostgreSQL converts by printing and scanning, which costs half a microsecond
 * a number. These read and write the digits themselves, in the format that numeric
 * has on disk (pg_upgrade depends on it, so it stays), and leave whatever is
 * unusual to PostgreSQL.
 */
#ifndef ARTERY_RUNTIME_DECIMAL_H
#define ARTERY_RUNTIME_DECIMAL_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/numeric.h"

/* Bytes that a number written below may take. */
#define DECIMAL_ROOM 32

/*
 * The number as mantissa * 10^exponent with a mantissa of at most 10^18 and
 * an exponent that is a multiple of 4. False where that cannot be: NaN, infinities, more digits.
 */
extern bool artery_decimal_read(Numeric number, int64 *mantissa, int *exponent);

/* The nearest double; infinite where the number is too large for one. */
extern double artery_decimal_double(Numeric number);

/*
 * Write mantissa / 10^scale (0 <= scale <= 60; |mantissa| < 10^15, any where scale is a
 * multiple of 4) as a numeric with that many
 * decimal places to memory aligned for an int; returns its size.
 */
extern Size artery_decimal_write(char *to, int64 mantissa, int scale);

/* Write a double with its 15 digits, as a cast to numeric would. */
extern Size artery_decimal_write_double(char *to, double number);

/* Append a number with that many decimal places (at most 6), as "%.*f" would. */
extern void artery_decimal_append(StringInfo out, double number, int places);

#endif							/* ARTERY_RUNTIME_DECIMAL_H */
