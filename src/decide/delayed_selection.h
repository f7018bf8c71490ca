/*
 * delayed_selection.h
 *		The model `delayed` for the ads of one decision: from their states to
 *		shares, and from budgets to what can be said of them.
 */
#ifndef ARTERY_DECIDE_DELAYED_SELECTION_H
#define ARTERY_DECIDE_DELAYED_SELECTION_H

#include "postgres.h"

#include "decide/ad_case.h"
#include "decide/delayed.h"

typedef struct DelayedSelection
{
	Funnel		funnel;			/* the stages that hold for all ads */
	DelayedAccount account;
	double		gamma;
	double		average;		/* value per unit of money, weighted by present budgets */
	double		present;		/* sum of the present budgets, units */
	double		weights;		/* sum of what shares are in proportion to, at the posterior means */
	double		largest;		/* largest mean value: weights are relative to its */
} DelayedSelection;

/* Do all ads carry stages, so that the model can decide? */
extern bool artery_delayed_possible(const AdCase *ads, int n);

/*
 * Shares for ads, which come in an order of their own (by ad_id): fills their
 * share and delayed. Their group (0 .. groups - 1) and part tell who shares a budget. Errors 22023 where an ad has no stages or others than the rest.
 */
extern void artery_delayed_shares(DelayedSelection *selection, AdCase **ads, int n, int groups, int64 seed, double *shares);

/* When budgets are decided: confidence, and the budgets between which 80 % of the posterior lies. */
extern void artery_delayed_judge(const DelayedSelection *selection, AdCase *ad, int64 total);

/* Why the budget is what it is: palloc'd. */
extern char *artery_delayed_reason(const DelayedSelection *selection, const AdCase *ad, int64 total);

#endif							/* ARTERY_DECIDE_DELAYED_SELECTION_H */
