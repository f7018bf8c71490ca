/*
 * client_hints.c
 *		What a browser says of itself where it is asked, instead of in its user
 *		agent.
 *
 * Chromium and its kin send them (W3C, User-Agent Client Hints); Safari and
 * Firefox do not. Among the brands is always one made up ("Not A;Brand"), so that
 * nobody relies on the list's form, and mostly Chromium, the engine.
 */
#include "artery.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "capture/client_hints.h"
#include "runtime/json.h"

#define HEADER_PREFIX "sec-ch-ua"

/* One quoted string of a header (RFC 8941); of the brands each, with its version after it. */
#define QUOTED "\"((?:[^\"\\\\]|\\\\.)*)\""

static void take_hint(const char *name, const JsonbValue *value, ClientHints *hints, char *mobile);
static void take_brands(const JsonbValue *value, ClientHints *hints);
static void take_brand_list(const char *header, int length, ClientHints *hints);
static void take_brand(const char *brand, int length, ClientHints *hints);
static void take_name(const char *name, int length, char *into);
static void unquote(const char **text, int *length);

void
artery_client_hints_read(Jsonb *given, ClientHints *hints)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;
	char		mobile = ' ';	/* y, n, or not told */

	memset(hints, 0, sizeof(ClientHints));
	if (!JB_ROOT_IS_OBJECT(given))
		return;
	iterator = JsonbIteratorInit(&given->root);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		char		name[CLIENT_HINT_NAME];
		int			i;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		for (i = 0; i < Min(key.val.string.len, CLIENT_HINT_NAME - 1); i++)
			name[i] = key.val.string.val[i] == '_' ? '-' : (char) pg_ascii_tolower((unsigned char) key.val.string.val[i]);
		name[i] = '\0';
		take_hint(name, &value, hints, &mobile);
	}
	if (mobile == 'y')
		strcpy(hints->device_type, "mobile");
	else if (mobile == 'n')
		strcpy(hints->device_type, pg_strcasecmp(hints->platform, "Android") == 0 ? "tablet" : "desktop");
}

static void
take_hint(const char *name, const JsonbValue *value, ClientHints *hints, char *mobile)
{
	bool		is_header = strncmp(name, HEADER_PREFIX, strlen(HEADER_PREFIX)) == 0;
	const char *hint = is_header ? name + strlen(HEADER_PREFIX) : name;

	if (is_header && *hint == '-')
		hint++;
	if (strcmp(hint, "mobile") == 0)
	{
		if (value->type == jbvBool)
			*mobile = value->val.boolean ? 'y' : 'n';
		else if (value->type == jbvString && value->val.string.len == 2 && value->val.string.val[0] == '?')
			*mobile = value->val.string.val[1] == '1' ? 'y' : 'n';
	}
	else if (strcmp(hint, "platform") == 0 && value->type == jbvString)
	{
		const char *text = value->val.string.val;
		int			length = value->val.string.len;

		unquote(&text, &length);
		take_name(text, length, hints->platform);
	}
	else if (strcmp(hint, is_header ? "" : "brands") == 0 || strcmp(hint, "full-version-list") == 0 ||
			 strcmp(hint, "fullversionlist") == 0)
		take_brands(value, hints);
}

/* An array of {"brand", "version"}, or the header's text. */
static void
take_brands(const JsonbValue *value, ClientHints *hints)
{
	JsonbContainer *list;
	int			count;
	int			i;

	if (value->type == jbvString)
		take_brand_list(value->val.string.val, value->val.string.len, hints);
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		return;
	list = value->val.binary.data;
	count = JsonContainerSize(list);
	for (i = 0; i < count; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(list, i);
		JsonbValue *brand;

		if (element == NULL || element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
			continue;
		brand = getKeyJsonValueFromContainer(element->val.binary.data, "brand", strlen("brand"), NULL);
		if (brand != NULL && brand->type == jbvString)
			take_brand(brand->val.string.val, brand->val.string.len, hints);
	}
}

static void
take_brand_list(const char *header, int length, ClientHints *hints)
{
	static pcre2_code *brand = NULL;
	static pcre2_match_data *match = NULL;
	PCRE2_SIZE *ends;
	PCRE2_SIZE	from = 0;
	PCRE2_SIZE	offset;
	int			error;

	if (brand == NULL)
		brand = pcre2_compile((PCRE2_SPTR) QUOTED "\\s*;\\s*v=", PCRE2_ZERO_TERMINATED, 0, &error, &offset, NULL);
	if (match == NULL && brand != NULL)
		match = pcre2_match_data_create_from_pattern(brand, NULL);
	if (match == NULL)
		return;
	ends = pcre2_get_ovector_pointer(match);
	for (; pcre2_match(brand, (PCRE2_SPTR) header, length, from, 0, match, NULL) > 0; from = ends[1])
		take_brand(header + ends[2], ends[3] - ends[2], hints);
}

/* The browser's own name is better than its engine's, and that than a made-up one. */
static void
take_brand(const char *brand, int length, ClientHints *hints)
{
	char		name[CLIENT_HINT_NAME];

	take_name(brand, length, name);
	if (pg_strncasecmp(name, "Not", 3) == 0 || strstr(name, "Brand") != NULL || name[0] == '\0')
		return;
	if (hints->brand[0] == '\0' || strcmp(hints->brand, "Chromium") == 0)
		strcpy(hints->brand, name);
}

static void
take_name(const char *name, int length, char *into)
{
	length = pg_mbcliplen(name, length, CLIENT_HINT_NAME - 1);
	memcpy(into, name, length);
	into[length] = '\0';
}

/* Headers have their strings in quotes. */
static void
unquote(const char **text, int *length)
{
	if (*length >= 2 && (*text)[0] == '"' && (*text)[*length - 1] == '"')
	{
		(*text)++;
		*length -= 2;
	}
}
