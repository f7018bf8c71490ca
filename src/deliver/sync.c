/*
 * sync.c
 *		Jobs actuals-sync: reading accounts, budgets, ads and their days from Meta.
 *
 * A sync goes through stages: the account, which says whether to go on at all,
 * campaigns, ad sets, ads, and the Insights of the last days. Each answer is one
 * page, stored in one transaction under the fence of the job's attempt; what
 * was stored before a failure stays, since every page is true by itself and the
 * next sync reads it again. Where Insights are too much for one request, Meta
 * makes a report of them: started, polled, read; of fewer days at a time if
 * even that is too much.
 *
 * Changes come first: syncs together take at most half of the requests that
 * may be under way, and one sync has one at a time.
 */
#include "artery.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/memutils.h"

#include "deliver/currency.h"
#include "deliver/graph_json.h"
#include "deliver/meta.h"
#include "deliver/pause.h"
#include "deliver/sync.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/guc.h"
#include "runtime/worker.h"
#include "tenant/tenant.h"

#define MOST_SYNCS 16			/* under way at once */
#define DEFAULT_DAYS 28			/* Meta corrects the figures of a day that long */
#define MOST_DAYS 1100
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
#define SCHEDULE_INTERVAL (60 * USECS_PER_SEC)

typedef enum SyncStage
{
	SYNC_PREPARE,
	SYNC_ACCOUNT,
	SYNC_CAMPAIGNS,
	SYNC_ADSETS,
	SYNC_ADS,
	SYNC_INSIGHTS,
	SYNC_REPORT,				/* ask for a report */
	SYNC_REPORT_POLL,			/* is it ready? */
	SYNC_REPORT_ROWS
} SyncStage;

/* What is asked for in a stage, and the step that stores it. */
typedef struct StageQuery
{
	const char *step;			/* of artery.sync_step; NULL: nothing is stored */
	const char *edge;			/* NULL: the object itself */
	const char *fields;
	bool		is_listing;		/* comes in pages */
} StageQuery;

#define INSIGHT_FIELDS \
	"account_currency,campaign_id,adset_id,ad_id,date_start,date_stop,impressions,inline_link_clicks,spend"

static const StageQuery queries[] = {
	[SYNC_PREPARE] = {NULL, NULL, NULL, false},
	[SYNC_ACCOUNT] = {"account", NULL,
	"account_id,currency,timezone_name,account_status,min_daily_budget,amount_spent", false},
	[SYNC_CAMPAIGNS] = {"campaigns", "campaigns", "daily_budget,lifetime_budget,status,effective_status", true},
	[SYNC_ADSETS] = {"adsets", "adsets",
	"campaign_id,daily_budget,lifetime_budget,status,effective_status,learning_stage_info", true},
	[SYNC_ADS] = {"ads", "ads", "campaign_id,adset_id,created_time", true},
	[SYNC_INSIGHTS] = {"insights", "insights", INSIGHT_FIELDS, true},
	[SYNC_REPORT] = {NULL, "insights", INSIGHT_FIELDS, false},
	[SYNC_REPORT_POLL] = {NULL, NULL, "async_status,async_percent_completion", false},
	[SYNC_REPORT_ROWS] = {"insights", "insights", INSIGHT_FIELDS, true},
};

typedef struct Sync
{
	dlist_node	node;			/* in syncs */
	MemoryContext context;		/* holds all of it */
	MemoryContext work;			/* of the step under way, reset after it */
	bool		ended;
	char	   *error;			/* of an attempt of ours that failed */

	char	   *tenant_id;		/* the claim */
	int64		job_id;
	int			attempt;
	int			days;
	bool		by_report;		/* Insights come as reports */

	MetaCredentials credentials;
	PauseSubject subject;
	char	   *account;		/* act_ and digits */

	SyncStage	stage;
	HttpRequest *request;		/* under way; NULL if none */
	const HttpAnswer *answer;	/* while it is being looked at */
	TimestampTz asked_at;
	TimestampTz resume_at;		/* not before this moment */
	int			retries;		/* of the present request */

	int			limit;			/* rows of a page */
	int			pages;			/* of the present listing */
	char	   *after;			/* cursor; NULL at the beginning */

	DateADT		since;			/* all days to read */
	DateADT		until;
	DateADT		chunk_since;	/* those being read */
	int			chunk_days;
	char	   *report;			/* id */
	TimestampTz report_at;		/* when it was asked for */
	int			poll_seconds;

	int64		stored[SYNC_REPORT_ROWS + 1];	/* by stage */
	int64		skipped;
	int			requests;
} Sync;

