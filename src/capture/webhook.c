/*
 * webhook.c
 *		The webhook of HubSpot: who signed it, then store, process, answer.
 *
 * Nothing is believed, stored or answered before the signature is verified.
 * The body is read before that only to learn which portals, so which tenants'
 * secrets, come into question; what is wrong with it is told only to who
 * signed it. Raw events are stored before the first is processed. Events are
 * processed in the order of their deals, and times, so that two deliveries at
 * once cannot wait for each other in a circle; the answers are in the order of the body.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "capture/deal.h"
#include "capture/signature.h"
#include "capture/webhook.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/json.h"

/* A larger body is not read to find its portals. */
#define MAX_BODY (16 * 1024 * 1024)

PG_FUNCTION_INFO_V1(artery_hubspot_webhook);
PG_FUNCTION_INFO_V1(artery_replay_webhook_events);

/* A call on its way. */
typedef struct WebhookCall
{
	SignedRequest request;
	const char *uri;			/* argument; NULL if not given */
	TimestampTz received_at;
	Jsonb	   *parsed;			/* NULL: not read */
	ErrorData  *parse_error;	/* why, if it cannot be read */
	bool		is_array;
	int			count;
	WebhookEvent *events;		/* at most ARTERY_MAX_EVENTS + 1 are taken */
	const ArteryTenant *signer; /* NULL until somebody turns out to have signed */
	char	   *secret;			/* with which */
} WebhookCall;

static ArteryStatement select_portals = {
	"SELECT portal_id, tenant_id FROM artery.tenant_portal WHERE portal_id = ANY ($1)", 1, {INT8ARRAYOID}, NULL
};
static ArteryStatement select_by_url = {
	"SELECT tenant_id FROM artery.tenant WHERE settings ->> 'hubspot_webhook_url' = $1 ORDER BY tenant_id",
	1, {TEXTOID}, NULL
};

static void read_arguments(FunctionCallInfo fcinfo, WebhookCall *call);
static void read_headers(WebhookCall *call, Jsonb *headers);
static void parse_body(void *argument);
static void take_events(WebhookCall *call);
static void find_tenants(WebhookEvent *events, int count);
static void find_signer(WebhookCall *call);
static void check_body(const WebhookCall *call);
static void settle_ownership(WebhookCall *call);
static void work_off(WebhookEvent *events, int count, TimestampTz received_at, bool store);
static Jsonb *collect_answers(const WebhookCall *call);
static void refuse(const char *detail) pg_attribute_noreturn();

/* artery.hubspot_webhook(body, headers, method, uri, received_at) */
Datum
artery_hubspot_webhook(PG_FUNCTION_ARGS)
{
	ArteryScope scope;
	WebhookCall call;
	Jsonb	   *answer;
	MemoryContext before;

	read_arguments(fcinfo, &call);
	artery_scope_enter(&scope);
	if (call.request.body_length <= MAX_BODY && artery_attempt(parse_body, &call, &call.parse_error))
	{
		take_events(&call);
		find_tenants(call.events, call.count);
	}
	find_signer(&call);
	if (call.signer == NULL)
		refuse("No secret of a tenant that it concerns signs this request.");
	check_body(&call);
	settle_ownership(&call);
	work_off(call.events, call.count, call.received_at, true);
	answer = collect_answers(&call);
	before = MemoryContextSwitchTo(scope.caller);
	answer = (Jsonb *) pg_detoast_datum_copy((struct varlena *) answer);
	MemoryContextSwitchTo(before);
	artery_scope_leave(&scope);
	PG_RETURN_JSONB_P(answer);
}

static void
refuse(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("webhook signature is not valid"),
			 errdetail("%s", detail),
			 errhint("The settings hubspot_portal_ids and hubspot_webhook_url and the secret hubspot_client_secret "
					 "must be those of the HubSpot app.")));
}

