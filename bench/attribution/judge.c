/*
 * judge.c
 *		Runs the calibrated model over simulated markets in memory and prints how
 *		true it is, beside the source's rule and "same IP and user agent within 24 h".
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attribute/calibrated.h"
#include "market.h"

#define NADS_MAX 20

enum
{
	KEY_IP, KEY_BLOCK, KEY_HASH, KEY_HASH_AGENT, KEY_HARDWARE, KEY_BLOCK_HARDWARE, KEY_OS, KEYS
};

typedef struct Slot
{
	uint64_t	key;
	int			head;			/* newest click + 1 */
	float		count;			/* decayed */
	float		at;
} Slot;

static Slot *table;
static uint64_t table_mask;
static int *chain[KEYS];

static uint64_t
mix(uint64_t a, uint64_t b)
{
	uint64_t	h = (a + 0x9e3779b97f4a7c15ULL) * 0xbf58476d1ce4e5b9ULL ^ (b + 0x94d049bb133111ebULL) * 0xff51afd7ed558ccdULL;

	h ^= h >> 31;
	return h * 0x9e3779b97f4a7c15ULL | 1;
}

static uint64_t
hardware_of(const Sight *s)
{
	return mix(s->screen * 1000 + s->zone, s->os);
}

static uint64_t
hash_of(const Sight *s)
{
	return mix(hardware_of(s), s->browser);
}

static uint64_t
key_of(const Sight *s, int kind)
{
	switch (kind)
	{
		case KEY_IP:
			return mix(s->ip, kind);
		case KEY_BLOCK:
			return mix(s->block, kind);
		case KEY_HASH:
			return mix(hash_of(s), kind);
		case KEY_HASH_AGENT:
			return mix(hash_of(s) ^ s->agent, kind);
		case KEY_HARDWARE:
			return mix(hardware_of(s), kind);
		case KEY_BLOCK_HARDWARE:
			return mix(hardware_of(s) ^ mix(s->block, 5), kind);
		default:
			return mix(s->os, kind);
	}
}

static Slot *
slot_of(uint64_t key)
{
	uint64_t	i = (key >> 7) & table_mask;

	while (table[i].key != 0 && table[i].key != key)
		i = (i + 1) & table_mask;
	table[i].key = key;
	return &table[i];
}

static double
decayed(const Slot *slot, double at)
{
	return slot->count * exp2(-(at - slot->at) / 7) * 1.0;
}

/* half-life 7 days; scaled so that a steady stream counts a week's clicks */
#define WEEK_SCALE (7.0 / (7.0 / 0.6931471805599453))

static int
class_of(const Sight *s)
{
	if (s->os == OS_IOS)
		return s->in_app ? 0 : 1;
	if (s->os == OS_ANDROID)
		return s->in_app ? 2 : 3;
	return 4;
}

static int
device_agreement(const Sight *a, const Sight *b)
{
	if (hash_of(a) == hash_of(b))
		return a->agent == b->agent ? CALIBRATED_SAME_AGENT : CALIBRATED_SAME_HASH;
	return hardware_of(a) == hardware_of(b) ? CALIBRATED_SAME_HARDWARE : CALIBRATED_OTHER_DEVICE;
}

typedef struct Run
{
	Market	   *market;
	CalibratedState state;
	double		window;			/* decayed clicks */
	double		window_at;
	double		window_class[5];
	int			candidates[256];
	CalibratedCandidate views[256];
	int			count;
	CalibratedConversion conversion;
	double		now;
	double		ad_mass[NADS_MAX];	/* conversions credited so far */
	double		ad_total;
} Run;

static void
add_click(Run *run, int index)
{
	Click	   *click = &run->market->clicks[index];
	double		keep = exp2(-(click->at - run->window_at) / 7);
	int			kind;
	int			c;

	for (kind = 0; kind < KEYS; kind++)
	{
		Slot	   *slot = slot_of(key_of(&click->sight, kind));

		slot->count = decayed(slot, click->at) + 1;
		slot->at = click->at;
		chain[kind][index] = slot->head;
		slot->head = index + 1;
	}
	run->window = run->window * keep + 1;
	for (c = 0; c < 5; c++)
		run->window_class[c] *= keep;
	run->window_class[class_of(&click->sight)] += 1;
	run->window_at = click->at;
	run->state.clicks[class_of(&click->sight)] += 1;
}

static double
count_of(Run *run, const Sight *s, int kind, double at)
{
	return decayed(slot_of(key_of(s, kind)), at) * WEEK_SCALE;
	(void) run;
}

