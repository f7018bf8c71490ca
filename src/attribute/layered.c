/*
 * layered.c
 *		The attribution model "layered": three layers with fixed confidences.
 */
#include "artery.h"

#include <math.h>

#include "attribute/layered.h"

#define ADDRESS_WEIGHT 0.5
#define AGENT_WEIGHT 0.3
#define AGE_WEIGHT 0.2

double
artery_layered_score(bool same_address, bool same_agent, double hours)
{
	return (same_address ? ADDRESS_WEIGHT : 0) + (same_agent ? AGENT_WEIGHT : 0) +
		AGE_WEIGHT * (1 - hours / LAYERED_SCORE_HOURS);
}

bool
artery_layered_accepts(double score)
{
	return score >= LAYERED_THRESHOLD;
}

double
artery_layered_confidence(double score)
{
	return Min(score, LAYERED_SCORE_CAP);
}

int64
artery_layered_window(double days)
{
	return (int64) rint(days * USECS_PER_DAY);
}

double
artery_layered_hours(TimestampTz click, TimestampTz conversion)
{
	return (double) (conversion - click) / USECS_PER_HOUR;
}
