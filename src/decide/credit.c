/*
 * credit.c
 *		What of an ad's conversions others have earned.
 */
#include "postgres.h"

#include "decide/credit.h"

/* So many conversions at the typical rate are added to an ad's own before they are compared. */
#define TYPICAL_ADDED 3.0
#define MOST_WRONG 0.5

/* Chance may leave fewer than were expected to be wrong. */
#define LEAST_OWN 0.1

static double account_rate(const double *reached, const double *trials, int count);

void
artery_credit_wrong(const double *reached, const double *trials, int count, double *wrong)
{
	double		rate = account_rate(reached, trials, count);
	int			i;

	for (i = 0; i < count; i++)
	{
		double		taken = CREDIT_WRONG / (1 - CREDIT_WRONG) * (rate * trials[i] + TYPICAL_ADDED);

		wrong[i] = Min(taken / (reached[i] + TYPICAL_ADDED + taken), MOST_WRONG);
	}
}

void
artery_credit_correct(const double *wrong, int count, double *reached, double *trials)
{
	double		rate = account_rate(reached, trials, count);
	int			i;

	for (i = 0; i < count; i++)
	{
		double		part = wrong == NULL ? CREDIT_WRONG : wrong[i];

		reached[i] = Max(reached[i] - part * rate * trials[i], LEAST_OWN * reached[i]);
		/* in the first hop too: what is taken from an ad here was earned by others, so the account's rate stays */
		trials[i] = Max((1 - part) * trials[i], reached[i]);
	}
}

static double
account_rate(const double *reached, const double *trials, int count)
{
	double		all_reached = 0;
	double		all_trials = 0;
	int			i;

	for (i = 0; i < count; i++)
	{
		all_reached += reached[i];
		all_trials += trials[i];
	}
	return all_trials > 0 ? all_reached / all_trials : 0;
}
