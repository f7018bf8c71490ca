/*
 * hubspot_answer.c
 *		What an answer of HubSpot's API means, and what is taken from it: pure.
 *
 * Rules of HubSpot's documents (CRM objects and associations 2026-03, usage
 * guidelines): 401 and 403 concern the token, 429 carries policyName and often
 * Retry-After, an object that is not there is a 404 of category OBJECT_NOT_FOUND,
 * any other 404 is of an address. A merged contact is answered under the id that
 * stays. All values of properties are strings or null; ids are strings, in
 * associations also numbers. 207 is a success of which a part failed.
 */
#include "artery.h"

#include <openssl/sha.h>

#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/formatting.h"
#include "utils/fmgrprotos.h"

#include "capture/contact_request.h"
#include "capture/fields.h"
#include "deliver/graph_json.h"
#include "deliver/hubspot_answer.h"
#include "runtime/json.h"

#define SHORT_WAIT 10			/* seconds: the length of HubSpot's rolling window */
#define DAILY_WAIT 3600			/* a day's limit ends at a midnight that is not told: look again */
#define LONGEST_RETRY_AFTER 86400
#define MAX_EMAIL 320			/* 64 before the @, 255 behind it */
#define MAX_CURSOR 1024
#define BLANKS " \t\r\n\f\v"
#define EARLIEST_YEAR 2010		/* nothing older can be meant, as in clicks and deals */
#define LATEST_YEAR 2999

static const char *const step_names[] = {"deal", "associations", "contacts"};
static const char *const class_names[] = {"ok", "gone", "token", "throttle", "retry", "permanent"};

static HubspotClass judge_status(int status, HubspotStep step, const Jsonb *parsed);
static bool names_missing_object(JsonbContainer *root);
static int	retry_after(const HttpAnswer *answer);
static char *describe(const HttpAnswer *answer, JsonbContainer *root);
static void add_id(List **ids, JsonbContainer *entry, const char *name);
static char *read_cursor(JsonbContainer *holder);
static HubspotContact *read_contact(JsonbContainer *entry, const char *click_id_property);
static char *read_trimmed(JsonbContainer *properties, const char *name, size_t longest);
static char *hash_email(char *email);
static TimestampTz read_time(JsonbContainer *properties, const char *name);

/* Element of an array as an object, NULL if it is none. */
static JsonbContainer *
element(const JsonbValue *array, int i)
{
	return artery_graph_object(getIthJsonbValueFromContainer(array->val.binary.data, i));
}

