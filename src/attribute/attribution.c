/*
 * attribution.c
 *		Conversions and their attribution: checking, searching, recording.
 *
 * Whoever brings a conversion (function, trigger, deal) fills a Conversion and
 * has it checked, run and stored here. Of two sessions that bring the same
 * conversion the second waits and then finds it stored.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "attribute/attribution.h"
#include "attribute/layered.h"
#include "attribute/posterior.h"
#include "capture/device.h"
#include "capture/fields.h"
#include "capture/fingerprint.h"
#include "capture/identity.h"
#include "capture/privacy.h"
#include "runtime/bulk.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"

static const TextField text_fields[] = {
	{CONVERSION_TENANT_ID, "tenant_id", ARTERY_MAX_ID, false},
	{CONVERSION_ID, "conversion_id", ARTERY_MAX_ID, false},
	{CONVERSION_TYPE, "conversion_type", ARTERY_MAX_ID, false},
	{CONVERSION_CLICK_ID, "click_id", ARTERY_MAX_ID, false},
	{CONVERSION_FBCLID, "fbclid", ARTERY_MAX_CLICK_REFERENCE, false},
	{CONVERSION_FINGERPRINT_HASH, "fingerprint_hash", ARTERY_MAX_ID, false},
	{CONVERSION_USER_AGENT, "user_agent", ARTERY_MAX_TEXT, true},
	{CONVERSION_TIMEZONE, "timezone", ARTERY_MAX_TEXT, false},
	{CONVERSION_DEVICE_TYPE, "device_type", ARTERY_MAX_TEXT, false},
	{CONVERSION_OS, "os", ARTERY_MAX_TEXT, false},
	{CONVERSION_BROWSER, "browser", ARTERY_MAX_TEXT, false},
	{CONVERSION_CRM_DEAL_ID, "crm_deal_id", ARTERY_MAX_ID, false},
	{CONVERSION_CRM_CONTACT_ID, "crm_contact_id", ARTERY_MAX_ID, false},
	{CONVERSION_CRM_STAGE, "crm_stage", ARTERY_MAX_ID, false},
};

static const DeviceColumns device_columns = {CONVERSION_USER_AGENT, CONVERSION_DEVICE_TYPE, CONVERSION_OS, CONVERSION_BROWSER,
CONVERSION_CLIENT_HINTS};

static const FingerprintColumns fingerprint_columns = {
	CONVERSION_SCREEN_WIDTH, CONVERSION_SCREEN_HEIGHT, CONVERSION_TIMEZONE, CONVERSION_TIMEZONE_OFFSET,
	CONVERSION_DEVICE_TYPE, CONVERSION_OS, CONVERSION_BROWSER, CONVERSION_FINGERPRINT_HASH
};

/* Fields of a log row after the number of the attempt. */
static const int log_fields[] = {
	CONVERSION_TENANT_ID, CONVERSION_ID, CONVERSION_LAYER_1, CONVERSION_LAYER_2, CONVERSION_LAYER_3,
	CONVERSION_ATTRIBUTION_METHOD, CONVERSION_ATTRIBUTION_CONFIDENCE, CONVERSION_SUCCESS, CONVERSION_CANDIDATES,
	CONVERSION_PROCESSING_TIME, CONVERSION_ATTRIBUTED_AT
};

#define LOG_FIELDS 11

StaticAssertDecl(lengthof(log_fields) == LOG_FIELDS, "a log row has as many fields as its statement");

#define CONVERSION_TYPES { \
	TEXTOID, TEXTOID, TEXTOID, NUMERICOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, INETOID, TEXTOID, \
	INT4OID, INT4OID, TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, BOOLOID, TEXTOID, TEXTOID, \
	TEXTOID, JSONBOID, BOOLOID, JSONBOID, BOOLOID, TEXTOID, TEXTOID, FLOAT8OID, FLOAT8OID, TEXTOID, TEXTOID, TEXTOID, \
	INT4OID, TEXTOID, TEXTOID, FLOAT8OID, FLOAT8OID, TIMESTAMPTZOID}

#define CONVERSION_COLUMN_NAMES \
	"tenant_id, conversion_id, conversion_type, conversion_value, conversion_timestamp, click_id, fbclid, " \
	"fingerprint_hash, ip_address, user_agent, screen_width, screen_height, timezone, timezone_offset, " \
	"device_type, os, browser, is_synthetic, crm_deal_id, crm_contact_id, crm_stage, raw_data, consent, client_hints, success, " \
	"attributed_click_id, attribution_method, attribution_confidence, attribution_window_hours, ad_id, " \
	"adset_id, campaign_id, candidates, reason, best_click_id, best_confidence, no_click_probability, " \
	"attributed_at"

