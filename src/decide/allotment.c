/*
 * allotment.c
 *		Splitting an amount by shares, exactly, within bounds.
 */
#include "artery.h"

#include <math.h>

#include "common/int.h"
#include "miscadmin.h"

#include "decide/allotment.h"
#include "runtime/huge.h"

/* A share so small that it matters only where everybody else is at a bound. */
#define LEAST_SHARE 1e-15
#define MAX_BISECTIONS 250

/* Remainders are sorted roughly into so many cells. */
#define CELLS 512

typedef struct Remainder
{
	double		part;
	int			index;
} Remainder;

static bool settle_by_cells(const Remainder *remainders, const int64 *high, int n, int64 rest, int64 *units);
static void allot_some(const double *shares, const int64 *low, const int64 *high, const bool *marked, bool mark,
					   int n, int64 total, int64 *units);
static int64 sum_units(const int64 *units, int n);
static double clamped_sum(const double *shares, const int64 *low, const int64 *high, int n, double factor);
static double common_factor(const double *shares, const int64 *low, const int64 *high, int n, int64 total);
static void settle_rest(Remainder *remainders, const int64 *low, const int64 *high, int n, int64 rest, int64 *units);
static int	compare_remainders(const void *left, const void *right);

static void *
allocate(int n, Size size)
{
	return artery_huge_alloc(n * size, 0);
}

static double
clamp(double value, int64 low, int64 high)
{
	if (value < (double) low)
		return (double) low;
	if (value > (double) high)
		return (double) high;
	return value;
}

static int
cell_of(const Remainder *remainder)
{
	return Min((int) (remainder->part * CELLS), CELLS - 1);
}

void
artery_allotment_softmax(const double *samples, int n, double temperature, double *shares)
{
	double		largest = 0;
	double		sum = 0;
	int			i;

	for (i = 0; i < n; i++)
		if (i == 0 || samples[i] > largest)
			largest = samples[i];
	for (i = 0; i < n; i++)
	{
		shares[i] = exp((samples[i] - largest) / temperature);
		sum += shares[i];
	}
	for (i = 0; i < n; i++)
		shares[i] /= sum;
}

void
artery_allotment_split(const double *shares, int n, int64 total, int64 *units)
{
	int64	   *low = allocate(n, sizeof(int64));
	int64	   *high = allocate(n, sizeof(int64));
	int			i;

	for (i = 0; i < n; i++)
	{
		low[i] = 0;
		high[i] = total;
	}
	(void) artery_allotment_bounded(shares, low, high, n, total, units);
	pfree(low);
	pfree(high);
}

int64
artery_allotment_bounded(const double *shares, const int64 *low, const int64 *high, int n, int64 total, int64 *units)
{
	int64		least = sum_units(low, n);
	int64		most = sum_units(high, n);
	int64		rest = total;
	Remainder  *remainders;
	double		factor;
	int			i;

	if (least >= total || most <= total)
	{
		const int64 *all = least >= total ? low : high;

		memcpy(units, all, n * sizeof(int64));
		return total - (least >= total ? least : most);
	}
	factor = common_factor(shares, low, high, n, total);
	remainders = allocate(n, sizeof(Remainder));
	for (i = 0; i < n; i++)
	{
		double		exact = clamp(factor * Max(shares[i], LEAST_SHARE), low[i], high[i]);

		units[i] = (int64) floor(exact);
		remainders[i].part = exact - floor(exact);
		remainders[i].index = i;
		rest -= units[i];
	}
	settle_rest(remainders, low, high, n, rest, units);
	pfree(remainders);
	return 0;
}

int64
artery_allotment_reserving(const double *shares, const int64 *low, const int64 *high, const bool *marked, int n,
						   int64 total, int64 reserve, int64 *units, int64 *missing)
{
	int64		rest = artery_allotment_bounded(shares, low, high, n, total, units);
	int64		most = 0;
	int64		others = 0;
	int64		have = 0;
	int			i;

	for (i = 0; i < n; i++)
	{
		if (marked[i])
		{
			have += units[i];
			if (pg_add_s64_overflow(most, Min(high[i], total), &most))
				most = PG_INT64_MAX;
		}
		else
			others += low[i];
	}
	*missing = Max(reserve - Max(have, Min(most, total - others)), 0);
	if (have >= reserve - *missing)
		return rest;
	allot_some(shares, low, high, marked, true, n, reserve - *missing, units);
	allot_some(shares, low, high, marked, false, n, total - (reserve - *missing), units);
	return 0;
}

