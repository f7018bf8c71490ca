/*
 * tenant.c
 *		A tenant as C sees it: a cache of settings and stages, the check of who
 *		may use it, and its secrets.
 *
 * Statement triggers on the tables behind the cache send a relcache
 * invalidation; whatever backend receives one reads the tenant again at the
 * next use. An entry that was replaced lives on until the end of the
 * transaction, so that nobody holds a dangling pointer.
 */
#include "artery.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/shmem.h"
#include "tenant/tenant.h"
#include "value/stage.h"

#define SECRET_ROTATION_HOURS 24

typedef struct TenantEntry
{
	char		key[ARTERY_MAX_ID + 1]; /* tenant_id */
	ArteryTenant *tenant;		/* NULL: stale */
	MemoryContext context;		/* holds tenant */
} TenantEntry;

/* Which tenants the role in use is bound to. */
typedef struct RoleBinding
{
	bool		valid;
	Oid			role;
	bool		bound;			/* false: every tenant */
	List	   *tenants;		/* of char *, in binding_context */
} RoleBinding;

PG_FUNCTION_INFO_V1(artery_tenant_changed);
PG_FUNCTION_INFO_V1(artery_require_tenant);
PG_FUNCTION_INFO_V1(artery_tenant_visible_sql);
PG_FUNCTION_INFO_V1(artery_set_secret);

static HTAB *tenant_cache = NULL;
static List *watched_relations = NIL;	/* oids whose invalidation makes the cache stale */
static bool cache_stale = false;
static MemoryContext retired_context = NULL;	/* replaced entries, until the transaction ends */
static RoleBinding binding;
static MemoryContext binding_context = NULL;

static ArteryStatement select_tenant = {
	"SELECT t.settings, t.template, p.stage_values, c.stage_values, "
	"       'artery.tenant'::pg_catalog.regclass::pg_catalog.oid, "
	"       'artery.synthetic_revenue_config'::pg_catalog.regclass::pg_catalog.oid, "
	"       'artery.tenant_role'::pg_catalog.regclass::pg_catalog.oid, "
	"       'artery.tenant_salt'::pg_catalog.regclass::pg_catalog.oid, "
	"       'artery.tenant_secret'::pg_catalog.regclass::pg_catalog.oid, s.salt, "
	"       EXISTS (SELECT FROM artery.tenant_secret h "
	"                WHERE h.tenant_id = t.tenant_id AND h.name = 'hubspot_access_token') "
	"  FROM artery.tenant t "
	"  LEFT JOIN artery.tenant_salt s ON s.tenant_id = t.tenant_id "
	"  LEFT JOIN artery.tenant_template p ON p.template = t.template "
	"  LEFT JOIN artery.synthetic_revenue_config c ON c.tenant_id = t.tenant_id "
	" WHERE t.tenant_id = $1",
	1, {TEXTOID}, NULL
};
static ArteryStatement select_known = {
	"SELECT tenant_id FROM artery.tenant ORDER BY tenant_id LIMIT 11", 0, {0}, NULL
};
static ArteryStatement select_bindings = {
	"SELECT r.tenant_id, a.oid, 'artery.tenant_role'::pg_catalog.regclass::pg_catalog.oid "
	"  FROM artery.tenant_role r JOIN pg_catalog.pg_roles a ON a.rolname = r.role_name",
	0, {0}, NULL
};
static ArteryStatement select_secret = {
	"SELECT value, CASE WHEN previous_until > $3 THEN previous_value END "
	"  FROM artery.tenant_secret WHERE tenant_id = $1 AND name = $2",
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement upsert_secret = {
	"INSERT INTO artery.tenant_secret AS s (tenant_id, name, value, updated_at) VALUES ($1, $2, $3, $4) "
	"ON CONFLICT (tenant_id, name) DO UPDATE SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at, "
	"  previous_value = s.value, previous_until = $5 WHERE s.value <> EXCLUDED.value",
	5, {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement delete_secret = {
	"DELETE FROM artery.tenant_secret WHERE tenant_id = $1 AND name = $2", 2, {TEXTOID, TEXTOID}, NULL
};

static void refuse_unknown(const char *tenant_id) pg_attribute_noreturn();

static void
watch(Oid relation)
{
	MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);

	watched_relations = list_append_unique_oid(watched_relations, relation);
	MemoryContextSwitchTo(before);
}

static void
on_relation_change(Datum arg, Oid relation)
{
	if (relation == InvalidOid || list_member_oid(watched_relations, relation))
	{
		cache_stale = true;
		binding.valid = false;
	}
}

static void
on_role_change(Datum arg, int cacheid, uint32 hashvalue)
{
	binding.valid = false;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (retired_context != NULL && (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT))
		MemoryContextReset(retired_context);
}

void
artery_tenant_init(void)
{
	CacheRegisterRelcacheCallback(on_relation_change, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, on_role_change, (Datum) 0);
	RegisterXactCallback(at_transaction_end, NULL);
}

static void
prepare_cache(void)
{
	HASHCTL		control = {.keysize = ARTERY_MAX_ID + 1,.entrysize = sizeof(TenantEntry)};
	HASH_SEQ_STATUS scan;
	TenantEntry *entry;

	if (tenant_cache == NULL)
	{
		tenant_cache = hash_create("artery tenants", 16, &control, HASH_ELEM | HASH_STRINGS);
		retired_context = AllocSetContextCreate(TopMemoryContext, "artery retired tenants", ALLOCSET_SMALL_SIZES);
	}
	if (!cache_stale)
		return;
	cache_stale = false;
	hash_seq_init(&scan, tenant_cache);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->tenant == NULL)
			continue;
		MemoryContextSetParent(entry->context, retired_context);
		entry->tenant = NULL;
		entry->context = NULL;
	}
}

