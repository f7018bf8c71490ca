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

#include "jit/jit.h"
#include "lib/stringinfo.h"
#include "optimizer/cost.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "capture/click_window.h"

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
	return artery_click_execute_by_index(&plan->statement, values, nulls, limit);
}

/*
 * For a partition that is new, and was empty when it was looked at last, the
 * planner would rather read it whole and sort, for all the other partitions
 * too. A plan may be made anew at any run, so each is run under these settings,
 * which to give to the server in the usual way would take longer than the run.
 */
uint64
artery_click_execute_by_index(ArteryStatement *statement, Datum *values, const char *nulls, long limit)
{
	bool		seqscan = enable_seqscan;
	bool		bitmapscan = enable_bitmapscan;
	bool		sort = enable_sort;
	bool		jit = jit_enabled;
	uint64		rows;

	PG_TRY();
	{
		enable_seqscan = enable_bitmapscan = enable_sort = jit_enabled = false;
		rows = artery_execute(statement, values, nulls, false, limit);
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
