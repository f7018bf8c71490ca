/*
 * pooling.h
 *		What a rate typically is in an account, and how far ads differ in it.
 *
 * Pure: no SPI, no clock, no globals.
 */
#ifndef ARTERY_DECIDE_POOLING_H
#define ARTERY_DECIDE_POOLING_H

#include "postgres.h"

#include "decide/dna.h"

typedef struct Pool
{
	/* what is known: per ad, some of trials may be 0 */
	int			count;
	const double *successes;
	const double *trials;
	double	   *dna;			/* standardised scores; NULL where they tell nothing */

	/* what is learnt */
	double		rate;			/* of the typical ad */
	double		strength;		/* so many trials of an ad weigh as much as what is typical */
	double		moment;			/* what the ads say of the variance of log odds between them: a sum */
	double		weights;		/* over so many of them */
	DnaFit		fit;
	double	   *factor;			/* with scores, room for count: what each ad's does to its typical rate */
} Pool;

/*
 * Fit rate, strength and what scores tell. prior_rate counts as half a success;
 * spread is the expected standard deviation of log odds between ads, 0 for no pooling,
 * and counts as that many ads: POOL_HELD to take it as given.
 */
#define POOL_HELD 1e9
extern void artery_pool_fit(Pool *pool, double prior_rate, double spread, double spread_ads);

/* By what factor an ad's DNA makes its typical rate differ from the typical ad's. */
static inline double
artery_pool_factor(const Pool *pool, int ad)
{
	return pool->dna == NULL ? 1 : pool->factor[ad];
}

#endif							/* ARTERY_DECIDE_POOLING_H */
