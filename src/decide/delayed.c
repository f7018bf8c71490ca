/*
 * delayed.c
 *		The allocation model that knows how late conversions come.
 *
 * One pass per factor of an ad's value fits its posterior for all ads; then
 * summaries, draws and shares read the posteriors. A draw costs one gamma for the CTR
 * and two for each hop.
 */
#include "postgres.h"

#include <math.h>

#include "utils/palloc.h"

#include "decide/appeal.h"
#include "decide/best.h"
#include "decide/credit.h"
#include "decide/delayed.h"
#include "decide/dna.h"
#include "decide/hedge.h"
#include "decide/polygamma.h"
#include "decide/pooling.h"

#define TYPICAL_CTR 0.01

/* A tenth of a normal distribution lies this many standard deviations above its mean. */
#define TENTH 1.2815515655446004

/* Of how many ads the expected spread between ads is worth, and then what all hops together say of it for each. */
#define EXPECTED_ADS 6.0
#define COMMON_ADS 12.0
#define SPREAD_STEPS 3
#define LEAST_SPREAD 0.1

/* Successes a and failures b of one factor of one ad, the prior's included; for a CTR b is all impressions. */
typedef struct Evidence
{
	double		a;
	double		b;
} Evidence;

typedef struct Decision
{
	DelayedAd  *ads;
	int			count;
	int			hops;
	const DelayedOptions *options;
	DelayedAccount *account;
	double	   *successes;		/* per ad, of the factor at hand: what pool tells of */
	double	   *trials;
	double	   *known;			/* per ad: log of everything that is not drawn */
	double	   *middle;			/* per ad: mean and standard deviation of log value */
	double	   *width;
	double	   *days;			/* per ad: it has been shown */
	double	   *wrong;			/* per ad: part of those past its first hop that is not its own */
	double	   *appeal;			/* per ad: by what its CTR makes the rate of its first hop differ */
	double	   *boldness;		/* per ad: width of its draws as a share of the width */
	Evidence   *evidence;		/* per ad: CTR, then each hop */
	double	   *mix;			/* per group: what its ads are worth together */
	Pool		pool;			/* of the factor at hand */
} Decision;

static void *allocate(Size count, Size size);
static double equal_share(const Decision *decision, int ad);
static void fit_response(Decision *decision);
static void fit_wear(Decision *decision);
static void fit_ctr(Decision *decision, DelayedScore *scores);
static void learn_delay(Decision *decision, int hop, const DelayedHopPrior *prior);
static void learn_clicks(Decision *decision, const DelayedHopPrior *prior);
static double learn_spread(Decision *decision, const DelayedHopPrior *priors);
static void count_hop(Decision *decision, int hop);
static void fit_hop(Decision *decision, int hop, const DelayedHopPrior *prior, double spread, DelayedScore *scores);
static void take_dna(Decision *decision, DelayedScore *scores);
static void keep_dna(const Decision *decision, int place, DelayedScore *scores);
static void summarize(Decision *decision, DelayedScore *scores);
static void find_best(const Decision *decision, DelayedScore *scores);
static void share_by_mean(const Decision *decision, DelayedScore *scores);
static void share_by_draws(const Decision *decision, DelayedScore *scores);
static void hedge(const Decision *decision, DelayedScore *scores);
static void weigh_doubt(const Decision *decision);
static double draw_value(const Decision *decision, int ad);
static void mix_values(const Decision *decision, double *log_value, double largest);
static void add_shares(const Decision *decision, double *log_value, double weight, DelayedScore *scores);

void
artery_delayed_defaults(DelayedOptions *options, int count)
{
	options->half_life = 14;
	options->gamma = 0.8;
	options->spread = 0.5;
	options->response = 1;
	options->horizon = 60;
	options->draws = Min(Max(1024 / Max(count, 1), 16), 64);
	options->floor = 0.01;
	options->caution = 1.2;
	options->groups = 0;
	options->delays = true;
	options->wear = true;
}

