/*
 * market.c
 *		A simulated market for advertising, to judge allocation models by.
 */
#include "postgres.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "market.h"

const MarketKind market_kinds[] = {
	{"service", 4, {.008, .35, .60, .25}, {.3, 1.2, 3, 2}, {0, 2250, 9000, 15000}, 2000, 60, .50},
	{"e-commerce", 3, {.10, .50, .60}, {.02, .02, .02}, {15, 45, 60}, 500, 45, .35},
	{"SaaS", 5, {.04, .20, .50, .50, .40}, {3, 8, 10, 12, 12}, {100, 2000, 3500, 6000, 10000}, 1000, 90, .30}
};
const int	market_kind_count = lengthof(market_kinds);

/* Price and CTR are such that the equal split earns about what it is known to: 81 / 80 / 85 % of the oracle. */
const MarketWorld market_world = {
	.gamma = .85, .cpm = 15, .ctr = .02, .ctr_spread = .35, .correlation = -.3, .wear = 3e6,
	.lost = .12, .wrong = .08, .delay_shape = 2, .launch_first = .1, .launch_last = .5, .dna = NAN
};

static void start(ArteryRandom *random, uint64 seed, const char *what, int ad, int64 number);
static void spend_on(Market *market, int ad, double budget);
static void make_lead(Market *market, int ad, double at);
static void advance(Market *market, const MarketEvent *event);
static void expect(Market *market, const MarketEvent *event);
static int	draw_count(ArteryRandom *random, double mean);

void
market_draw_account(MarketAccount *account, const MarketKind *kind, const MarketWorld *world, uint64 seed)
{
	int			ad;
	int			hop;

	account->kind = kind;
	account->world = world;
	account->seed = seed;
	account->budget = kind->budget;
	account->steps = (int) (kind->days / MARKET_STEP);
	for (ad = 0; ad < MARKET_ADS; ad++)
	{
		ArteryRandom random;
		double		appeal;
		double		late;
		ArteryRandom taste;

		start(&random, seed, "ad", ad, 0);
		appeal = artery_random_normal(&random);
		account->ctr[ad] = world->ctr * exp(world->ctr_spread * appeal);
		start(&taste, seed, "dna", ad, 0);
		account->dna[ad] = 0.5 * erfc(-(world->dna * appeal + sqrt(1 - world->dna * world->dna) * artery_random_normal(&taste)) / M_SQRT2);
		account->click_value[ad] = kind->stage_value[kind->hops - 1];
		for (hop = 0; hop < kind->hops; hop++)
		{
			double		with = hop == 0 ? world->correlation : 0;
			double		z = with * appeal + sqrt(1 - with * with) * artery_random_normal(&random);
			double		odds = kind->rate[hop] / (1 - kind->rate[hop]) * exp(kind->spread * z);

			account->rate[ad][hop] = odds / (1 + odds);
			account->click_value[ad] *= account->rate[ad][hop];
		}
		late = world->launch_first + (world->launch_last - world->launch_first) * artery_random_uniform(&random);
		account->launch[ad] = ad < MARKET_ADS - MARKET_LATE ? 0 : (int) (account->steps * late);
	}
}

void
market_open(Market *market, const MarketAccount *account)
{
	int			ad;

	memset(market, 0, sizeof(*market));
	market->account = account;
	start(&market->chance, account->seed, "clicks", 0, 0);
	for (ad = 0; ad < MARKET_ADS; ad++)
	{
		start(&market->arrivals[ad], account->seed, "arrivals", ad, 0);
		market->next_lead[ad] = -log(artery_random_uniform(&market->arrivals[ad]));
	}
}

void
market_close(Market *market)
{
	int			step;

	for (step = 0; step < MARKET_MAX_STEPS; step++)
		free(market->due[step].list);
}

bool
market_is_live(const Market *market, int ad)
{
	return market->account->launch[ad] <= market->step;
}

double
market_true_value(const Market *market, int ad)
{
	const MarketAccount *account = market->account;
	double		ctr = account->ctr[ad] * exp(-market->shown[ad] / account->world->wear);

	return 1000 / account->world->cpm * ctr * account->click_value[ad];
}