typedef void (*SyncStep) (Sync *sync);

static ArteryStatement sync_step = {
	"SELECT lost, problem, stored, skipped, since, until FROM artery.sync_step($1, $2, $3, $4, $5, $6, $7)",
	7, {TEXTOID, INT8OID, INT4OID, TEXTOID, JSONBOID, TIMESTAMPTZOID, INT4OID}, NULL
};
static ArteryStatement finish_sync = {
	"SELECT artery.sync_finish($1, $2, $3, $5, $4::jsonb)", 5, {TEXTOID, INT8OID, INT4OID, TEXTOID, DATEOID}, NULL
};
static ArteryStatement complete_job = {
	"SELECT artery.complete_job($1, $2, $3, pg_catalog.jsonb_build_object('stopped', $4))", 4,
	{TEXTOID, INT8OID, INT4OID, TEXTOID}, NULL
};
static ArteryStatement fail_job = {
	"SELECT artery.fail_job($1, $2, $3, $4)", 4, {TEXTOID, INT8OID, INT4OID, TEXTOID}, NULL
};
static ArteryStatement give_up_job = {
	"SELECT artery.give_up_job($1, $2, $3, $4)", 4, {TEXTOID, INT8OID, INT4OID, TEXTOID}, NULL
};
static ArteryStatement postpone_job = {
	"SELECT artery.postpone_job($1, $2, $3, $5, $4)", 5, {TEXTOID, INT8OID, INT4OID, TEXTOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement renew_job = {
	"SELECT artery.renew_job($1, $2, $3, pg_catalog.make_interval(secs => $4::float8))", 4,
	{TEXTOID, INT8OID, INT4OID, TEXTOID}, NULL
};
static ArteryStatement schedule_syncs = {
	"SELECT artery.schedule_syncs()", 0, {0}, NULL
};

PG_FUNCTION_INFO_V1(artery_amount_of_minor);

static dlist_head syncs = DLIST_STATIC_INIT(syncs);
static const char sync_owner = 0;	/* its address marks our requests */
static int	under_way = 0;		/* syncs */
static int	in_flight = 0;		/* their requests */

static void take_answers(void);
static TimestampTz schedule(void);
static TimestampTz move_on(void);
static void guarded(Sync *sync, SyncStep step);
static bool attempt_step(Sync *sync, SyncStep step);
static void end_sync(Sync *sync);
static void fail(Sync *sync);
static void go_on(Sync *sync);
static void prepare(Sync *sync);
static bool may_ask(Sync *sync);
static void ask(Sync *sync);
static void on_answer(Sync *sync);
static void on_refusal(Sync *sync, const GraphVerdict *verdict);
static void on_page(Sync *sync, const Jsonb *parsed);
static bool store(Sync *sync, const Jsonb *parsed);
static void turn_page(Sync *sync, const Jsonb *parsed);
static void enter(Sync *sync, SyncStage stage);
static void next_stage(Sync *sync);
static void on_report_begun(Sync *sync, const Jsonb *parsed);
static void on_report_polled(Sync *sync, const Jsonb *parsed);
static void ask_for_less(Sync *sync, const char *error);
static void retry_or_fail(Sync *sync, const char *error);
static void slow_down(Sync *sync);
static void wait_seconds(Sync *sync, int64 seconds);
static void settle(Sync *sync, ArteryStatement *statement, const char *text, Datum more);
static void finish(Sync *sync);
static char *describe(Sync *sync, const GraphVerdict *verdict);
static char *keep(Sync *sync, const char *text);
static char *day_text(DateADT day);

/* artery.amount_of_minor(minor, currency) */
Datum
artery_amount_of_minor(PG_FUNCTION_ARGS)
{
	PG_RETURN_NUMERIC(artery_currency_from_minor(PG_GETARG_INT64(0), text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

int
artery_sync_room(void)
{
	return artery_settings.enabled ? MOST_SYNCS - under_way : 0;
}

void
artery_sync_start(const char *tenant_id, int64 job_id, int attempt, const Jsonb *data)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "artery sync", ALLOCSET_SMALL_SIZES);
	JsonbContainer *root = artery_graph_root_object(data);
	JsonbValue *by_report = artery_graph_member(root, "async");
	Sync	   *sync = MemoryContextAllocZero(context, sizeof(Sync));
	int64		days;

	sync->context = context;
	sync->work = AllocSetContextCreate(context, "artery sync step", ALLOCSET_DEFAULT_SIZES);
	sync->tenant_id = keep(sync, tenant_id);
	sync->job_id = job_id;
	sync->attempt = attempt;
	sync->days = DEFAULT_DAYS;
	if (artery_graph_int64(root, "days", &days))
		sync->days = (int) Min(Max(days, 1), MOST_DAYS);
	sync->by_report = by_report != NULL && by_report->type == jbvBool && by_report->val.boolean;
	sync->resume_at = DT_NOBEGIN;
	dlist_push_tail(&syncs, &sync->node);
	under_way++;
}

TimestampTz
artery_sync_duty(void)
{
	TimestampTz next = schedule();

	take_answers();
	return Min(next, move_on());
}

/*
 * Queue what is due by artery.sync_interval, at most once a minute unless the
 * settings changed; returns when to look again.
 */
static TimestampTz
schedule(void)
{
	static TimestampTz looked_at = DT_NOBEGIN;	/* wall */
	static TimestampTz next_at = DT_NOBEGIN;
	static int	interval = -1;
	static double offset = 0;
	TimestampTz wall = artery_clock_wall();
	ArteryScope scope;

	if (artery_settings.sync_interval == 0)
		return DT_NOEND;
	if (interval == artery_settings.sync_interval && offset == artery_settings.clock_offset &&
		wall < looked_at + SCHEDULE_INTERVAL)
		return Max(next_at, artery_clock_moment() + (looked_at + SCHEDULE_INTERVAL - wall));
	interval = artery_settings.sync_interval;
	offset = artery_settings.clock_offset;
	looked_at = wall;

	artery_transaction_begin(&scope, "artery: scheduling syncs");
	(void) artery_execute(&schedule_syncs, NULL, NULL, false, 1);
	next_at = artery_field_time(0, 1);
	artery_transaction_commit(&scope);
	/* A tenant that comes later is due an interval from now at the earliest. */
	next_at = Min(next_at, artery_clock_moment() + interval * USECS_PER_SEC);
	return Max(next_at, artery_clock_moment() + SCHEDULE_INTERVAL);
}

static void
take_answers(void)
{
	HttpRequest *request;

	while ((request = artery_http_take(&sync_owner)) != NULL)
	{
		Sync	   *sync = artery_http_answer(request)->user;

		sync->answer = artery_http_answer(request);
		sync->request = NULL;
		in_flight--;
		guarded(sync, on_answer);
		artery_http_release(request);
	}
}

/* Let those go on that may; returns when the next one wants to. */
static TimestampTz
move_on(void)
{
	TimestampTz next = DT_NOEND;
	dlist_mutable_iter iter;
	int			left = under_way;

	while (left-- > 0)
	{
		/* Whoever was served goes behind the others. */
		Sync	   *sync = dlist_container(Sync, node, dlist_pop_head_node(&syncs));

		dlist_push_tail(&syncs, &sync->node);
		if (sync->request == NULL && sync->resume_at <= artery_clock_moment())
			guarded(sync, go_on);
	}
	dlist_foreach_modify(iter, &syncs)
	{
		Sync	   *sync = dlist_container(Sync, node, iter.cur);

		/* Others wait for an answer, their own or one that makes place. */
		if (sync->request == NULL && sync->resume_at > artery_clock_moment())
			next = Min(next, sync->resume_at);
	}
	return next;
}

/* An error of ours fails that sync's job, never the worker. */
static void
guarded(Sync *sync, SyncStep step)
{
	if (!attempt_step(sync, step) && !attempt_step(sync, fail))
		sync->ended = true;		/* the job is taken back when its lease runs out */
	MemoryContextReset(sync->work);
	if (sync->ended)
		end_sync(sync);
}

static bool
attempt_step(Sync *sync, SyncStep step)
{
	MemoryContext before = MemoryContextSwitchTo(sync->work);
	volatile bool done = false;

	PG_TRY();
	{
		step(sync);
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(sync->work);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		sync->error = keep(sync, artery_meta_redact(error->message, &sync->credentials));
		artery_worker_record_error(sync->error);
		ereport(LOG, (errcode(error->sqlerrcode), errmsg("artery sync: %s", sync->error)));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(before);
	return done;
}

static void
end_sync(Sync *sync)
{
	dlist_delete(&sync->node);
	under_way--;
	if (sync->request != NULL)
	{
		artery_http_release(sync->request);
		in_flight--;
	}
	if (sync->credentials.token != NULL)
		explicit_bzero(sync->credentials.token, strlen(sync->credentials.token));
	if (sync->credentials.app_secret != NULL)
		explicit_bzero(sync->credentials.app_secret, strlen(sync->credentials.app_secret));
	MemoryContextDelete(sync->context);
	SetLatch(MyLatch);			/* there is room for another */
}

static void
fail(Sync *sync)
{
	settle(sync, &fail_job, sync->error, (Datum) 0);
}

static void
go_on(Sync *sync)
{
	if (!artery_settings.enabled)
	{
		settle(sync, &postpone_job, "artery.enabled is off", TimestampTzGetDatum(artery_clock_moment()));
		return;
	}
	if (sync->stage == SYNC_PREPARE)
		prepare(sync);
	if (!sync->ended && may_ask(sync))
		ask(sync);
}

/* Read what the tenant signs with. */
static void
prepare(Sync *sync)
{
	ArteryScope scope;
	const ArteryTenant *tenant;
	char	   *token;
	char	   *app_secret;

	artery_transaction_begin(&scope, "artery: beginning a sync");
	MemoryContextSwitchTo(sync->work);
	tenant = artery_tenant_find(sync->tenant_id);
	token = artery_tenant_secret(sync->tenant_id, "meta_access_token", NULL);
	app_secret = artery_tenant_secret(sync->tenant_id, "meta_app_secret", NULL);
	if (tenant != NULL && tenant->settings.meta_ad_account_id != NULL && token != NULL)
	{
		sync->credentials.token = keep(sync, token);
		sync->credentials.app_secret = app_secret == NULL ? NULL : keep(sync, app_secret);
		sync->account = keep(sync, psprintf("act_%s", tenant->settings.meta_ad_account_id));
		sync->subject.tenant_id = sync->tenant_id;
		sync->subject.account_id = sync->account + strlen("act_");
		sync->subject.app_id = tenant->settings.meta_app_id == NULL ? NULL : keep(sync, tenant->settings.meta_app_id);
		sync->subject.token = sync->credentials.token;
	}
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(sync->work);
	if (token != NULL)
		explicit_bzero(token, strlen(token));
	if (app_secret != NULL)
		explicit_bzero(app_secret, strlen(app_secret));

	if (sync->credentials.token != NULL)
		enter(sync, SYNC_ACCOUNT);
	else
		settle(sync, &fail_job, "meta_ad_account_id or meta_access_token is not set", (Datum) 0);
}

/* Is there a place, and does nothing that Meta said before stand against it? */
static bool
may_ask(Sync *sync)
{
	TimestampTz until;
	const char *rule;

	if (artery_pause_applies(&sync->subject, &until, &rule))
	{
		int64		seconds = (until - artery_clock_moment()) / USECS_PER_SEC + 1;

		if (strstr(rule, "throttle") != NULL)
			wait_seconds(sync, seconds);
		else
			settle(sync, &postpone_job, rule, TimestampTzGetDatum(artery_clock_moment() +
																  Min(seconds, STOPPED_SECONDS) * USECS_PER_SEC));
		return false;
	}
	return artery_http_free() > 0 && in_flight < Max(artery_settings.http_max_in_flight / 2, 1);
}

static void
ask(Sync *sync)
{
	const StageQuery *query = &queries[sync->stage];
	bool		of_report = sync->stage == SYNC_REPORT_POLL || sync->stage == SYNC_REPORT_ROWS;
	StringInfoData parameters;

	initStringInfo(&parameters);
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
	sync->request = artery_meta_call(&sync_owner, sync, sync->stage == SYNC_REPORT ? "POST" : "GET",
									 of_report ? sync->report : sync->account, query->edge, parameters.data,
									 &sync->credentials);
	sync->requests++;
	in_flight++;
}

static void
on_answer(Sync *sync)
{
	Jsonb	   *parsed = artery_graph_parse(sync->answer->body, sync->answer->length);
	GraphVerdict verdict = artery_graph_classify(sync->answer, GRAPH_READ, parsed);
	/* The quota of Insights is one of its own: it does not hold up changes. */
	bool		insights_only = verdict.code == 80000 ||
		(verdict.code == 4 && (verdict.subcode == 1504022 || verdict.subcode == 1504039));

	sync->resume_at = DT_NOBEGIN;
	if (!insights_only)
		artery_pause_note(&sync->subject, sync->answer, &verdict);
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

	switch (verdict->class)
	{
		case GRAPH_SHRINK:
			ask_for_less(sync, error);
			break;
		case GRAPH_THROTTLE:
		case GRAPH_THROTTLE_OBJECT:
			wait_seconds(sync, Max(verdict->wait_seconds, FULL_PAUSE_SECONDS));
			break;
		case GRAPH_TOKEN:
		case GRAPH_HUMAN:
		case GRAPH_CONFIG:
			settle(sync, &postpone_job, error,
				   TimestampTzGetDatum(artery_clock_moment() + STOPPED_SECONDS * USECS_PER_SEC));
			break;
		case GRAPH_PERMANENT:
			settle(sync, &give_up_job, error, (Datum) 0);
			break;
		default:
			retry_or_fail(sync, error);
			break;
	}
}

static void
on_page(Sync *sync, const Jsonb *parsed)
{
	JsonbValue *data = artery_graph_member(artery_graph_root_object(parsed), "data");

	if (queries[sync->stage].is_listing &&
		(data == NULL || data->type != jbvBinary || !JsonContainerIsArray(data->val.binary.data)))
		retry_or_fail(sync, "an answer without data");
	else if (store(sync, parsed))
		turn_page(sync, parsed);
}

/* In one transaction; false if that was the end. */
static bool
store(Sync *sync, const Jsonb *parsed)
{
	ArteryScope scope;
	Datum		values[7];
	bool		lost;
	char	   *problem;

	values[0] = CStringGetTextDatum(sync->tenant_id);
	values[1] = Int64GetDatum(sync->job_id);
	values[2] = Int32GetDatum(sync->attempt);
	values[3] = CStringGetTextDatum(queries[sync->stage].step);
	values[4] = JsonbPGetDatum(parsed);
	values[5] = TimestampTzGetDatum(sync->asked_at);
	values[6] = Int32GetDatum(sync->days);
	artery_transaction_begin(&scope, "artery: storing a page from Meta");
	(void) artery_execute(&sync_step, values, NULL, false, 1);
	MemoryContextSwitchTo(sync->work);
	lost = artery_field_bool(0, 1);
	problem = artery_field_text(0, 2);
	sync->stored[sync->stage] += artery_field_int64(0, 3);
	sync->skipped += artery_field_int64(0, 4);
	if (sync->stage == SYNC_ACCOUNT && !lost && problem == NULL)
	{
		bool		isnull;

		sync->since = DatumGetDateADT(artery_field(0, 5, &isnull));
		sync->until = DatumGetDateADT(artery_field(0, 6, &isnull));
		sync->chunk_since = sync->since;
		sync->chunk_days = sync->days;
	}
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(sync->work);
	if (lost)
		sync->ended = true;
	else if (problem != NULL)
		settle(sync, &complete_job, problem, (Datum) 0);
	return !sync->ended;
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

	if (!queries[sync->stage].is_listing || artery_graph_member(paging, "next") == NULL)
		next_stage(sync);
	else if (after == NULL || (sync->after != NULL && strcmp(after, sync->after) == 0) || ++sync->pages > MOST_PAGES)
		settle(sync, &fail_job, "Meta's pages do not come to an end", (Datum) 0);
	else
	{
		if (sync->after != NULL)
			pfree(sync->after);
		sync->after = keep(sync, after);
	}
}

static void
enter(Sync *sync, SyncStage stage)
{
	sync->stage = stage;
	sync->limit = PAGE_ROWS;
	sync->pages = 0;
	sync->retries = 0;
	if (sync->after != NULL)
		pfree(sync->after);
	sync->after = NULL;
}

static void
next_stage(Sync *sync)
{
	SyncStage	insights = sync->by_report ? SYNC_REPORT : SYNC_INSIGHTS;

	if (sync->stage < SYNC_ADS)
		enter(sync, sync->stage + 1);
	else if (sync->stage == SYNC_ADS)
		enter(sync, insights);
	else if (sync->chunk_since + sync->chunk_days <= sync->until)
	{
		sync->chunk_since += sync->chunk_days;
		enter(sync, insights);
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
	sync->report = keep(sync, id);
	sync->report_at = artery_clock_moment();
	sync->poll_seconds = FIRST_POLL_SECONDS;
	enter(sync, SYNC_REPORT_POLL);
	wait_seconds(sync, sync->poll_seconds);
}

/* Only the status tells that a report is whole, not 100 percent. */
static void
on_report_polled(Sync *sync, const Jsonb *parsed)
{
	char	   *status = artery_graph_text(artery_graph_root_object(parsed), "async_status");

	if (status != NULL && strcmp(status, "Job Completed") == 0)
		enter(sync, SYNC_REPORT_ROWS);
	else if (status != NULL && (strcmp(status, "Job Failed") == 0 || strcmp(status, "Job Skipped") == 0))
		ask_for_less(sync, psprintf("Meta's report: %s", status));
	else if (artery_clock_moment() > sync->report_at + LONGEST_REPORT)
		settle(sync, &fail_job, "Meta's report is not ready after an hour", (Datum) 0);
	else
	{
		sync->poll_seconds = Min(sync->poll_seconds * 2, LONGEST_POLL_SECONDS);
		wait_seconds(sync, sync->poll_seconds);
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
		enter(sync, SYNC_REPORT);
	}
	else if (sync->stage > SYNC_INSIGHTS && sync->chunk_days > 1)
	{
		sync->chunk_days = (sync->chunk_days + 1) / 2;
		enter(sync, SYNC_REPORT);
	}
	else
		settle(sync, &fail_job, error, (Datum) 0);
}

/* What was read so far is worth some patience; without any, the job's own backoff will do. */
static void
retry_or_fail(Sync *sync, const char *error)
{
	if (sync->requests <= 1 || sync->retries >= RETRIES)
		settle(sync, &fail_job, error, (Datum) 0);
	else
		wait_seconds(sync, FIRST_RETRY_SECONDS << sync->retries++);
}

/* Slower while a quota fills, and a pause before it is exceeded. */
static void
slow_down(Sync *sync)
{
	GraphUsage	usage = artery_graph_usage(sync->answer->headers);

	if (usage.pause_account != NULL && strcmp(usage.pause_account, sync->subject.account_id) != 0)
		return;
	if (usage.max_percent >= 100)
		wait_seconds(sync, Max(usage.pause_seconds, FULL_PAUSE_SECONDS));
	else if (usage.max_percent >= SLOW_FROM_PERCENT)
		wait_seconds(sync, 1 + (int64) (usage.max_percent - SLOW_FROM_PERCENT) * 2);
}

/* Until then the claim is held. The longest of several waits counts. */
static void
wait_seconds(Sync *sync, int64 seconds)
{
	char	   *text = psprintf(INT64_FORMAT, seconds);
	ArteryScope scope;
	Datum		values[4] = {CStringGetTextDatum(sync->tenant_id), Int64GetDatum(sync->job_id),
	Int32GetDatum(sync->attempt), CStringGetTextDatum(text)};

	sync->resume_at = Max(sync->resume_at, artery_clock_moment() + seconds * USECS_PER_SEC);
	artery_transaction_begin(&scope, "artery: a sync waits");
	(void) artery_execute(&renew_job, values, NULL, false, 1);
	if (!artery_field_bool(0, 1))
		sync->ended = true;
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(sync->work);
}

/* Settle the job; a claim that was taken back is no concern of ours any more. */
static void
settle(Sync *sync, ArteryStatement *statement, const char *text, Datum more)
{
	ArteryScope scope;
	Datum		values[5] = {CStringGetTextDatum(sync->tenant_id), Int64GetDatum(sync->job_id),
	Int32GetDatum(sync->attempt), CStringGetTextDatum(text), more};

	artery_transaction_begin(&scope, "artery: settling a sync");
	(void) artery_execute(statement, values, NULL, false, 1);
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(sync->work);
	sync->ended = true;
}

static void
finish(Sync *sync)
{
	char	   *result = psprintf("{\"campaigns\": " INT64_FORMAT ", \"adsets\": " INT64_FORMAT ", \"ads\": " INT64_FORMAT
								  ", \"ad_days\": " INT64_FORMAT ", \"skipped\": " INT64_FORMAT
								  ", \"requests\": %d, \"since\": \"%s\", \"until\": \"%s\"}",
								  sync->stored[SYNC_CAMPAIGNS], sync->stored[SYNC_ADSETS], sync->stored[SYNC_ADS],
								  sync->stored[SYNC_INSIGHTS] + sync->stored[SYNC_REPORT_ROWS], sync->skipped,
								  sync->requests, day_text(sync->since), day_text(sync->until));

	settle(sync, &finish_sync, result, DateADTGetDatum(sync->until));
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

/* A copy that lives as long as the sync. */
static char *
keep(Sync *sync, const char *text)
{
	return MemoryContextStrdup(sync->context, text);
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
