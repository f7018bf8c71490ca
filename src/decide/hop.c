/*
 * hop.c
 *		One hop of the funnel: who entered, who went on, and how late they do.
 */
#include "postgres.h"

#include <math.h>

#include "decide/hop.h"

#define PRIOR_DURATIONS 3.0
#define MAX_STEPS 200

static double grid_mean(int at);
static double still_pending(const Hop *hop, double mean, double *slope);

void
artery_hop_enter(Hop *hop, double count, double age)
{
	int			i;

	hop->entered += count;
	for (i = 0; i < HOP_GRID; i++)
		hop->pending[i] += count * exp(-age / grid_mean(i));
}

void
artery_hop_reach(Hop *hop, double count, double duration)
{
	hop->reached += count;
	hop->duration += count * duration;
}

void
artery_hop_pass(Hop *hop, double days)
{
	int			i;

	for (i = 0; i < HOP_GRID; i++)
		hop->pending[i] *= exp(-days / grid_mean(i));
}

void
artery_hop_add(Hop *sum, const Hop *hop)
{
	int			i;

	sum->entered += hop->entered;
	sum->reached += hop->reached;
	sum->duration += hop->duration;
	for (i = 0; i < HOP_GRID; i++)
		sum->pending[i] += hop->pending[i];
}

/*
 * With exponential delays of mean m, those of age a who went on needed
 * m - a exp(-a/m) / F(a) on average. Weighted by F(a), how many of them are
 * expected: m = mean duration seen + m * sum(a/m exp(-a/m)) / trials, where
 * the sum is the slope of the pending sum over log m. We iterate to the fixed point,
 * so that the answer does not depend on earlier answers.
 */
double
artery_hop_delay(const Hop *pooled, double prior_mean)
{
	double		mean = prior_mean;
	int			i;

	for (i = 0; i < MAX_STEPS; i++)
	{
		double		before = mean;
		double		slope;
		double		trials = pooled->entered - still_pending(pooled, mean, &slope);
		double		cut_off = trials > 1e-9 ? mean * Min(slope / trials, 0.99) : 0;

		mean = (pooled->duration + pooled->reached * cut_off + PRIOR_DURATIONS * prior_mean)
			/ (pooled->reached + PRIOR_DURATIONS);
		mean = Min(Max(mean, grid_mean(0)), grid_mean(HOP_GRID - 1));
		if (fabs(mean - before) < 1e-6 * before)
			break;
	}
	return mean;
}

double
artery_hop_trials(const Hop *hop, double mean_delay)
{
	double		trials = hop->entered;

	if (mean_delay > 0)
		trials -= still_pending(hop, mean_delay, NULL);
	return Max(trials, hop->reached);
}

static double
grid_mean(int at)
{
	return exp2(HOP_GRID_LOWEST + at);
}

/* Sum of exp(-age / mean) over those who entered, and its slope over log(mean). */
static double
still_pending(const Hop *hop, double mean, double *slope)
{
	double		place = log2(mean) - HOP_GRID_LOWEST;
	int			at = Min(Max((int) floor(place), 0), HOP_GRID - 2);
	double		rise = hop->pending[at + 1] - hop->pending[at];

	if (slope != NULL)
		*slope = rise / M_LN2;
	return hop->pending[at] + rise * Min(Max(place - at, 0), 1);
}
