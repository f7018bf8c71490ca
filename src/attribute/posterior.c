/*
 * posterior.c
 *		The calibrated model at work.
 *
 * Candidates come from three index ranges (address, fingerprint, hardware), newest
 * first and bounded, so that a busy value costs no more than a rare one. Clicks
 * beyond the ranges are accounted for as unseen: how far back a range reaches
 * tells how many.
 */
#include "artery.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "attribute/attribution.h"
#include "attribute/calibrated.h"
#include "attribute/calibration.h"
#include "attribute/layered.h"
#include "attribute/posterior.h"
#include "attribute/verdict.h"
#include "capture/click_window.h"
#include "capture/salt.h"
#include "capture/sighting.h"
#include "runtime/bulk.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"

#define TRACE_COLUMNS 15
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
	"SELECT ROW (c.click_id, c.ad_id, c.adset_id, c.campaign_id, c.click_timestamp, c.sighting, c.hardware_key, " \
	"            c.agent_key, c.fingerprint_key, c.ip_address, " range ")::artery.click_candidate, c.click_timestamp " \
	"  FROM artery.click_tracking c "

#define CANDIDATE_FIELDS 11		/* of artery.click_candidate */

#define NEWEST_IN_WINDOW(limit) "c.click_timestamp <= $2 AND c.click_timestamp >= $3 AND " CLICK_WEEKS \
	" ORDER BY c.click_timestamp DESC LIMIT " CppAsString2(limit)

static ClickStatement select_candidates = {
	"(" SELECT_CANDIDATE("1") "WHERE c.tenant_id = $1 AND c.ip_address = $4 AND " NEWEST_IN_WINDOW(ADDRESS_LIMIT) ") UNION ALL "
	"(" SELECT_CANDIDATE("2") "WHERE c.tenant_id = $1 AND c.fingerprint_key = $5 AND " NEWEST_IN_WINDOW(FINGERPRINT_LIMIT) ") UNION ALL "
	"(" SELECT_CANDIDATE("3") "WHERE c.tenant_id = $1 AND c.hardware_key = $6 AND " NEWEST_IN_WINDOW(HARDWARE_LIMIT) ")",
	6, {TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INETOID, INT8OID, INT8OID}, NULL
};

static ClickStatement select_click = {
	SELECT_CANDIDATE("0") "WHERE c.tenant_id = $1 AND c.click_id = $2 AND c.click_timestamp = $3 AND " CLICK_WEEKS,
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};

/* Of a conversion that has none: one stored just now (see conversion_after_delete), or whose trace was removed. */
static ArteryStatement insert_trace = {
	"INSERT INTO artery.conversion_trace (tenant_id, conversion_id, happened_at, traced_at, by_id, best_click_id, "
	"  best_probability, stated, was_right, no_click, unseen_click, credit, candidates, positions, amounts) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
	TRACE_COLUMNS, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID, TEXTOID, FLOAT8OID, FLOAT8OID, BOOLOID,
	FLOAT8OID, FLOAT8OID, JSONBOID, JSONOID, INT2ARRAYOID, FLOAT8ARRAYOID}, NULL
};

/* What a trace that goes has taught. */
#define INSERT_CORRECTION \
	"INSERT INTO artery.attribution_correction (tenant_id, traced_at, happened_at, positions, amounts) " \
	"SELECT t.tenant_id, t.traced_at, t.happened_at, t.positions, t.amounts "

/*
 * Of many conversions at once; another session may have stored some of them
 * meanwhile, others may be stored nowhere. They are traced when they are
 * written: whoever learns from traces must see them from then on.
 */
static ArteryBulk bulk_trace = {
	"conversion_trace",
	"WITH given AS MATERIALIZED ( "
	"  SELECT r.tenant_id, r.conversion_id, r.happened_at, "
	"         pg_catalog.clock_timestamp() + (artery.now() - pg_catalog.now()) AS traced_at, r.by_id, r.best_click_id, "
	"         r.best_probability, r.stated, r.was_right, r.no_click, r.unseen_click, r.credit, r.candidates, r.positions, r.amounts "
	"    FROM pg_catalog.unnest($1) r "
	"   WHERE EXISTS (SELECT FROM artery.conversion_tracking c WHERE c.tenant_id = r.tenant_id AND c.conversion_id = r.conversion_id)), "
	"old AS ( "
	"  " INSERT_CORRECTION
	"    FROM given g JOIN artery.conversion_trace t ON t.tenant_id = g.tenant_id AND t.conversion_id = g.conversion_id) "
	"INSERT INTO artery.conversion_trace AS t SELECT g.* FROM given g "
	"ON CONFLICT (tenant_id, conversion_id) DO UPDATE "
	"   SET happened_at = EXCLUDED.happened_at, traced_at = EXCLUDED.traced_at, by_id = EXCLUDED.by_id, "
	"       best_click_id = EXCLUDED.best_click_id, best_probability = EXCLUDED.best_probability, "
	"       stated = EXCLUDED.stated, was_right = EXCLUDED.was_right, no_click = EXCLUDED.no_click, "
	"       unseen_click = EXCLUDED.unseen_click, credit = EXCLUDED.credit, candidates = EXCLUDED.candidates, "
	"       positions = EXCLUDED.positions, amounts = EXCLUDED.amounts",
	NULL, NULL
};