/* Two statements are faster than one with a WITH that writes both rows. */
static ArteryStatement insert_conversion = {
	"INSERT INTO artery.conversion_tracking (" CONVERSION_COLUMN_NAMES ") "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, "
	"  $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38) ON CONFLICT DO NOTHING",
	CONVERSION_COLUMNS, CONVERSION_TYPES, NULL
};

#define INSERT_LOG \
	"INSERT INTO artery.attribution_performance_log (tenant_id, conversion_id, layer_1_result, layer_2_result, " \
	"  layer_3_result, final_method, final_confidence, success, candidates, processing_time_ms, logged_at, " \
	"  attempt_number) "

#define LOG_TYPES {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, FLOAT8OID, BOOLOID, INT4OID, FLOAT8OID, \
	TIMESTAMPTZOID}

/* The first attempt, of a conversion stored just now: there is no log of it yet (see conversion_after_delete). */
static ArteryStatement insert_first_log = {
	INSERT_LOG "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1)",
	LOG_FIELDS, LOG_TYPES, NULL
};

static ArteryStatement insert_next_log = {
	INSERT_LOG "SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, coalesce(max(l.attempt_number), 0) + 1 "
	"  FROM artery.attribution_performance_log l WHERE l.tenant_id = $1 AND l.conversion_id = $2",
	LOG_FIELDS, LOG_TYPES, NULL
};

/* Of many conversions at once; another session may have stored some of them meanwhile, others may be stored nowhere. */
static ArteryBulk bulk_log = {
	"attribution_performance_log",
	"INSERT INTO artery.attribution_performance_log AS g (tenant_id, conversion_id, attempt_number, layer_1_result, "
	"  layer_2_result, layer_3_result, final_method, final_confidence, success, candidates, processing_time_ms, logged_at) "
	"SELECT r.tenant_id, r.conversion_id, 1 + coalesce((SELECT max(l.attempt_number) "
	"         FROM artery.attribution_performance_log l "
	"        WHERE l.tenant_id = r.tenant_id AND l.conversion_id = r.conversion_id), 0), "
	"       r.layer_1_result, r.layer_2_result, r.layer_3_result, r.final_method, r.final_confidence, r.success, "
	"       r.candidates, r.processing_time_ms, r.logged_at FROM pg_catalog.unnest($1) r "
	" WHERE EXISTS (SELECT FROM artery.conversion_tracking c WHERE c.tenant_id = r.tenant_id AND c.conversion_id = r.conversion_id)",
	NULL, NULL
};

static ArteryStatement update_conversion = {
	"UPDATE artery.conversion_tracking c "
	"   SET conversion_type = $3, conversion_value = $4, conversion_timestamp = $5, click_id = $6, fbclid = $7, "
	"       fingerprint_hash = $8, ip_address = $9, user_agent = $10, screen_width = $11, screen_height = $12, "
	"       timezone = $13, timezone_offset = $14, device_type = $15, os = $16, browser = $17, "
	"       is_synthetic = $18, crm_deal_id = $19, crm_contact_id = $20, crm_stage = $21, raw_data = $22, consent = $23, client_hints = $24, "
	"       success = $25, attributed_click_id = $26, attribution_method = $27, attribution_confidence = $28, "
	"       attribution_window_hours = $29, ad_id = $30, adset_id = $31, campaign_id = $32, candidates = $33, "
	"       reason = $34, best_click_id = $35, best_confidence = $36, no_click_probability = $37, "
	"       attributed_at = $38 "
	" WHERE c.tenant_id = $1 AND c.conversion_id = $2 AND c.attribution_method = 'unattributed'",
	CONVERSION_COLUMNS, CONVERSION_TYPES, NULL
};

static ArteryStatement enqueue_decision = {
	"SELECT artery.enqueue_job($1, 'budget-optimization', "
	"  pg_catalog.jsonb_build_object('reason', 'high_value', 'conversion_id', $2), singleton_key => 'high_value')",
	2, {TEXTOID, TEXTOID}, NULL
};

static void check_id(const char *id);
static bool store(ArteryStatement *statement, Conversion *conversion);
static void forget_device(Conversion *conversion);
static void forget_erased(Conversion *conversion);
static bool has_traces(const Conversion *conversion);
static bool complete_traces(Conversion *conversion);
static void fill_results(Conversion *conversion, const Attribution *attribution);
static void set_text(Conversion *conversion, int field, const char *value);

