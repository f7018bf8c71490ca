/*
 * best.c
 *		Which of several uncertain values is the largest?
 *
 * By adding up over cells of value: that this one is in the cell and all others
 * are below it.
 */
#include "postgres.h"

#include <math.h>

#include "decide/best.h"

#define BEST_CELLS 96

static double below(double x, double middle, double width);

void
artery_best_chances(const double *middle, const double *width, int count, double *best)
{
	double		floor_at = -INFINITY;
	double		top = -INFINITY;
	double		all_below[BEST_CELLS];
	double		sum = 0;
	double		step;
	int			cell;
	int			i;

	for (i = 0; i < count; i++)
	{
		floor_at = Max(floor_at, middle[i] - 4 * width[i]);
		top = Max(top, middle[i] + 4 * width[i]);
		best[i] = 0;
	}
	step = (top - floor_at) / BEST_CELLS;
	for (cell = 0; cell < BEST_CELLS; cell++)
	{
		all_below[cell] = 0;
		for (i = 0; i < count; i++)
		{
			double		own = below(floor_at + (cell + 0.5) * step, middle[i], width[i]);

			if (own < 1)
				all_below[cell] += log(own);
		}
	}
	for (i = 0; i < count; i++)
	{
		double		before = below(floor_at, middle[i], width[i]);

		/* from where it is surely below, it is nowhere */
		for (cell = 0; cell < BEST_CELLS && before < 1; cell++)
		{
			double		own = below(floor_at + (cell + 0.5) * step, middle[i], width[i]);
			double		after = below(floor_at + (cell + 1) * step, middle[i], width[i]);

			best[i] += (after - before) * exp(all_below[cell] - log(own));
			before = after;
		}
		sum += best[i];
	}
	for (i = 0; i < count; i++)
		best[i] = sum > 0 ? best[i] / sum : 1.0 / count;
}

/* Normal distribution function, kept above 0 for its logarithm. */
static double
below(double x, double middle, double width)
{
	return Max(0.5 * erfc((middle - x) / (width * M_SQRT2)), 1e-300);
}
