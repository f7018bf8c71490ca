/*
 * job_runner.c
 *		The jobs that artery's own worker does.
 *
 * One after the other, so that none waits, claimed, for another that takes long,
 * and the most urgent is always the next. Claims are committed before the work
 * begins; each job then runs in a transaction of its own that holds the job's row,
 * so that nobody takes it away as lost, however long it takes. Its work is in a
 * subtransaction: an error undoes the work and becomes the job's failure, never
 * the worker's. Jobs that ask Meta are the other worker's (deliver/sync.c).
 */
#include "artery.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/shmem.h"
#include "runtime/worker.h"

#define JOBS_AT_ONCE 16			/* then the other duties come first */
#define LONG_US (1 * USECS_PER_SEC) /* ... or after a job that took so long */
#define RETRY_CLAIM_MS 1000		/* jobs are due, but somebody else holds them */

typedef struct ClaimedJob
{
	Datum		tenant_id;
	Datum		job_id;
	Datum		attempt;
	Datum		job_name;
	Datum		data;
} ClaimedJob;

static ArteryStatement take_job = {
	"SELECT tenant_id, job_id, attempt, job_name, data FROM artery.take_worker_job($1)", 1, {TEXTOID}, NULL
};
static ArteryStatement perform_job = {
	"SELECT artery.complete_job($1, $2, $3, artery.perform_job($1, $4, $5)) "
	"  FROM artery.lock_claim($1, $2, $3) c WHERE c.job_id IS NOT NULL",
	5, {TEXTOID, INT8OID, INT4OID, TEXTOID, JSONBOID}, NULL
};
static ArteryStatement fail_job = {
	"SELECT artery.fail_job($1, $2, $3, $4)", 4, {TEXTOID, INT8OID, INT4OID, TEXTOID}, NULL
};
static ArteryStatement next_job = {
	"SELECT artery.next_job_at()", 0, {0}, NULL
};

PG_FUNCTION_INFO_V1(artery_wake_worker);
PG_FUNCTION_INFO_V1(artery_wake_jobs);

static bool claim(ClaimedJob *job);
static void run(ClaimedJob *job);
static char *attempt_work(ClaimedJob *job);

/* artery.wake_worker() */
Datum
artery_wake_worker(PG_FUNCTION_ARGS)
{
	artery_wake_at_commit(ARTERY_DELIVERY);
	PG_RETURN_VOID();
}

/* artery.wake_jobs() */
Datum
artery_wake_jobs(PG_FUNCTION_ARGS)
{
	artery_wake_at_commit(ARTERY_JOBS);
	PG_RETURN_VOID();
}

TimestampTz
artery_job_duty(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "artery jobs", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	TimestampTz began = artery_clock_wall();
	TimestampTz next = DT_NOBEGIN;	/* there may be more */
	ArteryScope scope;
	ClaimedJob	job;
	int			njobs = 0;

	while (njobs < JOBS_AT_ONCE && artery_clock_wall() < began + LONG_US && claim(&job))
	{
		njobs++;
		run(&job);
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
	}
	if (njobs == 0)
	{
		artery_transaction_begin(&scope, "artery: looking for the next job");
		(void) artery_execute(&next_job, NULL, NULL, true, 1);
		next = artery_field_null(0, 1) ? DT_NOEND : artery_field_time(0, 1);
		artery_transaction_commit(&scope);
		next = Max(next, artery_clock_moment() + RETRY_CLAIM_MS * 1000L);
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(context);
	return next;
}

/* Claim the next job that is due, in a transaction of its own; its row outlives it. False if there is none. */
static bool
claim(ClaimedJob *job)
{
	static char last_name[NAMEDATALEN] = "";	/* another one's turn comes first */
	ArteryScope scope;
	MemoryContext context = CurrentMemoryContext;
	Datum		after = CStringGetTextDatum(last_name);
	bool		isnull;
	bool		found;

	artery_transaction_begin(&scope, "artery: claiming a job");
	scope.caller = context;
	found = artery_execute(&take_job, &after, NULL, false, 0) > 0;
	if (found)
	{
		job->tenant_id = artery_field_copy(&scope, 0, 1, &isnull);
		job->job_id = artery_field_copy(&scope, 0, 2, &isnull);
		job->attempt = artery_field_copy(&scope, 0, 3, &isnull);
		job->job_name = artery_field_copy(&scope, 0, 4, &isnull);
		job->data = artery_field_copy(&scope, 0, 5, &isnull);
	}
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(context);
	if (found)
		strlcpy(last_name, TextDatumGetCString(job->job_name), sizeof(last_name));
	return found;
}

/* Do a claimed job and settle it, both in one transaction. */
static void
run(ClaimedJob *job)
{
	MemoryContext context = CurrentMemoryContext;
	ArteryScope scope;
	char	   *error;

	artery_transaction_begin(&scope, psprintf("artery: %s", TextDatumGetCString(job->job_name)));
	error = attempt_work(job);
	if (error != NULL)
	{
		Datum		values[4] = {job->tenant_id, job->job_id, job->attempt, CStringGetTextDatum(error)};

		(void) artery_execute(&fail_job, values, NULL, false, 0);
	}
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(context);
}

/*
 * Do the work and complete the job; returns NULL, or what went wrong after
 * undoing all of it. A claim that was taken back meanwhile undoes the work too.
 */
static char *
attempt_work(ClaimedJob *job)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Datum		values[5] = {job->tenant_id, job->job_id, job->attempt, job->job_name, job->data};
	char	   *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (artery_execute(&perform_job, values, NULL, false, 1) == 0 || !artery_field_bool(0, 1))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the claim of the job no longer holds")));
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		error = edata->message;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}
