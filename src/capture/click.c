/*
 * click.c
 *		Taking in clicks: artery.track_click() and the trigger that gives INSERT
 *		and COPY the same effect.
 *
 * Both fill a row in the order of the table's columns and pass it through
 * prepare_click(), the only place that knows what a click must look like. The
 * function then writes it with one statement and sets tracked_at, so that the
 * trigger passes it by.
 */
#include "artery.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "capture/click.h"
#include "capture/click_key.h"
#include "capture/device.h"
#include "capture/fields.h"
#include "capture/fingerprint.h"
#include "capture/late_click.h"
#include "capture/salt.h"
#include "capture/sighting.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "tenant/tenant.h"

PG_FUNCTION_INFO_V1(artery_fingerprint_key);
PG_FUNCTION_INFO_V1(artery_track_click);
PG_FUNCTION_INFO_V1(artery_click_before_insert);

static const TextField text_fields[] = {
	{CLICK_TENANT_ID, "tenant_id", ARTERY_MAX_ID, false},
	{CLICK_CLICK_ID, "click_id", ARTERY_MAX_ID, false},
	{CLICK_CAMPAIGN_ID, "campaign_id", ARTERY_MAX_ID, false},
	{CLICK_ADSET_ID, "adset_id", ARTERY_MAX_ID, false},
	{CLICK_AD_ID, "ad_id", ARTERY_MAX_ID, false},
	{CLICK_FBCLID, "fbclid", ARTERY_MAX_CLICK_REFERENCE, false},
	{CLICK_GCLID, "gclid", ARTERY_MAX_CLICK_REFERENCE, false},
	{CLICK_FBC, "fbc", ARTERY_MAX_CLICK_REFERENCE, false},
	{CLICK_FBP, "fbp", ARTERY_MAX_CLICK_REFERENCE, false},
	{CLICK_USER_AGENT, "user_agent", ARTERY_MAX_TEXT, true},
	{CLICK_DEVICE_TYPE, "device_type", ARTERY_MAX_TEXT, false},
	{CLICK_OS, "os", ARTERY_MAX_TEXT, false},
	{CLICK_BROWSER, "browser", ARTERY_MAX_TEXT, false},
	{CLICK_TIMEZONE, "timezone", ARTERY_MAX_TEXT, false},
	{CLICK_FINGERPRINT_HASH, "fingerprint_hash", ARTERY_MAX_ID, false},
	{CLICK_LANDING_PAGE_URL, "landing_page_url", ARTERY_MAX_TEXT, false},
	{CLICK_REFERRER_URL, "referrer_url", ARTERY_MAX_TEXT, false},
	{CLICK_UTM_SOURCE, "utm_source", ARTERY_MAX_TEXT, false},
	{CLICK_UTM_MEDIUM, "utm_medium", ARTERY_MAX_TEXT, false},
	{CLICK_UTM_CAMPAIGN, "utm_campaign", ARTERY_MAX_TEXT, false},
	{CLICK_UTM_CONTENT, "utm_content", ARTERY_MAX_TEXT, false},
	{CLICK_UTM_TERM, "utm_term", ARTERY_MAX_TEXT, false},
};

static const DeviceColumns device_columns = {CLICK_USER_AGENT, CLICK_DEVICE_TYPE, CLICK_OS, CLICK_BROWSER,
CLICK_CLIENT_HINTS};

static const FingerprintColumns fingerprint_columns = {
	CLICK_SCREEN_WIDTH, CLICK_SCREEN_HEIGHT, CLICK_TIMEZONE, CLICK_TIMEZONE_OFFSET,
	CLICK_DEVICE_TYPE, CLICK_OS, CLICK_BROWSER, CLICK_FINGERPRINT_HASH
};

static const SightingColumns sighting_columns = {
	CLICK_IP_ADDRESS, CLICK_USER_AGENT, CLICK_OS, CLICK_BROWSER, CLICK_SCREEN_WIDTH, CLICK_SCREEN_HEIGHT,
	CLICK_TIMEZONE, CLICK_TIMEZONE_OFFSET, CLICK_FINGERPRINT_HASH
};

#define INSERT_CLICK \
	"INSERT INTO artery.click_tracking (tenant_id, click_id, campaign_id, adset_id, ad_id, " \
	"  fbclid, gclid, fbc, fbp, ip_address, user_agent, device_type, os, browser, " \
	"  screen_width, screen_height, timezone, timezone_offset, fingerprint_hash, " \
	"  landing_page_url, referrer_url, utm_source, utm_medium, utm_campaign, utm_content, utm_term, " \
	"  click_timestamp, consent, client_hints, tracked_at, sighting, hardware_key, agent_key, fingerprint_key) " \
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, " \
	"  $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34)"

#define CLICK_TYPES { \
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INETOID, \
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, INT4OID, TEXTOID, INT4OID, TEXTOID, TEXTOID, \
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, BOOLOID, JSONBOID, TIMESTAMPTZOID, \
	INT2OID, INT8OID, INT8OID, INT8OID}