/* Split an amount that their bounds allow among those marked so. */
static void
allot_some(const double *shares, const int64 *low, const int64 *high, const bool *marked, bool mark, int n,
		   int64 total, int64 *units)
{
	double	   *part = allocate(n, sizeof(double));
	int64	   *some = allocate(n, 3 * sizeof(int64));
	int			count = 0;
	int			i;

	for (i = 0; i < n; i++)
		if (marked[i] == mark)
		{
			part[count] = shares[i];
			some[count] = low[i];
			some[n + count++] = high[i];
		}
	(void) artery_allotment_bounded(part, some, some + n, count, total, some + 2 * (Size) n);
	for (i = 0, count = 0; i < n; i++)
		if (marked[i] == mark)
			units[i] = some[2 * (Size) n + count++];
	pfree(part);
	pfree(some);
}

/* Sum of amounts that are not negative; the largest number if that is too small for it. */
static int64
sum_units(const int64 *units, int n)
{
	int64		sum = 0;
	int			i;

	for (i = 0; i < n; i++)
		if (pg_add_s64_overflow(sum, units[i], &sum))
			return PG_INT64_MAX;
	return sum;
}

static double
clamped_sum(const double *shares, const int64 *low, const int64 *high, int n, double factor)
{
	double		sum = 0;
	int			i;

	for (i = 0; i < n; i++)
		sum += clamp(factor * Max(shares[i], LEAST_SHARE), low[i], high[i]);
	return sum;
}

/*
 * The factor with which the clamped shares add up to total. The sum grows with
 * the factor, so halving finds it; without bounds the factor is total itself.
 */
static double
common_factor(const double *shares, const int64 *low, const int64 *high, int n, int64 total)
{
	double		below = 0;
	double		above = (double) total;
	int			i;

	if (fabs(clamped_sum(shares, low, high, n, above) - above) <= above * 1e-12)
		return above;
	while (clamped_sum(shares, low, high, n, above) < (double) total && above < 1e300)
	{
		below = above;
		above = Max(above, 1.0) * 16.0;
	}
	for (i = 0; i < MAX_BISECTIONS; i++)
	{
		double		middle = below + (above - below) / 2.0;

		if (middle <= below || middle >= above)
			break;
		CHECK_FOR_INTERRUPTS();
		if (clamped_sum(shares, low, high, n, middle) < (double) total)
			below = middle;
		else
			above = middle;
	}
	return below;
}

/* Hand out what rounding left, unit by unit, the largest remainders first. */
static void
settle_rest(Remainder *remainders, const int64 *low, const int64 *high, int n, int64 rest, int64 *units)
{
	if (rest == 0 || settle_by_cells(remainders, high, n, rest, units))
		return;
	qsort(remainders, n, sizeof(Remainder), compare_remainders);
	while (rest != 0)
	{
		int			i;

		CHECK_FOR_INTERRUPTS();
		for (i = 0; i < n && rest > 0; i++)
		{
			int			at = remainders[i].index;

			if (units[at] < high[at])
			{
				units[at]++;
				rest--;
			}
		}
		for (i = n - 1; i >= 0 && rest < 0; i--)
		{
			int			at = remainders[i].index;

			if (units[at] > low[at])
			{
				units[at]--;
				rest++;
			}
		}
	}
}

/*
 * The usual case, in time linear in n: there are more amounts that can grow
 * than units left. The remainders are counted by cells; all of the upper cells get a unit,
 * and only the cell at which the units run out is sorted. False if it is another case.
 */
static bool
settle_by_cells(const Remainder *remainders, const int64 *high, int n, int64 rest, int64 *units)
{
	int			counts[CELLS] = {0};
	Remainder  *last;
	int			cell;
	int			left = 0;
	int			i;

	if (rest < 0 || rest >= n || n < CELLS / 16)
		return false;
	for (i = 0; i < n; i++)
		if (units[i] < high[i])
			counts[cell_of(&remainders[i])]++;
	for (cell = CELLS - 1; cell >= 0 && counts[cell] <= rest; cell--)
		rest -= counts[cell];
	if (cell < 0)
		return false;
	last = allocate(counts[cell], sizeof(Remainder));
	for (i = 0; i < n; i++)
	{
		if (units[i] >= high[i])
			continue;
		if (cell_of(&remainders[i]) == cell)
			last[left++] = remainders[i];
		else if (cell_of(&remainders[i]) > cell)
			units[i]++;
	}
	qsort(last, left, sizeof(Remainder), compare_remainders);
	for (i = 0; i < rest; i++)
		units[last[i].index]++;
	pfree(last);
	return true;
}

/* Largest first; equal ones in the order they came. */
static int
compare_remainders(const void *left, const void *right)
{
	const Remainder *a = left;
	const Remainder *b = right;

	if (a->part != b->part)
		return a->part > b->part ? -1 : 1;
	return a->index < b->index ? -1 : a->index > b->index;
}
