/*
 * search.c
 *		Finding the click that earned a conversion.
 *
 * One indexed statement per layer, and no layer after the first that answers.
 * Windows are those as of the conversion's time. A statement reads the newest
 * matching clicks whatever their age, so that one that is too old can be told
 * from none at all.
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
#include "runtime/dbtx.h"

/*
 * Clicks read and counted per layer. The best is found beyond it too: for a
 * fingerprint it is the newest, for an address see newest_with_agent().
 */
#define CANDIDATE_LIMIT 64

#define SELECT_CLICK \
	"SELECT c.click_id, c.ad_id, c.adset_id, c.campaign_id, c.click_timestamp"

static ArteryStatement select_by_click_id = {
	SELECT_CLICK " FROM artery.click_tracking c "
	" WHERE c.tenant_id = $1 AND c.click_id = $2 AND c.click_timestamp <= $3",
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};

static ArteryStatement select_by_fbclid = {
	SELECT_CLICK " FROM artery.click_tracking c "
	" WHERE c.tenant_id = $1 AND c.fbclid = $2 AND c.click_timestamp <= $3 "
	" ORDER BY c.click_timestamp DESC LIMIT 1",
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};

static ArteryStatement select_by_fingerprint = {
	SELECT_CLICK " FROM artery.click_tracking c "
	" WHERE c.tenant_id = $1 AND c.fingerprint_hash = $2 AND c.click_timestamp <= $3 "
	" ORDER BY c.click_timestamp DESC",
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};

static ArteryStatement select_by_address = {
	SELECT_CLICK ", c.user_agent = $4 FROM artery.click_tracking c "
	" WHERE c.tenant_id = $1 AND c.ip_address = $2 AND c.click_timestamp <= $3 "
	" ORDER BY c.click_timestamp DESC",
	4, {TEXTOID, INETOID, TIMESTAMPTZOID, TEXTOID}, NULL
};

static ArteryStatement select_by_address_and_agent = {
	SELECT_CLICK ", true FROM artery.click_tracking c "
	" WHERE c.tenant_id = $1 AND c.ip_address = $2 AND c.click_timestamp <= $3 "
	"   AND c.click_timestamp >= $5 AND c.user_agent = $4 "
	" ORDER BY c.click_timestamp DESC LIMIT 1",
	5, {TEXTOID, INETOID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID}, NULL
};

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
	const Datum *values;
	const bool *nulls;
	TimestampTz at;				/* of the conversion */
	Attribution *answer;
} Search;

static LayerResult search_ids(Search *search, int64 window);
static LayerResult search_fingerprint(Search *search, int64 window);
static LayerResult search_address(Search *search, int64 window);
static LayerResult search_id(Search *search, ArteryStatement *statement, int column, const char *what,
							 int64 window);
static MatchedClick best_by_address(Search *search, uint64 rows, int64 window);
static MatchedClick newest_with_agent(Search *search, Datum *keys, int64 window);
static uint64 find_newest(Search *search, ArteryStatement *statement, int column, long limit, int64 window,
						  uint64 *in_window);
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

