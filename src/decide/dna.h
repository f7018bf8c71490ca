/*
 * dna.h
 *		What the creative DNA of ads tells of a rate, learnt from the ads.
 *
 * Pure: no SPI, no clock, no globals. A score says how promising a creative looks;
 * whether it tells anything is for the data to say. For each factor of an ad's
 * value (CTR, then each hop) the log odds of its rate are regressed on the
 * standardised scores, ads weighted by what is known of them. The slope is
 * shrunk towards 0 by as much as it may be chance: to nothing below two standard
 * errors, and then by the factor 1 - 4 (error / slope)^2, as James and Stein do
 * with 1 in place of the 4. With 1, the slopes of hops that few have come to yet
 * cost an account of eight ads over a percent of its revenue.
 */
#ifndef ARTERY_DECIDE_DNA_H
#define ARTERY_DECIDE_DNA_H

#include "postgres.h"

/* One factor's regression. */
typedef struct DnaFit
{
	double		raw;			/* log odds per standard deviation of the scores, as fitted so far */
	double		slope;			/* the same, shrunk: what is believed */
} DnaFit;

/*
 * Turn scores (NaN: not known) into distances from their mean in standard
 * deviations, 0 where not known. False where they cannot tell anything:
 * fewer than DNA_LEAST_ADS are known, or all are the same.
 */
#define DNA_LEAST_ADS 4
extern bool artery_dna_standardize(double *scores, int count);

/*
 * One step of the regression, from and to fit (zero at first): successes of
 * trials per ad, rate of the ad with the mean score, variance of log odds between
 * ads beside what the scores tell. Four steps are as good as many.
 */
extern void artery_dna_learn(DnaFit *fit, const double *scores, const double *successes, const double *trials,
							 int count, double rate, double variance);

/* By what factor a rate differs from the one at the mean score, given a slope. 1 for a score of 0. */
extern double artery_dna_factor(double slope, double score, double rate);

#endif							/* ARTERY_DECIDE_DNA_H */
