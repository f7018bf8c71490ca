/*
 * guard.c
 *		The mathematics of the velocity rule, without tables, time or globals.
 *
 * What is allowed changes only when a budget leaves the window, a window's
 * length after it ended. So the first moment at which something passes is
 * found by asking at as_of and at each of those moments.
 */
#include "artery.h"

#include "deliver/guard.h"

/* A question asked at successive moments. */
typedef struct GuardQuestion
{
	bool		any_step;		/* any step towards low, else the amount itself */
	int64		low;
	int64		high;
} GuardQuestion;

/* amount * ppm / a million, rounded down, without overflow for amounts below 1e17 */
static int64
share_down(int64 amount, int64 ppm)
{
	return (amount / GUARD_MILLION) * ppm + (amount % GUARD_MILLION) * ppm / GUARD_MILLION;
}

static int64
share_up(int64 amount, int64 ppm)
{
	return (amount / GUARD_MILLION) * ppm + ((amount % GUARD_MILLION) * ppm + GUARD_MILLION - 1) / GUARD_MILLION;
}

void
artery_guard_limits(const GuardObservation *seen, int nseen, TimestampTz as_of, const GuardRule *rule,
					GuardLimits *limits)
{
	int			i;

	memset(limits, 0, sizeof(GuardLimits));
	for (i = 0; i < nseen && seen[i].at <= as_of; i++)
	{
		bool		is_last = i + 1 == nseen || seen[i + 1].at > as_of;

		/* in force in [at, end): not in the window if that ended where it begins, nor if it is empty */
		if (!is_last && (seen[i + 1].at <= as_of - rule->window || seen[i + 1].at == seen[i].at))
			continue;
		if (!limits->known || seen[i].budget < limits->lowest)
			limits->lowest = seen[i].budget;
		if (!limits->known || seen[i].budget > limits->highest)
			limits->highest = seen[i].budget;
		limits->current = seen[i].budget;
		limits->known = true;
	}
	limits->max_allowed = share_down(limits->lowest, GUARD_MILLION + rule->ppm) / rule->step * rule->step;
	limits->min_allowed = (share_up(limits->highest, GUARD_MILLION - rule->ppm) + rule->step - 1) / rule->step * rule->step;
}

bool
artery_guard_step(const GuardLimits *limits, int64 target, int64 *step)
{
	if (!limits->known)
		return false;
	if (target > limits->current)
	{
		*step = Min(target, limits->max_allowed);
		return *step > limits->current && *step >= limits->min_allowed;
	}
	*step = Max(target, limits->min_allowed);
	return *step < limits->current && *step <= limits->max_allowed;
}

static bool
answer_at(const GuardObservation *seen, int nseen, TimestampTz moment, const GuardRule *rule,
		  const GuardQuestion *question)
{
	GuardLimits limits;
	int64		step;

	artery_guard_limits(seen, nseen, moment, rule, &limits);
	if (question->any_step)
		return artery_guard_step(&limits, question->low, &step);
	return limits.known && question->low >= limits.min_allowed && question->high <= limits.max_allowed;
}

static TimestampTz
first_moment(const GuardObservation *seen, int nseen, TimestampTz as_of, const GuardRule *rule,
			 const GuardQuestion *question)
{
	int			i;

	while (nseen > 0 && seen[nseen - 1].at > as_of)
		nseen--;
	if (answer_at(seen, nseen, as_of, rule, question))
		return as_of;
	for (i = 1; i < nseen; i++)
	{
		TimestampTz leaves = seen[i].at + rule->window;

		if (leaves > as_of && answer_at(seen, nseen, leaves, rule, question))
			return leaves;
	}
	return DT_NOEND;
}

TimestampTz
artery_guard_passes_at(const GuardObservation *seen, int nseen, TimestampTz as_of, const GuardRule *rule, int64 low,
					   int64 high)
{
	GuardQuestion question = {false, low, high};

	return first_moment(seen, nseen, as_of, rule, &question);
}

TimestampTz
artery_guard_step_at(const GuardObservation *seen, int nseen, TimestampTz as_of, const GuardRule *rule, int64 target)
{
	GuardQuestion question = {true, target, target};

	return first_moment(seen, nseen, as_of, rule, &question);
}
