/*
 * layered.h
 *		The attribution model "layered": three layers with fixed confidences.
 *
 * (1) click id, then fbclid, exact; (2) the same device fingerprint; (3) IP
 * address, user agent and time, scored. Pure arithmetic.
 */
#ifndef ARTERY_ATTRIBUTE_LAYERED_H
#define ARTERY_ATTRIBUTE_LAYERED_H

#include "postgres.h"

#include "datatype/timestamp.h"

#define LAYERED_ID_CONFIDENCE 1.00
#define LAYERED_FINGERPRINT_CONFIDENCE 0.90
#define LAYERED_THRESHOLD 0.70	/* least score that layer 3 accepts */
#define LAYERED_SCORE_CAP 0.70	/* most that layer 3 states */
#define LAYERED_SCORE_HOURS 24	/* how far back layer 3 looks */

/*
 * Score of a click for layer 3: 0.5 for the same address, 0.3 for the same user
 * agent, 0.2 * (1 - hours / 24) for its age, 0 to 24 hours.
 */
extern double artery_layered_score(bool same_address, bool same_agent, double hours);

/* Whether the score attributes, and the confidence stated for it. */
extern bool artery_layered_accepts(double score);
extern double artery_layered_confidence(double score);

/* A window of days in microseconds. */
extern int64 artery_layered_window(double days);

/* Hours from click to conversion. */
extern double artery_layered_hours(TimestampTz click, TimestampTz conversion);

#endif							/* ARTERY_ATTRIBUTE_LAYERED_H */
