/*
 * budget_scan.h
 *		select_budget in FROM, row by row and only as wide as it is read.
 */
#ifndef ARTERY_DECIDE_BUDGET_SCAN_H
#define ARTERY_DECIDE_BUDGET_SCAN_H

/* Have queries planned so; to be called when the module is loaded. */
extern void artery_budget_scan_init(void);

#endif							/* ARTERY_DECIDE_BUDGET_SCAN_H */
