/*
 * verdict.h
 *		From the probabilities of the calibrated model to an answer and its reasons.
 */
#ifndef ARTERY_ATTRIBUTE_VERDICT_H
#define ARTERY_ATTRIBUTE_VERDICT_H

#include "postgres.h"

#include "fmgr.h"

#include "attribute/calibrated.h"
#include "attribute/posterior.h"
#include "attribute/search.h"
#include "capture/sighting.h"

#define WEIGHED_CLICKS 18		/* what the index ranges bring at most */

/* A candidate as the tables tell it. */
typedef struct WeighedClick
{
	MatchedClick click;
	Sighting	sighting;
} WeighedClick;

/* A conversion while it is weighed. */
typedef struct Weighing
{
	const ArteryTenant *tenant;
	const Datum *values;		/* the conversion's row */
	const bool *nulls;
	TimestampTz at;
	Sighting	sighting;
	CalibratedState state;
	CalibratedConversion conversion;
	int			count;
	WeighedClick clicks[WEIGHED_CLICKS + 1];	/* newest first */
	CalibratedCandidate views[WEIGHED_CLICKS];	/* the same in the model's terms */
} Weighing;

/* Are two texts, not NULL, the same bytes? Without the ceremony of an operator: asked of every pair of candidates. */
static inline bool
artery_verdict_same_text(Datum left, Datum right)
{
	text	   *a = DatumGetTextPP(left);
	text	   *b = DatumGetTextPP(right);

	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/*
 * Fill the posterior's credit and candidates and, unless the id has answered,
 * the attribution: click, method, what the layers found, the reason in words.
 */
extern void artery_verdict_answer(const ArteryTenant *tenant, const Weighing *weighing, Posterior *posterior,
								  Attribution *attribution);

#endif							/* ARTERY_ATTRIBUTE_VERDICT_H */
