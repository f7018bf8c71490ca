/*
 * launcher.c
 *		Keeps the workers alive of each database listed in artery.databases.
 *
 * The launcher connects to no database and runs no SQL, so no database can
 * break it and it stands in nobody's way. It ends with FATAL only: a background
 * worker that exits with 0 is never started again by the postmaster.
 *
 * A worker that ends is started again after a second; one that cannot stay
 * alive (no such database, no right to log in) after a delay that doubles from
 * one second to five minutes. A worker found alive when the launcher itself was
 * restarted is adopted: its slot in shared memory says that it lives, and its
 * end wakes the launcher.
 */
#include "artery.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "runtime/clock.h"
#include "runtime/guc.h"
#include "runtime/launcher.h"
#include "runtime/shmem.h"

#define FIRST_DELAY_MS 1000
#define LONGEST_DELAY_MS (5 * 60 * 1000)
#define HEALTHY_RUN_MS 10000	/* a worker that lived so long starts afresh */
#define START_TIMEOUT_MS 60000	/* a start that shows no worker for so long is tried again */

/* What this launcher knows of the worker of a slot, beside what the slot says. */
typedef struct Served
{
	bool		wanted;			/* its database is listed */
	bool		begun;			/* a start is or was under way; its end is still to be judged */
	BackgroundWorkerHandle *handle; /* of the start, NULL if an earlier launcher's */
	TimestampTz start_at;		/* when it was begun */
	TimestampTz retry_at;		/* not started again before */
	int			delay_ms;		/* the next delay */
} Served;

PGDLLEXPORT void artery_launcher_main(Datum arg);

static Served served[ARTERY_SLOTS];
static bool full_reported = false;

static void attach_launcher(void);
static void read_databases(void);
static void want_worker(const char *name, ArteryWork work);
static TimestampTz serve(int index);
static bool is_alive(int index, ArteryWorkerSlot *slot);
static void judge_end(Served *one, const ArteryWorkerSlot *slot);
static void start_worker(int index, const ArteryWorkerSlot *slot);
static void wait_until(TimestampTz moment);

void
artery_launcher_init(void)
{
	BackgroundWorker worker;

	if (IsBinaryUpgrade)
		return;
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "artery", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "artery_launcher_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "artery launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "artery launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

void
artery_launcher_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	/* No database: only so that pg_stat_activity shows it and it can be signalled. */
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_activity(STATE_IDLE, NULL);
	attach_launcher();
	read_databases();

	for (;;)
	{
		TimestampTz next = DT_NOEND;
		int			i;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			read_databases();
		}
		for (i = 0; i < ARTERY_SLOTS; i++)
			next = Min(next, serve(i));
		wait_until(next);
	}
}

static void
detach_launcher(int code, Datum arg)
{
	LWLockAcquire(artery_shared->lock, LW_EXCLUSIVE);
	artery_shared->launcher_pid = 0;
	artery_shared->launcher_latch = NULL;
	LWLockRelease(artery_shared->lock);
}

static void
attach_launcher(void)
{
	LWLockAcquire(artery_shared->lock, LW_EXCLUSIVE);
	artery_shared->launcher_pid = MyProcPid;
	artery_shared->launcher_latch = MyLatch;
	LWLockRelease(artery_shared->lock);
	before_shmem_exit(detach_launcher, (Datum) 0);
}

/* Give every listed database its slots, and tell the workers of others to end. */
static void
read_databases(void)
{
	char	   *copy = pstrdup(artery_settings.databases);
	List	   *names = NIL;
	ListCell   *cell;
	int			i;

	if (!SplitIdentifierString(copy, ',', &names))
		names = NIL;			/* the setting's check lets none through */
	full_reported = false;

	LWLockAcquire(artery_shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < ARTERY_SLOTS; i++)
		served[i].wanted = false;
	foreach(cell, names)
	{
		want_worker(lfirst(cell), ARTERY_DELIVERY);
		want_worker(lfirst(cell), ARTERY_JOBS);
	}
	for (i = 0; i < ARTERY_SLOTS; i++)
	{
		ArteryWorkerSlot *slot = &artery_shared->slots[i];

		slot->stop = !served[i].wanted;
		if (slot->latch != NULL)
			SetLatch(slot->latch);
		if (slot->stop && slot->pid == 0 && slot->leave == 0 && !served[i].begun)
			memset(slot, 0, sizeof(ArteryWorkerSlot));
	}
	LWLockRelease(artery_shared->lock);
	list_free(names);
	pfree(copy);
}

/* The slot of a name and work, or a free one; with the lock held. */
static void
want_worker(const char *name, ArteryWork work)
{
	int			first = work * ARTERY_MAX_DATABASES;
	int			place = -1;
	int			i;

	for (i = first; i < first + ARTERY_MAX_DATABASES; i++)
	{
		const char *taken = NameStr(artery_shared->slots[i].name);

		if (strcmp(taken, name) == 0)
			place = i;
		else if (taken[0] == '\0' && place < 0)
			place = i;
		if (strcmp(taken, name) == 0)
			break;
	}
	if (place < 0)
	{
		if (!full_reported)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("artery serves at most %d databases", ARTERY_MAX_DATABASES),
					 errdetail("Database \"%s\" has no worker.", name)));
		full_reported = true;
		return;
	}
	if (NameStr(artery_shared->slots[place].name)[0] == '\0')
	{
		memset(&served[place], 0, sizeof(Served));
		namestrcpy(&artery_shared->slots[place].name, name);
	}
	served[place].wanted = true;
}

