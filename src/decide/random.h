/*
 * random.h
 *		Seeded draws: the same seed gives the same numbers on every machine.
 *
 * Built on PostgreSQL's generator; a stream of its own for every name, so that a
 * draw does not depend on how many others were made before it.
 */
#ifndef ARTERY_DECIDE_RANDOM_H
#define ARTERY_DECIDE_RANDOM_H

#include "artery.h"

typedef struct ArteryRandom
{
	pg_prng_state state;
} ArteryRandom;

/* A seed nobody can guess, 0 .. 2^53 - 1 (a number that JSON readers keep exact). */
extern int64 artery_random_fresh_seed(void);

/* Start the stream of a name (for example an ad) under a seed. */
extern void artery_random_start(ArteryRandom *random, int64 seed, const char *name, int length);

/* Uniform in the open interval (0, 1). */
extern double artery_random_uniform(ArteryRandom *random);

/* Standard normal (Box and Muller). */
extern double artery_random_normal(ArteryRandom *random);

/*
 * Logarithm of a Gamma(shape, 1) draw, shape > 0: Marsaglia and Tsang, "A simple
 * method for generating gamma variables" (2000); below 1 by G(a + 1) U^(1/a).
 * In logs, because small shapes underflow.
 */
extern double artery_random_log_gamma(ArteryRandom *random, double shape);

/* Beta(alpha, beta) draw in [0, 1]; both > 0. */
extern double artery_random_beta(ArteryRandom *random, double alpha, double beta);

#endif							/* ARTERY_DECIDE_RANDOM_H */
