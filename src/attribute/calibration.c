/*
 * calibration.c
 *		What the calibrated model has learnt of a tenant, as of a moment.
 *
 * The stored numbers are sums without the factory's priors, faded to the moment
 * of the newest click or conversion in them. A backend keeps the last state it
 * has read and reads it again only if its version has changed.
 */
#include "artery.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "attribute/calibration.h"
#include "attribute/lesson.h"
#include "capture/click_window.h"
#include "capture/fields.h"
#include "capture/sighting.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/rerun.h"
#include "runtime/shmem.h"
#include "tenant/tenant.h"

#define STALE_SECONDS 5			/* by the machine's clock */
#define STALE_HOURS 6			/* by the clock of the events: history may be loaded in seconds */
#define BUSY_SECONDS 1			/* the same where this session is at it */
#define BUSY_CONVERSIONS 50
#define GROWING_SHARE 0.25		/* of what has been learnt from, for as much again to be learnt from at once */
#define WAKE_SECONDS 2			/* the worker is told of news at most this often */
#define FOLD_BATCH 10000		/* clicks that a conversion counts along the way */
#define KNOWN_VALUES 50000		/* kept in memory at most */

PG_FUNCTION_INFO_V1(artery_click_values);
PG_FUNCTION_INFO_V1(artery_click_class);
PG_FUNCTION_INFO_V1(artery_learnt_numbers);
PG_FUNCTION_INFO_V1(artery_learnt_step);
PG_FUNCTION_INFO_V1(artery_combine_learnt);
PG_FUNCTION_INFO_V1(artery_faded);

typedef struct KeptState
{
	char		tenant_id[LESSON_NAME_LENGTH + 1];
	int64		version;
	CalibratedState learnt;
	TimestampTz learnt_at;
	TimestampTz known_since;
	TimestampTz folded_at;
	int			conversions;	/* weighed since the last fold that was seen, whichever tenant's */
} KeptState;

static KeptState kept = {.tenant_id = ""};

/* How often a value occurred, as of counted_at. */
typedef struct KnownValue
{
	int64		key;
	double		occurrences;
	TimestampTz counted_at;
} KnownValue;

static HTAB *known_values = NULL;

/* Values, and the state with them: its row is the one with folded_at. */
static ArteryStatement select_learnt = {
	"SELECT v.value_key, v.occurrences, v.counted_at, NULL::pg_catalog.timestamptz, NULL::pg_catalog.timestamptz, "
	"       NULL::pg_catalog.float8[] "
	"  FROM artery.attribution_value v WHERE v.tenant_id = $1 AND v.value_key = ANY ($3) "
	"UNION ALL "
	"SELECT s.version, NULL, s.learnt_at, s.known_since, s.folded_at, CASE WHEN s.version <> $2 THEN s.learnt END "
	"  FROM artery.attribution_state s WHERE s.tenant_id = $1",
	3, {TEXTOID, INT8OID, INT8ARRAYOID}, NULL
};

/* Where all values are known. */
static ArteryStatement select_state = {
	"SELECT s.version, NULL, s.learnt_at, s.known_since, s.folded_at, CASE WHEN s.version <> $2 THEN s.learnt END "
	"  FROM artery.attribution_state s WHERE s.tenant_id = $1",
	2, {TEXTOID, INT8OID}, NULL
};

static ArteryStatement fold_state = {
	"SELECT artery.fold_attribution($1, false, $2)", 2, {TEXTOID, INT4OID}, NULL
};

static ArteryStatement select_values = {
	"SELECT v.value_key, v.occurrences, v.counted_at FROM artery.attribution_value v "
	" WHERE v.tenant_id = $1 AND v.value_key = ANY ($2)",
	2, {TEXTOID, INT8ARRAYOID}, NULL
};

