/*
 * search.h
 *		Finding the click that earned a conversion.
 */
#ifndef ARTERY_ATTRIBUTE_SEARCH_H
#define ARTERY_ATTRIBUTE_SEARCH_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "tenant/tenant.h"

#define ATTRIBUTION_LAYERS 3

/* What a layer found; ambiguous is said by models that weigh candidates against each other. */
typedef enum LayerResult
{
	LAYER_NOT_ATTEMPTED,
	LAYER_NO_PARAM,				/* the conversion brought nothing to look for */
	LAYER_NO_MATCH,
	LAYER_EXPIRED,				/* only clicks outside the window match */
	LAYER_LOW_PROBABILITY,
	LAYER_AMBIGUOUS,
	LAYER_SUCCESS
} LayerResult;

/* A click as far as an attribution needs it; Datums are valid until the scope is left. */
typedef struct MatchedClick
{
	bool		found;
	Datum		click_id;
	Datum		ad_id;
	Datum		adset_id;
	Datum		campaign_id;
	bool		click_id_null;
	bool		ad_null;
	bool		adset_null;
	bool		campaign_null;
	TimestampTz at;
	bool		same_agent;		/* layer 3: has the conversion's user agent */
} MatchedClick;

typedef struct Attribution
{
	bool		success;
	const char *method;			/* as in attribution_method */
	double		confidence;		/* 0 without success */
	MatchedClick best;			/* the best candidate, also below the threshold */
	double		best_confidence;
	int			candidates;		/* clicks considered, at most 64 per layer, 8 of a fingerprint's */
	LayerResult layers[ATTRIBUTION_LAYERS];
	char	   *reason;			/* one sentence, for people */
	struct Posterior *posterior;	/* what the calibrated model weighed, or NULL */
} Attribution;

/* The name a layer's result has in attribution_performance_log. */
extern const char *artery_search_layer_name(LayerResult result);

/* Is it one of the methods that attribution_method may name? */
extern bool artery_search_is_method(const text *method);

/*
 * Look for the click of a conversion by the tenant's model. The row is that of
 * conversion_tracking (ConversionColumn), checked. Within a scope.
 */
extern void artery_search_click(const ArteryTenant *tenant, const Datum *values, const bool *nulls,
								Attribution *attribution);

/*
 * Take over the attribution of the conversion's deal, if it has one that can be
 * the conversion's too. Within a scope.
 */
extern bool artery_search_inherit(const Datum *values, const bool *nulls, Attribution *attribution);

#endif							/* ARTERY_ATTRIBUTE_SEARCH_H */
