/*
 * judge.c
 *		Runs the calibrated model over simulated markets in memory and prints how
 *		true it is, beside the source's rule and "same IP and user agent within 24 h".
 *
 * Arguments: name of the size, clicks a day, days, runs, seed, "usual" or "varied"
 * habits, and optionally a file for the model's answers (run, conversion, click,
 * confidence), to compare with those of the tables.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

#define ADS 20
#define BINS 10
#define ROOM 2000000

/* What a rule came to, over all runs. */
typedef struct Score
{
	double		n,
				answers,
				right,
				organic_given;
	double		bin_n[BINS],
				bin_stated[BINS],
				bin_right[BINS];
	double		credit[ADS];
	double		credit_before[ADS]; /* what of it is of the tenants before */
	double		tenant_errors;	/* sum over tenants of what their ads are off by */
} Score;

typedef struct Truth
{
	double		n,
				click_driven,
				organic;
	double		ads[ADS];
	double		ads_before[ADS];
} Truth;

/* An answer of the model, for recall at a precision. */
typedef struct Ranked
{
	double		confidence;
	bool		right;
} Ranked;

static Score calibrated,
			source,
			simple;
static Truth truth;
static Ranked *ranked;
static int	nranked;

static void
tally(Score *score, const Conversion *conversion, int answer, double confidence)
{
	bool		right = answer >= 0 && answer == conversion->truth;
	int			b = (int) (confidence * 9.9999);

	score->n++;
	if (answer < 0)
		return;
	if (confidence >= 0.5)
	{
		score->answers++;
		score->right += right;
		score->organic_given += conversion->truth < 0;
	}
	score->bin_n[b]++;
	score->bin_stated[b] += confidence;
	score->bin_right[b] += right;
}

/* A conversion without id, after the first quarter, when there is something to know. */
static void
judge(Memory *memory, const Conversion *conversion, const CalibratedVerdict *verdict, const double *known)
{
	const Click *clicks = memory->market->clicks;
	int			best = verdict->best >= 0 ? memory->clicks[verdict->best] : -1;
	int			by_hash = memory_by_fingerprint(memory, conversion);
	int			by_address = memory_by_address(memory, conversion);
	int			by_source = by_hash >= 0 ? by_hash : by_address;
	double		all_known = 0;
	int			i;

	truth.n++;
	truth.click_driven += conversion->truth >= 0;
	truth.organic += conversion->truth < 0;
	if (conversion->truth >= 0)
		truth.ads[clicks[conversion->truth].ad]++;
	tally(&calibrated, conversion, best, verdict->confidence);
	tally(&source, conversion, by_source, by_hash >= 0 ? 0.9 : 0.7);
	tally(&simple, conversion, by_address, 1);
	if (by_source >= 0)
		source.credit[clicks[by_source].ad]++;
	if (by_address >= 0)
		simple.credit[clicks[by_address].ad]++;
	/* fractions per ad; clicks that are not seen are shared out as the others are */
	for (i = 0; i < memory->count; i++)
		calibrated.credit[clicks[memory->clicks[i]].ad] += memory->views[i].probability;
	for (i = 0; i < ADS; i++)
		all_known += known[i];
	for (i = 0; i < ADS; i++)
		calibrated.credit[i] += verdict->rest * known[i] / all_known;
	if (best < 0 || nranked == ROOM)
		return;
	ranked[nranked].confidence = verdict->confidence;
	ranked[nranked++].right = best == conversion->truth;
}

static void end_tenant(Score *score);

static void
run(const Market *market, int days, int number, FILE *answers)
{
	Memory	   *memory = memory_open(market);
	double		known[ADS];		/* conversions whose id told their ad */
	int			i;

	for (i = 0; i < ADS; i++)
		known[i] = 0.5;
	for (i = 0; i < market->nconversions; i++)
	{
		const Conversion *conversion = &market->conversions[i];
		CalibratedVerdict verdict;

		memory_advance(memory, conversion->at);
		verdict = memory_weigh(memory, conversion);
		memory_learn(memory, conversion, &verdict);
		if (conversion->has_id && conversion->truth >= 0)
			known[market->clicks[conversion->truth].ad]++;
		if (conversion->has_id || conversion->at < days * 0.25)
			continue;
		judge(memory, conversion, &verdict, known);
		if (answers != NULL)
			fprintf(answers, "%d,%d,%d,%.6f\n", number, i, verdict.best < 0 ? -1 : memory->clicks[verdict.best],
					verdict.confidence);
	}
	memory_close(memory);
	end_tenant(&calibrated);
	end_tenant(&source);
	end_tenant(&simple);
	memcpy(truth.ads_before, truth.ads, sizeof(truth.ads));
}

