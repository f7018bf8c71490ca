/*
 * graph_json.c
 *		Reading answers of the Graph API: JSON from outside, which may be anything.
 *
 * PostgreSQL's own parser does the work. It raises errors on bad input, which are
 * caught here without a subtransaction: it touches nothing but memory, and in
 * the worker there is no transaction while answers are read.
 */
#include "artery.h"

#include <math.h>

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "deliver/graph_json.h"

#define MAX_NUMBER 32			/* longest number in a string */
#define MAX_WHOLE 9007199254740992.0	/* 2^53: beyond, a double is not exact */

/*
 * The bytes as text of the server's encoding; NULL if they cannot be. In another
 * encoding than UTF-8 what is not ASCII is lost: names, never ids or amounts.
 */
static char *
to_server_text(const char *body, size_t length)
{
	char	   *text;
	size_t		i;

	if (length > MaxAllocSize / 2 || memchr(body, '\0', length) != NULL)
		return NULL;
	if (pg_encoding_verifymbstr(PG_UTF8, body, length) != (int) length)
		return NULL;
	text = pnstrdup(body, length);
	if (GetDatabaseEncoding() == PG_UTF8)
		return text;
	for (i = 0; i < length; i++)
		if (IS_HIGHBIT_SET(text[i]))
			text[i] = '?';
	return text;
}

Jsonb *
artery_graph_parse(const char *body, size_t length)
{
	MemoryContext before = CurrentMemoryContext;
	char	   *volatile text = to_server_text(body, length);
	Jsonb	   *volatile parsed = NULL;

	if (text == NULL)
		return NULL;
	PG_TRY();
	{
		parsed = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	}
	PG_CATCH();
	{
		int			category = ERRCODE_TO_CATEGORY(geterrcode());

		if (category == ERRCODE_OPERATOR_INTERVENTION || geterrcode() == ERRCODE_OUT_OF_MEMORY)
			PG_RE_THROW();
		MemoryContextSwitchTo(before);
		FlushErrorState();
	}
	PG_END_TRY();
	return parsed;
}

JsonbContainer *
artery_graph_root_object(const Jsonb *jsonb)
{
	if (jsonb == NULL || !JB_ROOT_IS_OBJECT(jsonb))
		return NULL;
	return unconstify(JsonbContainer *, &jsonb->root);
}

JsonbContainer *
artery_graph_object(const JsonbValue *value)
{
	if (value == NULL || value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		return NULL;
	return value->val.binary.data;
}

JsonbValue *
artery_graph_member(JsonbContainer *object, const char *name)
{
	if (object == NULL)
		return NULL;
	return getKeyJsonValueFromContainer(object, name, strlen(name), NULL);
}

char *
artery_graph_text(JsonbContainer *object, const char *name)
{
	JsonbValue *value = artery_graph_member(object, name);

	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

bool
artery_graph_double(JsonbContainer *object, const char *name, double *number)
{
	JsonbValue *value = artery_graph_member(object, name);
	char	   *text = NULL;
	char	   *end;

	if (value != NULL && value->type == jbvNumeric)
		text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	else if (value != NULL && value->type == jbvString && value->val.string.len > 0 &&
			 value->val.string.len <= MAX_NUMBER)
		text = pnstrdup(value->val.string.val, value->val.string.len);
	if (text == NULL)
		return false;
	*number = strtod(text, &end);
	return *end == '\0' && end != text && isfinite(*number);
}

bool
artery_graph_int64(JsonbContainer *object, const char *name, int64 *value)
{
	double		number;

	if (!artery_graph_double(object, name, &number) || number != floor(number) || fabs(number) > MAX_WHOLE)
		return false;
	*value = (int64) number;
	return true;
}
