/*
 * appeal.c
 *		What an ad's CTR tells of how good its clicks are.
 *
 * A regression of the hop's log odds on log CTR around a level of its own, every ad weighted
 * by how well its rate is known, with a normal prior on the slope.
 */
#include "postgres.h"

#include <math.h>

#include "utils/palloc.h"

#include "decide/appeal.h"
#include "decide/dna.h"
#include "decide/pooling.h"

/*
 * Log odds per log CTR before any data, give or take. Between the ads of a public export of
 * 2017 it is -1.3 for enquiries, CTRs and enquiries counted on different clicks; elsewhere it may be 0.
 */
#define EXPECTED_SLOPE (-0.4)
#define SLOPE_DEVIATION 0.4
#define LARGEST_SLOPE 2.0
#define LARGEST_APPEAL 1.5

#define STEPS 3
#define SPREAD_ADS 12.0

static double slope_step(double slope, const Pool *pool, const double *appeal, double variance);

void
artery_appeal_fit(const double *appeal, const double *successes, const double *trials, int count, double prior_rate,
				  double spread, double *factor)
{
	double	   *scaled = palloc_extended(count * sizeof(double), MCXT_ALLOC_HUGE);
	Pool		pool = {.count = count, .successes = successes, .trials = scaled};
	double		slope = EXPECTED_SLOPE;
	double		rate = prior_rate;
	int			step;
	int			i;

	for (step = 0; step <= STEPS; step++)
	{
		for (i = 0; i < count; i++)
		{
			factor[i] = artery_dna_factor(slope, Min(Max(appeal[i], -LARGEST_APPEAL), LARGEST_APPEAL), rate);
			/* as many trials of the typical ad */
			scaled[i] = trials[i] * factor[i];
		}
		if (step == STEPS)
			break;
		artery_pool_fit(&pool, prior_rate, spread, SPREAD_ADS);
		rate = pool.rate;
		slope = slope_step(slope, &pool, appeal, spread * spread);
	}
	pfree(scaled);
}

/* A Newton step, from what the ads still differ by. */
static double
slope_step(double slope, const Pool *pool, const double *appeal, double variance)
{
	double		precision = 1 / (SLOPE_DEVIATION * SLOPE_DEVIATION);
	double		q = pool->rate * (1 - pool->rate);
	double		weights = 0;
	double		mean = 0;
	double		level = 0;
	double		product = 0;
	double		square = 0;
	int			i;

	for (i = 0; i < pool->count; i++)
	{
		double		own = Min(Max(appeal[i], -LARGEST_APPEAL), LARGEST_APPEAL);
		double		trials = pool->trials[i];
		double		distance;
		double		weight;
		double		step;

		if (trials <= 0)
			continue;
		distance = (pool->successes[i] / trials - pool->rate) / q;
		weight = 1 / (variance + 1 / (trials * q));
		/* means, and sums of products around them, updated together */
		weights += weight;
		step = own - mean;
		mean += step * weight / weights;
		square += weight * step * (own - mean);
		level += (distance - level) * weight / weights;
		product += weight * step * (distance - level);
	}
	slope += (product + precision * (EXPECTED_SLOPE - slope)) / (square + precision);
	return Min(Max(slope, -LARGEST_SLOPE), LARGEST_SLOPE);
}
