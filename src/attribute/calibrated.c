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

#include "attribute/agreement.h"
#include "attribute/calibrated.h"
#include "attribute/last_touch.h"

static const double density_edges[] = {0, 2.0 / 60, 10.0 / 60, 0.5, 1, 2, 4, 8, 16, 24, 48, 84, 168};
static const double bin_edges[] = {0.2, 0.4, 0.6, 0.75, 0.85, 0.92, 0.96, 0.99, 0.998};

/* What the factory believes of a statement as long as a tenant has no labels. */
static const double bin_prior[] = {0.95, 0.92, 0.86, 0.88, 0.96, 1, 1, 1, 1, 1};

#define ROW_WEIGHT 16.0			/* conversions that a row of priors stands for */
#define DENSITY_WEIGHT 40.0
#define SHARED_WEIGHT 12.0
#define HOUR_WEIGHT 10.0		/* clicks */
#define PRIOR_RATE 0.012		/* conversions without id per click */
#define PRIOR_CLICKS 300.0
#define BIN_WEIGHT 12.0
#define DOUBT_LABELS 100.0		/* labels after which half of the doubt about statements is gone */
#define BIN_CEILING 1.15		/* most that calibration raises a confidence by */
#define HIGHEST_CONFIDENCE 0.9999
#define LN_2 0.69314718055994531
#define MOST_UNSEEN 0.85		/* share of clicks that no index range brings */
#define ORGANIC_PER_MATCHED 0.7 /* a new tenant's organic rate, to that of conversions without id from clicks */
#define LEAST_ORGANIC_SHARE 0.1 /* of the conversions from clicks */
#define LEAST_ORGANIC 0.02		/* a day */
#define UNLEARNT 6.0			/* organic conversions that a tenant's clicks stand for as long as no conversion is known */
#define LEARNT_SOON 5.0		/* conversions in which that fades */
#define HOUR_SHARE 0.9			/* of organic conversions, following the hours of clicks */
#define SYSTEM_WEIGHT 30.0		/* organic conversions that the clicks' shares of systems stand for */
#define LABEL_LAG_WEIGHT 0.02	/* ids are lost with time, so labels say little of lags */
#define LABEL_DEVICE_WEIGHT 0.2 /* and with a change of browser, so little of devices */
#define LEAST_MASS 1e-4			/* of a candidate to be learnt from */

static double density_per_day(const CalibratedState *state, double lag_hours);
static double click_rate(const CalibratedState *state, int click_class);
static double home_share(const CalibratedState *state, int device, int lag);
static double unseen_share(const CalibratedState *state, const CalibratedConversion *conversion, int click_class,
						   double lag_hours);
static double rest_weight(const CalibratedState *state, const CalibratedConversion *conversion);
static double organic_rate(const CalibratedState *state, const CalibratedConversion *conversion);
static double hour_factor(const CalibratedState *state, double hour);
static double system_factor(const CalibratedState *state, int os);
static double calibrate(const CalibratedState *state, double raw);
static void learn_agreement(const CalibratedCandidate *candidate, double device_weight, double network_weight,
							CalibratedState *learnt);

static int
density_bucket(double hours)
{
	return artery_agreement_bucket(density_edges + 1, CALIBRATED_DENSITY - 1, hours);
}

static int
confidence_bin(double raw)
{
	return artery_agreement_bucket(bin_edges, CALIBRATED_BINS - 1, raw);
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
		{.74, .01, .14, .11}, {.48, .02, .40, .10}, {.20, .02, .69, .09}, {.10, .03, .79, .08}, {.08, .05, .79, .08}
	};
	static const double browser[CALIBRATED_LAGS][CALIBRATED_DEVICES] = {
		{.86, .01, .01, .12}, {.86, .01, .01, .12}, {.85, .02, .01, .12}, {.84, .04, .01, .11}, {.79, .10, .01, .10}
	};
	/* same address, same block, other by the conversion's block: private, middle, public */
	static const double network[CALIBRATED_SHARED][CALIBRATED_LAGS][CALIBRATED_NETWORKS] = {
		{{.92, .01, .02, .02, .03}, {.84, .02, .04, .04, .06}, {.70, .02, .07, .08, .13}, {.58, .03, .12, .10, .17},
		{.53, .05, .14, .10, .18}},
		{{.78, .06, .12, .02, .02}, {.45, .16, .27, .07, .05}, {.18, .17, .50, .09, .06}, {.10, .14, .58, .11, .07},
		{.08, .13, .60, .11, .08}},
		{{.72, .05, .13, .02, .08}, {.36, .12, .24, .04, .24}, {.09, .12, .47, .05, .27}, {.04, .10, .58, .06, .22},
		{.03, .09, .60, .06, .22}}
	};
	/* conversions with another browser come later, so fewer from the same address */
	static const double home[2][CALIBRATED_LAGS] = {{.93, .78, .58, .49, .42}, {.80, .57, .45, .36, .34}};
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
	for (c = 0; c < 2; c++)
		for (b = 0; b < CALIBRATED_LAGS; b++)
		{
			state->label_network[c][b][0] = ROW_WEIGHT * home[c][b];
			state->label_network[c][b][1] = ROW_WEIGHT * 0.03;
			state->label_network[c][b][2] = ROW_WEIGHT * (0.97 - home[c][b]);
		}
}

