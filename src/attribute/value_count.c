/*
 * value_count.c
 *		How often values (addresses, blocks, fingerprints, ...) occur in a
 *		tenant's clicks.
 */
#include "artery.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "attribute/calibrated.h"
#include "attribute/lesson.h"
#include "attribute/value_count.h"
#include "capture/click_window.h"

#define KNOWN_VALUES 50000		/* kept in memory at most */

/* How often a value occurred, as of counted_at. */
typedef struct KnownValue
{
	int64		key;
	double		occurrences;
	TimestampTz counted_at;
} KnownValue;

static HTAB *known_values = NULL;

static ArteryStatement select_values = {
	"SELECT v.value_key, v.occurrences, v.counted_at FROM artery.attribution_value v "
	" WHERE v.tenant_id = $1 AND v.value_key = ANY ($2)",
	2, {TEXTOID, INT8ARRAYOID}, NULL
};

static void read_values(Datum tenant_id, const int64 *keys, int nkeys);

void
artery_value_use(const char *tenant_id, int64 version)
{
	static int64 version_used = 0;
	static char tenant_used[LESSON_NAME_LENGTH + 1] = "";
	HASHCTL		control = {.keysize = sizeof(int64),.entrysize = sizeof(KnownValue)};

	if (known_values != NULL && version_used == version && version != 0 && strcmp(tenant_used, tenant_id) == 0 &&
		hash_get_num_entries(known_values) < KNOWN_VALUES)
		return;
	if (known_values != NULL)
		hash_destroy(known_values);
	known_values = hash_create("artery values of clicks", 1024, &control, HASH_ELEM | HASH_BLOBS);
	version_used = version;
	strlcpy(tenant_used, tenant_id, sizeof(tenant_used));
}

int
artery_value_seek(const int64 *keys, int nkeys, Datum *sought)
{
	Datum	   *unknown = palloc(nkeys * sizeof(Datum));
	int			count = 0;
	int			i;

	for (i = 0; i < nkeys; i++)
		if (keys[i] != 0 && hash_search(known_values, &keys[i], HASH_FIND, NULL) == NULL)
			unknown[count++] = Int64GetDatum(keys[i]);
	*sought = PointerGetDatum(construct_array(unknown, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	return count;
}

/* The first thing that is said of a key holds. */
void
artery_value_remember(int64 key, double occurrences, TimestampTz counted_at)
{
	bool		found;
	KnownValue *value = hash_search(known_values, &key, HASH_ENTER, &found);

	if (found)
		return;
	value->occurrences = occurrences;
	value->counted_at = counted_at;
}

void
artery_value_settle(Datum sought)
{
	ArrayType  *array = DatumGetArrayTypeP(sought);
	const int64 *keys = (const int64 *) ((char *) array + ARR_OVERHEAD_NONULLS(1));
	int			count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	int			i;

	for (i = 0; i < count; i++)
		artery_value_remember(keys[i], 0, 0);
}

bool
artery_value_known(TimestampTz at, int64 key, double *clicks)
{
	const KnownValue *value = hash_search(known_values, &key, HASH_FIND, NULL);
	double		age;

	*clicks = 0;
	if (value == NULL || value->occurrences == 0)
		return value != NULL;
	age = Max(at - value->counted_at, 0) / (double) USECS_PER_DAY;
	/* faded sums become a week's clicks: ln 2 of a steady stream's sum */
	*clicks = value->occurrences * exp2(-age / CALIBRATED_COUNT_HALF_LIFE_DAYS) *
		CALIBRATED_WINDOW_DAYS / (CALIBRATED_COUNT_HALF_LIFE_DAYS / 0.69314718055994531);
	return true;
}

void
artery_value_count(Datum tenant_id, TimestampTz at, const int64 *keys, int nkeys, double *counts)
{
	int			i;

	read_values(tenant_id, keys, nkeys);
	for (i = 0; i < nkeys; i++)
	{
		if (keys[i] == 0)
			counts[i] = 0;
		else
			(void) artery_value_known(at, keys[i], &counts[i]);
	}
}

/* Those that are not known. */
static void
read_values(Datum tenant_id, const int64 *keys, int nkeys)
{
	Datum		values[2] = {tenant_id};
	uint64		rows;
	uint64		row;

	if (artery_value_seek(keys, nkeys, &values[1]) == 0)
		return;
	rows = artery_click_execute_by_index(&select_values, values, NULL, 0);
	for (row = 0; row < rows; row++)
		artery_value_remember(artery_field_int64(row, 1), artery_field_double(row, 2), artery_field_time(row, 3));
	artery_value_settle(values[1]);
}
