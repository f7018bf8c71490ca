/*
 * decimal.c
 *		Numbers between numeric and double without going through text.
 *
 * A numeric is a length word, a header of 16 bits and digits to the base 10000, the
 * first of them worth 10000^weight, none at either end zero. The short header has
 * the bit 0x8000, a sign, six bits of decimal places and seven of weight; the long
 * one has sign and places, then the weight in a word of its own.
 */
#include "artery.h"

#include <math.h>

#include "port/pg_bitutils.h"
#include "utils/builtins.h"

#include "runtime/decimal.h"

#define BASE 10000
#define BASE_DIGITS 4
#define BASE_SQUARE (BASE * BASE)

/* Digits to the base that a mantissa may have. */
#define GROUPS 5

#define FORM_MASK 0xC000
#define FORM_NEGATIVE 0x4000
#define FORM_SHORT 0x8000
#define FORM_SPECIAL 0xC000
#define SHORT_NEGATIVE 0x2000
#define SHORT_PLACES_SHIFT 7
#define SHORT_WEIGHT_SIGN 0x0040
#define SHORT_WEIGHT_MASK 0x003F

/* A mantissa below 2^53 and a power up to 10^22 are exact, so one operation on them rounds once. */
#define EXACT_MANTISSA (INT64CONST(1) << 53)
#define EXACT_POWER 22

/* Digits that a double surely has. */
#define PLACES 15

static const double powers[] = {
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
	1e20, 1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28, 1e29, 1e30, 1e31, 1e32
};

typedef struct Groups
{
	const uint16 *first;
	int			count;
	int			weight;
	bool		negative;
} Groups;

static bool read_exactly(const Groups *groups, uint64 *mantissa, int *exponent);
static Groups open_groups(Numeric number);
static Size write_digits(char *to, bool negative, uint64 digits, int below, int places);

bool
artery_decimal_read(Numeric number, int64 *mantissa, int *exponent)
{
	Groups		groups = open_groups(number);
	int64		sum = 0;
	int			i;

	if (groups.count < 0 || groups.count > 4)
		return false;
	for (i = 0; i < groups.count; i++)
		sum = sum * BASE + groups.first[i];
	*mantissa = groups.negative ? -sum : sum;
	*exponent = groups.count > 0 ? BASE_DIGITS * (groups.weight - groups.count + 1) : 0;
	return true;
}

double
artery_decimal_double(Numeric number)
{
	Groups		groups = open_groups(number);
	uint64		mantissa;
	int			exponent;

	if (groups.count == 0)
		return 0;
	if (read_exactly(&groups, &mantissa, &exponent) && exponent >= -EXACT_POWER && exponent <= EXACT_POWER)
	{
		double		size = exponent < 0 ? (double) mantissa / powers[-exponent] : (double) mantissa * powers[exponent];

		return groups.negative ? -size : size;
	}
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(number)));
}

/* A mantissa that a double holds; false where there is none. */
static inline bool
read_exactly(const Groups *groups, uint64 *mantissa, int *exponent)
{
	uint64		sum = 0;
	uint32		last;
	uint32		base = BASE;
	int			i;

	if (groups->count < 0 || groups->count > GROUPS)
		return false;
	*exponent = BASE_DIGITS * (groups->weight - groups->count + 1);
	for (i = 0; i < groups->count && i < GROUPS - 1; i++)
		sum = sum * BASE + groups->first[i];
	if (groups->count < GROUPS)
		for (; sum >= EXACT_MANTISSA && sum % 10 == 0; sum /= 10)
			(*exponent)++;
	else
	{
		/* fifteen digits that begin with the last of a group end with the first of the fifth */
		last = groups->first[GROUPS - 1];
		for (; last % 10 == 0 && base > 1; last /= 10, base /= 10)
			(*exponent)++;
		if (sum >= EXACT_MANTISSA / base)
			return false;
		sum = sum * base + last;
	}
	*mantissa = sum;
	return sum < EXACT_MANTISSA;
}

/* The parts of a numeric; a count of -1 for NaN and infinities. */
static inline Groups
open_groups(Numeric number)
{
	const uint16 *words = (const uint16 *) VARDATA(number);
	const uint16 *end = (const uint16 *) ((const char *) number + VARSIZE(number));
	uint16		header = *words++;
	Groups		groups;

	if (header & FORM_SHORT)
	{
		groups.negative = (header & SHORT_NEGATIVE) != 0;
		groups.weight = header & SHORT_WEIGHT_MASK;
		if (header & SHORT_WEIGHT_SIGN)
			groups.weight |= ~SHORT_WEIGHT_MASK;
	}
	else
	{
		groups.negative = (header & FORM_MASK) == FORM_NEGATIVE;
		groups.weight = (int16) *words++;
	}
	groups.first = words;
	groups.count = (header & FORM_MASK) == FORM_SPECIAL ? -1 : end - words;
	return groups;
}

