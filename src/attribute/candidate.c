/*
 * candidate.c
 *		The clicks that may have earned a conversion, from the tables.
 *
 * They come from three index ranges (address, fingerprint, hardware), newest
 * first and bounded, so that a busy value costs no more than a rare one; those
 * of a common device are not looked at. Clicks beyond the ranges are accounted
 * for as unseen: how far back a range reaches tells how many. How common the
 * conversion's values are is read along, behind the clicks, as a statement of
 * its own takes longer to start than to run.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "attribute/attribution.h"
#include "attribute/candidate.h"
#include "attribute/layered.h"
#include "attribute/value_count.h"
#include "capture/click_window.h"
#include "capture/salt.h"
#include "runtime/dbtx.h"

/* Measured: with 16 each, as many answers are right, and the credit of ads is no truer. */
#define ADDRESS_LIMIT 8
#define FINGERPRINT_LIMIT 6
#define HARDWARE_LIMIT 4

StaticAssertDecl(WEIGHED_CLICKS >= ADDRESS_LIMIT + FINGERPRINT_LIMIT + HARDWARE_LIMIT, "there is room for all ranges");

/*
 * The clicks of a range, with the number of the range; and their time, by which
 * they are sorted. One composite: to start a statement costs by its columns,
 * those of each of its nodes.
 */
#define SELECT_CANDIDATE(range) \
	"SELECT ROW (c.click_id, c.ad_id, c.adset_id, c.campaign_id, c.sighting, c.hardware_key, c.agent_key, " \
	"            c.fingerprint_key, c.ip_address, " range ", NULL)::artery.click_candidate, c.click_timestamp " \
	"  FROM artery.click_tracking c "

#define CANDIDATE_FIELDS 11		/* of artery.click_candidate */

#define NEWEST_IN_WINDOW(limit) "c.click_timestamp <= $2 AND c.click_timestamp >= $3 AND " CLICK_WEEKS \
	" ORDER BY c.click_timestamp DESC LIMIT " CppAsString2(limit)

#define BY_ADDRESS \
	"(" SELECT_CANDIDATE("1") "WHERE c.tenant_id = $1 AND c.ip_address = $4 AND " NEWEST_IN_WINDOW(ADDRESS_LIMIT) ")"
#define BY_FINGERPRINT \
	"(" SELECT_CANDIDATE("2") "WHERE c.tenant_id = $1 AND c.fingerprint_key = $5 AND " NEWEST_IN_WINDOW(FINGERPRINT_LIMIT) ")"
#define BY_HARDWARE \
	"(" SELECT_CANDIDATE("3") "WHERE c.tenant_id = $1 AND c.hardware_key = $6 AND " NEWEST_IN_WINDOW(HARDWARE_LIMIT) ")"

/* In range 0: no click, but how often a value occurs, its key in place of that of the hardware. */
#define COUNTS \
	"SELECT ROW (NULL, NULL, NULL, NULL, NULL, v.value_key, NULL, NULL, NULL, 0, v.occurrences)::artery.click_candidate, v.counted_at " \
	"  FROM artery.attribution_value v WHERE v.tenant_id = $1 AND v.value_key = ANY ($7)"

#define UNION_ALL " UNION ALL "

#define CANDIDATES(ranges) \
	{ranges, 7, {TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INETOID, INT8OID, INT8OID, INT8ARRAYOID}, NULL}

/* By how many ranges, and whether with values. */
static ClickStatement select_candidates[3][2] = {
	{CANDIDATES(BY_ADDRESS), CANDIDATES(BY_ADDRESS UNION_ALL COUNTS)},
	{CANDIDATES(BY_ADDRESS UNION_ALL BY_FINGERPRINT), CANDIDATES(BY_ADDRESS UNION_ALL BY_FINGERPRINT UNION_ALL COUNTS)},
	{CANDIDATES(BY_ADDRESS UNION_ALL BY_FINGERPRINT UNION_ALL BY_HARDWARE),
	CANDIDATES(BY_ADDRESS UNION_ALL BY_FINGERPRINT UNION_ALL BY_HARDWARE UNION_ALL COUNTS)}
};

static ClickStatement select_click = {
	SELECT_CANDIDATE("4") "WHERE c.tenant_id = $1 AND c.click_id = $2 AND c.click_timestamp = $3 AND " CLICK_WEEKS,
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};

static int	count_ranges(const Weighing *weighing);
static void take_candidates(Weighing *weighing, uint64 rows, int ranges);
static bool take_value(uint64 row);
static int	read_candidate(const Weighing *weighing, uint64 row, WeighedClick *click);
static double reach(const Weighing *weighing, bool searched, bool is_whole, TimestampTz oldest);
static bool add_candidate(Weighing *weighing, const WeighedClick *click);

void
artery_candidates_collect(Weighing *weighing, TimestampTz since, const int64 *keys, int nkeys)
{
	Datum		values[7];
	char		nulls[8] = "       ";
	int			ranges = count_ranges(weighing);
	bool		with_values = artery_value_seek(keys, nkeys, &values[6]) > 0;
	uint64		rows;

	values[0] = weighing->values[CONVERSION_TENANT_ID];
	values[1] = TimestampTzGetDatum(weighing->at);
	values[2] = TimestampTzGetDatum(since);
	values[3] = weighing->values[CONVERSION_IP_ADDRESS];
	values[4] = Int64GetDatum(weighing->sighting.hash);
	values[5] = Int64GetDatum(weighing->sighting.hardware);
	if (weighing->nulls[CONVERSION_IP_ADDRESS])
		nulls[3] = 'n';
	if (weighing->sighting.hash == 0)
		nulls[4] = 'n';
	rows = artery_click_execute(&select_candidates[ranges - 1][with_values], since, weighing->at, values, nulls, 0);
	while (rows > 0 && take_value(rows - 1))
		rows--;
	artery_value_settle(values[6]);
	/* known by now: the same whether or not it was before */
	take_candidates(weighing, rows, count_ranges(weighing));
}

