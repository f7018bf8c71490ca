/*
 * identity.c
 *		What landing pages knew of a contact or deal: storing and merging it.
 *
 * Evidence and the deal it belongs to may arrive at the same moment in two
 * sessions, each not seeing the other's row. So identify() holds an advisory
 * lock exclusively while it stores, and whoever attributes a deal holds it
 * shared: one of the two sees the other. The locks are few (buckets), so that a
 * bulk load of deals does not fill the lock table; and identify() waits for one
 * only, so that it is part of no deadlock.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/formatting.h"
#include "utils/timestamp.h"

#include "capture/device.h"
#include "capture/fields.h"
#include "capture/fingerprint.h"
#include "capture/identity.h"
#include "capture/privacy.h"
#include "runtime/dbtx.h"
#include "tenant/tenant.h"

#define LOCK_CLASS 0x41727479	/* "Arty": first key of the advisory locks */
#define LOCK_BUCKETS 1024

PG_FUNCTION_INFO_V1(artery_identify);
PG_FUNCTION_INFO_V1(artery_lock_identities);

/* Arguments of artery.identify(), in order. */
typedef enum IdentifyArgument
{
	IDENTIFY_TENANT_ID,
	IDENTIFY_CRM_CONTACT_ID,
	IDENTIFY_EMAIL_HASH,
	IDENTIFY_CRM_DEAL_ID,
	IDENTIFY_CLICK_ID,
	IDENTIFY_FBCLID,
	IDENTIFY_FINGERPRINT_HASH,
	IDENTIFY_IP_ADDRESS,
	IDENTIFY_USER_AGENT,
	IDENTIFY_SEEN_AT,
	IDENTIFY_SCREEN_WIDTH,
	IDENTIFY_SCREEN_HEIGHT,
	IDENTIFY_TIMEZONE,
	IDENTIFY_TIMEZONE_OFFSET,
	IDENTIFY_DEVICE_TYPE,
	IDENTIFY_OS,
	IDENTIFY_BROWSER,
	IDENTIFY_CONSENT,
	IDENTIFY_CLIENT_HINTS,
	IDENTIFY_ARGUMENTS
} IdentifyArgument;

static const TextField text_fields[] = {
	{IDENTIFY_TENANT_ID, "tenant_id", ARTERY_MAX_ID, false},
	{IDENTIFY_CRM_CONTACT_ID, "crm_contact_id", ARTERY_MAX_ID, false},
	{IDENTIFY_EMAIL_HASH, "email_hash", ARTERY_MAX_ID, false},
	{IDENTIFY_CRM_DEAL_ID, "crm_deal_id", ARTERY_MAX_ID, false},
	{IDENTIFY_CLICK_ID, "click_id", ARTERY_MAX_ID, false},
	{IDENTIFY_FBCLID, "fbclid", ARTERY_MAX_CLICK_REFERENCE, false},
	{IDENTIFY_FINGERPRINT_HASH, "fingerprint_hash", ARTERY_MAX_ID, false},
	{IDENTIFY_USER_AGENT, "user_agent", ARTERY_MAX_TEXT, true},
	{IDENTIFY_TIMEZONE, "timezone", ARTERY_MAX_TEXT, false},
	{IDENTIFY_DEVICE_TYPE, "device_type", ARTERY_MAX_TEXT, false},
	{IDENTIFY_OS, "os", ARTERY_MAX_TEXT, false},
	{IDENTIFY_BROWSER, "browser", ARTERY_MAX_TEXT, false},
};

static const DeviceColumns device_columns = {IDENTIFY_USER_AGENT, IDENTIFY_DEVICE_TYPE, IDENTIFY_OS, IDENTIFY_BROWSER,
IDENTIFY_CLIENT_HINTS};

static const FingerprintColumns fingerprint_columns = {
	IDENTIFY_SCREEN_WIDTH, IDENTIFY_SCREEN_HEIGHT, IDENTIFY_TIMEZONE, IDENTIFY_TIMEZONE_OFFSET,
	IDENTIFY_DEVICE_TYPE, IDENTIFY_OS, IDENTIFY_BROWSER, IDENTIFY_FINGERPRINT_HASH
};