void
artery_delayed_decide(DelayedAd *ads, int count, const DelayedHopPrior *priors, int hops,
					  const DelayedOptions *options, DelayedAccount *account, DelayedScore *scores)
{
	double	   *columns = allocate(count, 9 * sizeof(double));
	Decision	decision = {
		.ads = ads, .count = count, .hops = hops, .options = options, .account = account,
		.successes = columns, .trials = columns + count, .known = columns + 2 * (Size) count,
		.middle = columns + 3 * (Size) count, .width = columns + 4 * (Size) count,
		.boldness = columns + 5 * (Size) count, .wrong = columns + 6 * (Size) count,
		.appeal = columns + 7 * (Size) count, .days = columns + 8 * (Size) count,
		.evidence = allocate(count, (hops + 1) * sizeof(Evidence)),
		.mix = options->groups > 0 ? allocate(options->groups, sizeof(double)) : NULL
	};
	double		spread;
	int			i;

	take_dna(&decision, scores);
	fit_response(&decision);
	fit_wear(&decision);
	fit_ctr(&decision, scores);
	for (i = 0; i < hops; i++)
		learn_delay(&decision, i, &priors[i]);
	learn_clicks(&decision, &priors[0]);
	spread = learn_spread(&decision, priors);
	for (i = 0; i < hops; i++)
		fit_hop(&decision, i, &priors[i], spread, scores);
	summarize(&decision, scores);
	find_best(&decision, scores);
	for (i = 0; i < count; i++)
		scores[i].share = options->floor * equal_share(&decision, i);
	if (options->draws > 0)
	{
		weigh_doubt(&decision);
		share_by_draws(&decision, scores);
	}
	else
		share_by_mean(&decision, scores);
	if (options->caution > 0)
		hedge(&decision, scores);
	if (decision.pool.dna != NULL)
		pfree(decision.pool.dna);
	if (decision.mix != NULL)
		pfree(decision.mix);
	pfree(decision.evidence);
	pfree(columns);
}

static void *
allocate(Size count, Size size)
{
	return palloc_extended(count * size, MCXT_ALLOC_HUGE);
}

static Evidence *
evidence_of(const Decision *decision, int ad)
{
	return &decision->evidence[(Size) ad * (decision->hops + 1)];
}

/* The typical rate of the factor at hand, for an ad of that DNA. */
static inline double
typical_rate(const Decision *decision, int ad)
{
	return decision->pool.rate * artery_pool_factor(&decision->pool, ad);
}

/* Its share were the budget split evenly. */
static double
equal_share(const Decision *decision, int ad)
{
	return decision->options->groups > 0 ? decision->ads[ad].part / decision->options->groups : 1.0 / decision->count;
}

/*
 * What an ad's impressions per unit of money would be at the account's typical
 * spend. An ad that has shown nothing is taken for the typical one, which counts as one
 * period for the others.
 */
static void
fit_response(Decision *decision)
{
	double		gamma = decision->options->gamma;
	double		response = decision->options->response;
	double		periods = 0;
	double		log_spend = 0;
	double		level = 0;
	int			i;

	for (i = 0; i < decision->count; i++)
	{
		const Exposure *exposure = &decision->ads[i].exposure;

		periods += exposure->periods;
		log_spend += exposure->log_spend;
		level += exposure->log_impressions - gamma * exposure->log_spend;
	}
	if (periods > 0)
	{
		log_spend /= periods;
		level /= periods;
	}
	decision->account->reference = exp(log_spend);
	for (i = 0; i < decision->count; i++)
	{
		const Exposure *exposure = &decision->ads[i].exposure;
		double		own = exposure->log_impressions - gamma * exposure->log_spend;

		decision->known[i] = (own + response * level) / (exposure->periods + response) - (1 - gamma) * log_spend
			+ log(decision->ads[i].value);
	}
}

/* Clicks are counted over a while, in which the ad has worn: state its CTR as of now. */
static void
fit_wear(Decision *decision)
{
	int			i;

	decision->account->wear = 0;
	if (!decision->options->wear)
		return;
	decision->account->wear = artery_exposure_wear(&decision->ads[0].exposure, decision->count, sizeof(DelayedAd));
	for (i = 0; i < decision->count; i++)
		decision->known[i] -= decision->account->wear * artery_exposure_lag(&decision->ads[i].exposure);
}

