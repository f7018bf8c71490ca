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
#include "runtime/json.h"

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

/* The keys of a state that belong to the funnel. */
typedef enum FunnelKey
{
	FUNNEL_STAGES, FUNNEL_WON_VALUE, FUNNEL_OTHER_WINS, FUNNEL_EXPOSURE, FUNNEL_HOPS, FUNNEL_KEYS
} FunnelKey;

/* Which of them it is; FUNNEL_KEYS for none. */
extern FunnelKey artery_funnel_key(const char *name, int length);

/*
 * Read one key's value (not null), at which the walk stands. The names of stages are shared with
 * those of a funnel read before, if it is not NULL. Errors, naming the ad: 22023 for what is of
 * another form, 22003 for numbers out of range.
 */
extern void artery_funnel_read(Funnel *funnel, FunnelKey key, const JsonWalk *value, const Funnel *before, const char *ad_id);

/* Errors 22023 unless what was given fits together. */
extern void artery_funnel_check(const Funnel *funnel, const char *ad_id);

/*
 * Bring a funnel into the order of another one, which names all stages; those it
 * does not name count as passed by who came further. Error 22023 for a stage
 * that the other has not, or in another order.
 */
extern void artery_funnel_align(Funnel *funnel, const Funnel *model, const char *ad_id);

#endif							/* ARTERY_DECIDE_FUNNEL_H */