static ArteryStatement insert_evidence = {
	"INSERT INTO artery.contact_evidence (tenant_id, crm_contact_id, email_hash, crm_deal_id, "
	"  click_id, fbclid, fingerprint_hash, ip_address, user_agent, seen_at, "
	"  screen_width, screen_height, timezone, timezone_offset, device_type, os, browser, consent) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) "
	"RETURNING evidence_id",
	IDENTIFY_CLIENT_HINTS,
	{TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INETOID, TEXTOID, TIMESTAMPTZOID,
	INT4OID, INT4OID, TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, BOOLOID}, NULL
};

/*
 * A deal whose row somebody else has locked is being attributed there, and
 * finds the evidence because of the advisory lock. Deals are looked up one by one,
 * in the order of their ids; '' keeps the index of unattributed deals out of it, which
 * for a plan made while there are few is as good as the key.
 */
static ArteryStatement attribute_deals = {
	"SELECT artery.attribute_deal(d.tenant_id, d.deal_id) "
	"  FROM (SELECT $2 AS deal_id "
	"        UNION SELECT x.deal_id FROM artery.deal x WHERE x.tenant_id = $1 AND x.crm_contact_id = $3 "
	"        UNION SELECT x.deal_id FROM artery.contact_evidence e "
	"                JOIN artery.deal x ON x.tenant_id = $1 AND x.crm_contact_id = e.crm_contact_id "
	"               WHERE e.tenant_id = $1 AND e.email_hash = $4 "
	"        ORDER BY deal_id) k "
	" CROSS JOIN LATERAL (SELECT l.tenant_id, l.deal_id FROM artery.deal l "
	"         WHERE l.tenant_id = $1 AND l.deal_id = k.deal_id AND l.attribution_method || '' = 'unattributed' "
	"           FOR NO KEY UPDATE SKIP LOCKED) d",
	4, {TEXTOID, TEXTOID, TEXTOID, TEXTOID}, NULL
};