/* Read a tenant into a context of its own; NULL if there is none. */
static ArteryTenant *
load_tenant(const char *tenant_id, MemoryContext context)
{
	ArteryScope scope;
	ArteryTenant *tenant = NULL;
	Datum		value = CStringGetTextDatum(tenant_id);
	int			i;

	artery_scope_enter(&scope);
	PushActiveSnapshot(GetLatestSnapshot());	/* what is cached must not be older than the invalidations seen */
	if (artery_execute(&select_tenant, &value, NULL, true, 1) == 1)
	{
		MemoryContext before = MemoryContextSwitchTo(context);
		Jsonb	   *stage_values[2];
		Datum		salt;
		bool		isnull;

		tenant = palloc0(sizeof(ArteryTenant));
		tenant->tenant_id = pstrdup(tenant_id);
		tenant->template = artery_field_text(0, 2);
		artery_settings_fill(&tenant->settings, DatumGetJsonbP(artery_field(0, 1, &isnull)));
		for (i = 0; i < 2; i++)
		{
			Datum		stages = artery_field(0, 3 + i, &isnull);

			stage_values[i] = isnull ? NULL : DatumGetJsonbP(stages);
		}
		artery_stages_build(tenant, stage_values[0], stage_values[1]);
		salt = artery_field(0, 10, &isnull);
		if (!isnull)
			memcpy(tenant->salt, VARDATA_ANY(DatumGetByteaPP(salt)), TENANT_SALT_BYTES);
		tenant->has_hubspot_token = artery_field_bool(0, 11);
		MemoryContextSwitchTo(before);
		for (i = 5; i <= 9; i++)
			watch(DatumGetObjectId(artery_field(0, i, &isnull)));
	}
	PopActiveSnapshot();
	artery_scope_leave(&scope);
	return tenant;
}

const ArteryTenant *
artery_tenant_find(const char *tenant_id)
{
	char		key[ARTERY_MAX_ID + 1];
	TenantEntry *entry;
	bool		found;

	if (strlen(tenant_id) > ARTERY_MAX_ID)
		return NULL;
	prepare_cache();
	strlcpy(key, tenant_id, sizeof(key));
	entry = hash_search(tenant_cache, key, HASH_FIND, NULL);
	if (entry == NULL || entry->tenant == NULL)
	{
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "artery tenant", ALLOCSET_SMALL_SIZES);
		ArteryTenant *tenant = load_tenant(tenant_id, context);

		if (tenant == NULL)
		{
			MemoryContextDelete(context);
			return NULL;
		}
		entry = hash_search(tenant_cache, key, HASH_ENTER, &found);
		MemoryContextSetParent(context, TopMemoryContext);
		entry->tenant = tenant;
		entry->context = context;
	}
	return entry->tenant;
}

static void
load_binding(Oid role)
{
	ArteryScope scope;
	uint64		rows;
	uint64		i;

	if (binding_context == NULL)
		binding_context = AllocSetContextCreate(TopMemoryContext, "artery role binding", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(binding_context);
	binding.valid = false;
	binding.role = role;
	binding.bound = false;
	binding.tenants = NIL;

	artery_scope_enter(&scope);
	watch(get_relname_relid("tenant_role", get_namespace_oid(ARTERY_SCHEMA, false)));
	binding.valid = true;		/* unless an invalidation comes while it is read */
	PushActiveSnapshot(GetLatestSnapshot());
	rows = artery_execute(&select_bindings, NULL, NULL, true, 0);
	for (i = 0; i < rows; i++)
	{
		MemoryContext before;
		bool		isnull;

		if (!is_member_of_role_nosuper(role, DatumGetObjectId(artery_field(i, 2, &isnull))))
			continue;
		before = MemoryContextSwitchTo(binding_context);
		binding.bound = true;
		binding.tenants = lappend(binding.tenants, artery_field_text(i, 1));
		MemoryContextSwitchTo(before);
	}
	PopActiveSnapshot();
	artery_scope_leave(&scope);
}

bool
artery_tenant_visible(const char *tenant_id)
{
	Oid			role = GetOuterUserId();
	ListCell   *cell;

	if (!binding.valid || binding.role != role)
		load_binding(role);
	if (!binding.bound || superuser_arg(role))
		return true;
	foreach(cell, binding.tenants)
	{
		if (strcmp(lfirst(cell), tenant_id) == 0)
			return true;
	}
	return false;
}

const ArteryTenant *
artery_tenant_get(const char *tenant_id)
{
	const ArteryTenant *tenant;

	if (!artery_tenant_visible(tenant_id))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for tenant \"%s\"", tenant_id),
				 errdetail("The role is bound to other tenants."),
				 errhint("artery.grant_tenant() binds a role to a tenant.")));
	tenant = artery_tenant_find(tenant_id);
	if (tenant == NULL)
		refuse_unknown(tenant_id);
	return tenant;
}

