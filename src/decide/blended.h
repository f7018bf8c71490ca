/*
 * blended.h
 *		The model `blended`: click-through rate while an ad is young, return on ad
 *		spend when it is old, fatigue, and a Beta posterior around the score.
 *
 * Plain numbers in, plain numbers out. All inputs are finite and not negative;
 * the callers see to that.
 */
#ifndef ARTERY_DECIDE_BLENDED_H
#define ARTERY_DECIDE_BLENDED_H

#include "postgres.h"

typedef struct BlendedInput
{
	double		impressions;
	double		clicks;
	double		spend;			/* account currency */
	double		value;			/* pipeline value (or cash), account currency */
	double		age_hours;
	double		dna_score;		/* clamped to 0..1 */
} BlendedInput;

typedef struct BlendedScore
{
	double		ctr;			/* clicks / impressions; 0 without impressions */
	double		roas;			/* value / max(spend, 0.01) */
	double		ctr_weight;
	double		roas_weight;	/* 1 - ctr_weight */
	double		normalized_ctr; /* ctr / 0.05, at most 1 */
	double		normalized_roas;	/* roas / 3.0, at most 1 */
	double		blended;
	double		decay;			/* exp(-0.0001 * impressions): fatigue */
	double		dna_boost;		/* 1 + 0.2 * dna */
	double		final;			/* blended * decay * dna_boost: 0 .. 1.2 */
	double		alpha;			/* of the Beta posterior: n * final + 1, n = max(impressions, 100) */
	double		beta;			/* n * (1 - final) + 1, at least 1 */
} BlendedScore;

/*
 * Weight of the click-through rate by the ad's age in hours: 1 below 6 h, to
 * 0.7 at 24 h and 0.3 at 72 h in straight lines, then
 * max(0.1, 0.3 * exp(-0.1 * (h - 72) / 24)).
 */
extern double artery_blended_ctr_weight(double age_hours);

/* Return on ad spend; a spend below 0.01 counts as 0.01, no value is 0. */
extern double artery_blended_roas(double value, double spend);

extern void artery_blended_score(const BlendedInput *input, BlendedScore *score);

/* mean(min(impressions / 1000, 1), min(age / 72, 1), final), at most 1. */
extern double artery_blended_confidence(const BlendedInput *input, const BlendedScore *score);

#endif							/* ARTERY_DECIDE_BLENDED_H */
