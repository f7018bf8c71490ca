/*
 * json.c
 *		Building and reading jsonb without ceremony.
 */
#include "artery.h"

#include <ctype.h>

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
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

/* Room for any character in any encoding, by the rules of pg_do_encoding_conversion_buf(). */
#define CHARACTER_ROOM (MAX_CONVERSION_GROWTH * (MAX_MULTIBYTE_CHAR_LEN + 1) + 1)

/* Convert one character of UTF-8 to the database's encoding by proc: its bytes, or 0 where that has no such character. */
static int
convert_character(Oid proc, const char *character, int length, char *result)
{
	if (!OidIsValid(proc) ||
		pg_do_encoding_conversion_buf(proc, PG_UTF8, GetDatabaseEncoding(), (unsigned char *) character, length,
									  (unsigned char *) result, CHARACTER_ROOM, true) != length)
		return 0;
	return (int) strlen(result);
}

/* Can a text of the database hold this code point? */
static bool
is_held(int code)
{
	char		character[MAX_MULTIBYTE_CHAR_LEN + 1] = {0};
	char		result[CHARACTER_ROOM];

	if (code < 0x80 || GetDatabaseEncoding() == PG_UTF8)
		return code != 0;
	unicode_to_utf8(code, (unsigned char *) character);
	return convert_character(FindDefaultConversionProc(PG_UTF8, GetDatabaseEncoding()), character, strlen(character),
							 result) > 0;
}

char *
artery_json_to_server(char *text, int length)
{
	Oid			proc;
	StringInfoData result;
	int			i;
	int			step;

	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII)
		return text;
	proc = FindDefaultConversionProc(PG_UTF8, GetDatabaseEncoding());
	initStringInfo(&result);
	for (i = 0; i < length; i += step)
	{
		char		converted[CHARACTER_ROOM];

		step = pg_utf_mblen((const unsigned char *) text + i);
		if (step == 1)
			appendStringInfoChar(&result, text[i]);
		else if (convert_character(proc, text + i, step, converted) > 0)
			appendStringInfoString(&result, converted);
		else
			appendStringInfoChar(&result, '?');
	}
	return result.data;
}

void
artery_json_mend_escapes(char *text)
{
	const char *replacement = is_held(0xFFFD) ? "fffd" : "003f";

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
				if (!is_held(0x10000 + ((unit - 0xD800) << 10) + (second - 0xDC00)))
				{
					memcpy(text + 2, replacement, 4);
					memcpy(text + 8, replacement, 4);
				}
				text += 12;
				continue;
			}
		}
		if ((unit >= 0xD800 && unit <= 0xDFFF) || !is_held(unit))
			memcpy(text + 2, replacement, 4);
		text += 6;
	}
}
