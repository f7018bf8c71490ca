/*
 * delayed_selection.c
 *		The model `delayed` for the ads of one decision.
 *
 * States that carry "exposure" and "hops" (allocate_budget makes them from
 * the tables) tell when things happened. Of counts alone only the age of the ad
 * is known: we take it that clicks and deals came evenly over its life, that
 * delays are the prior ones, and that what it showed long ago counts less.
 */
#include "artery.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "decide/delayed_selection.h"
#include "decide/random.h"

#define TENTH 1.2815515655446004

#define HOURS 24.0
#define LEAST_VALUE 1e-6
#define SLIGHT_PERCENT 1.0

/* What is believed of a hop before any data: half a success and three durations. */
static const DelayedHopPrior first_hop = {.rate = 0.01, .delay = 1};
static const DelayedHopPrior later_hop = {.rate = 0.3, .delay = 1};

static void find_funnel(Funnel *model, AdCase **ads, int n);
static double pooled_value(AdCase **ads, int n);
static void guess_exposure(const AdCase *ad, double half_life, Exposure *exposure);
static void guess_hop(const AdCase *ad, int hop, double delay, Hop *made);
static void add_other_wins(Hop *hops, int count, double wins);
static void mix_groups(AdCase **ads, int n, int groups);
static void summarize(DelayedSelection *selection, AdCase **ads, int n);
static double weight_of(const DelayedSelection *selection, double value);
static double ideal_budget(const DelayedSelection *selection, const AdCase *ad, double value, int64 total);

bool
artery_delayed_possible(const AdCase *ads, int n)
{
	int			i;

	for (i = 0; i < n; i++)
		if (ads[i].funnel == NULL || ads[i].funnel->count == 0)
			return false;
	return n > 0;
}