static void
fit_ctr(Decision *decision, DelayedScore *scores)
{
	int			i;

	for (i = 0; i < decision->count; i++)
	{
		decision->successes[i] = decision->ads[i].exposure.clicks;
		decision->trials[i] = decision->ads[i].exposure.impressions;
	}
	artery_pool_fit(&decision->pool, TYPICAL_CTR, decision->options->spread, EXPECTED_ADS);
	decision->account->ctr = decision->pool.rate;
	keep_dna(decision, 0, scores);
	for (i = 0; i < decision->count; i++)
	{
		Evidence   *evidence = evidence_of(decision, i);

		evidence->a = typical_rate(decision, i) * decision->pool.strength + decision->successes[i];
		evidence->b = decision->pool.strength + decision->trials[i];
	}
}

static void
learn_delay(Decision *decision, int hop, const DelayedHopPrior *prior)
{
	Hop			pooled = {0};
	int			i;

	decision->account->delay[hop] = 0;
	if (!decision->options->delays)
		return;
	for (i = 0; i < decision->count; i++)
		artery_hop_add(&pooled, &decision->ads[i].hops[hop]);
	decision->account->delay[hop] = artery_hop_delay(&pooled, prior->delay);
}

/* Whose are those who went past the first hop, and what do CTRs say of it? */
static void
learn_clicks(Decision *decision, const DelayedHopPrior *prior)
{
	double	   *log_ctr = decision->middle;
	int			i;

	for (i = 0; i < decision->count; i++)
	{
		log_ctr[i] = log(evidence_of(decision, i)->a / evidence_of(decision, i)->b / decision->account->ctr);
		decision->appeal[i] = 1;
		decision->days[i] = decision->ads[i].age;
	}
	count_hop(decision, 0);
	artery_credit_wrong(decision->successes, decision->trials, decision->days, decision->count, decision->wrong);
	if (decision->options->spread > 0)
		artery_appeal_fit(log_ctr, decision->successes, decision->trials, decision->count, prior->rate,
						  decision->options->spread, decision->appeal);
}

/*
 * How far ads differ in a hop, as all hops tell together: few deals reach the
 * later ones, which say little of it by themselves, and ads that differ little early on
 * seldom differ much later. CTRs are about creatives rather, and stay out of it.
 */
static double
learn_spread(Decision *decision, const DelayedHopPrior *priors)
{
	double		expected = decision->options->spread * decision->options->spread;
	double		variance = expected;
	int			step;
	int			hop;

	if (expected <= 0)
		return 0;
	for (step = 0; step < SPREAD_STEPS; step++)
	{
		double		moment = EXPECTED_ADS * expected;
		double		weights = EXPECTED_ADS;

		for (hop = 0; hop < decision->hops; hop++)
		{
			count_hop(decision, hop);
			artery_pool_fit(&decision->pool, priors[hop].rate, sqrt(variance), POOL_HELD);
			moment += decision->pool.moment;
			weights += decision->pool.weights;
		}
		variance = Max(moment / weights, LEAST_SPREAD * LEAST_SPREAD);
	}
	return sqrt(variance);
}

/* What pool is told of a hop: trials of the first one are as many of an ad with the typical CTR. */
static void
count_hop(Decision *decision, int hop)
{
	int			i;

	for (i = 0; i < decision->count; i++)
	{
		decision->successes[i] = decision->ads[i].hops[hop].reached;
		decision->trials[i] = artery_hop_trials(&decision->ads[i].hops[hop], decision->account->delay[hop]);
	}
	artery_credit_correct(hop == 0 ? NULL : decision->wrong, decision->days, decision->count, decision->successes, decision->trials);
	for (i = 0; hop == 0 && i < decision->count; i++)
		decision->trials[i] *= decision->appeal[i];
}

static void
fit_hop(Decision *decision, int hop, const DelayedHopPrior *prior, double spread, DelayedScore *scores)
{
	int			i;

	count_hop(decision, hop);
	artery_pool_fit(&decision->pool, prior->rate, spread, COMMON_ADS);
	decision->account->rate[hop] = decision->pool.rate;
	keep_dna(decision, hop + 1, scores);
	for (i = 0; i < decision->count; i++)
	{
		Evidence   *evidence = evidence_of(decision, i) + 1 + hop;
		double		appeal = hop == 0 ? decision->appeal[i] : 1;
		double		typical = Min(appeal * typical_rate(decision, i), 0.999);
		double		trials = Max(decision->trials[i] / appeal, decision->successes[i]);

		evidence->a = typical * decision->pool.strength + decision->successes[i];
		evidence->b = (1 - typical) * decision->pool.strength + trials - decision->successes[i];
	}
}