static void
read_arguments(FunctionCallInfo fcinfo, WebhookCall *call)
{
	bytea	   *body;

	memset(call, 0, sizeof(WebhookCall));
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		refuse("The request has no body or no headers.");
	body = PG_GETARG_BYTEA_PP(0);
	call->request.body = VARDATA_ANY(body);
	call->request.body_length = VARSIZE_ANY_EXHDR(body);
	call->request.method = PG_ARGISNULL(2) ? "POST" : text_to_cstring(PG_GETARG_TEXT_PP(2));
	call->uri = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	call->received_at = PG_ARGISNULL(4) ? artery_clock_now() : PG_GETARG_TIMESTAMPTZ(4);
	if (TIMESTAMP_NOT_FINITE(call->received_at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_FIELD_OVERFLOW),
				 errmsg("received_at must be finite"),
				 errhint("Leave it out for a request that comes in now.")));
	read_headers(call, PG_GETARG_JSONB_P(1));
}

/* A header by its lower-case name, given in whatever case; NULL if absent. */
static char *
find_header(Jsonb *headers, const char *name)
{
	JsonbIterator *iterator = JsonbIteratorInit(&headers->root);
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (key.val.string.len != (int) strlen(name) ||
			pg_strncasecmp(key.val.string.val, name, key.val.string.len) != 0)
			continue;
		if (value.type == jbvNull)
			continue;
		/* Present, if in a strange form: then it matches nothing. */
		return value.type == jbvString || value.type == jbvNumeric ? artery_json_scalar_text(&value) : pstrdup("");
	}
	return NULL;
}

/* Version 3 where its header is present, come what may; the older ones else. */
static void
read_headers(WebhookCall *call, Jsonb *headers)
{
	SignedRequest *request = &call->request;
	int64		now_us = call->received_at + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	char	   *version;

	if (!JB_ROOT_IS_OBJECT(headers))
		refuse("Headers must be an object of names and values.");
	request->signature = find_header(headers, "x-hubspot-signature-v3");
	if (request->signature != NULL)
	{
		request->version = SIGNATURE_V3;
		request->timestamp = find_header(headers, "x-hubspot-request-timestamp");
		if (request->timestamp == NULL)
			refuse("The header X-HubSpot-Request-Timestamp is missing.");
		if (!artery_signature_fresh(request->timestamp, now_us))
			refuse("The request's timestamp is not within five minutes of now.");
		return;
	}
	request->signature = find_header(headers, "x-hubspot-signature");
	if (request->signature == NULL)
		refuse("The request carries no signature.");
	version = find_header(headers, "x-hubspot-signature-version");
	if (version == NULL || strcmp(version, "v1") == 0)
		request->version = SIGNATURE_V1;
	else if (strcmp(version, "v2") == 0)
		request->version = SIGNATURE_V2;
	else
		refuse("The version of the signature is not known.");
}

/*
 * Read the body as JSON; it is UTF-8, whatever the database's encoding. A
 * character that no text can hold must not cost the other events of the batch.
 */
