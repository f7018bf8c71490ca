/*
 * click_window.h
 *		Statements that read the clicks of a window of time.
 */
#ifndef ARTERY_CAPTURE_CLICK_WINDOW_H
#define ARTERY_CAPTURE_CLICK_WINDOW_H

#include "postgres.h"

#include "runtime/dbtx.h"

#define CLICK_STATEMENT_ARGS 8
#define CLICK_STATEMENT_PLANS 16

/* Stands in a statement for the weeks of the window, as a condition on c.click_timestamp. */
#define CLICK_WEEKS "{weeks}"

/*
 * A statement with a kept plan for each of the ranges of weeks it was last used
 * for. The text names the exact window by its parameters, and in each place
 * where it reads artery.click_tracking c has CLICK_WEEKS in the condition too.
 */
typedef struct ClickStatement
{
	const char *sql;
	int			nargs;
	Oid			types[CLICK_STATEMENT_ARGS];
	struct ClickPlan *plans;
} ClickStatement;

/*
 * Run it for a window; both ends belong to it. Otherwise as artery_execute(),
 * not read-only. Within a scope.
 */
extern uint64 artery_click_execute(ClickStatement *statement, TimestampTz since, TimestampTz until,
								   Datum *values, const char *nulls, long limit);

/*
 * Run a statement that looks up by an index, on clicks in its order, by that
 * index and no other way. Otherwise as artery_execute(), not read-only.
 */
extern uint64 artery_click_execute_by_index(ArteryStatement *statement, Datum *values, const char *nulls, long limit);

/* The same for clicks before a moment, which the statement has as a parameter. */
extern uint64 artery_click_execute_before(ArteryStatement *statement, TimestampTz before, Datum *values,
										  const char *nulls, long limit);

#endif							/* ARTERY_CAPTURE_CLICK_WINDOW_H */
