/*
 * search.c
 *		Finding the click that earned a conversion.
 *
 * One indexed statement per layer, and no layer after the first that answers.
 * Windows are those as of the conversion's time. Where nothing is inside one, a
 * second statement tells a click that is too old from none at all.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "attribute/attribution.h"
#include "attribute/layered.h"
#include "attribute/posterior.h"
#include "attribute/search.h"
#include "capture/click_window.h"
#include "capture/salt.h"
#include "capture/sighting.h"
#include "runtime/dbtx.h"

/*
 * Clicks read and counted per layer. The best is found beyond it too: for a
 * fingerprint it is the newest, and more are read only to tell that there are
 * some; for an address see newest_with_agent().
 */
#define CANDIDATE_LIMIT 64
#define FINGERPRINT_LIMIT 8

#define SELECT_CLICK \
	"SELECT c.click_id, c.ad_id, c.adset_id, c.campaign_id, c.click_timestamp"

/* Within the window, by a plan for its weeks. */
static ClickStatement select_by_click_id = {
	SELECT_CLICK " FROM artery.click_tracking c "
	" WHERE c.tenant_id = $1 AND c.click_id = $2 AND c.click_timestamp <= $3 AND c.click_timestamp >= $4 AND "
	CLICK_WEEKS,
	4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, NULL
};

static ClickStatement select_by_fbclid = {
	SELECT_CLICK " FROM artery.click_tracking c "
	" WHERE c.tenant_id = $1 AND c.fbclid = $2 AND c.click_timestamp <= $3 AND c.click_timestamp >= $4 AND "
	CLICK_WEEKS " ORDER BY c.click_timestamp DESC LIMIT 1",
	4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, NULL
};

static ClickStatement select_by_fingerprint = {
	SELECT_CLICK " FROM artery.click_tracking c "
	" WHERE c.tenant_id = $1 AND c.fingerprint_key = $2 AND c.click_timestamp <= $3 AND c.click_timestamp >= $4 AND "
	CLICK_WEEKS " AND c.fingerprint_hash = $5 ORDER BY c.click_timestamp DESC",
	5, {TEXTOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID}, NULL
};

static ClickStatement select_by_address = {
	SELECT_CLICK ", c.user_agent = $5 FROM artery.click_tracking c "
	" WHERE c.tenant_id = $1 AND c.ip_address = $2 AND c.click_timestamp <= $3 AND c.click_timestamp >= $4 AND "
	CLICK_WEEKS " ORDER BY c.click_timestamp DESC",
	5, {TEXTOID, INETOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID}, NULL
};

static ClickStatement select_by_address_and_agent = {
	SELECT_CLICK ", true FROM artery.click_tracking c "
	" WHERE c.tenant_id = $1 AND c.ip_address = $2 AND c.click_timestamp <= $3 AND c.click_timestamp >= $4 AND "
	CLICK_WEEKS " AND c.user_agent = $5 ORDER BY c.click_timestamp DESC LIMIT 1",
	5, {TEXTOID, INETOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID}, NULL
};

/* Before the window: is there any? Asked only where there is none in it. */
static ArteryStatement select_older_by_click_id = {
	"SELECT 1 FROM artery.click_tracking c WHERE c.tenant_id = $1 AND c.click_id = $2 AND c.click_timestamp < $3",
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};

static ArteryStatement select_older_by_fbclid = {
	"SELECT 1 FROM artery.click_tracking c WHERE c.tenant_id = $1 AND c.fbclid = $2 AND c.click_timestamp < $3",
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};

static ArteryStatement select_older_by_fingerprint = {
	"SELECT 1 FROM artery.click_tracking c WHERE c.tenant_id = $1 AND c.fingerprint_key = $2 AND c.click_timestamp < $3 "
	"   AND c.fingerprint_hash = $4",
	4, {TEXTOID, INT8OID, TIMESTAMPTZOID, TEXTOID}, NULL
};

static ArteryStatement select_older_by_address = {
	"SELECT 1 FROM artery.click_tracking c WHERE c.tenant_id = $1 AND c.ip_address = $2 AND c.click_timestamp < $3",
	3, {TEXTOID, INETOID, TIMESTAMPTZOID}, NULL
};

/* What clicks are found by: a column of the conversion, and the statements that look for it. */
typedef struct Trace
{
	int			column;
	ClickStatement *inside;
	ArteryStatement *older;
	long		limit;			/* clicks read and counted; 0 is all */
	int			further;		/* column of what the rows read are compared with besides */
} Trace;

