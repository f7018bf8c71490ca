/*
 * deal_door.c
 *		record_stage and record_stages: the door for any CRM.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "capture/deal.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/json.h"
#include "value/stage.h"

#define KNOWN_FIELDS "deal_id, stage, occurred_at, deal_value, crm_contact_id, event_id"

PG_FUNCTION_INFO_V1(artery_record_stage);
PG_FUNCTION_INFO_V1(artery_record_stages);

/* One element of record_stages on its way. */
typedef struct StageElement
{
	const ArteryTenant *tenant;
	int			index;			/* in the caller's array */
	Jsonb	   *fields;
	char	   *deal_id;		/* what the elements are ordered by; "" if it has none */
	TimestampTz now;
	DealResult	result;
} StageElement;

static char *
text_argument(FunctionCallInfo fcinfo, int index)
{
	return PG_ARGISNULL(index) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(index));
}

/* An empty text in place of none, as some callers send, is none. */
static char *
none_if_empty(char *text)
{
	return text != NULL && text[0] == '\0' ? NULL : text;
}

static void
require(const void *value, const char *what)
{
	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", what),
				 errhint("tenant_id, deal_id and stage are needed; everything else has a default.")));
}

/* A copy of an answer that outlives the scope. */
static Jsonb *
hand_over(ArteryScope *scope, Jsonb *answer)
{
	MemoryContext before = MemoryContextSwitchTo(scope->caller);
	Jsonb	   *copy = (Jsonb *) pg_detoast_datum_copy((struct varlena *) answer);

	MemoryContextSwitchTo(before);
	return copy;
}

/* artery.record_stage(tenant_id, deal_id, stage, occurred_at, deal_value, crm_contact_id, event_id) */
Datum
artery_record_stage(PG_FUNCTION_ARGS)
{
	ArteryScope scope;
	const ArteryTenant *tenant;
	DealMove	move = {0};
	DealResult	result;
	char	   *tenant_id = text_argument(fcinfo, 0);
	char	   *stage = text_argument(fcinfo, 2);
	TimestampTz now = artery_clock_now();
	Jsonb	   *answer;

	move.deal_id = text_argument(fcinfo, 1);
	require(tenant_id, "tenant_id");
	require(move.deal_id, "deal_id");
	require(stage, "stage");
	move.occurred_at = PG_ARGISNULL(3) ? now : PG_GETARG_TIMESTAMPTZ(3);
	move.deal_value = PG_ARGISNULL(4) ? NULL : PG_GETARG_NUMERIC(4);
	move.contact_id = none_if_empty(text_argument(fcinfo, 5));
	move.event_id = none_if_empty(text_argument(fcinfo, 6));

	tenant = artery_tenant_get(tenant_id);
	move.stage = artery_stage_get(tenant, stage);
	artery_scope_enter(&scope);
	artery_deal_record(tenant, &move, now, &result);
	if (result.high_value)
		artery_deal_ask_decision(tenant_id, move.deal_id);
	answer = hand_over(&scope, result.answer);
	artery_scope_leave(&scope);
	PG_RETURN_JSONB_P(answer);
}

static void
check_fields(Jsonb *fields)
{
	static const char *const known[] = {"deal_id", "stage", "occurred_at", "deal_value", "crm_contact_id", "event_id",
	"tenant_id"};
	JsonbIterator *iterator = JsonbIteratorInit(&fields->root);
	JsonbIteratorToken token;
	JsonbValue	key;
	int			i;

	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		bool		is_known = false;

		if (token != WJB_KEY)
			continue;
		for (i = 0; i < (int) lengthof(known); i++)
			is_known |= (int) strlen(known[i]) == key.val.string.len &&
				strncmp(known[i], key.val.string.val, key.val.string.len) == 0;
		if (!is_known)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown key \"%s\"", pnstrdup(key.val.string.val, Min(key.val.string.len, ARTERY_MAX_ID))),
					 errhint("Known keys: %s.", KNOWN_FIELDS)));
	}
}

/* A field as text; error where it is neither text nor number nor null. */
static char *
text_field(Jsonb *fields, const char *name)
{
	JsonbValue *value = artery_json_field(fields, name);

	if (value != NULL && value->type != jbvNull && value->type != jbvString && value->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be a text", name),
				 errhint("Numbers and null are taken, too.")));
	return artery_json_scalar_text(value);
}

