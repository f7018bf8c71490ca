/*
 * polygamma.h
 *		Derivatives of the logarithm of the gamma function, for x > 0.
 */
#ifndef ARTERY_DECIDE_POLYGAMMA_H
#define ARTERY_DECIDE_POLYGAMMA_H

/* The first one and the second one: recurrence to 8, then the asymptotic series (DLMF 5.11.2). */
extern double artery_polygamma_first(double x);
extern double artery_polygamma_second(double x);

#endif							/* ARTERY_DECIDE_POLYGAMMA_H */
