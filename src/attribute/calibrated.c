/*
 * calibrated.c
 *		The calibrated model of attribution.
 *
 * Constants in capitals and the tables of priors were chosen on simulated markets
 * with known truth (bench/attribution), over several seeds and habits; a tenant's
 * own conversions soon outweigh the tables.
 */
#include <math.h>
#include <string.h>

#include "attribute/calibrated.h"

#define Max2(a, b) ((a) > (b) ? (a) : (b))
#define Min2(a, b) ((a) < (b) ? (a) : (b))

static const double lag_edges[] = {0.5, 2, 8, 36};
static const double density_edges[] = {0, 2.0 / 60, 10.0 / 60, 0.5, 1, 2, 4, 8, 16, 24, 48, 84, 168};
static const double bin_edges[] = {0.2, 0.4, 0.6, 0.75, 0.85, 0.92, 0.96, 0.99, 0.998};

/* In the middle, where models are sure of themselves too soon, the factory believes less than is stated. */
static const double bin_prior[] = {0.9, 0.8, 0.75, 0.78, 0.82, 0.9, 0.95, 0.98, 1, 1};

#define ROW_WEIGHT 12.0			/* conversions that a row of priors stands for */
#define DENSITY_WEIGHT 20.0
#define PRIOR_RATE 0.012		/* conversions without id per click */
#define PRIOR_CLICKS 150.0
#define BIN_WEIGHT 12.0
#define BIN_CEILING 1.15		/* most that calibration raises a confidence by */
#define HIGHEST_CONFIDENCE 0.9999
#define REPEATS_PER_DAY 0.15	/* clicks a person adds after one */
#define LN_2 0.69314718055994531
#define MOST_UNSEEN 0.85		/* share of clicks that no index range brings */
#define ORGANIC_PER_MATCHED 1.6 /* a new tenant's organic rate, to that of conversions without id from clicks */
#define LEAST_ORGANIC_SHARE 0.1 /* of the conversions from clicks */
#define LEAST_ORGANIC 0.02		/* a day */
#define LABEL_LAG_WEIGHT 0.02	/* ids are lost with time, so labels say little of lags */
#define LEAST_MASS 1e-6			/* of a candidate to be learnt from */
#define LEAST_TOUCH 0.001		/* of a candidate for last touch */

static double device_chance(const CalibratedState *state, const CalibratedConversion *conversion, int device,
							int browser);
static double network_chance(const CalibratedState *state, const CalibratedConversion *conversion,
							 const CalibratedCandidate *candidate);
static double device_ratio(const CalibratedState *state, const CalibratedConversion *conversion,
						   const CalibratedCandidate *candidate);
static double network_ratio(const CalibratedState *state, const CalibratedConversion *conversion,
							const CalibratedCandidate *candidate);
static double density_per_day(const CalibratedState *state, double lag_hours);
static double click_rate(const CalibratedState *state, int click_class);
static double unseen_share(const CalibratedState *state, int lag);
static double rest_weight(const CalibratedState *state, const CalibratedConversion *conversion);
static double organic_rate(const CalibratedState *state, const CalibratedConversion *conversion);
static void last_touch(CalibratedCandidate *candidates, int count, CalibratedPairOdds pair_odds, void *arg);
static double calibrate(const CalibratedState *state, double raw);
static void learn_agreement(const CalibratedCandidate *candidate, double device_weight, double network_weight,
							CalibratedState *learnt);

static int
bucket(const double *edges, int count, double value)
{
	int			i = 0;

	while (i < count && value >= edges[i])
		i++;
	return i;
}

static int
lag_bucket(double hours)
{
	return bucket(lag_edges, CALIBRATED_LAGS - 1, hours);
}

static int
density_bucket(double hours)
{
	return bucket(density_edges + 1, CALIBRATED_DENSITY - 1, hours);
}

static int
confidence_bin(double raw)
{
	return bucket(bin_edges, CALIBRATED_BINS - 1, raw);
}

/* The level of device agreement if only one is possible, else -1. */
static int
single_device(int device)
{
	int			d;

	for (d = 0; d < CALIBRATED_DEVICES; d++)
		if (device == 1 << d)
			return d;
	return -1;
}

static double
row_share(const double *row, int count, int index)
{
	double		sum = 0;
	int			i;

	for (i = 0; i < count; i++)
		sum += row[i];
	return row[index] / sum;
}