void
market_spend(Market *market, const double *budget)
{
	int			ad;
	int			i;

	market->revenue = 0;
	for (ad = 0; ad < MARKET_ADS; ad++)
	{
		market->impressions[ad] = market->clicks[ad] = 0;
		if (market_is_live(market, ad))
			spend_on(market, ad, budget[ad] * MARKET_STEP);
	}
	/* the list grows as fast deals go on within the step */
	for (i = 0; i < market->due[market->step].count; i++)
	{
		MarketEvent event = market->due[market->step].list[i];

		advance(market, &event);
	}
	market->step++;
}

const MarketEvents *
market_events(const Market *market)
{
	return &market->due[market->step - 1];
}

static void
spend_on(Market *market, int ad, double spend)
{
	const MarketAccount *account = market->account;
	const MarketWorld *world = account->world;
	double		equal = account->budget * MARKET_STEP / MARKET_ADS;
	double		shown = equal / world->cpm * 1000 * pow(spend / equal, world->gamma);
	double		ctr = account->ctr[ad] * exp(-(market->shown[ad] + shown / 2) / world->wear);
	double		leads = shown * ctr * account->rate[ad][0];

	market->impressions[ad] = shown;
	market->shown[ad] += shown;
	market->revenue += shown * ctr * account->click_value[ad];
	market->clicks[ad] = draw_count(&market->chance, shown * ctr - leads);
	while (market->next_lead[ad] < market->leads_due[ad] + leads)
	{
		double		part = (market->next_lead[ad] - market->leads_due[ad]) / leads;

		make_lead(market, ad, (market->step + part) * MARKET_STEP);
		market->clicks[ad]++;
		market->next_lead[ad] -= log(artery_random_uniform(&market->arrivals[ad]));
	}
	market->leads_due[ad] += leads;
}

/* A click at that time will become a lead. */
static void
make_lead(Market *market, int ad, double at)
{
	const MarketWorld *world = market->account->world;
	MarketEvent event = {.deal = market->leads[ad]++ * MARKET_ADS + ad, .ad = ad, .credit = ad, .hop = -1};
	double		luck;

	start(&event.fate, market->account->seed, "deal", ad, event.deal);
	luck = artery_random_uniform(&event.fate);
	if (luck < world->lost)
		event.credit = -1;
	else if (luck < world->lost + world->wrong)
	{
		do
			event.credit = (int) (artery_random_uniform(&event.fate) * MARKET_ADS);
		while (!market_is_live(market, event.credit));
	}
	event.reached = at;
	expect(market, &event);
}

/* The deal is at the end of a hop: will it go on? */
static void
advance(Market *market, const MarketEvent *event)
{
	MarketEvent next = *event;

	if (event->hop + 1 < market->account->kind->hops
		&& artery_random_uniform(&next.fate) < market->account->rate[event->ad][event->hop + 1])
		expect(market, &next);
}

/* It will: the next event comes after a delay. */
static void
expect(Market *market, const MarketEvent *event)
{
	double		shape = market->account->world->delay_shape;
	MarketEvent next = *event;
	MarketEvents *due;
	int			step;

	next.hop++;
	next.entered = event->reached;
	next.reached += exp(artery_random_log_gamma(&next.fate, shape)) / shape * market->account->kind->delay[next.hop];
	step = (int) (next.reached / MARKET_STEP);
	if (step >= market->account->steps)
		return;
	due = &market->due[step];
	if (due->count == due->room)
	{
		due->room = Max(2 * due->room, 16);
		due->list = realloc(due->list, due->room * sizeof(MarketEvent));
	}
	due->list[due->count++] = next;
}

/* Poisson; normal where it is large. */
static int
draw_count(ArteryRandom *random, double mean)
{
	double		left = exp(-mean);
	int			count = -1;

	if (mean > 50)
		return (int) Max(floor(mean + sqrt(mean) * artery_random_normal(random) + 0.5), 0);
	for (double product = 1; product > left; count++)
		product *= artery_random_uniform(random);
	return count;
}

static void
start(ArteryRandom *random, uint64 seed, const char *what, int ad, int64 number)
{
	char		name[64];
	int			length = snprintf(name, sizeof(name), "%s %d " INT64_FORMAT, what, ad, number);

	artery_random_start(random, (int64) seed, name, length);
}
