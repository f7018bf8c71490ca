/*
 * ad_case.c
 *		One ad to be decided on: assessed, explained.
 */
#include "artery.h"

#include <math.h>

#include "decide/ad_case.h"
#include "runtime/decimal.h"

#define SIGNIFICANT_PERCENT 20.0
#define EARLY_CTR_WEIGHT 0.7
#define HEAVY_FATIGUE 0.5

static void append_ratio(StringInfo out, const char *before, double number, int places, const char *after);

void
artery_ad_case_assess(AdCase *ad, double max_change)
{
	artery_blended_score(&ad->input, &ad->score);
	ad->confidence = artery_blended_confidence(&ad->input, &ad->score);
	artery_ad_case_bounds(ad->current, ad->minimum, ad->maximum, max_change, &ad->low, &ad->high);
}

void
artery_ad_case_bounds(int64 current, int64 minimum, int64 maximum, double max_change, int64 *low, int64 *high)
{
	*low = minimum;
	*high = maximum;
	if (max_change >= 0)
	{
		/* a hair of tolerance: 0.5 * 0.30 must not become 0.16 at the lower end */
		int64		least = (int64) ceil(Max(current * (1.0 - max_change) - 1e-6, 0.0));
		int64		most = (int64) floor(Min(current * (1.0 + max_change) + 1e-6, 1e17));

		*low = Min(Max(minimum, least), most);
		*high = Max(Min(maximum, most), least);
	}
}

AdBound
artery_ad_case_bound(int64 wanted, int64 budget, int64 low, int64 high, int64 minimum, int64 maximum,
					 bool stays)
{
	if (stays && minimum == maximum && budget == minimum)
		return BOUND_HELD;
	if (budget > wanted && budget == low)
		return low == minimum ? BOUND_MINIMUM : BOUND_CHANGE;
	if (budget < wanted && budget == high)
		return high == maximum ? BOUND_MAXIMUM : BOUND_CHANGE;
	return BOUND_NONE;
}

bool
artery_ad_case_change(const AdCase *ad, double *percent)
{
	*percent = 0;
	if (ad->current == 0)
		return ad->budget == 0;
	*percent = 100.0 * (double) (ad->budget - ad->current) / (double) ad->current;
	return true;
}

void
artery_ad_case_reason(const AdCase *ad, StringInfo out)
{
	double		ctr = ad->score.ctr * 100.0;
	double		roas = ad->score.roas;
	double		change;

	if (!artery_ad_case_change(ad, &change))
		change = 100.0;			/* from nothing to something */
	if (change > 0)
	{
		bool		strong = change > SIGNIFICANT_PERCENT;

		if (ad->score.ctr_weight > EARLY_CTR_WEIGHT)
		{
			append_ratio(out, strong ? "Strong CTR (" : "Fair CTR (", ctr, 1, "%) in early phase");
			append_ratio(out, " (age: ", ad->input.age_hours, 1, strong ? "h). Scaling up." : "h). Scaling gently.");
		}
		else if (roas < 1.0)
			append_ratio(out, "Pipeline ROAS (", roas, 2, "x) below cost, yet its share is above its budget. Trying more.");
		else
			append_ratio(out, strong ? "Strong Pipeline ROAS (" : "Fair Pipeline ROAS (", roas, 2,
						 strong ? "x). Scaling up." : "x). Scaling gently.");
	}
	else if (change < -SIGNIFICANT_PERCENT)
	{
		append_ratio(out, "Poor performance (CTR: ", ctr, 1, "%, ");
		append_ratio(out, "ROAS: ", roas, 2, "x). Cutting budget.");
	}
	else if (ad->score.decay < HEAVY_FATIGUE)
		append_ratio(out, "Ad fatigue (decay: ", ad->score.decay, 2, "). Reallocating budget to fresher ads.");
	else
		appendStringInfoString(out, "Below-average performance. Reallocating budget to winners.");
}

static void
append_ratio(StringInfo out, const char *before, double number, int places, const char *after)
{
	appendStringInfoString(out, before);
	artery_decimal_append(out, number, places);
	appendStringInfoString(out, after);
}