static void
parse_body(void *argument)
{
	WebhookCall *call = argument;
	int			length = (int) call->request.body_length;
	char	   *text = pnstrdup(call->request.body, length);

	(void) pg_verify_mbstr(PG_UTF8, call->request.body, length, false);
	artery_json_mend_escapes(text);
	text = artery_json_to_server(text, length);
	call->parsed = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

/* Take the objects of the body, as many as are accepted and one more, with their portals. */
static void
take_events(WebhookCall *call)
{
	Jsonb	   *parsed = call->parsed;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	int			i;

	call->is_array = JB_ROOT_IS_ARRAY(parsed) && !JB_ROOT_IS_SCALAR(parsed);
	if (JB_ROOT_IS_OBJECT(parsed))
	{
		call->events = palloc0(sizeof(WebhookEvent));
		call->events[0].payload = parsed;
		call->count = 1;
	}
	else if (call->is_array)
	{
		call->events = palloc0((Min(JB_ROOT_COUNT(parsed), ARTERY_MAX_EVENTS) + 1) * sizeof(WebhookEvent));
		iterator = JsonbIteratorInit(&parsed->root);
		while (call->count <= ARTERY_MAX_EVENTS && (token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
		{
			if (token != WJB_ELEM || item.type != jbvBinary || !JsonContainerIsObject(item.val.binary.data))
				continue;
			call->events[call->count].index = call->count;
			call->events[call->count++].payload = JsonbValueToJsonb(&item);
		}
	}
	for (i = 0; i < call->count; i++)
		artery_webhook_read_portal(&call->events[i]);
}

/* Find the tenants of the events' portals; unknown where a portal is of nobody. */
static void
find_tenants(WebhookEvent *events, int count)
{
	Datum	   *portals = palloc(Max(count, 1) * sizeof(Datum));
	Datum		value;
	char	  **names;
	int64	   *ids;
	uint64		rows;
	uint64		row;
	int			n = 0;
	int			i;

	for (i = 0; i < count; i++)
	{
		events[i].portal_unknown = events[i].portal != NULL;
		if (events[i].portal_id != 0)
			portals[n++] = Int64GetDatum(events[i].portal_id);
	}
	if (n == 0)
		return;
	value = PointerGetDatum(construct_array(portals, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	rows = artery_execute(&select_portals, &value, NULL, true, 0);
	names = palloc((rows + 1) * sizeof(char *));
	ids = palloc((rows + 1) * sizeof(int64));
	for (row = 0; row < rows; row++)
	{
		ids[row] = artery_field_int64(row, 1);
		names[row] = artery_field_text(row, 2);
	}
	for (i = 0; i < count; i++)
	{
		for (row = 0; row < rows; row++)
		{
			if (events[i].portal_id != ids[row])
				continue;
			events[i].tenant = artery_tenant_find(names[row]);
			events[i].portal_unknown = events[i].tenant == NULL;
			break;
		}
	}
}

/* By id: the cache may have read a tenant again meanwhile. */
static bool
same_tenant(const ArteryTenant *left, const ArteryTenant *right)
{
	if (left == NULL || right == NULL)
		return left == right;
	return left == right || strcmp(left->tenant_id, right->tenant_id) == 0;
}

/* May the call be the tenant's at all: is it the role's, and does it accept the signature's version? */
static bool
accepts(const WebhookCall *call, const ArteryTenant *tenant)
{
	return artery_tenant_visible(tenant->tenant_id) &&
		(call->request.version == SIGNATURE_V3 || tenant->settings.hubspot_allow_v1);
}

/* Did the tenant sign the call? If so it is the signer. */
static bool
try_signer(WebhookCall *call, const ArteryTenant *tenant)
{
	char	   *secrets[2];
	int			i;

	if (!accepts(call, tenant))
		return false;
	call->request.uri = tenant->settings.hubspot_webhook_url ? tenant->settings.hubspot_webhook_url : call->uri;
	secrets[0] = artery_tenant_secret(tenant->tenant_id, "hubspot_client_secret", &secrets[1]);
	for (i = 0; i < 2 && call->signer == NULL; i++)
	{
		if (secrets[i] == NULL || !artery_signature_valid(&call->request, secrets[i]))
			continue;
		call->signer = tenant;
		call->secret = secrets[i];
	}
	return call->signer != NULL;
}

/* Was the tenant of this event that of an earlier one too? */
static bool
seen_before(const WebhookEvent *events, int index)
{
	int			i;

	for (i = 0; i < index; i++)
		if (same_tenant(events[i].tenant, events[index].tenant))
			return true;
	return false;
}

/* The tenants of the portals first, then those whose address is the one called. */
static void
find_signer(WebhookCall *call)
{
	Datum		value;
	char	  **names;
	uint64		rows;
	uint64		row;
	int			i;

	for (i = 0; i < call->count; i++)
		if (call->events[i].tenant != NULL && !seen_before(call->events, i) &&
			try_signer(call, call->events[i].tenant))
			return;
	if (call->uri == NULL)
		return;
	value = CStringGetTextDatum(call->uri);
	rows = artery_execute(&select_by_url, &value, NULL, true, 0);
	names = palloc((rows + 1) * sizeof(char *));
	for (row = 0; row < rows; row++)
		names[row] = artery_field_text(row, 1);
	for (row = 0; row < rows; row++)
	{
		const ArteryTenant *tenant = artery_tenant_find(names[row]);

		if (tenant != NULL && try_signer(call, tenant))
			return;
	}
}

/* What is wrong with the body of a verified call. */
static void
check_body(const WebhookCall *call)
{
	if (call->request.body_length > MAX_BODY)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("webhook body is too large"),
				 errdetail("Up to %d bytes are accepted.", MAX_BODY),
				 errhint("HubSpot sends at most 100 events at once.")));
	if (call->parsed == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("webhook body is not valid JSON"),
				 errdetail("%s.", call->parse_error->message),
				 errhint("It was signed as it is; look at what stands between HubSpot and the database.")));
	if (call->count > ARTERY_MAX_EVENTS || (call->is_array && JB_ROOT_COUNT(call->parsed) > ARTERY_MAX_EVENTS))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("webhook has too many events"),
				 errdetail("Up to %d events are accepted in one call.", ARTERY_MAX_EVENTS),
				 errhint("Split the array; HubSpot itself sends at most 100.")));
	if (call->is_array ? call->count != (int) JB_ROOT_COUNT(call->parsed) : call->count != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("webhook body must be an event or an array of events"),
				 errdetail("An event is a JSON object."),
				 errhint("Pass on the body as HubSpot sent it.")));
}

