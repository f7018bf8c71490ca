/*
 * rerun.c
 *		Statements that the rows of one command run again and again.
 *
 * To start a look-up takes longer than to look up. What is started here stays so
 * from row to row, as the inner side of a join does. It holds on to the snapshot
 * of its start, so it is started anew after some rows, and belongs to the
 * subtransaction it was started in: an abort takes it away.
 */
#include "artery.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "nodes/plannodes.h"
#include "tcop/dest.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "runtime/rerun.h"

#define STARTED_LIMIT 32

typedef struct Started
{
	ArteryStatement *statement;
	RerunKey	key;
	CachedPlan *plan;
	ParamListInfo values;
	QueryDesc  *query;
	bool		has_run;
} Started;

static Started started[STARTED_LIMIT];
static int	count = 0;
static int	rows_begun = 0;
static bool active = false;
static SubTransactionId subtransaction;
static ResourceOwner owner;
static MemoryContext context;	/* of all that is started */

static Started *find_started(const ArteryStatement *statement, RerunKey key);
static Started *start(ArteryStatement *statement, RerunKey key, Datum *values, const char *nulls);
static void start_query(Started *look_up, Datum *values, const char *nulls);
static void give_values(Started *look_up, Datum *values, const char *nulls);
static CachedPlan *suitable_plan(ArteryStatement *statement);
static bool may_run_again(const Plan *plan);
static bool may_all_run_again(const List *plans);
static uint64 run(Started *look_up, Datum *values, const char *nulls, long limit);
static void end(Started *look_up);
static void forget(void);
static void at_transaction_end(XactEvent event, void *arg);
static void at_subtransaction_end(SubXactEvent event, SubTransactionId ended, SubTransactionId parent, void *arg);

void
artery_rerun_begin(void)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		RegisterSubXactCallback(at_subtransaction_end, NULL);
		registered = true;
	}
	if (context != NULL && subtransaction != GetCurrentSubTransactionId())
		return;
	if (rows_begun++ >= RERUN_ROWS)
		artery_rerun_close();
	active = true;
}

void
artery_rerun_end(void)
{
	active = false;
}

bool
artery_rerun_active(void)
{
	return active;
}

uint64
artery_rerun(ArteryStatement *statement, RerunKey key, Datum *values, const char *nulls, long limit)
{
	uint64		rows;
	Started    *look_up;

	if (artery_rerun_started(statement, key, values, nulls, limit, &rows))
		return rows;
	look_up = active ? start(statement, key, values, nulls) : NULL;
	if (look_up == NULL)
		return artery_execute(statement, values, nulls, false, limit);
	return run(look_up, values, nulls, limit);
}

bool
artery_rerun_started(ArteryStatement *statement, RerunKey key, Datum *values, const char *nulls, long limit,
					 uint64 *rows)
{
	Started    *look_up = active ? find_started(statement, key) : NULL;

	if (look_up == NULL)
		return false;
	*rows = run(look_up, values, nulls, limit);
	return true;
}

void
artery_rerun_close(void)
{
	if (context != NULL && subtransaction != GetCurrentSubTransactionId())
		return;
	rows_begun = 0;
	while (count > 0)
		end(&started[--count]);
	if (context != NULL)
		MemoryContextDelete(context);
	context = NULL;
}

void
artery_rerun_withdraw(const ArteryStatement *statement)
{
	int			i;

	for (i = 0; i < count; i++)
		if (started[i].statement == statement)
			started[i].statement = NULL;
}

static Started *
find_started(const ArteryStatement *statement, RerunKey key)
{
	int			i;

	for (i = 0; i < count; i++)
		if (started[i].statement == statement && started[i].key.since == key.since && started[i].key.until == key.until)
			return &started[i];
	return NULL;
}

/* NULL where the plan does not allow it. */
static Started *
start(ArteryStatement *statement, RerunKey key, Datum *values, const char *nulls)
{
	Started		look_up = {.statement = statement,.key = key};
	ResourceOwner caller = CurrentResourceOwner;

	if (count == STARTED_LIMIT)
		artery_rerun_close();
	if (context == NULL)
	{
		subtransaction = GetCurrentSubTransactionId();
		owner = CurTransactionResourceOwner;
		context = AllocSetContextCreate(CurTransactionContext, "artery look-ups", ALLOCSET_DEFAULT_SIZES);
	}
	CurrentResourceOwner = owner;
	look_up.plan = suitable_plan(statement);
	if (look_up.plan != NULL)
	{
		start_query(&look_up, values, nulls);
		started[count++] = look_up;
	}
	CurrentResourceOwner = caller;
	return look_up.plan == NULL ? NULL : &started[count - 1];
}

