/*
 * public.h
 *		The model `delayed` at work in a server: what happened is told to artery's
 *		public functions with its clock moved, and allocate_budget decides.
 *
 * Every account is a tenant of its own, made from the template of its kind. Connects
 * as libpq's environment says, as a superuser. What fails ends the program.
 */
#ifndef ARTERY_BENCH_PUBLIC_H
#define ARTERY_BENCH_PUBLIC_H

#include "market.h"

/* Begin with an account. */
extern void public_open(const Market *market);

/* Tell of the step that was just spent with these budgets (per day). */
extern void public_learn(const Market *market, const double *budget);

/* Budgets in force are observed, then allocate_budget is asked: its budgets as weights. */
extern void public_weigh(const Market *market, const int *live, const double *current, int count, double *weight);

#endif							/* ARTERY_BENCH_PUBLIC_H */
