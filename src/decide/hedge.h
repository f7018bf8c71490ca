/*
 * hedge.h
 *		How far a split should leave the equal one.
 *
 * Pure mathematics: no SPI, no clock, no globals.
 *
 * A split decided is the best on average over what may be true; where ads differ
 * little or little is known, the equal one is hardly worse and cannot be
 * wrong. So the split lies between the two, where the expected gain in log value over the equal split,
 * less its standard deviation times a caution, is largest. The caution is due in
 * full only where deals take long, for so long does a mistake go unnoticed.
 */
#ifndef ARTERY_DECIDE_HEDGE_H
#define ARTERY_DECIDE_HEDGE_H

#include "postgres.h"

/* An ad's part in the gain of a split. */
typedef struct HedgeAd
{
	double		share;			/* the one decided; all add up to 1 */
	double		equal;			/* the one of the equal split; > 0, all add up to 1 */
	double		mean;			/* value per unit of money at the equal split; > 0 */
	double		width;			/* standard deviation of its logarithm */
} HedgeAd;

/*
 * The part of the way from the equal split to the one decided: 0.7 .. 1. Value grows like
 * spend^gamma, 0 < gamma < 1; caution (>= 0, standard deviations) counts as
 * delay / (delay + 30), delay in days from the click to the last stage. Linear in count.
 */
extern double artery_hedge_part(const HedgeAd *ads, int count, double gamma, double caution, double delay);

#endif							/* ARTERY_DECIDE_HEDGE_H */
