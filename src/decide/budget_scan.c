/*
 * budget_scan.c
 *		select_budget in FROM, row by row and only as wide as it is read.
 *
 * PostgreSQL keeps all rows of a function in FROM before it hands on the first: a
 * kilobyte an ad, which costs more to come by than to fill where there are many. And a
 * function is not told which of its columns are read. A scan of our own
 * makes each row where the one before was, and makes reason and metrics only
 * where somebody reads them. Rows, costs and rights are those of the function; where the
 * planner may need more of a scan (see may_scan), it stays the function.
 */
#include "artery.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "decide/budget_scan.h"
#include "decide/budget_selection.h"

typedef struct BudgetScan
{
	CustomScanState custom;
	FmgrInfo	function;
	List	   *arguments;
	Bitmapset  *parameters;		/* of the executor, that arguments depend on */
	bool		with_reason;
	bool		with_metrics;
	MemoryContext memory;		/* of the decision */
	BudgetSelection *selection; /* NULL: not decided yet */
	BudgetRows *rows;
	int			position;		/* of the row handed over last, from 1; 0 and n + 1 are before and behind all */
} BudgetScan;

static void propose_scan(PlannerInfo *root, RelOptInfo *rel, Index relid, RangeTblEntry *entry);
static bool may_scan(PlannerInfo *root, RelOptInfo *rel, RangeTblEntry *entry);
static bool is_select_budget(Oid function);
static Plan *plan_scan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *targets, List *clauses, List *plans);
static List *list_columns(Index relid, const FuncExpr *call);
static Node *create_scan(CustomScan *plan);
static void begin_scan(CustomScanState *node, EState *estate, int flags);
static bool note_parameters(Node *node, void *parameters);
static TupleTableSlot *step_scan(CustomScanState *node);
static TupleTableSlot *next_row(ScanState *node);
static bool recheck_row(ScanState *node, TupleTableSlot *slot);
static void decide(BudgetScan *scan);
static void end_scan(CustomScanState *node);
static void rescan(CustomScanState *node);

static const CustomPathMethods path_methods = {
	.CustomName = "select_budget",
	.PlanCustomPath = plan_scan
};

static const CustomScanMethods scan_methods = {
	.CustomName = "select_budget",
	.CreateCustomScanState = create_scan
};

static const CustomExecMethods exec_methods = {
	.CustomName = "select_budget",
	.BeginCustomScan = begin_scan,
	.ExecCustomScan = step_scan,
	.EndCustomScan = end_scan,
	.ReScanCustomScan = rescan
};

static set_rel_pathlist_hook_type next_hook = NULL;

void
artery_budget_scan_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
	next_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = propose_scan;
}

/* In place of the only path that there is for a function. */
static void
propose_scan(PlannerInfo *root, RelOptInfo *rel, Index relid, RangeTblEntry *entry)
{
	CustomPath *path;
	const Path *plain;

	if (next_hook != NULL)
		next_hook(root, rel, relid, entry);
	if (entry->rtekind != RTE_FUNCTION || !may_scan(root, rel, entry))
		return;
	plain = linitial(rel->pathlist);
	path = makeNode(CustomPath);
	path->path = *plain;
	path->path.type = T_CustomPath;
	path->path.pathtype = T_CustomScan;
	path->flags = CUSTOMPATH_SUPPORT_BACKWARD_SCAN | ARTERY_CUSTOMPATH_PROJECTS;
	path->methods = &path_methods;
	rel->pathlist = list_make1(path);
}

/*
 * Not where rows may be asked for a second time after somebody else changed what
 * they are joined with (UPDATE, FOR UPDATE), or as a whole.
 */
