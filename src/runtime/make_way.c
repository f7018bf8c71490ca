/*
 * make_way.c
 *		Workers step aside where a database must have no sessions.
 *
 * DROP DATABASE, CREATE DATABASE ... TEMPLATE, ALTER DATABASE ... RENAME and SET
 * TABLESPACE refuse to work while anybody is connected, and a background worker
 * counts. So before them the database's workers are asked to leave, and waited for;
 * after them the launcher starts them again, if there is still a database for them.
 * DROP EXTENSION artery locks every table while a worker reads some: one of
 * the two would be ended by the deadlock detector, so the workers leave here too.
 *
 * Only for those who could do the command: nobody else shall be able to disturb
 * the workers. Also wakes them when the extension is created or updated, and
 * takes its schedules out of pg_cron before it is dropped, in the same transaction.
 */
#include "artery.h"

#include <signal.h>

#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "utils/timestamp.h"

#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/make_way.h"
#include "runtime/shmem.h"

#define POLL_MS 20
#define ASK_POLITELY_MS 1000	/* then they are terminated */
#define GIVE_UP_MS 5000			/* then the command finds them there */

/* The workers of a database that were asked to leave, by their slots. */
typedef struct Asked
{
	int			count;
	int			slots[ARTERY_WORKS];
} Asked;

static ProcessUtility_hook_type previous_hook = NULL;

static void on_utility(PlannedStmt *statement, const char *query, bool read_only, ProcessUtilityContext context,
					   ParamListInfo params, QueryEnvironment *environment, DestReceiver *receiver,
					   QueryCompletion *completion);
static const char *database_to_clear(Node *node);
static bool is_own_extension(Node *node);
static bool drops_own_extension(Node *node);
static void forget_schedules(void);
static pg_noinline void ask_to_leave(const char *database, Asked *asked);
static void wait_until_gone(const Asked *asked);
static bool any_left(const Asked *asked, int signal);
static void let_return(int code, Datum argument);

void
artery_make_way_init(void)
{
	previous_hook = ProcessUtility_hook;
	ProcessUtility_hook = on_utility;
}

static void
pass_on(PlannedStmt *statement, const char *query, bool read_only, ProcessUtilityContext context,
		ParamListInfo params, QueryEnvironment *environment, DestReceiver *receiver, QueryCompletion *completion)
{
	(previous_hook ? previous_hook : standard_ProcessUtility)
		(statement, query, read_only, context, params, environment, receiver, completion);
}

static void
on_utility(PlannedStmt *statement, const char *query, bool read_only, ProcessUtilityContext context,
		   ParamListInfo params, QueryEnvironment *environment, DestReceiver *receiver, QueryCompletion *completion)
{
	const char *database = database_to_clear(statement->utilityStmt);
	volatile bool wakes = is_own_extension(statement->utilityStmt);
	volatile bool drops = drops_own_extension(statement->utilityStmt);
	Asked		asked = {0};

	if (database != NULL)
		ask_to_leave(database, &asked);
	if (asked.count == 0)
	{
		if (drops)
			forget_schedules();
		pass_on(statement, query, read_only, context, params, environment, receiver, completion);
	}
	else
	{
		PG_ENSURE_ERROR_CLEANUP(let_return, PointerGetDatum(&asked));
		{
			wait_until_gone(&asked);
			if (drops)
				forget_schedules();
			pass_on(statement, query, read_only, context, params, environment, receiver, completion);
		}
		PG_END_ENSURE_ERROR_CLEANUP(let_return, PointerGetDatum(&asked));
		let_return(0, PointerGetDatum(&asked));
	}
	if (wakes)
	{
		artery_wake_at_commit(ARTERY_DELIVERY);
		artery_wake_at_commit(ARTERY_JOBS);
	}
}

