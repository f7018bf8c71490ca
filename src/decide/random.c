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

/* Below this u no logarithms are needed to see that Marsaglia and Tsang take x. */
#define SURE(x) (1.0 - 0.0331 * (x) * (x) * (x) * (x))

static void draw_normals(ArteryRandom *random, double *first, double *second);
static double draw_gamma(ArteryRandom *random, double shape, double x);

/* pg_prng_double(), which calls ldexp() for the same number. */
static inline double
uniform(ArteryRandom *random)
{
	return (double) (pg_prng_uint64(&random->state) >> 12) * 0x1p-52;
}

double
artery_random_uniform(ArteryRandom *random)
{
	double		value;

	do
	{
		value = uniform(random);
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

	if (shape < 1.0)
	{
		boost = log(artery_random_uniform(random)) / shape;
		shape += 1.0;
	}
	return log(draw_gamma(random, shape, artery_random_normal(random))) + boost;
}

double
artery_random_beta(ArteryRandom *random, double alpha, double beta)
{
	double		first;
	double		second;

	if (alpha >= 1.0 && beta >= 1.0)
	{
		draw_normals(random, &first, &second);
		first = draw_gamma(random, alpha, first);
		second = draw_gamma(random, beta, second);
		return first / (first + second);
	}
	first = artery_random_log_gamma(random, alpha);
	second = artery_random_log_gamma(random, beta);
	return 1.0 / (1.0 + exp(second - first));
}

/* Two normal draws by Marsaglia's polar method. */
static void
draw_normals(ArteryRandom *random, double *first, double *second)
{
	double		x;
	double		y;
	double		square;
	double		factor;

	do
	{
		x = 2.0 * uniform(random) - 1.0;
		y = 2.0 * uniform(random) - 1.0;
		square = x * x + y * y;
	} while (square >= 1.0 || square == 0.0);
	factor = sqrt(-2.0 * log(square) / square);
	*first = factor * x;
	*second = factor * y;
}

/* Gamma(shape), shape >= 1, after Marsaglia and Tsang; x is the normal draw to begin with. */
static double
draw_gamma(ArteryRandom *random, double shape, double x)
{
	double		d = shape - 1.0 / 3.0;
	double		c = 1.0 / sqrt(9.0 * d);

	for (;;)
	{
		double		v = 1.0 + c * x;

		if (v > 0.0)
		{
			double		u = artery_random_uniform(random);

			v = v * v * v;
			if (u < SURE(x) || log(u) < 0.5 * x * x + d - d * v + d * log(v))
				return d * v;
		}
		x = artery_random_normal(random);
	}
}
