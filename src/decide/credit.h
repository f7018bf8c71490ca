/*
 * credit.h
 *		What of an ad's conversions others have earned.
 *
 * Pure mathematics: no SPI, no clock, no globals.
 *
 * Of the conversions that are credited to some ad a few are credited to the wrong one: by
 * a click that happened to fit, which is anybody's, or by a slip, which is made anywhere. So an ad gets wrong ones
 * by its clicks or by the days it is shown, and not by its merits, which makes poor ads look better than they are,
 * the more so the less they are shown, and good ones worse. Nothing tells which it is, so each is taken for half.
 */
#ifndef ARTERY_DECIDE_CREDIT_H
#define ARTERY_DECIDE_CREDIT_H

#include "postgres.h"

/* The part of credited conversions that is taken to be wrong: attribution is right for 92 to 96 of 100 answers. */
#define CREDIT_WRONG 0.06

/* And the part of the wrong ones that go by days, not by clicks. */
#define CREDIT_ANYWHERE 0.5

/*
 * Of each ad, what part of those credited at the end of its first hop is likely not its own, at most
 * half; reached and trials are of that hop, corrected; days are those each ad was shown.
 */
extern void artery_credit_wrong(const double *reached, const double *trials, const double *days, int count, double *wrong);

/*
 * Take those who are not the ad's own out of a hop; they go on at the account's
 * rate. wrong is each ad's part of trials that are not its own; NULL for the first hop,
 * in which all clicks are its own and CREDIT_WRONG of those who reached are not.
 */
extern void artery_credit_correct(const double *wrong, const double *days, int count, double *reached, double *trials);

#endif							/* ARTERY_DECIDE_CREDIT_H */