/* The ads' scores, where they can tell anything. */
static void
take_dna(Decision *decision, DelayedScore *scores)
{
	double	   *dna;
	bool		known = false;
	int			i;

	decision->pool = (Pool) {.count = decision->count, .successes = decision->successes, .trials = decision->trials};
	memset(decision->account->dna_slope, 0, sizeof(decision->account->dna_slope));
	for (i = 0; i < decision->count; i++)
	{
		scores[i].dna = 1;
		known |= !isnan(decision->ads[i].dna);
	}
	decision->account->has_dna = false;
	if (!known)
		return;
	dna = allocate(decision->count, 2 * sizeof(double));
	for (i = 0; i < decision->count; i++)
		dna[i] = decision->ads[i].dna;
	if (artery_dna_standardize(dna, decision->count))
	{
		decision->account->has_dna = true;
		decision->pool.dna = dna;
		decision->pool.factor = dna + decision->count;
	}
	else
		pfree(dna);
}

/* Keep what was learnt of a factor: place 0 is the CTR, then the hops. */
static void
keep_dna(const Decision *decision, int place, DelayedScore *scores)
{
	int			i;

	if (decision->pool.dna == NULL)
		return;
	decision->account->dna_slope[place] = decision->pool.fit.slope;
	for (i = 0; i < decision->count; i++)
		scores[i].dna *= decision->pool.factor[i];
}

/*
 * Mean of the value (the factors are independent, so the product of their
 * means), and mean and width of its logarithm, which is close to normal.
 */
static void
summarize(Decision *decision, DelayedScore *scores)
{
	int			i;
	int			hop;

	for (i = 0; i < decision->count; i++)
	{
		const Evidence *evidence = evidence_of(decision, i);
		double		mean = evidence->a / evidence->b;
		double		middle = decision->known[i] + artery_polygamma_first(evidence->a) - log(evidence->b);
		double		variance = artery_polygamma_second(evidence->a);

		for (hop = 1; hop <= decision->hops; hop++)
		{
			double		a = evidence[hop].a;
			double		all = a + evidence[hop].b;

			mean *= a / all;
			middle += artery_polygamma_first(a) - artery_polygamma_first(all);
			variance += artery_polygamma_second(a) - artery_polygamma_second(all);
		}
		decision->middle[i] = middle;
		decision->width[i] = sqrt(variance);
		scores[i].mean = exp(decision->known[i]) * mean;
		scores[i].low = exp(middle - TENTH * decision->width[i]);
		scores[i].high = exp(middle + TENTH * decision->width[i]);
	}
}

static void
find_best(const Decision *decision, DelayedScore *scores)
{
	int			i;

	artery_best_chances(decision->middle, decision->width, decision->count, decision->successes);
	for (i = 0; i < decision->count; i++)
		scores[i].best = decision->successes[i];
}

static void
share_by_mean(const Decision *decision, DelayedScore *scores)
{
	int			i;

	for (i = 0; i < decision->count; i++)
		decision->successes[i] = log(scores[i].mean);
	add_shares(decision, decision->successes, 1 - decision->options->floor, scores);
}

static void
share_by_draws(const Decision *decision, DelayedScore *scores)
{
	int			draw;
	int			i;

	for (draw = 0; draw < decision->options->draws; draw++)
	{
		for (i = 0; i < decision->count; i++)
		{
			double		bold = decision->boldness[i];
			double		excess = log(scores[i].mean) - decision->middle[i];

			/* narrower draws, of the same mean value */
			decision->successes[i] = decision->middle[i] + (1 - bold * bold) * excess
				+ bold * (draw_value(decision, i) - decision->middle[i]);
		}
		add_shares(decision, decision->successes, (1 - decision->options->floor) / decision->options->draws, scores);
	}
}