void
artery_attribution_check(Conversion *conversion)
{
	Datum	   *values = conversion->values;
	bool	   *nulls = conversion->nulls;

	artery_fields_clean_texts(text_fields, lengthof(text_fields), values, nulls);
	artery_fields_require("tenant_id", nulls[CONVERSION_TENANT_ID]);
	conversion->tenant = artery_tenant_get(TextDatumGetCString(values[CONVERSION_TENANT_ID]));
	artery_fields_require("conversion_id", nulls[CONVERSION_ID]);
	check_id(TextDatumGetCString(values[CONVERSION_ID]));
	artery_fields_require("conversion_type", nulls[CONVERSION_TYPE]);

	artery_attribution_check_value(values[CONVERSION_VALUE], nulls[CONVERSION_VALUE]);
	artery_fields_clean_time("conversion_timestamp", &values[CONVERSION_TIMESTAMP], &nulls[CONVERSION_TIMESTAMP]);
	artery_fields_clean_address(&values[CONVERSION_IP_ADDRESS], &nulls[CONVERSION_IP_ADDRESS]);
	conversion->withheld = artery_fields_withheld(conversion->tenant, values[CONVERSION_CONSENT], nulls[CONVERSION_CONSENT]);
	if (conversion->withheld)
		forget_device(conversion);
	artery_fingerprint_fill(&fingerprint_columns, values, nulls);
	artery_device_fill(&device_columns, values, nulls);
	if (nulls[CONVERSION_IS_SYNTHETIC])
		values[CONVERSION_IS_SYNTHETIC] = BoolGetDatum(false);
	nulls[CONVERSION_IS_SYNTHETIC] = false;
}

void
artery_attribution_check_value(Datum datum, bool isnull)
{
	Numeric		value;

	if (isnull)
		return;
	value = DatumGetNumeric(datum);
	if (numeric_is_nan(value) || numeric_is_inf(value) ||
		DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(value), NumericGetDatum(int64_to_numeric(0)))))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("conversion_value %s is out of range",
						DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value)))),
				 errdetail("It must be a finite amount of 0 or more."),
				 errhint("Leave it NULL where there is none; a refund is not a conversion.")));
}

static void
check_id(const char *id)
{
	if (strncmp(id, ARTERY_DEAL_CONVERSION, strlen(ARTERY_DEAL_CONVERSION)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("conversion_id \"%s\" is reserved", id),
				 errdetail("Ids that begin with \"%s\" are those of deals' own attributions.", ARTERY_DEAL_CONVERSION),
				 errhint("Record a deal's stages with artery.record_stage(), or give another id and crm_deal_id.")));
}

void
artery_attribution_run(Conversion *conversion)
{
	Attribution attribution;
	bool		own_traces;
	instr_time	start;
	instr_time	duration;

	forget_erased(conversion);
	own_traces = has_traces(conversion);
	INSTR_TIME_SET_CURRENT(start);
	if (own_traces || !artery_search_inherit(conversion->values, conversion->nulls, &attribution))
	{
		artery_search_click(conversion->tenant, conversion->values, conversion->nulls, &attribution);
		if (!attribution.success && complete_traces(conversion))
			artery_search_click(conversion->tenant, conversion->values, conversion->nulls, &attribution);
	}
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);

	fill_results(conversion, &attribution);
	conversion->values[CONVERSION_PROCESSING_TIME] = Float8GetDatum(INSTR_TIME_GET_MILLISEC(duration));
	conversion->nulls[CONVERSION_PROCESSING_TIME] = false;
}

bool
artery_attribution_insert(Conversion *conversion)
{
	if (!store(&insert_conversion, conversion))
		return false;
	artery_attribution_log(conversion, true);
	artery_posterior_store(conversion->posterior, conversion->values, false);
	return true;
}

bool
artery_attribution_update(Conversion *conversion)
{
	if (!store(&update_conversion, conversion))
		return false;
	artery_attribution_log(conversion, false);
	artery_posterior_store(conversion->posterior, conversion->values, true);
	return true;
}

void
artery_attribution_log(const Conversion *conversion, bool is_first)
{
	Datum		values[LOG_FIELDS];
	int			i;

	for (i = 0; i < LOG_FIELDS; i++)
		values[i] = conversion->values[log_fields[i]];
	(void) artery_execute(is_first ? &insert_first_log : &insert_next_log, values, NULL, false, 0);
}

