/*
 * hubspot_door.c
 *		The reading of HubSpot's answers as an SQL function, for tests and for
 *		support: paste what HubSpot answered and see what artery would take from it.
 */
#include "artery.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "deliver/graph_json.h"
#include "deliver/hubspot_answer.h"
#include "runtime/json.h"

PG_FUNCTION_INFO_V1(artery_classify_hubspot_answer);

static Jsonb *contact_object(const HubspotContact *contact);
static void put_ids(JsonbParseState **state, const List *ids, const char *after);

/* artery.classify_hubspot_answer(http_status, step, body, retry_after, click_id_property) */
Datum
artery_classify_hubspot_answer(PG_FUNCTION_ARGS)
{
	char	   *name = PG_ARGISNULL(1) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *property = PG_ARGISNULL(4) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(4));
	bytea	   *body = PG_ARGISNULL(2) ? NULL : PG_GETARG_BYTEA_PP(2);
	JsonbParseState *state = NULL;
	HttpAnswer	answer = {.transport = HTTP_ANSWERED};
	HubspotStep step;
	HubspotVerdict verdict;
	Jsonb	   *parsed;
	List	   *list = NIL;
	char	   *after = NULL;
	bool		readable = false;
	ListCell   *cell;

	if (!artery_hubspot_step(name, &step))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown step \"%.64s\"", name),
				 errdetail("A step is what HubSpot was asked for."),
				 errhint("Known steps: deal, associations, contacts.")));
	answer.status = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	answer.body = body == NULL ? "" : VARDATA_ANY(body);
	answer.length = body == NULL ? 0 : VARSIZE_ANY_EXHDR(body);
	answer.headers[HTTP_RETRY_AFTER] = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	parsed = artery_graph_parse(answer.body, answer.length);
	verdict = artery_hubspot_classify(&answer, step, parsed);

	artery_json_begin(&state);
	artery_json_text(&state, "class", artery_hubspot_class_name(verdict.class));
	artery_json_text(&state, "detail", verdict.detail);
	artery_json_number(&state, "wait_seconds", int64_to_numeric(verdict.wait_seconds));
	if (verdict.class == HUBSPOT_OK)
	{
		readable = step == HUBSPOT_CONTACTS ? artery_hubspot_read_contacts(parsed, property, &list) :
			artery_hubspot_read_ids(parsed, step, &list, &after);
		artery_json_bool(&state, "readable", readable);
	}
	if (readable && step == HUBSPOT_CONTACTS)
	{
		artery_json_key(&state, "contacts");
		pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		foreach(cell, list)
			artery_json_element(&state, contact_object(lfirst(cell)));
		pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	}
	else if (readable)
		put_ids(&state, list, after);
	PG_RETURN_JSONB_P(artery_json_end(&state));
}

static Jsonb *
contact_object(const HubspotContact *contact)
{
	static const char *const names[] = {"first_submitted", "last_submitted"};
	JsonbParseState *state = NULL;
	int			i;

	artery_json_begin(&state);
	artery_json_text(&state, "id", contact->id);
	artery_json_text(&state, "email_hash", contact->email_hash);
	artery_json_text(&state, "click_id", contact->click_id);
	artery_json_text(&state, "fbclid", contact->fbclid);
	for (i = 0; i < (int) lengthof(names); i++)
		if (contact->submitted[i] != DT_NOBEGIN)
			artery_json_number(&state, names[i],
							   int64_to_numeric((int64) timestamptz_to_time_t(contact->submitted[i])));
	return artery_json_end(&state);
}

static void
put_ids(JsonbParseState **state, const List *ids, const char *after)
{
	ListCell   *cell;

	artery_json_key(state, "contacts");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	foreach(cell, ids)
	{
		JsonbValue	value = {.type = jbvString};

		value.val.string.val = lfirst(cell);
		value.val.string.len = strlen(lfirst(cell));
		pushJsonbValue(state, WJB_ELEM, &value);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
	artery_json_text(state, "after", after);
}
