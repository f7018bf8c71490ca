/*
 * lesson.h
 *		What conversions of the transaction under way taught of a tenant.
 */
#ifndef ARTERY_ATTRIBUTE_LESSON_H
#define ARTERY_ATTRIBUTE_LESSON_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "attribute/calibrated.h"

/* Longest name of a tenant, in bytes. */
#define LESSON_NAME_LENGTH 256

/*
 * Add what a conversion taught beyond a tenant's state, which has come to
 * counted_until; of another tenant, or of before that moment, all is forgotten.
 */
extern void artery_lesson_add(const char *tenant_id, TimestampTz counted_until, const CalibratedState *learnt);

/* The sum of it; NULL if nothing was taught beyond that tenant's state, which has come to counted_until. */
extern const CalibratedState *artery_lesson_find(const char *tenant_id, TimestampTz counted_until);

#endif							/* ARTERY_ATTRIBUTE_LESSON_H */
