/*
 * delayed.h
 *		The allocation model that knows how late conversions come.
 *
 * Pure mathematics: no SPI, no clock, no globals. Times are in days, money in
 * the account's currency.
 *
 * The value of an ad per unit of money, at the reference spend, is
 *
 *		v = impressions bought * CTR * product of the hop rates * value of the last stage
 *
 * CTR and hop rates have posteriors (Gamma and Beta), shrunk towards those of
 * the account's ads by as much as these resemble each other. Before any enquiry an ad's clicks are
 * expected to be the less worth the more of them it gets, and a few conversions to be credited
 * wrongly. Impressions grow like spend^gamma, so for known v the best split is share ~ v^(1 / (1 - gamma)). The
 * split decided is the mean of that over draws from the posteriors: an
 * ad that may be good gets money to show it. Ads that share a budget are worth what they
 * are in the mix in which they have it. Doubt that a horizon's data would not
 * settle is not worth paying for, so draws are as wide as what can be learnt in it.
 */
#ifndef ARTERY_DECIDE_DELAYED_H
#define ARTERY_DECIDE_DELAYED_H

#include "postgres.h"

#include "decide/exposure.h"
#include "decide/hop.h"
#include "decide/random.h"

/* Most hops from the click to the last stage. */
#define DELAYED_MAX_HOPS 16

typedef struct DelayedOptions
{
	double		half_life;		/* of clicks and impressions */
	double		gamma;			/* impressions ~ spend^gamma, 0 < gamma < 1 */
	double		spread;			/* expected standard deviation of log odds between ads; 0: no pooling */
	double		response;		/* periods that the account's response counts for in an ad's own; > 0 */
	int			draws;			/* 0: the posterior mean decides */
	double		horizon;		/* days in which what is learnt must pay; 0: doubt counts in full */
	double		floor;			/* least share of all ads together */
	double		caution;		/* standard deviations of the gain over the equal split taken off it where deals take long; 0: none */
	bool		delays;			/* count by age; else every entry is a trial */
	bool		wear;			/* correct for falling CTR */
	int			groups;			/* of ads that share a budget; 0: every ad has its own */
} DelayedOptions;

/* What is known of a hop before any data. */
typedef struct DelayedHopPrior
{
	double		rate;			/* 0 < rate < 1; counts as half a success */
	double		delay;			/* mean; counts as three durations */
} DelayedHopPrior;

/* One ad as the decision sees it. */
typedef struct DelayedAd
{
	Exposure	exposure;
	const Hop  *hops;			/* as many as there are priors */
	double		value;			/* of one that reaches the last stage; > 0 */
	double		age;			/* days it has been shown; >= 0 */
	double		dna;			/* score of the creative, 0 .. 1; NaN: not known */
	int			group;			/* where there are groups: 0 .. groups - 1 */
	double		part;			/* and what part of its group's budget it has; those of a group add up to 1 */
	ArteryRandom random;		/* its own stream, so that the order of ads does not matter */
} DelayedAd;

/* What the decision says of an ad. */
typedef struct DelayedScore
{
	double		share;			/* of the budget; all add up to 1 */
	double		mean;			/* value per unit of money: posterior mean */
	double		low;			/* and its 80 % interval */
	double		high;
	double		best;			/* probability that no other ad is worth more */
	double		dna;			/* by what factor its creative DNA alone raises the value of a new ad like it */
} DelayedScore;

/* What the decision learnt of the account. */
typedef struct DelayedAccount
{
	double		reference;		/* spend per period at which values are stated */
	double		wear;			/* fall of log CTR per million impressions */
	double		ctr;			/* the typical ad's */
	double		rate[DELAYED_MAX_HOPS];
	double		delay[DELAYED_MAX_HOPS];
	bool		has_dna;		/* scores are known and differ */
	double		dna_slope[DELAYED_MAX_HOPS + 1];	/* of CTR, then of each hop: log odds per deviation of the scores */
} DelayedAccount;

/* The options of the model as it is used, for that many ads. */
extern void artery_delayed_defaults(DelayedOptions *options, int count);

/*
 * Score count >= 1 ads with the same hops (1 .. DELAYED_MAX_HOPS); moves the ads'
 * streams on. Time and memory are linear in count; memory is allocated in the
 * current context and freed.
 */
extern void artery_delayed_decide(DelayedAd *ads, int count, const DelayedHopPrior *priors, int hops,
								  const DelayedOptions *options, DelayedAccount *account, DelayedScore *scores);

#endif							/* ARTERY_DECIDE_DELAYED_H */
