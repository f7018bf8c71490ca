/*
 * deal_attribution.c
 *		The attribution of a deal: once, with the evidence of its deal or contact.
 *
 * A deal's attribution is a conversion of its own (id "deal:" and the deal's
 * id, type "deal"), from which the deal's row takes click and ad. It stands for
 * the form that was sent, so its time is when the person was seen, or when the
 * deal began if that was earlier.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "attribute/attribution.h"
#include "capture/fields.h"
#include "capture/identity.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"

/*
 * The form and the deal it makes come by different ways and clocks: a sighting
 * up to this much after the deal's begin is that of its form.
 */
#define CLOCK_TOLERANCE (5 * USECS_PER_MINUTE)

PG_FUNCTION_INFO_V1(artery_attribute_deal);

static ArteryStatement select_deal = {
	"SELECT d.attribution_method <> 'unattributed', d.crm_contact_id, d.stage, d.first_event_at "
	"  FROM artery.deal d WHERE d.tenant_id = $1 AND d.deal_id = $2 FOR NO KEY UPDATE",
	2, {TEXTOID, TEXTOID}, NULL
};

static ArteryStatement update_deal = {
	"UPDATE artery.deal d "
	"   SET conversion_id = c.conversion_id, attribution_method = c.attribution_method, "
	"       attribution_confidence = c.attribution_confidence, click_id = c.attributed_click_id, "
	"       ad_id = c.ad_id, adset_id = c.adset_id, campaign_id = c.campaign_id, "
	"       attributed_at = CASE WHEN c.success THEN $4 END, updated_at = $4 "
	"  FROM artery.conversion_tracking c "
	" WHERE c.tenant_id = $1 AND c.conversion_id = $3 AND d.tenant_id = $1 AND d.deal_id = $2 "
	"   AND (c.success OR d.conversion_id IS NULL) "
	"RETURNING c.success",
	4, {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};

static void make_conversion(Conversion *conversion, Datum *keys, bool *has_evidence);

/*
 * artery.attribute_deal(tenant_id, deal_id): attribute the deal if it is not;
 * true if it is attributed now.
 */
Datum
artery_attribute_deal(PG_FUNCTION_ARGS)
{
	Conversion	conversion;
	ArteryScope scope;
	Datum		keys[4];
	bool		has_evidence;
	bool		attributed = false;

	artery_fields_require("tenant_id", PG_ARGISNULL(0));
	artery_fields_require("deal_id", PG_ARGISNULL(1));
	keys[0] = PointerGetDatum(PG_GETARG_TEXT_PP(0));
	keys[1] = PointerGetDatum(PG_GETARG_TEXT_PP(1));
	conversion.tenant = artery_tenant_get(TextDatumGetCString(keys[0]));

	artery_scope_enter(&scope);
	if (artery_execute(&select_deal, keys, NULL, false, 1) == 1)
	{
		attributed = artery_field_bool(0, 1);
		if (!attributed)
		{
			make_conversion(&conversion, keys, &has_evidence);
			artery_attribution_run(&conversion);
			if (!artery_attribution_insert(&conversion) && has_evidence)
				(void) artery_attribution_update(&conversion);
			keys[2] = conversion.values[CONVERSION_ID];
			keys[3] = TimestampTzGetDatum(artery_clock_now());
			attributed = artery_execute(&update_deal, keys, NULL, false, 0) > 0 && artery_field_bool(0, 1);
		}
	}
	artery_scope_leave(&scope);
	PG_RETURN_BOOL(attributed);
}

/* The conversion of the deal in the last result, with what is known of its contact. */
static void
make_conversion(Conversion *conversion, Datum *keys, bool *has_evidence)
{
	Datum	   *values = conversion->values;
	bool	   *nulls = conversion->nulls;
	ArteryEvidence evidence;
	TimestampTz begun;
	TimestampTz at;

	memset(nulls, true, sizeof(conversion->nulls));
	conversion->withheld = false;	/* evidence was kept by its own consent */
	values[CONVERSION_CRM_CONTACT_ID] = artery_field(0, 2, &nulls[CONVERSION_CRM_CONTACT_ID]);
	values[CONVERSION_CRM_STAGE] = artery_field(0, 3, &nulls[CONVERSION_CRM_STAGE]);
	begun = artery_field_null(0, 4) ? artery_clock_now() : artery_field_time(0, 4);

	artery_identity_lock(keys[0], keys[1], false,
						 values[CONVERSION_CRM_CONTACT_ID], nulls[CONVERSION_CRM_CONTACT_ID]);
	artery_identity_merge(&evidence, keys[0], keys[1], false,
						  values[CONVERSION_CRM_CONTACT_ID], nulls[CONVERSION_CRM_CONTACT_ID],
						  begun + CLOCK_TOLERANCE);
	at = begun;
	if (evidence.found)
	{
		if (evidence.seen_at <= begun + CLOCK_TOLERANCE)
			at = evidence.seen_at;
		memcpy(values + CONVERSION_CLICK_ID, evidence.values, sizeof(evidence.values));
		memcpy(nulls + CONVERSION_CLICK_ID, evidence.nulls, sizeof(evidence.nulls));
	}
	*has_evidence = evidence.found;

	values[CONVERSION_TENANT_ID] = keys[0];
	values[CONVERSION_CRM_DEAL_ID] = keys[1];
	values[CONVERSION_ID] = CStringGetTextDatum(psprintf("%s%s", ARTERY_DEAL_CONVERSION, TextDatumGetCString(keys[1])));
	values[CONVERSION_TYPE] = CStringGetTextDatum("deal");
	values[CONVERSION_TIMESTAMP] = TimestampTzGetDatum(at);
	values[CONVERSION_IS_SYNTHETIC] = BoolGetDatum(true);
	nulls[CONVERSION_TENANT_ID] = nulls[CONVERSION_CRM_DEAL_ID] = nulls[CONVERSION_ID] = false;
	nulls[CONVERSION_TYPE] = nulls[CONVERSION_TIMESTAMP] = nulls[CONVERSION_IS_SYNTHETIC] = false;
}
