/*
 * sync.c
 *		Jobs actuals-sync: reading accounts, budgets, ads and their days from Meta.
 *
 * A sync goes through stages: once a day what the token may do, the account, which
 * says whether to go on at all, the least a budget may be, campaigns, ad sets, ads,
 * who edited budgets by hand, and the Insights of the last days. Meta may refuse
 * what only helps (token, least, edits); then it is left out. Each answer is one
 * page, stored in one transaction under the fence of the job's attempt; what
 * was stored before a failure stays, since every page is true by itself and the
 * next sync reads it again. Where Insights are too much for one request, Meta
 * makes a report of them: started, polled, read; of fewer days at a time if
 * even that is too much.
 *
 * The data of a job may hold "days", how many days to read up to today (28; at
 * most 1,100, Meta keeps 37 months), and "async": true to have Insights made as
 * reports, which then holds for later syncs of the account until one says false.
 *
 * Changes come first: syncs together take at most half of the requests that
 * may be under way, and one sync has one at a time.
 */
#include "artery.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "deliver/graph_json.h"
#include "deliver/sync_state.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/guc.h"
#include "runtime/worker.h"

#define MOST_SYNCS 16			/* under way at once */
#define DEFAULT_DAYS 28			/* Meta corrects the figures of a day that long */
#define MOST_DAYS 1100
#define STOPPED_SECONDS 900		/* token, account or settings: looked at again */
#define SCHEDULE_INTERVAL (60 * USECS_PER_SEC)
#define RETRY_CLAIM (1 * USECS_PER_SEC) /* syncs are due, but somebody else holds them */

typedef void (*SyncStep) (Sync *sync);

static ArteryStatement take_jobs = {
	"SELECT tenant_id, job_id, attempt, data FROM artery.take_sync_jobs($1)", 1, {INT4OID}, NULL
};
static ArteryStatement next_job = {
	"SELECT artery.next_sync_at()", 0, {0}, NULL
};
static ArteryStatement schedule_syncs = {
	"SELECT artery.schedule_syncs()", 0, {0}, NULL
};

static dlist_head syncs = DLIST_STATIC_INIT(syncs);
static int	under_way = 0;		/* syncs */
static int	in_flight = 0;		/* their requests */

static void start(Datum tenant_id, Datum job_id, Datum attempt, const Jsonb *data);
static TimestampTz schedule(void);
static void take_answers(void);
static TimestampTz move_on(void);
static void guarded(Sync *sync, SyncStep step);
static bool attempt_step(Sync *sync, SyncStep step);
static void end_sync(Sync *sync);
static void fail(Sync *sync);
static void go_on(Sync *sync);
static bool may_ask(Sync *sync);

/* Claim jobs, as many as there is room for; none while artery.enabled is off. */
TimestampTz
artery_sync_claim_duty(void)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		room = Int32GetDatum(artery_settings.enabled ? MOST_SYNCS - under_way : 0);
	Datum		jobs[MOST_SYNCS][4];
	ArteryScope scope;
	TimestampTz next;
	bool		isnull;
	int			njobs;
	int			i;
	int			column;

	artery_transaction_begin(&scope, "artery: claiming syncs");
	scope.caller = context;
	njobs = (int) artery_execute(&take_jobs, &room, NULL, false, 0);
	for (i = 0; i < njobs; i++)
		for (column = 0; column < 4; column++)
			jobs[i][column] = artery_field_copy(&scope, i, column + 1, &isnull);
	(void) artery_execute(&next_job, NULL, NULL, false, 1);
	next = artery_field_null(0, 1) ? DT_NOEND : artery_field_time(0, 1);
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(context);
	for (i = 0; i < njobs; i++)
		start(jobs[i][0], jobs[i][1], jobs[i][2], DatumGetJsonbP(jobs[i][3]));
	return Max(next, artery_clock_moment() + RETRY_CLAIM);
}