/* Go as far from the equal split as is likely to pay. */
static void
hedge(const Decision *decision, DelayedScore *scores)
{
	HedgeAd    *ads = allocate(decision->count, sizeof(HedgeAd));
	double		delay = 0;
	double		part;
	int			i;

	for (i = 0; i < decision->hops; i++)
		delay += decision->account->delay[i];
	for (i = 0; i < decision->count; i++)
		ads[i] = (HedgeAd) {scores[i].share, equal_share(decision, i), scores[i].mean, decision->width[i]};
	part = artery_hedge_part(ads, decision->count, decision->options->gamma, decision->options->caution, delay);
	for (i = 0; i < decision->count; i++)
		scores[i].share = (1 - part) * ads[i].equal + part * scores[i].share;
	pfree(ads);
}

/*
 * How much of the doubt about an ad would the horizon's data settle?
 *
 * An ad with a typical share sees as much in a day as the account's ads have seen
 * per day of their ages. With that added to its evidence, the variance of its log value
 * falls; what it falls by is the variance of what we may come to believe, and
 * that is what a draw should have.
 */
static void
weigh_doubt(const Decision *decision)
{
	double		days = 0;
	int			hop;
	int			i;

	for (i = 0; i < decision->count; i++)
	{
		days += decision->ads[i].age;
		decision->boldness[i] = 0;
	}
	if (decision->options->horizon <= 0 || days <= 0)
	{
		for (i = 0; i < decision->count; i++)
			decision->boldness[i] = 1;
		return;
	}
	for (hop = 0; hop < decision->hops; hop++)
	{
		double		entered = 0;
		double		reached = 0.5;

		for (i = 0; i < decision->count; i++)
		{
			entered += decision->ads[i].hops[hop].entered;
			reached += decision->ads[i].hops[hop].reached;
		}
		entered = Max(entered, reached) * decision->options->horizon / days;
		reached *= decision->options->horizon / days;
		for (i = 0; i < decision->count; i++)
		{
			const Evidence *evidence = evidence_of(decision, i);

			if (hop == 0)
				decision->boldness[i] += artery_polygamma_second(evidence->a + entered);
			evidence += 1 + hop;
			decision->boldness[i] += artery_polygamma_second(evidence->a + reached) - artery_polygamma_second(evidence->a + evidence->b + entered);
		}
	}
	for (i = 0; i < decision->count; i++)
		decision->boldness[i] = sqrt(Max(1 - decision->boldness[i] / (decision->width[i] * decision->width[i]), 0));
}

/* Log of a value drawn from an ad's posterior. */
static double
draw_value(const Decision *decision, int ad)
{
	ArteryRandom *random = &decision->ads[ad].random;
	const Evidence *evidence = evidence_of(decision, ad);
	double		value = decision->known[ad] + artery_random_log_gamma(random, evidence->a) - log(evidence->b);
	int			hop;

	for (hop = 1; hop <= decision->hops; hop++)
	{
		double		on = artery_random_log_gamma(random, evidence[hop].a);
		double		off = artery_random_log_gamma(random, evidence[hop].b);

		/* log of on / (on + off) */
		value -= off < on ? log1p(exp(off - on)) : off - on + log1p(exp(on - off));
	}
	return value;
}

/* Add weight times the best split for these values, which are lost. */
static void
add_shares(const Decision *decision, double *log_value, double weight, DelayedScore *scores)
{
	double		power = 1 / (1 - decision->options->gamma);
	double		largest = -INFINITY;
	double		sum = 0;
	int			i;

	for (i = 0; i < decision->count; i++)
		largest = Max(largest, log_value[i]);
	if (decision->mix != NULL)
		mix_values(decision, log_value, largest);
	for (i = 0; i < decision->count; i++)
	{
		log_value[i] = exp(power * (log_value[i] - largest));
		if (decision->mix != NULL)
			log_value[i] *= decision->ads[i].part;
		sum += log_value[i];
	}
	for (i = 0; i < decision->count; i++)
		scores[i].share += weight * log_value[i] / sum;
}

/* Put what its group is worth in place of each ad's log value. */
static void
mix_values(const Decision *decision, double *log_value, double largest)
{
	int			i;

	for (i = 0; i < decision->options->groups; i++)
		decision->mix[i] = 0;
	for (i = 0; i < decision->count; i++)
		decision->mix[decision->ads[i].group] += decision->ads[i].part * exp(log_value[i] - largest);
	for (i = 0; i < decision->count; i++)
		log_value[i] = largest + log(decision->mix[decision->ads[i].group]);
}