static bool
may_scan(PlannerInfo *root, RelOptInfo *rel, RangeTblEntry *entry)
{
	const FuncExpr *call = (FuncExpr *) ((RangeTblFunction *) linitial(entry->functions))->funcexpr;
	Bitmapset  *columns = NULL;

	if (list_length(entry->functions) != 1 || entry->funcordinality || !IsA(call, FuncExpr) || !is_select_budget(call->funcid))
		return false;
	if (rel->reloptkind != RELOPT_BASEREL || list_length(rel->pathlist) != 1
		|| ((Path *) linitial(rel->pathlist))->pathtype != T_FunctionScan || contain_subplans((Node *) call->args))
		return false;
	for (; root != NULL; root = root->parent_root)
		if ((root->parse->commandType != CMD_SELECT && root->parse->commandType != CMD_INSERT) || root->parse->rowMarks != NIL)
			return false;
	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &columns);
	pull_varattnos((Node *) extract_actual_clauses(rel->baserestrictinfo, false), rel->relid, &columns);
	return !bms_is_member(-FirstLowInvalidHeapAttributeNumber, columns);
}

/* By what it runs, whatever its arguments and its schema. */
static bool
is_select_budget(Oid function)
{
	HeapTuple	row = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		found = false;
	FmgrInfo	info;

	if (HeapTupleIsValid(row))
	{
		if (((Form_pg_proc) GETSTRUCT(row))->prolang == ClanguageId)
		{
			bool		is_null;
			Datum		symbol = SysCacheGetAttr(PROCOID, row, Anum_pg_proc_prosrc, &is_null);

			found = !is_null && strcmp(TextDatumGetCString(symbol), "artery_select_budget") == 0;
		}
		ReleaseSysCache(row);
	}
	if (found)
		fmgr_info(function, &info);
	return found && info.fn_addr == artery_select_budget;
}

static Plan *
plan_scan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *targets, List *clauses, List *plans)
{
	RangeTblFunction *function = linitial(planner_rt_fetch(rel->relid, root)->functions);
	CustomScan *scan = makeNode(CustomScan);
	Bitmapset  *columns = NULL;

	scan->scan.plan.targetlist = targets;
	scan->scan.plan.qual = extract_actual_clauses(clauses, false);
	scan->flags = path->flags;
	scan->methods = &scan_methods;
	scan->custom_scan_tlist = list_columns(rel->relid, (FuncExpr *) function->funcexpr);
	scan->custom_exprs = list_make1(function->funcexpr);
	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &columns);
	pull_varattnos((Node *) targets, rel->relid, &columns);
	pull_varattnos((Node *) scan->scan.plan.qual, rel->relid, &columns);
	scan->custom_private = list_make2_int(bms_is_member(BUDGET_REASON + 1 - FirstLowInvalidHeapAttributeNumber, columns),
										  bms_is_member(BUDGET_METRICS + 1 - FirstLowInvalidHeapAttributeNumber, columns));
	return &scan->scan.plan;
}

static List *
list_columns(Index relid, const FuncExpr *call)
{
	static const Oid types[BUDGET_MOST_COLUMNS] = {TEXTOID, NUMERICOID, NUMERICOID, FLOAT8OID, FLOAT8OID, TEXTOID, JSONBOID, JSONBOID};
	int			count = exprType(linitial(call->args)) == JSONBARRAYOID ? BUDGET_MOST_COLUMNS : BUDGET_COLUMNS;
	List	   *columns = NIL;
	int			i;

	for (i = 0; i < count; i++)
	{
		Var		   *column = makeVar(relid, i + 1, types[i], -1, types[i] == TEXTOID ? DEFAULT_COLLATION_OID : InvalidOid, 0);

		columns = lappend(columns, makeTargetEntry((Expr *) column, i + 1, NULL, false));
	}
	return columns;
}

static Node *
create_scan(CustomScan *plan)
{
	BudgetScan *scan = palloc0(sizeof(BudgetScan));

	NodeSetTag(scan, T_CustomScanState);
	scan->custom.methods = &exec_methods;
	scan->with_reason = linitial_int(plan->custom_private) != 0;
	scan->with_metrics = lsecond_int(plan->custom_private) != 0;
	return (Node *) scan;
}

