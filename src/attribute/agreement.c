/*
 * agreement.c
 *		What agreement in device and network is worth.
 *
 * Rows of agreement are learnt for buckets of lags; between the middles of two
 * buckets their shares are blended, since people change devices and networks
 * steadily, not at the edge of a bucket.
 */
#include <math.h>

#include "attribute/agreement.h"

static const double lag_edges[] = {0.5, 2, 8, 36};
static const double lag_middles[CALIBRATED_LAGS] = {-2.0, 0.1, 1.4, 2.7, 4.3};	/* logarithms of hours */

#define LEAST_HOURS 0.05
#define USED_ADDRESSES 100.0	/* of a block: with its clicks, others are to be expected at any of them */

/* Persons' other devices are at home; at a carrier's or an office's address they seldom follow. */
static const double other_device_there[CALIBRATED_SHARED] = {1, 0.5, 0.2};

static double device_chance(const CalibratedState *state, const CalibratedConversion *conversion, int device,
							int browser);
static double network_chance(const CalibratedState *state, const CalibratedConversion *conversion,
							 const CalibratedCandidate *candidate);
static double blended_share(const double *rows, int count, double hours, int index);

int
artery_agreement_bucket(const double *edges, int count, double value)
{
	int			i = 0;

	while (i < count && value >= edges[i])
		i++;
	return i;
}

int
artery_agreement_lag(double hours)
{
	return artery_agreement_bucket(lag_edges, CALIBRATED_LAGS - 1, hours);
}

double
artery_agreement_share(const double *row, int count, int index)
{
	double		sum = 0;
	int			i;

	for (i = 0; i < count; i++)
		sum += row[i];
	return row[index] / sum;
}

int
artery_agreement_single(int device)
{
	int			d;

	for (d = 0; d < CALIBRATED_DEVICES; d++)
		if (device == 1 << d)
			return d;
	return -1;
}

double
artery_agreement_same_network(const CalibratedState *state, int shared, double hours, int network)
{
	return blended_share(&state->network[shared][0][0], CALIBRATED_NETWORKS, hours, network);
}

/* Not only by accident: visitors of other ways live with people who clicked. */
double
artery_agreement_chance_address(double window, double others)
{
	return 0.1 / (window + 500) + Max2(others - 0.5, 0) / (window + 1);
}

double
artery_agreement_chance_block(double window, double others, double address)
{
	double		block = 2 / (window + 1e4) + Max2(others - 0.5, 0) / (window + 1);

	return Max2(block - address, 0.6 / (window + 1e4));
}

/* The person's own click is among those counted. */
double
artery_agreement_chance_hardware(const CalibratedCounts *counts)
{
	return Max2(counts->hardware + 0.2, 1.2) / (counts->window + 10);
}

void
artery_agreement_weigh(const CalibratedState *state, const CalibratedConversion *conversion,
					   CalibratedCandidate *candidate)
{
	const double *device = &state->device[candidate->click_class][0][0];
	double		share = 0;
	double		stranger = 0;
	int			d;

	for (d = 0; d < CALIBRATED_DEVICES; d++)
	{
		if (!(candidate->device & 1 << d))
			continue;
		share += blended_share(device, CALIBRATED_DEVICES, candidate->lag_hours, d);
		stranger += device_chance(state, conversion, d, candidate->browser);
	}
	candidate->same_device = share;
	candidate->device_ratio = candidate->device == CALIBRATED_ANY_DEVICE ? 1 : share / stranger;

	candidate->same_network = candidate->network_ratio = 1;
	if (candidate->network == CALIBRATED_UNKNOWN_NETWORK)
		return;
	share = artery_agreement_same_network(state, candidate->shared, candidate->lag_hours, candidate->network);
	if (candidate->device == CALIBRATED_OTHER_DEVICE && candidate->network == CALIBRATED_SAME_ADDRESS)
		share *= other_device_there[candidate->shared];
	candidate->network_ratio = share / network_chance(state, conversion, candidate);
	candidate->same_network = candidate->network < CALIBRATED_OTHER_BLOCK ? share :
		1 - artery_agreement_same_network(state, candidate->shared, candidate->lag_hours, CALIBRATED_SAME_ADDRESS) -
		artery_agreement_same_network(state, candidate->shared, candidate->lag_hours, CALIBRATED_SAME_BLOCK);
}

/* Chance that an unrelated click agrees with the conversion as the level says. */
static double
device_chance(const CalibratedState *state, const CalibratedConversion *conversion, int device, int browser)
{
	const CalibratedCounts *n = &conversion->counts;
	double		hardware = artery_agreement_chance_hardware(n);
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
	same_agent = Max2(n->hash_agent + 0.2, 1.2) / (Max2(n->hash - 1, 0) + 2);
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

/* Chance that an unrelated click agrees in the network as the candidate does. */
static double
network_chance(const CalibratedState *state, const CalibratedConversion *conversion,
			   const CalibratedCandidate *candidate)
{
	const CalibratedCounts *n = &conversion->counts;
	double		block = n->block - candidate->block_same_device;
	double		address = artery_agreement_chance_address(n->window, Max2(n->ip - candidate->ip_same_device,
																		  block / USED_ADDRESSES + 0.5));

	if (candidate->network == CALIBRATED_SAME_ADDRESS)
		return address;
	if (candidate->network == CALIBRATED_SAME_BLOCK)
		return artery_agreement_chance_block(n->window, block, address);
	return artery_agreement_share(state->base_shared, CALIBRATED_SHARED, conversion->shared);
}

/* The share of one of the counts of the rows of all lags, at a lag. */
static double
blended_share(const double *rows, int count, double hours, int index)
{
	double		lag = log(Max2(hours, LEAST_HOURS));
	double		part;
	int			b = 0;

	while (b < CALIBRATED_LAGS - 2 && lag > lag_middles[b + 1])
		b++;
	part = (lag - lag_middles[b]) / (lag_middles[b + 1] - lag_middles[b]);
	part = Min2(Max2(part, 0), 1);
	return (1 - part) * artery_agreement_share(rows + b * count, count, index) +
		part * artery_agreement_share(rows + (b + 1) * count, count, index);
}
