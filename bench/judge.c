/*
 * judge.c
 *		How much of an oracle's revenue does each policy earn?
 *
 *	judge [accounts=60] [seed=1] [kind=service] [budget=300] [policy=delayed]
 *		  [ctr=.02] [cpm=15] [wrong=.08] [lost=.12] ... [ablations=1] [plot=1]
 *
 * Every policy, the oracle too, decides every six hours and moves a budget by at most
 * 20 percent; a new ad starts at half of the equal share. The oracle knows CTRs,
 * wear, rates and the response. Score: expected true revenue as a fraction of
 * the oracle's: its mean over the accounts, the worst tenth of the accounts, and the
 * share of accounts that earn over 1 percent less than with the equal split.
 */
#include "postgres.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decide/allotment.h"
#include "decide/blended.h"
#include "decide/delayed.h"

#include "market.h"
#ifdef WITH_SERVER
#include "public.h"
#endif

#define MOST_PER_STEP 0.2
#define CENTS 100
#define PRIOR_DELAY 1.0
#define MAX_DAYS 100

typedef enum Policy
{
	ORACLE, UNIFORM, GREEDY, THOMPSON, BLENDED, DELAYED, DELAYED_DNA,
#ifdef WITH_SERVER
	PUBLIC,						/* delayed, by the public functions in a server */
#endif
	POLICIES
} Policy;

static const char *const policy_names[] = {
	"oracle", "uniform", "greedy ROAS", "plain Thompson", "blended", "delayed", "delayed with DNA", "allocate_budget"
};

/* What a policy knows of an account. */
typedef struct Knowledge
{
	DelayedAd	ad[MARKET_ADS];
	Hop			hop[MARKET_ADS][MARKET_HOPS];
	double		impressions[MARKET_ADS];
	double		clicks[MARKET_ADS];
	double		spend[MARKET_ADS];
	double		pipeline[MARKET_ADS];
	double		won[MARKET_ADS];
	int			stage_of_deal;
} Knowledge;

typedef struct Judgement
{
	double		fraction[POLICIES];
	double		coverage;		/* share of true values within the 80 % interval */
} Judgement;

typedef struct Ablation
{
	const char *name;
	void		(*change) (DelayedOptions *options);
} Ablation;

static double daily[POLICIES][MAX_DAYS];

/* The policy to be judged besides the oracle and the equal split; empty: all. */
static const char *only_policy = "";

/* Options of the model set by the caller; NaN: as the model is used. */
static double draws = NAN;
static struct Tuning
{
	const char *name;
	Size		offset;
	double		value;
}			tuning[] = {
	{"half_life", offsetof(DelayedOptions, half_life), NAN},
	{"model_gamma", offsetof(DelayedOptions, gamma), NAN},
	{"spread", offsetof(DelayedOptions, spread), NAN},
	{"horizon", offsetof(DelayedOptions, horizon), NAN},
	{"response", offsetof(DelayedOptions, response), NAN},
	{"floor", offsetof(DelayedOptions, floor), NAN},
	{"caution", offsetof(DelayedOptions, caution), NAN}
};

static double run(const MarketAccount *account, Policy policy, const DelayedOptions *options, int number);
static void weigh(Policy policy, const Market *market, Knowledge *known, const DelayedOptions *options,
				  const int *live, int count, double *weight);
static void weigh_delayed(const Market *market, Knowledge *known, const DelayedOptions *options, bool dna,
						  const int *live, int count, double *weight);
static void split(const double *weight, const double *current, int count, double total, bool first, double *budget);
static void learn(const Market *market, const DelayedOptions *options, const double *budget, Knowledge *known);

static int
compare(const void *left, const void *right)
{
	double		a = *(const double *) left;
	double		b = *(const double *) right;

	return (a > b) - (a < b);
}

static bool
takes_part(int policy, const MarketWorld *world)
{
	if (policy == DELAYED_DNA && isnan(world->dna))
		return false;
	return policy <= UNIFORM || *only_policy == '\0' || strcmp(policy_names[policy], only_policy) == 0;
}

