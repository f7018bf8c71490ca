/*
 * sync_stage.c
 *		The stages of a sync: what is asked in each, and what an answer leads to.
 */
#include "artery.h"

#include "utils/datetime.h"

#include "deliver/graph_json.h"
#include "deliver/sync_state.h"
#include "runtime/clock.h"

#define PAGE_ROWS 500
#define FEWEST_ROWS 25
#define MOST_PAGES 10000		/* of a listing */
#define RETRIES 3				/* of one request, once the sync has got somewhere */
#define FIRST_RETRY_SECONDS 5
#define FIRST_POLL_SECONDS 2
#define LONGEST_POLL_SECONDS 30
#define LONGEST_REPORT (3600 * USECS_PER_SEC)
#define STOPPED_SECONDS 900		/* token, account or settings: looked at again */
#define FULL_PAUSE_SECONDS 300	/* a quota is used up, and nothing says until when */
#define SLOW_FROM_PERCENT 75
#define EDITS_SECONDS 86400		/* how far back edits by hand are read */

/* What is asked for in a stage, and the step that stores it. */
typedef struct StageQuery
{
	const char *step;			/* of artery.sync_step; NULL: nothing is stored */
	const char *edge;			/* NULL: the object itself */
	const char *fields;
	bool		is_listing;		/* comes in pages */
	bool		is_extra;		/* helps, and a sync without it is whole */
} StageQuery;

#define INSIGHT_FIELDS \
	"account_currency,campaign_id,adset_id,ad_id,date_start,date_stop,impressions,inline_link_clicks,spend"

static const StageQuery queries[] = {
	[SYNC_PREPARE] = {NULL, NULL, NULL, false},
	[SYNC_TOKEN] = {"token", NULL, NULL, false, true},
	[SYNC_ACCOUNT] = {"account", NULL,
	"account_id,currency,timezone_name,account_status,min_daily_budget,amount_spent", false},
	[SYNC_MINIMUM] = {"minimum", "minimum_budgets", "currency,min_daily_budget_imp", true, true},
	[SYNC_CAMPAIGNS] = {"campaigns", "campaigns", "daily_budget,lifetime_budget,status,effective_status", true},
	[SYNC_ADSETS] = {"adsets", "adsets",
	"campaign_id,daily_budget,lifetime_budget,status,effective_status,learning_stage_info", true},
	[SYNC_ADS] = {"ads", "ads", "campaign_id,adset_id,effective_status,created_time", true},
	[SYNC_EDITS] = {"edits", "activities", "event_time,event_type,object_id,actor_name,application_id", true, true},
	[SYNC_INSIGHTS] = {"insights", "insights", INSIGHT_FIELDS, true},
	[SYNC_REPORT] = {NULL, "insights", INSIGHT_FIELDS, false},
	[SYNC_REPORT_POLL] = {NULL, NULL, "async_status,async_percent_completion", false},
	[SYNC_REPORT_ROWS] = {"insights", "insights", INSIGHT_FIELDS, true},
};

const char	artery_sync_owner = 0;

static void on_refusal(Sync *sync, const GraphVerdict *verdict);
static bool may_leave_out(const Sync *sync, GraphClass class);
static void leave_out(Sync *sync);
static void on_page(Sync *sync, const Jsonb *parsed);
static void turn_page(Sync *sync, const Jsonb *parsed);
static void keep_cursor(Sync *sync, char **place, const char *cursor);
static void next_stage(Sync *sync);
static void on_report_begun(Sync *sync, const Jsonb *parsed);
static void on_report_polled(Sync *sync, const Jsonb *parsed);
static void ask_for_less(Sync *sync, const char *error);
static void retry_or_fail(Sync *sync, const char *error);
static void slow_down(Sync *sync);
static void finish(Sync *sync);
static char *describe(Sync *sync, const GraphVerdict *verdict);
static char *day_text(DateADT day);

