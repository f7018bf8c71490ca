/*
 * currency.c
 *		Meta's minor units.
 *
 * The offsets are Meta's, not ISO 4217's (which would be wrong for BHD, COP,
 * CRC, HUF, IDR, JOD and TWD): Marketing API reference, "Currencies". A code
 * that is not in the list is refused, never guessed: a wrong factor would be a
 * hundredfold overspend.
 */
#include "artery.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "deliver/currency.h"

static const char *const offset_100[] = {
	"AED", "ARS", "AUD", "BDT", "BGN", "BHD", "BOB", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "DZD", "EGP", "EUR",
	"FBZ", "GBP", "GTQ", "HKD", "HNL", "HRK", "ILS", "INR", "JOD", "KES", "LTL", "LVL", "MOP", "MXN", "MYR", "NGN",
	"NIO", "NOK", "NZD", "PEN", "PHP", "PKR", "PLN", "QAR", "RON", "RSD", "RUB", "SAR", "SEK", "SGD", "SKK", "THB",
	"TRY", "UAH", "USD", "UYU", "VEF", "VES", "ZAR"
};
static const char *const offset_1[] = {
	"CLP", "COP", "CRC", "HUF", "IDR", "ISK", "JPY", "KRW", "PYG", "TWD", "VND"
};

int
artery_currency_offset(const char *code)
{
	int			i;

	for (i = 0; i < (int) lengthof(offset_100); i++)
		if (strcmp(code, offset_100[i]) == 0)
			return 100;
	for (i = 0; i < (int) lengthof(offset_1); i++)
		if (strcmp(code, offset_1[i]) == 0)
			return 1;
	return 0;
}

int
artery_currency_digits(const char *code)
{
	return artery_currency_offset(code) == 1 ? 0 : 2;
}

static int
require_offset(const char *code)
{
	int			offset = artery_currency_offset(code);

	if (offset == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("currency \"%s\" is not known to Meta", code),
				 errdetail("Without its minor unit an amount cannot be sent.")));
	return offset;
}

int64
artery_currency_to_minor(Numeric amount, const char *code)
{
	int			offset = require_offset(code);
	Datum		minor;
	Datum		whole;

	if (numeric_is_nan(amount) || numeric_is_inf(amount))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("an amount of money must be finite")));
	minor = DirectFunctionCall2(numeric_mul, NumericGetDatum(amount),
								NumericGetDatum(int64_to_numeric(offset)));
	whole = DirectFunctionCall2(numeric_trunc, minor, Int32GetDatum(0));
	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, minor, whole)) ||
		DatumGetBool(DirectFunctionCall2(numeric_lt, whole, NumericGetDatum(int64_to_numeric(0)))))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("amount %s cannot be expressed in %s",
						DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(amount))), code),
				 errdetail("Amounts in %s have at most %d decimal places and are not negative.",
						   code, offset == 1 ? 0 : 2)));
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, whole));
}

Numeric
artery_currency_from_minor(int64 minor, const char *code)
{
	int			offset = require_offset(code);
	Datum		amount = DirectFunctionCall2(numeric_div, NumericGetDatum(int64_to_numeric(minor)),
											 NumericGetDatum(int64_to_numeric(offset)));

	return DatumGetNumeric(DirectFunctionCall2(numeric_round, amount, Int32GetDatum(offset == 1 ? 0 : 2)));
}