/* Take over a claimed job; artery_sync_duty() works on it and settles it. */
static void
start(Datum tenant_id, Datum job_id, Datum attempt, const Jsonb *data)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "artery sync", ALLOCSET_SMALL_SIZES);
	JsonbContainer *root = artery_graph_root_object(data);
	JsonbValue *by_report = artery_graph_member(root, "async");
	char	   *only = artery_graph_text(root, "only");
	Sync	   *sync = MemoryContextAllocZero(context, sizeof(Sync));
	int64		days;

	sync->context = context;
	sync->work = AllocSetContextCreate(context, "artery sync step", ALLOCSET_DEFAULT_SIZES);
	sync->tenant_id = artery_sync_keep(sync, TextDatumGetCString(tenant_id));
	sync->job_id = DatumGetInt64(job_id);
	sync->attempt = DatumGetInt32(attempt);
	sync->days = DEFAULT_DAYS;
	if (artery_graph_int64(root, "days", &days))
		sync->days = (int) Min(Max(days, 1), MOST_DAYS);
	if (only != NULL && strcmp(only, "token") == 0)
		sync->only = SYNC_TOKEN;
	else if (only != NULL && strcmp(only, "edits") == 0)
		sync->only = SYNC_EDITS;
	sync->as_told = by_report != NULL && by_report->type == jbvBool;
	sync->by_report = sync->as_told && by_report->val.boolean;
	sync->resume_at = DT_NOBEGIN;
	dlist_push_tail(&syncs, &sync->node);
	under_way++;
	SetLatch(MyLatch);			/* it begins in the next round, even where only time called for this one */
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

	while ((request = artery_http_take(&artery_sync_owner)) != NULL)
	{
		Sync	   *sync = artery_http_answer(request)->user;

		sync->answer = artery_http_answer(request);
		sync->request = NULL;
		in_flight--;
		guarded(sync, artery_sync_answered);
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
		sync->error = artery_sync_keep(sync, artery_meta_redact(error->message, &sync->credentials));
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
	if (sync->app.token != NULL)
		explicit_bzero(sync->app.token, strlen(sync->app.token));
	MemoryContextDelete(sync->context);
	SetLatch(MyLatch);			/* there is room for another */
}

static void
fail(Sync *sync)
{
	artery_sync_settle(sync, SYNC_FAILED, sync->error, DT_NOBEGIN);
}

static void
go_on(Sync *sync)
{
	if (!artery_settings.enabled)
	{
		artery_sync_settle(sync, SYNC_POSTPONED, "artery.enabled is off", artery_clock_moment());
		return;
	}
	if (sync->stage == SYNC_PREPARE)
	{
		if (!artery_sync_prepare(sync))
		{
			artery_sync_settle(sync, SYNC_FAILED, "meta_ad_account_id or meta_access_token is not set", DT_NOBEGIN);
			return;
		}
		artery_sync_begin(sync);
		if (sync->ended)
			return;
	}
	if (may_ask(sync))
	{
		artery_sync_ask(sync);
		in_flight++;
	}
}

/* Is there a place, and does nothing that Meta said before stand against it? */
static bool
may_ask(Sync *sync)
{
	TimestampTz until;
	const char *rule;

	sync->subject.insights = sync->stage >= SYNC_INSIGHTS;
	if (artery_throttle_applies(&sync->subject, &until, &rule))
	{
		int64		seconds = (until - artery_clock_moment()) / USECS_PER_SEC + 1;

		if (strstr(rule, "throttle") != NULL)
			artery_sync_wait(sync, seconds);
		else
			artery_sync_settle(sync, SYNC_POSTPONED, rule, artery_clock_moment() + Min(seconds, STOPPED_SECONDS) * USECS_PER_SEC);
		return false;
	}
	return artery_http_free() > 0 && in_flight < Max(artery_settings.http_max_in_flight / 2, 1);
}
