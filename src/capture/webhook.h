/*
 * webhook.h
 *		HubSpot's events: read, stored, processed; shared by the files of webhooks.
 */
#ifndef ARTERY_CAPTURE_WEBHOOK_H
#define ARTERY_CAPTURE_WEBHOOK_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "capture/merge.h"
#include "tenant/tenant.h"
#include "utils/jsonb.h"

typedef enum EventKind
{
	EVENT_OTHER,				/* stored, and ignored */
	EVENT_STAGE,				/* a deal entered a stage */
	EVENT_AMOUNT,				/* a deal's real value changed */
	EVENT_RESTORE,				/* a deleted deal came back */
	EVENT_CONTACT,				/* a contact was joined to a deal, or parted from it */
	EVENT_CONTACT_MERGE,		/* contacts became one */
	EVENT_DEAL_MERGE,			/* deals became one */
	EVENT_PRIVACY				/* a contact is to be forgotten */
} EventKind;

typedef enum EventStatus
{
	EVENT_STORED,				/* not processed yet */
	EVENT_PROCESSED,
	EVENT_UNMAPPED,				/* stage or portal unknown; may be replayed */
	EVENT_IGNORED,
	EVENT_FAILED,				/* an error; may be replayed */
	EVENT_REFUSED,				/* of a tenant who did not sign; never stored */
	EVENT_DUPLICATE				/* was processed before */
} EventStatus;

typedef struct WebhookEvent
{
	int			index;			/* in the body */
	Jsonb	   *payload;		/* as sent */
	char	   *portal;			/* as sent; NULL if none */
	int64		portal_id;		/* 0 if none, or not a number */
	const ArteryTenant *tenant; /* whose event it is stored as */
	bool		portal_unknown; /* it names a portal, but of nobody */
	EventKind	kind;
	char	   *type;			/* NULL if none, like the rest */
	char	   *object_id;
	char	   *deal_id;
	char	   *contact_id;
	char	   *person_id;		/* the contact that it tells of, whatever it tells */
	bool		erased;			/* that contact was erased */
	char	   *value;			/* of the property */
	bool		removed;		/* an association was taken away */
	CrmMerge	merge;			/* of the two kinds of merges */
	TimestampTz occurred_at;	/* DT_NOBEGIN if none, or not a number */
	char	   *key;			/* the same for every delivery of the event */
	int64		row_id;			/* webhook_event_id; 0 until stored */
	EventStatus status;
	const char *reason;			/* why it is not processed; NULL otherwise */
	Jsonb	   *result;
	bool		high_value;		/* asks for a budget decision */
} WebhookEvent;

extern const char *artery_webhook_status_name(EventStatus status);

/* Fill portal and portal_id from the payload. */
extern void artery_webhook_read_portal(WebhookEvent *event);

/* Fill what follows from the payload alone, key included. */
extern void artery_webhook_read(WebhookEvent *event);

/*
 * Process an event of a known tenant in a subtransaction: sets status, reason,
 * result, high_value. received_at is the clock by which times ahead are refused.
 */
extern void artery_webhook_process(WebhookEvent *event, TimestampTz received_at);

/* An answer of status and reason. */
extern Jsonb *artery_webhook_answer(const WebhookEvent *event, EventStatus status, const char *reason);

/* The result (or NULL) of an earlier delivery, as the answer to another. */
extern Jsonb *artery_webhook_as_duplicate(Jsonb *result);

/*
 * Store raw events of one tenant, one statement for all; sets row_id. Of one
 * that was stored before, status and result are what became of it then, as a
 * duplicate, unless it still waits to be processed.
 */
extern void artery_webhook_store(WebhookEvent **events, int count, TimestampTz received_at);

/* Write status, reason and result of one tenant's events that were processed now. */
extern void artery_webhook_settle(WebhookEvent **events, int count);

/* The tenant's events that wait to be replayed, locked and read; count in *count. */
extern WebhookEvent *artery_webhook_open_events(const ArteryTenant *tenant, int *count);

#endif							/* ARTERY_CAPTURE_WEBHOOK_H */
