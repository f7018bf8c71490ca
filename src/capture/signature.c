/*
 * signature.c
 *		HubSpot's request signatures: pure verification.
 *
 * The raw bytes of the body are signed, so JSON is never looked at here. Version
 * 3 alone carries a time and so alone resists a replay; whether an older one is
 * acceptable is the caller's to decide.
 */
#include "artery.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "capture/signature.h"

#define DIGEST_LENGTH 32
#define MAX_SKEW_US (INT64CONST(300000) * 1000)

PG_FUNCTION_INFO_V1(artery_hubspot_signature_valid);

/* Append a URI with only those escapes decoded that HubSpot decodes before it signs. */
static void
append_decoded(StringInfo buffer, const char *uri)
{
	static const struct
	{
		const char *digits;
		char		plain;
	}			escapes[] = {
		{"3A", ':'}, {"2F", '/'}, {"3F", '?'}, {"40", '@'}, {"21", '!'}, {"24", '$'},
		{"27", '\''}, {"28", '('}, {"29", ')'}, {"2A", '*'}, {"2C", ','}, {"3B", ';'}
	};

	while (*uri != '\0')
	{
		int			i = lengthof(escapes);

		if (*uri == '%')
		{
			for (i = 0; i < (int) lengthof(escapes); i++)
				if (pg_strncasecmp(uri + 1, escapes[i].digits, 2) == 0)
					break;
		}
		if (i < (int) lengthof(escapes))
		{
			appendStringInfoChar(buffer, escapes[i].plain);
			uri += 3;
		}
		else
			appendStringInfoChar(buffer, *uri++);
	}
}

static void
append_hex(char *target, const unsigned char *digest)
{
	int			i;

	for (i = 0; i < DIGEST_LENGTH; i++)
		sprintf(target + 2 * i, "%02x", digest[i]);
}

/* The signature as it must be; target has room for 2 * DIGEST_LENGTH + 1. */
static void
sign(const SignedRequest *request, const char *secret, char *target)
{
	unsigned char digest[DIGEST_LENGTH];
	StringInfoData message;

	initStringInfo(&message);
	if (request->version != SIGNATURE_V3)
		appendStringInfoString(&message, secret);
	if (request->version != SIGNATURE_V1)
		appendStringInfoString(&message, request->method);
	if (request->version == SIGNATURE_V2)
		appendStringInfoString(&message, request->uri);
	if (request->version == SIGNATURE_V3)
		append_decoded(&message, request->uri);
	appendBinaryStringInfo(&message, request->body, request->body_length);
	if (request->version == SIGNATURE_V3)
	{
		appendStringInfoString(&message, request->timestamp);
		if (HMAC(EVP_sha256(), secret, strlen(secret), (unsigned char *) message.data, message.len, digest, NULL) == NULL)
			elog(ERROR, "could not compute an HMAC");
		EVP_EncodeBlock((unsigned char *) target, digest, DIGEST_LENGTH);
	}
	else
	{
		if (EVP_Digest(message.data, message.len, digest, NULL, EVP_sha256(), NULL) != 1)
			elog(ERROR, "could not compute a digest");
		append_hex(target, digest);
	}
	OPENSSL_cleanse(message.data, message.len);
	pfree(message.data);
}

bool
artery_signature_valid(const SignedRequest *request, const char *secret)
{
	char		expected[2 * DIGEST_LENGTH + 1];

	if (request->signature == NULL || secret == NULL || secret[0] == '\0')
		return false;
	if (request->version != SIGNATURE_V1 && (request->method == NULL || request->uri == NULL))
		return false;
	if (request->version == SIGNATURE_V3 && request->timestamp == NULL)
		return false;
	sign(request, secret, expected);
	return strlen(request->signature) == strlen(expected) &&
		CRYPTO_memcmp(request->signature, expected, strlen(expected)) == 0;
}

bool
artery_signature_fresh(const char *timestamp, int64 now_us)
{
	int64		age;
	size_t		length = strlen(timestamp);

	/* 15 digits reach beyond the year 30000 and cannot overflow. */
	if (length == 0 || length > 15 || strspn(timestamp, "0123456789") != length)
		return false;
	age = now_us - strtoll(timestamp, NULL, 10) * 1000;
	return age <= MAX_SKEW_US && age >= -MAX_SKEW_US;
}

/* artery.hubspot_signature_valid(version, secret, method, uri, body, timestamp, signature) */
Datum
artery_hubspot_signature_valid(PG_FUNCTION_ARGS)
{
	SignedRequest request = {0};
	bytea	   *body;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(4))
		PG_RETURN_NULL();
	request.version = PG_GETARG_INT32(0);
	if (request.version < SIGNATURE_V1 || request.version > SIGNATURE_V3)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown version of a signature: %d", PG_GETARG_INT32(0)),
				 errhint("Known versions: 1, 2, 3.")));
	body = PG_GETARG_BYTEA_PP(4);
	request.body = VARDATA_ANY(body);
	request.body_length = VARSIZE_ANY_EXHDR(body);
	request.method = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	request.uri = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	request.timestamp = PG_ARGISNULL(5) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(5));
	request.signature = PG_ARGISNULL(6) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(6));
	PG_RETURN_BOOL(artery_signature_valid(&request, text_to_cstring(PG_GETARG_TEXT_PP(1))));
}
