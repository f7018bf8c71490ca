/*
 * hedge.c
 *		How far a split should leave the equal one.
 *
 * With values v the split s brings sum e v (s / e)^gamma, where e is the equal split. To the
 * first order its log ratio to sum e v has the variance of a sum over ads: (their part in the one
 * less their part in the other)^2 times the variance of log v.
 */
#include "postgres.h"

#include <math.h>

#include "decide/hedge.h"

/* At least so much of the way is gone. */
#define LEAST_PART 0.5
#define PARTS 16

/* Days at which half of the caution is due. */
#define LATE 10.0

static double cautious_gain(const HedgeAd *ads, int count, double gamma, double caution, double part);

double
artery_hedge_part(const HedgeAd *ads, int count, double gamma, double caution, double delay)
{
	double		due = caution * delay / (delay + LATE);
	double		best = 1;
	double		most = cautious_gain(ads, count, gamma, due, 1);
	int			i;

	for (i = PARTS - 1; i >= 0 && due > 0; i--)
	{
		double		part = LEAST_PART + (1 - LEAST_PART) * i / PARTS;
		double		gain = cautious_gain(ads, count, gamma, due, part);

		if (gain <= most)
			break;				/* it has one summit */
		most = gain;
		best = part;
	}
	return best;
}

static double
cautious_gain(const HedgeAd *ads, int count, double gamma, double caution, double part)
{
	double		decided = 0;
	double		equal = 0;
	double		variance = 0;
	int			i;

	for (i = 0; i < count; i++)
	{
		equal += ads[i].equal * ads[i].mean;
		decided += ads[i].equal * ads[i].mean * pow(1 - part + part * ads[i].share / ads[i].equal, gamma);
	}
	for (i = 0; i < count; i++)
	{
		double		value = ads[i].equal * ads[i].mean;
		double		lean = value * pow(1 - part + part * ads[i].share / ads[i].equal, gamma) / decided - value / equal;

		variance += lean * lean * ads[i].width * ads[i].width;
	}
	return log(decided / equal) - caution * sqrt(variance);
}