/* Run a policy on an account and return its revenue; number tells the runs of one account apart. */
static double
run(const MarketAccount *account, Policy policy, const DelayedOptions *options, int number)
{
	static Market market;
	static Knowledge known;
	double		budget[MARKET_ADS] = {0};
	double		revenue = 0;
	int			ad;

	market_open(&market, account);
	memset(&known, 0, sizeof(known));
#ifdef WITH_SERVER
	if (policy == PUBLIC)
		public_open(&market);
#endif
	for (ad = 0; ad < MARKET_ADS; ad++)
	{
		char		name[32];

		artery_random_start(&known.ad[ad].random, (int64) account->seed, name, snprintf(name, sizeof(name), "policy %d %d", number, ad));
	}
	while (market.step < account->steps)
	{
		int			live[MARKET_ADS];
		double		weight[MARKET_ADS];
		double		current[MARKET_ADS];
		double		decided[MARKET_ADS];
		int			count = 0;
		int			day = (int) (market.step * MARKET_STEP);
		int			i;

		for (ad = 0; ad < MARKET_ADS; ad++)
			if (market_is_live(&market, ad))
				live[count++] = ad;
		for (i = 0; i < count; i++)
			current[i] = budget[live[i]] > 0 ? budget[live[i]] : account->budget / count / (market.step > 0 ? 2 : 1);
#ifdef WITH_SERVER
		if (policy == PUBLIC)
			public_weigh(&market, live, current, count, weight);
		else
#endif
			weigh(policy, &market, &known, options, live, count, weight);
		split(weight, current, count, account->budget, market.step == 0, decided);
		for (i = 0; i < count; i++)
			budget[live[i]] = decided[i];
		market_spend(&market, budget);
		revenue += market.revenue;
		daily[policy][day] += market.revenue / account->budget;
#ifdef WITH_SERVER
		if (policy == PUBLIC)
			public_learn(&market, budget);
		else
#endif
		if (policy > UNIFORM)
			learn(&market, options, budget, &known);
	}
	market_close(&market);
	return revenue;
}

static void
weigh(Policy policy, const Market *market, Knowledge *known, const DelayedOptions *options,
	  const int *live, int count, double *weight)
{
	double		power = 1 / (1 - market->account->world->gamma);
	double		largest = -1;
	int			best = 0;
	int			i;

	if (policy >= DELAYED)
	{
		weigh_delayed(market, known, options, policy == DELAYED_DNA, live, count, weight);
		return;
	}
	for (i = 0; i < count; i++)
	{
		int			ad = live[i];
		DelayedAd  *own = &known->ad[ad];
		double		drawn;

		switch (policy)
		{
			case ORACLE:
				weight[i] = pow(market_true_value(market, ad), power);
				break;
			case GREEDY:
				weight[i] = known->spend[ad] > 0 ? known->pipeline[ad] / known->spend[ad] + 1e-6 : 1;
				break;
			case THOMPSON:
				drawn = exp(artery_random_log_gamma(&own->random, known->won[ad] + 0.5))
					/ (known->spend[ad] + market->account->budget);
				if (drawn > largest)
				{
					largest = drawn;
					best = i;
				}
				weight[i] = 1e-3;
				break;
			case BLENDED:
				{
					BlendedInput input = {known->impressions[ad], known->clicks[ad], known->spend[ad], known->pipeline[ad],
					(market->step - market->account->launch[ad]) * MARKET_STEP * 24, 0};
					BlendedScore score;

					artery_blended_score(&input, &score);
					weight[i] = exp(artery_random_beta(&own->random, score.alpha, score.beta));
					break;
				}
			default:
				weight[i] = 1;
		}
	}
	if (policy == THOMPSON)
		weight[best] = 1;
}

static void
weigh_delayed(const Market *market, Knowledge *known, const DelayedOptions *options, bool dna,
			  const int *live, int count, double *weight)
{
	DelayedHopPrior prior[MARKET_HOPS];
	DelayedAd	ads[MARKET_ADS];
	DelayedScore scores[MARKET_ADS];
	DelayedAccount learnt;
	int			hops = market->account->kind->hops;
	int			i;

	for (i = 0; i < hops; i++)
	{
		prior[i].rate = i == 0 ? 0.01 : 0.3;
		prior[i].delay = PRIOR_DELAY;
	}
	for (i = 0; i < count; i++)
	{
		ads[i] = known->ad[live[i]];
		ads[i].hops = known->hop[live[i]];
		ads[i].dna = dna ? market->account->dna[live[i]] : NAN;
		ads[i].value = market->account->kind->stage_value[hops - 1];
		ads[i].age = (market->step - market->account->launch[live[i]]) * MARKET_STEP;
	}
	artery_delayed_decide(ads, count, prior, hops, options, &learnt, scores);
	for (i = 0; i < count; i++)
	{
		known->ad[live[i]].random = ads[i].random;
		weight[i] = scores[i].share;
	}
}

