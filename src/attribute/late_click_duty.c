/*
 * late_click_duty.c
 *		The worker's part where clicks come late: conversions and deals that they
 *		may have earned are tried again.
 *
 * It runs when woken by the commit that brought them, and a tenant at a time, a
 * thousand conversions in a transaction; more where so many late clicks came at
 * once that searching takes longer than trying. A note stays until the transactions
 * that were under way beside it have ended, and is looked at again every other
 * second; or less often, half a minute at most, where searching takes long.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/worker.h"
#include "tenant/tenant.h"

#define PAUSE (2 * USECS_PER_SEC)
#define LONGEST_PAUSE (30 * USECS_PER_SEC)
#define PAUSE_TO_WORK 10
#define TENANTS 64				/* at once; then the other duties come first */
#define BATCH 1000				/* conversions tried in one transaction */
#define LARGEST_BATCH 8000
#define FOLD_BATCH 20000		/* clicks counted in one */
#define ROUNDS 50				/* transactions for a tenant at once, of either kind */

static ArteryStatement mark_notes = {
	"SELECT m.tenant_id, m.is_new FROM artery.mark_late_clicks($1, $2) m", 2, {TEXTOID, INT4OID}, NULL
};

static ArteryStatement has_notes = {"SELECT 1 FROM artery.late_click LIMIT 1", 0, {0}, NULL};

static ArteryStatement fold_tenant = {
	"SELECT artery.fold_attribution($1, $3, $2)", 3, {TEXTOID, INT4OID, BOOLOID}, NULL
};

static ArteryStatement match_tenant = {
	"SELECT m.tried::pg_catalog.int8 FROM artery.match_late_clicks($1, $2, $3) m", 3, {TEXTOID, INT4OID, BOOLOID}, NULL
};

typedef struct LateTenant
{
	Datum		tenant_id;
	bool		is_new;			/* has clicks that were not there the last time */
} LateTenant;

static int	find_tenants(MemoryContext context, const char *after, LateTenant *tenants);
static bool is_calibrated(MemoryContext context, Datum tenant_id);
static void repeat_step(MemoryContext context, ArteryStatement *statement, Datum tenant_id, int batch, int largest,
						bool option, const char *activity);

TimestampTz
artery_late_click_duty(void)
{
	static TimestampTz next = DT_NOBEGIN;	/* not before */
	static char last[ARTERY_MAX_ID + 1] = "";	/* tenant: after an error, others come first */
	MemoryContext context = CurrentMemoryContext;
	LateTenant	tenants[TENANTS];
	TimestampTz began = artery_clock_wall();
	int			count;
	int			i;

	if (began < next && next <= began + LONGEST_PAUSE)
		return artery_clock_moment() + (next - began);
	count = find_tenants(context, last, tenants);
	if (count == 0)
		return DT_NOEND;
	for (i = 0; i < count; i++)
	{
		text_to_cstring_buffer(DatumGetTextPP(tenants[i].tenant_id), last, sizeof(last));
		/* the calibrated model goes by how common values are among clicks, late ones included */
		if (tenants[i].is_new && is_calibrated(context, tenants[i].tenant_id))
			repeat_step(context, &fold_tenant, tenants[i].tenant_id, FOLD_BATCH, FOLD_BATCH, false,
						"artery: folding what attribution has learnt");
		repeat_step(context, &match_tenant, tenants[i].tenant_id, BATCH, LARGEST_BATCH, tenants[i].is_new,
					"artery: attributing to late clicks");
	}
	next = artery_clock_wall();
	next += Min(Max(PAUSE, PAUSE_TO_WORK * (next - began)), LONGEST_PAUSE);
	return artery_clock_moment() + (next - artery_clock_wall());
}

/* Tenants that have notes; new notes are marked, and that is committed. */
static int
find_tenants(MemoryContext context, const char *after, LateTenant *tenants)
{
	ArteryScope scope;
	bool		isnull;
	int			count = 0;
	int			i;

	artery_transaction_begin(&scope, "artery: looking for late clicks");
	scope.caller = context;
	if (artery_execute(&has_notes, NULL, NULL, true, 1) > 0)
	{
		Datum		values[2] = {CStringGetTextDatum(after), Int32GetDatum(TENANTS)};

		count = (int) artery_execute(&mark_notes, values, NULL, false, 0);
	}
	for (i = 0; i < count; i++)
	{
		tenants[i].tenant_id = artery_field_copy(&scope, i, 1, &isnull);
		tenants[i].is_new = artery_field_bool(i, 2);
	}
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(context);
	return count;
}

static bool
is_calibrated(MemoryContext context, Datum tenant_id)
{
	ArteryScope scope;
	const ArteryTenant *tenant;
	bool		result;

	artery_transaction_begin(&scope, "artery: looking for late clicks");
	tenant = artery_tenant_find(TextDatumGetCString(tenant_id));
	result = tenant != NULL && tenant->settings.attribution_model == ATTRIBUTION_CALIBRATED;
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(context);
	return result;
}

/*
 * Run a statement in a transaction each until it has done less than a batch,
 * which doubles, up to the largest, with each that takes more than a second.
 */
static void
repeat_step(MemoryContext context, ArteryStatement *statement, Datum tenant_id, int batch, int largest, bool option,
			const char *activity)
{
	bool		is_done = false;
	int			round;

	for (round = 0; !is_done && round < ROUNDS; round++)
	{
		Datum		values[3] = {tenant_id, Int32GetDatum(batch), BoolGetDatum(option)};
		TimestampTz began = artery_clock_wall();
		ArteryScope scope;

		CHECK_FOR_INTERRUPTS();
		artery_transaction_begin(&scope, activity);
		(void) artery_execute(statement, values, NULL, false, 1);
		is_done = artery_field_int64(0, 1) < batch;
		artery_transaction_commit(&scope);
		MemoryContextSwitchTo(context);
		if (artery_clock_wall() > began + USECS_PER_SEC)
			batch = Min(batch * 2, largest);
	}
}
