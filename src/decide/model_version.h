/*
 * model_version.h
 *		Which version of its mathematics each model has: the one place that says so.
 *
 * Raise a model's version with every change by which the same states, total
 * and seed come to other numbers: shares, budgets, confidence or whatever
 * else metrics hold. Not for the wording of reasons, nor for speed.
 *
 * Every run keeps the version that decided it (allocation_run.model_version),
 * so that what is computed anew from an old run's inputs is never taken for
 * what was decided then.
 */
#ifndef ARTERY_DECIDE_MODEL_VERSION_H
#define ARTERY_DECIDE_MODEL_VERSION_H

#define BLENDED_VERSION 1		/* of the source: it stays */
#define DELAYED_VERSION 3

#endif							/* ARTERY_DECIDE_MODEL_VERSION_H */