int
artery_calibrated_class(int os, bool in_app)
{
	if (os == 0)
		return in_app ? 0 : 1;
	if (os == 1)
		return in_app ? 2 : 3;
	return 4;
}

int
artery_calibrated_shared(double block_clicks)
{
	return block_clicks < 6 ? 0 : block_clicks < 30 ? 1 : 2;
}

/* The days that a fading sum stands for, some days after its beginning. */
static double
fading_days(double days, double half_life)
{
	return half_life / LN_2 * (1 - exp2(-Max2(days, 0) / half_life));
}

/* What is counted of a week's clicks, as a number a day. */
static double
per_day(double count, const CalibratedConversion *conversion)
{
	return count / CALIBRATED_WINDOW_DAYS / Max2(1 - exp2(-conversion->days / CALIBRATED_COUNT_HALF_LIFE_DAYS), 0.1);
}

static void
init_agreement(CalibratedState *state)
{
	/* in-app clicks leave for the system's browser with time; others keep theirs, but it updates */
	static const double in_app[CALIBRATED_LAGS][CALIBRATED_DEVICES] = {
		{.78, .02, .12, .08}, {.57, .03, .32, .08}, {.28, .04, .60, .08}, {.14, .06, .72, .08}, {.12, .08, .72, .08}
	};
	static const double browser[CALIBRATED_LAGS][CALIBRATED_DEVICES] = {
		{.90, .01, .01, .08}, {.90, .01, .01, .08}, {.89, .02, .01, .08}, {.86, .05, .01, .08}, {.80, .11, .01, .08}
	};
	/* same address, same block, other by the conversion's block: private, middle, public */
	static const double network[CALIBRATED_SHARED][CALIBRATED_LAGS][CALIBRATED_NETWORKS] = {
		{{.90, .02, .02, .02, .04}, {.80, .03, .05, .04, .08}, {.68, .03, .08, .06, .15}, {.60, .04, .11, .08, .17},
		{.52, .07, .14, .09, .18}},
		{{.85, .03, .03, .03, .06}, {.70, .04, .07, .07, .12}, {.55, .05, .10, .10, .20}, {.45, .06, .14, .12, .23},
		{.38, .08, .16, .13, .25}},
		{{.75, .05, .05, .05, .10}, {.45, .10, .12, .10, .23}, {.22, .13, .20, .15, .30}, {.12, .14, .25, .17, .32},
		{.08, .14, .26, .18, .34}}
	};
	int			c,
				b,
				k;

	for (c = 0; c < CALIBRATED_CLASSES; c++)
		for (b = 0; b < CALIBRATED_LAGS; b++)
			for (k = 0; k < CALIBRATED_DEVICES; k++)
				state->device[c][b][k] = ROW_WEIGHT * ((c == 0 || c == 2) ? in_app[b][k] : browser[b][k]);
	for (c = 0; c < CALIBRATED_SHARED; c++)
		for (b = 0; b < CALIBRATED_LAGS; b++)
			for (k = 0; k < CALIBRATED_NETWORKS; k++)
				state->network[c][b][k] = ROW_WEIGHT * network[c][b][k];
	for (b = 0; b < CALIBRATED_LAGS; b++)
	{
		for (k = 0; k < CALIBRATED_DEVICES; k++)
			state->home_device[b][k] = ROW_WEIGHT * (in_app[b][k] + browser[b][k]) / 2;
		for (k = 0; k < CALIBRATED_NETWORKS; k++)
			state->label_network[b][k < 2 ? k : 2] += ROW_WEIGHT * network[0][b][k];
	}
}

void
artery_calibrated_init(CalibratedState *state)
{
	int			k;

	memset(state, 0, sizeof(*state));
	init_agreement(state);
	for (k = 0; k < CALIBRATED_SHARED; k++)
		state->base_shared[k] = 4;
	for (k = 0; k < CALIBRATED_DENSITY; k++)
	{
		/* log-normal, median 3 h, sigma 1.9 */
		double		upper = 0.5 * erfc(-(log(density_edges[k + 1] / 3) / 1.9) / sqrt(2));
		double		lower = k == 0 ? 0 : 0.5 * erfc(-(log(density_edges[k] / 3) / 1.9) / sqrt(2));

		state->density[k] = DENSITY_WEIGHT * (upper - lower);
	}
	state->hash_labels = 10;
	state->hash_missed = 0.5;
	for (k = 0; k < CALIBRATED_CLASSES; k++)
	{
		state->clicks[k] = PRIOR_CLICKS;
		state->matched[k] = PRIOR_CLICKS * PRIOR_RATE;
	}
}

