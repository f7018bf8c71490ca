/*
 * webhook_event.c
 *		One event of HubSpot's: what it says, and its effect.
 *
 * Both generations of payloads are understood: "deal.propertyChange", and
 * "object.propertyChange" with the object type 0-3. Whatever else comes is kept
 * and ignored. Ids are numbers beyond 32 bits or texts; values are texts, empty or
 * null. An event is known by portal, type, object, property, time and event id,
 * for HubSpot repeats deliveries and its event ids alone are not unique.
 */
#include "artery.h"

#include <openssl/evp.h>

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "capture/deal.h"
#include "capture/privacy.h"
#include "capture/webhook.h"
#include "runtime/dbtx.h"
#include "runtime/json.h"
#include "value/stage.h"

#define LOST_STAGE "closedlost"
#define DEAL_TYPE "0-3"
#define CONTACT_TYPE "0-1"
#define DIGEST_LENGTH 32
#define MAX_PORTAL 64			/* bytes of a portal that is none, as we show it */

typedef struct ProcessStep
{
	WebhookEvent *event;
	TimestampTz received_at;
} ProcessStep;

/* The stage that a deal was in when it was deleted, if that is the last that happened to it by then. */
static ArteryStatement select_deleted = {
	"SELECT e.stage_from FROM (SELECT s.stage_from, s.event_id FROM artery.deal_stage_event s "
	"        WHERE s.tenant_id = $1 AND s.deal_id = $2 AND s.occurred_at <= $3 AND NOT s.is_value "
	"        ORDER BY s.occurred_at DESC, s.event_seq DESC LIMIT 1) e "
	" WHERE pg_catalog.split_part(e.event_id, '|', 2) = ANY (ARRAY['deal.deletion', 'object.deletion']) "
	"   AND e.stage_from IS NOT NULL",
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};

static const char *const status_names[] = {"stored", "processed", "unmapped", "ignored", "failed", "refused", "duplicate"};

static void read_merge(WebhookEvent *event, EventKind kind);
static void process_step(void *argument);

const char *
artery_webhook_status_name(EventStatus status)
{
	return status_names[status];
}

/* Up to 18 digits as a number, else -1. */
static int64
parse_digits(const char *text)
{
	size_t		length = text ? strlen(text) : 0;

	if (length == 0 || length > 18 || strspn(text, "0123456789") != length)
		return -1;
	return strtoll(text, NULL, 10);
}

void
artery_webhook_read_portal(WebhookEvent *event)
{
	int64		portal_id;

	event->portal = artery_json_field_text(event->payload, "portalId");
	if (event->portal != NULL && strlen(event->portal) > MAX_PORTAL)
		event->portal[pg_mbcliplen(event->portal, strlen(event->portal), MAX_PORTAL)] = '\0';
	portal_id = parse_digits(event->portal);
	event->portal_id = portal_id > 0 ? portal_id : 0;
}

static bool
is_text(const char *text, const char *expected)
{
	return text != NULL && strcmp(text, expected) == 0;
}

/* Which side of an association is the deal, which the contact? */
static void
read_association(WebhookEvent *event)
{
	Jsonb	   *payload = event->payload;
	char	   *from = artery_json_field_text(payload, "fromObjectId");
	char	   *to = artery_json_field_text(payload, "toObjectId");
	char	   *from_type = artery_json_field_text(payload, "fromObjectTypeId");
	char	   *to_type = artery_json_field_text(payload, "toObjectTypeId");
	char	   *type = artery_json_field_text(payload, "associationType");
	JsonbValue *removed = artery_json_field(payload, "associationRemoved");

	if (from == NULL || to == NULL)
		return;
	event->object_id = psprintf("%s>%s", from, to);
	event->removed = removed != NULL && removed->type == jbvBool && removed->val.boolean;
	if (is_text(type, "DEAL_TO_CONTACT") || (is_text(from_type, DEAL_TYPE) && is_text(to_type, CONTACT_TYPE)))
	{
		event->deal_id = from;
		event->contact_id = to;
	}
	else if (is_text(type, "CONTACT_TO_DEAL") || (is_text(from_type, CONTACT_TYPE) && is_text(to_type, DEAL_TYPE)))
	{
		event->deal_id = to;
		event->contact_id = from;
	}
	if (event->deal_id != NULL)
		event->kind = EVENT_CONTACT;
	event->person_id = event->contact_id;
}

