/*
 * attribution.h
 *		Conversions and their attribution: checking, searching, recording.
 */
#ifndef ARTERY_ATTRIBUTE_ATTRIBUTION_H
#define ARTERY_ATTRIBUTE_ATTRIBUTION_H

#include "postgres.h"

#include "attribute/search.h"
#include "tenant/tenant.h"

/* Ids of conversions that begin so are those of deals, and nobody else's. */
#define ARTERY_DEAL_CONVERSION "deal:"

/*
 * Columns of conversion_tracking in the order of the table; from CLICK_ID to
 * BROWSER in the order of TraceField.
 */
typedef enum ConversionColumn
{
	CONVERSION_TENANT_ID,
	CONVERSION_ID,
	CONVERSION_TYPE,
	CONVERSION_VALUE,
	CONVERSION_TIMESTAMP,
	CONVERSION_CLICK_ID,
	CONVERSION_FBCLID,
	CONVERSION_FINGERPRINT_HASH,
	CONVERSION_IP_ADDRESS,
	CONVERSION_USER_AGENT,
	CONVERSION_SCREEN_WIDTH,
	CONVERSION_SCREEN_HEIGHT,
	CONVERSION_TIMEZONE,
	CONVERSION_TIMEZONE_OFFSET,
	CONVERSION_DEVICE_TYPE,
	CONVERSION_OS,
	CONVERSION_BROWSER,
	CONVERSION_IS_SYNTHETIC,
	CONVERSION_CRM_DEAL_ID,
	CONVERSION_CRM_CONTACT_ID,
	CONVERSION_CRM_STAGE,
	CONVERSION_RAW_DATA,
	CONVERSION_CONSENT,
	CONVERSION_CLIENT_HINTS,	/* read, and NULL in the table */
	/* what attribution adds */
	CONVERSION_SUCCESS,
	CONVERSION_ATTRIBUTED_CLICK_ID,
	CONVERSION_ATTRIBUTION_METHOD,
	CONVERSION_ATTRIBUTION_CONFIDENCE,
	CONVERSION_ATTRIBUTION_WINDOW_HOURS,
	CONVERSION_AD_ID,
	CONVERSION_ADSET_ID,
	CONVERSION_CAMPAIGN_ID,
	CONVERSION_CANDIDATES,
	CONVERSION_REASON,
	CONVERSION_BEST_CLICK_ID,
	CONVERSION_BEST_CONFIDENCE,
	CONVERSION_NO_CLICK_PROBABILITY,
	CONVERSION_ATTRIBUTED_AT,
	CONVERSION_COLUMNS
} ConversionColumn;

/*
 * A conversion on its way into the table. Behind the table's columns lie the
 * fields of its log row that the table does not have.
 */
typedef enum ConversionExtra
{
	CONVERSION_LAYER_1 = CONVERSION_COLUMNS,
	CONVERSION_LAYER_2,
	CONVERSION_LAYER_3,
	CONVERSION_PROCESSING_TIME,
	CONVERSION_FIELDS
} ConversionExtra;

typedef struct Conversion
{
	const ArteryTenant *tenant;
	bool		withheld;		/* device data is left out for want of consent */
	struct Posterior *posterior;	/* set by artery_attribution_run */
	Datum		values[CONVERSION_FIELDS];
	bool		nulls[CONVERSION_FIELDS];
} Conversion;

/*
 * Check what a caller gave (tenant_id to client_hints) and put it into shape.
 * Errors: 22004, 22001, 22003, 22008, 22023, 42501.
 */
extern void artery_attribution_check(Conversion *conversion);

/* Error 22003 unless a conversion_value (numeric) is finite and 0 or more. */
extern void artery_attribution_check_value(Datum value, bool isnull);

/*
 * Search the click and fill in what attribution adds. A conversion without
 * traces of its own takes those of its deal or contact. Within a scope, which
 * the filled fields do not outlive.
 */
extern void artery_attribution_run(Conversion *conversion);

/*
 * Store the conversion and the log row of its first attempt; false where it is
 * stored already, and then nothing changes. Within a scope.
 */
extern bool artery_attribution_insert(Conversion *conversion);

/*
 * Store traces and results of another attempt, with its log row, unless the
 * stored conversion is attributed by now. Within a scope.
 */
extern bool artery_attribution_update(Conversion *conversion);

/* Write the log row of the attempt just run: the first, or the next. Within a scope. */
extern void artery_attribution_log(const Conversion *conversion, bool is_first);

/*
 * The same for a first attempt, together with those of the statement's other
 * conversions (see runtime/bulk.h). Within a scope.
 */
extern void artery_attribution_log_later(const Conversion *conversion);

/*
 * Ask for a budget decision if the conversion just stored is worth it: value
 * above high_value, confidence high_value_confidence or more. Within a scope.
 */
extern void artery_attribution_announce(const Conversion *conversion);

#endif							/* ARTERY_ATTRIBUTE_ATTRIBUTION_H */