CalibratedVerdict
artery_calibrated_score(const CalibratedState *state, const CalibratedConversion *conversion,
						CalibratedCandidate *candidates, int count, CalibratedPairOdds pair_odds, void *arg)
{
	CalibratedVerdict verdict = {-1, 0, 0, 1, 0};
	double		mu = organic_rate(state, conversion);
	double		rest = rest_weight(state, conversion);
	double		total = mu + rest;
	int			i;

	for (i = 0; i < count; i++)
	{
		CalibratedCandidate *candidate = &candidates[i];

		candidate->device_ratio = device_ratio(state, conversion, candidate);
		candidate->network_ratio = network_ratio(state, conversion, candidate);
		candidate->weight = click_rate(state, candidate->click_class) *
			density_per_day(state, candidate->lag_hours) * candidate->device_ratio * candidate->network_ratio;
		total += candidate->weight;
	}
	verdict.none = mu / total;
	verdict.rest = rest / total;
	for (i = 0; i < count; i++)
		candidates[i].probability = candidates[i].weight / total;
	if (pair_odds != NULL && count > 1)
		last_touch(candidates, count, pair_odds, arg);
	for (i = 0; i < count; i++)
	{
		if (candidates[i].probability > verdict.raw)
		{
			verdict.raw = candidates[i].probability;
			verdict.best = i;
		}
	}
	verdict.confidence = calibrate(state, verdict.raw);
	return verdict;
}

double
artery_calibrated_pair_odds(const CalibratedState *state, const CalibratedConversion *newer,
							const CalibratedCandidate *older)
{
	return REPEATS_PER_DAY * device_ratio(state, newer, older) * network_ratio(state, newer, older) /
		Max2(newer->counts.window / CALIBRATED_WINDOW_DAYS, 1);
}

void
artery_calibrated_learn_labelled(const CalibratedState *state, const CalibratedVerdict *verdict, int truth,
								 const CalibratedCandidate *truth_view, CalibratedState *learnt)
{
	int			lag = lag_bucket(truth_view->lag_hours);
	const double *row = state->device[truth_view->click_class][lag];

	/*
	 * A surviving id proves the same browser's cookie jar or link, so labels never
	 * show another device: its share is left as it is.
	 */
	double		other = row_share(row, CALIBRATED_DEVICES, 3);

	if (verdict->best >= 0)
	{
		int			bin = confidence_bin(verdict->raw);

		learnt->bin_count[bin] += 1;
		/* labels are never organic: what they test is the choice among clicks */
		learnt->bin_predicted[bin] += Min2(verdict->raw / Max2(1 - verdict->none, 0.01), 1);
		learnt->bin_hits[bin] += verdict->best == truth;
	}
	if (truth_view->network != CALIBRATED_UNKNOWN_NETWORK)
		learnt->label_network[lag][Min2(truth_view->network, 2)] += 1;
	if (truth_view->network >= CALIBRATED_OTHER_BLOCK && (truth_view->device & ~3) == 0)
	{
		learnt->hash_labels += 1;
		learnt->hash_missed += truth < 0;
	}
	learn_agreement(truth_view, 1 - other, 1, learnt);
	if (single_device(truth_view->device) >= 0)
		learnt->device[truth_view->click_class][lag][3] += other;
	learnt->density[density_bucket(truth_view->lag_hours)] += LABEL_LAG_WEIGHT;
}

void
artery_calibrated_learn_unlabelled(const CalibratedState *state, const CalibratedConversion *conversion,
								   const CalibratedCandidate *candidates, int count,
								   const CalibratedVerdict *verdict, CalibratedState *learnt)
{
	double		whole;
	double		all = 0;
	int			lag;
	int			i;

	for (i = 0; i < count; i++)
	{
		double		mass = candidates[i].probability;

		if (mass < LEAST_MASS)
			continue;
		lag = lag_bucket(candidates[i].lag_hours);
		/* each that is seen stands for others that are not */
		whole = mass / (1 - unseen_share(state, lag));
		learnt->density[density_bucket(candidates[i].lag_hours)] += whole;
		learnt->matched[candidates[i].click_class] += whole;
		all += whole;
		learn_agreement(&candidates[i], mass, mass, learnt);
		if (candidates[i].network == CALIBRATED_SAME_ADDRESS && single_device(candidates[i].device) >= 0)
			learnt->home_device[lag][single_device(candidates[i].device)] += mass;
	}
	/* what clicks do not account for, be they seen or not; the sum is right though single terms may be negative */
	learnt->organic += 1 - all;
	if (conversion->shared >= 0)
		learnt->base_shared[conversion->shared] += verdict->none;
	learnt->organic_browser[conversion->os][conversion->browser] += verdict->none;
}