/* What the ads of one tenant are off by; then the next one's turn. */
static void
end_tenant(Score *score)
{
	int			i;

	for (i = 0; i < ADS; i++)
	{
		score->tenant_errors += fabs((score->credit[i] - score->credit_before[i]) - (truth.ads[i] - truth.ads_before[i]));
		score->credit_before[i] = score->credit[i];
	}
}

static void
print_score(const char *size, const char *rule, const Score *score)
{
	double		stated = 0,
				credited = 0,
				real = 0,
				answered = 0;
	int			i;

	for (i = 0; i < BINS; i++)
	{
		answered += score->bin_n[i];
		stated += fabs(score->bin_stated[i] - score->bin_right[i]);
	}
	for (i = 0; i < ADS; i++)
	{
		credited += fabs(score->credit[i] - truth.ads[i]);
		real += truth.ads[i];
	}
	printf("%-7s| %-21s| %10.0f | %8.3f | %9.3f | %6.3f | %17.3f | %13.3f | %8.3f | %16.3f\n", size, rule, score->n,
		   score->answers / score->n, score->right / score->answers, score->right / truth.click_driven,
		   stated / answered, score->organic_given / truth.organic, credited / real,
		   score->tenant_errors / real);
}

static void
print_reliability(const char *size)
{
	int			i,
				k;

	printf("\nStated against observed, %s (a bar as long as its mark is true)\n", size);
	for (i = 0; i < BINS; i++)
	{
		double		n = calibrated.bin_n[i];
		int			mark,
					length;

		if (n == 0)
			continue;
		mark = (int) (calibrated.bin_stated[i] / n * 40 + 0.5);
		length = (int) (calibrated.bin_right[i] / n * 40 + 0.5);
		printf("  %.3f  %.3f  %7.0f  ", calibrated.bin_stated[i] / n, calibrated.bin_right[i] / n, n);
		for (k = 0; k <= 40; k++)
			putchar(k == mark ? '|' : k < length ? '=' : ' ');
		putchar('\n');
	}
}

static int
by_confidence(const void *a, const void *b)
{
	double		d = ((const Ranked *) a)->confidence - ((const Ranked *) b)->confidence;

	return d > 0 ? -1 : d < 0;
}

/* The most right answers that the model can give at the precision of the rule by IP and user agent. */
static void
print_recall(const char *size)
{
	double		aim = simple.right / simple.answers;
	double		right = 0;
	double		most = 0;
	int			i;

	qsort(ranked, nranked, sizeof(Ranked), by_confidence);
	for (i = 0; i < nranked; i++)
	{
		right += ranked[i].right;
		if (right / (i + 1) >= aim)
			most = right;
	}
	printf("%s: at the precision of IP + user agent (%.3f) recall %.3f, %+.3f\n", size, aim, most / truth.click_driven,
		   (most - simple.right) / truth.click_driven);
}

int
main(int argc, char **argv)
{
	const char *size;
	FILE	   *answers;
	int			days,
				runs,
				r;
	uint64_t	seed;

	if (argc < 7)
	{
		fprintf(stderr, "usage: judge size clicks_a_day days runs seed usual|varied [answers]\n");
		return 2;
	}
	size = argv[1];
	days = atoi(argv[3]);
	runs = atoi(argv[4]);
	seed = strtoull(argv[5], NULL, 10);
	answers = argc > 7 ? fopen(argv[7], "w") : NULL;
	ranked = malloc(sizeof(Ranked) * ROOM);
	for (r = 0; r < runs; r++)
	{
		Habits		habits = strcmp(argv[6], "varied") == 0 ? market_varied(seed + r) : market_usual;
		Market	   *market = market_simulate(atoi(argv[2]), days, seed + r, &habits);

		run(market, days, r, answers);
		market_free(market);
	}
	printf("size   | rule                 | without id | answered | precision | recall | calibration error | organic given | ad error | a tenant's error\n");
	print_score(size, "calibrated", &calibrated);
	print_score(size, "fingerprint, then IP", &source);
	print_score(size, "IP + user agent 24 h", &simple);
	print_recall(size);
	print_reliability(size);
	if (answers != NULL)
		fclose(answers);
	return 0;
}
