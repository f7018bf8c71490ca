/*
 * owner_group.c
 *		Ads that share the budget of one owner, decided on together.
 */
#include "artery.h"

#include <math.h>

#include "decide/allotment.h"
#include "decide/owner_group.h"
#include "runtime/huge.h"

static bool same_owner(const AdCase *a, const AdCase *b);
static int	compare_owners(const void *left, const void *right, void *context);
static void sort_members(OwnerGroups *groups, AdCase **ads);
static void fill_group(OwnerGroups *groups, int group, AdCase **ads, double max_change);
static AdBound bound_of(const OwnerGroups *groups, int group);

static void *
allocate(int n, Size size)
{
	return artery_huge_alloc(n * size, 0);
}

OwnerGroups *
artery_owner_groups_find(AdCase **ads, int n, double max_change)
{
	OwnerGroups *groups = palloc0(sizeof(OwnerGroups));
	int64	   *amounts = allocate(n, 7 * sizeof(int64));
	int			i;

	groups->ads = n;
	groups->members = allocate(n, sizeof(int));
	groups->first = allocate(n + 1, sizeof(int));
	groups->share = allocate(n, sizeof(double));
	groups->explores = allocate(n, sizeof(bool));
	groups->current = amounts;
	groups->minimum = amounts + n;
	groups->maximum = amounts + 2 * (Size) n;
	groups->low = amounts + 3 * (Size) n;
	groups->high = amounts + 4 * (Size) n;
	groups->wanted = amounts + 5 * (Size) n;
	groups->budget = amounts + 6 * (Size) n;
	sort_members(groups, ads);
	for (i = 0; i < n; i++)
	{
		if (i == 0 || !same_owner(ads[groups->members[i - 1]], ads[groups->members[i]]))
			groups->first[groups->count++] = i;
		ads[groups->members[i]]->group = groups->count - 1;
	}
	groups->first[groups->count] = n;
	for (i = 0; i < groups->count; i++)
		fill_group(groups, i, ads, max_change);
	return groups;
}

void
artery_owner_groups_gather(OwnerGroups *groups, const double *shares)
{
	int			group;
	int			i;

	for (group = 0; group < groups->count; group++)
	{
		groups->share[group] = 0;
		for (i = groups->first[group]; i < groups->first[group + 1]; i++)
			groups->share[group] += shares[groups->members[i]];
	}
}

void
artery_owner_groups_spread(const OwnerGroups *groups, const double *shares, AdCase **ads)
{
	double	   *own = allocate(groups->ads, sizeof(double));
	int64	   *wanted = allocate(groups->ads, sizeof(int64));
	int64	   *budget = allocate(groups->ads, sizeof(int64));
	int			group;
	int			i;

	for (group = 0; group < groups->count; group++)
	{
		const int  *members = groups->members + groups->first[group];
		int			size = groups->first[group + 1] - groups->first[group];

		wanted[0] = groups->wanted[group];
		budget[0] = groups->budget[group];
		if (size > 1)
		{
			for (i = 0; i < size; i++)
				own[i] = shares[members[i]];
			artery_allotment_split(own, size, groups->wanted[group], wanted);
			artery_allotment_split(own, size, groups->budget[group], budget);
		}
		for (i = 0; i < size; i++)
		{
			AdCase	   *ad = ads[members[i]];

			ad->wanted = wanted[i];
			ad->budget = budget[i];
			ad->owner_current = groups->current[group];
			ad->owner_budget = groups->budget[group];
			ad->bound = bound_of(groups, group);
		}
	}
	pfree(own);
	pfree(wanted);
	pfree(budget);
}

void
artery_owner_groups_free(OwnerGroups *groups)
{
	pfree(groups->members);
	pfree(groups->first);
	pfree(groups->share);
	pfree(groups->explores);
	pfree(groups->current);
	pfree(groups);
}

static bool
same_owner(const AdCase *a, const AdCase *b)
{
	return a->owner != NULL && b->owner != NULL && a->owner_length == b->owner_length &&
		memcmp(a->owner, b->owner, a->owner_length) == 0;
}

/* By owner, ads in the order they came; those without an owner first. */
static int
compare_owners(const void *left, const void *right, void *context)
{
	AdCase	  **ads = context;
	int			a = *(const int *) left;
	int			b = *(const int *) right;
	int			order = (ads[a]->owner != NULL) - (ads[b]->owner != NULL);

	if (order == 0 && ads[a]->owner != NULL)
		order = memcmp(ads[a]->owner, ads[b]->owner, Min(ads[a]->owner_length, ads[b]->owner_length));
	if (order == 0 && ads[a]->owner != NULL)
		order = ads[a]->owner_length - ads[b]->owner_length;
	return order != 0 ? order : a - b;
}

static void
sort_members(OwnerGroups *groups, AdCase **ads)
{
	bool		any = false;
	int			i;

	for (i = 0; i < groups->ads; i++)
	{
		groups->members[i] = i;
		any = any || ads[i]->owner != NULL;
	}
	if (any)
		qsort_arg(groups->members, groups->ads, sizeof(int), compare_owners, ads);
}

static void
fill_group(OwnerGroups *groups, int group, AdCase **ads, double max_change)
{
	int			begin = groups->first[group];
	int			size = groups->first[group + 1] - begin;
	double		current = 0;
	double		parts = 0;
	int			i;

	groups->minimum[group] = 0;
	groups->maximum[group] = PG_INT64_MAX;
	groups->explores[group] = true;
	for (i = begin; i < begin + size; i++)
	{
		const AdCase *ad = ads[groups->members[i]];

		current += (double) ad->current;
		groups->minimum[group] = Max(groups->minimum[group], ad->minimum);
		groups->maximum[group] = Min(groups->maximum[group], ad->maximum);
		groups->explores[group] &= ad->exploration > 0;
	}
	if (groups->minimum[group] > groups->maximum[group])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ads of budget owner \"%s\" name a min_budget above the max_budget of others",
						pnstrdup(ads[groups->members[begin]]->owner, ads[groups->members[begin]]->owner_length)),
				 errhint("Bounds of ads that share an owner are the owner's: give all of them the same.")));
	groups->current[group] = (int64) Min(current, 1e17);
	artery_ad_case_bounds(groups->current[group], groups->minimum[group], groups->maximum[group], max_change,
						  &groups->low[group], &groups->high[group]);
	for (i = begin; i < begin + size; i++)
	{
		AdCase	   *ad = ads[groups->members[i]];

		ad->part = ad->current > 0 ? (double) ad->current : Max(current, 1) / (2 * size);
		parts += ad->part;
	}
	for (i = begin; i < begin + size; i++)
		ads[groups->members[i]]->part /= parts;
}

/* Which bound held a budget back, if it stands at one. */
static AdBound
bound_of(const OwnerGroups *groups, int group)
{
	int			size = groups->first[group + 1] - groups->first[group];

	/* the present budget is that of the ads, each of them rounded */
	return artery_ad_case_bound(groups->wanted[group], groups->budget[group], groups->low[group], groups->high[group],
								groups->minimum[group], groups->maximum[group],
								2 * fabs((double) (groups->budget[group] - groups->current[group])) <= size);
}