static const Trace by_click_id = {CONVERSION_CLICK_ID, &select_by_click_id, &select_older_by_click_id, 1,
CONVERSION_CLICK_ID};
static const Trace by_fbclid = {CONVERSION_FBCLID, &select_by_fbclid, &select_older_by_fbclid, 1, CONVERSION_FBCLID};
static const Trace by_fingerprint = {CONVERSION_FINGERPRINT_HASH, &select_by_fingerprint, &select_older_by_fingerprint,
FINGERPRINT_LIMIT, CONVERSION_FINGERPRINT_HASH};
static const Trace by_address = {CONVERSION_IP_ADDRESS, &select_by_address, &select_older_by_address, CANDIDATE_LIMIT,
CONVERSION_USER_AGENT};

static ArteryStatement select_deal = {
	"SELECT d.click_id, d.ad_id, d.adset_id, d.campaign_id, c.click_timestamp, "
	"       d.attribution_method, d.attribution_confidence "
	"  FROM artery.deal d "
	"  LEFT JOIN artery.click_tracking c ON c.tenant_id = $1 AND c.click_id = d.click_id "
	" WHERE d.tenant_id = $1 AND d.deal_id = $2 AND d.attribution_method <> 'unattributed'",
	2, {TEXTOID, TEXTOID}, NULL
};

/* What the layers share while one conversion is looked at. */
typedef struct Search
{
	const unsigned char *salt;
	const Datum *values;
	const bool *nulls;
	TimestampTz at;				/* of the conversion */
	Attribution *answer;
} Search;

static LayerResult search_ids(Search *search, int64 window);
static LayerResult search_fingerprint(Search *search, int64 window);
static LayerResult search_address(Search *search, int64 window);
static LayerResult search_id(Search *search, const Trace *trace, const char *what, int64 window);
static MatchedClick best_by_address(Search *search, uint64 rows, int64 window);
static MatchedClick newest_with_agent(Search *search, TimestampTz until, int64 window);
static Datum key_of(const Search *search, const Trace *trace);
static uint64 find_newest(Search *search, const Trace *trace, int64 window);
static LayerResult tell_nothing(Search *search, const Trace *trace, int64 window);
static void read_click(uint64 row, bool with_agent, MatchedClick *click);
static void succeed(Search *search, const char *method, double confidence, const MatchedClick *click);
static void explain_nothing(Search *search, int64 window);
static char *explain_failure(const Attribution *answer);

const char *
artery_search_layer_name(LayerResult result)
{
	static const char *const names[] = {"not_attempted", "no_param", "no_match", "expired", "low_probability",
	"ambiguous", "success"};

	return names[result];
}

bool
artery_search_is_method(const text *method)
{
	static const char *const methods[] = {"url_param", "fingerprint", "probabilistic", "unattributed"};
	int			i;

	for (i = 0; i < (int) lengthof(methods); i++)
		if (VARSIZE_ANY_EXHDR(method) == strlen(methods[i]) &&
			memcmp(VARDATA_ANY(method), methods[i], strlen(methods[i])) == 0)
			return true;
	return false;
}

void
artery_search_click(const ArteryTenant *tenant, const Datum *values, const bool *nulls, Attribution *attribution)
{
	int64		click_window = artery_layered_window(tenant->settings.click_window_days);
	Search		search = {.salt = tenant->salt,.values = values,.nulls = nulls,
	.at = DatumGetTimestampTz(values[CONVERSION_TIMESTAMP]),.answer = attribution};

	memset(attribution, 0, sizeof(Attribution));
	attribution->method = "unattributed";
	attribution->layers[0] = search_ids(&search, artery_layered_window(tenant->settings.id_window_days));
	if (tenant->settings.attribution_model == ATTRIBUTION_CALIBRATED)
	{
		attribution->posterior = artery_posterior_search(tenant, values, nulls, attribution);
		if (!attribution->success && !attribution->best.found)
			explain_nothing(&search, click_window);
		return;
	}
	if (!attribution->success)
		attribution->layers[1] = search_fingerprint(&search, click_window);
	if (!attribution->success)
		attribution->layers[2] = search_address(&search, click_window);
	if (!attribution->success)
		attribution->reason = explain_failure(attribution);
}

bool
artery_search_inherit(const Datum *values, const bool *nulls, Attribution *attribution)
{
	Search		search = {.values = values,.nulls = nulls,
	.at = DatumGetTimestampTz(values[CONVERSION_TIMESTAMP]),.answer = attribution};
	Datum		keys[2];
	MatchedClick click;

	if (nulls[CONVERSION_CRM_DEAL_ID])
		return false;
	keys[0] = values[CONVERSION_TENANT_ID];
	keys[1] = values[CONVERSION_CRM_DEAL_ID];
	if (artery_execute(&select_deal, keys, NULL, false, 1) == 0)
		return false;
	read_click(0, false, &click);
	if (click.at != DT_NOBEGIN && click.at > search.at)
		return false;			/* the deal was earned later than this */

	memset(attribution, 0, sizeof(Attribution));
	attribution->layers[0] = attribution->layers[1] = attribution->layers[2] = LAYER_NO_PARAM;
	succeed(&search, artery_field_text(0, 6), artery_field_double(0, 7), &click);
	attribution->reason = psprintf("Inherited from deal \"%s\".", TextDatumGetCString(keys[1]));
	return true;
}

