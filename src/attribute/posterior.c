/*
 * posterior.c
 *		The calibrated model at work: candidates described in its terms, the
 *		verdict, what it teaches, and the trace that is kept of it.
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
#include "attribute/candidate.h"
#include "attribute/layered.h"
#include "attribute/posterior.h"
#include "attribute/value_count.h"
#include "attribute/verdict.h"
#include "capture/salt.h"
#include "capture/sighting.h"
#include "runtime/bulk.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"

#define TRACE_COLUMNS 15
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

/* Values of a conversion that clicks are counted by, after the classes. */
typedef enum OwnValue
{
	VALUE_IP = CALIBRATED_CLASSES,
	VALUE_BLOCK,
	VALUE_HASH,
	VALUE_AGENT,
	VALUE_HARDWARE,
	OWN_VALUES
} OwnValue;

static const SightingColumns sighting_columns = {
	CONVERSION_IP_ADDRESS, CONVERSION_USER_AGENT, CONVERSION_OS, CONVERSION_BROWSER, CONVERSION_SCREEN_WIDTH,
	CONVERSION_SCREEN_HEIGHT, CONVERSION_TIMEZONE, CONVERSION_TIMEZONE_OFFSET, CONVERSION_FINGERPRINT_HASH
};

static void note_if_deal(const Datum *row);
static void form_trace(const Posterior *posterior, const Datum *values, Datum *row, bool *nulls);
static void describe_conversion(Weighing *weighing);
static void list_values(const Weighing *weighing, int64 *keys);
static void view_candidates(Weighing *weighing, const int64 *own);
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
	int64		keys[OWN_VALUES];

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
	list_values(weighing, keys);
	artery_calibration_refresh(values[CONVERSION_TENANT_ID], weighing->at, keys, OWN_VALUES);
	artery_candidates_collect(weighing, since, keys, OWN_VALUES);
	artery_calibration_load(weighing->at, &weighing->state, &weighing->conversion.days);
	view_candidates(weighing, keys);

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

/* The keys of the conversion's own values, in the order of OwnValue. */
static void
list_values(const Weighing *weighing, int64 *keys)
{
	int			i;

	for (i = 0; i < CALIBRATED_CLASSES; i++)
		keys[i] = VALUE_CLASS_KEY(i);
	keys[VALUE_IP] = weighing->sighting.ip;
	keys[VALUE_BLOCK] = weighing->sighting.block;
	keys[VALUE_HASH] = weighing->sighting.hash;
	keys[VALUE_AGENT] = weighing->sighting.agent;
	keys[VALUE_HARDWARE] = weighing->sighting.hardware != 0 ? weighing->sighting.hardware : weighing->sighting.hash;
}

/* Look up how common the conversion's values and the candidates' blocks are, and describe both. */
static void
view_candidates(Weighing *weighing, const int64 *own)
{
	int64		keys[OWN_VALUES + WEIGHED_CLICKS];
	double		counts[OWN_VALUES + WEIGHED_CLICKS];
	CalibratedCounts *n = &weighing->conversion.counts;
	int			i;

	memcpy(keys, own, OWN_VALUES * sizeof(int64));
	for (i = 0; i < weighing->count; i++)
		keys[OWN_VALUES + i] = weighing->clicks[i].sighting.block;
	artery_value_count(weighing->values[CONVERSION_TENANT_ID], weighing->at, keys, OWN_VALUES + weighing->count, counts);
	for (i = 0; i < CALIBRATED_CLASSES; i++)
	{
		n->clicks_class[i] = counts[i];
		n->window += counts[i];
	}
	n->ip = counts[VALUE_IP];
	n->block = counts[VALUE_BLOCK];
	n->hash = counts[VALUE_HASH];
	n->hash_agent = counts[VALUE_AGENT];
	n->hardware = counts[VALUE_HARDWARE];
	describe_conversion(weighing);
	for (i = 0; i < weighing->count; i++)
		view_candidate(weighing, &weighing->clicks[i], counts[OWN_VALUES + i], &weighing->views[i]);
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
	if (!artery_candidate_find(weighing, attribution->best.click_id, attribution->best.at, &truth))
		return;
	artery_value_count(weighing->values[CONVERSION_TENANT_ID], weighing->at, &truth.sighting.block, 1, &block_clicks);
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
