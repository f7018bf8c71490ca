/*
 * ad_case.h
 *		One ad to be decided on: what is known of it and what is decided.
 */
#ifndef ARTERY_DECIDE_AD_CASE_H
#define ARTERY_DECIDE_AD_CASE_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/jsonb.h"

#include "decide/blended.h"
#include "decide/delayed.h"
#include "decide/funnel.h"

/* What kept a budget from the share that was drawn for it. */
typedef enum AdBound
{
	BOUND_NONE,
	BOUND_MINIMUM,
	BOUND_MAXIMUM,
	BOUND_CHANGE,
	BOUND_HELD					/* minimum and maximum are the same */
} AdBound;

typedef struct AdCase
{
	/* what is known; amounts of money in units of the currency's smallest */
	char	   *ad_id;
	int			ad_id_length;
	BlendedInput input;
	double		cash_revenue;
	Funnel	   *funnel;			/* NULL: nothing given of it */
	const char *owner;			/* whose budget it shares, not ended by a zero; NULL: none */
	int			owner_length;
	double		exploration;	/* share of the total reserved for ads that have one; 0: none */
	bool		has_current;
	bool		has_dna;
	int64		current;
	int64		minimum;
	int64		maximum;		/* PG_INT64_MAX: none */
	char	   *ignored;		/* keys that were not understood, comma-separated; NULL if none */

	/* what follows */
	BlendedScore score;
	DelayedScore delayed;		/* by the model `delayed` only, like the next three */
	bool		known;			/* something was shown of it */
	int			group;			/* its budget owner, or itself */
	double		part;			/* of its group's budget */
	double		owner_mean;		/* value per unit of money of its group, with its 80 % interval: like delayed */
	double		owner_low;
	double		owner_high;
	int64		owner_current;	/* its group's */
	int64		owner_budget;
	int64		supported_low;	/* the best budgets at the ends of the 80 % interval */
	int64		supported_high;
	double		confidence;
	double		draw;
	double		share;
	int64		wanted;			/* by the share alone */
	int64		low;			/* bounds in force: minimum, maximum and largest change */
	int64		high;
	int64		budget;
	AdBound		bound;
} AdCase;

/*
 * Read ad_states, an array of objects; digits is the number of decimal places
 * of the currency. Errors: 22023 for what is missing, repeated or of the wrong
 * type, 22003 for numbers out of range. Keys that are not known are kept in
 * ignored, so that a misspelt bound does not go unnoticed. ad_states must last as
 * long as the ads.
 */
extern AdCase *artery_ad_cases_read(Jsonb *ad_states, int digits, int *n);

/* The same for an array of the server's; states are its elements. */
extern AdCase *artery_ad_cases_read_array(ArrayType *ad_states, int digits, int *n, Datum **states);

/* The same for one object. */
extern void artery_ad_case_read(Jsonb *state, int digits, AdCase *ad);

/* Take DNA scores {"ad_id": score} over; NULL scores and unknown ads change nothing. */
extern void artery_ad_cases_apply_dna(AdCase *ads, int n, Jsonb *scores);

/* Score, confidence and the bounds in force; max_change < 0 is none. */
extern void artery_ad_case_assess(AdCase *ad, double max_change);

/* The bounds in force, of an ad or of a budget owner; max_change < 0 is none. */
extern void artery_ad_case_bounds(int64 current, int64 minimum, int64 maximum, double max_change, int64 *low, int64 *high);

/*
 * Which bound held a budget back, if it stands at one. It is held where it can be
 * nothing else, and stays what it is.
 */
extern AdBound artery_ad_case_bound(int64 wanted, int64 budget, int64 low, int64 high, int64 minimum, int64 maximum,
									bool stays);

/* Change in percent of the current budget; false where there is none to compare with. */
extern bool artery_ad_case_change(const AdCase *ad, double *percent);

/* Append why the budget is what it is, by the model `blended`: one sentence or two. */
extern void artery_ad_case_reason(const AdCase *ad, StringInfo out);

#endif							/* ARTERY_DECIDE_AD_CASE_H */
