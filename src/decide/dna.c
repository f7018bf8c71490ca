/*
 * dna.c
 *		What the creative DNA of ads tells of a rate, learnt from the ads.
 */
#include "postgres.h"

#include <math.h>

#include "decide/dna.h"

#define LARGEST_SLOPE 2.0

/* A slope of fewer standard errors than this is taken for chance. */
#define LEAST_ERRORS 2.0

bool
artery_dna_standardize(double *scores, int count)
{
	double		sum = 0;
	double		squares = 0;
	double		mean;
	double		deviation;
	int			known = 0;
	int			i;

	for (i = 0; i < count; i++)
		if (!isnan(scores[i]))
		{
			sum += scores[i];
			known++;
		}
	if (known < DNA_LEAST_ADS)
		return false;
	mean = sum / known;
	for (i = 0; i < count; i++)
		if (!isnan(scores[i]))
			squares += (scores[i] - mean) * (scores[i] - mean);
	deviation = sqrt(squares / known);
	if (deviation < 1e-6)
		return false;
	for (i = 0; i < count; i++)
		scores[i] = isnan(scores[i]) ? 0 : (scores[i] - mean) / deviation;
	return true;
}

/*
 * A Newton step of the regression with a level of its own, so that rates which
 * are all above the pooled one are not taken for an effect of the scores.
 */
void
artery_dna_learn(DnaFit *fit, const double *scores, const double *successes, const double *trials, int count,
				 double rate, double variance)
{
	double		weights = 0;
	double		mean = 0;
	double		level = 0;
	double		product = 0;
	double		square = 0;
	int			known = 0;
	int			i;

	for (i = 0; i < count; i++)
	{
		double		typical = rate * artery_dna_factor(fit->raw, scores[i], rate);
		double		q = typical * (1 - typical);
		double		distance;
		double		weight;
		double		step;

		if (scores[i] == 0 || trials[i] <= 0)
			continue;
		known++;
		distance = (successes[i] / trials[i] - typical) / q;
		weight = 1 / (variance + 1 / (trials[i] * q));
		/* means, and sums of products around them, updated together */
		weights += weight;
		step = scores[i] - mean;
		mean += step * weight / weights;
		square += weight * step * (scores[i] - mean);
		level += (distance - level) * weight / weights;
		product += weight * step * (distance - level);
	}
	fit->slope = 0;
	if (known < DNA_LEAST_ADS || square <= 0)
		return;
	fit->raw += product / square;
	fit->raw = Min(Max(fit->raw, -LARGEST_SLOPE), LARGEST_SLOPE);
	if (fit->raw != 0)
		fit->slope = fit->raw * Max(1 - LEAST_ERRORS * LEAST_ERRORS / (square * fit->raw * fit->raw), 0);
}

double
artery_dna_factor(double slope, double score, double rate)
{
	double		odds = exp(slope * score);

	return odds / (1 + rate * (odds - 1));
}
