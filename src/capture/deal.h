/*
 * deal.h
 *		A deal's way through the stages.
 */
#ifndef ARTERY_CAPTURE_DEAL_H
#define ARTERY_CAPTURE_DEAL_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "tenant/tenant.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

/* Something happened to a deal: it entered a stage, or only its real value changed. */
typedef struct DealMove
{
	const char *deal_id;
	const ArteryStage *stage;	/* NULL: only the real value changed */
	TimestampTz occurred_at;
	Numeric		deal_value;		/* NULL: not told; without a stage: taken back */
	const char *contact_id;		/* NULL: not told */
	const char *event_id;		/* NULL: known by deal, stage, time and value */
} DealMove;

/* What became of it. */
typedef struct DealResult
{
	bool		duplicate;		/* was recorded before; nothing was changed */
	bool		high_value;		/* over the tenant's thresholds: call artery_deal_ask_decision */
	Jsonb	   *answer;			/* shape of a webhook's result */
} DealResult;

/*
 * Record a move of a deal, in a scope of the caller's. Locks the deal's row;
 * whoever records moves of several deals in one transaction does so in the
 * order of their ids, so that two can never wait for each other. now is the
 * clock by which a time is refused as lying ahead. Errors: 22001, 22003, 22008.
 */
extern void artery_deal_record(const ArteryTenant *tenant, const DealMove *move, TimestampTz now, DealResult *result);

/* Error 22001 or 22023 if an id of the CRM's is empty or too long; NULL passes. what names it in the error. */
extern void artery_deal_check_id(const char *id, const char *what);

/* Set (or, if removed, take away) the contact of a deal, and attribute the deal if that may help now. */
extern void artery_deal_set_contact(const ArteryTenant *tenant, const char *deal_id, const char *contact_id,
									bool removed);

/* Ask for a budget decision, once per tenant at a time; after all moves are recorded. */
extern void artery_deal_ask_decision(const char *tenant_id, const char *deal_id);

#endif							/* ARTERY_CAPTURE_DEAL_H */
