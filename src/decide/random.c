/*
 * random.c
 *		Seeded draws: uniform, normal, gamma, beta.
 */
#include "artery.h"

#include <math.h>

#include "common/hashfn.h"

#include "decide/random.h"

int64
artery_random_fresh_seed(void)
{
	uint64		seed;

	if (!pg_strong_random(&seed, sizeof(seed)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not get a random seed")));
	return (int64) (seed >> 11);
}

void
artery_random_start(ArteryRandom *random, int64 seed, const char *name, int length)
{
	pg_prng_seed(&random->state, hash_bytes_extended((const unsigned char *) name, length, (uint64) seed));
}

double
artery_random_uniform(ArteryRandom *random)
{
	double		value;

	do
	{
		value = pg_prng_double(&random->state);
	} while (value <= 0.0);
	return value;
}

double
artery_random_normal(ArteryRandom *random)
{
	double		radius = sqrt(-2.0 * log(artery_random_uniform(random)));

	return radius * cos(2.0 * M_PI * artery_random_uniform(random));
}

double
artery_random_log_gamma(ArteryRandom *random, double shape)
{
	double		boost = 0.0;
	double		d;
	double		c;

	if (shape < 1.0)
	{
		boost = log(artery_random_uniform(random)) / shape;
		shape += 1.0;
	}
	d = shape - 1.0 / 3.0;
	c = 1.0 / sqrt(9.0 * d);
	for (;;)
	{
		double		x = artery_random_normal(random);
		double		v = 1.0 + c * x;

		if (v <= 0.0)
			continue;
		v = v * v * v;
		if (log(artery_random_uniform(random)) < 0.5 * x * x + d - d * v + d * log(v))
			return log(d) + log(v) + boost;
	}
}

double
artery_random_beta(ArteryRandom *random, double alpha, double beta)
{
	double		first = artery_random_log_gamma(random, alpha);
	double		second = artery_random_log_gamma(random, beta);

	return 1.0 / (1.0 + exp(second - first));
}