static ArteryStatement select_evidence = {
	"SELECT k.click_id, k.fbclid, k.fingerprint_hash, k.ip_address, k.user_agent, k.screen_width, "
	"       k.screen_height, k.timezone, k.timezone_offset, k.device_type, k.os, k.browser, k.seen_at "
	"  FROM (SELECT 1 AS distance, e.* FROM artery.contact_evidence e "
	"         WHERE e.tenant_id = $1 AND e.crm_deal_id = $2 "
	"        UNION ALL "
	"        SELECT 2, e.* FROM artery.contact_evidence e "
	"         WHERE e.tenant_id = $1 AND e.crm_contact_id = coalesce($3, ( "
	"               SELECT x.crm_contact_id FROM artery.contact_evidence x "
	"                WHERE x.tenant_id = $1 AND x.crm_deal_id = $2 AND x.crm_contact_id IS NOT NULL "
	"                ORDER BY x.seen_at DESC LIMIT 1)) "
	"        UNION ALL "
	"        SELECT 3, e.* FROM artery.contact_evidence e "
	"         WHERE e.tenant_id = $1 AND e.crm_contact_id IS NULL AND e.crm_deal_id IS NULL "
	"           AND e.email_hash = ANY (ARRAY(SELECT x.email_hash FROM artery.contact_evidence x "
	"                 WHERE x.tenant_id = $1 AND (x.crm_deal_id = $2 OR x.crm_contact_id = $3)))) k "
	" ORDER BY k.distance, k.seen_at > $4, k.seen_at DESC, k.evidence_id DESC LIMIT 50",
	4, {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};

static ArteryStatement select_survivor = {
	"SELECT m.merged_into FROM artery.merged_contact m WHERE m.tenant_id = $1 AND m.crm_contact_id = $2",
	2, {TEXTOID, TEXTOID}, NULL
};

static void check_identity(Datum *values, bool *nulls);
static void follow_merge(Datum *values, const bool *nulls);
static int32 lock_bucket(char kind, Datum tenant_id, Datum id);
static void lock_exclusively(const Datum *values, const bool *nulls);
static void lock_all(char kind, Datum tenant_id, Datum ids);
static bool is_erased(const Datum *values, const bool *nulls);
static void take_fields(ArteryEvidence *evidence, uint64 row, TraceField leader, const TraceField *followers,
						int count);

/* artery.identify(tenant_id, crm_contact_id, ...) -> evidence id */
Datum
artery_identify(PG_FUNCTION_ARGS)
{
	ArteryScope scope;
	Datum		values[IDENTIFY_ARGUMENTS];
	bool		nulls[IDENTIFY_ARGUMENTS];
	char		null_flags[IDENTIFY_ARGUMENTS];
	Datum		keys[4];
	char		key_nulls[4];
	int64		evidence_id;
	int			i;

	Assert(PG_NARGS() == IDENTIFY_ARGUMENTS);
	for (i = 0; i < IDENTIFY_ARGUMENTS; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i);
	}
	check_identity(values, nulls);
	for (i = 0; i < IDENTIFY_ARGUMENTS; i++)
		null_flags[i] = nulls[i] ? 'n' : ' ';

	artery_scope_enter(&scope);
	follow_merge(values, nulls);
	lock_exclusively(values, nulls);
	follow_merge(values, nulls);	/* we may have waited for one */
	if (is_erased(values, nulls))
	{
		artery_scope_leave(&scope);
		PG_RETURN_NULL();
	}
	(void) artery_execute(&insert_evidence, values, null_flags, false, 0);
	evidence_id = artery_field_int64(0, 1);

	keys[0] = values[IDENTIFY_TENANT_ID];
	keys[1] = values[IDENTIFY_CRM_DEAL_ID];
	keys[2] = values[IDENTIFY_CRM_CONTACT_ID];
	keys[3] = values[IDENTIFY_EMAIL_HASH];
	key_nulls[0] = ' ';
	key_nulls[1] = null_flags[IDENTIFY_CRM_DEAL_ID];
	key_nulls[2] = null_flags[IDENTIFY_CRM_CONTACT_ID];
	key_nulls[3] = null_flags[IDENTIFY_EMAIL_HASH];
	(void) artery_execute(&attribute_deals, keys, key_nulls, false, 0);
	artery_scope_leave(&scope);
	PG_RETURN_INT64(evidence_id);
}

Datum
artery_identity_survivor(Datum tenant_id, Datum contact_id)
{
	Datum		values[2] = {tenant_id, contact_id};

	/* not read-only: a merge that was waited for must be seen */
	if (artery_execute(&select_survivor, values, NULL, false, 1) == 0)
		return contact_id;
	return CStringGetTextDatum(artery_field_text(0, 1));
}

static void
follow_merge(Datum *values, const bool *nulls)
{
	if (!nulls[IDENTIFY_CRM_CONTACT_ID])
		values[IDENTIFY_CRM_CONTACT_ID] = artery_identity_survivor(values[IDENTIFY_TENANT_ID],
																   values[IDENTIFY_CRM_CONTACT_ID]);
}

