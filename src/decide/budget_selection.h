/*
 * budget_selection.h
 *		One call of select_budget: what was asked, what was decided, and its rows.
 */
#ifndef ARTERY_DECIDE_BUDGET_SELECTION_H
#define ARTERY_DECIDE_BUDGET_SELECTION_H

#include "postgres.h"

#include "fmgr.h"

#include "decide/ad_case.h"
#include "decide/delayed_selection.h"

/* ad_id, current_budget, recommended_budget, change_percentage, confidence, reason, metrics; of an array also the ad's state */
#define BUDGET_COLUMNS 7
#define BUDGET_MOST_COLUMNS 8
#define BUDGET_REASON 5
#define BUDGET_METRICS 6
#define BUDGET_STATE 7

/* One call: its arguments, its ads, and what the whole of it came to. */
typedef struct BudgetSelection
{
	int			digits;			/* decimal places of the currency */
	int64		total;
	int64		seed;
	double		max_change;		/* share; negative is none */
	int			n;
	AdCase	   *ads;
	Datum	   *states;			/* of an array: the ads' states as they were given; else NULL */
	bool		is_delayed;		/* the model; else blended */
	DelayedSelection delayed;
	int64		unallotted;		/* what bounds forbid: left over, or (negative) more than the total */
	int64		reserve;		/* for ads with exploration, and how much of it their bounds forbid */
	int64		unreserved;
} BudgetSelection;

/* The SQL function of that name, and what it decides by its arguments, which must last as long. */
extern Datum artery_select_budget(PG_FUNCTION_ARGS);
extern BudgetSelection *artery_budget_select(FunctionCallInfo fcinfo);

/* Forms rows of a selection, one after the other. */
typedef struct BudgetRows BudgetRows;

/* Without a reason or metrics these are null. */
extern BudgetRows *artery_budget_rows_open(const BudgetSelection *selection, bool with_reason, bool with_metrics);

/* The row of an ad; what values point to lasts until the next row. */
extern void artery_budget_rows_form(BudgetRows *rows, const AdCase *ad, Datum *values, bool *nulls);

#endif							/* ARTERY_DECIDE_BUDGET_SELECTION_H */
