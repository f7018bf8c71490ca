/*
 * click_key.c
 *		The ids of clicks: making them, and taking each in once.
 *
 * No unique constraint spans the partitions of click_tracking, and to look into
 * all of them would cost more than the click. So an id made here tells the time
 * of its click, and one that is given from outside is kept in click_key, by its
 * hash. A row there whose click is gone (deleted, or its partition dropped), or is
 * one of another id with the same hash, means nothing.
 */
#include "artery.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "capture/click_key.h"
#include "runtime/dbtx.h"
#include "runtime/stable_hash.h"

#define UNIX_EPOCH_OFFSET_MS (INT64CONST(10957) * SECS_PER_DAY * 1000)	/* 1970 to 2000 */
#define ID_LENGTH 36
#define ATTEMPTS 10				/* against a session that removes keys at the same moment */

static const char digits[] = "0123456789abcdef";

static ArteryStatement insert_key = {
	"INSERT INTO artery.click_key (tenant_id, id_hash, click_timestamp) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
	3, {TEXTOID, INT8OID, TIMESTAMPTZOID}, NULL
};

static ArteryStatement lock_key = {
	"SELECT k.click_timestamp FROM artery.click_key k WHERE k.tenant_id = $1 AND k.id_hash = $2 FOR NO KEY UPDATE",
	2, {TEXTOID, INT8OID}, NULL
};

static ArteryStatement update_key = {
	"UPDATE artery.click_key k SET click_timestamp = $3 WHERE k.tenant_id = $1 AND k.id_hash = $2",
	3, {TEXTOID, INT8OID, TIMESTAMPTZOID}, NULL
};

static ArteryStatement select_click = {
	"SELECT 1 FROM artery.click_tracking c WHERE c.tenant_id = $1 AND c.click_id = $2 "
	"   AND c.click_timestamp >= $3 AND c.click_timestamp < $4",
	4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, NULL
};

static bool read_made(text *click_id, TimestampTz *since);
static bool click_exists(Datum tenant_id, Datum click_id, TimestampTz since, int64 length);

/*
 * Milliseconds, then chance (RFC 9562, 5.7). Ids of one moment lie side by side
 * in the index.
 */
text *
artery_click_key_make(TimestampTz at)
{
	uint64		milliseconds = (uint64) (at / 1000 + UNIX_EPOCH_OFFSET_MS);
	unsigned char bytes[16];
	char		out[ID_LENGTH];
	int			length = 0;
	int			i;

	if (!pg_strong_random(bytes + 6, sizeof(bytes) - 6))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random click id")));
	for (i = 0; i < 6; i++)
		bytes[i] = (unsigned char) (milliseconds >> (40 - 8 * i));
	bytes[6] = (bytes[6] & 0x0f) | 0x70;
	bytes[8] = (bytes[8] & 0x3f) | 0x80;
	for (i = 0; i < 16; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[length++] = '-';
		out[length++] = digits[bytes[i] >> 4];
		out[length++] = digits[bytes[i] & 0x0f];
	}
	return cstring_to_text_with_len(out, length);
}

bool
artery_click_key_take(Datum tenant_id, Datum click_id, Datum click_timestamp)
{
	Datum		values[3] = {tenant_id, Int64GetDatum(artery_stable_hash_text(0, click_id)), click_timestamp};
	TimestampTz since;
	int			attempt;

	/* an id that was made here comes back: it has no key, but tells where to look */
	if (read_made(DatumGetTextPP(click_id), &since) && click_exists(tenant_id, click_id, since, 1000))
		return false;
	for (attempt = 0; attempt < ATTEMPTS; attempt++)
	{
		if (artery_execute(&insert_key, values, NULL, false, 0) > 0)
			return true;
		if (artery_execute(&lock_key, values, NULL, false, 1) == 0)
			continue;			/* removed at this moment */
		if (click_exists(tenant_id, click_id, artery_field_time(0, 1), 1))
			return false;
		(void) artery_execute(&update_key, values, NULL, false, 0);
		return true;
	}
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not take the click id \"%s\"", TextDatumGetCString(click_id)),
			 errdetail("Another session removes it again and again."),
			 errhint("Try again.")));
}

/* Could the id be one of ours? Then *since is the millisecond of its click. */
static bool
read_made(text *click_id, TimestampTz *since)
{
	const char *id = VARDATA_ANY(click_id);
	int64		milliseconds = 0;
	int			i;

	if (VARSIZE_ANY_EXHDR(click_id) != ID_LENGTH || id[14] != '7' || id[8] != '-' || id[13] != '-')
		return false;
	for (i = 0; i < 13; i++)
	{
		const char *digit;

		if (i == 8)
			continue;
		digit = strchr(digits, id[i]);
		if (digit == NULL || *digit == '\0')
			return false;
		milliseconds = milliseconds * 16 + (digit - digits);
	}
	*since = (milliseconds - UNIX_EPOCH_OFFSET_MS) * 1000;
	return IS_VALID_TIMESTAMP(*since);
}

static bool
click_exists(Datum tenant_id, Datum click_id, TimestampTz since, int64 length)
{
	Datum		values[4] = {tenant_id, click_id, TimestampTzGetDatum(since), TimestampTzGetDatum(since + length)};

	/* not read-only: the rows that the command has inserted so far must be seen */
	return artery_execute(&select_click, values, NULL, false, 1) > 0;
}
