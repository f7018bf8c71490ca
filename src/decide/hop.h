/*
 * hop.h
 *		One hop of the funnel: who entered, who went on, and how late they do.
 *
 * Pure: no SPI, no clock, no globals. Times are in days.
 *
 * Of those who entered a hop at age a only F(a) = 1 - exp(-a / m) of the ones
 * who will ever go on have done so yet. So an entry of age a counts as F(a) of a
 * trial: trials = entered - sum of exp(-a / m).
 */
#ifndef ARTERY_DECIDE_HOP_H
#define ARTERY_DECIDE_HOP_H

#include "postgres.h"

/*
 * The mean delay m is learnt later and moves. What is still pending is
 * therefore kept for a grid of means, powers of two from 2^-6 days (22 minutes)
 * to 2^7 days, and read between them.
 */
#define HOP_GRID 14
#define HOP_GRID_LOWEST (-6)

/*
 * A hop of one ad (fractions of credit allowed), or of a whole account. It is
 * a sum over entries: it depends on the facts and the moment alone, not on how often
 * it was brought up to date, and hops of several ads can be added.
 */
typedef struct Hop
{
	double		entered;
	double		reached;
	double		duration;		/* sum of the days that those who reached needed */
	double		pending[HOP_GRID];	/* sum of exp(-age / m) over all who entered */
} Hop;

/* Add count entries of that age in days (>= 0). */
extern void artery_hop_enter(Hop *hop, double count, double age);

/* Add count that went on, each after that many days. */
extern void artery_hop_reach(Hop *hop, double count, double duration);

/* Let days pass. */
extern void artery_hop_pass(Hop *hop, double days);

/* Add the counts of another ad. */
extern void artery_hop_add(Hop *sum, const Hop *hop);

/*
 * The mean delay in days: the mean of the durations seen, and what was cut off
 * of them because slow ones are still on their way; prior_mean counts as three
 * durations. Within the grid.
 */
extern double artery_hop_delay(const Hop *pooled, double prior_mean);

/* Trials, at least reached; mean_delay 0 counts every entry. */
extern double artery_hop_trials(const Hop *hop, double mean_delay);

#endif							/* ARTERY_DECIDE_HOP_H */
