/*
 * calibration.h
 *		What the calibrated model has learnt of a tenant, as of a moment.
 *
 * All within a scope.
 */
#ifndef ARTERY_ATTRIBUTE_CALIBRATION_H
#define ARTERY_ATTRIBUTE_CALIBRATION_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "attribute/calibrated.h"

/* Key under which clicks of a class are counted; other keys are hashes. */
#define CALIBRATION_CLASS_KEY(click_class) ((click_class) + 1)

/*
 * The state as of a moment, with the factory's priors, and the days for which
 * the tenant is known; and how often values occur in the clicks of a week, as of
 * that moment: counts[i] for keys[i], 0 for those never seen. A key of 0 is
 * skipped. Has what is new folded in first where much is.
 */
extern void artery_calibration_load(Datum tenant_id, TimestampTz at, const int64 *keys, int nkeys, double *counts,
									CalibratedState *state, double *days);

/* The counts alone, of the state loaded last. */
extern void artery_calibration_count(Datum tenant_id, TimestampTz at, const int64 *keys, int nkeys, double *counts);

/* What a conversion of this transaction taught, for those after it; folding brings it to everybody. */
extern void artery_calibration_remember(Datum tenant_id, const CalibratedState *learnt);

/* The learnt numbers that are not 0, as arrays for conversion_trace. */
extern void artery_calibration_pack(const CalibratedState *learnt, Datum *positions, Datum *amounts);

#endif							/* ARTERY_ATTRIBUTE_CALIBRATION_H */
