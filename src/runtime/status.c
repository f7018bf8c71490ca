/*
 * status.c
 *		What shared memory knows of launcher and workers, as a row for SQL.
 */
#include "artery.h"

#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/varlena.h"

#include "runtime/guc.h"
#include "runtime/shmem.h"

PG_FUNCTION_INFO_V1(artery_worker_status);

/* Is this database one of artery.databases? */
static bool
is_listed(void)
{
	char	   *copy = pstrdup(artery_settings.databases);
	char	   *database = get_database_name(MyDatabaseId);
	List	   *names = NIL;
	ListCell   *cell;
	bool		found = false;

	if (database != NULL && SplitIdentifierString(copy, ',', &names))
		foreach(cell, names)
			found |= strcmp(lfirst(cell), database) == 0;
	return found;
}

/* artery.worker_status(): one row */
Datum
artery_worker_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ArteryWorkerSlot slot;
	ArteryWorkerSlot jobs;
	pid_t		launcher_pid = 0;
	Datum		values[18] = {0};
	bool		nulls[18];

	artery_begin_rows(fcinfo);
	memset(nulls, true, sizeof(nulls));
	memset(&slot, 0, sizeof(slot));
	memset(&jobs, 0, sizeof(jobs));
	(void) artery_shmem_slot(MyDatabaseId, ARTERY_DELIVERY, &slot);
	(void) artery_shmem_slot(MyDatabaseId, ARTERY_JOBS, &jobs);
	if (artery_shared != NULL)
	{
		LWLockAcquire(artery_shared->lock, LW_SHARED);
		launcher_pid = artery_shared->launcher_pid;
		LWLockRelease(artery_shared->lock);
	}

#define SET(column, datum) (nulls[column] = false, values[column] = (datum))
	SET(0, CStringGetTextDatum(ARTERY_VERSION));
	SET(1, BoolGetDatum(artery_shared != NULL));
	SET(2, BoolGetDatum(is_listed()));
	if (launcher_pid != 0)
		SET(3, Int32GetDatum(launcher_pid));
	if (slot.pid != 0)
		SET(4, Int32GetDatum(slot.pid));
	if (slot.started_at != 0)
		SET(5, TimestampTzGetDatum(slot.started_at));
	if (slot.last_round_at != 0)
		SET(6, TimestampTzGetDatum(slot.last_round_at));
	SET(7, Int64GetDatum((int64) slot.rounds));
	SET(8, Int64GetDatum((int64) slot.requests));
	SET(9, Int32GetDatum(slot.in_flight));
	if (slot.last_error_at != 0)
	{
		SET(10, TimestampTzGetDatum(slot.last_error_at));
		SET(11, CStringGetTextDatum(slot.last_error));
	}
	if (jobs.pid != 0)
		SET(12, Int32GetDatum(jobs.pid));
	if (jobs.started_at != 0)
		SET(13, TimestampTzGetDatum(jobs.started_at));
	if (jobs.last_round_at != 0)
		SET(14, TimestampTzGetDatum(jobs.last_round_at));
	SET(15, Int64GetDatum((int64) jobs.rounds));
	if (jobs.last_error_at != 0)
	{
		SET(16, TimestampTzGetDatum(jobs.last_error_at));
		SET(17, CStringGetTextDatum(jobs.last_error));
	}
#undef SET
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}
