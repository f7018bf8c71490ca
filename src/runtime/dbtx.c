/*
 * dbtx.c
 *		How C code of artery reaches tables: owner's rights, pinned search path,
 *		kept plans.
 */
#include "artery.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "runtime/dbtx.h"

#define PINNED_SEARCH_PATH "pg_catalog, pg_temp"

/* The owner of schema artery is the owner of the extension. */
static Oid
extension_owner(void)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACENAME, CStringGetDatum(ARTERY_SCHEMA));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"artery\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION artery.")));
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return owner;
}

static void
become_owner(ArteryScope *scope)
{
	scope->caller = CurrentMemoryContext;
	scope->guc_nest = 0;
	scope->is_overridden = false;
	GetUserIdAndSecContext(&scope->user_id, &scope->security);
	SetUserIdAndSecContext(extension_owner(), scope->security | SECURITY_LOCAL_USERID_CHANGE);
}

void
artery_scope_enter(ArteryScope *scope)
{
	become_owner(scope);
	if (strcmp(namespace_search_path, PINNED_SEARCH_PATH) != 0)
	{
		scope->guc_nest = NewGUCNestLevel();
		(void) set_config_option("search_path", PINNED_SEARCH_PATH, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	}
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

void
artery_scope_enter_lookups(ArteryScope *scope)
{
	static const char *const pinned[][2] = {
		{"plan_cache_mode", "force_generic_plan"}, {"enable_seqscan", "off"}, {"enable_bitmapscan", "off"},
		{"enable_hashjoin", "off"}, {"enable_mergejoin", "off"}, {"jit", "off"}
	};
	int			i;

	artery_scope_enter(scope);
	if (scope->guc_nest == 0)
		scope->guc_nest = NewGUCNestLevel();
	for (i = 0; i < (int) lengthof(pinned); i++)
		(void) set_config_option(pinned[i][0], pinned[i][1], PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
artery_scope_enter_brief(ArteryScope *scope)
{
#ifdef ARTERY_HAVE_SEARCH_PATH_OVERRIDE
	static OverrideSearchPath *pinned = NULL;	/* as the setting makes it, for which plans are kept */

	if (pinned == NULL)
	{
		artery_scope_enter(scope);
		pinned = GetOverrideSearchPath(TopMemoryContext);
		return;
	}
	become_owner(scope);
	PushOverrideSearchPath(pinned);
	scope->is_overridden = true;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
#else
	artery_scope_enter(scope);
#endif
}

void
artery_scope_leave(ArteryScope *scope)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "could not finish SPI");
#ifdef ARTERY_HAVE_SEARCH_PATH_OVERRIDE
	if (scope->is_overridden)
		PopOverrideSearchPath();
#endif
	if (scope->guc_nest != 0)
		AtEOXact_GUC(true, scope->guc_nest);
	SetUserIdAndSecContext(scope->user_id, scope->security);
}

void
artery_prepare(ArteryStatement *statement)
{
	SPIPlanPtr	plan;

	if (statement->plan != NULL)
		return;

	/*
	 * Always the generic plan: these are look-ups by key, and for clicks, whose
	 * partitions are left out only as it runs, it looks dearer to the planner
	 * than planning anew each time.
	 */
	plan = SPI_prepare_cursor(statement->sql, statement->nargs, statement->types, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", statement->sql, SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "could not keep the plan of \"%s\"", statement->sql);
	statement->plan = plan;
}

uint64
artery_execute(ArteryStatement *statement, Datum *values, const char *nulls, bool read_only, long limit)
{
	int			code;

	artery_prepare(statement);
	code = SPI_execute_plan(statement->plan, values, nulls, read_only, limit);
	if (code < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement->sql, SPI_result_code_string(code));
	return SPI_processed;
}

Datum
artery_field(uint64 row, int column, bool *isnull)
{
	Assert(row < SPI_processed);
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

bool
artery_field_null(uint64 row, int column)
{
	bool		isnull;

	(void) artery_field(row, column, &isnull);
	return isnull;
}

char *
artery_field_text(uint64 row, int column)
{
	bool		isnull;
	Datum		value = artery_field(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* Reads int2, int4 and int8 columns alike. */
int64
artery_field_int64(uint64 row, int column)
{
	bool		isnull;
	Datum		value = artery_field(row, column, &isnull);

	if (isnull)
		return 0;
	switch (SPI_gettypeid(SPI_tuptable->tupdesc, column))
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		default:
			return DatumGetInt64(value);
	}
}

double
artery_field_double(uint64 row, int column)
{
	bool		isnull;
	Datum		value = artery_field(row, column, &isnull);

	return isnull ? 0 : DatumGetFloat8(value);
}

bool
artery_field_bool(uint64 row, int column)
{
	bool		isnull;
	Datum		value = artery_field(row, column, &isnull);

	return isnull ? false : DatumGetBool(value);
}

TimestampTz
artery_field_time(uint64 row, int column)
{
	bool		isnull;
	Datum		value = artery_field(row, column, &isnull);

	return isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
}

/* The descriptor of the type that was read last is kept. */
void
artery_field_row(uint64 row, int column, Datum *values, bool *nulls)
{
	static TupleDesc descriptor = NULL;
	bool		isnull;
	HeapTupleHeader composite = DatumGetHeapTupleHeader(artery_field(row, column, &isnull));
	HeapTupleData tuple;

	Assert(!isnull);
	if (descriptor == NULL || descriptor->tdtypeid != HeapTupleHeaderGetTypeId(composite))
	{
		MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);

		if (descriptor != NULL)
			FreeTupleDesc(descriptor);
		descriptor = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(composite), HeapTupleHeaderGetTypMod(composite));
		MemoryContextSwitchTo(before);
	}
	tuple.t_len = HeapTupleHeaderGetDatumLength(composite);
	tuple.t_data = composite;
	heap_deform_tuple(&tuple, descriptor, values, nulls);
}

Datum
artery_field_copy(ArteryScope *scope, uint64 row, int column, bool *isnull)
{
	Datum		value = artery_field(row, column, isnull);
	Form_pg_attribute attribute = TupleDescAttr(SPI_tuptable->tupdesc, column - 1);
	MemoryContext before;

	if (*isnull)
		return (Datum) 0;
	before = MemoryContextSwitchTo(scope->caller);
	value = datumCopy(value, attribute->attbyval, attribute->attlen);
	MemoryContextSwitchTo(before);
	return value;
}

/* Of the whole transaction or session, so not of one step alone. */
static bool
is_fatal_for_all(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
			return true;
		default:
			return false;
	}
}

bool
artery_attempt(void (*step) (void *), void *argument, ErrorData **error)
{
	bool		done = artery_attempt_any(step, argument, error);

	if (!done && is_fatal_for_all((*error)->sqlerrcode))
		ReThrowError(*error);
	return done;
}

bool
artery_attempt_any(void (*step) (void *), void *argument, ErrorData **error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		step(argument);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		*error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}

void
artery_transaction_begin(ArteryScope *scope, const char *activity)
{
	scope->outside = CurrentMemoryContext;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, activity);
	artery_scope_enter(scope);
}

void
artery_transaction_commit(ArteryScope *scope)
{
	artery_scope_leave(scope);
	PopActiveSnapshot();
	CommitTransactionCommand();
	/* a commit leaves the top context current, where whatever follows would leak */
	MemoryContextSwitchTo(scope->outside);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}