/*
 * How many ranges there is a point in looking at: the newest clicks of a common
 * value are hardly likelier than any others. What is not known may be rare.
 */
static int
count_ranges(const Weighing *weighing)
{
	double		clicks;

	if (artery_value_known(weighing->at, weighing->sighting.hash, &clicks) && clicks > CALIBRATED_COMMON_FINGERPRINT)
		return 1;				/* no rarer is its hardware */
	if (weighing->sighting.hardware == 0 ||
		(artery_value_known(weighing->at, weighing->sighting.hardware, &clicks) && clicks > CALIBRATED_COMMON_HARDWARE))
		return 2;
	return 3;
}

/* Add the clicks in the rows of the last result, those of the first ranges. */
static void
take_candidates(Weighing *weighing, uint64 rows, int ranges)
{
	int			found[4] = {0};
	TimestampTz oldest[4] = {weighing->at, weighing->at, weighing->at, weighing->at};
	uint64		row;

	for (row = 0; row < rows; row++)
	{
		WeighedClick click;
		int			range = read_candidate(weighing, row, &click);

		Assert(range > 0);
		if (range == 0 || range > ranges)
			continue;
		(void) add_candidate(weighing, &click);
		found[range]++;
		oldest[range] = Min(oldest[range], click.click.at);
	}
	weighing->conversion.hash_reach = reach(weighing, ranges >= 2 && weighing->sighting.hash != 0,
											found[2] < FINGERPRINT_LIMIT, oldest[2]);
	weighing->conversion.hardware_reach = reach(weighing, ranges == 3, found[3] < HARDWARE_LIMIT, oldest[3]);
}

bool
artery_candidate_find(Weighing *weighing, Datum click_id, TimestampTz at, WeighedClick *click)
{
	Datum		values[3];

	values[0] = weighing->values[CONVERSION_TENANT_ID];
	values[1] = click_id;
	values[2] = TimestampTzGetDatum(at);
	if (artery_click_execute(&select_click, at, at, values, NULL, 1) == 0)
		return false;
	(void) read_candidate(weighing, 0, click);
	return true;
}

/* Remember the value in a row of the last result; false if it has a click. */
static bool
take_value(uint64 row)
{
	Datum		fields[CANDIDATE_FIELDS];
	bool		nulls[CANDIDATE_FIELDS];

	artery_field_row(row, 1, fields, nulls);
	if (DatumGetInt32(fields[9]) != 0)
		return false;
	artery_value_remember(DatumGetInt64(fields[5]), DatumGetFloat8(fields[10]), artery_field_time(row, 2));
	return true;
}

/* Read it from a row of the last result; returns the number of its range. */
static int
read_candidate(const Weighing *weighing, uint64 row, WeighedClick *click)
{
	Datum		fields[CANDIDATE_FIELDS];
	bool		nulls[CANDIDATE_FIELDS];

	artery_field_row(row, 1, fields, nulls);
	memset(click, 0, sizeof(WeighedClick));
	click->click.found = true;
	click->click.click_id = fields[0];
	click->click.click_id_null = nulls[0];
	click->click.ad_id = fields[1];
	click->click.ad_null = nulls[1];
	click->click.adset_id = fields[2];
	click->click.adset_null = nulls[2];
	click->click.campaign_id = fields[3];
	click->click.campaign_null = nulls[3];
	click->click.at = artery_field_time(row, 2);
	click->sighting.os = SIGHTING_OTHER_OS;
	click->sighting.browser = SIGHTING_OTHER_BROWSER;
	if (!nulls[4])
		artery_sighting_decode(DatumGetInt16(fields[4]), &click->sighting);
	click->sighting.hardware = nulls[5] ? 0 : DatumGetInt64(fields[5]);
	click->sighting.agent = nulls[6] ? 0 : DatumGetInt64(fields[6]);
	click->sighting.hash = nulls[7] ? 0 : DatumGetInt64(fields[7]);
	if (!nulls[8])
	{
		click->sighting.ip = artery_salt_seal(weighing->tenant->salt, artery_sighting_address_key(fields[8]));
		click->sighting.block = artery_salt_seal(weighing->tenant->salt, artery_sighting_block_key(fields[8]));
	}
	return DatumGetInt32(fields[9]);
}

/* How many hours back a range has brought all clicks. */
static double
reach(const Weighing *weighing, bool searched, bool is_whole, TimestampTz oldest)
{
	if (!searched)
		return 0;
	if (is_whole)
		return CALIBRATED_WINDOW_DAYS * 24;
	return artery_layered_hours(oldest, weighing->at);
}

/* Insert it where its time belongs; false if it is there already. */
static bool
add_candidate(Weighing *weighing, const WeighedClick *click)
{
	int			place = weighing->count;
	int			i;

	while (place > 0 && weighing->clicks[place - 1].click.at < click->click.at)
		place--;
	for (i = place - 1; i >= 0 && weighing->clicks[i].click.at == click->click.at; i--)
		if (artery_verdict_same_text(weighing->clicks[i].click.click_id, click->click.click_id))
			return false;
	memmove(&weighing->clicks[place + 1], &weighing->clicks[place],
			(weighing->count - place) * sizeof(WeighedClick));
	weighing->clicks[place] = *click;
	weighing->count++;
	return true;
}

