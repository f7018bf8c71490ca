/*
 * posterior.h
 *		The calibrated model at work: candidates from the tables, the verdict, and
 *		what is kept of it.
 */
#ifndef ARTERY_ATTRIBUTE_POSTERIOR_H
#define ARTERY_ATTRIBUTE_POSTERIOR_H

#include "postgres.h"

#include "attribute/calibrated.h"
#include "attribute/search.h"
#include "tenant/tenant.h"

/* What is kept of a verdict besides the conversion's own columns. */
typedef struct Posterior
{
	bool		by_id;			/* the id survived: the verdict is what would have been said without it */
	Datum		best_click_id;	/* text; 0 where there is no candidate */
	CalibratedVerdict verdict;
	bool		was_right;		/* by_id: did the verdict name the right click? */
	char	   *credit;			/* JSON object: probability per ad */
	char	   *candidates;		/* JSON array, the most probable first */
	CalibratedState learnt;		/* what this conversion teaches */
} Posterior;

/*
 * Weigh the candidates of a conversion (a row of conversion_tracking, checked)
 * and, unless its id has found its click, answer with them. NULL if the
 * conversion shows neither device nor network. Within a scope.
 */
extern Posterior *artery_posterior_search(const ArteryTenant *tenant, const Datum *values, const bool *nulls,
										  Attribution *attribution);

/*
 * Keep it, for a conversion stored just now, instead of what was kept of an
 * attempt before. Posterior may be NULL; again tells that there was an attempt
 * before. Within a scope.
 */
extern void artery_posterior_store(const Posterior *posterior, const Datum *values, bool again);

/*
 * The same for a conversion's first attempt, together with those of the
 * statement's other conversions (see runtime/bulk.h). Within a scope.
 */
extern void artery_posterior_store_later(const Posterior *posterior, const Datum *values);

#endif							/* ARTERY_ATTRIBUTE_POSTERIOR_H */
