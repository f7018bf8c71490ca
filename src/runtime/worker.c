/*
 * worker.c
 *		A background worker of a database: does what is due, then waits.
 *
 * There are two per database, the same but for their duties: one delivers and
 * must never be held up, the other does what may take long. A round: interrupts, settings, the extension's version, the duties that are
 * due, the wait. Duties open short transactions of their own; between them, and
 * while HTTP requests are under way, there is no transaction, no snapshot and no
 * lock. An error of a duty ends that duty's transaction only.
 *
 * Without the extension, or with one of another version than the library, the
 * worker does nothing but look again now and then. If either changes under its
 * hands it ends and lets the launcher start a new one: whatever it had under way
 * then belongs to a worker that is gone, and is read back from Meta.
 */
#include "artery.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "deliver/http.h"
#include "runtime/clock.h"
#include "runtime/guc.h"
#include "runtime/shmem.h"
#include "runtime/worker.h"

#define CHECK_INTERVAL_MS 60000 /* how often the extension's version is looked at */
#define ABSENT_INTERVAL_MS 15000	/* the same while there is none */
#define SHORTEST_WAIT_MS 20		/* no duty may keep the worker spinning */
#define FIRST_ERROR_DELAY_MS 1000	/* after an error of a duty, doubling */
#define LONGEST_ERROR_DELAY_MS 60000

typedef struct Duty
{
	const char *name;
	ArteryWork	work;			/* whose duty it is */
	WorkerDuty	run;
	bool		asks;			/* has HTTP requests under way, so answers wake it, too */
	TimestampTz due_at;			/* wall time; DT_NOEND: only when woken */
	int			error_delay_ms; /* 0: the last call went well */
} Duty;

typedef enum ExtensionState
{
	EXTENSION_ABSENT,
	EXTENSION_OTHER_VERSION,
	EXTENSION_READY
} ExtensionState;

PGDLLEXPORT void artery_worker_main(Datum arg);

static Duty duties[] = {
	{"delivery", ARTERY_DELIVERY, artery_delivery_duty, true, 0, 0},
	{"claiming syncs", ARTERY_DELIVERY, artery_sync_claim_duty, false, 0, 0},
	{"sync", ARTERY_DELIVERY, artery_sync_duty, true, 0, 0},
	{"claiming contacts", ARTERY_DELIVERY, artery_contact_claim_duty, false, 0, 0},
	{"contacts", ARTERY_DELIVERY, artery_contact_fetch_duty, true, 0, 0},
	{"jobs", ARTERY_JOBS, artery_job_duty, false, 0, 0},
	{"calibration", ARTERY_JOBS, artery_calibration_duty, false, 0, 0},
	{"late clicks", ARTERY_JOBS, artery_late_click_duty, false, 0, 0},
	{"retention", ARTERY_JOBS, artery_retention_duty, false, 0, 0},
};

static ArteryWorkerSlot *slot = NULL;
static ArteryWork work;
static MemoryContext round_context;
static ExtensionState extension = EXTENSION_ABSENT;
static char connected_role[NAMEDATALEN];

static void attach_slot(int index);
static void connect_database(const char *name);
static void override_setting(const char *name, const char *value);
static void obey(void);
static TimestampTz look_after_extension(bool woken);
static ExtensionState read_extension(void);
static TimestampTz run_duty(Duty *duty);
static void record_error(const char *where, ErrorData *error);
static void report_round(bool went_well);
static bool wait_until(TimestampTz moment);

void
artery_worker_main(Datum arg)
{
	bool		woken = true;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	attach_slot(DatumGetInt32(arg));
	connect_database(NameStr(slot->name));
	round_context = AllocSetContextCreate(TopMemoryContext, "artery round", ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		TimestampTz next;
		bool		went_well = true;
		bool		answered;
		int			i;

		obey();
		answered = artery_http_pump();
		next = look_after_extension(woken);
		for (i = 0; i < (int) lengthof(duties) && extension == EXTENSION_READY; i++)
		{
			if (duties[i].work != work)
				continue;
			if (woken || (answered && duties[i].asks) || duties[i].due_at <= artery_clock_wall())
				duties[i].due_at = run_duty(&duties[i]);
			next = Min(next, duties[i].due_at);
			went_well &= duties[i].error_delay_ms == 0;
		}
		report_round(went_well);
		woken = wait_until(next);
	}
}