void
artery_sync_ask(Sync *sync)
{
	const StageQuery *query = &queries[sync->stage];
	bool		of_report = sync->stage == SYNC_REPORT_POLL || sync->stage == SYNC_REPORT_ROWS;
	StringInfoData parameters;

	initStringInfo(&parameters);
	if (sync->stage == SYNC_TOKEN)
	{
		/* the one address that has to hold a token; it is told to nobody else */
		artery_meta_parameter(&parameters, "input_token", sync->credentials.token);
		sync->request = artery_meta_call(&artery_sync_owner, sync, "GET", "debug_token", NULL, parameters.data,
										 &sync->app);
		explicit_bzero(parameters.data, parameters.len);
		sync->asked_at = artery_clock_moment();
		sync->requests++;
		return;
	}
	if (sync->stage == SYNC_EDITS)
		artery_meta_parameter(&parameters, "since",
							  psprintf(INT64_FORMAT, (int64) timestamptz_to_time_t(artery_clock_moment()) - EDITS_SECONDS));
	if (sync->stage != SYNC_REPORT_ROWS)
		artery_meta_parameter(&parameters, "fields", query->fields);
	if (sync->stage == SYNC_INSIGHTS || sync->stage == SYNC_REPORT)
	{
		DateADT		last = Min(sync->chunk_since + sync->chunk_days - 1, sync->until);

		artery_meta_parameter(&parameters, "level", "ad");
		artery_meta_parameter(&parameters, "time_increment", "1");
		artery_meta_parameter(&parameters, "time_range",
							  psprintf("{\"since\":\"%s\",\"until\":\"%s\"}", day_text(sync->chunk_since), day_text(last)));
	}
	if (query->is_listing)
	{
		artery_meta_parameter(&parameters, "limit", psprintf("%d", sync->limit));
		if (sync->after != NULL)
			artery_meta_parameter(&parameters, "after", sync->after);
	}
	sync->asked_at = artery_clock_moment();
	sync->request = artery_meta_call(&artery_sync_owner, sync, sync->stage == SYNC_REPORT ? "POST" : "GET",
									 of_report ? sync->report : sync->account, query->edge, parameters.data,
									 &sync->credentials);
	sync->requests++;
}

void
artery_sync_answered(Sync *sync)
{
	Jsonb	   *parsed = artery_graph_parse(sync->answer->body, sync->answer->length);
	GraphVerdict verdict = artery_graph_classify(sync->answer, GRAPH_READ, parsed, sync->subject.account_id);

	sync->resume_at = DT_NOBEGIN;
	if (sync->stage != SYNC_TOKEN)	/* asked with the app's token: says nothing of the tenant's */
		artery_throttle_note(&sync->subject, sync->answer, &verdict);
	if (verdict.class != GRAPH_OK)
	{
		on_refusal(sync, &verdict);
		return;
	}
	sync->retries = 0;
	slow_down(sync);
	if (sync->stage == SYNC_REPORT)
		on_report_begun(sync, parsed);
	else if (sync->stage == SYNC_REPORT_POLL)
		on_report_polled(sync, parsed);
	else
		on_page(sync, parsed);
}

static void
on_refusal(Sync *sync, const GraphVerdict *verdict)
{
	char	   *error = describe(sync, verdict);

	if (may_leave_out(sync, verdict->class))
	{
		leave_out(sync);
		return;
	}
	switch (verdict->class)
	{
		case GRAPH_SHRINK:
			ask_for_less(sync, error);
			break;
		case GRAPH_THROTTLE:
		case GRAPH_THROTTLE_OBJECT:
			artery_sync_wait(sync, Max(verdict->wait_seconds, FULL_PAUSE_SECONDS));
			break;
		case GRAPH_TOKEN:
		case GRAPH_HUMAN:
		case GRAPH_CONFIG:
			artery_sync_settle(sync, SYNC_POSTPONED, error,
							   artery_clock_moment() + STOPPED_SECONDS * USECS_PER_SEC);
			break;
		case GRAPH_PERMANENT:
			artery_sync_settle(sync, SYNC_GIVEN_UP, error, DT_NOBEGIN);
			break;
		default:
			retry_or_fail(sync, error);
			break;
	}
}

/* What only helps is not asked for twice, whatever is wrong with it, unless all else would be refused, too. */
static bool
may_leave_out(const Sync *sync, GraphClass class)
{
	return sync->stage == SYNC_TOKEN ||
		(queries[sync->stage].is_extra &&
		 (class == GRAPH_PERMANENT || class == GRAPH_RETRY || class == GRAPH_AMBIGUOUS || class == GRAPH_SHRINK));
}

static void
leave_out(Sync *sync)
{
	const char *step = queries[sync->stage].step;

	sync->left_out = artery_sync_keep(sync, sync->left_out == NULL ? step : psprintf("%s %s", sync->left_out, step));
	next_stage(sync);
}

static void
on_page(Sync *sync, const Jsonb *parsed)
{
	JsonbValue *data = artery_graph_member(artery_graph_root_object(parsed), "data");

	if (queries[sync->stage].is_listing &&
		(data == NULL || data->type != jbvBinary || !JsonContainerIsArray(data->val.binary.data)))
	{
		if (queries[sync->stage].is_extra)
			leave_out(sync);
		else
			retry_or_fail(sync, "an answer without data");
	}
	else if (artery_sync_store(sync, queries[sync->stage].step, parsed))
		turn_page(sync, parsed);
}

