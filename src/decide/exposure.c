/*
 * exposure.c
 *		What an ad showed, what was clicked, and what it cost.
 */
#include "postgres.h"

#include <math.h>

#include "decide/exposure.h"

#define MILLION 1e6

/* No wear, give or take 0.3 per million impressions: what is believed before the data. */
#define WEAR_PRECISION 10.0

/* Further than any account gets, and near enough for the exponential of it to be a number. */
#define LARGEST_LOGARITHM 40.0
#define LARGEST_WEAR 200.0
#define LARGEST_POSITION 1e9

void
artery_exposure_add(Exposure *exposure, double half_life, double days, double impressions, double clicks, double spend)
{
	double		keep = exp2(-days / half_life);
	double		position = exposure->shown + 0.5 * impressions / MILLION;

	exposure->clicks = keep * exposure->clicks + clicks;
	exposure->impressions = keep * exposure->impressions + impressions;
	exposure->shown += impressions / MILLION;
	exposure->shown_moment = keep * exposure->shown_moment + impressions * position;
	exposure->shown_square = keep * exposure->shown_square + impressions * position * position;
	exposure->clicks_moment = keep * exposure->clicks_moment + clicks * position;
	exposure->periods *= keep;
	exposure->log_spend *= keep;
	exposure->log_impressions *= keep;
	if (impressions > 0 && spend > 0)
	{
		exposure->periods += 1;
		exposure->log_spend += log(spend);
		exposure->log_impressions += log(impressions);
	}
}

void
artery_exposure_bound(Exposure *exposure)
{
	double		most = LARGEST_LOGARITHM * exposure->periods;

	exposure->shown = Min(exposure->shown, LARGEST_POSITION);
	exposure->shown_moment = Min(exposure->shown_moment, exposure->shown * exposure->impressions);
	exposure->shown_square = Min(exposure->shown_square, exposure->shown * exposure->shown * exposure->impressions);
	exposure->clicks_moment = Min(exposure->clicks_moment, exposure->shown * exposure->clicks);
	exposure->log_spend = Min(Max(exposure->log_spend, -most), most);
	exposure->log_impressions = Min(Max(exposure->log_impressions, -most), most);
}

double
artery_exposure_wear(const Exposure *first, int count, Size stride)
{
	double		fall = 0;
	double		information = WEAR_PRECISION;
	double		lag = 0;
	int			i;

	for (i = 0; i < count; i++)
	{
		const Exposure *exposure = (const Exposure *) ((const char *) first + i * stride);
		double		middle;
		double		spread;

		if (exposure->impressions <= 0)
			continue;
		middle = exposure->shown_moment / exposure->impressions;
		spread = exposure->shown_square - exposure->impressions * middle * middle;
		fall -= exposure->clicks_moment - exposure->clicks * middle;
		information += exposure->clicks / exposure->impressions * Max(spread, 0);
		lag = Max(lag, artery_exposure_lag(exposure));
	}
	return Min(Max(fall / information, 0), lag > 0 ? LARGEST_WEAR / lag : LARGEST_WEAR);
}

double
artery_exposure_lag(const Exposure *exposure)
{
	if (exposure->impressions <= 0)
		return 0;
	return exposure->shown - exposure->shown_moment / exposure->impressions;
}
