/*
 * calibration.c
 *		What the calibrated model has learnt of a tenant, as of a moment.
 *
 * The stored numbers are sums without the factory's priors, faded to the moment
 * of the newest click or conversion in them. A backend keeps the last state it
 * has read, and reads it again where there is news of it, or after a second.
 */
#include "artery.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "attribute/calibration.h"
#include "attribute/lesson.h"
#include "attribute/value_count.h"
#include "capture/click_window.h"
#include "capture/fields.h"
#include "runtime/bulk.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/news.h"
#include "runtime/rerun.h"
#include "runtime/shmem.h"
#include "tenant/tenant.h"

#define STALE_SECONDS 5			/* by the machine's clock */
#define STALE_HOURS 6			/* by the clock of the events: history may be loaded in seconds */
#define BUSY_SECONDS 3			/* the same where this session is at it */
#define BUSY_CONVERSIONS 50
#define GROWING_SHARE 0.25		/* of what has been learnt from, for as much again to be learnt from at once */
#define WAKE_SECONDS 2			/* the worker is told of news at most this often */
#define FOLD_BATCH 10000		/* clicks that a conversion counts along the way */
#define TRUSTED_SECONDS 1		/* a state that was read is not read again, unless there is news of it */

PG_FUNCTION_INFO_V1(artery_tell_learnt);

typedef struct KeptState
{
	char		tenant_id[LESSON_NAME_LENGTH + 1];
	int64		version;
	CalibratedState learnt;
	TimestampTz learnt_at;
	TimestampTz known_since;
	TimestampTz counted_until;
	TimestampTz folded_at;
	int			conversions;	/* weighed since the last fold that was seen, whichever tenant's */
	TimestampTz trusted_until;	/* by the machine's clock, unless there is news */
	uint32		news;			/* of the tenant, before the state was read */
} KeptState;

static KeptState kept = {.tenant_id = ""};

/* Values, and the state with them: its row is the one with folded_at. */
static ArteryStatement select_learnt = {
	"SELECT v.value_key, v.occurrences, v.counted_at, NULL::pg_catalog.timestamptz, NULL::pg_catalog.timestamptz, "
	"       NULL::pg_catalog.float8[], NULL::pg_catalog.timestamptz "
	"  FROM artery.attribution_value v WHERE v.tenant_id = $1 AND v.value_key = ANY ($3) "
	"UNION ALL "
	"SELECT s.version, NULL, s.learnt_at, s.known_since, s.folded_at, CASE WHEN s.version <> $2 THEN s.learnt END, "
	"       s.counted_until "
	"  FROM artery.attribution_state s WHERE s.tenant_id = $1",
	3, {TEXTOID, INT8OID, INT8ARRAYOID}, NULL
};

/* Where all values are known. */
static ArteryStatement select_state = {
	"SELECT s.version, NULL, s.learnt_at, s.known_since, s.folded_at, CASE WHEN s.version <> $2 THEN s.learnt END, "
	"       s.counted_until "
	"  FROM artery.attribution_state s WHERE s.tenant_id = $1",
	2, {TEXTOID, INT8OID}, NULL
};

static ArteryStatement fold_state = {
	"SELECT artery.fold_attribution($1, false, $2)", 2, {TEXTOID, INT4OID}, NULL
};

static bool read_learnt(Datum tenant_id, const int64 *keys, int nkeys);
static void read_state(uint64 row);
static void trust_state(uint32 topic, bool is_counted, uint32 news);
static bool is_trusted(uint32 topic);
static void unpack(Datum array, CalibratedState *learnt);
static void forget_state(const char *tenant_id);
static bool is_stale(TimestampTz at, bool found);
static double count_learnt(const CalibratedState *learnt);
static void wake_worker(void);

void
artery_calibration_refresh(Datum tenant_id, TimestampTz at, const int64 *keys, int nkeys)
{
	bool		found = read_learnt(tenant_id, keys, nkeys);

	if (is_stale(at, found) && XactIsoLevel == XACT_READ_COMMITTED)
	{
		Datum		values[2] = {tenant_id, Int32GetDatum(FOLD_BATCH)};

		artery_rerun_close();	/* to see what is folded */
		artery_bulk_flush();
		(void) artery_execute(&fold_state, values, NULL, false, 1);
		kept.conversions = 0;
		(void) read_learnt(tenant_id, keys, nkeys);
	}
	artery_value_use(kept.tenant_id, kept.version);
	kept.conversions++;
	wake_worker();
}

