/*
 * owner_group.h
 *		Ads that share the budget of one owner, decided on together.
 *
 * Meta splits the budget of an ad set (or of a campaign) among its ads, and will
 * go on doing it much as it does now. So what is decided is the owner's budget, and
 * an owner is worth what its ads are, in the mix in which they have the money.
 */
#ifndef ARTERY_DECIDE_OWNER_GROUP_H
#define ARTERY_DECIDE_OWNER_GROUP_H

#include "postgres.h"

#include "decide/ad_case.h"

/* What budgets are decided for: owners, and ads without one. */
typedef struct OwnerGroups
{
	int			ads;
	int			count;
	int		   *members;		/* places of the ads, group after group */
	int		   *first;			/* per group, and one more: where its members begin */
	double	   *share;			/* per group, like what follows */
	int64	   *current;
	int64	   *minimum;		/* the owner's: the greatest that an ad names */
	int64	   *maximum;		/* the least that an ad names; PG_INT64_MAX: none */
	int64	   *low;			/* bounds in force, with the largest change */
	int64	   *high;
	int64	   *wanted;
	int64	   *budget;
	bool	   *explores;		/* all its ads are among those that money is reserved for */
} OwnerGroups;

/*
 * Find the groups of ads; fills their group and part. An ad without money so far
 * has half an equal part of its group's. Error 22023 where the bounds of a group's ads
 * contradict each other.
 */
extern OwnerGroups *artery_owner_groups_find(AdCase **ads, int n, double max_change);

/* Add up the shares of the ads, and afterwards split what the groups got among them: wanted, budget and bound. */
extern void artery_owner_groups_gather(OwnerGroups *groups, const double *shares);
extern void artery_owner_groups_spread(const OwnerGroups *groups, const double *shares, AdCase **ads);

extern void artery_owner_groups_free(OwnerGroups *groups);

#endif							/* ARTERY_DECIDE_OWNER_GROUP_H */