/* Chance that an unrelated click agrees with the conversion as the level says. */
static double
device_chance(const CalibratedState *state, const CalibratedConversion *conversion, int device, int browser)
{
	const CalibratedCounts *n = &conversion->counts;
	double		hardware = Max2(n->hardware - 1 + 1.2, 1.2) / (n->window + 10);
	double		browsers = 0;
	double		same_browser;
	double		same_agent;
	int			i;

	for (i = 0; i < CALIBRATED_BROWSERS; i++)
		browsers += state->organic_browser[conversion->os][i];
	if (conversion->browser == CALIBRATED_BROWSERS - 1)
		browser = conversion->browser;	/* it does not tell: then an equal fingerprint is held for common */
	same_browser = (state->organic_browser[conversion->os][browser] +
					4 * (browser == conversion->browser ? Max2(n->hash / Max2(n->hardware, 1), 0.02) : 0.02)) /
		(browsers + 4);
	same_browser = Min2(same_browser, 0.98);
	same_agent = Max2(n->hash_agent - 1 + 1.2, 1.2) / (Max2(n->hash - 1, 0) + 2);
	same_agent = Min2(same_agent, 0.98);
	switch (device)
	{
		case 0:
			return hardware * same_browser * same_agent;
		case 1:
			return hardware * same_browser * (1 - same_agent);
		case 2:
			return hardware * (1 - same_browser);
		default:
			return Max2(1 - hardware, 0.05);
	}
}

static double
device_ratio(const CalibratedState *state, const CalibratedConversion *conversion,
			 const CalibratedCandidate *candidate)
{
	const double *row = state->device[candidate->click_class][lag_bucket(candidate->lag_hours)];
	double		same_person = 0;
	double		stranger = 0;
	int			d;

	if (candidate->device == CALIBRATED_ANY_DEVICE)
		return 1;
	for (d = 0; d < CALIBRATED_DEVICES; d++)
	{
		if (!(candidate->device & 1 << d))
			continue;
		same_person += row_share(row, CALIBRATED_DEVICES, d);
		stranger += device_chance(state, conversion, d, candidate->browser);
	}
	return same_person / stranger;
}

/* Chance that an unrelated click agrees in the network as the candidate does. */
static double
network_chance(const CalibratedState *state, const CalibratedConversion *conversion,
			   const CalibratedCandidate *candidate)
{
	const CalibratedCounts *n = &conversion->counts;
	double		ip = 0.2 / (n->window + 3500) + Max2(n->ip - candidate->ip_same_device - 0.5, 0) / (n->window + 1);
	double		block;

	if (candidate->network == CALIBRATED_SAME_ADDRESS)
		return ip;
	if (candidate->network == CALIBRATED_SAME_BLOCK)
	{
		block = 2 / (n->window + 1e4) + Max2(n->block - candidate->block_same_device - 0.5, 0) / (n->window + 1);
		return Max2(block - ip, 0.6 / (n->window + 1e4));
	}
	return row_share(state->base_shared, CALIBRATED_SHARED, conversion->shared);
}

static double
network_ratio(const CalibratedState *state, const CalibratedConversion *conversion,
			  const CalibratedCandidate *candidate)
{
	const double *row = state->network[candidate->shared][lag_bucket(candidate->lag_hours)];

	if (candidate->network == CALIBRATED_UNKNOWN_NETWORK)
		return 1;
	return row_share(row, CALIBRATED_NETWORKS, candidate->network) / network_chance(state, conversion, candidate);
}

static double
density_per_day(const CalibratedState *state, double lag_hours)
{
	int			k = density_bucket(lag_hours);

	return row_share(state->density, CALIBRATED_DENSITY, k) / ((density_edges[k + 1] - density_edges[k]) / 24);
}

static double
click_rate(const CalibratedState *state, int click_class)
{
	return state->matched[click_class] / state->clicks[click_class];
}

