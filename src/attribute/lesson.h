/*
 * lesson.h
 *		What conversions of the transaction under way taught of a tenant.
 */
#ifndef ARTERY_ATTRIBUTE_LESSON_H
#define ARTERY_ATTRIBUTE_LESSON_H

#include "postgres.h"

#include "attribute/calibrated.h"

/* Longest name of a tenant, in bytes. */
#define LESSON_NAME_LENGTH 256

/* Add what a conversion taught beyond this version of the tenant's state; of another tenant or version, all is forgotten. */
extern void artery_lesson_add(const char *tenant_id, int64 version, const CalibratedState *learnt);

/* The sum of it; NULL if nothing was taught beyond that version of that tenant's state. */
extern const CalibratedState *artery_lesson_find(const char *tenant_id, int64 version);

#endif							/* ARTERY_ATTRIBUTE_LESSON_H */
