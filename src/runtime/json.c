/*
 * json.c
 *		Building and reading jsonb without ceremony.
 */
#include "artery.h"

#include <ctype.h>

#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "runtime/json.h"

void
artery_json_begin(JsonbParseState **state)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
}

Jsonb *
artery_json_end(JsonbParseState **state)
{
	return JsonbValueToJsonb(pushJsonbValue(state, WJB_END_OBJECT, NULL));
}

void
artery_json_key(JsonbParseState **state, const char *key)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, key);
	value.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &value);
}

void
artery_json_text(JsonbParseState **state, const char *key, const char *text)
{
	JsonbValue	value;

	artery_json_key(state, key);
	value.type = text ? jbvString : jbvNull;
	if (text)
	{
		value.val.string.val = unconstify(char *, text);
		value.val.string.len = strlen(text);
	}
	pushJsonbValue(state, WJB_VALUE, &value);
}

void
artery_json_number(JsonbParseState **state, const char *key, Numeric number)
{
	JsonbValue	value;

	artery_json_key(state, key);
	value.type = number ? jbvNumeric : jbvNull;
	value.val.numeric = number;
	pushJsonbValue(state, WJB_VALUE, &value);
}

void
artery_json_bool(JsonbParseState **state, const char *key, bool truth)
{
	JsonbValue	value;

	artery_json_key(state, key);
	value.type = jbvBool;
	value.val.boolean = truth;
	pushJsonbValue(state, WJB_VALUE, &value);
}

void
artery_json_element(JsonbParseState **state, Jsonb *object)
{
	JsonbValue	value;

	value.type = jbvBinary;
	value.val.binary.data = &object->root;
	value.val.binary.len = VARSIZE_ANY_EXHDR(object);
	pushJsonbValue(state, WJB_ELEM, &value);
}

JsonbValue *
artery_json_field(Jsonb *object, const char *key)
{
	return getKeyJsonValueFromContainer(&object->root, key, strlen(key), NULL);
}

char *
artery_json_scalar_text(const JsonbValue *value)
{
	if (value == NULL)
		return NULL;
	if (value->type == jbvString)
		return pnstrdup(value->val.string.val, value->val.string.len);
	if (value->type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	return NULL;
}

char *
artery_json_field_text(Jsonb *object, const char *key)
{
	return artery_json_scalar_text(artery_json_field(object, key));
}

/* The code unit that the escape at this place stands for; -1 if there is none. */
static int
read_escape(const char *text)
{
	int			unit = 0;
	int			i;

	if (text[0] != '\\' || text[1] != 'u')
		return -1;
	for (i = 2; i < 6; i++)
	{
		if (!isxdigit((unsigned char) text[i]))
			return -1;
		unit = unit * 16 + (text[i] <= '9' ? text[i] - '0' : (text[i] | 0x20) - 'a' + 10);
	}
	return unit;
}

void
artery_json_mend_escapes(char *text)
{
	while ((text = strchr(text, '\\')) != NULL && text[1] != '\0')
	{
		int			unit = read_escape(text);

		if (unit < 0)
		{
			text += 2;
			continue;
		}
		if (unit >= 0xD800 && unit <= 0xDBFF)
		{
			int			second = read_escape(text + 6);

			if (second >= 0xDC00 && second <= 0xDFFF)
			{
				text += 12;
				continue;
			}
		}
		if (unit == 0 || (unit >= 0xD800 && unit <= 0xDFFF))
			memcpy(text + 2, "fffd", 4);
		text += 6;
	}
}
