/*
 * conversion.c
 *		The ways a conversion comes in: artery.attribute_conversion(), INSERT and
 *		COPY by trigger, and another attempt at a stored one.
 */
#include "artery.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "attribute/attribution.h"
#include "attribute/posterior.h"
#include "attribute/search.h"
#include "capture/fields.h"
#include "runtime/bulk.h"
#include "runtime/dbtx.h"
#include "runtime/rerun.h"

PG_FUNCTION_INFO_V1(artery_attribute_conversion);
PG_FUNCTION_INFO_V1(artery_conversion_before_insert);
PG_FUNCTION_INFO_V1(artery_conversion_before_update);
PG_FUNCTION_INFO_V1(artery_conversion_after_insert);
PG_FUNCTION_INFO_V1(artery_attribute_again);

/* Result columns of artery.attribute_conversion(): from SUCCESS to REASON. */
#define RESULT_COLUMNS (CONVERSION_REASON - CONVERSION_SUCCESS + 1)

static ArteryStatement select_stored = {
	"SELECT c.success, c.attributed_click_id, c.attribution_method, c.attribution_confidence, "
	"       c.attribution_window_hours, c.ad_id, c.adset_id, c.campaign_id, c.candidates, c.reason "
	"  FROM artery.conversion_tracking c WHERE c.tenant_id = $1 AND c.conversion_id = $2",
	2, {TEXTOID, TEXTOID}, NULL
};

static ArteryStatement select_exists = {
	"SELECT 1 FROM artery.conversion_tracking c WHERE c.tenant_id = $1 AND c.conversion_id = $2",
	2, {TEXTOID, TEXTOID}, NULL
};

static ArteryStatement select_again = {
	"SELECT c.tenant_id, c.conversion_id, c.conversion_type, c.conversion_value, c.conversion_timestamp, "
	"       c.click_id, c.fbclid, c.fingerprint_hash, c.ip_address, c.user_agent, c.screen_width, "
	"       c.screen_height, c.timezone, c.timezone_offset, c.device_type, c.os, c.browser, c.is_synthetic, "
	"       c.crm_deal_id, c.crm_contact_id, c.crm_stage, c.raw_data, c.consent, c.client_hints "
	"  FROM artery.conversion_tracking c "
	" WHERE c.tenant_id = $1 AND c.conversion_id = $2 AND c.attribution_method = 'unattributed' "
	"   FOR NO KEY UPDATE",
	2, {TEXTOID, TEXTOID}, NULL
};

static HeapTuple check_result(HeapTuple tuple, TupleDesc descriptor);
static TupleDesc result_descriptor(void);
static HeapTuple form_result(ArteryScope *scope, Datum *values, bool *nulls);
static HeapTuple read_stored(ArteryScope *scope, const Conversion *conversion);

/* artery.attribute_conversion(tenant_id, conversion_id, conversion_type, ...) */
Datum
artery_attribute_conversion(PG_FUNCTION_ARGS)
{
	Conversion	conversion;
	ArteryScope scope;
	HeapTuple	result;
	int			i;

	Assert(PG_NARGS() == CONVERSION_SUCCESS);
	for (i = 0; i < CONVERSION_SUCCESS; i++)
	{
		conversion.values[i] = PG_GETARG_DATUM(i);
		conversion.nulls[i] = PG_ARGISNULL(i);
	}
	artery_attribution_check(&conversion);

	artery_scope_enter(&scope);
	artery_attribution_run(&conversion);
	if (artery_attribution_insert(&conversion))
	{
		artery_attribution_announce(&conversion);
		result = form_result(&scope, conversion.values + CONVERSION_SUCCESS, conversion.nulls + CONVERSION_SUCCESS);
	}
	else
		result = read_stored(&scope, &conversion);
	artery_scope_leave(&scope);
	PG_RETURN_DATUM(HeapTupleGetDatum(result));
}

/*
 * Before a conversion is inserted. Rows that bring attributed_at, from
 * attribute_conversion or a restore, are checked and pass untouched (asked here: a
 * WHEN of the trigger is prepared anew for every statement). One that is stored already is
 * skipped, as attribute_conversion does; rows of the same command count too.
 */
