/*
 * calibrated.h
 *		The calibrated model of attribution: the probability that a conversion
 *		without id came from each of its candidate clicks, or from none.
 *
 * Conversions without id arrive as an organic stream of rate mu and, from every
 * click i, as a stream r(class) * g(lag). Each candidate is weighed by how much
 * likelier its agreement in device and network with the conversion is for the
 * same person than for a stranger (Fellegi-Sunter weights); conversions whose id
 * survived teach how often the same person agrees. Plain numbers in, plain
 * numbers out: no tables, no time of its own, no globals.
 *
 * What is learnt is a sum of what single clicks and conversions add, each fading
 * with its age, on top of the factory's priors. So it does not matter in which
 * order things are learnt, and all of it can be learnt again from the tables.
 */
#ifndef ARTERY_ATTRIBUTE_CALIBRATED_H
#define ARTERY_ATTRIBUTE_CALIBRATED_H

#include <stdbool.h>

#define CALIBRATED_CLASSES 5	/* iOS in-app, iOS browser, Android in-app, Android browser, desktop */
#define CALIBRATED_LAGS 5		/* lag buckets for agreement: edges 0.5, 2, 8, 36 h */
#define CALIBRATED_DEVICES 4	/* device agreement D0..D3 */
#define CALIBRATED_NETWORKS 5	/* network agreement N0..N4 */
#define CALIBRATED_SHARED 3		/* sharedness of a block: private, middle, public */
#define CALIBRATED_DENSITY 12	/* lag buckets of the density g */
#define CALIBRATED_BINS 10		/* calibration bins */
#define CALIBRATED_OS 5			/* as SightingOs */
#define CALIBRATED_BROWSERS 9	/* as SightingBrowser */
#define CALIBRATED_HOURS 8		/* parts of the day, UTC */
#define CALIBRATED_CANDIDATES 64	/* at most, of a conversion */

/*
 * Of what more clicks a week than these have, none is looked at for that alone.
 * Measured: the answers are as true, and the credit of ads.
 */
#define CALIBRATED_COMMON_FINGERPRINT 1000.0
#define CALIBRATED_COMMON_HARDWARE 50.0
#define CALIBRATED_WINDOW_DAYS 7.0
#define CALIBRATED_HALF_LIFE_DAYS 30.0	/* of what is learnt */
#define CALIBRATED_COUNT_HALF_LIFE_DAYS 7.0 /* of the counts of values */

/*
 * Agreement of devices, as a set of what it may be: same fingerprint and user
 * agent; same fingerprint, another agent; same hardware, another browser; other.
 * Where one side does not tell, more than one is possible.
 */
#define CALIBRATED_SAME_AGENT 1
#define CALIBRATED_SAME_HASH 2
#define CALIBRATED_SAME_HARDWARE 4
#define CALIBRATED_OTHER_DEVICE 8
#define CALIBRATED_ANY_DEVICE 15

/*
 * Agreement of networks: same address; same block; else 2 + the sharedness of
 * the conversion's block. Unknown is neutral.
 */
#define CALIBRATED_UNKNOWN_NETWORK (-1)
#define CALIBRATED_SAME_ADDRESS 0
#define CALIBRATED_SAME_BLOCK 1
#define CALIBRATED_OTHER_BLOCK 2

/*
 * What is learnt of a tenant: only doubles, all of them counts or sums. It is
 * stored as an array in this order; clicks come first because they are counted
 * without this file.
 */
typedef struct CalibratedState
{
	double		clicks[CALIBRATED_CLASSES];
	double		click_hours[CALIBRATED_HOURS];	/* when clicks happen */
	double		matched[CALIBRATED_CLASSES];	/* conversions without id, from clicks */
	double		organic;		/* conversions from no click */
	double		device[CALIBRATED_CLASSES][CALIBRATED_LAGS][CALIBRATED_DEVICES];
	double		network[CALIBRATED_SHARED][CALIBRATED_LAGS][CALIBRATED_NETWORKS];
	double		base_shared[CALIBRATED_SHARED]; /* sharedness of organic conversions' blocks */
	double		density[CALIBRATED_DENSITY];	/* lags */
	double		organic_browser[CALIBRATED_OS][CALIBRATED_BROWSERS];
	double		label_network[2][CALIBRATED_LAGS][3];	/* conversions whose id survived, of the same browser or not: same
													 * address, block, other */
	double		bin_count[CALIBRATED_BINS];
	double		bin_predicted[CALIBRATED_BINS];
	double		bin_hits[CALIBRATED_BINS];
} CalibratedState;