/* Layer 1: the click id, then the fbclid. */
static LayerResult
search_ids(Search *search, int64 window)
{
	LayerResult with_click = search_id(search, &by_click_id, "click id", window);
	LayerResult with_fbclid;

	if (with_click == LAYER_SUCCESS)
		return with_click;
	with_fbclid = search_id(search, &by_fbclid, "fbclid", window);
	return Max(with_click, with_fbclid);	/* success, expired, no_match, no_param */
}

static LayerResult
search_id(Search *search, const Trace *trace, const char *what, int64 window)
{
	MatchedClick click;

	if (search->nulls[trace->column])
		return LAYER_NO_PARAM;
	if (find_newest(search, trace, window) == 0)
		return tell_nothing(search, trace, window);
	read_click(0, false, &click);
	succeed(search, "url_param", LAYERED_ID_CONFIDENCE, &click);
	search->answer->reason = psprintf("The %s matched exactly a click %.1f hours before.", what,
									  artery_layered_hours(click.at, search->at));
	return LAYER_SUCCESS;
}

/* Layer 2: the newest click of the same fingerprint. */
static LayerResult
search_fingerprint(Search *search, int64 window)
{
	MatchedClick click;
	uint64		rows;

	if (search->nulls[CONVERSION_FINGERPRINT_HASH])
		return LAYER_NO_PARAM;
	rows = find_newest(search, &by_fingerprint, window);
	if (rows == 0)
		return tell_nothing(search, &by_fingerprint, window);
	read_click(0, false, &click);
	succeed(search, "fingerprint", LAYERED_FINGERPRINT_CONFIDENCE, &click);
	if (rows == 1)
		search->answer->reason = psprintf("The device fingerprint matched one click, %.1f hours before.",
										  artery_layered_hours(click.at, search->at));
	else
		search->answer->reason =
			psprintf("The device fingerprint matched %d%s clicks; the newest was %.1f hours before.",
					 (int) rows, rows == FINGERPRINT_LIMIT ? " or more" : "",
					 artery_layered_hours(click.at, search->at));
	return LAYER_SUCCESS;
}

/* Layer 3: the click with the best score among those of the same address. */
static LayerResult
search_address(Search *search, int64 window)
{
	MatchedClick click;
	uint64		rows;
	double		score;
	double		hours;

	if (search->nulls[CONVERSION_IP_ADDRESS])
		return LAYER_NO_PARAM;
	window = Min(window, LAYERED_SCORE_HOURS * USECS_PER_HOUR);
	rows = find_newest(search, &by_address, window);
	if (rows == 0)
		return tell_nothing(search, &by_address, window);
	click = best_by_address(search, rows, window);
	hours = artery_layered_hours(click.at, search->at);
	score = artery_layered_score(true, click.same_agent, hours);
	if (!artery_layered_accepts(score))
	{
		search->answer->best = click;
		search->answer->best_confidence = score;
		return LAYER_LOW_PROBABILITY;
	}
	succeed(search, "probabilistic", artery_layered_confidence(score), &click);
	search->answer->reason = psprintf("The IP address%s matched a click %.1f hours before: score %.2f.",
									  click.same_agent ? " and user agent" : "", hours, score);
	return LAYER_SUCCESS;
}

/*
 * The best of the rows just read. All have the address; so any with the
 * conversion's user agent (0.8 or more) beats all without (0.7 or less), and
 * among equals in that the newest wins.
 */
static MatchedClick
best_by_address(Search *search, uint64 rows, int64 window)
{
	MatchedClick newest;
	MatchedClick click;
	uint64		row;

	read_click(0, true, &newest);
	for (row = 0; row < rows; row++)
	{
		read_click(row, true, &click);
		if (click.same_agent)
			return click;
	}
	if (rows < CANDIDATE_LIMIT || search->nulls[CONVERSION_USER_AGENT])
		return newest;
	/* a busy address: look on behind the rows read */
	click = newest_with_agent(search, click.at, window);
	return click.found ? click : newest;
}