Datum
artery_conversion_before_insert(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	descriptor;
	Conversion	conversion;
	ArteryScope scope;
	Datum	   *values;
	bool	   *nulls;
	HeapTuple	result = NULL;
	MemoryContext before;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		elog(ERROR, "artery.conversion_before_insert: not called before an insert");
	descriptor = RelationGetDescr(trigger->tg_relation);
	if (descriptor->natts < CONVERSION_COLUMNS)
		elog(ERROR, "conversion_tracking has %d columns", descriptor->natts);
	if (!heap_attisnull(trigger->tg_trigtuple, CONVERSION_ATTRIBUTED_AT + 1, descriptor))
		return PointerGetDatum(check_result(trigger->tg_trigtuple, descriptor));

	values = palloc(descriptor->natts * sizeof(Datum));
	nulls = palloc(descriptor->natts * sizeof(bool));
	heap_deform_tuple(trigger->tg_trigtuple, descriptor, values, nulls);
	memcpy(conversion.values, values, CONVERSION_COLUMNS * sizeof(Datum));
	memcpy(conversion.nulls, nulls, CONVERSION_COLUMNS * sizeof(bool));
	artery_attribution_check(&conversion);

	artery_scope_enter(&scope);
	artery_rerun_begin();
	/* the rows that the command has inserted so far are seen */
	if (artery_rerun(&select_exists, (RerunKey) {0, 0}, conversion.values, NULL, 1) == 0)
	{
		artery_attribution_run(&conversion);
		artery_attribution_log_later(&conversion);
		artery_posterior_store_later(conversion.posterior, conversion.values);
		artery_attribution_announce(&conversion);
		memcpy(values, conversion.values, CONVERSION_COLUMNS * sizeof(Datum));
		memcpy(nulls, conversion.nulls, CONVERSION_COLUMNS * sizeof(bool));
		before = MemoryContextSwitchTo(scope.caller);
		result = heap_form_tuple(descriptor, values, nulls);
		MemoryContextSwitchTo(before);
	}
	artery_rerun_end();
	artery_scope_leave(&scope);
	return PointerGetDatum(result);
}

/* Before value, time, method or confidence of a conversion is updated. */
Datum
artery_conversion_before_update(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	descriptor;
	Datum		before;
	Datum		moment;
	bool		isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		elog(ERROR, "artery.conversion_before_update: not called before an update");
	descriptor = RelationGetDescr(trigger->tg_relation);
	before = heap_getattr(trigger->tg_trigtuple, CONVERSION_TIMESTAMP + 1, descriptor, &isnull);
	moment = heap_getattr(trigger->tg_newtuple, CONVERSION_TIMESTAMP + 1, descriptor, &isnull);
	/* one that stays was accepted when it came; the table refuses a NULL */
	if (!isnull && DatumGetTimestampTz(moment) != DatumGetTimestampTz(before))
		artery_fields_clean_time("conversion_timestamp", &moment, &isnull);
	return PointerGetDatum(check_result(trigger->tg_newtuple, descriptor));
}

/* After an INSERT or COPY: its log rows and traces, which waited for each other. */
Datum
artery_conversion_after_insert(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "artery.conversion_after_insert: not called as a trigger");
	artery_rerun_close();
	artery_bulk_flush();
	return PointerGetDatum(NULL);
}

/*
 * artery.attribute_again(tenant_id, conversion_id): another attempt at an
 * unattributed conversion; true if it is attributed by it.
 */
Datum
artery_attribute_again(PG_FUNCTION_ARGS)
{
	Conversion	conversion;
	ArteryScope scope;
	Datum		keys[2];
	bool		attributed = false;
	int			i;

	artery_fields_require("tenant_id", PG_ARGISNULL(0));
	artery_fields_require("conversion_id", PG_ARGISNULL(1));
	keys[0] = PG_GETARG_DATUM(0);
	keys[1] = PG_GETARG_DATUM(1);
	conversion.tenant = artery_tenant_get(TextDatumGetCString(keys[0]));

	artery_scope_enter(&scope);
	if (artery_execute(&select_again, keys, NULL, false, 1) == 1)
	{
		for (i = 0; i < CONVERSION_SUCCESS; i++)
			conversion.values[i] = artery_field(0, i + 1, &conversion.nulls[i]);
		conversion.withheld = artery_fields_withheld(conversion.tenant, conversion.values[CONVERSION_CONSENT],
													 conversion.nulls[CONVERSION_CONSENT]);
		artery_attribution_run(&conversion);
		if (artery_attribution_update(&conversion) && DatumGetBool(conversion.values[CONVERSION_SUCCESS]))
		{
			attributed = true;
			artery_attribution_announce(&conversion);
		}
	}
	artery_scope_leave(&scope);
	PG_RETURN_BOOL(attributed);
}

