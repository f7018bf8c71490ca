/*
 * pooling.c
 *		What a rate typically is in an account, and how far ads differ in it.
 *
 * Rates differ by factors, so their spread is sought on the scale of log odds,
 * where a rate r is about (r - rate) / q from the typical one, q = rate (1 - rate), with
 * sampling variance 1 / (n q). The spread is by moments, every ad weighted by how
 * much of its distance is not chance; the expected spread counts as some more
 * ads. An ad's trials count for the typical rate up to the strength, so that
 * the ad with most of the money is not all there is.
 *
 * With creative DNA every ad has a typical rate of its own, by what its score
 * was learnt to be worth, and the spread is the one around those.
 */
#include "postgres.h"

#include <math.h>

#include "decide/pooling.h"

#define POOLING_STEPS 4
#define LARGEST_SPREAD 2.0

static double typical_rate(const Pool *pool, double prior_rate);
static double between_variance(Pool *pool, double variance, double expected, double expected_ads);
static void learn_dna(Pool *pool, double variance);

void
artery_pool_fit(Pool *pool, double prior_rate, double spread, double spread_ads)
{
	double		expected = spread * spread;
	double		variance = expected;
	int			step;
	int			i;

	pool->fit = (DnaFit) {0};
	for (i = 0; pool->dna != NULL && i < pool->count; i++)
		pool->factor[i] = 1;
	pool->strength = 1 / (Max(expected, 1e-6) * prior_rate * (1 - prior_rate));
	for (step = 0; step < POOLING_STEPS; step++)
	{
		pool->rate = typical_rate(pool, prior_rate);
		variance = between_variance(pool, variance, expected, spread_ads);
		pool->strength = 1 / (variance * pool->rate * (1 - pool->rate));
		if (pool->dna != NULL)
			learn_dna(pool, variance);
	}
	if (expected <= 0)
		pool->strength = 1e-3;
}

static double
typical_rate(const Pool *pool, double prior_rate)
{
	double		successes = 0.5;
	double		trials = 0.5 / prior_rate;
	int			i;

	for (i = 0; i < pool->count; i++)
	{
		double		counted = 1 / (1 + pool->trials[i] / pool->strength);

		successes += counted * pool->successes[i];
		trials += counted * pool->trials[i] * artery_pool_factor(pool, i);
	}
	return Min(successes / trials, 0.999);
}

static double
between_variance(Pool *pool, double variance, double expected, double expected_ads)
{
	double		q = pool->rate * (1 - pool->rate);
	int			i;

	pool->moment = pool->weights = 0;
	for (i = 0; i < pool->count; i++)
	{
		double		trials = pool->trials[i] * artery_pool_factor(pool, i);
		double		noise = 1 / (trials * q);
		double		weight = variance / (variance + noise);
		double		distance;

		if (trials <= 0)
			continue;
		distance = (pool->successes[i] / trials - pool->rate) / q;
		pool->moment += weight * weight * (distance * distance - noise);
		pool->weights += weight * weight;
	}
	variance = (expected_ads * expected + Max(pool->moment, 0)) / (expected_ads + pool->weights);
	return Min(variance, LARGEST_SPREAD * LARGEST_SPREAD);
}

/* One step of what scores tell of the rate, and what it does to each ad. */
static void
learn_dna(Pool *pool, double variance)
{
	int			i;

	artery_dna_learn(&pool->fit, pool->dna, pool->successes, pool->trials, pool->count, pool->rate, variance);
	for (i = 0; i < pool->count; i++)
		pool->factor[i] = artery_dna_factor(pool->fit.slope, pool->dna[i], pool->rate);
}