/* With values, as the partitions that they are in are chosen here. */
static void
start_query(Started *look_up, Datum *values, const char *nulls)
{
	const ArteryStatement *statement = look_up->statement;
	MemoryContext before = MemoryContextSwitchTo(context);
	int			i;

	look_up->values = makeParamList(statement->nargs);
	for (i = 0; i < statement->nargs; i++)
	{
		look_up->values->params[i].ptype = statement->types[i];
		look_up->values->params[i].pflags = PARAM_FLAG_CONST;
	}
	give_values(look_up, values, nulls);
	/* the rows that the command has inserted so far must be seen, as in SPI, and those it has yet to insert too */
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	look_up->query = CreateQueryDesc(linitial_node(PlannedStmt, look_up->plan->stmt_list), statement->sql,
									 GetActiveSnapshot(), InvalidSnapshot, None_Receiver, look_up->values, NULL, 0);
	ExecutorStart(look_up->query, 0);
	PopActiveSnapshot();
	MemoryContextSwitchTo(before);
}

static void
give_values(Started *look_up, Datum *values, const char *nulls)
{
	int			i;

	for (i = 0; i < look_up->values->numParams; i++)
	{
		look_up->values->params[i].value = values[i];
		look_up->values->params[i].isnull = nulls != NULL && nulls[i] == 'n';
	}
}

/* The plan of a statement, kept from being dropped, if it can be run again; NULL if not. */
static CachedPlan *
suitable_plan(ArteryStatement *statement)
{
	CachedPlan *plan;
	PlannedStmt *planned;

	artery_prepare(statement);
	plan = SPI_plan_get_cached_plan(statement->plan);
	if (plan == NULL)
		return NULL;
	planned = linitial_node(PlannedStmt, plan->stmt_list);
	if (planned->commandType == CMD_SELECT && planned->subplans == NIL && planned->rowMarks == NIL &&
		may_run_again(planned->planTree))
		return plan;
	ReleaseCachedPlan(plan, CurrentResourceOwner);
	return NULL;
}

/*
 * Nodes that, told to begin again, read the values anew. Others keep what they
 * have sorted, gathered or asked another server for.
 */
static bool
may_run_again(const Plan *plan)
{
	if (plan == NULL)
		return true;
	switch (nodeTag(plan))
	{
		case T_Append:
			return may_all_run_again(((const Append *) plan)->appendplans);
		case T_MergeAppend:
			return may_all_run_again(((const MergeAppend *) plan)->mergeplans);
		case T_SubqueryScan:
			return may_run_again(((const SubqueryScan *) plan)->subplan);
		case T_Limit:
		case T_Result:
		case T_SeqScan:
		case T_IndexScan:
		case T_IndexOnlyScan:
			return may_run_again(plan->lefttree) && may_run_again(plan->righttree);
		default:
			return false;
	}
}

static bool
may_all_run_again(const List *plans)
{
	ListCell   *cell;

	foreach(cell, plans)
		if (!may_run_again(lfirst(cell)))
			return false;
	return true;
}

/* The rows come in the way of SPI, in the context that is current. */
static uint64
run(Started *look_up, Datum *values, const char *nulls, long limit)
{
	QueryDesc  *query = look_up->query;
	SPITupleTable *result = palloc0(sizeof(SPITupleTable));
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner caller_owner = CurrentResourceOwner;
	uint64		capacity = 16;

	give_values(look_up, values, nulls);
	result->tupdesc = query->tupDesc;
	result->vals = palloc(capacity * sizeof(HeapTuple));
	CurrentResourceOwner = owner;
	PushActiveSnapshot(query->snapshot);
	MemoryContextSwitchTo(query->estate->es_query_cxt);
	if (look_up->has_run)
		ExecReScan(query->planstate);
	look_up->has_run = true;
	while (limit == 0 || result->numvals < (uint64) limit)
	{
		TupleTableSlot *slot;

		ResetPerTupleExprContext(query->estate);
		slot = ExecProcNode(query->planstate);
		if (TupIsNull(slot))
			break;
		MemoryContextSwitchTo(caller);
		if (result->numvals == capacity)
			result->vals = repalloc(result->vals, (capacity *= 2) * sizeof(HeapTuple));
		result->vals[result->numvals++] = ExecCopySlotHeapTuple(slot);
		MemoryContextSwitchTo(query->estate->es_query_cxt);
	}
	MemoryContextSwitchTo(caller);
	PopActiveSnapshot();
	CurrentResourceOwner = caller_owner;
	SPI_processed = result->numvals;
	SPI_tuptable = result;
	return SPI_processed;
}

static void
end(Started *look_up)
{
	ResourceOwner caller = CurrentResourceOwner;

	CurrentResourceOwner = owner;
	ExecutorFinish(look_up->query);
	ExecutorEnd(look_up->query);
	FreeQueryDesc(look_up->query);
	ReleaseCachedPlan(look_up->plan, owner);
	CurrentResourceOwner = caller;
}

/* The abort itself gives back all that was held. */
static void
forget(void)
{
	active = false;
	count = rows_begun = 0;
	context = NULL;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		artery_rerun_close();
	else if (event == XACT_EVENT_ABORT)
		forget();
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId ended, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		active = false;
	if (context == NULL || ended != subtransaction)
		return;
	if (event == SUBXACT_EVENT_PRE_COMMIT_SUB)
		artery_rerun_close();
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		forget();
}
