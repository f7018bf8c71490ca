/*
 * fingerprint.c
 *		SHA-256 of what a browser tells of its device.
 *
 * The seven parts are joined by '|' in UTF-8, an unknown part being empty. A
 * device of which nothing is known has no fingerprint, rather than one that all
 * such devices share. The digest context is made once per backend: making it
 * costs more than hashing a hundred bytes.
 */
#include "artery.h"

#include <openssl/evp.h>

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "capture/fingerprint.h"

#define HASH_BYTES 32
#define HASH_DIGITS (2 * HASH_BYTES)
#define PARTS 7
#define INT_DIGITS 11			/* of an int4, with its sign */

PG_FUNCTION_INFO_V1(artery_fingerprint);

static const FingerprintColumns argument_columns = {0, 1, 2, 3, 4, 5, 6, -1};

static text *hash_parts(const FingerprintColumns *columns, const Datum *values, const bool *nulls);
static text *hash_bytes(const char *bytes, int length);
static text *normalise_hash(text *given);

/*
 * artery.fingerprint(screen_width, screen_height, timezone, timezone_offset,
 * device_type, os, browser)
 */
Datum
artery_fingerprint(PG_FUNCTION_ARGS)
{
	Datum		values[PARTS];
	bool		nulls[PARTS];
	text	   *hash;
	int			i;

	for (i = 0; i < PARTS; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i);
	}
	hash = hash_parts(&argument_columns, values, nulls);
	if (hash == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(hash);
}

void
artery_fingerprint_fill(const FingerprintColumns *columns, Datum *values, bool *nulls)
{
	text	   *hash;

	if (!nulls[columns->hash])
		hash = normalise_hash(DatumGetTextPP(values[columns->hash]));
	else
		hash = hash_parts(columns, values, nulls);
	values[columns->hash] = PointerGetDatum(hash);
	nulls[columns->hash] = hash == NULL;
}

/* Hash the joined parts; NULL if there is none. */
static text *
hash_parts(const FingerprintColumns *columns, const Datum *values, const bool *nulls)
{
	const int	order[PARTS] = {columns->screen_width, columns->screen_height, columns->timezone,
	columns->timezone_offset, columns->device_type, columns->os, columns->browser};
	static const bool is_text[PARTS] = {false, false, true, false, true, true, true};
	text	   *texts[PARTS];
	char		local[512];
	char	   *joined = local;
	char	   *end;
	Size		room = PARTS;
	int			i;

	for (i = 0; i < PARTS; i++)
	{
		texts[i] = NULL;
		if (nulls[order[i]])
			continue;
		if (is_text[i])
			texts[i] = DatumGetTextPP(values[order[i]]);
		room += is_text[i] ? VARSIZE_ANY_EXHDR(texts[i]) : INT_DIGITS;
	}
	if (room > sizeof(local))
		joined = palloc(room);

	end = joined;
	for (i = 0; i < PARTS; i++)
	{
		if (i > 0)
			*end++ = '|';
		if (texts[i] != NULL)
		{
			memcpy(end, VARDATA_ANY(texts[i]), VARSIZE_ANY_EXHDR(texts[i]));
			end += VARSIZE_ANY_EXHDR(texts[i]);
		}
		else if (!nulls[order[i]])
			end += pg_ltoa(DatumGetInt32(values[order[i]]), end);
	}
	if (end - joined == PARTS - 1)
		return NULL;
	return hash_bytes(joined, end - joined);
}

static text *
hash_bytes(const char *bytes, int length)
{
	static EVP_MD_CTX *context = NULL;
	unsigned char digest[HASH_BYTES];
	const char *utf8 = pg_server_to_any(bytes, length, PG_UTF8);
	text	   *hash = (text *) palloc(VARHDRSZ + HASH_DIGITS);
	bool		ok = true;

	if (utf8 != bytes)
		length = strlen(utf8);
	if (context == NULL)
	{
		context = EVP_MD_CTX_new();
		ok = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;
	}
	else
		ok = EVP_DigestInit_ex(context, NULL, NULL) == 1;	/* the same digest again */
	if (!ok || EVP_DigestUpdate(context, utf8, length) != 1 || EVP_DigestFinal_ex(context, digest, NULL) != 1)
	{
		EVP_MD_CTX_free(context);
		context = NULL;
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a SHA-256 hash")));
	}
	SET_VARSIZE(hash, VARHDRSZ + HASH_DIGITS);
	hex_encode((const char *) digest, HASH_BYTES, VARDATA(hash));
	return hash;
}

/*
 * A SHA-256 in lower case, so that both spellings meet; any other id that a
 * page's own fingerprinting gives stays as it is.
 */
static text *
normalise_hash(text *given)
{
	int			length = VARSIZE_ANY_EXHDR(given);
	const char *digits = VARDATA_ANY(given);
	text	   *hash;
	int			i;

	if (length > ARTERY_MAX_ID)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("fingerprint_hash is too long"),
				 errdetail("It has %d bytes; at most %d are accepted.", length, ARTERY_MAX_ID),
				 errhint("artery.fingerprint() makes one; or give the device fields instead.")));
	if (length != HASH_DIGITS || strspn(text_to_cstring(given), "0123456789abcdefABCDEF") != HASH_DIGITS)
		return given;
	hash = (text *) palloc(VARHDRSZ + HASH_DIGITS);
	SET_VARSIZE(hash, VARHDRSZ + HASH_DIGITS);
	for (i = 0; i < HASH_DIGITS; i++)
		VARDATA(hash)[i] = pg_ascii_tolower((unsigned char) digits[i]);
	return hash;
}
