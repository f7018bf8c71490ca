/*
 * contact_fetch.c
 *		Reading the contacts of deals from HubSpot: deal, contacts, properties.
 *
 * A deal that entered a stage and found no ad waits in artery.contact_fetch. HubSpot
 * is asked for the deal with the ids of its contacts, for further pages of them, and
 * for the properties of all at once: the click ids, the e-mail address, which is
 * hashed as it is read, and when forms were sent. That is stored as evidence, and the
 * deal attributed by it. Reading changes nothing at HubSpot, so a request whose
 * answer never came is simply made again, and dry_run does not matter.
 *
 * Changes come first: readings have at most a quarter of the requests that may be
 * under way, and leave as many free.
 */
#include "artery.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "deliver/contact_state.h"
#include "deliver/graph_json.h"
#include "runtime/clock.h"
#include "runtime/guc.h"
#include "runtime/worker.h"

#define MOST_FETCHES 64			/* under way at once, most of them waiting for a place */
#define CLAIM_BELOW 4			/* when so few are left, more are claimed: a claim for each would cost more than the reading */
#define MOST_PAGES 20			/* of the contacts of a deal */
#define NEXT_LOOK (1 * USECS_PER_SEC)	/* one waits for a place */

typedef void (*FetchStep) (ContactFetch *fetch);

static const char owner = 0;	/* its address marks our requests */
static dlist_head fetches = DLIST_STATIC_INIT(fetches);
static int	under_way = 0;		/* readings */
static int	in_flight = 0;		/* their requests */

static void start(const char *tenant_id, const char *deal_id, int attempt, TimestampTz begun_at);
static void take_answers(void);
static bool move_on(void);
static void guarded(ContactFetch *fetch, FetchStep step);
static bool attempt_step(ContactFetch *fetch, FetchStep step);
static void end_fetch(ContactFetch *fetch);
static void fail(ContactFetch *fetch);
static void go_on(ContactFetch *fetch);
static bool has_place(void);
static void ask(ContactFetch *fetch);
static HttpRequest *submit(ContactFetch *fetch, const char *method, const char *path, const char *body);
static char *associations_body(const ContactFetch *fetch);
static char *contacts_body(const ContactFetch *fetch);
static void answered(ContactFetch *fetch);
static void on_ids(ContactFetch *fetch, const Jsonb *parsed);
static void keep_ids(ContactFetch *fetch, const List *ids);
static void on_contacts(ContactFetch *fetch, const Jsonb *parsed);

/* Claim readings, as many as there is room for; none while artery.enabled is off. */
TimestampTz
artery_contact_claim_duty(void)
{
	if (!artery_settings.enabled || under_way == MOST_FETCHES)
		return DT_NOEND;		/* the settings, or the end of one, wake us */
	return artery_contact_claim(MOST_FETCHES - under_way, start);
}

/* Take over a claimed reading; artery_contact_fetch_duty() works on it and settles it. */
static void
start(const char *tenant_id, const char *deal_id, int attempt, TimestampTz begun_at)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "artery contacts", ALLOCSET_SMALL_SIZES);
	ContactFetch *fetch = MemoryContextAllocZero(context, sizeof(ContactFetch));

	fetch->context = context;
	fetch->work = AllocSetContextCreate(context, "artery contacts step", ALLOCSET_DEFAULT_SIZES);
	fetch->tenant_id = MemoryContextStrdup(context, tenant_id);
	fetch->deal_id = MemoryContextStrdup(context, deal_id);
	fetch->attempt = attempt;
	fetch->begun_at = begun_at;
	dlist_push_tail(&fetches, &fetch->node);
	under_way++;
	SetLatch(MyLatch);			/* it begins in the next round, even where only time called for this one */
}

TimestampTz
artery_contact_fetch_duty(void)
{
	take_answers();
	return move_on() ? artery_clock_moment() + NEXT_LOOK : DT_NOEND;
}

static void
take_answers(void)
{
	HttpRequest *request;

	while ((request = artery_http_take(&owner)) != NULL)
	{
		ContactFetch *fetch = artery_http_answer(request)->user;

		fetch->answer = artery_http_answer(request);
		fetch->request = NULL;
		in_flight--;
		guarded(fetch, answered);
		artery_http_release(request);
	}
}