static void
check_identity(Datum *values, bool *nulls)
{
	const ArteryTenant *tenant;

	artery_fields_clean_texts(text_fields, lengthof(text_fields), values, nulls);
	artery_fields_require("tenant_id", nulls[IDENTIFY_TENANT_ID]);
	tenant = artery_tenant_get(TextDatumGetCString(values[IDENTIFY_TENANT_ID]));
	if (nulls[IDENTIFY_CRM_CONTACT_ID] && nulls[IDENTIFY_EMAIL_HASH] && nulls[IDENTIFY_CRM_DEAL_ID])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("evidence must name a contact, an e-mail hash or a deal"),
				 errhint("Give crm_contact_id, email_hash or crm_deal_id.")));
	if (!nulls[IDENTIFY_EMAIL_HASH])
	{
		char	   *hash = TextDatumGetCString(values[IDENTIFY_EMAIL_HASH]);

		if (strchr(hash, '@') != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("email_hash is an e-mail address, not its hash"),
					 errhint("Give the SHA-256 of the address in lower case, as hexadecimal digits.")));
		values[IDENTIFY_EMAIL_HASH] = CStringGetTextDatum(asc_tolower(hash, strlen(hash)));
	}
	artery_fields_clean_time("seen_at", &values[IDENTIFY_SEEN_AT], &nulls[IDENTIFY_SEEN_AT]);
	artery_fields_clean_address(&values[IDENTIFY_IP_ADDRESS], &nulls[IDENTIFY_IP_ADDRESS]);
	if (artery_fields_withheld(tenant, values[IDENTIFY_CONSENT], nulls[IDENTIFY_CONSENT]))
	{
		nulls[IDENTIFY_FINGERPRINT_HASH] = nulls[IDENTIFY_IP_ADDRESS] = nulls[IDENTIFY_USER_AGENT] = true;
		memset(nulls + IDENTIFY_SCREEN_WIDTH, true, (IDENTIFY_BROWSER - IDENTIFY_SCREEN_WIDTH + 1) * sizeof(bool));
		nulls[IDENTIFY_CLIENT_HINTS] = true;
	}
	artery_fingerprint_fill(&fingerprint_columns, values, nulls);
	artery_device_fill(&device_columns, values, nulls);
}

static int32
lock_bucket(char kind, Datum tenant_id, Datum id)
{
	uint32		hash = hash_combine(hash_bytes((unsigned char *) VARDATA_ANY(DatumGetPointer(tenant_id)),
											   VARSIZE_ANY_EXHDR(DatumGetPointer(tenant_id))),
									hash_bytes((unsigned char *) VARDATA_ANY(DatumGetPointer(id)),
											   VARSIZE_ANY_EXHDR(DatumGetPointer(id))));

	return (int32) ((hash ^ (uint32) kind * 0x9e3779b9) % LOCK_BUCKETS);
}

/* Wait for the lock of the contact, or else the deal, or else the address; take the deal's if it is free. */
static void
lock_exclusively(const Datum *values, const bool *nulls)
{
	bool		waited = false;

	if (!nulls[IDENTIFY_CRM_CONTACT_ID])
	{
		(void) DirectFunctionCall2(pg_advisory_xact_lock_int4, Int32GetDatum(LOCK_CLASS),
								   Int32GetDatum(lock_bucket('c', values[IDENTIFY_TENANT_ID],
															 values[IDENTIFY_CRM_CONTACT_ID])));
		waited = true;
	}
	if (!nulls[IDENTIFY_CRM_DEAL_ID])
		(void) DirectFunctionCall2(waited ? pg_try_advisory_xact_lock_int4 : pg_advisory_xact_lock_int4,
								   Int32GetDatum(LOCK_CLASS),
								   Int32GetDatum(lock_bucket('d', values[IDENTIFY_TENANT_ID],
															 values[IDENTIFY_CRM_DEAL_ID])));
	else if (!waited)
		(void) DirectFunctionCall2(pg_advisory_xact_lock_int4, Int32GetDatum(LOCK_CLASS),
								   Int32GetDatum(lock_bucket('e', values[IDENTIFY_TENANT_ID],
															 values[IDENTIFY_EMAIL_HASH])));
}

/* Whoever was erased comes in never again. */
static bool
is_erased(const Datum *values, const bool *nulls)
{
	static const struct
	{
		const char *kind;
		IdentifyArgument argument;
	}			ids[] = {{"contact", IDENTIFY_CRM_CONTACT_ID}, {"email", IDENTIFY_EMAIL_HASH},
	{"deal", IDENTIFY_CRM_DEAL_ID}};
	int			i;

	for (i = 0; i < (int) lengthof(ids); i++)
		if (!nulls[ids[i].argument] &&
			artery_privacy_is_erased(values[IDENTIFY_TENANT_ID], ids[i].kind, values[ids[i].argument]))
			return true;
	return false;
}