/* The row, if value, method and confidence are possible ones; what must not be null is the table's business. */
static HeapTuple
check_result(HeapTuple tuple, TupleDesc descriptor)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, CONVERSION_ATTRIBUTION_METHOD + 1, descriptor, &isnull);

	if (!isnull && !artery_search_is_method(DatumGetTextPP(value)))
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("attribution_method \"%s\" is not known", TextDatumGetCString(value)),
				 errdetail("It is url_param, fingerprint, probabilistic or unattributed."),
				 errhint("Leave attributed_at and the columns of the result out to have the conversion attributed.")));
	value = heap_getattr(tuple, CONVERSION_ATTRIBUTION_CONFIDENCE + 1, descriptor, &isnull);
	if (!isnull && !(DatumGetFloat8(value) >= 0 && DatumGetFloat8(value) <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("attribution_confidence %g is out of range", DatumGetFloat8(value)),
				 errdetail("It is a probability, 0 to 1."),
				 errhint("For 90 percent, give 0.9.")));
	value = heap_getattr(tuple, CONVERSION_VALUE + 1, descriptor, &isnull);
	artery_attribution_check_value(value, isnull);
	return tuple;
}

/* Made once per backend: looking it up in the catalog at each call is slower. */
static TupleDesc
result_descriptor(void)
{
	static TupleDesc descriptor = NULL;

	if (descriptor == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc	made = CreateTemplateTupleDesc(RESULT_COLUMNS);

		TupleDescInitEntry(made, 1, "success", BOOLOID, -1, 0);
		TupleDescInitEntry(made, 2, "attributed_click_id", TEXTOID, -1, 0);
		TupleDescInitEntry(made, 3, "attribution_method", TEXTOID, -1, 0);
		TupleDescInitEntry(made, 4, "attribution_confidence", FLOAT8OID, -1, 0);
		TupleDescInitEntry(made, 5, "attribution_window_hours", FLOAT8OID, -1, 0);
		TupleDescInitEntry(made, 6, "ad_id", TEXTOID, -1, 0);
		TupleDescInitEntry(made, 7, "adset_id", TEXTOID, -1, 0);
		TupleDescInitEntry(made, 8, "campaign_id", TEXTOID, -1, 0);
		TupleDescInitEntry(made, 9, "candidates", INT4OID, -1, 0);
		TupleDescInitEntry(made, 10, "reason", TEXTOID, -1, 0);
		descriptor = BlessTupleDesc(made);
		MemoryContextSwitchTo(before);
	}
	return descriptor;
}

static HeapTuple
form_result(ArteryScope *scope, Datum *values, bool *nulls)
{
	MemoryContext before = MemoryContextSwitchTo(scope->caller);
	HeapTuple	tuple = heap_form_tuple(result_descriptor(), values, nulls);

	MemoryContextSwitchTo(before);
	return tuple;
}

static HeapTuple
read_stored(ArteryScope *scope, const Conversion *conversion)
{
	Datum		keys[2];
	Datum		values[RESULT_COLUMNS];
	bool		nulls[RESULT_COLUMNS];
	int			i;

	keys[0] = conversion->values[CONVERSION_TENANT_ID];
	keys[1] = conversion->values[CONVERSION_ID];
	if (artery_execute(&select_stored, keys, NULL, false, 1) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not read the stored conversion \"%s\"", TextDatumGetCString(keys[1])),
				 errdetail("Another session removed it at the same moment."),
				 errhint("Try again.")));
	for (i = 0; i < RESULT_COLUMNS; i++)
		values[i] = artery_field(0, i + 1, &nulls[i]);
	return form_result(scope, values, nulls);
}