/* Let those go on that may; true if one waits for a place. */
static bool
move_on(void)
{
	bool		waiting = false;
	int			left = under_way;

	while (left-- > 0)
	{
		/* Whoever was served goes behind the others. */
		ContactFetch *fetch = dlist_container(ContactFetch, node, dlist_pop_head_node(&fetches));

		dlist_push_tail(&fetches, &fetch->node);
		if (fetch->request != NULL)
			continue;
		if (!artery_settings.enabled || has_place())
			guarded(fetch, go_on);
		else
			waiting = true;
	}
	return waiting;
}

/* An error of ours fails that reading, never the worker. */
static void
guarded(ContactFetch *fetch, FetchStep step)
{
	if (!attempt_step(fetch, step) && !attempt_step(fetch, fail))
		fetch->ended = true;	/* the claim is taken back when its lease runs out */
	MemoryContextReset(fetch->work);
	if (fetch->ended)
		end_fetch(fetch);
}

static bool
attempt_step(ContactFetch *fetch, FetchStep step)
{
	MemoryContext before = MemoryContextSwitchTo(fetch->work);
	volatile bool done = false;

	PG_TRY();
	{
		step(fetch);
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(fetch->work);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		fetch->error = MemoryContextStrdup(fetch->context, error->message);
		artery_worker_record_error(psprintf("contacts: %s", fetch->error));
		ereport(LOG, (errcode(error->sqlerrcode), errmsg("artery contacts: %s", fetch->error)));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(before);
	return done;
}

static void
end_fetch(ContactFetch *fetch)
{
	dlist_delete(&fetch->node);
	under_way--;
	if (fetch->request != NULL)
	{
		artery_http_release(fetch->request);
		in_flight--;
	}
	if (fetch->token != NULL)
		explicit_bzero(fetch->token, strlen(fetch->token));
	MemoryContextDelete(fetch->context);
	if (under_way < CLAIM_BELOW)
		SetLatch(MyLatch);
}

static void
fail(ContactFetch *fetch)
{
	artery_contact_settle(fetch, CONTACT_FAILED, fetch->error, 0);
}

static void
go_on(ContactFetch *fetch)
{
	const char *why;

	if (!artery_settings.enabled)
		artery_contact_settle(fetch, CONTACT_POSTPONED, "artery.enabled is off", 0);
	else if (!artery_contact_may_ask(fetch, &why))
		artery_contact_settle(fetch, CONTACT_POSTPONED, why, 0);
	else
	{
		ask(fetch);
		in_flight++;
	}
}

static bool
has_place(void)
{
	int			share = artery_settings.http_max_in_flight / 4;

	return in_flight < Max(share, 1) && artery_http_free() > share;
}

static void
ask(ContactFetch *fetch)
{
	const char *version = artery_settings.hubspot_api_version;

	switch (fetch->step)
	{
		case HUBSPOT_DEAL:
			fetch->request = submit(fetch, "GET", psprintf("objects/%s/deals/%s?properties=hs_object_id&associations=contacts",
														   version, fetch->deal_id), NULL);
			break;
		case HUBSPOT_ASSOCIATIONS:
			fetch->request = submit(fetch, "POST", psprintf("associations/%s/deals/contacts/batch/read", version),
									associations_body(fetch));
			break;
		case HUBSPOT_CONTACTS:
			fetch->request = submit(fetch, "POST", psprintf("objects/%s/contacts/batch/read", version),
									contacts_body(fetch));
			break;
	}
}

/* path: below /crm; deal and version are digits and dashes, fit for an address as they are. */
static HttpRequest *
submit(ContactFetch *fetch, const char *method, const char *path, const char *body)
{
	char	   *url = psprintf("%s/crm/%s", artery_settings.hubspot_base_url, path);
	char	   *authorization = psprintf("Authorization: Bearer %s", fetch->token);
	const char *headers[] = {authorization, "Accept: application/json", "Content-Type: application/json", "Expect:", NULL};
	HttpRequest *request;

	/* A token with a line break would smuggle in headers. */
	if (strpbrk(fetch->token, "\r\n") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the access token contains a line break"),
				 errdetail("It cannot be sent in a header."),
				 errhint("Set hubspot_access_token as HubSpot shows it.")));
	request = artery_http_submit(&owner, fetch, method, url, headers, body);
	explicit_bzero(authorization, strlen(authorization));
	return request;
}

