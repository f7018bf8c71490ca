/*
 * last_touch.c
 *		Of several clicks of one person before a conversion, the last one earns it.
 *
 * A click that surely is the visitor's (same address, say) need not be the last:
 * the person may have clicked again elsewhere. So for each pair of candidates
 * the chance that both are one person's is weighed: by how often people click
 * again, by how the two agree, and by how well the newer one explains that the
 * conversion came now. A person with two clicks converts at the sum of their
 * rates, which counts for much where the older click is of days ago.
 */
#include <math.h>

#include "attribute/agreement.h"
#include "attribute/last_touch.h"

#define REPEATS_PER_DAY 0.036	/* clicks that a person adds right after one */
#define REPEAT_DAYS 3.0			/* how fast they become rarer */
#define LEAST_SHARE 0.001		/* of all weight, for an older click to be looked at */
#define SAME_HARDWARE 0.98		/* a person's clicks seldom come from two devices */
#define ADDRESSES_PER_BLOCK 20.0	/* as clicks are spread in it, not as it could be */
#define BACK_AGAIN 0.8			/* of people who changed networks, back on the older click's */

static double pair_odds(const CalibratedState *state, const CalibratedConversion *conversion,
						const CalibratedCandidate *newer, const CalibratedCandidate *older, int device, int network);
static double pair_network_ratio(const CalibratedState *state, const CalibratedCounts *counts,
								 const CalibratedCandidate *newer, const CalibratedCandidate *older, int network);
static double onward(const CalibratedCandidate *newer, const CalibratedCandidate *older);

double
artery_last_touch(const CalibratedState *state, const CalibratedConversion *conversion,
				  CalibratedCandidate *candidates, int count, double total, CalibratedCompare compare, void *arg)
{
	double		odds[CALIBRATED_CANDIDATES];
	double		least = LEAST_SHARE * total;
	int			x,
				y;

	/* from the oldest on; what came to a candidate from older ones stays with it */
	for (x = count - 1; x > 0; x--)
	{
		CalibratedCandidate *older = &candidates[x];
		double		own = older->weight - older->inherited;
		double		sum = 0;

		if (own < least || older->device == CALIBRATED_OTHER_DEVICE)
			continue;
		for (y = 0; y < x; y++)
		{
			int			device;
			int			network;

			odds[y] = 0;
			if (candidates[y].device & CALIBRATED_OTHER_DEVICE)
				continue;
			compare(arg, y, x, &device, &network);
			if (device != CALIBRATED_OTHER_DEVICE)
				odds[y] = pair_odds(state, conversion, &candidates[y], older, device, network);
			sum += odds[y];
		}
		older->weight -= own * sum / (1 + sum);
		total -= own * sum / (1 + sum);
		for (y = 0; y < x; y++)
		{
			double		moved = own * odds[y] / (1 + sum) * onward(&candidates[y], older) *
				(1 + candidates[y].rate / older->rate);

			candidates[y].weight += moved;
			candidates[y].inherited += moved;
			total += moved;
		}
	}
	return total;
}

/* Odds that two clicks are one person's. The newer has the conversion's hardware, so its counts are known. */
static double
pair_odds(const CalibratedState *state, const CalibratedConversion *conversion, const CalibratedCandidate *newer,
		  const CalibratedCandidate *older, int device, int network)
{
	const CalibratedCounts *n = &conversion->counts;
	double		days = (older->lag_hours - newer->lag_hours) / 24;
	double		ratio = 1;

	if (!(device & CALIBRATED_OTHER_DEVICE))
		ratio = SAME_HARDWARE / artery_agreement_chance_hardware(n);
	if (network != CALIBRATED_UNKNOWN_NETWORK)
		ratio *= pair_network_ratio(state, n, newer, older, network);
	return REPEATS_PER_DAY * exp(-days / REPEAT_DAYS) * ratio / Max2(n->window / CALIBRATED_WINDOW_DAYS, 1);
}

static double
pair_network_ratio(const CalibratedState *state, const CalibratedCounts *counts, const CalibratedCandidate *newer,
				   const CalibratedCandidate *older, int network)
{
	double		others = newer->network == CALIBRATED_SAME_ADDRESS ? counts->ip - newer->ip_same_device :
		newer->block_clicks / ADDRESSES_PER_BLOCK + 0.5;
	double		address = artery_agreement_chance_address(counts->window, others);
	double		chance;

	if (network == CALIBRATED_SAME_ADDRESS)
		chance = address;
	else if (network == CALIBRATED_SAME_BLOCK)
		chance = artery_agreement_chance_block(counts->window, newer->block_clicks - 1, address);
	else
	{
		network = CALIBRATED_OTHER_BLOCK + newer->shared;
		chance = artery_agreement_share(state->base_shared, CALIBRATED_SHARED, newer->shared);
	}
	return artery_agreement_same_network(state, older->shared, older->lag_hours - newer->lag_hours, network) / chance;
}

/*
 * How the conversion agrees with the newer click, to how it does with the older
 * one, if all three are one person's: what the older click's weight has counted
 * already must not count twice, and a device or network left between the newer
 * click and the conversion speaks against.
 */
static double
onward(const CalibratedCandidate *newer, const CalibratedCandidate *older)
{
	double		share = 1;

	if (newer->device != CALIBRATED_ANY_DEVICE && older->device != CALIBRATED_ANY_DEVICE)
		share = newer->same_device / older->same_device;
	if (newer->network == CALIBRATED_UNKNOWN_NETWORK || older->network == CALIBRATED_UNKNOWN_NETWORK)
		return share;
	if (older->network >= CALIBRATED_OTHER_BLOCK && newer->network < CALIBRATED_OTHER_BLOCK)
		return share;			/* then the newer one's own weight says it all */
	share *= newer->same_network / older->same_network;
	if (older->network < CALIBRATED_OTHER_BLOCK && newer->network >= CALIBRATED_OTHER_BLOCK)
		share *= BACK_AGAIN;
	return share;
}