void
artery_attribution_log_later(const Conversion *conversion)
{
	Datum		values[LOG_FIELDS + 1];
	bool		nulls[LOG_FIELDS + 1] = {false};
	int			i;

	/* in the table, the number of the attempt comes third */
	for (i = 0; i < LOG_FIELDS; i++)
		values[i < 2 ? i : i + 1] = conversion->values[log_fields[i]];
	values[2] = Int32GetDatum(0);
	if (!artery_bulk_add(&bulk_log, values, nulls))
		artery_attribution_log(conversion, false);
}

void
artery_attribution_announce(const Conversion *conversion)
{
	const TenantSettings *settings = &conversion->tenant->settings;
	Datum		keys[2];

	if (conversion->nulls[CONVERSION_VALUE] || settings->high_value == NULL ||
		DatumGetFloat8(conversion->values[CONVERSION_ATTRIBUTION_CONFIDENCE]) < settings->high_value_confidence ||
		!DatumGetBool(DirectFunctionCall2(numeric_gt, conversion->values[CONVERSION_VALUE],
										  NumericGetDatum(settings->high_value))))
		return;
	keys[0] = conversion->values[CONVERSION_TENANT_ID];
	keys[1] = conversion->values[CONVERSION_ID];
	(void) artery_execute(&enqueue_decision, keys, NULL, false, 0);
}

/* Run a statement that writes the conversion; false if it wrote nothing. */
static bool
store(ArteryStatement *statement, Conversion *conversion)
{
	char		null_flags[CONVERSION_COLUMNS];
	int			i;

	for (i = 0; i < CONVERSION_COLUMNS; i++)
		null_flags[i] = conversion->nulls[i] ? 'n' : ' ';
	return artery_execute(statement, conversion->values, null_flags, false, 0) > 0;
}

static void
forget_device(Conversion *conversion)
{
	memset(conversion->nulls + CONVERSION_FINGERPRINT_HASH, true,
		   (CONVERSION_BROWSER - CONVERSION_FINGERPRINT_HASH + 1) * sizeof(bool));
	conversion->nulls[CONVERSION_CLIENT_HINTS] = true;
}

/* Of a person who was erased nothing is kept but that something happened, when, and what it was worth. */
static void
forget_erased(Conversion *conversion)
{
	Datum	   *values = conversion->values;
	bool	   *nulls = conversion->nulls;
	bool		contact_erased;

	artery_identity_lock(values[CONVERSION_TENANT_ID], values[CONVERSION_CRM_DEAL_ID], nulls[CONVERSION_CRM_DEAL_ID],
						 values[CONVERSION_CRM_CONTACT_ID], nulls[CONVERSION_CRM_CONTACT_ID]);
	contact_erased = !nulls[CONVERSION_CRM_CONTACT_ID] &&
		artery_privacy_is_erased(values[CONVERSION_TENANT_ID], "contact", values[CONVERSION_CRM_CONTACT_ID]);
	if (!contact_erased && (nulls[CONVERSION_CRM_DEAL_ID] || !nulls[CONVERSION_CRM_CONTACT_ID] ||
							!artery_privacy_is_erased(values[CONVERSION_TENANT_ID], "deal",
													  values[CONVERSION_CRM_DEAL_ID])))
		return;
	memset(nulls + CONVERSION_FBCLID, true, (CONVERSION_BROWSER - CONVERSION_FBCLID + 1) * sizeof(bool));
	nulls[CONVERSION_CRM_CONTACT_ID] = nulls[CONVERSION_RAW_DATA] = true;
}

/* Did the conversion bring anything to find its click by? */
static bool
has_traces(const Conversion *conversion)
{
	return !conversion->nulls[CONVERSION_CLICK_ID] || !conversion->nulls[CONVERSION_FBCLID] ||
		!conversion->nulls[CONVERSION_FINGERPRINT_HASH] || !conversion->nulls[CONVERSION_IP_ADDRESS];
}