static void
fill_counts(Run *run, const Sight *s, double at, CalibratedCounts *counts)
{
	double		keep = exp2(-(at - run->window_at) / 7) * WEEK_SCALE;
	int			c;

	counts->window = run->window * keep;
	for (c = 0; c < 5; c++)
		counts->clicks_class[c] = run->window_class[c] * keep;
	counts->ip = count_of(run, s, KEY_IP, at);
	counts->block = count_of(run, s, KEY_BLOCK, at);
	counts->hash = count_of(run, s, KEY_HASH, at);
	counts->hash_agent = count_of(run, s, KEY_HASH_AGENT, at);
	counts->hardware = count_of(run, s, KEY_HARDWARE, at);
}

static void
view_candidate(Run *run, const Conversion *conversion, int index, CalibratedCandidate *view)
{
	const Click *click = &run->market->clicks[index];
	const Sight *a = &click->sight;
	const Sight *b = &conversion->sight;

	memset(view, 0, sizeof(*view));
	view->lag_hours = (conversion->at - click->at) * 24;
	view->click_class = class_of(a);
	view->browser = a->browser;
	view->shared = artery_calibrated_shared(count_of(run, a, KEY_BLOCK, conversion->at));
	view->device = device_agreement(a, b);
	view->network = a->ip == b->ip ? 0 : a->block == b->block ? 1 : 2 + run->conversion.shared;
}

static void
collect(Run *run, const Conversion *conversion)
{
	static const int kinds[] = {KEY_IP, KEY_HASH, KEY_BLOCK_HARDWARE};
	static const int limits[] = {32, 32, 16};
	int			k,
				i,
				j;

	run->count = 0;
	for (k = 0; k < 3; k++)
	{
		int			index = slot_of(key_of(&conversion->sight, kinds[k]))->head - 1;
		int			taken = 0;

		for (; index >= 0 && taken < limits[k]; index = chain[kinds[k]][index] - 1, taken++)
		{
			bool		known = false;

			if (conversion->at - run->market->clicks[index].at > 7)
				break;
			for (i = 0; i < run->count && !known; i++)
				known = run->candidates[i] == index;
			if (!known)
				run->candidates[run->count++] = index;
		}
	}
	for (i = 1; i < run->count; i++)	/* newest first */
	{
		int			index = run->candidates[i];

		for (j = i; j > 0 && run->candidates[j - 1] < index; j--)
			run->candidates[j] = run->candidates[j - 1];
		run->candidates[j] = index;
	}
	for (i = 0; i < run->count; i++)
		view_candidate(run, conversion, run->candidates[i], &run->views[i]);
	for (i = 0; i < run->count; i++)
	{
		const Sight *mine = &run->market->clicks[run->candidates[i]].sight;

		for (j = 0; j < run->count; j++)
		{
			const Sight *other = &run->market->clicks[run->candidates[j]].sight;

			if (hardware_of(mine) != hardware_of(other))
				continue;
			run->views[i].ip_same_device += run->views[j].network == 0;
			run->views[i].block_same_device += run->views[j].network <= 1;
		}
	}
}

static double
pair_odds(void *arg, int newer, int older)
{
	Run		   *run = arg;
	const Click *y = &run->market->clicks[run->candidates[newer]];
	const Click *x = &run->market->clicks[run->candidates[older]];
	CalibratedCounts counts;
	CalibratedConversion as_conversion = run->conversion;
	CalibratedCandidate earlier = run->views[older];

	fill_counts(run, &y->sight, run->now, &counts);
	as_conversion.os = y->sight.os;
	as_conversion.browser = y->sight.browser;
	as_conversion.shared = artery_calibrated_shared(counts.block);
	as_conversion.counts = counts;
	earlier.lag_hours = (y->at - x->at) * 24;
	earlier.device = device_agreement(&x->sight, &y->sight);
	earlier.network = x->sight.ip == y->sight.ip ? 0 : x->sight.block == y->sight.block ? 1 :
		2 + as_conversion.shared;
	earlier.ip_same_device = earlier.block_same_device = 1;
	return artery_calibrated_pair_odds(&run->state, &as_conversion, &earlier);
}

static void
add_learnt(CalibratedState *state, const CalibratedState *learnt)
{
	int			i;

	for (i = 0; i < CALIBRATED_NUMBERS; i++)
		((double *) state)[i] += ((const double *) learnt)[i];
}

/* What was learnt fades, the factory's priors do not. */
static void
fade(CalibratedState *state, double days)
{
	double		keep = exp2(-days / CALIBRATED_HALF_LIFE_DAYS);
	CalibratedState factory;
	int			i;

	artery_calibrated_init(&factory);
	for (i = 0; i < CALIBRATED_NUMBERS; i++)
	{
		double		prior = ((double *) &factory)[i];

		((double *) state)[i] = prior + (((double *) state)[i] - prior) * keep;
	}
}

static int
cell_of(int device)
{
	return device == 1 ? 0 : device == 2 ? 1 : device == 4 ? 2 : 3;
}

