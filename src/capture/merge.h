/*
 * merge.h
 *		Contacts and deals that the CRM made one.
 */
#ifndef ARTERY_CAPTURE_MERGE_H
#define ARTERY_CAPTURE_MERGE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "capture/deal.h"
#include "tenant/tenant.h"

typedef struct CrmMerge
{
	char	   *survivor;		/* whose id stays, or is made by the merge */
	char	   *primary;		/* which the survivor takes after: the same, if none is made */
	int			count;
	char	  **gone;			/* the others, never the survivor */
} CrmMerge;

/* Let evidence and deals of the contacts follow the survivor. Within a scope. */
extern void artery_merge_contacts(const ArteryTenant *tenant, const CrmMerge *merge);

/*
 * Let the evidence of the deals follow the survivor, and what is known of the
 * primary, where the survivor is new; the others go to the stage lost, which must
 * be one of the tenant's. Answers with *result for the survivor, unless nothing
 * is recorded of it: then its answer is NULL. Within a scope. received_at is the
 * clock by which times ahead are refused.
 */
extern void artery_merge_deals(const ArteryTenant *tenant, const CrmMerge *merge, const ArteryStage *lost,
							   const char *event_id, TimestampTz occurred_at, TimestampTz received_at, DealResult *result);

#endif							/* ARTERY_CAPTURE_MERGE_H */
