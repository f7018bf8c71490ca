/*
 * appeal.h
 *		What an ad's CTR tells of how good its clicks are.
 *
 * Pure mathematics: no SPI, no clock, no globals.
 *
 * An ad that many click on draws those in who are merely curious: clicks that are
 * easy to get go on less often. By how much is learnt from the account's ads, so that a CTR,
 * which is known within hours, is not believed further than it carries.
 */
#ifndef ARTERY_DECIDE_APPEAL_H
#define ARTERY_DECIDE_APPEAL_H

#include "postgres.h"

/*
 * By what factor each ad's CTR makes the rate of its first hop differ from the typical
 * ad's. appeal is log CTR less that of the typical ad; successes and trials are of
 * the hop, with the rate and the standard deviation of log odds between ads expected before
 * any data. Linear in count; memory is allocated in the current context and freed.
 */
extern void artery_appeal_fit(const double *appeal, const double *successes, const double *trials, int count,
							  double prior_rate, double spread, double *factor);

#endif							/* ARTERY_DECIDE_APPEAL_H */
