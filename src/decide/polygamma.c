/*
 * polygamma.c
 *		Derivatives of the logarithm of the gamma function.
 */
#include "postgres.h"

#include <math.h>

#include "decide/polygamma.h"

double
artery_polygamma_first(double x)
{
	double		sum = 0;
	double		y;

	for (; x < 8; x++)
		sum -= 1 / x;
	y = 1 / (x * x);
	return sum + log(x) - 0.5 / x - y * (1.0 / 12 - y * (1.0 / 120 - y / 252));
}

double
artery_polygamma_second(double x)
{
	double		sum = 0;
	double		y;

	for (; x < 8; x++)
		sum += 1 / (x * x);
	y = 1 / (x * x);
	return sum + 1 / x + 0.5 * y + y / x * (1.0 / 6 - y * (1.0 / 30 - y / 42));
}