void
artery_calibrated_init(CalibratedState *state)
{
	static const double shared[CALIBRATED_SHARED] = {0.58, 0.21, 0.21};
	int			k;

	memset(state, 0, sizeof(*state));
	init_agreement(state);
	for (k = 0; k < CALIBRATED_SHARED; k++)
		state->base_shared[k] = SHARED_WEIGHT * shared[k];
	for (k = 0; k < CALIBRATED_HOURS; k++)
		state->click_hours[k] = HOUR_WEIGHT;
	for (k = 0; k < CALIBRATED_DENSITY; k++)
	{
		/* log-normal, median 3 h, sigma 1.9 */
		double		upper = 0.5 * erfc(-(log(density_edges[k + 1] / 3) / 1.9) / sqrt(2));
		double		lower = k == 0 ? 0 : 0.5 * erfc(-(log(density_edges[k] / 3) / 1.9) / sqrt(2));

		state->density[k] = DENSITY_WEIGHT * (upper - lower);
	}
	for (k = 0; k < CALIBRATED_CLASSES; k++)
	{
		state->clicks[k] = PRIOR_CLICKS;
		state->matched[k] = PRIOR_CLICKS * PRIOR_RATE;
	}
}

CalibratedVerdict
artery_calibrated_score(const CalibratedState *state, const CalibratedConversion *conversion,
						CalibratedCandidate *candidates, int count, CalibratedCompare compare, void *arg)
{
	CalibratedVerdict verdict = {-1, 0, 0, 1, 0};
	double		mu = organic_rate(state, conversion);
	double		rest = rest_weight(state, conversion);
	double		total = mu + rest;
	int			i;

	for (i = 0; i < count; i++)
	{
		CalibratedCandidate *candidate = &candidates[i];

		artery_agreement_weigh(state, conversion, candidate);
		candidate->rate = click_rate(state, candidate->click_class) * density_per_day(state, candidate->lag_hours);
		candidate->weight = candidate->rate * candidate->device_ratio * candidate->network_ratio;
		candidate->inherited = 0;
		total += candidate->weight;
	}
	total = artery_last_touch(state, conversion, candidates, count, total, compare, arg);
	verdict.none = mu / total;
	verdict.rest = rest / total;
	for (i = 0; i < count; i++)
	{
		candidates[i].probability = candidates[i].weight / total;
		if (candidates[i].probability > verdict.raw)
		{
			verdict.raw = candidates[i].probability;
			verdict.best = i;
		}
	}
	verdict.confidence = calibrate(state, verdict.raw);
	return verdict;
}

void
artery_calibrated_learn_labelled(const CalibratedState *state, const CalibratedVerdict *verdict, int truth,
								 const CalibratedCandidate *truth_view, CalibratedState *learnt)
{
	int			lag = artery_agreement_lag(truth_view->lag_hours);
	const double *row = state->device[truth_view->click_class][lag];

	/*
	 * A surviving id proves the same browser's cookie jar or link, so labels never
	 * show another device: its share is left as it is.
	 */
	double		other = artery_agreement_share(row, CALIBRATED_DEVICES, 3);

	if (verdict->best >= 0)
	{
		int			bin = confidence_bin(verdict->raw);

		learnt->bin_count[bin] += 1;
		/* labels are never organic: what they test is the choice among clicks */
		learnt->bin_predicted[bin] += Min2(verdict->raw / Max2(1 - verdict->none, 0.01), 1);
		learnt->bin_hits[bin] += verdict->best == truth;
	}
	if (truth_view->network != CALIBRATED_UNKNOWN_NETWORK)
		learnt->label_network[truth_view->device >= CALIBRATED_SAME_HARDWARE][lag][Min2(truth_view->network, 2)] += 1;
	learn_agreement(truth_view, LABEL_DEVICE_WEIGHT * (1 - other), 1, learnt);
	if (artery_agreement_single(truth_view->device) >= 0)
		learnt->device[truth_view->click_class][lag][3] += LABEL_DEVICE_WEIGHT * other;
	learnt->density[density_bucket(truth_view->lag_hours)] += LABEL_LAG_WEIGHT;
}