static ArrayType *make_numbers(int count);
static double *numbers_of(ArrayType *array);
static void *plain_data(ArrayType *array);
static int	count_numbers(ArrayType *array);
static int	seek_unknown(const int64 *keys, int nkeys, Datum *sought);
static void forget_values(void);
static void remember_values(uint64 rows, const Datum *sought, int count);
static void remember_value(int64 key, double occurrences, TimestampTz counted_at);
static Datum make_keys(Datum *keys, int count);
static bool read_learnt(Datum tenant_id, const int64 *keys, int nkeys);
static void read_state(uint64 row);
static void unpack(Datum array, CalibratedState *learnt);
static void forget_state(const char *tenant_id);
static bool is_stale(TimestampTz at, bool found);
static double count_learnt(const CalibratedState *learnt);
static void wake_worker(void);

void
artery_calibration_load(Datum tenant_id, TimestampTz at, const int64 *keys, int nkeys, double *counts,
						CalibratedState *state, double *days)
{
	bool		found = read_learnt(tenant_id, keys, nkeys);
	double		keep;
	double	   *number = (double *) state;
	double	   *learnt = (double *) &kept.learnt;
	const double *fresh;
	int			i;

	if (is_stale(at, found) && XactIsoLevel == XACT_READ_COMMITTED)
	{
		Datum		values[2] = {tenant_id, Int32GetDatum(FOLD_BATCH)};

		artery_rerun_close();	/* to see what is folded */
		(void) artery_execute(&fold_state, values, NULL, false, 1);
		kept.conversions = 0;
		found = read_learnt(tenant_id, keys, nkeys);
	}
	kept.conversions++;
	wake_worker();
	artery_calibration_count(tenant_id, at, keys, nkeys, counts);

	artery_calibrated_init(state);
	*days = 0;
	if (!found)
		return;
	fresh = (const double *) artery_lesson_find(kept.tenant_id, kept.version);
	/* of a moment before what was learnt last, the same is held true */
	keep = exp2(-Max(at - kept.learnt_at, 0) / (double) USECS_PER_DAY / CALIBRATED_HALF_LIFE_DAYS);
	for (i = 0; i < CALIBRATED_NUMBERS; i++)
		number[i] = Max(number[i] * 0.01, number[i] + learnt[i] * keep + (fresh == NULL ? 0 : fresh[i]));
	if (kept.known_since != DT_NOBEGIN)
		*days = (Max(at, kept.learnt_at) - kept.known_since) / (double) USECS_PER_DAY;
}

void
artery_calibration_count(Datum tenant_id, TimestampTz at, const int64 *keys, int nkeys, double *counts)
{
	Datum	   *sought = palloc(nkeys * sizeof(Datum));
	int			nsought;
	int			i;

	forget_values();
	nsought = seek_unknown(keys, nkeys, sought);
	if (nsought > 0)
	{
		Datum		values[2] = {tenant_id, make_keys(sought, nsought)};

		remember_values(artery_click_execute_by_index(&select_values, values, NULL, 0), sought, nsought);
	}
	for (i = 0; i < nkeys; i++)
	{
		const KnownValue *value = keys[i] == 0 ? NULL : hash_search(known_values, &keys[i], HASH_FIND, NULL);
		double		age;

		counts[i] = 0;
		if (value == NULL || value->occurrences == 0)
			continue;
		age = Max(at - value->counted_at, 0) / (double) USECS_PER_DAY;
		/* faded sums become a week's clicks: ln 2 of a steady stream's sum */
		counts[i] = value->occurrences * exp2(-age / CALIBRATED_COUNT_HALF_LIFE_DAYS) *
			CALIBRATED_WINDOW_DAYS / (CALIBRATED_COUNT_HALF_LIFE_DAYS / 0.69314718055994531);
	}
	pfree(sought);
}

/* The keys whose values are not known yet; returns how many. */
static int
seek_unknown(const int64 *keys, int nkeys, Datum *sought)
{
	int			count = 0;
	int			i;

	for (i = 0; i < nkeys; i++)
		if (keys[i] != 0 && hash_search(known_values, &keys[i], HASH_FIND, NULL) == NULL)
			sought[count++] = Int64GetDatum(keys[i]);
	return count;
}