/* Budgets in proportion to the weights, within 20 percent of the present ones; all equal at first. */
static void
split(const double *weight, const double *current, int count, double total, bool first, double *budget)
{
	double		share[MARKET_ADS];
	int64		low[MARKET_ADS];
	int64		high[MARKET_ADS];
	int64		units[MARKET_ADS];
	double		sum = 0;
	int			i;

	for (i = 0; i < count; i++)
		sum += weight[i];
	for (i = 0; i < count; i++)
	{
		share[i] = weight[i] / sum;
		low[i] = (int64) ceil(current[i] * CENTS * (first ? 1 : 1 - MOST_PER_STEP));
		high[i] = Max((int64) floor(current[i] * CENTS * (first ? 1 : 1 + MOST_PER_STEP)), low[i]);
	}
	artery_allotment_bounded(share, low, high, count, (int64) (total * CENTS), units);
	for (i = 0; i < count; i++)
		budget[i] = (double) units[i] / CENTS;
}

/* Take in what the market answered. */
static void
learn(const Market *market, const DelayedOptions *options, const double *budget, Knowledge *known)
{
	const MarketEvents *events = market_events(market);
	const MarketKind *kind = market->account->kind;
	double		now = market->step * MARKET_STEP;
	int			ad;
	int			hop;
	int			i;

	for (ad = 0; ad < MARKET_ADS; ad++)
	{
		if (market->impressions[ad] <= 0)
			continue;
		known->impressions[ad] += market->impressions[ad];
		known->clicks[ad] += market->clicks[ad];
		known->spend[ad] += budget[ad] * MARKET_STEP;
		artery_exposure_add(&known->ad[ad].exposure, options->half_life, MARKET_STEP, market->impressions[ad],
							market->clicks[ad], budget[ad] * MARKET_STEP);
		for (hop = 0; hop < kind->hops; hop++)
			artery_hop_pass(&known->hop[ad][hop], MARKET_STEP);
		artery_hop_enter(&known->hop[ad][0], market->clicks[ad], MARKET_STEP / 2);
	}
	for (i = 0; i < events->count; i++)
	{
		const MarketEvent *event = &events->list[i];

		if (event->credit < 0)
			continue;
		hop = event->hop;
		artery_hop_reach(&known->hop[event->credit][hop], 1, event->reached - event->entered);
		if (hop + 1 < kind->hops)
			artery_hop_enter(&known->hop[event->credit][hop + 1], 1, now - event->reached);
		known->pipeline[event->credit] += kind->stage_value[hop] - (hop > 0 ? kind->stage_value[hop - 1] : 0);
		known->won[event->credit] += hop + 1 == kind->hops;
	}
}

/* Print how a list of fractions of the oracle came out, beside those of the equal split. */
static void
report(const char *name, double *fraction, const double *uniform, int accounts)
{
	double		sum = 0;
	double		square = 0;
	int			worse = 0;
	int			i;

	for (i = 0; i < accounts; i++)
	{
		sum += fraction[i];
		square += fraction[i] * fraction[i];
		worse += fraction[i] < 0.99 * uniform[i];
	}
	sum /= accounts;
	qsort(fraction, accounts, sizeof(double), compare);
	printf("  %-28s %.3f +-%.3f   %.3f   %5.1f %%\n", name, sum, sqrt(Max(square / accounts - sum * sum, 0) / accounts),
		   fraction[accounts / 10], 100.0 * worse / accounts);
	fflush(stdout);
}

static void no_delay(DelayedOptions *o) { o->delays = false; }
static void no_pooling(DelayedOptions *o) { o->spread = 0; }
static void no_wear(DelayedOptions *o) { o->wear = false; }
static void page_window(DelayedOptions *o) { o->wear = false; o->half_life = 7; }
static void one_draw(DelayedOptions *o) { o->draws = 1; }
static void page_draws(DelayedOptions *o) { o->draws = 16; }
static void mean(DelayedOptions *o) { o->draws = 0; }
static void winner(DelayedOptions *o) { o->draws = 1; o->gamma = 0.99; }
static void true_gamma(DelayedOptions *o) { o->gamma = 0.85; }
static void no_horizon(DelayedOptions *o) { o->horizon = 0; }
static void no_caution(DelayedOptions *o) { o->caution = 0; }
static void none(DelayedOptions *o) { }

static const Ablation ablations[] = {
	{"delayed", none}, {"without the delay", no_delay}, {"without pooling", no_pooling}, {"without wear", no_wear},
	{"half-life 7, no wear", page_window}, {"one draw", one_draw}, {"16 draws", page_draws},
	{"draws as wide as the doubt", no_horizon}, {"without caution", no_caution}, {"posterior mean", mean}, {"winner takes all", winner}, {"gamma as it is (.85)", true_gamma}
};