static MatchedClick
newest_with_agent(Search *search, TimestampTz until, int64 window)
{
	MatchedClick click = {.found = false};
	TimestampTz since = search->at - window;
	Datum		keys[5];

	keys[0] = search->values[CONVERSION_TENANT_ID];
	keys[1] = search->values[CONVERSION_IP_ADDRESS];
	keys[2] = TimestampTzGetDatum(until);
	keys[3] = TimestampTzGetDatum(since);
	keys[4] = search->values[CONVERSION_USER_AGENT];
	if (artery_click_execute(&select_by_address_and_agent, since, until, keys, NULL, 1) > 0)
		read_click(0, true, &click);
	return click;
}

/*
 * Read the newest clicks inside the window that have the conversion's value;
 * returns how many. They count as candidates.
 */
static uint64
find_newest(Search *search, const Trace *trace, int64 window)
{
	TimestampTz since = search->at - window;
	Datum		keys[5];
	char		nulls[6] = "     ";
	uint64		rows;

	keys[0] = search->values[CONVERSION_TENANT_ID];
	keys[1] = key_of(search, trace);
	keys[2] = TimestampTzGetDatum(search->at);
	keys[3] = TimestampTzGetDatum(since);
	keys[4] = search->values[trace->further];
	if (search->nulls[trace->further])
		nulls[4] = 'n';
	rows = artery_click_execute(trace->inside, since, search->at, keys, nulls, trace->limit);
	search->answer->candidates += (int) rows;
	return rows;
}

/* What the index has: the value, or for a fingerprint its key. */
static Datum
key_of(const Search *search, const Trace *trace)
{
	Datum		value = search->values[trace->column];

	if (trace->column != CONVERSION_FINGERPRINT_HASH)
		return value;
	return Int64GetDatum(artery_salt_seal(search->salt, artery_sighting_hash_key(value)));
}

/* Nothing is inside the window: tell what is too old from what never was. */
static LayerResult
tell_nothing(Search *search, const Trace *trace, int64 window)
{
	Datum		keys[4];

	keys[0] = search->values[CONVERSION_TENANT_ID];
	keys[1] = key_of(search, trace);
	keys[2] = TimestampTzGetDatum(search->at - window);
	keys[3] = search->values[trace->further];
	return artery_click_execute_before(trace->older, search->at - window, keys, NULL, 1) > 0 ? LAYER_EXPIRED : LAYER_NO_MATCH;
}

static void
read_click(uint64 row, bool with_agent, MatchedClick *click)
{
	click->found = true;
	click->click_id = artery_field(row, 1, &click->click_id_null);
	click->ad_id = artery_field(row, 2, &click->ad_null);
	click->adset_id = artery_field(row, 3, &click->adset_null);
	click->campaign_id = artery_field(row, 4, &click->campaign_null);
	click->at = artery_field_time(row, 5);
	click->same_agent = with_agent && artery_field_bool(row, 6);
}

static void
succeed(Search *search, const char *method, double confidence, const MatchedClick *click)
{
	search->answer->success = true;
	search->answer->method = method;
	search->answer->confidence = confidence;
	search->answer->best = *click;
	search->answer->best_confidence = confidence;
}

/* The calibrated model has found no candidate. */
static void
explain_nothing(Search *search, int64 window)
{
	static const Trace *const traces[] = {&by_fingerprint, &by_address};
	int			i;

	for (i = 0; i < 2; i++)
	{
		if (search->answer->layers[i + 1] == LAYER_AMBIGUOUS)
			continue;
		search->answer->layers[i + 1] = search->nulls[traces[i]->column] ? LAYER_NO_PARAM :
			tell_nothing(search, traces[i], window);
	}
	search->answer->reason = explain_failure(search->answer);
}

static char *
explain_failure(const Attribution *answer)
{
	static const char *const what[ATTRIBUTION_LAYERS] = {"click id or fbclid", "device fingerprint", "IP address"};
	StringInfoData sentence;
	int			i;

	initStringInfo(&sentence);
	appendStringInfoString(&sentence, "No click was found: ");
	for (i = 0; i < ATTRIBUTION_LAYERS; i++)
	{
		appendStringInfo(&sentence, "%s%s ", i > 0 ? "; " : "", what[i]);
		switch (answer->layers[i])
		{
			case LAYER_NO_PARAM:
				appendStringInfoString(&sentence, "was not given");
				break;
			case LAYER_EXPIRED:
				appendStringInfoString(&sentence, "matched only a click outside the window");
				break;
			case LAYER_AMBIGUOUS:
				appendStringInfoString(&sentence, "is that of too many clicks to tell one");
				break;
			case LAYER_LOW_PROBABILITY:
				appendStringInfo(&sentence, "matched, with a score of %.2f below %.2f", answer->best_confidence,
								 LAYERED_THRESHOLD);
				break;
			default:
				appendStringInfoString(&sentence, "matched no click before");
		}
	}
	appendStringInfoChar(&sentence, '.');
	return sentence.data;
}
