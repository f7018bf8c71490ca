/*
 * exposure.h
 *		What an ad showed, what was clicked, and what it cost.
 *
 * Pure: no SPI, no clock, no globals. Times are in days, spend in the account's
 * currency. Everything is discounted with a half-life, so that what an ad was
 * long ago counts little; all of it are sums, so a state is the same however
 * often it was brought up to date.
 */
#ifndef ARTERY_DECIDE_EXPOSURE_H
#define ARTERY_DECIDE_EXPOSURE_H

#include "postgres.h"

typedef struct Exposure
{
	double		clicks;
	double		impressions;

	/*
	 * Wear: audiences tire of an ad with every impression. A position is how many
	 * millions of impressions the ad had shown before.
	 */
	double		shown;			/* position reached; not discounted */
	double		shown_moment;	/* sum of impressions * position */
	double		shown_square;	/* sum of impressions * position^2 */
	double		clicks_moment;	/* sum of clicks * position */

	/* Response: log impressions over log spend, one point per period. */
	double		periods;
	double		log_spend;		/* sums over the periods */
	double		log_impressions;
} Exposure;

/*
 * Let days pass (>= 0) and add what they brought; half_life in days, infinite
 * to discount nothing.
 */
extern void artery_exposure_add(Exposure *exposure, double half_life, double days, double impressions, double clicks,
								double spend);

/*
 * Bring sums that somebody gave within what a history can add up to: positions
 * up to the one reached, logarithms of amounts that there are. Those of a history
 * stay as they are.
 */
extern void artery_exposure_bound(Exposure *exposure);

/*
 * By how much log CTR falls per million impressions shown, over all ads of
 * the account (a Poisson regression, one step from no fall): >= 0. The exposures
 * are stride bytes apart.
 */
extern double artery_exposure_wear(const Exposure *first, int count, Size stride);

/* Millions of impressions shown since the middle of what is counted. */
extern double artery_exposure_lag(const Exposure *exposure);

#endif							/* ARTERY_DECIDE_EXPOSURE_H */