/* May the signer speak for this tenant: has it the same secret? */
static bool
shares_secret(const WebhookCall *call, const ArteryTenant *tenant)
{
	char	   *previous;
	char	   *secret;

	if (same_tenant(tenant, call->signer))
		return true;
	if (!accepts(call, tenant))
		return false;
	secret = artery_tenant_secret(tenant->tenant_id, "hubspot_client_secret", &previous);
	return (secret != NULL && strcmp(secret, call->secret) == 0) ||
		(previous != NULL && strcmp(previous, call->secret) == 0);
}

/* Refuse the events of tenants that did not sign; the signer keeps those of nobody. */
static void
settle_ownership(WebhookCall *call)
{
	int			i;
	int			j;

	for (i = 0; i < call->count; i++)
	{
		WebhookEvent *event = &call->events[i];
		bool		known = false;

		if (event->tenant == NULL)
			event->tenant = call->signer;
		else
		{
			for (j = 0; j < i && !known; j++)
			{
				known = same_tenant(call->events[j].tenant, event->tenant);
				if (known && call->events[j].status == EVENT_REFUSED)
					event->status = EVENT_REFUSED;
			}
			if (!known && !shares_secret(call, event->tenant))
				event->status = EVENT_REFUSED;
		}
		artery_webhook_read(event);
		if (event->status == EVENT_REFUSED)
			event->result = artery_webhook_answer(event, EVENT_REFUSED, "the portal's tenant did not sign this request");
	}
}

/* By tenant, deal and time; at one time as they came. */
static int
compare_events(const void *left, const void *right)
{
	const WebhookEvent *a = *(WebhookEvent *const *) left;
	const WebhookEvent *b = *(WebhookEvent *const *) right;
	int			order = strcmp(a->tenant->tenant_id, b->tenant->tenant_id);

	if (order == 0)
		order = strcmp(a->deal_id ? a->deal_id : "", b->deal_id ? b->deal_id : "");
	if (order == 0 && a->occurred_at != b->occurred_at)
		order = a->occurred_at < b->occurred_at ? -1 : 1;
	return order != 0 ? order : a->index - b->index;
}