/* Values change with the version of the state only; known ones of another are forgotten. */
static void
forget_values(void)
{
	static int64 version = 0;
	static char tenant_id[LESSON_NAME_LENGTH + 1] = "";
	HASHCTL		control = {.keysize = sizeof(int64),.entrysize = sizeof(KnownValue)};

	if (known_values != NULL && version == kept.version && version != 0 && strcmp(tenant_id, kept.tenant_id) == 0 &&
		hash_get_num_entries(known_values) < KNOWN_VALUES)
		return;
	if (known_values != NULL)
		hash_destroy(known_values);
	known_values = hash_create("artery values of clicks", 1024, &control, HASH_ELEM | HASH_BLOBS);
	version = kept.version;
	strlcpy(tenant_id, kept.tenant_id, sizeof(tenant_id));
}

/* Those of the last result, and that what was sought and not found never occurred. */
static void
remember_values(uint64 rows, const Datum *sought, int count)
{
	uint64		row;
	int			i;

	for (row = 0; row < rows; row++)
		if (!artery_field_null(row, 2))
			remember_value(artery_field_int64(row, 1), artery_field_double(row, 2), artery_field_time(row, 3));
	for (i = 0; i < count; i++)
		remember_value(DatumGetInt64(sought[i]), 0, 0);
}

/* The first thing that is said of a key holds. */
static void
remember_value(int64 key, double occurrences, TimestampTz counted_at)
{
	bool		found;
	KnownValue *value = hash_search(known_values, &key, HASH_ENTER, &found);

	if (found)
		return;
	value->occurrences = occurrences;
	value->counted_at = counted_at;
}

void
artery_calibration_pack(const CalibratedState *learnt, Datum *positions, Datum *amounts)
{
	const double *number = (const double *) learnt;
	Datum	   *places = palloc(CALIBRATED_NUMBERS * sizeof(Datum));
	Datum	   *values = palloc(CALIBRATED_NUMBERS * sizeof(Datum));
	int			count = 0;
	int			i;

	for (i = 0; i < CALIBRATED_NUMBERS; i++)
	{
		if (number[i] == 0)
			continue;
		places[count] = Int16GetDatum(i + 1);
		values[count++] = Float8GetDatum(number[i]);
	}
	*positions = PointerGetDatum(construct_array(places, count, INT2OID, sizeof(int16), true, TYPALIGN_SHORT));
	*amounts = PointerGetDatum(construct_array(values, count, FLOAT8OID, sizeof(double), FLOAT8PASSBYVAL,
											   TYPALIGN_DOUBLE));
}

/*
 * artery.click_values(tenant_id, ip_address, fingerprint_key, hardware_key,
 * agent_key, sighting): the keys that a click counts for.
 */