/*
 * There are more pages while paging.next exists, also behind an empty one. Its
 * address is not followed, since it holds the token and may lead anywhere.
 */
static void
turn_page(Sync *sync, const Jsonb *parsed)
{
	JsonbContainer *paging = artery_graph_object(artery_graph_member(artery_graph_root_object(parsed), "paging"));
	JsonbContainer *cursors = artery_graph_object(artery_graph_member(paging, "cursors"));
	char	   *after = artery_graph_text(cursors, "after");
	JsonbValue *next = artery_graph_member(paging, "next");

	if (!queries[sync->stage].is_listing || next == NULL || next->type == jbvNull)
		next_stage(sync);
	else if (after == NULL || (sync->mark != NULL && strcmp(after, sync->mark) == 0) || ++sync->pages > MOST_PAGES)
	{
		if (queries[sync->stage].is_extra)
			leave_out(sync);
		else
			artery_sync_settle(sync, SYNC_FAILED, "Meta's pages do not come to an end", DT_NOBEGIN);
	}
	else
	{
		keep_cursor(sync, &sync->after, after);
		/* Brent's way to find any circle: the mark moves to pages 1, 2, 4, 8 ... */
		if ((sync->pages & (sync->pages - 1)) == 0)
			keep_cursor(sync, &sync->mark, after);
	}
}

/* A cursor in the place of the one there was; NULL: none. */
static void
keep_cursor(Sync *sync, char **place, const char *cursor)
{
	if (*place != NULL)
		pfree(*place);
	*place = cursor == NULL ? NULL : artery_sync_keep(sync, cursor);
}

void
artery_sync_begin(Sync *sync)
{
	if (sync->only == SYNC_EDITS)
		artery_sync_enter(sync, SYNC_EDITS);
	else if (sync->app.token != NULL)
		artery_sync_enter(sync, SYNC_TOKEN);
	else if (sync->only == SYNC_TOKEN)
		artery_sync_settle(sync, SYNC_STOPPED, "meta_app_id or meta_app_secret is not set", DT_NOBEGIN);
	else
		artery_sync_enter(sync, SYNC_ACCOUNT);
}

void
artery_sync_enter(Sync *sync, SyncStage stage)
{
	sync->stage = stage;
	sync->limit = PAGE_ROWS;
	sync->pages = 0;
	sync->retries = 0;
	keep_cursor(sync, &sync->after, NULL);
	keep_cursor(sync, &sync->mark, NULL);
}

static void
next_stage(Sync *sync)
{
	SyncStage	insights = sync->by_report ? SYNC_REPORT : SYNC_INSIGHTS;

	if (sync->only == sync->stage)
		artery_sync_settle(sync, SYNC_STOPPED, "no more was to be read", DT_NOBEGIN);
	else if (sync->stage < SYNC_EDITS)
		artery_sync_enter(sync, sync->stage + 1);
	else if (sync->stage == SYNC_EDITS)
		artery_sync_enter(sync, insights);
	else if (sync->chunk_since + sync->chunk_days <= sync->until)
	{
		sync->chunk_since += sync->chunk_days;
		artery_sync_enter(sync, insights);
	}
	else
		finish(sync);
}

static void
on_report_begun(Sync *sync, const Jsonb *parsed)
{
	JsonbContainer *root = artery_graph_root_object(parsed);
	char	   *id = artery_graph_text(root, "report_run_id");
	int64		number;

	if (id == NULL && artery_graph_int64(root, "report_run_id", &number))
		id = psprintf(INT64_FORMAT, number);
	if (id == NULL || strlen(id) > ARTERY_MAX_ID)
	{
		retry_or_fail(sync, "a report was asked for, and none was promised");
		return;
	}
	if (sync->report != NULL)
		pfree(sync->report);
	sync->report = artery_sync_keep(sync, id);
	sync->report_at = artery_clock_moment();
	sync->poll_seconds = FIRST_POLL_SECONDS;
	artery_sync_enter(sync, SYNC_REPORT_POLL);
	artery_sync_wait(sync, sync->poll_seconds);
}

