/*
 * sync_store.c
 *		What a sync does with tables: pages, waits and the end, each in one transaction.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "deliver/currency.h"
#include "deliver/sync_state.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "tenant/tenant.h"

#define LONGEST_WAIT 86400		/* seconds; then it is looked at again */

static ArteryStatement sync_step = {
	"SELECT lost, problem, stored, skipped, since, until, report_days, listed "
	"  FROM artery.sync_step($1, $2, $3, $4, $5, $6, $7)",
	7, {TEXTOID, INT8OID, INT4OID, TEXTOID, JSONBOID, TIMESTAMPTZOID, INT4OID}, NULL
};
static ArteryStatement token_due = {
	"SELECT artery.token_due($1, $2)", 2, {TEXTOID, BOOLOID}, NULL
};
static ArteryStatement finish_sync = {
	"SELECT artery.sync_finish($1, $2, $3, $5, $4::jsonb, $6, $7)",
	7, {TEXTOID, INT8OID, INT4OID, TEXTOID, DATEOID, TEXTARRAYOID, TEXTARRAYOID}, NULL
};
static ArteryStatement complete_job = {
	"SELECT artery.complete_job($1, $2, $3, pg_catalog.jsonb_build_object('stopped', $4))", 4,
	{TEXTOID, INT8OID, INT4OID, TEXTOID}, NULL
};
static ArteryStatement fail_job = {
	"SELECT artery.fail_job($1, $2, $3, $4)", 4, {TEXTOID, INT8OID, INT4OID, TEXTOID}, NULL
};
static ArteryStatement give_up_job = {
	"SELECT artery.give_up_job($1, $2, $3, $4)", 4, {TEXTOID, INT8OID, INT4OID, TEXTOID}, NULL
};
static ArteryStatement postpone_job = {
	"SELECT artery.postpone_job($1, $2, $3, $5, $4)", 5, {TEXTOID, INT8OID, INT4OID, TEXTOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement renew_job = {
	"SELECT artery.renew_job($1, $2, $3, pg_catalog.make_interval(secs => $4::float8))", 4,
	{TEXTOID, INT8OID, INT4OID, TEXTOID}, NULL
};

PG_FUNCTION_INFO_V1(artery_amount_of_minor);

static void remember(Sync *sync);
static Datum list_of(ArrayBuildState *list);

/* artery.amount_of_minor(minor, currency) */
Datum
artery_amount_of_minor(PG_FUNCTION_ARGS)
{
	PG_RETURN_NUMERIC(artery_currency_from_minor(PG_GETARG_INT64(0), text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

bool
artery_sync_prepare(Sync *sync)
{
	ArteryScope scope;
	const ArteryTenant *tenant;
	char	   *token;
	char	   *app_secret;
	Datum		values[2] = {CStringGetTextDatum(sync->tenant_id), BoolGetDatum(sync->only == SYNC_TOKEN)};

	artery_transaction_begin(&scope, "artery: beginning a sync");
	MemoryContextSwitchTo(sync->work);
	tenant = artery_tenant_find(sync->tenant_id);
	token = artery_tenant_secret(sync->tenant_id, "meta_access_token", NULL);
	app_secret = artery_tenant_secret(sync->tenant_id, "meta_app_secret", NULL);
	if (tenant != NULL && tenant->settings.meta_ad_account_id != NULL && token != NULL)
	{
		sync->credentials.token = artery_sync_keep(sync, token);
		sync->credentials.app_secret = app_secret == NULL ? NULL : artery_sync_keep(sync, app_secret);
		sync->account = artery_sync_keep(sync, psprintf("act_%s", tenant->settings.meta_ad_account_id));
		sync->subject.tenant_id = sync->tenant_id;
		sync->subject.account_id = sync->account + strlen("act_");
		sync->subject.app_id = tenant->settings.meta_app_id == NULL ? NULL :
			artery_sync_keep(sync, tenant->settings.meta_app_id);
		sync->subject.token = sync->credentials.token;
		(void) artery_execute(&token_due, values, NULL, true, 1);
		MemoryContextSwitchTo(sync->work);
		if (sync->subject.app_id != NULL && app_secret != NULL && artery_field_bool(0, 1))
			sync->app.token = artery_sync_keep(sync, psprintf("%s|%s", sync->subject.app_id, app_secret));
	}
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(sync->work);
	if (token != NULL)
		explicit_bzero(token, strlen(token));
	if (app_secret != NULL)
		explicit_bzero(app_secret, strlen(app_secret));
	return sync->credentials.token != NULL;
}

bool
artery_sync_store(Sync *sync, const char *step, const Jsonb *parsed)
{
	ArteryScope scope;
	Datum		values[7];
	bool		lost;
	char	   *problem;

	values[0] = CStringGetTextDatum(sync->tenant_id);
	values[1] = Int64GetDatum(sync->job_id);
	values[2] = Int32GetDatum(sync->attempt);
	values[3] = CStringGetTextDatum(step);
	values[4] = JsonbPGetDatum(parsed);
	values[5] = TimestampTzGetDatum(sync->asked_at);
	values[6] = Int32GetDatum(sync->only == SYNC_TOKEN ? 0 : sync->days);
	artery_transaction_begin(&scope, "artery: storing a page from Meta");
	(void) artery_execute(&sync_step, values, NULL, false, 1);
	MemoryContextSwitchTo(sync->work);
	lost = artery_field_bool(0, 1);
	problem = artery_field_text(0, 2);
	sync->stored[sync->stage] += artery_field_int64(0, 3);
	sync->skipped += artery_field_int64(0, 4);
	if (!lost && problem == NULL)
		remember(sync);
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(sync->work);
	if (lost)
		sync->ended = true;
	else if (problem != NULL)
		artery_sync_settle(sync, SYNC_STOPPED, problem, DT_NOBEGIN);
	return !sync->ended;
}

/* What the row tells besides: the days to read, or what was listed. */
static void
remember(Sync *sync)
{
	bool		isnull;
	Datum		listed = artery_field(0, 8, &isnull);

	if (!isnull)
	{
		ArrayBuildState **list = sync->stage == SYNC_ADS ? &sync->ads : &sync->owners;
		Datum	   *ids;
		int			count;
		int			i;

		deconstruct_array(DatumGetArrayTypeP(listed), TEXTOID, -1, false, TYPALIGN_INT, &ids, NULL, &count);
		for (i = 0; i < count; i++)
			*list = accumArrayResult(*list, ids[i], false, TEXTOID, sync->context);
	}
	if (sync->stage == SYNC_ACCOUNT)
	{
		sync->since = DatumGetDateADT(artery_field(0, 5, &isnull));
		sync->until = DatumGetDateADT(artery_field(0, 6, &isnull));
		sync->chunk_since = sync->since;
		sync->chunk_days = sync->days;
		if (!sync->as_told && !artery_field_null(0, 7))
		{
			sync->by_report = true;
			sync->chunk_days = Min(sync->days, (int) artery_field_int64(0, 7));
		}
	}
}

void
artery_sync_finish(Sync *sync, const char *result)
{
	ArteryScope scope;
	Datum		values[7] = {CStringGetTextDatum(sync->tenant_id), Int64GetDatum(sync->job_id),
		Int32GetDatum(sync->attempt), CStringGetTextDatum(result), DateADTGetDatum(sync->until),
	list_of(sync->owners), list_of(sync->ads)};

	artery_transaction_begin(&scope, "artery: finishing a sync");
	(void) artery_execute(&finish_sync, values, NULL, false, 1);
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(sync->work);
	sync->ended = true;
}

static Datum
list_of(ArrayBuildState *list)
{
	if (list == NULL)
		return PointerGetDatum(construct_empty_array(TEXTOID));
	return makeArrayResult(list, CurrentMemoryContext);
}

void
artery_sync_wait(Sync *sync, int64 seconds)
{
	int64		wait = Min(seconds, LONGEST_WAIT);
	char	   *text = psprintf(INT64_FORMAT, wait);
	ArteryScope scope;
	Datum		values[4] = {CStringGetTextDatum(sync->tenant_id), Int64GetDatum(sync->job_id),
	Int32GetDatum(sync->attempt), CStringGetTextDatum(text)};

	sync->resume_at = Max(sync->resume_at, artery_clock_moment() + wait * USECS_PER_SEC);
	artery_transaction_begin(&scope, "artery: a sync waits");
	(void) artery_execute(&renew_job, values, NULL, false, 1);
	if (!artery_field_bool(0, 1))
		sync->ended = true;
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(sync->work);
}

void
artery_sync_settle(Sync *sync, SyncEnd end, const char *text, TimestampTz run_at)
{
	static ArteryStatement *const statements[] = {
		[SYNC_STOPPED] = &complete_job,[SYNC_POSTPONED] = &postpone_job,
		[SYNC_FAILED] = &fail_job,[SYNC_GIVEN_UP] = &give_up_job
	};
	ArteryScope scope;
	Datum		values[5] = {CStringGetTextDatum(sync->tenant_id), Int64GetDatum(sync->job_id),
	Int32GetDatum(sync->attempt), CStringGetTextDatum(text), TimestampTzGetDatum(run_at)};

	artery_transaction_begin(&scope, "artery: settling a sync");
	(void) artery_execute(statements[end], values, NULL, false, 1);
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(sync->work);
	sync->ended = true;
}

char *
artery_sync_keep(Sync *sync, const char *text)
{
	return MemoryContextStrdup(sync->context, text);
}