/* A member that is an array; NULL if it is none. */
static JsonbValue *
array_member(JsonbContainer *object, const char *name)
{
	JsonbValue *value = artery_graph_member(object, name);

	if (value == NULL || value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		return NULL;
	return value;
}

bool
artery_hubspot_step(const char *name, HubspotStep *step)
{
	int			i;

	for (i = 0; i < (int) lengthof(step_names); i++)
		if (strcmp(name, step_names[i]) == 0)
		{
			*step = (HubspotStep) i;
			return true;
		}
	return false;
}

const char *
artery_hubspot_class_name(HubspotClass class)
{
	return class_names[class];
}

HubspotVerdict
artery_hubspot_classify(const HttpAnswer *answer, HubspotStep step, const Jsonb *parsed)
{
	JsonbContainer *root = artery_graph_root_object(parsed);
	HubspotVerdict verdict = {.class = HUBSPOT_RETRY};

	if (answer->transport != HTTP_ANSWERED)
	{
		verdict.detail = pstrdup(answer->error);
		return verdict;
	}
	verdict.class = judge_status(answer->status, step, parsed);
	verdict.wait_seconds = retry_after(answer);
	verdict.detail = describe(answer, root);
	if (verdict.class == HUBSPOT_THROTTLE)
	{
		char	   *policy = artery_graph_text(root, "policyName");

		verdict.is_daily = policy != NULL && strcmp(policy, "DAILY") == 0;
		verdict.wait_seconds = Max(verdict.wait_seconds, verdict.is_daily ? DAILY_WAIT : SHORT_WAIT);
	}
	return verdict;
}

static HubspotClass
judge_status(int status, HubspotStep step, const Jsonb *parsed)
{
	JsonbContainer *root = artery_graph_root_object(parsed);

	/* What is not JSON, whatever its status, is not HubSpot's own word, but for a token without any right. */
	if (status == 401)
		return HUBSPOT_TOKEN;
	if (status == 429)
		return HUBSPOT_THROTTLE;
	if (root == NULL)
		return HUBSPOT_RETRY;
	if (status >= 200 && status <= 299)
		return HUBSPOT_OK;
	if (status == 403)
		return HUBSPOT_TOKEN;
	if (status == 404)
		return step == HUBSPOT_DEAL && names_missing_object(root) ? HUBSPOT_GONE : HUBSPOT_RETRY;
	if (status == 400 || status == 405 || status == 409 || status == 410 || status == 413 || status == 414 ||
		status == 415 || status == 422)
		return HUBSPOT_PERMANENT;
	return HUBSPOT_RETRY;
}

static bool
names_missing_object(JsonbContainer *root)
{
	char	   *category = artery_graph_text(root, "category");
	char	   *message = artery_graph_text(root, "message");

	return (category != NULL && strcmp(category, "OBJECT_NOT_FOUND") == 0) ||
		(message != NULL && pg_strcasecmp(message, "resource not found") == 0);
}

static int
retry_after(const HttpAnswer *answer)
{
	const char *value = answer->headers[HTTP_RETRY_AFTER];

	if (value == NULL || value[0] == '\0' || strlen(value) > 9 || strspn(value, "0123456789") != strlen(value))
		return 0;
	return Min(atoi(value), LONGEST_RETRY_AFTER);
}

/* Status and HubSpot's word for it, if that is one word of capitals: messages may name what they are about. */
static char *
describe(const HttpAnswer *answer, JsonbContainer *root)
{
	static const char *const fields[] = {"policyName", "category", "errorType"};
	int			i;

	for (i = 0; i < (int) lengthof(fields); i++)
	{
		char	   *word = artery_graph_text(root, fields[i]);

		if (word != NULL && word[0] != '\0' && strlen(word) <= 64 &&
			strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") == strlen(word))
			return psprintf("HTTP status %d, %s", answer->status, word);
	}
	return psprintf(root == NULL ? "HTTP status %d, and no JSON object" : "HTTP status %d", answer->status);
}

bool
artery_hubspot_read_ids(const Jsonb *parsed, HubspotStep step, List **ids, char **after)
{
	JsonbContainer *root = artery_graph_root_object(parsed);
	JsonbContainer *holder;
	JsonbValue *list;
	int			i;

	*after = NULL;
	if (step == HUBSPOT_DEAL)
	{
		JsonbValue *named = artery_graph_member(root, "associations");

		if (artery_graph_text(root, "id") == NULL)
			return false;
		holder = artery_graph_object(artery_graph_member(artery_graph_object(named), "contacts"));
		if (holder == NULL)
			return true;		/* without any, the deal has no such member */
		list = array_member(holder, "results");
	}
	else
	{
		JsonbValue *results = array_member(root, "results");

		if (results == NULL)
			return false;
		holder = element(results, 0);
		if (holder == NULL)
			return true;
		list = array_member(holder, "to");
	}
	if (list == NULL)
		return false;
	for (i = 0; i < (int) JsonContainerSize(list->val.binary.data); i++)
		add_id(ids, element(list, i), step == HUBSPOT_DEAL ? "id" : "toObjectId");
	if (list_length(*ids) < HUBSPOT_MOST_CONTACTS)
		*after = read_cursor(holder);
	return true;
}

/* A contact may be named several times, once for each kind of association. */
static void
add_id(List **ids, JsonbContainer *entry, const char *name)
{
	JsonbValue *value = artery_graph_member(entry, name);
	char	   *id = value == NULL ? NULL : artery_json_scalar_text(value);
	ListCell   *cell;

	if (id == NULL || !artery_contact_is_id(id) || list_length(*ids) >= HUBSPOT_MOST_CONTACTS)
		return;
	foreach(cell, *ids)
		if (strcmp(lfirst(cell), id) == 0)
			return;
	*ids = lappend(*ids, id);
}

static char *
read_cursor(JsonbContainer *holder)
{
	JsonbContainer *paging = artery_graph_object(artery_graph_member(holder, "paging"));
	char	   *after = artery_graph_text(artery_graph_object(artery_graph_member(paging, "next")), "after");

	return after == NULL || after[0] == '\0' || strlen(after) > MAX_CURSOR ? NULL : after;
}

bool
artery_hubspot_read_contacts(const Jsonb *parsed, const char *click_id_property, List **contacts)
{
	JsonbValue *results = array_member(artery_graph_root_object(parsed), "results");
	int			i;

	*contacts = NIL;
	if (results == NULL)
		return false;
	for (i = 0; i < (int) JsonContainerSize(results->val.binary.data); i++)
	{
		HubspotContact *contact = read_contact(element(results, i), click_id_property);

		if (contact != NULL && list_length(*contacts) < HUBSPOT_MOST_CONTACTS)
			*contacts = lappend(*contacts, contact);
	}
	return true;
}

static HubspotContact *
read_contact(JsonbContainer *entry, const char *click_id_property)
{
	JsonbContainer *properties = artery_graph_object(artery_graph_member(entry, "properties"));
	JsonbValue *id = artery_graph_member(entry, "id");
	HubspotContact *contact;
	char	   *email;

	if (id == NULL || properties == NULL)
		return NULL;
	contact = palloc0(sizeof(HubspotContact));
	contact->id = artery_json_scalar_text(id);
	if (contact->id == NULL || !artery_contact_is_id(contact->id))
		return NULL;
	email = read_trimmed(properties, "email", MAX_EMAIL);
	if (email != NULL && strchr(email, '@') != NULL)
		contact->email_hash = hash_email(email);
	contact->click_id = read_trimmed(properties, click_id_property, ARTERY_MAX_ID);
	contact->fbclid = read_trimmed(properties, "hs_facebook_click_id", ARTERY_MAX_CLICK_REFERENCE);
	contact->submitted[0] = read_time(properties, "first_conversion_date");
	contact->submitted[1] = read_time(properties, "recent_conversion_date");
	return contact;
}

/* A property without space around it; NULL if absent, empty or too long to be what it should be. */
static char *
read_trimmed(JsonbContainer *properties, const char *name, size_t longest)
{
	char	   *text = artery_graph_text(properties, name);
	size_t		length;

	if (text == NULL)
		return NULL;
	text += strspn(text, BLANKS);
	length = strlen(text);
	while (length > 0 && strchr(BLANKS, text[length - 1]) != NULL)
		text[--length] = '\0';
	return length == 0 || length > longest ? NULL : text;
}

/* The address itself is wiped: nobody shall find it in a dump of memory either. */
static char *
hash_email(char *email)
{
	size_t		length = strlen(email);
	char	   *lower = asc_tolower(email, length);
	unsigned char digest[SHA256_DIGEST_LENGTH];
	char	   *hex = palloc(2 * SHA256_DIGEST_LENGTH + 1);

	SHA256((const unsigned char *) lower, strlen(lower), digest);
	hex_encode((const char *) digest, SHA256_DIGEST_LENGTH, hex);
	hex[2 * SHA256_DIGEST_LENGTH] = '\0';
	explicit_bzero(lower, strlen(lower));
	explicit_bzero(email, length);
	return hex;
}

/* Milliseconds since 1970, or ISO 8601 in UTC: 2026-03-02T12:13:14.123Z. DT_NOBEGIN for all else. */
static TimestampTz
read_time(JsonbContainer *properties, const char *name)
{
	char	   *text = read_trimmed(properties, name, 32);
	struct pg_tm tm;
	int64		seconds;
	int			used = 0;

	memset(&tm, 0, sizeof(tm));
	if (text == NULL)
		return DT_NOBEGIN;
	if (strspn(text, "0123456789") == strlen(text) && strlen(text) <= 14)
		seconds = (int64) strtoll(text, NULL, 10) / 1000 -
			(int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
	else if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
					&tm.tm_sec, &used) == 6 && (text[used] == 'Z' || text[used] == '.') && text[strlen(text) - 1] == 'Z' &&
			 tm.tm_year >= EARLIEST_YEAR && tm.tm_year <= LATEST_YEAR && tm.tm_mon >= 1 && tm.tm_mon <= 12 &&
			 tm.tm_mday >= 1 && tm.tm_mday <= 31 && tm.tm_hour >= 0 && tm.tm_hour <= 23 && tm.tm_min >= 0 &&
			 tm.tm_min <= 59 && tm.tm_sec >= 0 && tm.tm_sec <= 60)
		seconds = (int64) (date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE) * SECS_PER_DAY +
			(tm.tm_hour * 60 + tm.tm_min) * 60 + tm.tm_sec;
	else
		return DT_NOBEGIN;
	if (seconds < (int64) (date2j(EARLIEST_YEAR, 1, 1) - POSTGRES_EPOCH_JDATE) * SECS_PER_DAY ||
		seconds > (int64) (date2j(LATEST_YEAR, 12, 31) - POSTGRES_EPOCH_JDATE) * SECS_PER_DAY)
		return DT_NOBEGIN;
	return seconds * USECS_PER_SEC;
}