/* Record one element; runs in a subtransaction of its own. */
static void
record_element(void *argument)
{
	StageElement *element = argument;
	DealMove	move = {0};
	char	   *tenant_id;
	char	   *stage;
	char	   *occurred_at;
	char	   *deal_value;

	if (element->fields == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an element of stages must be an object"),
				 errhint("Known keys: %s.", KNOWN_FIELDS)));
	check_fields(element->fields);
	tenant_id = text_field(element->fields, "tenant_id");
	if (tenant_id != NULL && strcmp(tenant_id, element->tenant->tenant_id) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the element names another tenant"),
				 errhint("Leave tenant_id out of the elements; it is the first argument.")));
	move.deal_id = text_field(element->fields, "deal_id");
	require(move.deal_id, "deal_id");
	stage = text_field(element->fields, "stage");
	require(stage, "stage");
	move.stage = artery_stage_get(element->tenant, stage);
	occurred_at = text_field(element->fields, "occurred_at");
	move.occurred_at = occurred_at == NULL ? element->now :
		DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(occurred_at),
												ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	deal_value = text_field(element->fields, "deal_value");
	if (deal_value != NULL)
		move.deal_value = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(deal_value),
															  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	move.contact_id = none_if_empty(text_field(element->fields, "crm_contact_id"));
	move.event_id = none_if_empty(text_field(element->fields, "event_id"));
	artery_deal_record(element->tenant, &move, element->now, &element->result);
}

static Jsonb *
error_answer(const StageElement *element, const ErrorData *error)
{
	JsonbParseState *state = NULL;

	artery_json_begin(&state);
	artery_json_text(&state, "status", "error");
	artery_json_text(&state, "deal_id", element->deal_id[0] != '\0' ? element->deal_id : NULL);
	artery_json_text(&state, "sqlstate", unpack_sql_state(error->sqlerrcode));
	artery_json_text(&state, "message", error->message);
	artery_json_text(&state, "detail", error->detail);
	artery_json_text(&state, "hint", error->hint);
	return artery_json_end(&state);
}

static int
compare_elements(const void *left, const void *right)
{
	const StageElement *a = left;
	const StageElement *b = right;
	int			order = strcmp(a->deal_id, b->deal_id);

	return order != 0 ? order : a->index - b->index;
}

static int
compare_index(const void *left, const void *right)
{
	return ((const StageElement *) left)->index - ((const StageElement *) right)->index;
}

/* Take the array apart, ordered by deal: the order in which deals are locked. */
static StageElement *
take_elements(Jsonb *stages, const ArteryTenant *tenant, int *count)
{
	JsonbIterator *iterator = JsonbIteratorInit(&stages->root);
	JsonbIteratorToken token;
	JsonbValue	item;
	StageElement *elements = palloc0(Max(JB_ROOT_COUNT(stages), 1) * sizeof(StageElement));
	int			n = 0;

	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		StageElement *element = &elements[n];

		if (token != WJB_ELEM)
			continue;
		element->tenant = tenant;
		element->index = n++;
		element->now = artery_clock_now();
		if (item.type == jbvBinary && JsonContainerIsObject(item.val.binary.data))
		{
			element->fields = JsonbValueToJsonb(&item);
			element->deal_id = artery_json_field_text(element->fields, "deal_id");
		}
		if (element->deal_id == NULL)
			element->deal_id = pstrdup("");
	}
	*count = n;
	qsort(elements, n, sizeof(StageElement), compare_elements);
	return elements;
}

/* artery.record_stages(tenant_id, stages): one result per element, errors too */
Datum
artery_record_stages(PG_FUNCTION_ARGS)
{
	ArteryScope scope;
	const ArteryTenant *tenant;
	char	   *tenant_id = text_argument(fcinfo, 0);
	Jsonb	   *stages = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	StageElement *elements;
	JsonbParseState *state = NULL;
	const char *high_value_deal = NULL;
	Jsonb	   *answer;
	int			count;
	int			i;

	require(tenant_id, "tenant_id");
	require(stages, "stages");
	tenant = artery_tenant_get(tenant_id);
	if (!JB_ROOT_IS_ARRAY(stages) || JB_ROOT_IS_SCALAR(stages))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stages must be a JSON array of objects"),
				 errhint("Keys of an object: %s.", KNOWN_FIELDS)));

	artery_scope_enter(&scope);
	elements = take_elements(stages, tenant, &count);
	for (i = 0; i < count; i++)
	{
		ErrorData  *error;

		CHECK_FOR_INTERRUPTS();
		if (!artery_attempt(record_element, &elements[i], &error))
			elements[i].result.answer = error_answer(&elements[i], error);
		else if (elements[i].result.high_value)
			high_value_deal = elements[i].deal_id;
	}
	if (high_value_deal != NULL)
		artery_deal_ask_decision(tenant_id, high_value_deal);

	qsort(elements, count, sizeof(StageElement), compare_index);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (i = 0; i < count; i++)
		artery_json_element(&state, elements[i].result.answer);
	answer = hand_over(&scope, JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL)));
	artery_scope_leave(&scope);
	PG_RETURN_JSONB_P(answer);
}
