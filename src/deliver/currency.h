/*
 * currency.h
 *		Meta's minor units: the only place that knows them.
 */
#ifndef ARTERY_DELIVER_CURRENCY_H
#define ARTERY_DELIVER_CURRENCY_H

#include "postgres.h"

#include "utils/numeric.h"

/* Minor units per unit of a currency as Meta counts them: 1 or 100; 0 if Meta does not know the code. */
extern int	artery_currency_offset(const char *code);

/* Decimal places of an amount in that currency: 0 or 2 (2 if unknown). */
extern int	artery_currency_digits(const char *code);

/*
 * Amount in account currency as minor units; error 22023 for an unknown
 * currency, 22003 for an amount that is not finite, negative, or has more
 * decimal places than the currency.
 */
extern int64 artery_currency_to_minor(Numeric amount, const char *code);

/* Minor units as an amount; error 22023 for an unknown currency. */
extern Numeric artery_currency_from_minor(int64 minor, const char *code);

#endif							/* ARTERY_DELIVER_CURRENCY_H */