/* artery.lock_identities(tenant_id, contacts, deals, emails) */
Datum
artery_lock_identities(PG_FUNCTION_ARGS)
{
	static const char kinds[] = {'c', 'd', 'e'};
	Datum		tenant_id;
	int			i;

	artery_fields_require("tenant_id", PG_ARGISNULL(0));
	tenant_id = PointerGetDatum(PG_GETARG_TEXT_PP(0));
	(void) artery_tenant_get(TextDatumGetCString(tenant_id));
	for (i = 0; i < (int) lengthof(kinds); i++)
		if (!PG_ARGISNULL(1 + i))
			lock_all(kinds[i], tenant_id, PG_GETARG_DATUM(1 + i));
	PG_RETURN_VOID();
}

static void
lock_all(char kind, Datum tenant_id, Datum ids)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	int			i;

	deconstruct_array(DatumGetArrayTypeP(ids), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (i = 0; i < count; i++)
		if (!nulls[i])
			(void) DirectFunctionCall2(pg_advisory_xact_lock_int4, Int32GetDatum(LOCK_CLASS),
									   Int32GetDatum(lock_bucket(kind, tenant_id,
																 PointerGetDatum(DatumGetTextPP(elements[i])))));
}

void
artery_identity_lock(Datum tenant_id, Datum deal_id, bool deal_null, Datum contact_id, bool contact_null)
{
	if (!contact_null)
		(void) DirectFunctionCall2(pg_advisory_xact_lock_shared_int4, Int32GetDatum(LOCK_CLASS),
								   Int32GetDatum(lock_bucket('c', tenant_id, contact_id)));
	if (!deal_null)
		(void) DirectFunctionCall2(pg_advisory_xact_lock_shared_int4, Int32GetDatum(LOCK_CLASS),
								   Int32GetDatum(lock_bucket('d', tenant_id, deal_id)));
}

void
artery_identity_merge(ArteryEvidence *evidence, Datum tenant_id, Datum deal_id, bool deal_null,
					  Datum contact_id, bool contact_null, TimestampTz at)
{
	/* fields that mean something only together come from one sighting */
	static const TraceField with_address[] = {TRACE_USER_AGENT};
	static const TraceField with_fingerprint[] = {TRACE_SCREEN_WIDTH, TRACE_SCREEN_HEIGHT, TRACE_TIMEZONE,
	TRACE_TIMEZONE_OFFSET, TRACE_DEVICE_TYPE, TRACE_OS, TRACE_BROWSER};
	Datum		keys[4];
	char		nulls[4];
	uint64		rows;
	uint64		row;

	keys[0] = tenant_id;
	keys[1] = deal_id;
	keys[2] = contact_null ? contact_id : artery_identity_survivor(tenant_id, contact_id);
	keys[3] = TimestampTzGetDatum(at);
	nulls[0] = nulls[3] = ' ';
	nulls[1] = deal_null ? 'n' : ' ';
	nulls[2] = contact_null ? 'n' : ' ';
	rows = artery_execute(&select_evidence, keys, nulls, false, 0);

	memset(evidence, 0, sizeof(ArteryEvidence));
	memset(evidence->nulls, true, sizeof(evidence->nulls));
	evidence->found = rows > 0;
	if (rows > 0)
		evidence->seen_at = artery_field_time(0, TRACE_FIELDS + 1);
	for (row = 0; row < rows; row++)
	{
		take_fields(evidence, row, TRACE_CLICK_ID, NULL, 0);
		take_fields(evidence, row, TRACE_FBCLID, NULL, 0);
		take_fields(evidence, row, TRACE_FINGERPRINT_HASH, with_fingerprint, lengthof(with_fingerprint));
		take_fields(evidence, row, TRACE_IP_ADDRESS, with_address, lengthof(with_address));
	}
}

/* Where the leading field is still unknown and the row has it, take it and what belongs to it. */
static void
take_fields(ArteryEvidence *evidence, uint64 row, TraceField leader, const TraceField *followers, int count)
{
	int			i;

	if (!evidence->nulls[leader] || artery_field_null(row, leader + 1))
		return;
	evidence->values[leader] = artery_field(row, leader + 1, &evidence->nulls[leader]);
	for (i = 0; i < count; i++)
		evidence->values[followers[i]] = artery_field(row, followers[i] + 1, &evidence->nulls[followers[i]]);
}
