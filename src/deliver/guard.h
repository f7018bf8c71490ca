/*
 * guard.h
 *		The mathematics of the velocity rule, without tables, time or globals.
 *
 * The rule: the budget after a change is within a percentage of the budget in
 * force at every moment of (as_of - window, as_of]. A budget is in force from
 * its observation to the next one, so the one in force when the window begins
 * counts, and one that ended exactly a window ago does not.
 *
 * Money is counted exactly, in ten-thousandths of a unit of the currency.
 */
#ifndef ARTERY_DELIVER_GUARD_H
#define ARTERY_DELIVER_GUARD_H

#include "postgres.h"

#include "datatype/timestamp.h"

#define GUARD_UNITS 10000		/* per unit of currency */
#define GUARD_MILLION 1000000	/* a whole, in parts per million */

/* A budget came into force at a moment. */
typedef struct GuardObservation
{
	TimestampTz at;
	int64		budget;			/* in 1/GUARD_UNITS; >= 0 */
} GuardObservation;

typedef struct GuardRule
{
	int64		window;			/* microseconds, > 0 */
	int64		ppm;			/* allowed deviation in parts per million, 0..GUARD_MILLION */
	int64		step;			/* smallest amount of the currency in 1/GUARD_UNITS: 100, or 10000 without decimals */
} GuardRule;

/* What the rule allows at a moment. */
typedef struct GuardLimits
{
	bool		known;			/* false: nothing observed up to then, nothing is allowed */
	int64		current;		/* in force at the moment */
	int64		lowest;			/* in the window */
	int64		highest;
	int64		min_allowed;	/* highest less the percentage, rounded up to step */
	int64		max_allowed;	/* lowest and the percentage, rounded down to step */
} GuardLimits;

/*
 * The limits at as_of; observations ascend in time (of several at one moment
 * the last counts) and may reach beyond as_of, where they are ignored.
 */
extern void artery_guard_limits(const GuardObservation *seen, int nseen, TimestampTz as_of, const GuardRule *rule,
								GuardLimits *limits);

/*
 * The largest allowed step from what is in force towards the target (in
 * force not included); false if there is none.
 */
extern bool artery_guard_step(const GuardLimits *limits, int64 target, int64 *step);

/*
 * First moment >= as_of at which a budget between low and high (both included;
 * two numbers because an amount finer than 1/GUARD_UNITS lies between) is
 * allowed if nothing else changes; DT_NOEND if never.
 */
extern TimestampTz artery_guard_passes_at(const GuardObservation *seen, int nseen, TimestampTz as_of,
										  const GuardRule *rule, int64 low, int64 high);

/* The same for any step towards the target. */
extern TimestampTz artery_guard_step_at(const GuardObservation *seen, int nseen, TimestampTz as_of,
										const GuardRule *rule, int64 target);

#endif							/* ARTERY_DELIVER_GUARD_H */
