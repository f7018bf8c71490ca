/*
 * identity.h
 *		What landing pages knew of a contact or deal.
 *
 * A deal has no address or click id of its own; artery.identify() keeps what
 * the landing page saw, and whoever attributes a deal asks here for it.
 */
#ifndef ARTERY_CAPTURE_IDENTITY_H
#define ARTERY_CAPTURE_IDENTITY_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* The traces, in the order in which evidence and conversions keep them. */
typedef enum TraceField
{
	TRACE_CLICK_ID,
	TRACE_FBCLID,
	TRACE_FINGERPRINT_HASH,
	TRACE_IP_ADDRESS,
	TRACE_USER_AGENT,
	TRACE_SCREEN_WIDTH,
	TRACE_SCREEN_HEIGHT,
	TRACE_TIMEZONE,
	TRACE_TIMEZONE_OFFSET,
	TRACE_DEVICE_TYPE,
	TRACE_OS,
	TRACE_BROWSER,
	TRACE_FIELDS
} TraceField;

typedef struct ArteryEvidence
{
	bool		found;			/* false: nothing is known, the rest is not set */
	Datum		values[TRACE_FIELDS];	/* valid until the scope is left */
	bool		nulls[TRACE_FIELDS];
	TimestampTz seen_at;		/* of the sighting that counts most */
} ArteryEvidence;

/*
 * Merge what is known of a deal and its contact (texts, either may be NULL).
 * The deal's sightings come before the contact's, those before its e-mail
 * address's; among each, those at or before the given moment first, the newest
 * first; later ones fill what is missing. Within a scope.
 */
extern void artery_identity_merge(ArteryEvidence *evidence, Datum tenant_id, Datum deal_id, bool deal_null,
								  Datum contact_id, bool contact_null, TimestampTz at);

/* The contact (a text) into which this one was merged; itself if it was not. Within a scope. */
extern Datum artery_identity_survivor(Datum tenant_id, Datum contact_id);

/*
 * Lock out artery.identify() and erasures for this deal and contact until the end of the
 * transaction, so that a deal and its evidence arriving at the same moment do
 * not miss each other.
 */
extern void artery_identity_lock(Datum tenant_id, Datum deal_id, bool deal_null, Datum contact_id,
								 bool contact_null);

#endif							/* ARTERY_CAPTURE_IDENTITY_H */