static void
detach_slot(int code, Datum arg)
{
	LWLockAcquire(artery_shared->lock, LW_EXCLUSIVE);
	slot->pid = 0;
	slot->latch = NULL;
	slot->in_flight = 0;
	slot->was_terminated = ProcDiePending || slot->stop || slot->leave > 0;
	slot->ended_at = artery_clock_wall();
	LWLockRelease(artery_shared->lock);
	artery_wake_launcher();
}

/* Own the slot, or end: a database has one worker of each work. */
static void
attach_slot(int index)
{
	bool		taken;

	LWLockAcquire(artery_shared->lock, LW_EXCLUSIVE);
	slot = &artery_shared->slots[index];
	work = ARTERY_SLOT_WORK(index);
	taken = slot->pid != 0 || slot->stop || slot->leave > 0 || NameStr(slot->name)[0] == '\0';
	if (!taken)
	{
		slot->pid = MyProcPid;
		slot->latch = MyLatch;
		slot->was_terminated = false;
		slot->started_at = artery_clock_wall();
		slot->rounds = 0;
	}
	LWLockRelease(artery_shared->lock);
	if (taken)
		proc_exit(0);
	before_shmem_exit(detach_slot, (Datum) 0);
}

static void
connect_database(const char *name)
{
	char		title[NAMEDATALEN + 16];

	strlcpy(connected_role, artery_settings.worker_role, sizeof(connected_role));
	BackgroundWorkerInitializeConnection(name, connected_role[0] == '\0' ? NULL : connected_role, 0);

	snprintf(title, sizeof(title), "%s %s", artery_work_names[work], name);
	override_setting("application_name", title);
	override_setting("search_path", "pg_catalog, pg_temp");
	override_setting("statement_timeout", "0");
	override_setting("idle_in_transaction_session_timeout", "0");
	override_setting("lock_timeout", "2s");	/* who waits holds up everything else of its work */
	override_setting("default_transaction_isolation", "read committed");
	override_setting("default_transaction_read_only", "off");

	LWLockAcquire(artery_shared->lock, LW_EXCLUSIVE);
	slot->database = MyDatabaseId;
	LWLockRelease(artery_shared->lock);
	pgstat_report_activity(STATE_IDLE, NULL);
	ereport(LOG, (errmsg("%s for database \"%s\" started", artery_work_names[work], name)));
}

/* Whatever the role or the database set: the worker relies on its own. */
static void
override_setting(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/* What others ask of the worker: to end, to read the settings again. */
static void
obey(void)
{
	bool		stop;

	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		if (strncmp(connected_role, artery_settings.worker_role, NAMEDATALEN - 1) != 0)
		{
			ereport(LOG, (errmsg("%s ends to connect as another role", artery_work_names[work])));
			proc_exit(1);
		}
	}
	LWLockAcquire(artery_shared->lock, LW_SHARED);
	stop = slot->stop || slot->leave > 0;
	LWLockRelease(artery_shared->lock);
	if (stop)
		proc_exit(1);
}

/*
 * Look at the extension when woken or when it is time; returns when to look
 * again. Ends the process if what it worked with has changed.
 */
static TimestampTz
look_after_extension(bool woken)
{
	static TimestampTz look_at = 0;
	ExtensionState before = extension;

	if (!woken && look_at > artery_clock_wall())
		return look_at;
	PG_TRY();
	{
		extension = read_extension();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(round_context);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		record_error("extension", error);
		MemoryContextReset(round_context);
	}
	PG_END_TRY();

	if (before == EXTENSION_READY && extension != EXTENSION_READY)
	{
		ereport(LOG,
				(errmsg("%s ends: the extension was dropped or changed", artery_work_names[work])));
		proc_exit(1);
	}
	if (extension == EXTENSION_OTHER_VERSION && before != extension && work == ARTERY_DELIVERY)
		ereport(LOG,
				(errmsg("artery does nothing in this database: the extension is not of the library's version %s",
						ARTERY_VERSION),
				 errhint("Run ALTER EXTENSION artery UPDATE, or restart the server with the new library.")));
	look_at = TimestampTzPlusMilliseconds(artery_clock_wall(),
										  extension == EXTENSION_READY ? CHECK_INTERVAL_MS : ABSENT_INTERVAL_MS);
	return look_at;
}