/* An id made here cannot exist yet, and not to look is cheaper. */
static ArteryStatement insert_new_click = {INSERT_CLICK, CLICK_COLUMNS, CLICK_TYPES, NULL};
/* In the same partition may be one that brought tracked_at, which has no key. */
static ArteryStatement insert_click = {INSERT_CLICK " ON CONFLICT DO NOTHING", CLICK_COLUMNS, CLICK_TYPES, NULL};

typedef struct Insertion
{
	ArteryStatement *statement;
	Datum	   *values;
	char		null_flags[CLICK_COLUMNS];
} Insertion;

static bool prepare_click(Datum *values, bool *nulls);
static void forget_device(bool *nulls);
static void fill_keys(const ArteryTenant *tenant, Datum *values, bool *nulls);
static void store(Datum *values, const bool *nulls, bool is_new);
static void insert(void *argument);
static bool take_id(Datum *values);
static bool is_news(const Datum *values);
static void note(const Datum *values);

/* artery.fingerprint_key(tenant_id, fingerprint_hash) */
Datum
artery_fingerprint_key(PG_FUNCTION_ARGS)
{
	const ArteryTenant *tenant = artery_tenant_get(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	PG_RETURN_INT64(artery_salt_seal(tenant->salt, artery_sighting_hash_key(PG_GETARG_DATUM(1))));
}

/* artery.track_click(tenant_id, campaign_id, ad_id, ...) -> click_id */
Datum
artery_track_click(PG_FUNCTION_ARGS)
{
	/* the function's order begins with tenant, campaign, ad, click, ad set */
	static const ClickColumn first_columns[] = {CLICK_TENANT_ID, CLICK_CAMPAIGN_ID, CLICK_AD_ID,
	CLICK_CLICK_ID, CLICK_ADSET_ID};
	ArteryScope scope;
	Datum		values[CLICK_COLUMNS];
	bool		nulls[CLICK_COLUMNS];
	bool		is_new;
	int			i;

	Assert(PG_NARGS() == CLICK_TRACKED_AT);
	for (i = 0; i < CLICK_TRACKED_AT; i++)
	{
		int			column = i < (int) lengthof(first_columns) ? (int) first_columns[i] : i;

		values[column] = PG_GETARG_DATUM(i);
		nulls[column] = PG_ARGISNULL(i);
	}
	is_new = prepare_click(values, nulls);
	artery_scope_enter(&scope);
	if (is_new || take_id(values))
	{
		if (is_news(values))
			note(values);
		store(values, nulls, is_new);
	}
	artery_scope_leave(&scope);
	PG_RETURN_DATUM(values[CLICK_CLICK_ID]);
}

/*
 * Before a click is inserted. Rows that bring tracked_at, from track_click or a
 * restore, pass untouched (asked here: a WHEN of the trigger is prepared anew for
 * every statement). A click that is there already is skipped; rows of the same
 * command count too. A row without a time has come to the partition for other
 * times and may not leave it: it is stored by a statement of its own.
 */
Datum
artery_click_before_insert(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	descriptor;
	Datum	   *values;
	bool	   *nulls;
	ArteryScope scope;
	bool		is_new;
	bool		is_timed;
	bool		is_taken = false;
	bool		noting;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		elog(ERROR, "artery.click_before_insert: not called before an insert");
	descriptor = RelationGetDescr(trigger->tg_relation);
	if (descriptor->natts < CLICK_COLUMNS)
		elog(ERROR, "click_tracking has %d columns", descriptor->natts);
	if (!heap_attisnull(trigger->tg_trigtuple, CLICK_TRACKED_AT + 1, descriptor))
		return PointerGetDatum(trigger->tg_trigtuple);

	values = palloc(descriptor->natts * sizeof(Datum));
	nulls = palloc(descriptor->natts * sizeof(bool));
	heap_deform_tuple(trigger->tg_trigtuple, descriptor, values, nulls);
	is_timed = !nulls[CLICK_CLICK_TIMESTAMP];
	is_new = prepare_click(values, nulls);
	noting = is_news(values);
	if (!is_new || noting)
	{
		artery_scope_enter_brief(&scope);
		if (!is_new)
			is_taken = !take_id(values);
		if (noting && !is_taken)
			note(values);
		artery_scope_leave(&scope);
		if (is_taken)
			return PointerGetDatum(NULL);
	}
	if (is_timed)
		return PointerGetDatum(heap_form_tuple(descriptor, values, nulls));
	artery_scope_enter(&scope);
	store(values, nulls, is_new);
	artery_scope_leave(&scope);
	return PointerGetDatum(NULL);
}

/*
 * Check a click and complete it. Returns true if its id was made here.
 */
static bool
prepare_click(Datum *values, bool *nulls)
{
	const ArteryTenant *tenant;
	bool		is_new;

	artery_fields_clean_texts(text_fields, lengthof(text_fields), values, nulls);
	artery_fields_require("tenant_id", nulls[CLICK_TENANT_ID]);
	tenant = artery_tenant_get(TextDatumGetCString(values[CLICK_TENANT_ID]));

	artery_fields_clean_time("click_timestamp", &values[CLICK_CLICK_TIMESTAMP], &nulls[CLICK_CLICK_TIMESTAMP]);
	artery_fields_clean_address(&values[CLICK_IP_ADDRESS], &nulls[CLICK_IP_ADDRESS]);
	if (artery_fields_withheld(tenant, values[CLICK_CONSENT], nulls[CLICK_CONSENT]))
		forget_device(nulls);
	artery_fields_derive_fbclid(values[CLICK_FBC], nulls[CLICK_FBC], &values[CLICK_FBCLID], &nulls[CLICK_FBCLID]);
	artery_fingerprint_fill(&fingerprint_columns, values, nulls);
	artery_device_fill(&device_columns, values, nulls);

	is_new = nulls[CLICK_CLICK_ID];
	if (is_new)
		values[CLICK_CLICK_ID] = PointerGetDatum(artery_click_key_make(DatumGetTimestampTz(values[CLICK_CLICK_TIMESTAMP])));
	nulls[CLICK_CLICK_ID] = false;
	fill_keys(tenant, values, nulls);

	/*
	 * Whoever counts new clicks goes by tracked_at and by transaction ids: the
	 * id comes first, so that no click is older than its transaction's id.
	 */
	(void) GetTopTransactionId();
	values[CLICK_TRACKED_AT] = TimestampTzGetDatum(artery_clock_moment());
	nulls[CLICK_TRACKED_AT] = false;
	return is_new;
}

/*
 * Without consent nothing is kept that tells one device from another, nor what
 * a cookie said; ids that the URL brought may stay.
 */
static void
forget_device(bool *nulls)
{
	int			column;

	for (column = CLICK_FBC; column <= CLICK_FINGERPRINT_HASH; column++)
		nulls[column] = true;
	nulls[CLICK_CLIENT_HINTS] = true;
}

/* What the calibrated model knows the click by. */
static void
fill_keys(const ArteryTenant *tenant, Datum *values, bool *nulls)
{
	Sighting	sighting;

	artery_sighting_read(&sighting_columns, values, nulls, &sighting);
	values[CLICK_SIGHTING] = Int16GetDatum(artery_sighting_code(&sighting));
	nulls[CLICK_SIGHTING] = false;
	values[CLICK_HARDWARE_KEY] = Int64GetDatum(artery_salt_seal(tenant->salt, sighting.hardware));
	nulls[CLICK_HARDWARE_KEY] = sighting.hardware == 0;
	values[CLICK_AGENT_KEY] = Int64GetDatum(artery_salt_seal(tenant->salt, sighting.agent));
	nulls[CLICK_AGENT_KEY] = sighting.agent == 0;
	values[CLICK_FINGERPRINT_KEY] = Int64GetDatum(artery_salt_seal(tenant->salt, sighting.hash));
	nulls[CLICK_FINGERPRINT_KEY] = sighting.hash == 0;
}

/*
 * A click of another day may have no partition yet, and wait for one that is
 * being made: then it must be sent there once more.
 */
static void
store(Datum *values, const bool *nulls, bool is_new)
{
	TimestampTz at = DatumGetTimestampTz(values[CLICK_CLICK_TIMESTAMP]);
	TimestampTz now = artery_clock_now();
	Insertion	insertion = {.statement = is_new ? &insert_new_click : &insert_click,.values = values};
	ErrorData  *error;
	int			i;

	for (i = 0; i < CLICK_COLUMNS; i++)
		insertion.null_flags[i] = nulls[i] ? 'n' : ' ';
	if (at > now - USECS_PER_DAY && at < now + USECS_PER_DAY)
		insert(&insertion);
	else if (!artery_attempt(insert, &insertion, &error))
	{
		if (error->sqlerrcode != ERRCODE_CHECK_VIOLATION)
			ReThrowError(error);
		insert(&insertion);
	}
}

static void
insert(void *argument)
{
	Insertion  *insertion = argument;

	(void) artery_execute(insertion->statement, insertion->values, insertion->null_flags, false, 0);
}

static bool
take_id(Datum *values)
{
	return artery_click_key_take(values[CLICK_TENANT_ID], values[CLICK_CLICK_ID], values[CLICK_CLICK_TIMESTAMP]);
}

/* Is it late, and the first of its transaction that is? */
static bool
is_news(const Datum *values)
{
	return artery_late_click_is_news(values[CLICK_TENANT_ID], DatumGetTimestampTz(values[CLICK_CLICK_TIMESTAMP]),
									 DatumGetTimestampTz(values[CLICK_TRACKED_AT]));
}

static void
note(const Datum *values)
{
	artery_late_click_note(values[CLICK_TENANT_ID], DatumGetTimestampTz(values[CLICK_TRACKED_AT]));
}