Size
artery_decimal_write(char *to, int64 mantissa, int scale)
{
	static const int lift[BASE_DIGITS] = {1, 1000, 100, 10};
	uint64		size = mantissa < 0 ? -(uint64) mantissa : (uint64) mantissa;

	Assert(scale >= 0 && scale <= 60);
	return write_digits(to, mantissa < 0, size * lift[scale % BASE_DIGITS], (scale + BASE_DIGITS - 1) / BASE_DIGITS, scale);
}

Size
artery_decimal_write_double(char *to, double number)
{
	static const int lift[BASE_DIGITS] = {1, 1000, 100, 10};
	double		size = fabs(number);
	double		scaled;
	double		rest;
	uint64		mantissa;
	uint64		bits;
	int			binary;
	int			magnitude;
	int			scale;
	Numeric		converted;

	if (size < 1e15 && number == (double) (int64) number)
		return artery_decimal_write(to, (int64) number, 0);
	if (size < 1e15 && size >= 1e-17)
	{
		/* the power of ten at or below it, by that of two (times log10(2)): right, or one too low */
		memcpy(&bits, &size, sizeof(bits));
		binary = (int) (bits >> 52) - 1023;
		magnitude = (binary * 1233) >> 12;
		scale = PLACES - 1 - magnitude;
		if (size * powers[scale] >= 1e15)
			scale--;
		scaled = size * powers[scale];
		mantissa = (uint64) scaled;
		/* half a unit or so: what the multiplication rounded away decides */
		rest = scaled - (double) mantissa - 0.5;
		if (fabs(rest) < 0.26)
			rest += fma(size, powers[scale], -scaled);
		if (fabs(rest) > 0.26 || (rest != 0 && scale <= EXACT_POWER))
			return write_digits(to, number < 0, (mantissa + (rest > 0)) * lift[scale % BASE_DIGITS],
								(scale + BASE_DIGITS - 1) / BASE_DIGITS, -1);
	}
	converted = DatumGetNumeric(DirectFunctionCall1(float8_numeric, Float8GetDatum(number)));
	memcpy(to, converted, Min(VARSIZE(converted), DECIMAL_ROOM));
	return VARSIZE(converted);
}

/*
 * Write digits / 10000^below as a numeric; places are the decimal places it
 * shows, -1 for as many as it needs.
 */
static Size
write_digits(char *to, bool negative, uint64 digits, int below, int places)
{
	uint64		upper = digits / BASE_SQUARE;
	uint32		middle = upper % BASE_SQUARE;
	uint32		low = digits % BASE_SQUARE;
	uint16		top = upper / BASE_SQUARE;
	uint16		second = middle / BASE;
	uint16		third = middle % BASE;
	uint16		fourth = low / BASE;
	uint16		fifth = low % BASE;
	uint32		used = (top != 0) << 4 | (second != 0) << 3 | (third != 0) << 2 | (fourth != 0) << 1 | (fifth != 0);
	uint16	   *words = (uint16 *) VARDATA(to);
	int			first = 0;
	int			last = -1;
	int			weight = 0;
	int			needed = 0;

	if (used == 0)
		negative = false;
	else
	{
		uint16		end;

		first = GROUPS - 1 - pg_leftmost_one_pos32(used);
		last = GROUPS - 1 - pg_rightmost_one_pos32(used);
		weight = GROUPS - 1 - below - first;
		/* leading zeros go where header and length will be, so no group waits for another */
		if (first < GROUPS - 1)
		{
			uint16	   *at = words + 1 - first;

			at[0] = top;
			at[1] = second;
			at[2] = third;
			at[3] = fourth;
			at[4] = fifth;
		}
		else
			words[1] = fifth;
		end = words[1 + last - first];
		needed = BASE_DIGITS * (below - (GROUPS - 1 - last)) - (end % 10 == 0) - (end % 100 == 0) - (end % 1000 == 0);
	}
	if (places < 0)
		places = Max(needed, 0);
	words[0] = FORM_SHORT | (negative ? SHORT_NEGATIVE : 0) | places << SHORT_PLACES_SHIFT
		| (weight & SHORT_WEIGHT_MASK) | (weight < 0 ? SHORT_WEIGHT_SIGN : 0);
	SET_VARSIZE(to, (char *) (words + 2 + last - first) - to);
	return VARSIZE(to);
}

void
artery_decimal_append(StringInfo out, double number, int places)
{
	char		digits[32];
	char	   *at = digits + sizeof(digits);
	double		scaled = fabs(number) * powers[places];
	double		whole = rint(scaled);
	uint64		left;
	int			written;

	if (!(scaled < 1e15))
	{
		appendStringInfo(out, "%.*f", places, number);
		return;
	}
	/* in the middle between two: what the multiplication rounded away decides */
	if (fabs(scaled - floor(scaled) - 0.5) == 0)
	{
		double		lost = fma(fabs(number), powers[places], -scaled);

		if (lost != 0)
			whole = lost > 0 ? ceil(scaled) : floor(scaled);
	}
	left = (uint64) whole;
	for (written = 0; written <= places || left > 0; written++)
	{
		if (written == places && places > 0)
			*--at = '.';
		*--at = '0' + left % 10;
		left /= 10;
	}
	if (signbit(number))
		*--at = '-';
	appendBinaryStringInfo(out, at, digits + sizeof(digits) - at);
}