/* Do what a slot needs now; returns when to look at it again. */
static TimestampTz
serve(int index)
{
	Served	   *one = &served[index];
	ArteryWorkerSlot slot;
	TimestampTz now = artery_clock_wall();

	LWLockAcquire(artery_shared->lock, LW_SHARED);
	slot = artery_shared->slots[index];
	LWLockRelease(artery_shared->lock);

	if (NameStr(slot.name)[0] == '\0')
		return DT_NOEND;
	if (is_alive(index, &slot))
	{
		one->begun = true;
		/* Without a pid yet: look whether it shows up. */
		return slot.pid != 0 ? DT_NOEND : TimestampTzPlusMilliseconds(now, FIRST_DELAY_MS);
	}
	if (one->begun)
		judge_end(one, &slot);
	if (slot.leave > 0)
		return DT_NOEND;		/* whoever asked for it wakes the launcher */
	if (!one->wanted)
	{
		LWLockAcquire(artery_shared->lock, LW_EXCLUSIVE);
		memset(&artery_shared->slots[index], 0, sizeof(ArteryWorkerSlot));
		LWLockRelease(artery_shared->lock);
		return DT_NOEND;
	}
	if (one->retry_at <= now)
		start_worker(index, &slot);
	return one->begun ? TimestampTzPlusMilliseconds(now, FIRST_DELAY_MS) : one->retry_at;
}

/* Does the slot have a worker, or one that is just being started? */
static bool
is_alive(int index, ArteryWorkerSlot *slot)
{
	Served	   *one = &served[index];
	pid_t		pid;

	if (slot->pid != 0)
		return true;
	if (one->handle == NULL)
		return false;
	switch (GetBackgroundWorkerPid(one->handle, &pid))
	{
		case BGWH_STARTED:
		case BGWH_NOT_YET_STARTED:
			return !TimestampDifferenceExceeds(one->start_at, artery_clock_wall(), START_TIMEOUT_MS);
		default:
			return false;
	}
}

/* After the end of a worker: when may the next one start? */
static void
judge_end(Served *one, const ArteryWorkerSlot *slot)
{
	TimestampTz now = artery_clock_wall();
	bool		was_healthy = slot->was_terminated || slot->leave > 0 ||
		(slot->ended_at >= one->start_at && slot->started_at != 0 &&
		 TimestampDifferenceExceeds(slot->started_at, slot->ended_at, HEALTHY_RUN_MS));

	if (one->handle != NULL)
		pfree(one->handle);
	one->handle = NULL;
	one->begun = false;
	if (was_healthy || one->delay_ms == 0)
		one->delay_ms = FIRST_DELAY_MS;
	one->retry_at = TimestampTzPlusMilliseconds(now, one->delay_ms);
	one->delay_ms = Min(one->delay_ms * 2, LONGEST_DELAY_MS);
}

static void
start_worker(int index, const ArteryWorkerSlot *slot)
{
	Served	   *one = &served[index];
	BackgroundWorker worker;
	MemoryContext before;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = Int32GetDatum(index);
	strlcpy(worker.bgw_library_name, "artery", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "artery_worker_main", sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, BGW_MAXLEN, "%s %s", artery_work_names[ARTERY_SLOT_WORK(index)], NameStr(slot->name));
	strlcpy(worker.bgw_type, artery_work_names[ARTERY_SLOT_WORK(index)], BGW_MAXLEN);

	before = MemoryContextSwitchTo(TopMemoryContext);
	one->start_at = artery_clock_wall();
	one->begun = RegisterDynamicBackgroundWorker(&worker, &one->handle);
	MemoryContextSwitchTo(before);
	if (one->begun)
		return;

	one->handle = NULL;
	one->delay_ms = Max(one->delay_ms, FIRST_DELAY_MS);
	one->retry_at = TimestampTzPlusMilliseconds(one->start_at, one->delay_ms);
	one->delay_ms = Min(one->delay_ms * 2, LONGEST_DELAY_MS);
	ereport(LOG,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("could not register background process for database \"%s\"", NameStr(slot->name)),
			 errdetail("It would be \"%s\".", worker.bgw_name),
			 errhint("You may need to increase max_worker_processes: artery uses one process, and two more per database.")));
}

static void
wait_until(TimestampTz moment)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	long		timeout = -1;

	if (moment != DT_NOEND)
	{
		events |= WL_TIMEOUT;
		timeout = TimestampDifferenceMilliseconds(artery_clock_wall(), moment);
	}
	(void) WaitLatch(MyLatch, events, timeout, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}
