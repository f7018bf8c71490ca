/*
 * blended.c
 *		The formulas of the model `blended`.
 */
#include "artery.h"

#include <math.h>

#include "decide/blended.h"

#define CTR_REFERENCE 0.05
#define ROAS_REFERENCE 3.0
#define FATIGUE_PER_IMPRESSION 0.0001
#define DNA_GAIN 0.2
#define LEAST_SPEND 0.01
#define LEAST_TRIALS 100.0

double
artery_blended_ctr_weight(double age_hours)
{
	if (age_hours < 6.0)
		return 1.0;
	if (age_hours < 24.0)
		return 1.0 - 0.3 * (age_hours - 6.0) / 18.0;
	if (age_hours < 72.0)
		return 0.7 - 0.4 * (age_hours - 24.0) / 48.0;
	return Max(0.1, 0.3 * exp(-0.1 * (age_hours - 72.0) / 24.0));
}

double
artery_blended_roas(double value, double spend)
{
	return value / Max(spend, LEAST_SPEND);
}

void
artery_blended_score(const BlendedInput *input, BlendedScore *score)
{
	double		trials = Max(input->impressions, LEAST_TRIALS);
	double		dna = Min(Max(input->dna_score, 0.0), 1.0);

	score->ctr = input->impressions > 0 ? input->clicks / input->impressions : 0.0;
	score->roas = artery_blended_roas(input->value, input->spend);
	score->ctr_weight = artery_blended_ctr_weight(input->age_hours);
	score->roas_weight = 1.0 - score->ctr_weight;
	score->normalized_ctr = Min(score->ctr / CTR_REFERENCE, 1.0);
	score->normalized_roas = Min(score->roas / ROAS_REFERENCE, 1.0);
	score->blended = score->ctr_weight * score->normalized_ctr + score->roas_weight * score->normalized_roas;
	score->decay = exp(-FATIGUE_PER_IMPRESSION * input->impressions);
	score->dna_boost = 1.0 + DNA_GAIN * dna;
	score->final = score->blended * score->decay * score->dna_boost;
	score->alpha = trials * score->final + 1.0;
	score->beta = Max(1.0, trials * (1.0 - score->final) + 1.0);
}

double
artery_blended_confidence(const BlendedInput *input, const BlendedScore *score)
{
	double		mean = (Min(input->impressions / 1000.0, 1.0) + Min(input->age_hours / 72.0, 1.0) + score->final) / 3.0;

	/* stated with four digits: more would be noise */
	return rint(Min(mean, 1.0) * 10000.0) / 10000.0;
}
