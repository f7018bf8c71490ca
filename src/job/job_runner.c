/*
 * job_runner.c
 *		The jobs that artery's own worker does.
 *
 * Claims are committed before the work begins; each job then runs in a
 * transaction of its own, its work in a subtransaction: an error undoes the work
 * and becomes the job's failure, never the worker's. Jobs that ask Meta take
 * longer and are handed on.
 */
#include "artery.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "deliver/sync.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/shmem.h"
#include "runtime/worker.h"

#define BATCH 8					/* jobs of each name claimed at once */
#define RETRY_CLAIM_MS 1000		/* jobs are due, but somebody else holds them */

typedef struct ClaimedJob
{
	Datum		tenant_id;
	Datum		job_id;
	Datum		attempt;
	Datum		job_name;
	Datum		data;
} ClaimedJob;

static ArteryStatement take_jobs = {
	"SELECT tenant_id, job_id, attempt, job_name, data FROM artery.take_worker_jobs($1, $2)", 2, {INT4OID, INT4OID}, NULL
};
static ArteryStatement perform_job = {
	"SELECT artery.complete_job($1, $2, $3, artery.perform_job($1, $4, $5))",
	5, {TEXTOID, INT8OID, INT4OID, TEXTOID, JSONBOID}, NULL
};
static ArteryStatement fail_job = {
	"SELECT artery.fail_job($1, $2, $3, $4)", 4, {TEXTOID, INT8OID, INT4OID, TEXTOID}, NULL
};
static ArteryStatement next_job = {
	"SELECT artery.next_job_at()", 0, {0}, NULL
};

PG_FUNCTION_INFO_V1(artery_wake_worker);

static int	claim(ClaimedJob **jobs);
static void run(ClaimedJob *job);
static char *attempt_work(ClaimedJob *job);

/* artery.wake_worker() */
Datum
artery_wake_worker(PG_FUNCTION_ARGS)
{
	artery_wake_worker_at_commit();
	PG_RETURN_VOID();
}

TimestampTz
artery_job_duty(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "artery jobs", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	ArteryScope scope;
	ClaimedJob *jobs;
	TimestampTz next;
	int			njobs = claim(&jobs);
	int			i;

	for (i = 0; i < njobs; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (strcmp(TextDatumGetCString(jobs[i].job_name), ARTERY_SYNC_JOB) == 0)
			artery_sync_start(TextDatumGetCString(jobs[i].tenant_id), DatumGetInt64(jobs[i].job_id),
							  DatumGetInt32(jobs[i].attempt), DatumGetJsonbP(jobs[i].data));
		else
			run(&jobs[i]);
	}

	artery_transaction_begin(&scope, "artery: looking for the next job");
	(void) artery_execute(&next_job, NULL, NULL, true, 1);
	next = artery_field_null(0, 1) ? DT_NOEND : artery_field_time(0, 1);
	artery_transaction_commit(&scope);

	MemoryContextSwitchTo(before);
	MemoryContextDelete(context);
	if (njobs == 0)
		next = Max(next, artery_clock_moment() + RETRY_CLAIM_MS * 1000L);
	return next;
}

/* Claim what is due, in a transaction of its own; the rows outlive it. */
static int
claim(ClaimedJob **jobs)
{
	ArteryScope scope;
	MemoryContext context = CurrentMemoryContext;
	Datum		batch[2] = {Int32GetDatum(BATCH), Int32GetDatum(artery_sync_room())};
	bool		isnull;
	int			njobs;
	int			i;

	artery_transaction_begin(&scope, "artery: claiming jobs");
	scope.caller = context;
	njobs = (int) artery_execute(&take_jobs, batch, NULL, false, 0);
	*jobs = MemoryContextAlloc(context, Max(njobs, 1) * sizeof(ClaimedJob));
	for (i = 0; i < njobs; i++)
	{
		ClaimedJob *job = &(*jobs)[i];

		job->tenant_id = artery_field_copy(&scope, i, 1, &isnull);
		job->job_id = artery_field_copy(&scope, i, 2, &isnull);
		job->attempt = artery_field_copy(&scope, i, 3, &isnull);
		job->job_name = artery_field_copy(&scope, i, 4, &isnull);
		job->data = artery_field_copy(&scope, i, 5, &isnull);
	}
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(context);
	return njobs;
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
		(void) artery_execute(&perform_job, values, NULL, false, 1);
		if (!artery_field_bool(0, 1))
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