/*
 * Of conversions without id from clicks of a lag, the share whose click no index
 * range brings: other browser on another network, other device away from home,
 * fingerprint too common. Labels cannot tell it directly, since ids are lost most
 * where clicks are hard to find. But devices and networks change independently:
 * how devices change is seen at the click's own address, where every device is
 * found, and how networks change is seen from labels.
 */
static double
unseen_share(const CalibratedState *state, int lag)
{
	const double *device = state->home_device[lag];
	double		same_block = row_share(state->label_network[lag], 3, 1);
	double		other = row_share(state->label_network[lag], 3, 2);
	double		share = (row_share(device, CALIBRATED_DEVICES, 0) + row_share(device, CALIBRATED_DEVICES, 1)) * other *
		state->hash_missed / state->hash_labels +
		row_share(device, CALIBRATED_DEVICES, 2) * other +
		row_share(device, CALIBRATED_DEVICES, 3) * (same_block + other);

	return Min2(share, MOST_UNSEEN);
}

static double
rest_weight(const CalibratedState *state, const CalibratedConversion *conversion)
{
	double		lambda = 0;
	double		unseen = 0;
	int			c;

	for (c = 0; c < CALIBRATED_CLASSES; c++)
		lambda += click_rate(state, c) * per_day(conversion->counts.clicks_class[c], conversion);
	for (c = 0; c < CALIBRATED_DENSITY; c++)
	{
		int			b = lag_bucket((density_edges[c] + density_edges[c + 1]) / 2);

		unseen += row_share(state->density, CALIBRATED_DENSITY, c) * unseen_share(state, b);
	}
	return lambda * unseen;
}

/* Organic conversions a day. */
static double
organic_rate(const CalibratedState *state, const CalibratedConversion *conversion)
{
	double		expected = Max2(per_day(conversion->counts.window, conversion) * PRIOR_RATE * ORGANIC_PER_MATCHED,
								LEAST_ORGANIC);
	double		matched = 0;
	int			c;

	for (c = 0; c < CALIBRATED_CLASSES; c++)
		matched += state->matched[c] - PRIOR_CLICKS * PRIOR_RATE;
	return (Max2(state->organic, LEAST_ORGANIC_SHARE * matched) + 0.8) /
		(fading_days(conversion->days, CALIBRATED_HALF_LIFE_DAYS) + 2 / expected);
}

/* Of two clicks of one person the newer one earns it: mass moves from the older. */
static void
last_touch(CalibratedCandidate *candidates, int count, CalibratedPairOdds pair_odds, void *arg)
{
	int			touch[CALIBRATED_TOUCHES];
	int			touches = 0;
	int			x,
				y;

	for (x = 0; x < count && touches < CALIBRATED_TOUCHES; x++)
		if (candidates[x].probability > LEAST_TOUCH)
			touch[touches++] = x;
	for (x = touches - 1; x > 0; x--)
	{
		double		odds[CALIBRATED_TOUCHES];
		double		sum = 0;
		double		mass = candidates[touch[x]].probability;

		for (y = 0; y < x; y++)
			sum += odds[y] = pair_odds(arg, touch[y], touch[x]);
		for (y = 0; y < x; y++)
		{
			double		moved = mass * odds[y] / (1 + sum);

			candidates[touch[y]].probability += moved;
			candidates[touch[x]].probability -= moved;
		}
	}
}

/* What the tenant's own labels made of such a statement. */
static double
calibrate(const CalibratedState *state, double raw)
{
	int			bin = confidence_bin(raw);
	double		ratio = (state->bin_hits[bin] + BIN_WEIGHT * bin_prior[bin]) /
		(state->bin_predicted[bin] + BIN_WEIGHT);

	return Min2(raw * Min2(ratio, BIN_CEILING), HIGHEST_CONFIDENCE);
}

/* Agreement that is not known for sure teaches nothing. */
static void
learn_agreement(const CalibratedCandidate *candidate, double device_weight, double network_weight,
				CalibratedState *learnt)
{
	int			b = lag_bucket(candidate->lag_hours);
	int			d = single_device(candidate->device);

	if (d >= 0)
		learnt->device[candidate->click_class][b][d] += device_weight;
	if (candidate->network != CALIBRATED_UNKNOWN_NETWORK)
		learnt->network[candidate->shared][b][candidate->network] += network_weight;
}
