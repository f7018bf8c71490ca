/*
 * contact_store.c
 *		What reading contacts does with tables: claims, evidence, pauses and the end,
 *		each in a transaction of its own.
 *
 * A contact's evidence is stored by one transaction each, which waits for one lock
 * only, as identify() does, so that it is part of no deadlock. What was stored before
 * a failure stays: it is true by itself, and is not stored again by the next attempt.
 */
#include "artery.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "capture/deal.h"
#include "deliver/contact_state.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "tenant/tenant.h"

#define MOST_STORED 10			/* contacts of a deal, those with click ids first */
#define MOST_CLAIMS 64
#define RETRY_CLAIM (1 * USECS_PER_SEC) /* some are due, but may not be claimed just now */
#define FORM_TOLERANCE (5 * USECS_PER_MINUTE)	/* form and deal come by different clocks, as in deal_attribution.c */

static const char *const result_names[] = {
	[CONTACT_ATTRIBUTED] = "attributed",[CONTACT_FOUND] = "found",[CONTACT_NOTHING] = "nothing",[CONTACT_GONE] = "gone",
	[CONTACT_FAILED] = "failed",[CONTACT_REFUSED] = "refused",[CONTACT_POSTPONED] = "postponed"
};

static ArteryStatement next_fetch = {
	"SELECT artery.next_contact_fetch_at()", 0, {0}, NULL
};
static ArteryStatement take_fetches = {
	"SELECT t.tenant_id, t.deal_id, t.attempt, t.begun_at FROM artery.take_contact_fetches($1, $2) t",
	2, {INT4OID, TEXTOID}, NULL
};
static ArteryStatement pause_of = {
	"SELECT p.reason FROM artery.contact_fetch_pause p WHERE p.tenant_id = $1 AND p.until > $2",
	2, {TEXTOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement store_contact = {
	"SELECT artery.store_contact($1, $2, $3, $4, $5, $6, $7, $8)",
	8, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement deal_contact = {
	"SELECT d.crm_contact_id FROM artery.deal d WHERE d.tenant_id = $1 AND d.deal_id = $2", 2, {TEXTOID, TEXTOID}, NULL
};
static ArteryStatement settle_fetch = {
	"SELECT artery.settle_contact_fetch($1, $2, $3, $4, $5, $6, $7)",
	7, {TEXTOID, TEXTOID, INT4OID, TEXTOID, INT4OID, TEXTOID, FLOAT8OID}, NULL
};
/* Locked, so that whoever brings another token waits for us, or we see the other one. */
static ArteryStatement lock_token = {
	"SELECT FROM artery.tenant_secret s "
	" WHERE s.tenant_id = $1 AND s.name = 'hubspot_access_token' AND s.value = $2 FOR SHARE",
	2, {TEXTOID, TEXTOID}, NULL
};
static ArteryStatement pause_fetches = {
	"SELECT artery.pause_contact_fetches($1, $2, $3, $4)", 4, {TEXTOID, TEXTOID, FLOAT8OID, TEXTOID}, NULL
};

static int	compare_contacts(const ListCell *left, const ListCell *right);
static bool store_one(ContactFetch *fetch, const HubspotContact *contact);
static void give_contact(ContactFetch *fetch, const HubspotContact *contact);
static TimestampTz form_sent_at(const ContactFetch *fetch, const HubspotContact *contact);
static void settle_within(ContactFetch *fetch, ContactResult result, const char *error, int wait_seconds, int contacts);

static Datum
text_or_null(const char *text, char *null)
{
	*null = text == NULL ? 'n' : ' ';
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

/* One look tells, most of the time, that there is nothing to claim. */
TimestampTz
artery_contact_claim(int room, void (*start) (const char *tenant_id, const char *deal_id, int attempt, TimestampTz begun_at))
{
	static char last_served[ARTERY_MAX_ID + 1] = "";
	MemoryContext context = CurrentMemoryContext;
	Datum		values[2];
	char	   *ids[MOST_CLAIMS][2];
	int			attempts[MOST_CLAIMS];
	TimestampTz begun[MOST_CLAIMS];
	ArteryScope scope;
	TimestampTz next;
	int			claims = 0;
	int			i;

	artery_transaction_begin(&scope, "artery: claiming contacts");
	(void) artery_execute(&next_fetch, NULL, NULL, false, 1);
	next = artery_field_null(0, 1) ? DT_NOEND : artery_field_time(0, 1);
	if (next <= artery_clock_moment())
	{
		values[0] = Int32GetDatum(Min(room, MOST_CLAIMS));
		values[1] = CStringGetTextDatum(last_served);
		claims = (int) artery_execute(&take_fetches, values, NULL, false, MOST_CLAIMS);
		MemoryContextSwitchTo(context);
		for (i = 0; i < claims; i++)
		{
			ids[i][0] = artery_field_text(i, 1);
			ids[i][1] = artery_field_text(i, 2);
			attempts[i] = (int) artery_field_int64(i, 3);
			begun[i] = artery_field_time(i, 4);
		}
		(void) artery_execute(&next_fetch, NULL, NULL, false, 1);
		next = artery_field_null(0, 1) ? DT_NOEND : artery_field_time(0, 1);
	}
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(context);
	for (i = 0; i < claims; i++)
	{
		start(ids[i][0], ids[i][1], attempts[i], begun[i]);
		strlcpy(last_served, ids[i][0], sizeof(last_served));
	}
	return Max(next, artery_clock_moment() + RETRY_CLAIM);
}

bool
artery_contact_may_ask(ContactFetch *fetch, const char **why)
{
	ArteryScope scope;
	const ArteryTenant *tenant;
	char	   *token;
	Datum		values[2] = {CStringGetTextDatum(fetch->tenant_id), TimestampTzGetDatum(artery_clock_moment())};

	*why = NULL;
	artery_transaction_begin(&scope, "artery: before asking HubSpot");
	MemoryContextSwitchTo(fetch->work);
	tenant = artery_tenant_find(fetch->tenant_id);
	token = artery_tenant_secret(fetch->tenant_id, "hubspot_access_token", NULL);
	if (tenant == NULL || !tenant->settings.enabled)
		*why = "the tenant is not enabled";
	else if (token == NULL)
		*why = "hubspot_access_token is not set";
	else
	{
		if (artery_execute(&pause_of, values, NULL, false, 1) == 1)
		{
			MemoryContextSwitchTo(fetch->work);
			*why = artery_field_text(0, 1);
		}
		if (fetch->token != NULL)
			explicit_bzero(fetch->token, strlen(fetch->token));
		fetch->token = MemoryContextStrdup(fetch->context, token);
		fetch->property = MemoryContextStrdup(fetch->context, tenant->settings.hubspot_click_id_property);
	}
	if (token != NULL)
		explicit_bzero(token, strlen(token));
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(fetch->work);
	return *why == NULL;
}

void
artery_contact_store(ContactFetch *fetch, List *contacts)
{
	const HubspotContact *best;
	bool		has_click = false;
	bool		attributed = false;
	int			stored = 0;
	ArteryScope scope;
	ListCell   *cell;

	list_sort(contacts, compare_contacts);
	best = contacts == NIL ? NULL : linitial(contacts);
	foreach(cell, contacts)
	{
		const HubspotContact *contact = lfirst(cell);

		if (attributed || stored++ == MOST_STORED)
			break;
		has_click |= contact->click_id != NULL || contact->fbclid != NULL;
		attributed = store_one(fetch, contact);
		if (attributed)
			best = contact;
	}
	if (best != NULL)
		give_contact(fetch, best);

	artery_transaction_begin(&scope, "artery: contacts were read");
	settle_within(fetch, attributed ? CONTACT_ATTRIBUTED : has_click ? CONTACT_FOUND : CONTACT_NOTHING, NULL, 0,
				  list_length(fetch->ids));
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(fetch->work);
	fetch->ended = true;
}

/* Who brings a click id comes first, then whose last form is the newest; by id otherwise. */
static int
compare_contacts(const ListCell *left, const ListCell *right)
{
	const HubspotContact *a = lfirst(left);
	const HubspotContact *b = lfirst(right);
	int			weight_a = (a->click_id != NULL ? 2 : 0) + (a->fbclid != NULL ? 1 : 0);
	int			weight_b = (b->click_id != NULL ? 2 : 0) + (b->fbclid != NULL ? 1 : 0);

	if (weight_a != weight_b)
		return weight_b - weight_a;
	if (a->submitted[1] != b->submitted[1])
		return a->submitted[1] > b->submitted[1] ? -1 : 1;
	return strcmp(a->id, b->id);
}

/* True if the deal has its ad now. */
static bool
store_one(ContactFetch *fetch, const HubspotContact *contact)
{
	TimestampTz submitted = form_sent_at(fetch, contact);
	ArteryScope scope;
	Datum		values[8];
	char		nulls[8];
	bool		attributed;

	memset(nulls, ' ', sizeof(nulls));
	values[0] = CStringGetTextDatum(fetch->tenant_id);
	values[1] = CStringGetTextDatum(fetch->deal_id);
	values[2] = CStringGetTextDatum(contact->id);
	values[3] = text_or_null(contact->email_hash, &nulls[3]);
	values[4] = text_or_null(contact->click_id, &nulls[4]);
	values[5] = text_or_null(contact->fbclid, &nulls[5]);
	values[6] = TimestampTzGetDatum(submitted);
	if (submitted == DT_NOBEGIN)
		nulls[6] = 'n';
	values[7] = TimestampTzGetDatum(fetch->begun_at);
	artery_transaction_begin(&scope, "artery: storing a contact");
	(void) artery_execute(&store_contact, values, nulls, false, 1);
	attributed = artery_field_bool(0, 1);
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(fetch->work);
	return attributed;
}

/* The newest form that was sent before the deal began; DT_NOBEGIN if none. */
static TimestampTz
form_sent_at(const ContactFetch *fetch, const HubspotContact *contact)
{
	TimestampTz latest = fetch->begun_at + FORM_TOLERANCE;
	TimestampTz newest = DT_NOBEGIN;
	int			i;

	for (i = 0; i < (int) lengthof(contact->submitted); i++)
		if (contact->submitted[i] <= latest)
			newest = Max(newest, contact->submitted[i]);
	return newest;
}

/* A deal whose contact nobody told has this one: what comes in of the contact later finds the deal. */
static void
give_contact(ContactFetch *fetch, const HubspotContact *contact)
{
	Datum		values[2] = {CStringGetTextDatum(fetch->tenant_id), CStringGetTextDatum(fetch->deal_id)};
	const ArteryTenant *tenant;
	ArteryScope scope;

	artery_transaction_begin(&scope, "artery: a deal's contact");
	tenant = artery_tenant_find(fetch->tenant_id);
	if (tenant != NULL && artery_execute(&deal_contact, values, NULL, false, 1) == 1 && artery_field_null(0, 1))
		artery_deal_set_contact(tenant, fetch->deal_id, contact->id, false);
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(fetch->work);
}

void
artery_contact_settle(ContactFetch *fetch, ContactResult result, const char *error, int wait_seconds)
{
	ArteryScope scope;

	artery_transaction_begin(&scope, "artery: settling the reading of contacts");
	settle_within(fetch, result, error, wait_seconds, -1);
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(fetch->work);
	fetch->ended = true;
}

void
artery_contact_pause(ContactFetch *fetch, const HubspotVerdict *verdict)
{
	bool		is_token = verdict->class == HUBSPOT_TOKEN;
	ArteryScope scope;
	Datum		values[4];

	values[0] = CStringGetTextDatum(fetch->tenant_id);
	values[1] = CStringGetTextDatum(fetch->token);
	artery_transaction_begin(&scope, "artery: HubSpot wants to be left alone");
	/* locks in the order of fetch_contacts and set_secret: reading, secret, pause, alert */
	settle_within(fetch, CONTACT_POSTPONED, verdict->detail, is_token ? 0 : verdict->wait_seconds, -1);
	if (artery_execute(&lock_token, values, NULL, false, 1) == 1)
	{
		values[1] = CStringGetTextDatum(is_token ? "token" : verdict->is_daily ? "daily_limit" : "rate_limit");
		values[2] = Float8GetDatum(is_token ? INFINITY : verdict->wait_seconds);
		values[3] = CStringGetTextDatum(verdict->detail);
		(void) artery_execute(&pause_fetches, values, NULL, false, 1);
	}
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(fetch->work);
	fetch->ended = true;
}

/* contacts < 0: not told */
static void
settle_within(ContactFetch *fetch, ContactResult result, const char *error, int wait_seconds, int contacts)
{
	Datum		values[7];
	char		nulls[7];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = CStringGetTextDatum(fetch->tenant_id);
	values[1] = CStringGetTextDatum(fetch->deal_id);
	values[2] = Int32GetDatum(fetch->attempt);
	values[3] = CStringGetTextDatum(result_names[result]);
	values[4] = Int32GetDatum(contacts);
	if (contacts < 0)
		nulls[4] = 'n';
	values[5] = text_or_null(error, &nulls[5]);
	values[6] = Float8GetDatum(wait_seconds);
	(void) artery_execute(&settle_fetch, values, nulls, false, 1);
}