void
artery_calibrated_learn_unlabelled(const CalibratedState *state, const CalibratedConversion *conversion,
								   const CalibratedCandidate *candidates, int count,
								   const CalibratedVerdict *verdict, CalibratedState *learnt)
{
	double		all = 0;
	int			i;

	for (i = 0; i < count; i++)
	{
		const CalibratedCandidate *candidate = &candidates[i];
		double		mass = candidate->probability;
		double		whole;
		double		device = 0;

		if (mass < LEAST_MASS)
			continue;
		/* each that is seen stands for others that are not */
		whole = mass / (1 - unseen_share(state, conversion, candidate->click_class, candidate->lag_hours));
		learnt->density[density_bucket(candidate->lag_hours)] += whole;
		learnt->matched[candidate->click_class] += whole;
		all += whole;
		/* how devices change is seen without bias where every device is found: at the click's address */
		if (candidate->network == CALIBRATED_SAME_ADDRESS)
			device = mass / home_share(state, candidate->device, artery_agreement_lag(candidate->lag_hours));
		else if (candidate->network == CALIBRATED_UNKNOWN_NETWORK)
			device = mass;
		learn_agreement(candidate, device, mass, learnt);
	}
	/* what clicks do not account for, be they seen or not; the sum is right though single terms may be negative */
	learnt->organic += 1 - all;
	if (conversion->shared >= 0)
		learnt->base_shared[conversion->shared] += verdict->none;
	learnt->organic_browser[conversion->os][conversion->browser] += verdict->none;
}

/* Within a bucket as dense as 1 / lag, so that there is no step between buckets. */
static double
density_per_day(const CalibratedState *state, double lag_hours)
{
	int			k = density_bucket(lag_hours);
	double		share = artery_agreement_share(state->density, CALIBRATED_DENSITY, k);

	if (k == 0)
		return share / (density_edges[1] / 24);
	return share / log(density_edges[k + 1] / density_edges[k]) / (lag_hours / 24);
}

static double
click_rate(const CalibratedState *state, int click_class)
{
	return state->matched[click_class] / state->clicks[click_class];
}

/* Of conversions with such a device agreement, the share that come from the click's address. */
static double
home_share(const CalibratedState *state, int device, int lag)
{
	return artery_agreement_share(state->label_network[device >= CALIBRATED_SAME_HARDWARE][lag], 3, 0);
}

/*
 * Of conversions without id from clicks of a lag, the share whose click no index
 * range brings: another device away from the click's address; and, away from it,
 * the same fingerprint or hardware where so many have it that the range does not
 * reach back far enough. Devices are learnt at the click's address, where every
 * device is found, networks from labels of the same change of browser: neither
 * depends on what is found elsewhere.
 */
static double
unseen_share(const CalibratedState *state, const CalibratedConversion *conversion, int click_class, double lag_hours)
{
	int			lag = artery_agreement_lag(lag_hours);
	const double *device = state->device[click_class][lag];
	double		away[2] = {1, 1};
	double		share;

	if (conversion->shared >= 0)
	{
		away[0] -= home_share(state, CALIBRATED_SAME_AGENT, lag);
		away[1] -= home_share(state, CALIBRATED_SAME_HARDWARE, lag);
	}
	share = artery_agreement_share(device, CALIBRATED_DEVICES, 3) * away[1];
	if (lag_hours > conversion->hardware_reach)
	{
		share += artery_agreement_share(device, CALIBRATED_DEVICES, 2) * away[1];
		if (lag_hours > conversion->hash_reach)
			share += (artery_agreement_share(device, CALIBRATED_DEVICES, 0) +
					  artery_agreement_share(device, CALIBRATED_DEVICES, 1)) * away[0];
	}
	return Min2(share, MOST_UNSEEN);
}