void
artery_calibration_load(TimestampTz at, CalibratedState *state, double *days)
{
	double		keep;
	double	   *number = (double *) state;
	double	   *learnt = (double *) &kept.learnt;
	const double *fresh;
	int			i;

	artery_calibrated_init(state);
	*days = 0;
	if (kept.version == 0)
		return;
	fresh = (const double *) artery_lesson_find(kept.tenant_id, kept.counted_until);
	/* of a moment before what was learnt last, the same is held true */
	keep = exp2(-Max(at - kept.learnt_at, 0) / (double) USECS_PER_DAY / CALIBRATED_HALF_LIFE_DAYS);
	for (i = 0; i < CALIBRATED_NUMBERS; i++)
		number[i] = Max(number[i] * 0.01, number[i] + learnt[i] * keep + (fresh == NULL ? 0 : fresh[i]));
	if (kept.known_since != DT_NOBEGIN)
		*days = (Max(at, kept.learnt_at) - kept.known_since) / (double) USECS_PER_DAY;
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
 * Bring the kept state up to date, and the known values by those of the keys;
 * false if the tenant has no state yet. Values known of another version of the
 * state are none: they are read when they are asked for.
 */
static bool
read_learnt(Datum tenant_id, const int64 *keys, int nkeys)
{
	char	   *name = TextDatumGetCString(tenant_id);
	uint32		topic = artery_news_topic(name);
	Datum		values[3];
	bool		with_values;
	uint64		rows;
	uint64		row;
	uint32		news = 0;
	bool		is_counted;

	if (strcmp(kept.tenant_id, name) != 0)
		forget_state(name);
	if (is_trusted(topic))
		return true;
	is_counted = artery_news_count(topic, &news);
	artery_value_use(kept.tenant_id, kept.version);
	values[0] = tenant_id;
	values[1] = Int64GetDatum(kept.version);
	with_values = artery_value_seek(keys, nkeys, &values[2]) > 0;
	rows = artery_click_execute_by_index(with_values ? &select_learnt : &select_state, values, NULL, 0);
	if (rows == 0 || artery_field_null(rows - 1, 5))
	{
		forget_state(name);
		return false;
	}
	read_state(rows - 1);
	trust_state(topic, is_counted, news);
	artery_value_use(kept.tenant_id, kept.version);
	for (row = 0; row + 1 < rows; row++)
		artery_value_remember(artery_field_int64(row, 1), artery_field_double(row, 2), artery_field_time(row, 3));
	artery_value_settle(values[2]);
	return true;
}

/* For a while, if it was read as it is now: a transaction that sees the past must not decide for those to come. */
static void
trust_state(uint32 topic, bool is_counted, uint32 news)
{
	kept.news = news;
	kept.trusted_until = is_counted && XactIsoLevel == XACT_READ_COMMITTED ?
		artery_clock_wall() + TRUSTED_SECONDS * USECS_PER_SEC : DT_NOBEGIN;
}

static bool
is_trusted(uint32 topic)
{
	TimestampTz now = artery_clock_wall();
	uint32		news;

	return kept.version != 0 && now < kept.trusted_until && now >= kept.trusted_until - TRUSTED_SECONDS * USECS_PER_SEC &&
		artery_news_count(topic, &news) && news == kept.news;
}

/* After a row of attribution_state is written: sessions that keep it shall read it again. */
Datum
artery_tell_learnt(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	bool		isnull;
	Datum		tenant_id;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		elog(ERROR, "artery.tell_learnt: not called for a row");
	tenant_id = heap_getattr(trigger->tg_trigtuple, 1, RelationGetDescr(trigger->tg_relation), &isnull);
	if (!isnull)
		artery_news_tell(artery_news_topic(TextDatumGetCString(tenant_id)));
	return PointerGetDatum(NULL);
}

static void
read_state(uint64 row)
{
	bool		isnull;
	Datum		learnt = artery_field(row, 6, &isnull);

	kept.learnt_at = artery_field_time(row, 3);
	kept.known_since = artery_field_time(row, 4);
	kept.folded_at = artery_field_time(row, 5);
	kept.counted_until = artery_field_time(row, 7);
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
	kept.counted_until = kept.folded_at = kept.trusted_until = DT_NOBEGIN;
}

void
artery_calibration_remember(Datum tenant_id, const CalibratedState *learnt)
{
	char	   *name = TextDatumGetCString(tenant_id);

	if (strcmp(kept.tenant_id, name) == 0)
		artery_lesson_add(name, kept.counted_until, learnt);
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