/* Is it of a contact, in either generation's way to say so? */
static bool
is_of_contact(const WebhookEvent *event)
{
	if (event->type == NULL || strstr(event->type, ".associationChange") != NULL)
		return false;
	return strncmp(event->type, "contact.", strlen("contact.")) == 0 ||
		is_text(artery_json_field_text(event->payload, "objectTypeId"), CONTACT_TYPE);
}

static void
read_contact(WebhookEvent *event)
{
	event->person_id = event->object_id;
	if (is_text(event->type, "contact.privacyDeletion") || is_text(event->type, "object.privacyDeletion"))
		event->kind = EVENT_PRIVACY;
	else if (is_text(event->type, "contact.merge") || is_text(event->type, "object.merge"))
		read_merge(event, EVENT_CONTACT_MERGE);
}

static void
read_property(WebhookEvent *event, const char *property)
{
	if (is_text(property, "dealstage"))
		event->kind = EVENT_STAGE;
	else if (is_text(property, "amount"))
		event->kind = EVENT_AMOUNT;
	else
		return;
	event->deal_id = event->object_id;
	event->value = artery_json_field_text(event->payload, "propertyValue");
	if (event->value != NULL && event->value[0] == '\0')
		event->value = NULL;
}

/* A deal that was deleted brings nothing any more: it is taken for one that went to HubSpot's stage of lost ones. */
static void
read_deletion(WebhookEvent *event)
{
	event->kind = EVENT_STAGE;
	event->deal_id = event->object_id;
	event->value = pstrdup(LOST_STAGE);
}

/* A deleted deal that was taken back is where it was. */
static void
read_restore(WebhookEvent *event)
{
	event->kind = EVENT_RESTORE;
	event->deal_id = event->object_id;
}

/* The ids of a list, as texts; what is none is left out. With room for one more. */
static char **
read_ids(const JsonbValue *list, int *count)
{
	JsonbContainer *container = list != NULL && list->type == jbvBinary ? list->val.binary.data : NULL;
	char	  **ids;
	int			i;

	*count = 0;
	if (container == NULL || !JsonContainerIsArray(container))
		return NULL;
	ids = palloc((JsonContainerSize(container) + 1) * sizeof(char *));
	for (i = 0; i < (int) JsonContainerSize(container); i++)
		if ((ids[*count] = artery_json_scalar_text(getIthJsonbValueFromContainer(container, i))) != NULL)
			(*count)++;
	return ids;
}

/* Who stays of those that became one: a new record if one was made, else the primary one. */
static void
read_merge(WebhookEvent *event, EventKind kind)
{
	CrmMerge   *merge = &event->merge;
	char	   *made = artery_json_field_text(event->payload, "newObjectId");
	int			count;
	char	  **ids = read_ids(artery_json_field(event->payload, "mergedObjectIds"), &count);
	int			i;

	merge->primary = artery_json_field_text(event->payload, "primaryObjectId");
	if (merge->primary == NULL)
		merge->primary = event->object_id;
	if (merge->primary == NULL || count == 0)
		return;
	merge->survivor = parse_digits(made) > 0 ? made : merge->primary;
	merge->gone = palloc((count + 1) * sizeof(char *));
	ids[count++] = merge->primary;
	for (i = 0; i < count; i++)
		if (strcmp(ids[i], merge->survivor) != 0)
			merge->gone[merge->count++] = ids[i];
	event->kind = kind;
	if (kind == EVENT_DEAL_MERGE)
		event->deal_id = merge->survivor;
	else
		event->person_id = merge->survivor;
}

static char *
hex_digest(const char *data, size_t length)
{
	unsigned char digest[DIGEST_LENGTH];
	char	   *hex = palloc(2 * DIGEST_LENGTH + 1);
	int			i;

	if (EVP_Digest(data, length, digest, NULL, EVP_sha256(), NULL) != 1)
		elog(ERROR, "could not compute a digest");
	for (i = 0; i < DIGEST_LENGTH; i++)
		sprintf(hex + 2 * i, "%02x", digest[i]);
	return hex;
}

/* An event that lacks its time or id is known by everything it says but the attempt. */
static char *
payload_digest(Jsonb *payload)
{
	Jsonb	   *rest = DatumGetJsonbP(DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(payload),
														  CStringGetTextDatum("attemptNumber")));
	char	   *text = JsonbToCString(NULL, &rest->root, VARSIZE(rest));

	return hex_digest(text, strlen(text));
}

