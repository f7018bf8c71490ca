/*
 * funnel.h
 *		What an ad's state says of the funnel behind the click.
 *
 * Two forms: the counts of deals per stage alone, for callers who have nothing
 * else; or, beside them, sums that know how old clicks and deals are ("exposure" and
 * "hops"), as allocate_budget makes them from the tables.
 */
#ifndef ARTERY_DECIDE_FUNNEL_H
#define ARTERY_DECIDE_FUNNEL_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "decide/delayed.h"

typedef struct Funnel
{
	int			count;			/* stages; 0: none given */
	char	   *stages[DELAYED_MAX_HOPS];	/* in funnel order */
	double		reached[DELAYED_MAX_HOPS];	/* deals that reached each, later ones included */
	bool		has_won_value;
	double		won_value;
	double		other_wins;		/* known by their value alone */
	bool		has_exposure;
	Exposure	exposure;
	int			hops;			/* 0: none given */
	Hop		   *hop;
} Funnel;

/* Is it a key of a state that belongs to the funnel? */
extern bool artery_funnel_key(const char *name);

/*
 * Read one key's value (not null). Errors, naming the ad: 22023 for what is of another form,
 * 22003 for numbers out of range.
 */
extern void artery_funnel_read(Funnel *funnel, const char *name, const JsonbValue *value, const char *ad_id);

/* Errors 22023 unless what was given fits together. */
extern void artery_funnel_check(const Funnel *funnel, const char *ad_id);

/*
 * Bring a funnel into the order of another one, which names all stages; those it
 * does not name count as passed by who came further. Error 22023 for a stage
 * that the other has not, or in another order.
 */
extern void artery_funnel_align(Funnel *funnel, const Funnel *model, const char *ad_id);

#endif							/* ARTERY_DECIDE_FUNNEL_H */
