/*
 * click_window.c
 *		Statements that read the clicks of a window of time.
 *
 * A kept plan that has the window in parameters only opens and locks every
 * partition of click_tracking at each run, which takes longer than the look-up
 * itself. So there is a plan for each range of weeks, with the weeks as
 * constants: the planner leaves all other partitions out.
 */
#include "artery.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "jit/jit.h"
#include "lib/stringinfo.h"
#include "optimizer/cost.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "capture/click_window.h"
#include "runtime/rerun.h"

#define WEEK (7 * USECS_PER_DAY)
#define MONDAY (2 * USECS_PER_DAY)	/* 2000-01-03 */
#define UNIX_EPOCH_OFFSET (INT64CONST(10957) * SECS_PER_DAY)	/* seconds from 1970 to 2000 */

typedef struct ClickPlan
{
	int64		first;			/* week; of weeks since MONDAY */
	int64		last;
	uint64		used_at;		/* 0: free */
	ArteryStatement statement;
} ClickPlan;

static uint64 execute_by_index(ArteryStatement *statement, RerunKey key, Datum *values, const char *nulls, long limit);
static RerunKey partitions_of(TimestampTz since, TimestampTz until);
static int64 bound_below(Relation table, TimestampTz at);
static ClickPlan *choose_plan(ClickStatement *statement, int64 first, int64 last);
static void prepare_plan(ClickPlan *plan, const ClickStatement *statement);
static int64 week_of(TimestampTz at);
static int64 week_start(int64 week);

uint64
artery_click_execute(ClickStatement *statement, TimestampTz since, TimestampTz until, Datum *values, const char *nulls,
					 long limit)
{
	static uint64 uses = 0;
	ClickPlan  *plan = choose_plan(statement, week_of(since), week_of(until));

	plan->used_at = ++uses;
	return execute_by_index(&plan->statement, partitions_of(since, until), values, nulls, limit);
}

uint64
artery_click_execute_before(ArteryStatement *statement, TimestampTz before, Datum *values, const char *nulls,
							long limit)
{
	return execute_by_index(statement, partitions_of(before, before), values, nulls, limit);
}

uint64
artery_click_execute_by_index(ArteryStatement *statement, Datum *values, const char *nulls, long limit)
{
	return execute_by_index(statement, (RerunKey) {0, 0}, values, nulls, limit);
}

/*
 * For a partition that is new, and was empty when it was looked at last, the
 * planner would rather read it whole and sort, for all the other partitions
 * too. A plan may be made anew at any run, so each is run under these settings,
 * which to give to the server in the usual way would take longer than the run.
 */
static uint64
execute_by_index(ArteryStatement *statement, RerunKey key, Datum *values, const char *nulls, long limit)
{
	bool		seqscan = enable_seqscan;
	bool		bitmapscan = enable_bitmapscan;
	bool		sort = enable_sort;
	bool		jit = jit_enabled;
	uint64		rows;

	if (artery_rerun_started(statement, key, values, nulls, limit, &rows))
		return rows;
	PG_TRY();
	{
		enable_seqscan = enable_bitmapscan = enable_sort = jit_enabled = false;
		rows = artery_rerun(statement, key, values, nulls, limit);
	}
	PG_FINALLY();
	{
		enable_seqscan = seqscan;
		enable_bitmapscan = bitmapscan;
		enable_sort = sort;
		jit_enabled = jit;
	}
	PG_END_TRY();
	return rows;
}

/* Tells apart windows that begin or end in other partitions; by their bounds, as partitions may come along. */
static RerunKey
partitions_of(TimestampTz since, TimestampTz until)
{
	RerunKey	key = {0, 0};
	Relation	table;

	if (!artery_rerun_active())
		return key;
	table = table_open(get_relname_relid("click_tracking", get_namespace_oid(ARTERY_SCHEMA, false)), AccessShareLock);
	key.since = bound_below(table, since);
	key.until = bound_below(table, until);
	table_close(table, NoLock);
	return key;
}

/* The bound of partitions at or before a moment, and whether it is the moment itself. */
static int64
bound_below(Relation table, TimestampTz at)
{
	PartitionKey by = RelationGetPartitionKey(table);
	PartitionBoundInfo bounds = RelationGetPartitionDesc(table, false)->boundinfo;
	Datum		moment = TimestampTzGetDatum(at);
	bool		is_bound = false;
	int			place = bounds == NULL ? -1 :
		partition_range_datum_bsearch(by->partsupfunc, by->partcollation, bounds, 1, &moment, &is_bound);

	if (place < 0)
		return 0;
	return DatumGetTimestampTz(bounds->datums[place][0]) + (is_bound ? 1 : 0);
}

/* The plan of those weeks; else a free one, or the one not used for longest, made for them. */
static ClickPlan *
choose_plan(ClickStatement *statement, int64 first, int64 last)
{
	ClickPlan  *oldest;
	int			i;

	if (statement->plans == NULL)
		statement->plans = MemoryContextAllocZero(TopMemoryContext, CLICK_STATEMENT_PLANS * sizeof(ClickPlan));
	oldest = statement->plans;
	for (i = 0; i < CLICK_STATEMENT_PLANS; i++)
	{
		ClickPlan  *plan = &statement->plans[i];

		if (plan->used_at != 0 && plan->first == first && plan->last == last)
			return plan;
		if (plan->used_at < oldest->used_at)
			oldest = plan;
	}
	oldest->used_at = 0;
	oldest->first = first;
	oldest->last = last;
	prepare_plan(oldest, statement);
	return oldest;
}

static void
prepare_plan(ClickPlan *plan, const ClickStatement *statement)
{
	StringInfoData sql;
	const char *rest = statement->sql;
	const char *place;

	artery_rerun_withdraw(&plan->statement);
	if (plan->statement.plan != NULL)
		SPI_freeplan(plan->statement.plan);
	if (plan->statement.sql != NULL)
		pfree(unconstify(char *, plan->statement.sql));
	memset(&plan->statement, 0, sizeof(ArteryStatement));

	initStringInfo(&sql);
	while ((place = strstr(rest, CLICK_WEEKS)) != NULL)
	{
		appendBinaryStringInfo(&sql, rest, place - rest);
		/* an immutable function: the planner sees its result */
		appendStringInfo(&sql, "c.click_timestamp >= pg_catalog.to_timestamp(" INT64_FORMAT ") AND "
						 "c.click_timestamp < pg_catalog.to_timestamp(" INT64_FORMAT ")",
						 week_start(plan->first), week_start(plan->last + 1));
		rest = place + strlen(CLICK_WEEKS);
	}
	appendStringInfoString(&sql, rest);
	plan->statement.sql = MemoryContextStrdup(TopMemoryContext, sql.data);
	plan->statement.nargs = statement->nargs;
	memcpy(plan->statement.types, statement->types, statement->nargs * sizeof(Oid));
	pfree(sql.data);
}

static int64
week_of(TimestampTz at)
{
	int64		since = at - MONDAY;

	return since >= 0 ? since / WEEK : -((-since + WEEK - 1) / WEEK);
}

/* In seconds since 1970. */
static int64
week_start(int64 week)
{
	return (week * WEEK + MONDAY) / USECS_PER_SEC + UNIX_EPOCH_OFFSET;
}
