/*
 * market.h
 *		A simulated market for advertising, to judge allocation models by.
 *
 * An account has eight ads, three of them launched later. Time goes in steps of six
 * hours. In each step a policy spends a budget per ad; the market answers
 * with impressions (~ spend^.85, CTR worn by every impression shown), clicks,
 * and deals that go through the funnel with delays. Some deals lose their
 * credit, some are credited to another ad: a policy sees the credit, the score the truth.
 *
 * The n-th deal of an ad is the same deal under every policy, with the same
 * fate: what differs between two policies is what they did, not their luck.
 */
#ifndef ARTERY_BENCH_MARKET_H
#define ARTERY_BENCH_MARKET_H

#include "postgres.h"

#include "decide/random.h"

#define MARKET_ADS 8
#define MARKET_LATE 3			/* of them launched later */
#define MARKET_HOPS 5
#define MARKET_STEP 0.25		/* days */
#define MARKET_MAX_STEPS 400

/* A kind of business. */
typedef struct MarketKind
{
	const char *name;
	int			hops;
	double		rate[MARKET_HOPS];	/* of the hops from click to the last stage */
	double		delay[MARKET_HOPS]; /* mean days */
	double		stage_value[MARKET_HOPS];	/* as the tenant's template has it */
	double		budget;			/* per day */
	int			days;
	double		spread;			/* standard deviation of the log odds of a hop between ads */
} MarketKind;

/* What holds for all accounts. */
typedef struct MarketWorld
{
	double		gamma;			/* impressions ~ spend^gamma */
	double		cpm;			/* price of 1000 impressions at an equal split */
	double		ctr;
	double		ctr_spread;		/* standard deviation of log CTR between ads */
	double		correlation;	/* between log CTR and the first hop's log odds */
	double		wear;			/* impressions by which CTR falls e-fold */
	double		lost;			/* share of deals without credit */
	double		wrong;			/* share of deals credited to any ad */
	double		delay_shape;	/* of the gamma distribution of delays */
	double		launch_first;	/* late ads come between these shares of the time */
	double		launch_last;
	double		dna;			/* correlation between creative scores and log CTR */
} MarketWorld;

typedef struct MarketAccount
{
	const MarketKind *kind;
	const MarketWorld *world;
	uint64		seed;
	double		budget;			/* per day */
	int			steps;
	double		ctr[MARKET_ADS];
	double		dna[MARKET_ADS];	/* score of the creative, 0 .. 1 */
	double		rate[MARKET_ADS][MARKET_HOPS];
	double		click_value[MARKET_ADS];	/* expected revenue of a click */
	int			launch[MARKET_ADS];	/* step */
} MarketAccount;

/* A deal reached the stage at the end of a hop. */
typedef struct MarketEvent
{
	int64		deal;
	int			ad;				/* that earned it */
	int			credit;			/* that is said to have; -1: nobody */
	int			hop;
	double		entered;		/* days since the start */
	double		reached;
	ArteryRandom fate;
} MarketEvent;

typedef struct MarketEvents
{
	MarketEvent *list;
	int			count;
	int			room;
} MarketEvents;

typedef struct Market
{
	const MarketAccount *account;
	int			step;

	/* the answer to the last step */
	double		impressions[MARKET_ADS];
	int			clicks[MARKET_ADS];
	double		revenue;		/* expected from what was spent */

	/* the truth */
	double		shown[MARKET_ADS];
	double		leads_due[MARKET_ADS];	/* expected so far */
	double		next_lead[MARKET_ADS];	/* comes when so many were expected */
	int64		leads[MARKET_ADS];
	ArteryRandom arrivals[MARKET_ADS];
	ArteryRandom chance;
	MarketEvents due[MARKET_MAX_STEPS];	/* events of a step, by step */
} Market;

extern const MarketKind market_kinds[];
extern const int market_kind_count;
extern const MarketWorld market_world;

extern void market_draw_account(MarketAccount *account, const MarketKind *kind, const MarketWorld *world, uint64 seed);
extern void market_open(Market *market, const MarketAccount *account);
extern void market_close(Market *market);

/* Is the ad launched by the present step? */
extern bool market_is_live(const Market *market, int ad);

/* What an ad is truly worth now: revenue per unit of money, at an equal split. */
extern double market_true_value(const Market *market, int ad);

/* Spend (per day) on the live ads for a step; afterwards answer and events of that step can be read. */
extern void market_spend(Market *market, const double *budget);

/* The events of the step just spent. */
extern const MarketEvents *market_events(const Market *market);

#endif							/* ARTERY_BENCH_MARKET_H */