typedef struct Score
{
	double		n,
				answers,
				right,
				click_driven,
				organic,
				organic_wrong;
	double		bin_n[10],
				bin_p[10],
				bin_hit[10];
	double		credit[64],
				truth[64];
	double		cell_p[4][3],
				cell_hit[4][3];
	double		none,
				mass,
				rest,
				found;			/* truth among the candidates */
} Score;

static void
tally(Score *score, const Conversion *conversion, int answer, double confidence, double threshold, int ad)
{
	bool		right = answer >= 0 && answer == conversion->truth;

	score->n++;
	score->click_driven += conversion->truth >= 0;
	score->organic += conversion->truth < 0;
	if (answer >= 0 && confidence >= threshold)
	{
		score->answers++;
		score->right += right;
		if (conversion->truth < 0)
			score->organic_wrong++;
		if (ad >= 0)
			score->credit[ad] += 1;
	}
	if (answer >= 0)
	{
		int			b = (int) (confidence * 9.9999);

		score->bin_n[b]++;
		score->bin_p[b] += confidence;
		score->bin_hit[b] += right;
	}
}

static void
print_score(const char *name, const Score *s, int nads, bool bins)
{
	double		ece = 0,
				total = 0,
				error = 0,
				truth = 0;
	int			i;

	for (i = 0; i < 10; i++)
	{
		total += s->bin_n[i];
		ece += fabs(s->bin_p[i] - s->bin_hit[i]);
	}
	for (i = 0; i < nads; i++)
	{
		error += fabs(s->credit[i] - s->truth[i]);
		truth += s->truth[i];
	}
	printf("%-12s n %6.0f  answered %.3f  precision %.3f  recall %.3f  ece %.3f  organic given %.3f  ad error %.3f\n",
		   name, s->n, s->answers / s->n, s->right / s->answers, s->right / s->click_driven, ece / total,
		   s->organic_wrong / s->organic, error / truth);
	if (bins)
		printf("     none stated %.3f observed %.3f; rest %.3f; mass on candidates %.3f, truth among them %.3f\n",
			   s->none / s->n, s->organic / s->n, s->rest / s->n, s->mass / s->n, s->found / s->n);
	for (i = 0; bins && i < 12; i++)
		printf("%s D%d N%d stated %7.1f observed %5.0f%s", i % 3 == 0 ? "    " : "   ", i / 3, i % 3,
			   s->cell_p[i / 3][i % 3], s->cell_hit[i / 3][i % 3], i % 3 == 2 ? "\n" : "");
	for (i = 0; bins && i < 10; i++)
		if (s->bin_n[i] > 0)
			printf("     stated %.3f observed %.3f  n %.0f\n", s->bin_p[i] / s->bin_n[i],
				   s->bin_hit[i] / s->bin_n[i], s->bin_n[i]);
}

static int
by_double_descending(const void *a, const void *b)
{
	double		d = ((const double *) a)[0] - ((const double *) b)[0];

	return d > 0 ? -1 : d < 0;
}