/* Add what is known of its deal or contact; false if there is nothing to add. */
static bool
complete_traces(Conversion *conversion)
{
	static const TraceField leaders[] = {TRACE_CLICK_ID, TRACE_FBCLID, TRACE_FINGERPRINT_HASH, TRACE_IP_ADDRESS};
	Datum	   *values = conversion->values;
	bool	   *nulls = conversion->nulls;
	ArteryEvidence evidence;
	bool		added = false;
	int			i;

	if (nulls[CONVERSION_CRM_DEAL_ID] && nulls[CONVERSION_CRM_CONTACT_ID])
		return false;
	artery_identity_merge(&evidence, values[CONVERSION_TENANT_ID],
						  values[CONVERSION_CRM_DEAL_ID], nulls[CONVERSION_CRM_DEAL_ID],
						  values[CONVERSION_CRM_CONTACT_ID], nulls[CONVERSION_CRM_CONTACT_ID],
						  DatumGetTimestampTz(values[CONVERSION_TIMESTAMP]));
	if (!evidence.found)
		return false;
	if (conversion->withheld)	/* ids of the click only */
		memset(evidence.nulls + TRACE_FINGERPRINT_HASH, true, (TRACE_FIELDS - TRACE_FINGERPRINT_HASH) * sizeof(bool));
	for (i = 0; i < (int) lengthof(leaders); i++)
		added |= nulls[CONVERSION_CLICK_ID + leaders[i]] && !evidence.nulls[leaders[i]];
	for (i = 0; added && i < TRACE_FIELDS; i++)
	{
		if (!nulls[CONVERSION_CLICK_ID + i])
			continue;
		values[CONVERSION_CLICK_ID + i] = evidence.values[i];
		nulls[CONVERSION_CLICK_ID + i] = evidence.nulls[i];
	}
	return added;
}

static void
fill_results(Conversion *conversion, const Attribution *attribution)
{
	Datum	   *values = conversion->values;
	bool	   *nulls = conversion->nulls;
	const MatchedClick *best = &attribution->best;
	bool		success = attribution->success;
	TimestampTz at = DatumGetTimestampTz(values[CONVERSION_TIMESTAMP]);
	int			i;

	for (i = CONVERSION_SUCCESS; i < CONVERSION_FIELDS; i++)
		nulls[i] = false;
	values[CONVERSION_SUCCESS] = BoolGetDatum(success);
	values[CONVERSION_ATTRIBUTED_CLICK_ID] = values[CONVERSION_BEST_CLICK_ID] = best->click_id;
	nulls[CONVERSION_ATTRIBUTED_CLICK_ID] = !success || best->click_id_null;
	nulls[CONVERSION_BEST_CLICK_ID] = !best->found || best->click_id_null;
	set_text(conversion, CONVERSION_ATTRIBUTION_METHOD, attribution->method);
	values[CONVERSION_ATTRIBUTION_CONFIDENCE] = Float8GetDatum(success ? attribution->confidence : 0);
	nulls[CONVERSION_ATTRIBUTION_WINDOW_HOURS] = !success || best->at == DT_NOBEGIN;
	values[CONVERSION_ATTRIBUTION_WINDOW_HOURS] = nulls[CONVERSION_ATTRIBUTION_WINDOW_HOURS] ? (Datum) 0 :
		Float8GetDatum(artery_layered_hours(best->at, at));
	values[CONVERSION_AD_ID] = best->ad_id;
	nulls[CONVERSION_AD_ID] = !success || best->ad_null;
	values[CONVERSION_ADSET_ID] = best->adset_id;
	nulls[CONVERSION_ADSET_ID] = !success || best->adset_null;
	values[CONVERSION_CAMPAIGN_ID] = best->campaign_id;
	nulls[CONVERSION_CAMPAIGN_ID] = !success || best->campaign_null;
	values[CONVERSION_CANDIDATES] = Int32GetDatum(attribution->candidates);
	set_text(conversion, CONVERSION_REASON, conversion->withheld && !success ?
			 psprintf("%s Device data was left out: there is no consent.", attribution->reason) : attribution->reason);
	values[CONVERSION_BEST_CONFIDENCE] = Float8GetDatum(attribution->best_confidence);
	nulls[CONVERSION_BEST_CONFIDENCE] = !best->found;
	conversion->posterior = attribution->posterior;
	nulls[CONVERSION_NO_CLICK_PROBABILITY] = attribution->posterior == NULL;
	if (attribution->posterior != NULL)
		values[CONVERSION_NO_CLICK_PROBABILITY] =
			Float8GetDatum(attribution->posterior->by_id ? 0 : attribution->posterior->verdict.none);
	values[CONVERSION_ATTRIBUTED_AT] = TimestampTzGetDatum(artery_clock_now());
	for (i = 0; i < ATTRIBUTION_LAYERS; i++)
		set_text(conversion, CONVERSION_LAYER_1 + i, artery_search_layer_name(attribution->layers[i]));
}

static void
set_text(Conversion *conversion, int field, const char *value)
{
	conversion->values[field] = CStringGetTextDatum(value);
	conversion->nulls[field] = false;
}