#define CALIBRATED_NUMBERS ((int) (sizeof(CalibratedState) / sizeof(double)))

/* How common the conversion's values are among the tenant's clicks of a week (decayed). */
typedef struct CalibratedCounts
{
	double		window;			/* clicks in all */
	double		clicks_class[CALIBRATED_CLASSES];
	double		ip;
	double		block;			/* /24 or /48 */
	double		hash;			/* fingerprint */
	double		hash_agent;		/* fingerprint and user agent */
	double		hardware;		/* screen, time zone, system; as hash where unknown */
} CalibratedCounts;

typedef struct CalibratedConversion
{
	int			os;
	int			browser;
	int			shared;			/* sharedness of its block, -1 if its address is unknown */
	double		days;			/* since the tenant's first click or conversion */
	double		hour;			/* of the day, UTC */
	double		hash_reach;		/* hours back that all clicks of its fingerprint are among the candidates; 0 if unknown */
	double		hardware_reach; /* the same for its hardware */
	CalibratedCounts counts;
} CalibratedConversion;

typedef struct CalibratedCandidate
{
	double		lag_hours;		/* >= 0 */
	int			click_class;
	int			browser;		/* of the click */
	int			shared;			/* sharedness of the click's block */
	int			device;			/* set of CALIBRATED_SAME_AGENT... */
	int			network;		/* CALIBRATED_SAME_ADDRESS... */
	double		ip_same_device; /* candidates at the conversion's address with this one's hardware, itself included */
	double		block_same_device;	/* the same for the block */
	double		block_clicks;	/* of the click's block, in a week */
	double		probability;	/* out: P_i after last touch */
	double		rate;			/* out: conversions a day that a click of this class and age brings */
	double		weight;			/* out: w_i after last touch, of the same unit as none and rest: conversions a day */
	double		inherited;		/* out: what of it came from older clicks of the same person */
	double		same_device;	/* out: chance of the device agreement if it is the same person */
	double		same_network;	/* out: the same for the network, all other networks taken together */
	double		device_ratio;	/* out: how much likelier the device agreement is for the same person */
	double		network_ratio;	/* out: the same for the network */
} CalibratedCandidate;

typedef struct CalibratedVerdict
{
	int			best;			/* index of the most probable candidate, -1 if none */
	double		raw;			/* its probability */
	double		confidence;		/* the same, calibrated */
	double		none;			/* P(no click) */
	double		rest;			/* P(a click that no index range brought) */
} CalibratedVerdict;

/* How two candidates, the newer first, agree with one another. */
typedef void (*CalibratedCompare) (void *arg, int newer, int older, int *device, int *network);

/* Class of a click by its system (SightingOs) and whether it happened inside an app. */
extern int	artery_calibrated_class(int os, bool in_app);

/* Sharedness of a block by its clicks in a week. */
extern int	artery_calibrated_shared(double block_clicks);

/* Factory priors, as of day one. */
extern void artery_calibrated_init(CalibratedState *state);

/* Posterior over candidates, newest first, and the verdict; at most CALIBRATED_CANDIDATES. */
extern CalibratedVerdict artery_calibrated_score(const CalibratedState *state,
												 const CalibratedConversion *conversion,
												 CalibratedCandidate *candidates, int count,
												 CalibratedCompare compare, void *arg);

/*
 * What a conversion whose id survived teaches, scored with the id hidden, added
 * to learnt: truth is its click among the candidates or -1, truth_view its click.
 */
extern void artery_calibrated_learn_labelled(const CalibratedState *state, const CalibratedVerdict *verdict,
											 int truth, const CalibratedCandidate *truth_view,
											 CalibratedState *learnt);

/* What a conversion without id teaches, by its posterior, added to learnt. */
extern void artery_calibrated_learn_unlabelled(const CalibratedState *state,
											   const CalibratedConversion *conversion,
											   const CalibratedCandidate *candidates, int count,
											   const CalibratedVerdict *verdict, CalibratedState *learnt);

#endif							/* ARTERY_ATTRIBUTE_CALIBRATED_H */