static ArteryStatement remove_trace = {
	"WITH t AS (DELETE FROM artery.conversion_trace x WHERE x.tenant_id = $1 AND x.conversion_id = $2 "
	"           RETURNING x.tenant_id, x.traced_at, x.happened_at, x.positions, x.amounts) "
	INSERT_CORRECTION " FROM t",
	2, {TEXTOID, TEXTOID}, NULL
};

/* The credit of a deal is counted anew. */
static ArteryStatement note_deal = {
	"INSERT INTO artery.allocation_delta (tenant_id, deal_id) VALUES ($1, $2)", 2, {TEXTOID, TEXTOID}, NULL
};

static const SightingColumns sighting_columns = {
	CONVERSION_IP_ADDRESS, CONVERSION_USER_AGENT, CONVERSION_OS, CONVERSION_BROWSER, CONVERSION_SCREEN_WIDTH,
	CONVERSION_SCREEN_HEIGHT, CONVERSION_TIMEZONE, CONVERSION_TIMEZONE_OFFSET, CONVERSION_FINGERPRINT_HASH
};

static void note_if_deal(const Datum *row);
static void form_trace(const Posterior *posterior, const Datum *values, Datum *row, bool *nulls);
static void describe_conversion(Weighing *weighing);
static void collect(Weighing *weighing, TimestampTz since);
static int	read_candidate(Weighing *weighing, uint64 row, WeighedClick *click);
static double reach(const Weighing *weighing, bool searched, bool is_whole, TimestampTz oldest);
static bool add_candidate(Weighing *weighing, const WeighedClick *click);
static void view_candidates(Weighing *weighing);
static void view_candidate(Weighing *weighing, const WeighedClick *click, double block_clicks,
						   CalibratedCandidate *view);
static int	device_agreement(const Sighting *conversion, const Sighting *click);
static void count_same_device(Weighing *weighing);
static void compare(void *arg, int newer, int older, int *device, int *network);
static void learn(Weighing *weighing, const Attribution *attribution, TimestampTz since, Posterior *posterior);
static int	find_truth(const Weighing *weighing, const WeighedClick *truth);

Posterior *
artery_posterior_search(const ArteryTenant *tenant, const Datum *values, const bool *nulls, Attribution *attribution)
{
	Weighing   *weighing = palloc(sizeof(Weighing));
	Posterior  *posterior;
	TimestampTz since;

	/* candidates are filled in as they come */
	memset(weighing, 0, offsetof(Weighing, clicks));
	weighing->values = values;
	weighing->nulls = nulls;
	weighing->at = DatumGetTimestampTz(values[CONVERSION_TIMESTAMP]);
	weighing->tenant = tenant;
	artery_sighting_read(&sighting_columns, values, nulls, &weighing->sighting);
	artery_sighting_seal(tenant->salt, &weighing->sighting);
	if (weighing->sighting.ip == 0 && weighing->sighting.hash == 0)
		return NULL;
	since = weighing->at - artery_layered_window(tenant->settings.click_window_days);
	collect(weighing, since);
	view_candidates(weighing);

	posterior = palloc0(sizeof(Posterior));
	posterior->by_id = attribution->success;
	posterior->verdict = artery_calibrated_score(&weighing->state, &weighing->conversion, weighing->views,
												 weighing->count, compare, weighing);
	if (posterior->verdict.best >= 0)
		posterior->best_click_id = weighing->clicks[posterior->verdict.best].click.click_id;
	learn(weighing, attribution, since, posterior);
	artery_calibration_remember(values[CONVERSION_TENANT_ID], &posterior->learnt);
	artery_verdict_answer(tenant, weighing, posterior, attribution);
	return posterior;
}