/* The same event earlier in the batch answers for this one. */
static bool
is_repetition(WebhookEvent **events, int index)
{
	WebhookEvent *event = events[index];
	int			i;

	for (i = index - 1; i >= 0; i--)
	{
		if (events[i]->row_id != event->row_id)
			continue;
		event->status = EVENT_DUPLICATE;
		event->result = artery_webhook_as_duplicate(events[i]->result);
		return true;
	}
	return false;
}

static void
process_tenant(WebhookEvent **events, int count, TimestampTz received_at)
{
	const char *high_value_deal = NULL;
	int			i;

	for (i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (events[i]->status == EVENT_DUPLICATE || is_repetition(events, i))
			continue;
		artery_webhook_process(events[i], received_at);
		if (events[i]->high_value)
			high_value_deal = events[i]->deal_id;
	}
	artery_webhook_settle(events, count);
	if (high_value_deal != NULL)
		artery_deal_ask_decision(events[0]->tenant->tenant_id, high_value_deal);
}

/* How many events from the first on are of the same tenant? */
static int
tenant_run(WebhookEvent **events, int count)
{
	int			run = 1;

	while (run < count && same_tenant(events[run]->tenant, events[0]->tenant))
		run++;
	return run;
}

/* Store (unless they are) and process events, tenant by tenant in the order of their ids. */
static void
work_off(WebhookEvent *events, int count, TimestampTz received_at, bool store)
{
	WebhookEvent **ordered = palloc(Max(count, 1) * sizeof(WebhookEvent *));
	int			kept = 0;
	int			i;

	for (i = 0; i < count; i++)
		if (events[i].status != EVENT_REFUSED)
			ordered[kept++] = &events[i];
	qsort(ordered, kept, sizeof(WebhookEvent *), compare_events);
	for (i = 0; store && i < kept; i += tenant_run(ordered + i, kept - i))
		artery_webhook_store(ordered + i, tenant_run(ordered + i, kept - i), received_at);
	for (i = 0; i < kept; i += tenant_run(ordered + i, kept - i))
		process_tenant(ordered + i, tenant_run(ordered + i, kept - i), received_at);
}

static Jsonb *
collect_answers(const WebhookCall *call)
{
	JsonbParseState *state = NULL;
	int			i;

	if (!call->is_array)
		return call->events[0].result;
	artery_json_begin(&state);
	artery_json_text(&state, "status", "processed");
	artery_json_key(&state, "results");
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (i = 0; i < call->count; i++)
		artery_json_element(&state, call->events[i].result);
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return artery_json_end(&state);
}

/* artery.replay_webhook_events(tenant_id): how many ended in which status */
Datum
artery_replay_webhook_events(PG_FUNCTION_ARGS)
{
	ArteryScope scope;
	const ArteryTenant *tenant;
	WebhookEvent *events;
	JsonbParseState *state = NULL;
	int			counts[EVENT_DUPLICATE + 1] = {0};
	int			count;
	int			status;
	int			i;
	Jsonb	   *answer;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tenant_id must not be null"),
				 errhint("Name the tenant whose rows are meant.")));
	tenant = artery_tenant_get(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	artery_scope_enter(&scope);
	events = artery_webhook_open_events(tenant, &count);
	find_tenants(events, count);
	for (i = 0; i < count; i++)
	{
		/* A portal that is another tenant's by now does not give it our event. */
		if (events[i].portal != NULL && !same_tenant(events[i].tenant, tenant))
			events[i].portal_unknown = true;
		events[i].tenant = tenant;
	}
	work_off(events, count, artery_clock_now(), false);
	for (i = 0; i < count; i++)
		counts[events[i].status]++;
	MemoryContextSwitchTo(scope.caller);
	artery_json_begin(&state);
	for (status = EVENT_PROCESSED; status <= EVENT_FAILED; status++)
		artery_json_number(&state, artery_webhook_status_name(status), int64_to_numeric(counts[status]));
	answer = artery_json_end(&state);
	artery_scope_leave(&scope);
	PG_RETURN_JSONB_P(answer);
}
