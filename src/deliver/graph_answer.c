/*
 * graph_answer.c
 *		The classification of answers as SQL functions, for tests and for support:
 *		paste what Meta answered and see what artery would do.
 */
#include "artery.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

#include "deliver/graph_error.h"
#include "deliver/graph_json.h"

PG_FUNCTION_INFO_V1(artery_classify_graph_answer);
PG_FUNCTION_INFO_V1(artery_read_usage_headers);

static HttpTransport read_transport(FunctionCallInfo fcinfo, int argument, int status);
static void read_headers(FunctionCallInfo fcinfo, int argument, const char **headers);
static void classify_batch(ReturnSetInfo *result, HttpAnswer *answer);
static void put_verdict(ReturnSetInfo *result, const HttpAnswer *answer, GraphOperation operation);

/*
 * artery.classify_graph_answer(http_status, operation, body, headers,
 * transport): one row, for operation batch one per element.
 */
Datum
artery_classify_graph_answer(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	HttpAnswer	answer;
	char	   *operation = PG_ARGISNULL(1) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *body = PG_ARGISNULL(2) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(2));

	artery_begin_rows(fcinfo);
	memset(&answer, 0, sizeof(answer));
	answer.status = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	answer.body = body;
	answer.length = strlen(body);
	answer.transport = read_transport(fcinfo, 4, answer.status);
	read_headers(fcinfo, 3, answer.headers);

	if (strcmp(operation, "read") == 0)
		put_verdict(result, &answer, GRAPH_READ);
	else if (strcmp(operation, "write") == 0)
		put_verdict(result, &answer, GRAPH_WRITE);
	else if (strcmp(operation, "batch") == 0)
		classify_batch(result, &answer);
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown operation \"%.64s\"", operation),
				 errhint("Known operations: read, write, batch.")));
	return (Datum) 0;
}

/* Without a transport's name, a status tells that there was an answer. */
static HttpTransport
read_transport(FunctionCallInfo fcinfo, int argument, int status)
{
	static const char *const names[] = {"answered", "not_sent", "maybe_sent", "untrusted"};
	char	   *name;
	int			i;

	if (PG_ARGISNULL(argument))
		return status > 0 ? HTTP_ANSWERED : HTTP_MAYBE_SENT;
	name = text_to_cstring(PG_GETARG_TEXT_PP(argument));
	for (i = 0; i < (int) lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return (HttpTransport) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown transport \"%.64s\"", name),
			 errhint("Known: answered, not_sent, maybe_sent, untrusted.")));
	return HTTP_MAYBE_SENT;
}

/* An object of header names, in any case, to values. */
static void
read_headers(FunctionCallInfo fcinfo, int argument, const char **headers)
{
	Jsonb	   *given = PG_ARGISNULL(argument) ? NULL : PG_GETARG_JSONB_P(argument);
	JsonbContainer *object = artery_graph_root_object(given);
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;
	int			i;

	if (object == NULL)
		return;
	iterator = JsonbIteratorInit(object);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		if (token != WJB_VALUE || value.type != jbvString)
			continue;
		for (i = 0; i < HTTP_HEADERS; i++)
			if (pg_strcasecmp(name, artery_http_header_names[i]) == 0)
				headers[i] = pnstrdup(value.val.string.val, value.val.string.len);
	}
}

/* Elements are null (not finished in time) or {code, headers, body as a string}. */
static void
classify_batch(ReturnSetInfo *result, HttpAnswer *answer)
{
	Jsonb	   *parsed = artery_graph_parse(answer->body, answer->length);
	uint32		count;
	uint32		i;

	if (answer->transport != HTTP_ANSWERED || parsed == NULL || !JB_ROOT_IS_ARRAY(parsed) || JB_ROOT_IS_SCALAR(parsed))
	{
		put_verdict(result, answer, GRAPH_WRITE);
		return;
	}
	count = JB_ROOT_COUNT(parsed);
	for (i = 0; i < count; i++)
	{
		JsonbContainer *element = artery_graph_object(getIthJsonbValueFromContainer(&parsed->root, i));
		HttpAnswer	one = *answer;
		char	   *body = artery_graph_text(element, "body");
		int64		status = 0;

		if (!artery_graph_int64(element, "code", &status) || status < 100 || status > 599)
			one.transport = HTTP_MAYBE_SENT;
		one.status = (int) status;
		one.body = body == NULL ? "" : body;
		one.length = strlen(one.body);
		put_verdict(result, &one, GRAPH_WRITE);
	}
}

static void
put_verdict(ReturnSetInfo *result, const HttpAnswer *answer, GraphOperation operation)
{
	GraphVerdict verdict = artery_graph_classify(answer, operation, artery_graph_parse(answer->body, answer->length),
												 NULL);
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	values[0] = CStringGetTextDatum(artery_graph_class_name(verdict.class));
	values[1] = CStringGetTextDatum(artery_graph_scope_name(verdict.scope));
	values[2] = Int32GetDatum(verdict.wait_seconds);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* artery.read_usage_headers(headers) */
Datum
artery_read_usage_headers(PG_FUNCTION_ARGS)
{
	const char *headers[HTTP_HEADERS] = {NULL};
	GraphUsage	usage;
	TupleDesc	descriptor;
	Datum		values[6];
	bool		nulls[6] = {false};

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	read_headers(fcinfo, 0, headers);
	usage = artery_graph_usage(headers, NULL, NULL);
	values[0] = Float8GetDatum(usage.max_percent);
	values[1] = Int32GetDatum(usage.pause_seconds);
	values[2] = CStringGetTextDatum(artery_graph_scope_name(usage.pause_scope));
	nulls[2] = usage.pause_scope == SCOPE_CHANGE;
	nulls[3] = usage.pause_account == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(usage.pause_account);
	nulls[4] = usage.pause_type == NULL;
	values[4] = nulls[4] ? (Datum) 0 : CStringGetTextDatum(usage.pause_type);
	values[5] = BoolGetDatum(usage.full_tier);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}