/* The cursor is HubSpot's and may be anything. */
static char *
associations_body(const ContactFetch *fetch)
{
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfo(&body, "{\"inputs\":[{\"id\":\"%s\",\"after\":", fetch->deal_id);
	escape_json(&body, fetch->after);
	appendStringInfoString(&body, "}]}");
	return body.data;
}

/* Ids are digits, the property is of small letters, digits and underscores. */
static char *
contacts_body(const ContactFetch *fetch)
{
	StringInfoData body;
	ListCell   *cell;

	initStringInfo(&body);
	appendStringInfo(&body, "{\"properties\":[\"email\",\"hs_facebook_click_id\",\"first_conversion_date\","
					 "\"recent_conversion_date\",\"%s\"],\"inputs\":[", fetch->property);
	foreach(cell, fetch->ids)
		appendStringInfo(&body, "%s{\"id\":\"%s\"}", foreach_current_index(cell) > 0 ? "," : "", (char *) lfirst(cell));
	appendStringInfoString(&body, "]}");
	return body.data;
}

static void
answered(ContactFetch *fetch)
{
	Jsonb	   *parsed = artery_graph_parse(fetch->answer->body, fetch->answer->length);
	HubspotVerdict verdict = artery_hubspot_classify(fetch->answer, fetch->step, parsed);

	switch (verdict.class)
	{
		case HUBSPOT_OK:
			if (fetch->step == HUBSPOT_CONTACTS)
				on_contacts(fetch, parsed);
			else
				on_ids(fetch, parsed);
			break;
		case HUBSPOT_GONE:
			artery_contact_settle(fetch, CONTACT_GONE, NULL, 0);
			break;
		case HUBSPOT_TOKEN:
		case HUBSPOT_THROTTLE:
			artery_contact_pause(fetch, &verdict);
			break;
		case HUBSPOT_RETRY:
			artery_contact_settle(fetch, CONTACT_FAILED, verdict.detail, verdict.wait_seconds);
			break;
		case HUBSPOT_PERMANENT:
			artery_contact_settle(fetch, CONTACT_REFUSED, verdict.detail, 0);
			break;
	}
}

static void
on_ids(ContactFetch *fetch, const Jsonb *parsed)
{
	List	   *ids = list_copy(fetch->ids);
	char	   *after;
	bool		readable = artery_hubspot_read_ids(parsed, fetch->step, &ids, &after);
	bool		turns = fetch->after != NULL && after != NULL && strcmp(fetch->after, after) == 0;

	keep_ids(fetch, ids);
	if (!readable || turns)
		artery_contact_settle(fetch, CONTACT_FAILED, "an answer that is not what HubSpot was asked for", 0);
	else if (after != NULL && ++fetch->pages < MOST_PAGES)
	{
		fetch->after = MemoryContextStrdup(fetch->context, after);
		fetch->step = HUBSPOT_ASSOCIATIONS;
	}
	else if (fetch->ids == NIL)
		artery_contact_store(fetch, NIL);
	else
		fetch->step = HUBSPOT_CONTACTS;
}

/* Those that are new, for as long as the reading lasts; all else of an answer goes with its step. */
static void
keep_ids(ContactFetch *fetch, const List *ids)
{
	MemoryContext before = MemoryContextSwitchTo(fetch->context);
	int			i;

	for (i = list_length(fetch->ids); i < list_length(ids); i++)
		fetch->ids = lappend(fetch->ids, pstrdup(list_nth(ids, i)));
	MemoryContextSwitchTo(before);
}

static void
on_contacts(ContactFetch *fetch, const Jsonb *parsed)
{
	List	   *contacts;

	if (artery_hubspot_read_contacts(parsed, fetch->property, &contacts))
		artery_contact_store(fetch, contacts);
	else
		artery_contact_settle(fetch, CONTACT_FAILED, "an answer that is not what HubSpot was asked for", 0);
}
