/*
 * meta.c
 *		Calls of Meta's Graph API: how requests are built and answers are read.
 *
 * The token goes into a header, never into an address, since addresses get
 * logged everywhere. Setting an absolute value is idempotent; that and reading
 * back are all there is against doubt, for the API knows no idempotency key.
 */
#include "artery.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "deliver/currency.h"
#include "deliver/graph_json.h"
#include "deliver/meta.h"
#include "runtime/guc.h"

#define BUDGET_FIELDS "daily_budget,lifetime_budget,status,effective_status,updated_time,account_id"
#define STATUS_FIELDS "status,effective_status,updated_time,account_id"
#define REDACTED "[redacted]"
#define TOKEN_PREFIX "EAA"		/* how Meta's tokens begin */
#define TOKEN_LEAST_LENGTH 20

static HttpRequest *submit(const void *owner, void *user, const char *method, const char *url, const char *body,
						   const MetaCredentials *credentials);
static char *object_url(const char *id);
static void append_escaped(StringInfo buffer, const char *text);
static void append_proof(StringInfo buffer, char separator, const MetaCredentials *credentials);
static Numeric read_budget(JsonbContainer *object, const char *name, const char *currency);
static void replace_all(StringInfo buffer, const char *secret);
static void push_text(JsonbParseState **state, const char *name, const char *value);
static void push_number(JsonbParseState **state, const char *name, int64 value);

char *
artery_meta_proof(const MetaCredentials *credentials)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int length = 0;
	char	   *hex;

	if (HMAC(EVP_sha256(), credentials->app_secret, strlen(credentials->app_secret),
			 (const unsigned char *) credentials->token, strlen(credentials->token), digest, &length) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not sign a request")));
	hex = palloc(length * 2 + 1);
	hex[hex_encode((const char *) digest, length, hex)] = '\0';
	return hex;
}

HttpRequest *
artery_meta_read(const void *owner, void *user, const ChangeClaim *claim, const MetaCredentials *credentials)
{
	StringInfoData url;

	initStringInfo(&url);
	appendStringInfo(&url, "%s?fields=%s", object_url(claim->target_id),
					 claim->is_budget ? BUDGET_FIELDS : STATUS_FIELDS);
	append_proof(&url, '&', credentials);
	return submit(owner, user, "GET", url.data, NULL, credentials);
}

HttpRequest *
artery_meta_write(const void *owner, void *user, const ChangeClaim *claim, const MetaCredentials *credentials)
{
	StringInfoData body;

	initStringInfo(&body);
	if (claim->is_budget)
		appendStringInfo(&body, "daily_budget=" INT64_FORMAT,
						 artery_currency_to_minor(claim->sending_budget, claim->currency));
	else
	{
		appendStringInfoString(&body, "status=");
		append_escaped(&body, claim->status);
	}
	if (claim->validate)
		appendStringInfoString(&body, "&execution_options=%5B%22validate_only%22%5D");
	append_proof(&body, '&', credentials);
	return submit(owner, user, "POST", object_url(claim->target_id), body.data, credentials);
}

HttpRequest *
artery_meta_call(const void *owner, void *user, const char *method, const char *object, const char *edge,
				 const char *parameters, const MetaCredentials *credentials)
{
	StringInfoData url;
	StringInfoData all;

	initStringInfo(&url);
	appendStringInfoString(&url, object_url(object));
	if (edge != NULL)
		appendStringInfo(&url, "/%s", edge);
	initStringInfo(&all);
	appendStringInfoString(&all, parameters);
	append_proof(&all, '&', credentials);
	if (strcmp(method, "POST") == 0)
		return submit(owner, user, method, url.data, all.data, credentials);
	appendStringInfo(&url, "?%s", all.data);
	return submit(owner, user, method, url.data, NULL, credentials);
}

void
artery_meta_parameter(StringInfo parameters, const char *name, const char *value)
{
	if (parameters->len > 0)
		appendStringInfoChar(parameters, '&');
	appendStringInfo(parameters, "%s=", name);
	append_escaped(parameters, value);
}

