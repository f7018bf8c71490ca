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

/* Sums over the account's ads. */
typedef struct Account
{
	double		reached;
	double		trials;
	double		days;
} Account;

static Account add_up(const double *reached, const double *trials, const double *days, int count);
static double taken_part(const Account *account, double trials, double days);

void
artery_credit_wrong(const double *reached, const double *trials, const double *days, int count, double *wrong)
{
	Account		account = add_up(reached, trials, days, count);
	int			i;

	for (i = 0; i < count; i++)
	{
		double		taken = CREDIT_WRONG / (1 - CREDIT_WRONG) * (account.reached * taken_part(&account, trials[i], days[i]) + TYPICAL_ADDED);

		wrong[i] = Min(taken / (reached[i] + TYPICAL_ADDED + taken), MOST_WRONG);
	}
}

void
artery_credit_correct(const double *wrong, const double *days, int count, double *reached, double *trials)
{
	Account		account = add_up(reached, trials, days, count);
	double		rate = account.trials > 0 ? account.reached / account.trials : 0;
	int			i;

	for (i = 0; i < count; i++)
	{
		double		part = wrong == NULL ? CREDIT_WRONG : wrong[i];
		double		others = wrong == NULL ? account.reached * taken_part(&account, trials[i], days[i]) : rate * trials[i];

		reached[i] = Max(reached[i] - part * others, LEAST_OWN * reached[i]);
		/* in the first hop too: what is taken from an ad here was earned by others, so the account's rate stays */
		trials[i] = Max((1 - part) * trials[i], reached[i]);
	}
}

static Account
add_up(const double *reached, const double *trials, const double *days, int count)
{
	Account		account = {0};
	int			i;

	for (i = 0; i < count; i++)
	{
		account.reached += reached[i];
		account.trials += trials[i];
		account.days += days[i];
	}
	return account;
}

/* Which part of what is credited wrongly goes to an ad with these trials of the first hop and days. */
static double
taken_part(const Account *account, double trials, double days)
{
	double		by_clicks = account->trials > 0 ? trials / account->trials : 0;

	return account->days > 0 ? (1 - CREDIT_ANYWHERE) * by_clicks + CREDIT_ANYWHERE * days / account->days : by_clicks;
}