/* Conversions a day from clicks that are not among the candidates. */
static double
rest_weight(const CalibratedState *state, const CalibratedConversion *conversion)
{
	double		rest = 0;
	int			c,
				k;

	for (c = 0; c < CALIBRATED_CLASSES; c++)
	{
		double		unseen = 0;

		for (k = 0; k < CALIBRATED_DENSITY; k++)
			unseen += artery_agreement_share(state->density, CALIBRATED_DENSITY, k) *
				unseen_share(state, conversion, c, (density_edges[k] + density_edges[k + 1]) / 2);
		rest += unseen * click_rate(state, c) * per_day(conversion->counts.clicks_class[c], conversion);
	}
	return rest;
}

/* Organic conversions a day, at the rate of the conversion's hour and system. */
static double
organic_rate(const CalibratedState *state, const CalibratedConversion *conversion)
{
	double		expected = Max2(per_day(conversion->counts.window, conversion) * PRIOR_RATE * ORGANIC_PER_MATCHED,
								LEAST_ORGANIC);
	double		matched = 0;
	double		unlearnt;
	double		rate;
	int			c;

	for (c = 0; c < CALIBRATED_CLASSES; c++)
		matched += state->matched[c] - PRIOR_CLICKS * PRIOR_RATE;
	/* where clicks are known of many days and conversions of none, these days say nothing yet */
	unlearnt = UNLEARNT * exp(-Max2(state->organic + matched, 0) / LEARNT_SOON);
	rate = (Max2(state->organic, LEAST_ORGANIC_SHARE * matched) + 0.8 + unlearnt) /
		(fading_days(conversion->days, CALIBRATED_HALF_LIFE_DAYS) + (2 + unlearnt) / expected);
	return rate * hour_factor(state, conversion->hour) * system_factor(state, conversion->os);
}

/* Visitors of other ways are up at the hours of those who click; between the middles of two parts of the day, blended. */
static double
hour_factor(const CalibratedState *state, double hour)
{
	double		place = hour * CALIBRATED_HOURS / 24 - 0.5;
	double		part = place - floor(place);
	int			k = ((int) floor(place) + CALIBRATED_HOURS) % CALIBRATED_HOURS;
	double		share = (1 - part) * artery_agreement_share(state->click_hours, CALIBRATED_HOURS, k) +
		part * artery_agreement_share(state->click_hours, CALIBRATED_HOURS, (k + 1) % CALIBRATED_HOURS);

	return 1 + HOUR_SHARE * (CALIBRATED_HOURS * share - 1);
}

/* How much commoner a system is among organic conversions than among clicks. */
static double
system_factor(const CalibratedState *state, int os)
{
	double		organic[3] = {0};
	double		clicks[3] = {0};
	int			system = Min2(os, 2);
	double		share;
	int			i,
				b;

	for (i = 0; i < CALIBRATED_OS; i++)
		for (b = 0; b < CALIBRATED_BROWSERS; b++)
			organic[Min2(i, 2)] += state->organic_browser[i][b];
	for (i = 0; i < CALIBRATED_CLASSES; i++)
		clicks[i / 2] += state->clicks[i];
	share = artery_agreement_share(clicks, 3, system);
	return (organic[system] / share + SYSTEM_WEIGHT) / (organic[0] + organic[1] + organic[2] + SYSTEM_WEIGHT);
}

/*
 * What the tenant's own labels made of such a statement. While there are few of
 * them, priors stand for what is not known of a tenant, and statements in the
 * middle are believed less.
 */
static double
calibrate(const CalibratedState *state, double raw)
{
	int			bin = confidence_bin(raw);
	double		labels = 0;
	double		belief;
	double		ratio;
	int			i;

	for (i = 0; i < CALIBRATED_BINS; i++)
		labels += state->bin_count[i];
	belief = 1 - (1 - bin_prior[bin]) * DOUBT_LABELS / (DOUBT_LABELS + labels);
	ratio = (state->bin_hits[bin] + BIN_WEIGHT * belief) / (state->bin_predicted[bin] + BIN_WEIGHT);
	return Min2(raw * Min2(ratio, BIN_CEILING), HIGHEST_CONFIDENCE);
}

/* Agreement that is not known for sure teaches nothing. */
static void
learn_agreement(const CalibratedCandidate *candidate, double device_weight, double network_weight,
				CalibratedState *learnt)
{
	int			b = artery_agreement_lag(candidate->lag_hours);
	int			d = artery_agreement_single(candidate->device);

	if (d >= 0)
		learnt->device[candidate->click_class][b][d] += device_weight;
	if (candidate->network != CALIBRATED_UNKNOWN_NETWORK)
		learnt->network[candidate->shared][b][candidate->network] += network_weight;
}