int
main(int argc, char **argv)
{
	int			per_day = argc > 1 ? atoi(argv[1]) : 2000;
	int			days = argc > 2 ? atoi(argv[2]) : 30;
	int			runs = argc > 3 ? atoi(argv[3]) : 1;
	uint64_t	seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;
	bool		bins = argc > 5;
	Score		calibrated,
				source,
				simple;
	double	   *ranked = malloc(sizeof(double) * 2 * 2000000);
	int			nranked = 0;
	int			r;

	memset(&calibrated, 0, sizeof(Score));
	memset(&source, 0, sizeof(Score));
	memset(&simple, 0, sizeof(Score));
	for (r = 0; r < runs; r++)
	{
		Run		   *run = calloc(1, sizeof(Run));
		int			next = 0;
		int			k,
					i,
					j;
		uint64_t	size = 1024;
		double		last = 0;

		run->market = market_simulate(per_day, days, seed + r);
		while (size < (uint64_t) run->market->nclicks * 14)
			size *= 2;
		table = calloc(size, sizeof(Slot));
		table_mask = size - 1;
		for (k = 0; k < KEYS; k++)
			chain[k] = malloc(sizeof(int) * (run->market->nclicks + 1));
		artery_calibrated_init(&run->state);
		for (j = 0; j < NADS_MAX; j++)
			run->ad_mass[j] = 0.5;
		run->ad_total = 0.5 * NADS_MAX;
		for (i = 0; i < run->market->nconversions; i++)
		{
			Conversion *conversion = &run->market->conversions[i];
			CalibratedVerdict verdict;
			CalibratedState learnt;

			while (next < run->market->nclicks && run->market->clicks[next].at <= conversion->at)
				add_click(run, next++);
			if (conversion->at - last > 0.25)
			{
				fade(&run->state, conversion->at - last);
				last = conversion->at;
			}
			run->now = conversion->at;
			memset(&run->conversion, 0, sizeof(run->conversion));
			run->conversion.os = conversion->sight.os;
			run->conversion.browser = conversion->sight.browser;
			run->conversion.days = conversion->at;
			fill_counts(run, &conversion->sight, conversion->at, &run->conversion.counts);
			run->conversion.shared = artery_calibrated_shared(run->conversion.counts.block);
			collect(run, conversion);
			verdict = artery_calibrated_score(&run->state, &run->conversion, run->views, run->count, pair_odds, run);
			if (conversion->has_id)
			{
				CalibratedCandidate truth_view;
				int			truth = -1;

				if (conversion->truth < 0)
					continue;
				run->ad_mass[run->market->clicks[conversion->truth].ad]++;
				run->ad_total++;
				for (j = 0; j < run->count; j++)
					if (run->candidates[j] == conversion->truth)
						truth = j;
				view_candidate(run, conversion, conversion->truth, &truth_view);
				memset(&learnt, 0, sizeof(learnt));
				artery_calibrated_learn_labelled(&run->state, &verdict, truth, &truth_view, &learnt);
				add_learnt(&run->state, &learnt);
				continue;
			}
			memset(&learnt, 0, sizeof(learnt));
			artery_calibrated_learn_unlabelled(&run->state, &run->conversion, run->views, run->count, &verdict,
											   &learnt);
			add_learnt(&run->state, &learnt);
			if (conversion->at < days * 0.25)
				continue;
			tally(&calibrated, conversion, verdict.best >= 0 ? run->candidates[verdict.best] : -1,
				  verdict.confidence, 0.5, -1);
			calibrated.none += verdict.none;
			calibrated.rest += verdict.rest;
			for (j = 0; j < NADS_MAX; j++)
				calibrated.credit[j] += verdict.rest * run->ad_mass[j] / run->ad_total;
			for (j = 0; j < run->count; j++)
			{
				calibrated.mass += run->views[j].probability;
				calibrated.cell_p[cell_of(run->views[j].device)][run->views[j].network > 2 ? 2 : run->views[j].network] +=
					run->views[j].probability;
				calibrated.cell_hit[cell_of(run->views[j].device)][run->views[j].network > 2 ? 2 : run->views[j].network] +=
					run->candidates[j] == conversion->truth;
				calibrated.found += run->candidates[j] == conversion->truth;
			}
			for (j = 0; j < run->count; j++)
				calibrated.credit[run->market->clicks[run->candidates[j]].ad] += run->views[j].probability;
			if (verdict.best >= 0)
			{
				ranked[2 * nranked] = verdict.confidence;
				ranked[2 * nranked++ + 1] = run->candidates[verdict.best] == conversion->truth;
			}
			if (conversion->truth >= 0)
			{
				int			ad = run->market->clicks[conversion->truth].ad;

				calibrated.truth[ad]++;
				source.truth[ad]++;
				simple.truth[ad]++;
			}
			{
				int			by_hash = slot_of(key_of(&conversion->sight, KEY_HASH))->head - 1;
				int			by_ip = -1;

				if (by_hash >= 0 && conversion->at - run->market->clicks[by_hash].at > 7)
					by_hash = -1;
				for (j = slot_of(key_of(&conversion->sight, KEY_IP))->head - 1; j >= 0; j = chain[KEY_IP][j] - 1)
				{
					if (conversion->at - run->market->clicks[j].at > 1)
						break;
					if (run->market->clicks[j].sight.agent == conversion->sight.agent)
					{
						by_ip = j;
						break;
					}
				}
				tally(&simple, conversion, by_ip, 1, 0.5, by_ip >= 0 ? run->market->clicks[by_ip].ad : -1);
				j = by_hash >= 0 ? by_hash : by_ip;
				tally(&source, conversion, j, by_hash >= 0 ? 0.9 : 0.7, 0.5, j >= 0 ? run->market->clicks[j].ad : -1);
			}
		}
		market_free(run->market);
		free(table);
		for (k = 0; k < KEYS; k++)
			free(chain[k]);
		free(run);
	}
	print_score("calibrated", &calibrated, NADS_MAX, bins);
	print_score("source", &source, NADS_MAX, false);
	print_score("ip+agent", &simple, NADS_MAX, false);
	{
		double		target = simple.right / simple.answers;
		double		hits = 0,
					best = 0;
		int			i;

		qsort(ranked, nranked, 2 * sizeof(double), by_double_descending);
		for (i = 0; i < nranked; i++)
		{
			hits += ranked[2 * i + 1];
			if (hits / (i + 1) >= target)
				best = hits;
		}
		printf("at the precision of ip+agent (%.3f): recall %.3f, %+.3f\n", target, best / calibrated.click_driven,
			   (best - simple.right) / calibrated.click_driven);
	}
	return 0;
}