/* The database whose workers must be gone for the statement, or NULL. */
static const char *
database_to_clear(Node *node)
{
	ListCell   *cell;

	switch (nodeTag(node))
	{
		case T_DropStmt:
			return drops_own_extension(node) ? get_database_name(MyDatabaseId) : NULL;
		case T_DropdbStmt:
			return ((DropdbStmt *) node)->dbname;
		case T_RenameStmt:
			return ((RenameStmt *) node)->renameType == OBJECT_DATABASE ? ((RenameStmt *) node)->subname : NULL;
		case T_CreatedbStmt:
			foreach(cell, ((CreatedbStmt *) node)->options)
			{
				DefElem    *option = lfirst(cell);

				if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
					return defGetString(option);
			}
			return "template1";
		case T_AlterDatabaseStmt:
			foreach(cell, ((AlterDatabaseStmt *) node)->options)
			{
				if (strcmp(((DefElem *) lfirst(cell))->defname, "tablespace") == 0)
					return ((AlterDatabaseStmt *) node)->dbname;
			}
			return NULL;
		default:
			return NULL;
	}
}

static bool
is_own_extension(Node *node)
{
	if (IsA(node, CreateExtensionStmt))
		return strcmp(((CreateExtensionStmt *) node)->extname, "artery") == 0;
	if (IsA(node, AlterExtensionStmt))
		return strcmp(((AlterExtensionStmt *) node)->extname, "artery") == 0;
	return false;
}

static bool
drops_own_extension(Node *node)
{
	ListCell   *cell;

	if (!IsA(node, DropStmt) || ((DropStmt *) node)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, ((DropStmt *) node)->objects)
	{
		if (strcmp(strVal(lfirst(cell)), "artery") == 0)
			return OidIsValid(get_extension_oid("artery", true));
	}
	return false;
}

/* For the owner only: anybody else's command will fail, and shall have done nothing on the way. */
static void
forget_schedules(void)
{
	static ArteryStatement find = {
		"SELECT pg_catalog.to_regprocedure('artery.forget_schedules()') IS NOT NULL", 0, {0}, NULL
	};
	static ArteryStatement forget = {"SELECT artery.forget_schedules()", 0, {0}, NULL};
	ArteryScope scope;

	if (!artery_owns_extension(get_extension_oid("artery", false), GetUserId()))
		return;
	artery_scope_enter(&scope);
	/* an extension of another version must go as well */
	(void) artery_execute(&find, NULL, NULL, false, 0);
	if (artery_field_bool(0, 1))
		(void) artery_execute(&forget, NULL, NULL, false, 0);
	artery_scope_leave(&scope);
}

/* Ask the database's workers to leave; none if it has none or the user may not. */
static pg_noinline void
ask_to_leave(const char *database, Asked *asked)
{
	int			i;
	Oid			id;

	if (artery_shared == NULL)
		return;
	id = get_database_oid(database, true);
	if (!OidIsValid(id) || !artery_owns_database(id, GetUserId()))
		return;
	LWLockAcquire(artery_shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < ARTERY_SLOTS && asked->count < ARTERY_WORKS; i++)
	{
		ArteryWorkerSlot *slot = &artery_shared->slots[i];

		if (strcmp(NameStr(slot->name), database) != 0)
			continue;
		slot->leave++;
		if (slot->latch != NULL)
			SetLatch(slot->latch);
		asked->slots[asked->count++] = i;
	}
	LWLockRelease(artery_shared->lock);
}

static void
wait_until_gone(const Asked *asked)
{
	TimestampTz began = artery_clock_wall();
	bool		terminated = false;

	while (any_left(asked, 0) && !TimestampDifferenceExceeds(began, artery_clock_wall(), GIVE_UP_MS))
	{
		if (!terminated && TimestampDifferenceExceeds(began, artery_clock_wall(), ASK_POLITELY_MS))
			terminated = any_left(asked, SIGTERM);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Is one of them still there? With a signal, send it to those. */
static bool
any_left(const Asked *asked, int signal)
{
	bool		any = false;
	int			i;

	for (i = 0; i < asked->count; i++)
	{
		pid_t		pid;

		LWLockAcquire(artery_shared->lock, LW_SHARED);
		pid = artery_shared->slots[asked->slots[i]].pid;
		LWLockRelease(artery_shared->lock);
		any |= pid != 0;
		if (pid != 0 && signal != 0)
			(void) kill(pid, signal);
	}
	return any;
}

static void
let_return(int code, Datum argument)
{
	Asked	   *asked = (Asked *) DatumGetPointer(argument);
	int			i;

	LWLockAcquire(artery_shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < asked->count; i++)
		artery_shared->slots[asked->slots[i]].leave--;
	LWLockRelease(artery_shared->lock);
	artery_wake_launcher();
}