static void
begin_scan(CustomScanState *node, EState *estate, int flags)
{
	BudgetScan *scan = (BudgetScan *) node;
	FuncExpr   *call = linitial(((CustomScan *) node->ss.ps.plan)->custom_exprs);

	artery_check_may_execute(call->funcid);
	fmgr_info(call->funcid, &scan->function);
	fmgr_info_set_expr((Node *) call, &scan->function);
	scan->arguments = ExecInitExprList(call->args, &node->ss.ps);
	(void) note_parameters((Node *) call->args, &scan->parameters);
	scan->memory = AllocSetContextCreate(CurrentMemoryContext, "artery budgets", ALLOCSET_DEFAULT_SIZES);
}

static bool
note_parameters(Node *node, void *parameters)
{
	Bitmapset **set = parameters;

	if (node == NULL)
		return false;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXEC)
		*set = bms_add_member(*set, ((Param *) node)->paramid);
	return expression_tree_walker(node, note_parameters, parameters);
}

static TupleTableSlot *
step_scan(CustomScanState *node)
{
	return ExecScan(&node->ss, next_row, recheck_row);
}

/* The next row in either direction: what it points to lasts until the one after it. */
static TupleTableSlot *
next_row(ScanState *node)
{
	BudgetScan *scan = (BudgetScan *) node;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	MemoryContext before;

	ExecClearTuple(slot);
	if (scan->selection == NULL)
		decide(scan);
	if (ScanDirectionIsForward(node->ps.state->es_direction))
		scan->position = Min(scan->position + 1, scan->selection->n + 1);
	else
		scan->position = Max(scan->position - 1, 0);
	if (scan->position < 1 || scan->position > scan->selection->n)
		return slot;
	before = MemoryContextSwitchTo(node->ps.ps_ExprContext->ecxt_per_tuple_memory);
	artery_budget_rows_form(scan->rows, &scan->selection->ads[scan->position - 1], slot->tts_values, slot->tts_isnull);
	MemoryContextSwitchTo(before);
	return ExecStoreVirtualTuple(slot);
}

/* Never asked: see may_scan. */
static bool
recheck_row(ScanState *node, TupleTableSlot *slot)
{
	return true;
}

static void
decide(BudgetScan *scan)
{
	LOCAL_FCINFO(fcinfo, FUNC_MAX_ARGS);
	PgStat_FunctionCallUsage usage;
	MemoryContext before = MemoryContextSwitchTo(scan->memory);
	ListCell   *cell;
	int			i = 0;

	InitFunctionCallInfoData(*fcinfo, &scan->function, list_length(scan->arguments), InvalidOid, NULL, NULL);
	foreach(cell, scan->arguments)
	{
		fcinfo->args[i].value = ExecEvalExpr((ExprState *) lfirst(cell), scan->custom.ss.ps.ps_ExprContext, &fcinfo->args[i].isnull);
		i++;
	}
	pgstat_init_function_usage(fcinfo, &usage);
	scan->selection = artery_budget_select(fcinfo);
	scan->rows = artery_budget_rows_open(scan->selection, scan->with_reason, scan->with_metrics);
	pgstat_end_function_usage(&usage, true);
	MemoryContextSwitchTo(before);
}

static void
end_scan(CustomScanState *node)
{
	MemoryContextDelete(((BudgetScan *) node)->memory);
}

/* A decision holds as long as what was asked; drawn without a seed, it would be another one. */
static void
rescan(CustomScanState *node)
{
	BudgetScan *scan = (BudgetScan *) node;

	ExecScanReScan(&node->ss);
	scan->position = 0;
	if (bms_overlap(node->ss.ps.chgParam, scan->parameters))
	{
		scan->selection = NULL;
		MemoryContextReset(scan->memory);
	}
}