void
artery_posterior_store(const Posterior *posterior, const Datum *values, bool again)
{
	Datum		row[TRACE_COLUMNS];
	bool		nulls[TRACE_COLUMNS];
	char		null_flags[TRACE_COLUMNS];
	int			i;

	row[0] = values[CONVERSION_TENANT_ID];
	row[1] = values[CONVERSION_ID];
	if (again)
		(void) artery_execute(&remove_trace, row, NULL, false, 0);
	if (posterior == NULL)
		return;
	form_trace(posterior, values, row, nulls);
	for (i = 0; i < TRACE_COLUMNS; i++)
		null_flags[i] = nulls[i] ? 'n' : ' ';
	(void) artery_execute(&insert_trace, row, null_flags, false, 0);
	note_if_deal(row);
}

/* Of a conversion (tenant_id, conversion_id) that is a deal's. */
static void
note_if_deal(const Datum *row)
{
	text	   *id = DatumGetTextPP(row[1]);
	size_t		prefix = strlen(ARTERY_DEAL_CONVERSION);
	Datum		keys[2] = {row[0]};

	if (VARSIZE_ANY_EXHDR(id) <= prefix || memcmp(VARDATA_ANY(id), ARTERY_DEAL_CONVERSION, prefix) != 0)
		return;
	keys[1] = PointerGetDatum(cstring_to_text_with_len(VARDATA_ANY(id) + prefix, VARSIZE_ANY_EXHDR(id) - prefix));
	(void) artery_execute(&note_deal, keys, NULL, false, 0);
}

void
artery_posterior_store_later(const Posterior *posterior, const Datum *values)
{
	Datum		row[TRACE_COLUMNS];
	bool		nulls[TRACE_COLUMNS];

	if (posterior == NULL)
		return;
	form_trace(posterior, values, row, nulls);
	if (!artery_bulk_add(&bulk_trace, row, nulls))
		artery_posterior_store(posterior, values, true);
}

/* The row of conversion_trace. */
static void
form_trace(const Posterior *posterior, const Datum *values, Datum *row, bool *nulls)
{
	memset(nulls, 0, TRACE_COLUMNS * sizeof(bool));
	row[0] = values[CONVERSION_TENANT_ID];
	row[1] = values[CONVERSION_ID];
	row[2] = values[CONVERSION_TIMESTAMP];
	/* as for clicks: the id comes first (see artery.attribution_horizon) */
	(void) GetTopTransactionId();
	row[3] = TimestampTzGetDatum(artery_clock_moment());
	row[4] = BoolGetDatum(posterior->by_id);
	row[5] = posterior->best_click_id;
	nulls[5] = posterior->best_click_id == (Datum) 0;
	row[6] = Float8GetDatum(posterior->verdict.raw);
	row[7] = Float8GetDatum(posterior->verdict.confidence);
	row[8] = BoolGetDatum(posterior->was_right);
	nulls[8] = !posterior->by_id;
	row[9] = Float8GetDatum(posterior->verdict.none);
	row[10] = Float8GetDatum(posterior->verdict.rest);
	row[11] = DirectFunctionCall1(jsonb_in, CStringGetDatum(posterior->credit));
	row[12] = CStringGetTextDatum(posterior->candidates);	/* JSON as it was written */
	artery_calibration_pack(&posterior->learnt, &row[13], &row[14]);
}

