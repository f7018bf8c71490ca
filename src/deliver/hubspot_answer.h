/*
 * hubspot_answer.h
 *		What an answer of HubSpot's API means, and what is taken from it: pure.
 *
 * Nothing here knows tables, transactions or the network. What comes in may be
 * anything; only a cancel and a lack of memory are raised. Results are palloc'd.
 */
#ifndef ARTERY_DELIVER_HUBSPOT_ANSWER_H
#define ARTERY_DELIVER_HUBSPOT_ANSWER_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "deliver/http.h"

#define HUBSPOT_MOST_CONTACTS 100	/* of a deal; HubSpot reads as many at once */

/* What was asked. */
typedef enum HubspotStep
{
	HUBSPOT_DEAL,				/* a deal with its first contacts */
	HUBSPOT_ASSOCIATIONS,		/* further contacts of the deal */
	HUBSPOT_CONTACTS			/* properties of contacts */
} HubspotStep;

typedef enum HubspotClass
{
	HUBSPOT_OK,
	HUBSPOT_GONE,				/* the deal is not, or no longer, there */
	HUBSPOT_TOKEN,				/* refused, or lacks a scope: only another one helps */
	HUBSPOT_THROTTLE,			/* a limit of requests is used up */
	HUBSPOT_RETRY,				/* may go better later */
	HUBSPOT_PERMANENT			/* the request itself is refused */
} HubspotClass;

typedef struct HubspotVerdict
{
	HubspotClass class;
	int			wait_seconds;	/* at least so long */
	bool		is_daily;		/* of a throttle: the limit of a day */
	const char *detail;			/* a line without anything personal or secret */
} HubspotVerdict;

/* A contact, reduced at once to what identify() keeps. */
typedef struct HubspotContact
{
	char	   *id;				/* digits */
	char	   *email_hash;		/* SHA-256 of the address, trimmed and in lower case; NULL like the next where not told */
	char	   *click_id;
	char	   *fbclid;
	TimestampTz submitted[2];	/* forms sent, first and last; DT_NOBEGIN where not told */
} HubspotContact;

/* "deal", "associations", "contacts"; false where it is none of them. */
extern bool artery_hubspot_step(const char *name, HubspotStep *step);
extern const char *artery_hubspot_class_name(HubspotClass class);

/* parsed as artery_graph_parse() gave it, NULL included. */
extern HubspotVerdict artery_hubspot_classify(const HttpAnswer *answer, HubspotStep step, const Jsonb *parsed);

/*
 * Add the ids of contacts that an answer to HUBSPOT_DEAL or _ASSOCIATIONS names to
 * a list of char *, each once, at most HUBSPOT_MOST_CONTACTS; *after is the cursor of
 * the next page, NULL at the end. False if the answer is not what was asked for.
 */
extern bool artery_hubspot_read_ids(const Jsonb *parsed, HubspotStep step, List **ids, char **after);

/* The contacts (HubspotContact *) of an answer to HUBSPOT_CONTACTS; false if it is none. */
extern bool artery_hubspot_read_contacts(const Jsonb *parsed, const char *click_id_property, List **contacts);

#endif							/* ARTERY_DELIVER_HUBSPOT_ANSWER_H */