static HttpRequest *
submit(const void *owner, void *user, const char *method, const char *url, const char *body,
	   const MetaCredentials *credentials)
{
	char	   *authorization = psprintf("Authorization: Bearer %s", credentials->token);
	const char *headers[] = {authorization, "Accept: application/json", "Expect:", NULL};
	HttpRequest *request;

	/* A token with a line break would smuggle in headers. */
	if (strpbrk(credentials->token, "\r\n") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the access token contains a line break")));
	request = artery_http_submit(owner, user, method, url, headers, body);
	explicit_bzero(authorization, strlen(authorization));
	return request;
}

/* Base, version and object; an id may hold anything, so it is escaped. */
static char *
object_url(const char *id)
{
	StringInfoData url;

	initStringInfo(&url);
	appendStringInfo(&url, "%s/%s/", artery_settings.meta_base_url, artery_settings.meta_api_version);
	append_escaped(&url, id);
	return url.data;
}

static void
append_escaped(StringInfo buffer, const char *text)
{
	for (; *text != '\0'; text++)
	{
		unsigned char byte = (unsigned char) *text;

		if (isalnum(byte) && byte < 128)
			appendStringInfoChar(buffer, *text);
		else if (byte == '_' || byte == '-')
			appendStringInfoChar(buffer, *text);
		else
			appendStringInfo(buffer, "%%%02X", byte);
	}
}

static void
append_proof(StringInfo buffer, char separator, const MetaCredentials *credentials)
{
	if (credentials->app_secret != NULL)
		appendStringInfo(buffer, "%cappsecret_proof=%s", separator, artery_meta_proof(credentials));
}

MetaObject
artery_meta_object(const Jsonb *parsed, const char *currency)
{
	JsonbContainer *root = artery_graph_root_object(parsed);
	MetaObject	object;
	const char *account;

	memset(&object, 0, sizeof(object));
	object.live.known = true;
	object.live.budget = read_budget(root, "daily_budget", currency);
	object.has_lifetime_budget = read_budget(root, "lifetime_budget", currency) != NULL;
	object.live.status = artery_graph_text(root, "status");
	account = artery_graph_text(root, "account_id");
	if (account != NULL)
		object.account_id = pstrdup(strncmp(account, "act_", 4) == 0 ? account + 4 : account);
	return object;
}

/* Budgets are strings of minor units; "0" and absence both mean that there is none. */
static Numeric
read_budget(JsonbContainer *object, const char *name, const char *currency)
{
	JsonbValue *value = artery_graph_member(object, name);
	int64		minor;

	if (value == NULL || value->type == jbvNull)
		return NULL;
	if (!artery_graph_int64(object, name, &minor) || minor < 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("Meta's %s is not an amount in minor units", name)));
	return minor == 0 ? NULL : artery_currency_from_minor(minor, currency);
}

Jsonb *
artery_meta_summary(const HttpAnswer *answer, const GraphVerdict *verdict, const Jsonb *parsed,
					const MetaCredentials *credentials)
{
	static const char *const shown[] = {"daily_budget", "lifetime_budget", "status", "effective_status"};
	JsonbContainer *root = artery_graph_root_object(parsed);
	JsonbParseState *state = NULL;
	int			i;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_text(&state, "class", artery_graph_class_name(verdict->class));
	if (answer->transport == HTTP_ANSWERED)
		push_number(&state, "http_status", answer->status);
	else
		push_text(&state, "transport", answer->error);
	if (verdict->has_error)
	{
		push_number(&state, "code", verdict->code);
		if (verdict->subcode != 0)
			push_number(&state, "error_subcode", verdict->subcode);
		if (verdict->message != NULL)
			push_text(&state, "message", artery_meta_redact(verdict->message, credentials));
		if (verdict->trace != NULL)
			push_text(&state, "fbtrace_id", artery_meta_redact(verdict->trace, credentials));
	}
	for (i = 0; i < (int) lengthof(shown); i++)
	{
		char	   *text = artery_graph_text(root, shown[i]);

		if (text != NULL && strlen(text) <= 64)
			push_text(&state, shown[i], text);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
push_text(JsonbParseState **state, const char *name, const char *value)
{
	JsonbValue	item;

	item.type = jbvString;
	item.val.string.val = pstrdup(name);
	item.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &item);
	item.val.string.val = pstrdup(value);
	item.val.string.len = strlen(value);
	pushJsonbValue(state, WJB_VALUE, &item);
}

static void
push_number(JsonbParseState **state, const char *name, int64 value)
{
	JsonbValue	item;

	item.type = jbvString;
	item.val.string.val = pstrdup(name);
	item.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &item);
	item.type = jbvNumeric;
	item.val.numeric = int64_to_numeric(value);
	pushJsonbValue(state, WJB_VALUE, &item);
}

char *
artery_meta_redact(const char *text, const MetaCredentials *credentials)
{
	StringInfoData clean;
	char	   *begin;

	initStringInfo(&clean);
	appendStringInfoString(&clean, text);
	if (credentials != NULL && credentials->token != NULL)
		replace_all(&clean, credentials->token);
	if (credentials != NULL && credentials->app_secret != NULL)
		replace_all(&clean, credentials->app_secret);
	begin = clean.data;
	while ((begin = strstr(begin, TOKEN_PREFIX)) != NULL)
	{
		int			length = 0;

		while (isalnum((unsigned char) begin[length]))
			length++;
		if (length < TOKEN_LEAST_LENGTH)
			begin += strlen(TOKEN_PREFIX);
		else
		{
			char	   *found = pnstrdup(begin, length);

			replace_all(&clean, found);
			begin = clean.data;
		}
	}
	return clean.data;
}

/* Searched on behind each replacement, which may look like the beginning of another. */
static void
replace_all(StringInfo buffer, const char *secret)
{
	int			offset = 0;
	char	   *found;

	if (secret[0] == '\0')
		return;
	while ((found = strstr(buffer->data + offset, secret)) != NULL)
	{
		char	   *rest = pstrdup(found + strlen(secret));

		buffer->len = found - buffer->data;
		buffer->data[buffer->len] = '\0';
		appendStringInfoString(buffer, REDACTED);
		offset = buffer->len;
		appendStringInfoString(buffer, rest);
	}
}