/* Only the status tells that a report is whole, not 100 percent. */
static void
on_report_polled(Sync *sync, const Jsonb *parsed)
{
	char	   *status = artery_graph_text(artery_graph_root_object(parsed), "async_status");

	if (status != NULL && strcmp(status, "Job Completed") == 0)
		artery_sync_enter(sync, SYNC_REPORT_ROWS);
	else if (status != NULL && (strcmp(status, "Job Failed") == 0 || strcmp(status, "Job Skipped") == 0))
		ask_for_less(sync, psprintf("Meta's report: %s", status));
	else if (artery_clock_moment() > sync->report_at + LONGEST_REPORT)
		artery_sync_settle(sync, SYNC_FAILED, "Meta's report is not ready after an hour", DT_NOBEGIN);
	else
	{
		sync->poll_seconds = Min(sync->poll_seconds * 2, LONGEST_POLL_SECONDS);
		artery_sync_wait(sync, sync->poll_seconds);
	}
}

/* Shorter pages; of Insights a report instead, then reports of fewer days. */
static void
ask_for_less(Sync *sync, const char *error)
{
	if (sync->stage < SYNC_INSIGHTS && sync->limit > FEWEST_ROWS)
		sync->limit = Max(sync->limit / 2, FEWEST_ROWS);
	else if (sync->stage == SYNC_INSIGHTS)
	{
		sync->by_report = true;
		artery_sync_enter(sync, SYNC_REPORT);
	}
	else if (sync->stage > SYNC_INSIGHTS && sync->chunk_days > 1)
	{
		sync->chunk_days = (sync->chunk_days + 1) / 2;
		artery_sync_enter(sync, SYNC_REPORT);
	}
	else
		artery_sync_settle(sync, SYNC_FAILED, error, DT_NOBEGIN);
}

/* What was read so far is worth some patience; without any, the job's own backoff will do. */
static void
retry_or_fail(Sync *sync, const char *error)
{
	if (sync->requests <= 1 || sync->retries >= RETRIES)
		artery_sync_settle(sync, SYNC_FAILED, error, DT_NOBEGIN);
	else
	{
		/* It may have been too long, or taken too long. */
		if (sync->answer->transport != HTTP_ANSWERED)
			sync->limit = Max(sync->limit / 2, FEWEST_ROWS);
		artery_sync_wait(sync, FIRST_RETRY_SECONDS << sync->retries++);
	}
}

/* Slower while a quota fills, and a pause before it is exceeded. */
static void
slow_down(Sync *sync)
{
	GraphUsage	usage = artery_graph_usage(sync->answer->headers, sync->subject.account_id, NULL);

	if (usage.max_percent >= 100)
		artery_sync_wait(sync, Max(usage.pause_seconds, FULL_PAUSE_SECONDS));
	else if (usage.max_percent >= SLOW_FROM_PERCENT)
		artery_sync_wait(sync, 1 + (int64) (usage.max_percent - SLOW_FROM_PERCENT) * 2);
}

/* What went wrong, in a line without secrets. */
static char *
describe(Sync *sync, const GraphVerdict *verdict)
{
	const char *what = queries[sync->stage].edge != NULL ? queries[sync->stage].edge : sync->account;

	if (sync->answer->transport != HTTP_ANSWERED)
		return psprintf("reading %s: %s", what, sync->answer->error);
	if (!verdict->has_error)
		return psprintf("reading %s: an answer with HTTP status %d that says nothing", what, sync->answer->status);
	return psprintf("reading %s: Meta's error " INT64_FORMAT "/" INT64_FORMAT ": %s", what, verdict->code,
					verdict->subcode, verdict->message == NULL ? "no message" :
					artery_meta_redact(verdict->message, &sync->credentials));
}

static void
finish(Sync *sync)
{
	char	   *report = sync->by_report ? psprintf(", \"report_days\": %d", sync->chunk_days) : "";
	char	   *left_out = sync->left_out != NULL ? psprintf(", \"left_out\": \"%s\"", sync->left_out) : "";
	char	   *result = psprintf("{\"campaigns\": " INT64_FORMAT ", \"adsets\": " INT64_FORMAT ", \"ads\": " INT64_FORMAT
								  ", \"ad_days\": " INT64_FORMAT ", \"skipped\": " INT64_FORMAT
								  ", \"requests\": %d, \"since\": \"%s\", \"until\": \"%s\"%s%s}",
								  sync->stored[SYNC_CAMPAIGNS], sync->stored[SYNC_ADSETS], sync->stored[SYNC_ADS],
								  sync->stored[SYNC_INSIGHTS] + sync->stored[SYNC_REPORT_ROWS], sync->skipped,
								  sync->requests, day_text(sync->since), day_text(sync->until), report, left_out);

	artery_sync_finish(sync, result);
}

static char *
day_text(DateADT day)
{
	int			year;
	int			month;
	int			of_month;

	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &of_month);
	return psprintf("%04d-%02d-%02d", year, month, of_month);
}