void
artery_search_click(const ArteryTenant *tenant, const Datum *values, const bool *nulls, Attribution *attribution)
{
	int64		click_window = artery_layered_window(tenant->settings.click_window_days);
	Search		search = {.values = values,.nulls = nulls,
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
	LayerResult by_click = search_id(search, &select_by_click_id, CONVERSION_CLICK_ID, "click id", window);
	LayerResult by_fbclid;

	if (by_click == LAYER_SUCCESS)
		return by_click;
	by_fbclid = search_id(search, &select_by_fbclid, CONVERSION_FBCLID, "fbclid", window);
	return Max(by_click, by_fbclid);	/* success, expired, no_match, no_param */
}

static LayerResult
search_id(Search *search, ArteryStatement *statement, int column, const char *what, int64 window)
{
	MatchedClick click;
	uint64		in_window;

	if (search->nulls[column])
		return LAYER_NO_PARAM;
	if (find_newest(search, statement, column, 1, window, &in_window) == 0)
		return LAYER_NO_MATCH;
	if (in_window == 0)
		return LAYER_EXPIRED;
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
	uint64		in_window;

	if (search->nulls[CONVERSION_FINGERPRINT_HASH])
		return LAYER_NO_PARAM;
	if (find_newest(search, &select_by_fingerprint, CONVERSION_FINGERPRINT_HASH, CANDIDATE_LIMIT, window,
					&in_window) == 0)
		return LAYER_NO_MATCH;
	if (in_window == 0)
		return LAYER_EXPIRED;
	read_click(0, false, &click);
	succeed(search, "fingerprint", LAYERED_FINGERPRINT_CONFIDENCE, &click);
	if (in_window == 1)
		search->answer->reason = psprintf("The device fingerprint matched one click, %.1f hours before.",
										  artery_layered_hours(click.at, search->at));
	else
		search->answer->reason =
			psprintf("The device fingerprint matched %d%s clicks; the newest was %.1f hours before.",
					 (int) in_window, in_window == CANDIDATE_LIMIT ? " or more" : "",
					 artery_layered_hours(click.at, search->at));
	return LAYER_SUCCESS;
}

/* Layer 3: the click with the best score among those of the same address. */
static LayerResult
search_address(Search *search, int64 window)
{
	MatchedClick click;
	uint64		in_window;
	double		score;
	double		hours;

	if (search->nulls[CONVERSION_IP_ADDRESS])
		return LAYER_NO_PARAM;
	window = Min(window, LAYERED_SCORE_HOURS * USECS_PER_HOUR);
	if (find_newest(search, &select_by_address, CONVERSION_IP_ADDRESS, CANDIDATE_LIMIT, window, &in_window) == 0)
		return LAYER_NO_MATCH;
	if (in_window == 0)
		return LAYER_EXPIRED;
	click = best_by_address(search, in_window, window);
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
	Datum		keys[5];
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
	keys[0] = search->values[CONVERSION_TENANT_ID];
	keys[1] = search->values[CONVERSION_IP_ADDRESS];
	keys[2] = TimestampTzGetDatum(click.at);
	keys[3] = search->values[CONVERSION_USER_AGENT];
	click = newest_with_agent(search, keys, window);
	return click.found ? click : newest;
}

static MatchedClick
newest_with_agent(Search *search, Datum *keys, int64 window)
{
	MatchedClick click = {.found = false};

	keys[4] = TimestampTzGetDatum(search->at - window);
	if (artery_execute(&select_by_address_and_agent, keys, NULL, false, 1) > 0)
		read_click(0, true, &click);
	return click;
}

/*
 * Read the newest clicks at or before the conversion that have its value in a
 * column; returns how many rows were read, and how many of them, the first
 * ones, are inside the window. Those count as candidates.
 */
static uint64
find_newest(Search *search, ArteryStatement *statement, int column, long limit, int64 window, uint64 *in_window)
{
	Datum		keys[4];
	char		nulls[4] = {' ', ' ', ' ', ' '};
	uint64		rows;

	keys[0] = search->values[CONVERSION_TENANT_ID];
	keys[1] = search->values[column];
	keys[2] = TimestampTzGetDatum(search->at);
	keys[3] = search->values[CONVERSION_USER_AGENT];
	if (search->nulls[CONVERSION_USER_AGENT])
		nulls[3] = 'n';
	rows = artery_execute(statement, keys, nulls, false, limit);
	*in_window = rows;
	while (*in_window > 0 && !artery_layered_in_window(artery_field_time(*in_window - 1, 5), search->at, window))
		(*in_window)--;
	search->answer->candidates += (int) *in_window;
	return rows;
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

/*
 * The calibrated model has found no candidate: tell what is too old from what
 * never was.
 */
static void
explain_nothing(Search *search, int64 window)
{
	static ArteryStatement *const statements[] = {&select_by_fingerprint, &select_by_address};
	static const int columns[] = {CONVERSION_FINGERPRINT_HASH, CONVERSION_IP_ADDRESS};
	uint64		in_window;
	int			i;

	for (i = 0; i < 2; i++)
	{
		LayerResult *layer = &search->answer->layers[i + 1];

		if (search->nulls[columns[i]])
			*layer = LAYER_NO_PARAM;
		else
			*layer = find_newest(search, statements[i], columns[i], 1, window, &in_window) == 0 ?
				LAYER_NO_MATCH : LAYER_EXPIRED;
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