Datum
artery_click_values(PG_FUNCTION_ARGS)
{
	Datum		keys[6];
	int			count = 0;
	Sighting	sighting = {SIGHTING_OTHER_OS, SIGHTING_OTHER_BROWSER, false, 0, 0, 0, 0, 0};
	const ArteryTenant *tenant;
	int			i;

	artery_fields_require("tenant_id", PG_ARGISNULL(0));
	tenant = artery_tenant_get(TextDatumGetCString(PG_GETARG_DATUM(0)));
	if (!PG_ARGISNULL(1))
	{
		sighting.ip = artery_sighting_address_key(PG_GETARG_DATUM(1));
		sighting.block = artery_sighting_block_key(PG_GETARG_DATUM(1));
	}
	artery_sighting_seal(tenant->salt, &sighting);
	if (sighting.ip != 0)
	{
		keys[count++] = Int64GetDatum(sighting.ip);
		keys[count++] = Int64GetDatum(sighting.block);
	}
	for (i = 2; i < 5; i++)
		if (!PG_ARGISNULL(i))
			keys[count++] = PG_GETARG_DATUM(i);
	if (!PG_ARGISNULL(5))
		artery_sighting_decode(PG_GETARG_INT16(5), &sighting);
	keys[count++] = Int64GetDatum(CALIBRATION_CLASS_KEY(artery_calibrated_class(sighting.os, sighting.in_app)));
	PG_RETURN_ARRAYTYPE_P(construct_array(keys, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* artery.click_class(sighting): 0 to 4 */
Datum
artery_click_class(PG_FUNCTION_ARGS)
{
	Sighting	sighting = {SIGHTING_OTHER_OS, SIGHTING_OTHER_BROWSER, false, 0, 0, 0, 0, 0};

	if (!PG_ARGISNULL(0))
		artery_sighting_decode(PG_GETARG_INT16(0), &sighting);
	PG_RETURN_INT32(artery_calibrated_class(sighting.os, sighting.in_app));
}

/* artery.learnt_numbers(): how many the model learns */
Datum
artery_learnt_numbers(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(CALIBRATED_NUMBERS);
}

/*
 * artery.learnt_step(sums, positions, amounts, weight): adds to the sums of an
 * aggregate, in place, what a conversion taught.
 */
Datum
artery_learnt_step(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	ArrayType  *sums;
	ArrayType  *positions = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	ArrayType  *amounts = PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2);
	double	   *number;
	int			count;
	int			i;

	if (!AggCheckCallContext(fcinfo, &context))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("artery.learnt_step can only be called by its aggregate")));
	if (PG_ARGISNULL(0))
	{
		MemoryContext before = MemoryContextSwitchTo(context);

		sums = make_numbers(CALIBRATED_NUMBERS);
		MemoryContextSwitchTo(before);
	}
	else
		sums = PG_GETARG_ARRAYTYPE_P(0);
	if (positions == NULL || amounts == NULL || PG_ARGISNULL(3))
		PG_RETURN_ARRAYTYPE_P(sums);
	if (ARR_HASNULL(positions) || ARR_HASNULL(amounts) || ARR_NDIM(positions) > 1 || ARR_NDIM(amounts) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("artery.learnt_step takes arrays of one dimension without nulls")));
	number = numbers_of(sums);
	count = Min(count_numbers(positions), count_numbers(amounts));
	for (i = 0; i < count; i++)
	{
		int			place = ((int16 *) plain_data(positions))[i];

		if (place >= 1 && place <= CALIBRATED_NUMBERS)
			number[place - 1] += numbers_of(amounts)[i] * PG_GETARG_FLOAT8(3);
	}
	PG_RETURN_ARRAYTYPE_P(sums);
}

/* artery.combine_learnt(one, weight, other, other_weight): the weighted sum; what is missing counts 0 */
Datum
artery_combine_learnt(PG_FUNCTION_ARGS)
{
	ArrayType  *sum = make_numbers(CALIBRATED_NUMBERS);
	double	   *number = numbers_of(sum);
	int			argument;
	int			i;

	for (argument = 0; argument < 4; argument += 2)
	{
		ArrayType  *array;
		double		weight;

		if (PG_ARGISNULL(argument) || PG_ARGISNULL(argument + 1))
			continue;
		array = PG_GETARG_ARRAYTYPE_P(argument);
		weight = PG_GETARG_FLOAT8(argument + 1);
		if (ARR_HASNULL(array) || ARR_NDIM(array) > 1)
			ereport(ERROR,
					(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
					 errmsg("artery.combine_learnt takes arrays of one dimension without nulls")));
		for (i = 0; i < Min(count_numbers(array), CALIBRATED_NUMBERS); i++)
			number[i] += numbers_of(array)[i] * weight;
	}
	PG_RETURN_ARRAYTYPE_P(sum);
}