/* Name the tenants that the role may see, at most ten. */
static void
refuse_unknown(const char *tenant_id)
{
	ArteryScope scope;
	StringInfoData known;
	uint64		rows;
	uint64		i;

	initStringInfo(&known);
	artery_scope_enter(&scope);
	rows = artery_execute(&select_known, NULL, NULL, true, 0);
	for (i = 0; i < rows; i++)
	{
		char	   *name = artery_field_text(i, 1);

		if (!artery_tenant_visible(name))
			continue;
		if (i == 10)
			appendStringInfoString(&known, ", ...");
		else
			appendStringInfo(&known, "%s\"%s\"", known.len > 0 ? ", " : "", name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown tenant \"%.*s\"", ARTERY_MAX_ID, tenant_id),
			 known.len > 0 ? errdetail("Known tenants: %s.", known.data)
			 : errdetail("There is no tenant yet."),
			 errhint("SELECT artery.add_tenant(...) creates one.")));
}

char *
artery_tenant_secret(const char *tenant_id, const char *name, char **previous)
{
	ArteryScope scope;
	Datum		values[3];
	char	   *secret = NULL;

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(name);
	values[2] = TimestampTzGetDatum(artery_clock_moment());
	if (previous != NULL)
		*previous = NULL;
	artery_scope_enter(&scope);
	if (artery_execute(&select_secret, values, NULL, true, 1) == 1)
	{
		MemoryContext before = MemoryContextSwitchTo(scope.caller);

		secret = artery_field_text(0, 1);
		if (previous != NULL)
			*previous = artery_field_text(0, 2);
		MemoryContextSwitchTo(before);
	}
	artery_scope_leave(&scope);
	return secret;
}

/* Statement trigger on every table behind the cache. */
Datum
artery_tenant_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "artery.tenant_changed: not called as a trigger");
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	/* what waited for a setting may pass now */
	artery_wake_at_commit(ARTERY_DELIVERY);
	artery_wake_at_commit(ARTERY_JOBS);
	return PointerGetDatum(NULL);
}

/* artery.require_tenant(tenant_id): error if unknown or not the role's */
Datum
artery_require_tenant(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tenant_id must not be null"),
				 errhint("Name the tenant whose rows are meant.")));
	(void) artery_tenant_get(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* artery.tenant_visible(tenant_id): for policies and views */
Datum
artery_tenant_visible_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(artery_tenant_visible(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/*
 * artery.set_secret(tenant_id, name, value): NULL removes it.
 *
 * The value must not show anywhere: the statement is taken out of
 * pg_stat_activity, and no error of ours prints it to the log.
 */
Datum
artery_set_secret(PG_FUNCTION_ARGS)
{
	static const char *const known[] = {"hubspot_access_token", "hubspot_client_secret", "meta_access_token",
	"meta_app_secret"};
	ArteryScope scope;
	TimestampTz now = artery_clock_now();
	Datum		values[5];
	char	   *name;
	bool		is_known = false;
	int			i;

	pgstat_report_activity(STATE_RUNNING, "SELECT artery.set_secret(...)");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tenant_id and name of a secret must not be null"),
				 errhint("A NULL value is possible: it removes the secret."),
				 errhidestmt(true)));
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	for (i = 0; i < (int) lengthof(known); i++)
		is_known |= strcmp(name, known[i]) == 0;
	if (!is_known)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown secret \"%.64s\"", name),
				 errhint("Known secrets: %s, %s, %s, %s.", known[0], known[1], known[2], known[3]),
				 errhidestmt(true)));
	if (!PG_ARGISNULL(2) && (VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(2)) == 0 ||
							 VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(2)) > ARTERY_MAX_TEXT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a secret has 1 to %d bytes", ARTERY_MAX_TEXT),
				 errhint("NULL removes the secret."),
				 errhidestmt(true)));
	debug_query_string = NULL;	/* errors below, of unknown tenants too, print no statement */
	(void) artery_tenant_get(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_GETARG_DATUM(1);
	artery_scope_enter(&scope);
	if (PG_ARGISNULL(2))
		(void) artery_execute(&delete_secret, values, NULL, false, 0);
	else
	{
		values[2] = PG_GETARG_DATUM(2);
		values[3] = TimestampTzGetDatum(now);
		values[4] = TimestampTzGetDatum(now + SECRET_ROTATION_HOURS * USECS_PER_HOUR);
		(void) artery_execute(&upsert_secret, values, NULL, false, 0);
	}
	artery_scope_leave(&scope);
	PG_RETURN_VOID();
}
