/*
 * contact_state.h
 *		What the parts of reading contacts share: contact_fetch.c asks and understands,
 *		contact_store.c reaches the tables.
 */
#ifndef ARTERY_DELIVER_CONTACT_STATE_H
#define ARTERY_DELIVER_CONTACT_STATE_H

#include "postgres.h"

#include "lib/ilist.h"
#include "nodes/pg_list.h"

#include "deliver/hubspot_answer.h"

typedef struct ContactFetch
{
	dlist_node	node;			/* in fetches */
	MemoryContext context;		/* holds all of it */
	MemoryContext work;			/* of the step under way, reset after it */
	bool		ended;
	char	   *error;			/* of an attempt of ours that failed */

	char	   *tenant_id;		/* the claim */
	char	   *deal_id;
	int			attempt;
	TimestampTz begun_at;		/* the deal's first stage */

	HubspotStep step;
	HttpRequest *request;		/* under way; NULL if none */
	const HttpAnswer *answer;	/* while it is being looked at */
	char	   *token;			/* of the request under way */
	char	   *property;		/* holds our click_id */
	List	   *ids;			/* char *: contacts named so far */
	char	   *after;			/* cursor of the next page; NULL: none */
	int			pages;
} ContactFetch;

/* How a claim is settled: by artery.settle_contact_fetch, under these names. */
typedef enum ContactResult
{
	CONTACT_ATTRIBUTED,
	CONTACT_FOUND,				/* a click id, but no click of it */
	CONTACT_NOTHING,
	CONTACT_GONE,
	CONTACT_FAILED,				/* tried again, a few times */
	CONTACT_REFUSED,			/* failed for good */
	CONTACT_POSTPONED			/* due again after the wait */
} ContactResult;

/* Each is a transaction of its own, or a few in turn; none may be open. */

/* Claim at most room readings; returns when to claim next (DT_NOEND: when woken). */
extern TimestampTz artery_contact_claim(int room, void (*start) (const char *tenant_id, const char *deal_id, int attempt,
																TimestampTz begun_at));

/*
 * May the next request go out? Reads token and settings anew. False: *why says what
 * stands against it.
 */
extern bool artery_contact_may_ask(ContactFetch *fetch, const char **why);

/* Store contacts as evidence and settle by what came of it. */
extern void artery_contact_store(ContactFetch *fetch, List *contacts);

/* Settle without evidence; error may be NULL. The fetch is ended. */
extern void artery_contact_settle(ContactFetch *fetch, ContactResult result, const char *error, int wait_seconds);

/*
 * HubSpot refused the token or wants to be left alone: keep that for all of the
 * tenant's and postpone this one. Of a token that was replaced meanwhile only the latter.
 */
extern void artery_contact_pause(ContactFetch *fetch, const HubspotVerdict *verdict);

#endif							/* ARTERY_DELIVER_CONTACT_STATE_H */
