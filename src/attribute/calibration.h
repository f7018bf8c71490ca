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

/*
 * Have at hand what was learnt of a tenant, as it is stored now; has what is new
 * folded in first where much is. The values of some keys are read along where
 * this reads at all (see value_count.h).
 */
extern void artery_calibration_refresh(Datum tenant_id, TimestampTz at, const int64 *keys, int nkeys);

/* The state at hand, as of a moment, with the factory's priors; and the days for which the tenant is known. */
extern void artery_calibration_load(TimestampTz at, CalibratedState *state, double *days);

/* What a conversion of this transaction taught, for those after it; folding brings it to everybody. */
extern void artery_calibration_remember(Datum tenant_id, const CalibratedState *learnt);

/* The learnt numbers that are not 0, as arrays for conversion_trace. */
extern void artery_calibration_pack(const CalibratedState *learnt, Datum *positions, Datum *amounts);

#endif							/* ARTERY_ATTRIBUTE_CALIBRATION_H */