static void
plot(const MarketKind *kind, int accounts)
{
	int			policy;
	int			day;

	printf("\n  revenue per unit of money, day by day (%s)\n", kind->name);
	for (policy = 0; policy < POLICIES; policy++)
	{
		double		most = 0;

		if (daily[policy][0] <= 0)
			continue;
		for (day = 0; day < kind->days; day++)
			most = Max(most, daily[ORACLE][day]);
		printf("  %-16s", policy_names[policy]);
		for (day = 0; day < kind->days; day++)
		{
			static const char *const bars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

			fputs(bars[(int) (8 * Min(daily[policy][day] / most, 1))], stdout);
		}
		printf(" %.2f\n", daily[policy][kind->days - 1] / accounts);
	}
}

static void
judge(const MarketKind *kind, const MarketWorld *world, int accounts, uint64 seed, double budget, bool ablate, bool draw)
{
	int			columns = ablate ? 2 + (int) lengthof(ablations) : POLICIES;
	double	   *fraction = malloc(sizeof(double) * accounts * columns);
	int			column;
	int			i;
	Size		j;

	memset(daily, 0, sizeof(daily));
	for (i = 0; i < accounts; i++)
	{
		MarketAccount account;
		DelayedOptions options;
		double		oracle = 0;

		market_draw_account(&account, kind, world, seed * 1000003 + i);
		if (budget > 0)
			account.budget = budget;
		for (column = 0; column < columns; column++)
		{
			double		revenue;

			if (!ablate && !takes_part(column, world))
				continue;

			artery_delayed_defaults(&options, MARKET_ADS);
			for (j = 0; j < lengthof(tuning); j++)
				if (!isnan(tuning[j].value))
					*(double *) ((char *) &options + tuning[j].offset) = tuning[j].value;
			if (!isnan(draws))
				options.draws = (int) draws;
			if (column > 1 && ablate)
				ablations[column - 2].change(&options);
			revenue = run(&account, column > 1 && ablate ? DELAYED : (Policy) column, &options, column);
			if (column == ORACLE)
				oracle = revenue;
			fraction[column * accounts + i] = revenue / oracle;
		}
	}
	printf("%-30s of oracle      q10   below uniform\n", kind->name);
	for (column = 1; column < columns; column++)
	{
		double	   *copy;

		if (!ablate && !takes_part(column, world))
			continue;
		copy = malloc(sizeof(double) * accounts);

		memcpy(copy, fraction + column * accounts, sizeof(double) * accounts);
		report(column > 1 && ablate ? ablations[column - 2].name : policy_names[column], copy, fraction + accounts, accounts);
		free(copy);
	}
	if (draw)
		plot(kind, accounts);
	free(fraction);
}

int
main(int argc, char **argv)
{
	MarketWorld world = market_world;
	double		accounts = 60;
	double		seed = 1;
	double		budget = 0;
	double		ablate = 0;
	double		draw = 0;
	const char *kind = "";
	struct
	{
		const char *name;
		double	   *value;
	}			settings[] = {
		{"accounts", &accounts}, {"seed", &seed}, {"budget", &budget}, {"ablations", &ablate}, {"plot", &draw},
		{"gamma", &world.gamma}, {"cpm", &world.cpm}, {"ctr", &world.ctr}, {"ctr_spread", &world.ctr_spread},
		{"correlation", &world.correlation}, {"wear", &world.wear}, {"lost", &world.lost}, {"wrong", &world.wrong},
		{"delay_shape", &world.delay_shape}, {"launch_first", &world.launch_first}, {"launch_last", &world.launch_last},
		{"draws", &draws}, {"dna", &world.dna}
	};
	int			i;
	Size		j;

	for (i = 1; i < argc; i++)
	{
		char	   *equals = strchr(argv[i], '=');
		bool		found = false;

		if (equals != NULL)
		{
			*equals = '\0';
			if (strcmp(argv[i], "kind") == 0 || strcmp(argv[i], "policy") == 0)
			{
				*(strcmp(argv[i], "kind") == 0 ? &kind : &only_policy) = equals + 1;
				found = true;
			}
			for (j = 0; j < lengthof(settings); j++)
				if (strcmp(argv[i], settings[j].name) == 0)
				{
					*settings[j].value = atof(equals + 1);
					found = true;
				}
			for (j = 0; j < lengthof(tuning); j++)
				if (strcmp(argv[i], tuning[j].name) == 0)
				{
					tuning[j].value = atof(equals + 1);
					found = true;
				}
		}
		if (!found)
		{
			fprintf(stderr, "judge: what is \"%s\"?\n", argv[i]);
			return 2;
		}
	}
	for (i = 0; i < market_kind_count; i++)
		if (strncmp(market_kinds[i].name, kind, strlen(kind)) == 0)
			judge(&market_kinds[i], &world, (int) accounts, (uint64) seed, budget, ablate > 0, draw > 0);
	return 0;
}
