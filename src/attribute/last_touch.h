/*
 * last_touch.h
 *		Of several clicks of one person before a conversion, the last one earns it.
 */
#ifndef ARTERY_ATTRIBUTE_LAST_TOUCH_H
#define ARTERY_ATTRIBUTE_LAST_TOUCH_H

#include "attribute/calibrated.h"

/*
 * Move weight between candidates, newest first, whose weights and rates are set,
 * from those that a newer one of the same person follows; total is the sum of
 * all weights. Returns the new total.
 */
extern double artery_last_touch(const CalibratedState *state, const CalibratedConversion *conversion,
								CalibratedCandidate *candidates, int count, double total,
								CalibratedCompare compare, void *arg);

#endif							/* ARTERY_ATTRIBUTE_LAST_TOUCH_H */
