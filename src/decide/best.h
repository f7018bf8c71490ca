/*
 * best.h
 *		Which of several uncertain values is the largest?
 *
 * Pure mathematics: no SPI, no clock, no globals.
 */
#ifndef ARTERY_DECIDE_BEST_H
#define ARTERY_DECIDE_BEST_H

#include "postgres.h"

/*
 * The probability of each of count >= 1 independent normal values, of that middle and standard
 * deviation (> 0), to be the largest; they add up to 1. Linear in count.
 */
extern void artery_best_chances(const double *middle, const double *width, int count, double *best);

#endif							/* ARTERY_DECIDE_BEST_H */
