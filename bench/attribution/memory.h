/*
 * memory.h
 *		A tenant's clicks in memory, with what the calibrated model asks of them:
 *		candidates by index range, counts of values, what was learnt.
 */
#ifndef ARTERY_BENCH_MEMORY_H
#define ARTERY_BENCH_MEMORY_H

#include "attribute/calibrated.h"
#include "market.h"

#define MEMORY_CANDIDATES 18	/* of all three ranges */

typedef struct Memory
{
	const Market *market;
	CalibratedState state;
	int			seen;			/* clicks that have come in */
	double		faded_at;
	CalibratedConversion conversion;	/* the one looked at */
	int			count;
	int			clicks[MEMORY_CANDIDATES];	/* candidates, newest first */
	CalibratedCandidate views[MEMORY_CANDIDATES];
	struct Table *table;
} Memory;

extern Memory *memory_open(const Market *market);
extern void memory_close(Memory *memory);

/* Take in the clicks up to a moment, and let what was learnt fade. */
extern void memory_advance(Memory *memory, double at);

/* Weigh the candidates of a conversion with its id hidden. */
extern CalibratedVerdict memory_weigh(Memory *memory, const Conversion *conversion);

/* Learn from the conversion weighed last. */
extern void memory_learn(Memory *memory, const Conversion *conversion, const CalibratedVerdict *verdict);

/* The two rules: newest click of the same fingerprint in 7 days, of the same address and agent in a day; -1 if none. */
extern int	memory_by_fingerprint(Memory *memory, const Conversion *conversion);
extern int	memory_by_address(Memory *memory, const Conversion *conversion);

#endif							/* ARTERY_BENCH_MEMORY_H */