static char *
make_key(const WebhookEvent *event, const char *property)
{
	char	   *occurred_at = artery_json_field_text(event->payload, "occurredAt");
	char	   *event_id = artery_json_field_text(event->payload, "eventId");
	char	   *key = psprintf("%s|%s|%s|%s|%s|%s", event->portal ? event->portal : "", event->type ? event->type : "",
							   event->object_id ? event->object_id : "", property ? property : "",
							   occurred_at ? occurred_at : "", event_id ? event_id : "");

	if (occurred_at == NULL || event_id == NULL)
		key = psprintf("%s|%s", key, payload_digest(event->payload));
	return strlen(key) <= ARTERY_MAX_ID ? key : hex_digest(key, strlen(key));
}

static TimestampTz
read_time(const WebhookEvent *event)
{
	int64		milliseconds = parse_digits(artery_json_field_text(event->payload, "occurredAt"));

	/* 15 digits are beyond every date that can be meant, and cannot overflow. */
	if (milliseconds < 0 || milliseconds > INT64CONST(999999999999999))
		return DT_NOBEGIN;
	return milliseconds * 1000 - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

void
artery_webhook_read(WebhookEvent *event)
{
	Jsonb	   *payload = event->payload;
	char	   *property = artery_json_field_text(payload, "propertyName");

	event->type = artery_json_field_text(payload, "subscriptionType");
	if (event->type == NULL)
		event->type = artery_json_field_text(payload, "eventType");
	event->object_id = artery_json_field_text(payload, "objectId");
	event->occurred_at = read_time(event);
	if (is_text(event->type, "deal.propertyChange") ||
		(is_text(event->type, "object.propertyChange") &&
		 is_text(artery_json_field_text(payload, "objectTypeId"), DEAL_TYPE)))
		read_property(event, property);
	else if (is_text(event->type, "deal.associationChange") || is_text(event->type, "contact.associationChange") ||
			 is_text(event->type, "object.associationChange"))
		read_association(event);
	else if (is_text(event->type, "deal.deletion") ||
			 (is_text(event->type, "object.deletion") && is_text(artery_json_field_text(payload, "objectTypeId"), DEAL_TYPE)))
		read_deletion(event);
	else if (is_text(event->type, "deal.restore") ||
			 (is_text(event->type, "object.restore") && is_text(artery_json_field_text(payload, "objectTypeId"), DEAL_TYPE)))
		read_restore(event);
	else if (is_text(event->type, "deal.merge") ||
			 (is_text(event->type, "object.merge") && is_text(artery_json_field_text(payload, "objectTypeId"), DEAL_TYPE)))
		read_merge(event, EVENT_DEAL_MERGE);
	else if (is_of_contact(event))
		read_contact(event);
	event->key = make_key(event, property);
}

Jsonb *
artery_webhook_answer(const WebhookEvent *event, EventStatus status, const char *reason)
{
	JsonbParseState *state = NULL;

	artery_json_begin(&state);
	artery_json_text(&state, "status", status_names[status]);
	if (event->deal_id != NULL)
		artery_json_text(&state, "deal_id", event->deal_id);
	if (event->kind == EVENT_STAGE)
		artery_json_text(&state, "stage_to", event->value);
	if (event->kind == EVENT_CONTACT || event->kind == EVENT_CONTACT_MERGE)
		artery_json_text(&state, "crm_contact_id", event->kind == EVENT_CONTACT ? event->contact_id : event->person_id);
	if (status == EVENT_REFUSED || event->portal_unknown)
		artery_json_text(&state, "portal_id", event->portal);
	if (reason != NULL)
		artery_json_text(&state, "reason", reason);
	return artery_json_end(&state);
}

static void
conclude(WebhookEvent *event, EventStatus status, const char *reason)
{
	event->status = status;
	event->reason = reason;
	event->result = artery_webhook_answer(event, status, reason);
}

void
artery_webhook_process(WebhookEvent *event, TimestampTz received_at)
{
	ProcessStep step = {event, received_at};
	ErrorData  *error;

	if (event->portal_unknown)
		conclude(event, EVENT_UNMAPPED, psprintf("portal %s belongs to no tenant; add it to hubspot_portal_ids",
												 event->portal));
	else if (event->erased)
		conclude(event, EVENT_IGNORED, "its contact was erased");
	else if (event->kind == EVENT_OTHER)
		conclude(event, EVENT_IGNORED, "nothing follows from events of this kind");
	else if (!artery_attempt(process_step, &step, &error))
		conclude(event, EVENT_FAILED, error->message);
}

static void
record_move(WebhookEvent *event, DealMove *move, TimestampTz received_at)
{
	DealResult	result;

	move->deal_id = event->deal_id;
	move->occurred_at = event->occurred_at;
	move->event_id = event->key;
	artery_deal_record(event->tenant, move, received_at, &result);
	event->status = EVENT_PROCESSED;
	event->reason = NULL;
	event->result = result.answer;
	event->high_value = result.high_value;
}

static void
process_stage(WebhookEvent *event, TimestampTz received_at)
{
	DealMove	move = {0};

	if (event->value == NULL)
	{
		conclude(event, EVENT_IGNORED, "the stage was emptied");
		return;
	}
	move.stage = artery_stage_find(event->tenant, event->value);
	if (move.stage == NULL)
		conclude(event, EVENT_UNMAPPED, psprintf("unknown stage \"%.*s\"; known stages: %s",
												 pg_mbcliplen(event->value, strlen(event->value), ARTERY_MAX_ID),
												 event->value, artery_stage_names(event->tenant)));
	else
		record_move(event, &move, received_at);
}

static void
process_restore(WebhookEvent *event, TimestampTz received_at)
{
	DealMove	move = {0};
	Datum		keys[3];

	keys[0] = CStringGetTextDatum(event->tenant->tenant_id);
	keys[1] = CStringGetTextDatum(event->deal_id);
	keys[2] = TimestampTzGetDatum(event->occurred_at);
	if (artery_execute(&select_deleted, keys, NULL, false, 1) == 1)
		move.stage = artery_stage_find(event->tenant, artery_field_text(0, 1));
	/* a stage that the tenant no longer has is not gone back to */
	if (move.stage == NULL)
		conclude(event, EVENT_IGNORED, "the deal is not known to be deleted");
	else
		record_move(event, &move, received_at);
}

/* An amount that was emptied takes the real value back. */
static void
process_amount(WebhookEvent *event, TimestampTz received_at)
{
	DealMove	move = {0};

	if (event->value != NULL)
		move.deal_value = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(event->value),
															  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	record_move(event, &move, received_at);
}

static void
process_merge(WebhookEvent *event, TimestampTz received_at)
{
	const ArteryStage *lost = artery_stage_find(event->tenant, LOST_STAGE);
	DealResult	result;

	if (lost == NULL)
	{
		conclude(event, EVENT_UNMAPPED, psprintf("unknown stage \"%s\"; known stages: %s", LOST_STAGE,
												 artery_stage_names(event->tenant)));
		return;
	}
	artery_merge_deals(event->tenant, &event->merge, lost, event->key, event->occurred_at, received_at, &result);
	conclude(event, EVENT_PROCESSED, NULL);
	if (result.answer != NULL)
		event->result = result.answer;
	event->high_value = result.high_value;
}

static void
process_step(void *argument)
{
	ProcessStep *step = argument;
	WebhookEvent *event = step->event;

	if (event->deal_id == NULL && event->person_id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the event names no object")));
	if (event->occurred_at == DT_NOBEGIN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("occurredAt must be milliseconds since 1970")));
	switch (event->kind)
	{
		case EVENT_STAGE:
			process_stage(event, step->received_at);
			break;
		case EVENT_AMOUNT:
			process_amount(event, step->received_at);
			break;
		case EVENT_RESTORE:
			process_restore(event, step->received_at);
			break;
		case EVENT_CONTACT:
			artery_deal_set_contact(event->tenant, event->deal_id, event->contact_id, event->removed);
			conclude(event, EVENT_PROCESSED, NULL);
			break;
		case EVENT_CONTACT_MERGE:
			artery_merge_contacts(event->tenant, &event->merge);
			conclude(event, EVENT_PROCESSED, NULL);
			break;
		case EVENT_DEAL_MERGE:
			process_merge(event, step->received_at);
			break;
		case EVENT_PRIVACY:
			artery_privacy_erase_contact(event->tenant, event->person_id);
			conclude(event, EVENT_PROCESSED, NULL);
			break;
		case EVENT_OTHER:
			break;
	}
}