/* The candidates, newest first, each once. */
static void
collect(Weighing *weighing, TimestampTz since)
{
	Datum		values[6];
	char		nulls[7] = "      ";
	int			found[4] = {0};
	TimestampTz oldest[4] = {weighing->at, weighing->at, weighing->at, weighing->at};
	uint64		rows;
	uint64		row;

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
	if (weighing->sighting.hardware == 0)
		nulls[5] = 'n';
	rows = artery_click_execute(&select_candidates, since, weighing->at, values, nulls, 0);
	for (row = 0; row < rows && weighing->count < WEIGHED_CLICKS; row++)
	{
		WeighedClick click;
		int			range = read_candidate(weighing, row, &click);

		(void) add_candidate(weighing, &click);
		found[range]++;
		oldest[range] = Min(oldest[range], click.click.at);
	}
	weighing->conversion.hash_reach = reach(weighing, nulls[4] == ' ', found[2] < FINGERPRINT_LIMIT, oldest[2]);
	weighing->conversion.hardware_reach = reach(weighing, nulls[5] == ' ', found[3] < HARDWARE_LIMIT, oldest[3]);
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

/* Read it from a row of the last result; returns the number of its range. */
static int
read_candidate(Weighing *weighing, uint64 row, WeighedClick *click)
{
	Datum		fields[CANDIDATE_FIELDS];
	bool		nulls[CANDIDATE_FIELDS];

	memset(click, 0, sizeof(WeighedClick));
	artery_field_row(row, 1, fields, nulls);
	click->click.found = true;
	click->click.click_id = fields[0];
	click->click.click_id_null = nulls[0];
	click->click.ad_id = fields[1];
	click->click.ad_null = nulls[1];
	click->click.adset_id = fields[2];
	click->click.adset_null = nulls[2];
	click->click.campaign_id = fields[3];
	click->click.campaign_null = nulls[3];
	click->click.at = DatumGetTimestampTz(fields[4]);
	click->sighting.os = SIGHTING_OTHER_OS;
	click->sighting.browser = SIGHTING_OTHER_BROWSER;
	if (!nulls[5])
		artery_sighting_decode(DatumGetInt16(fields[5]), &click->sighting);
	click->sighting.hardware = nulls[6] ? 0 : DatumGetInt64(fields[6]);
	click->sighting.agent = nulls[7] ? 0 : DatumGetInt64(fields[7]);
	click->sighting.hash = nulls[8] ? 0 : DatumGetInt64(fields[8]);
	if (!nulls[9])
	{
		click->sighting.ip = artery_salt_seal(weighing->tenant->salt, artery_sighting_address_key(fields[9]));
		click->sighting.block = artery_salt_seal(weighing->tenant->salt, artery_sighting_block_key(fields[9]));
	}
	return DatumGetInt32(fields[10]);
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

/*
 * Look up what the tenant taught and how common the conversion's values and the candidates' blocks are, and describe
 * both.
 */
static void
view_candidates(Weighing *weighing)
{
	enum
	{
		IP = CALIBRATED_CLASSES, BLOCK, HASH, AGENT, HARDWARE, BLOCKS
	};
	int64		keys[BLOCKS + WEIGHED_CLICKS];
	double		counts[BLOCKS + WEIGHED_CLICKS];
	CalibratedCounts *n = &weighing->conversion.counts;
	int			i;

	for (i = 0; i < CALIBRATED_CLASSES; i++)
		keys[i] = CALIBRATION_CLASS_KEY(i);
	keys[IP] = weighing->sighting.ip;
	keys[BLOCK] = weighing->sighting.block;
	keys[HASH] = weighing->sighting.hash;
	keys[AGENT] = weighing->sighting.agent;
	keys[HARDWARE] = weighing->sighting.hardware != 0 ? weighing->sighting.hardware : weighing->sighting.hash;
	for (i = 0; i < weighing->count; i++)
		keys[BLOCKS + i] = weighing->clicks[i].sighting.block;
	artery_calibration_load(weighing->values[CONVERSION_TENANT_ID], weighing->at, keys, BLOCKS + weighing->count, counts,
							&weighing->state, &weighing->conversion.days);
	for (i = 0; i < CALIBRATED_CLASSES; i++)
	{
		n->clicks_class[i] = counts[i];
		n->window += counts[i];
	}
	n->ip = counts[IP];
	n->block = counts[BLOCK];
	n->hash = counts[HASH];
	n->hash_agent = counts[AGENT];
	n->hardware = counts[HARDWARE];
	describe_conversion(weighing);
	for (i = 0; i < weighing->count; i++)
		view_candidate(weighing, &weighing->clicks[i], counts[BLOCKS + i], &weighing->views[i]);
	count_same_device(weighing);
}

static void
describe_conversion(Weighing *weighing)
{
	CalibratedConversion *conversion = &weighing->conversion;

	conversion->os = weighing->sighting.os;
	conversion->browser = weighing->sighting.browser;
	conversion->hour = (double) (weighing->at % USECS_PER_DAY) / USECS_PER_HOUR;
	conversion->shared = weighing->sighting.ip == 0 ? -1 : artery_calibrated_shared(conversion->counts.block);
}

static void
view_candidate(Weighing *weighing, const WeighedClick *click, double block_clicks, CalibratedCandidate *view)
{
	const Sighting *a = &click->sighting;
	const Sighting *b = &weighing->sighting;

	memset(view, 0, sizeof(CalibratedCandidate));
	view->lag_hours = artery_layered_hours(click->click.at, weighing->at);
	view->click_class = artery_calibrated_class(a->os, a->in_app);
	view->browser = a->browser;
	view->block_clicks = block_clicks;
	view->shared = artery_calibrated_shared(block_clicks);
	view->device = device_agreement(b, a);
	if (a->ip == 0 || b->ip == 0)
		view->network = CALIBRATED_UNKNOWN_NETWORK;
	else
		view->network = a->ip == b->ip ? CALIBRATED_SAME_ADDRESS :
			a->block == b->block ? CALIBRATED_SAME_BLOCK : CALIBRATED_OTHER_BLOCK + weighing->conversion.shared;
}

/* The levels of agreement that are possible with what both sides tell. */
static int
device_agreement(const Sighting *conversion, const Sighting *click)
{
	if (conversion->hash == 0 || click->hash == 0)
		return CALIBRATED_ANY_DEVICE;
	if (conversion->hash == click->hash)
	{
		if (conversion->agent == 0 || click->agent == 0)
			return CALIBRATED_SAME_AGENT | CALIBRATED_SAME_HASH;
		return conversion->agent == click->agent ? CALIBRATED_SAME_AGENT : CALIBRATED_SAME_HASH;
	}
	if (conversion->hardware == 0 || click->hardware == 0)
		return CALIBRATED_SAME_HARDWARE | CALIBRATED_OTHER_DEVICE;
	return conversion->hardware == click->hardware ? CALIBRATED_SAME_HARDWARE : CALIBRATED_OTHER_DEVICE;
}

/* A person's own clicks do not make an address common. */
static void
count_same_device(Weighing *weighing)
{
	int			i,
				j;

	for (i = 0; i < weighing->count; i++)
	{
		const Sighting *mine = &weighing->clicks[i].sighting;

		for (j = 0; j < weighing->count; j++)
		{
			const Sighting *other = &weighing->clicks[j].sighting;
			int			network = weighing->views[j].network;

			if (i != j && (mine->hardware == 0 || mine->hardware != other->hardware))
				continue;
			weighing->views[i].ip_same_device += network == CALIBRATED_SAME_ADDRESS;
			weighing->views[i].block_same_device += network == CALIBRATED_SAME_ADDRESS ||
				network == CALIBRATED_SAME_BLOCK;
		}
	}
}

/* How two candidates agree with one another, for last touch. */
static void
compare(void *arg, int newer, int older, int *device, int *network)
{
	const Weighing *weighing = arg;
	const Sighting *y = &weighing->clicks[newer].sighting;
	const Sighting *x = &weighing->clicks[older].sighting;

	*device = device_agreement(y, x);
	if (x->ip == 0 || y->ip == 0)
		*network = CALIBRATED_UNKNOWN_NETWORK;
	else
		*network = x->ip == y->ip ? CALIBRATED_SAME_ADDRESS : x->block == y->block ? CALIBRATED_SAME_BLOCK :
			CALIBRATED_OTHER_BLOCK;
}

/* What the conversion teaches: with its id what agreement means, without it by the posterior. */
static void
learn(Weighing *weighing, const Attribution *attribution, TimestampTz since, Posterior *posterior)
{
	WeighedClick truth;
	CalibratedCandidate truth_view;
	Datum		keys[3];
	double		block_clicks;
	int			place;

	if (!posterior->by_id)
	{
		artery_calibrated_learn_unlabelled(&weighing->state, &weighing->conversion, weighing->views, weighing->count,
										   &posterior->verdict, &posterior->learnt);
		return;
	}
	memset(&truth, 0, sizeof(truth));
	truth.click = attribution->best;
	place = find_truth(weighing, &truth);
	posterior->was_right = place >= 0 && place == posterior->verdict.best;
	if (truth.click.at < since)
		return;					/* the window of ids may be wider than what the model looks at */
	if (place >= 0)
	{
		artery_calibrated_learn_labelled(&weighing->state, &posterior->verdict, place, &weighing->views[place],
										 &posterior->learnt);
		return;
	}
	keys[0] = weighing->values[CONVERSION_TENANT_ID];
	keys[1] = truth.click.click_id;
	keys[2] = TimestampTzGetDatum(truth.click.at);
	if (artery_click_execute(&select_click, truth.click.at, truth.click.at, keys, NULL, 1) == 0)
		return;
	(void) read_candidate(weighing, 0, &truth);
	artery_calibration_count(keys[0], weighing->at, &truth.sighting.block, 1, &block_clicks);
	view_candidate(weighing, &truth, block_clicks, &truth_view);
	artery_calibrated_learn_labelled(&weighing->state, &posterior->verdict, -1, &truth_view, &posterior->learnt);
}

static int
find_truth(const Weighing *weighing, const WeighedClick *truth)
{
	int			i;

	for (i = 0; i < weighing->count; i++)
		if (weighing->clicks[i].click.at == truth->click.at &&
			artery_verdict_same_text(weighing->clicks[i].click.click_id, truth->click.click_id))
			return i;
	return -1;
}
