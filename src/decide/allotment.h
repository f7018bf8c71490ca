/*
 * allotment.h
 *		Splitting an amount by shares, exactly, within bounds.
 *
 * Amounts are whole units (cents, or whole yen); n may be large, memory is
 * allocated in the current context and freed.
 */
#ifndef ARTERY_DECIDE_ALLOTMENT_H
#define ARTERY_DECIDE_ALLOTMENT_H

#include "postgres.h"

/* Shares that add up to 1: exp(sample / temperature), temperature > 0. */
extern void artery_allotment_softmax(const double *samples, int n, double temperature, double *shares);

/* Split total by shares; what rounding leaves goes to the largest remainders. */
extern void artery_allotment_split(const double *shares, int n, int64 total, int64 *units);

/*
 * Split total by shares with low[i] <= units[i] <= high[i] (low <= high): the
 * one common factor is sought with which the clamped shares add up to
 * total. Returns what could not be allotted: 0, or positive where the upper bounds
 * are too low, or negative where the lower bounds are too high.
 */
extern int64 artery_allotment_bounded(const double *shares, const int64 *low, const int64 *high, int n,
									  int64 total, int64 *units);

/*
 * The same, with at least reserve for those marked: where their bounds or the
 * lower bounds of the others leave less, as much as there is. *missing is what could
 * not be reserved.
 */
extern int64 artery_allotment_reserving(const double *shares, const int64 *low, const int64 *high, const bool *marked,
										int n, int64 total, int64 reserve, int64 *units, int64 *missing);

#endif							/* ARTERY_DECIDE_ALLOTMENT_H */