void
artery_delayed_shares(DelayedSelection *selection, AdCase **ads, int n, int groups, int64 seed, double *shares)
{
	DelayedHopPrior priors[DELAYED_MAX_HOPS];
	DelayedOptions options;
	DelayedScore *scores = palloc_extended(n * sizeof(DelayedScore), MCXT_ALLOC_HUGE);
	DelayedAd  *made = palloc_extended(n * sizeof(DelayedAd), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	Hop		   *hops;
	double		value = pooled_value(ads, n);
	int			count;
	int			i;
	int			hop;

	find_funnel(&selection->funnel, ads, n);
	count = selection->funnel.count;
	hops = palloc_extended((Size) n * count * sizeof(Hop), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	artery_delayed_defaults(&options, n);
	options.groups = groups < n ? groups : 0;
	selection->gamma = options.gamma;
	for (hop = 0; hop < count; hop++)
		priors[hop] = hop == 0 ? first_hop : later_hop;
	for (i = 0; i < n; i++)
	{
		Funnel	   *funnel = ads[i]->funnel;
		Hop		   *own = &hops[(Size) i * count];

		CHECK_FOR_INTERRUPTS();
		artery_funnel_align(funnel, &selection->funnel, ads[i]->ad_id);
		if (funnel->has_exposure)
			made[i].exposure = funnel->exposure;
		else
			guess_exposure(ads[i], options.half_life, &made[i].exposure);
		for (hop = 0; hop < count; hop++)
		{
			if (funnel->hops > 0)
				own[hop] = funnel->hop[hop];
			else
				guess_hop(ads[i], hop, priors[hop].delay, &own[hop]);
		}
		add_other_wins(own, count, funnel->other_wins);
		made[i].hops = own;
		made[i].age = ads[i]->input.age_hours / HOURS;
		made[i].group = ads[i]->group;
		made[i].part = ads[i]->part;
		made[i].dna = ads[i]->has_dna ? ads[i]->input.dna_score : NAN;
		made[i].value = Max(funnel->has_won_value ? funnel->won_value : value, LEAST_VALUE);
		artery_random_start(&made[i].random, seed, ads[i]->ad_id, ads[i]->ad_id_length);
	}
	artery_delayed_decide(made, n, priors, count, &options, &selection->account, scores);
	for (i = 0; i < n; i++)
	{
		ads[i]->delayed = scores[i];
		ads[i]->known = made[i].exposure.impressions > 0;
		shares[i] = scores[i].share;
	}
	mix_groups(ads, n, groups);
	summarize(selection, ads, n);
	pfree(hops);
	pfree(made);
	pfree(scores);
}

/*
 * Confidence is the probability that the budget decided is nearer to the
 * best one than the present budget, that is: that the best one lies on its
 * side of the middle between the two (by ratio), the other ads being worth what
 * is expected of them.
 */
void
artery_delayed_judge(const DelayedSelection *selection, AdCase *ad, int64 total)
{
	double		width = (log(ad->owner_high) - log(ad->owner_low)) / (2 * TENTH);
	double		middle = (log(ad->owner_high) + log(ad->owner_low)) / 2;
	double		others = selection->weights - weight_of(selection, ad->owner_mean);
	double		share = sqrt((double) Max(ad->owner_current, 1) * Max(ad->owner_budget, 1)) / Max(total, 1);
	double		turn;

	ad->supported_low = (int64) rint(ad->part * ideal_budget(selection, ad, ad->owner_low, total));
	ad->supported_high = (int64) rint(ad->part * ideal_budget(selection, ad, ad->owner_high, total));
	if (total <= 0 || ad->owner_budget == ad->owner_current)
		ad->confidence = 0.5;
	else if (others <= 0 || share >= 1)
		ad->confidence = ad->owner_budget > ad->owner_current ? others <= 0 : 1;
	else
	{
		turn = log(selection->largest) + (1 - selection->gamma) * (log(share / (1 - share)) + log(others));
		ad->confidence = 0.5 * erfc((turn - middle) / (Max(width, 1e-9) * M_SQRT2));
		if (ad->owner_budget < ad->owner_current)
			ad->confidence = 1 - ad->confidence;
	}
	/* stated with four digits: more would be noise */
	ad->confidence = rint(Min(Max(ad->confidence, 0.0), 1.0) * 10000.0) / 10000.0;
}

char *
artery_delayed_reason(const DelayedSelection *selection, const AdCase *ad, int64 total)
{
	const DelayedScore *score = &ad->delayed;
	double		average = selection->average;
	bool		more_in_all = total > selection->present * (1 + SLIGHT_PERCENT / 100);
	bool		less_in_all = total < selection->present * (1 - SLIGHT_PERCENT / 100);
	double		change;
	char	   *worth;
	const char *deed;

	if (!artery_ad_case_change(ad, &change))
		change = 100.0;			/* from nothing to something */
	worth = psprintf("1 spent here is expected to bring %.2f (80%% sure: %.2f to %.2f), the account's average is %.2f; "
					 "it is the best ad with a probability of %.0f%%.",
					 score->mean, score->low, score->high, average, 100 * score->best);
	if (!ad->known)
		worth = psprintf("Nothing was shown of this ad yet, so it is taken for a typical one. %s", worth);
	if (ad->part < 1)
		worth = psprintf("%s The ads that share its budget bring %.2f together.", worth, ad->owner_mean);
	if (fabs(score->dna - 1) >= SLIGHT_PERCENT / 100)
		worth = psprintf("%s Its creative alone speaks for %.0f%% %s.", worth, 100 * fabs(score->dna - 1), score->dna > 1 ? "more" : "less");
	if (fabs(change) < SLIGHT_PERCENT)
		deed = "Its budget stays about as it is.";
	else if (change > 0 && ad->owner_mean >= average)
		deed = "It earns more than others: more budget.";
	else if (change > 0 && more_in_all)
		deed = "There is more to spend in all, so it gets more too.";
	else if (change > 0)
		deed = "It may be better than it looks so far: a little more, to find out.";
	else if (ad->owner_mean < average)
		deed = "Its money earns more with other ads: less budget.";
	else if (less_in_all)
		deed = "There is less to spend in all, so it gets less too.";
	else
		deed = "It has more than its share would be, for more money brings fewer impressions each: less budget.";
	return psprintf("%s %s%s", worth, deed,
					ad->bound == BOUND_MINIMUM ? " Held at its minimum." :
					ad->bound == BOUND_MAXIMUM ? " Held at its maximum." :
					ad->bound == BOUND_CHANGE ? " Held by the largest change allowed in one step." : "");
}

/* The longest list of stages, which the others must fit into. */
static void
find_funnel(Funnel *model, AdCase **ads, int n)
{
	int			i;

	model->count = 0;
	for (i = 0; i < n; i++)
	{
		Funnel	   *funnel = ads[i]->funnel;

		if (funnel == NULL || funnel->count == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("ad \"%s\" has no \"stages\"", ads[i]->ad_id),
					 errdetail("The model \"delayed\" counts how many deals reached each stage."),
					 errhint("Give \"stages\" as [[\"lead\", 12], [\"closed_won\", 1]] in the order of the funnel, or take the model \"blended\".")));
		if (funnel->count > model->count)
			*model = *funnel;
	}
}

/* Where no value of the last stage is given: what those who reached it brought in cash; else they count alike. */
static double
pooled_value(AdCase **ads, int n)
{
	double		cash = 0;
	double		won = 0;
	int			i;

	for (i = 0; i < n; i++)
	{
		if (ads[i]->funnel == NULL || ads[i]->funnel->count == 0)
			continue;
		cash += ads[i]->cash_revenue;
		won += ads[i]->funnel->reached[ads[i]->funnel->count - 1];
	}
	return cash > 0 && won > 0 ? cash / won : 1;
}

/*
 * Of totals over an ad's life, as if it had shown as much every day: a half-life
 * leaves some of it, and log spend and impressions per day are those of the average day.
 */
static void
guess_exposure(const AdCase *ad, double half_life, Exposure *exposure)
{
	double		days = Max(ad->input.age_hours / HOURS, 1.0);
	double		scale = half_life / M_LN2;
	double		counted = scale * (1 - exp(-days / scale));
	double		part = counted / days;

	exposure->clicks = part * ad->input.clicks;
	exposure->impressions = part * ad->input.impressions;
	if (ad->input.impressions > 0 && ad->input.spend > 0)
	{
		exposure->periods = counted;
		exposure->log_spend = counted * log(ad->input.spend / days);
		exposure->log_impressions = counted * log(ad->input.impressions / days);
	}
}

/*
 * Who entered came evenly over the ad's life, so the mean of exp(-age / m) is
 * m / life (1 - exp(-life / m)). The durations are those that leave the prior delay as it is.
 */
static void
guess_hop(const AdCase *ad, int hop, double delay, Hop *made)
{
	double		life = Max(ad->input.age_hours / HOURS, 1 / HOURS);
	double		slope;
	double		trials;
	int			i;

	made->reached = ad->funnel->reached[hop];
	made->entered = Max(hop == 0 ? ad->input.clicks : ad->funnel->reached[hop - 1], made->reached);
	for (i = 0; i < HOP_GRID; i++)
	{
		double		mean = exp2(HOP_GRID_LOWEST + i);

		made->pending[i] = made->entered * mean / life * -expm1(-life / mean);
	}
	trials = artery_hop_trials(made, delay);
	slope = made->entered * (delay / life * -expm1(-life / delay) - exp(-life / delay));
	made->duration = made->reached * delay * (1 - Min(trials > 0 ? slope / trials : 0, 0.99));
}

/* Wins that nobody saw on their way passed every stage, as fast as the others. */
static void
add_other_wins(Hop *hops, int count, double wins)
{
	int			i;

	for (i = 0; i < count && wins > 0; i++)
	{
		Hop		   *hop = &hops[i];

		hop->duration += wins * (hop->reached > 0 ? hop->duration / hop->reached : first_hop.delay);
		hop->reached += wins;
		if (i > 0)
			hop->entered += wins;
	}
}

/*
 * What ads that share a budget are worth together: the mean of the mix, and its
 * interval as if its logarithm were normal too, with the variance that those of the
 * ads give it to the first order.
 */
static void
mix_groups(AdCase **ads, int n, int groups)
{
	double	   *mean = palloc_extended(groups * 2 * sizeof(double), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	double	   *variance = mean + groups;
	int			i;

	for (i = 0; i < n; i++)
		mean[ads[i]->group] += ads[i]->part * ads[i]->delayed.mean;
	for (i = 0; i < n; i++)
	{
		const DelayedScore *score = &ads[i]->delayed;
		double		weight = ads[i]->part * score->mean / mean[ads[i]->group];
		double		width = weight * (log(score->high) - log(score->low)) / (2 * TENTH);

		variance[ads[i]->group] += width * width;
	}
	for (i = 0; i < n; i++)
	{
		AdCase	   *ad = ads[i];
		double		width = sqrt(variance[ad->group]);

		ad->owner_mean = ad->delayed.mean;
		ad->owner_low = ad->delayed.low;
		ad->owner_high = ad->delayed.high;
		if (ad->part < 1)
		{
			ad->owner_mean = mean[ad->group];
			ad->owner_low = mean[ad->group] * exp(-width * width / 2 - TENTH * width);
			ad->owner_high = mean[ad->group] * exp(-width * width / 2 + TENTH * width);
		}
	}
	pfree(mean);
}

static void
summarize(DelayedSelection *selection, AdCase **ads, int n)
{
	double		sum = 0;
	double		plain = 0;
	int			i;

	selection->present = selection->largest = selection->weights = 0;
	for (i = 0; i < n; i++)
	{
		selection->present += (double) ads[i]->current;
		sum += (double) ads[i]->current * ads[i]->delayed.mean;
		plain += ads[i]->delayed.mean;
		selection->largest = Max(selection->largest, ads[i]->owner_mean);
	}
	selection->average = selection->present > 0 ? sum / selection->present : plain / n;
	for (i = 0; i < n; i++)
		selection->weights += ads[i]->part * weight_of(selection, ads[i]->owner_mean);
}

/* What the best share is in proportion to. */
static double
weight_of(const DelayedSelection *selection, double value)
{
	return pow(value / selection->largest, 1 / (1 - selection->gamma));
}

/* The best budget of an ad were it worth that much, and the others what is expected of them. */
static double
ideal_budget(const DelayedSelection *selection, const AdCase *ad, double value, int64 total)
{
	double		others = Max(selection->weights - weight_of(selection, ad->owner_mean), 0);
	double		own = weight_of(selection, value);

	return own + others > 0 ? (double) total * (own / (own + others)) : 0;
}
