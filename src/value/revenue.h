/*
 * revenue.h
 *		What a move between stages brings.
 */
#ifndef ARTERY_VALUE_REVENUE_H
#define ARTERY_VALUE_REVENUE_H

#include "postgres.h"

#include "tenant/tenant.h"
#include "utils/numeric.h"

/* Value of a stage: the real value of the deal (or NULL) replaces that of a won stage. */
extern Numeric artery_stage_worth(const ArteryStage *stage, Numeric deal_value);

/* Error 22003 unless the real value of a deal is NULL, or finite and not negative. */
extern void artery_deal_value_check(Numeric deal_value);

#endif							/* ARTERY_VALUE_REVENUE_H */
