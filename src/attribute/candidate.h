/*
 * candidate.h
 *		The clicks that may have earned a conversion, from the tables.
 *
 * All within a scope.
 */
#ifndef ARTERY_ATTRIBUTE_CANDIDATE_H
#define ARTERY_ATTRIBUTE_CANDIDATE_H

#include "postgres.h"

#include "attribute/verdict.h"

/*
 * Fill in the candidates of a conversion: clicks from since to its time, newest
 * first, each once; and how far the ranges have reached. Values of the keys that
 * are not known are read along (see value_count.h).
 */
extern void artery_candidates_collect(Weighing *weighing, TimestampTz since, const int64 *keys, int nkeys);

/* The click with this id and time, as a candidate; false if there is none. */
extern bool artery_candidate_find(Weighing *weighing, Datum click_id, TimestampTz at, WeighedClick *click);

#endif							/* ARTERY_ATTRIBUTE_CANDIDATE_H */