static ExtensionState
read_extension(void)
{
	ExtensionState state = EXTENSION_ABSENT;
	Relation	catalog;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	StartTransactionCommand();
	catalog = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("artery"));
	scan = systable_beginscan(catalog, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		version = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(catalog), &isnull);

		state = !isnull && strcmp(TextDatumGetCString(version), ARTERY_VERSION) == 0 ?
			EXTENSION_READY : EXTENSION_OTHER_VERSION;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	CommitTransactionCommand();
	return state;
}

/* Returns when it is due again, by the wall clock. */
static TimestampTz
run_duty(Duty *duty)
{
	volatile TimestampTz next = DT_NOEND;
	volatile bool failed = false;

	MemoryContextSwitchTo(round_context);
	PG_TRY();
	{
		next = artery_clock_to_wall(duty->run());
		duty->error_delay_ms = 0;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		failed = true;
		MemoryContextSwitchTo(round_context);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		LWLockReleaseAll();
		record_error(duty->name, error);
	}
	PG_END_TRY();

	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextReset(round_context);
	if (!failed)
		return Max(next, TimestampTzPlusMilliseconds(artery_clock_wall(), SHORTEST_WAIT_MS));
	pgstat_report_activity(STATE_IDLE, NULL);
	duty->error_delay_ms = Min(Max(duty->error_delay_ms * 2, FIRST_ERROR_DELAY_MS), LONGEST_ERROR_DELAY_MS);
	return TimestampTzPlusMilliseconds(artery_clock_wall(), duty->error_delay_ms);
}

/* Message and code only: detail and context may hold values of rows. */
static void
record_error(const char *where, ErrorData *error)
{
	artery_worker_record_error(psprintf("%s: %s", where, error->message));
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("%s, %s: %s", artery_work_names[work], where, error->message)));
}

void
artery_worker_record_error(const char *message)
{
	if (slot == NULL)
		return;
	LWLockAcquire(artery_shared->lock, LW_EXCLUSIVE);
	slot->last_error_at = artery_clock_wall();
	strlcpy(slot->last_error, message, sizeof(slot->last_error));
	LWLockRelease(artery_shared->lock);
}

static void
report_round(bool went_well)
{
	LWLockAcquire(artery_shared->lock, LW_EXCLUSIVE);
	slot->rounds++;
	slot->requests = artery_http_finished();
	slot->in_flight = artery_http_in_flight();
	if (went_well)
		slot->last_round_at = artery_clock_wall();
	LWLockRelease(artery_shared->lock);
}

/* Wait for the moment, the latch or HTTP; true if the latch was set. */
static bool
wait_until(TimestampTz moment)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	long		timeout = -1;
	long		http_timeout;
	int			descriptor = artery_http_wait_for(&http_timeout);
	int			happened;

	if (moment != DT_NOEND)
		timeout = TimestampDifferenceMilliseconds(artery_clock_wall(), moment);
	if (http_timeout >= 0 && (timeout < 0 || http_timeout < timeout))
		timeout = http_timeout;
	if (timeout >= 0)
		events |= WL_TIMEOUT;
	if (timeout != 0)
		(void) pgstat_report_stat(true);	/* what is pending would else wait as long as we do */

	if (descriptor >= 0)
		happened = WaitLatchOrSocket(MyLatch, events | WL_SOCKET_READABLE, descriptor, timeout, PG_WAIT_EXTENSION);
	else
		happened = WaitLatch(MyLatch, events, timeout, PG_WAIT_EXTENSION);
	if (!(happened & WL_LATCH_SET))
		return false;
	ResetLatch(MyLatch);
	return true;
}