/* An array of as many zeros. */
static ArrayType *
make_numbers(int count)
{
	Datum	   *zeros = palloc0(count * sizeof(Datum));

	return construct_array(zeros, count, FLOAT8OID, sizeof(double), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

static double *
numbers_of(ArrayType *array)
{
	return plain_data(array);
}

/* The elements of an array without nulls; ARR_DATA_PTR warns of signs. */
static void *
plain_data(ArrayType *array)
{
	return (char *) array + ARR_OVERHEAD_NONULLS(ARR_NDIM(array));
}

static int
count_numbers(ArrayType *array)
{
	return ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
}

/*
 * artery.faded(age, half_life_days): what is left of 1. The bound keeps sums of
 * very old rows from underflowing.
 */
Datum
artery_faded(PG_FUNCTION_ARGS)
{
	const Interval *age = PG_GETARG_INTERVAL_P(0);
	double		days = age->time / (double) USECS_PER_DAY + age->day + age->month * (double) DAYS_PER_MONTH;

	PG_RETURN_FLOAT8(exp2(-Min(Max(days / PG_GETARG_FLOAT8(1), 0), 200)));
}

static Datum
make_keys(Datum *keys, int count)
{
	return PointerGetDatum(construct_array(keys, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * Bring the kept state up to date, and the known values by those of the keys;
 * false if the tenant has no state yet. Values known of another version of the
 * state are none: they are read when they are asked for.
 */
static bool
read_learnt(Datum tenant_id, const int64 *keys, int nkeys)
{
	char	   *name = TextDatumGetCString(tenant_id);
	Datum	   *sought = palloc(nkeys * sizeof(Datum));
	Datum		values[3];
	int			nsought;
	uint64		rows;

	if (strcmp(kept.tenant_id, name) != 0)
		forget_state(name);
	forget_values();
	nsought = seek_unknown(keys, nkeys, sought);
	values[0] = tenant_id;
	values[1] = Int64GetDatum(kept.version);
	values[2] = make_keys(sought, nsought);
	rows = artery_click_execute_by_index(nsought > 0 ? &select_learnt : &select_state, values, NULL, 0);
	if (rows == 0 || artery_field_null(rows - 1, 5))
	{
		forget_state(name);
		return false;
	}
	read_state(rows - 1);
	forget_values();
	remember_values(rows, sought, nsought);
	pfree(sought);
	return true;
}

static void
read_state(uint64 row)
{
	bool		isnull;
	Datum		learnt = artery_field(row, 6, &isnull);

	kept.learnt_at = artery_field_time(row, 3);
	kept.known_since = artery_field_time(row, 4);
	kept.folded_at = artery_field_time(row, 5);
	if (isnull)
		return;
	kept.version = artery_field_int64(row, 1);
	kept.conversions = 0;
	unpack(learnt, &kept.learnt);
}

/* An array of another length is of another version of the model, and as none. */
static void
unpack(Datum array, CalibratedState *learnt)
{
	double	   *number = (double *) learnt;
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	int			i;

	memset(learnt, 0, sizeof(CalibratedState));
	deconstruct_array(DatumGetArrayTypeP(array), FLOAT8OID, sizeof(double), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &elements, &nulls, &count);
	for (i = 0; i < count && count == CALIBRATED_NUMBERS; i++)
		number[i] = nulls[i] ? 0 : DatumGetFloat8(elements[i]);
}

static void
forget_state(const char *tenant_id)
{
	strlcpy(kept.tenant_id, tenant_id, sizeof(kept.tenant_id));
	kept.version = 0;
	kept.folded_at = DT_NOBEGIN;
}

void
artery_calibration_remember(Datum tenant_id, const CalibratedState *learnt)
{
	char	   *name = TextDatumGetCString(tenant_id);

	if (strcmp(kept.tenant_id, name) == 0)
		artery_lesson_add(name, kept.version, learnt);
}

/* How many conversions were learnt from, about. */
static double
count_learnt(const CalibratedState *learnt)
{
	double		sum = learnt->organic;
	int			i;

	for (i = 0; i < CALIBRATED_CLASSES; i++)
		sum += learnt->matched[i];
	for (i = 0; i < CALIBRATED_BINS; i++)
		sum += learnt->bin_count[i];
	return sum;
}

/*
 * The worker folds within seconds; where there is none, whoever attributes does.
 * A tenant of whom little is known learns faster, for its history may come in
 * within a second.
 */
static bool
is_stale(TimestampTz at, bool found)
{
	int64		age = artery_clock_wall() - kept.folded_at;

	return !found || at > kept.learnt_at + STALE_HOURS * USECS_PER_HOUR || age > STALE_SECONDS * USECS_PER_SEC ||
		(kept.conversions >= BUSY_CONVERSIONS && (age > BUSY_SECONDS * USECS_PER_SEC ||
												  kept.conversions > GROWING_SHARE * count_learnt(&kept.learnt)));
}

static void
wake_worker(void)
{
	static TimestampTz woken_at = 0;
	TimestampTz now = artery_clock_wall();

	if (now < woken_at + WAKE_SECONDS * USECS_PER_SEC)
		return;
	woken_at = now;
	artery_wake_at_commit(ARTERY_JOBS);
}
