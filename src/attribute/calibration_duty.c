/*
 * calibration_duty.c
 *		The worker's part in learning: adding what is new to the tenants' states.
 *
 * It runs when woken, at most every other second, and a tenant at a time. One
 * that somebody else is folding at the moment is left to them.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "capture/click_window.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/worker.h"

#define PAUSE_SECONDS 2
#define TENANTS 64				/* at once; then the other duties come first */
#define BATCH 20000				/* clicks of a tenant in one transaction */
#define ROUNDS 50				/* transactions for a tenant at once */

/* Those with a trace, or the correction of one, that their state has not come to: one look-up in an index each. */
static ArteryStatement select_tenants = {
	"SELECT k.tenant_id FROM artery.tenant k "
	"  LEFT JOIN artery.attribution_state s ON s.tenant_id = k.tenant_id "
	"  LEFT JOIN LATERAL (SELECT t.traced_at FROM artery.conversion_trace t WHERE t.tenant_id = k.tenant_id "
	"                      ORDER BY t.traced_at DESC LIMIT 1) newest ON true "
	"  LEFT JOIN LATERAL (SELECT d.correction_id FROM artery.attribution_correction d WHERE d.tenant_id = k.tenant_id "
	"                      ORDER BY d.correction_id LIMIT 1) correction ON true "
	" WHERE newest.traced_at > coalesce(s.counted_until, '-infinity') OR correction.correction_id IS NOT NULL LIMIT $1",
	1, {INT4OID}, NULL
};

static ArteryStatement fold_tenant = {
	"SELECT artery.fold_attribution($1, false, $2)", 2, {TEXTOID, INT4OID}, NULL
};

TimestampTz
artery_calibration_duty(void)
{
	static TimestampTz next = DT_NOBEGIN;	/* not before, where something was folded just now */
	MemoryContext context = CurrentMemoryContext;
	ArteryScope scope;
	Datum		limit = Int32GetDatum(TENANTS);
	Datum		tenants[TENANTS];
	bool		isnull;
	int			count;
	int			i;

	if (artery_clock_moment() < next && next < artery_clock_moment() + 2 * PAUSE_SECONDS * USECS_PER_SEC)
		return next;
	artery_transaction_begin(&scope, "artery: looking for what attribution has learnt");
	scope.caller = context;
	count = (int) artery_click_execute_by_index(&select_tenants, &limit, NULL, 0);
	for (i = 0; i < count; i++)
		tenants[i] = artery_field_copy(&scope, i, 1, &isnull);
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(context);

	for (i = 0; i < count; i++)
	{
		Datum		values[2] = {tenants[i], Int32GetDatum(BATCH)};
		int64		folded = BATCH;
		int			round;

		for (round = 0; folded >= BATCH && round < ROUNDS; round++)
		{
			CHECK_FOR_INTERRUPTS();
			artery_transaction_begin(&scope, "artery: folding what attribution has learnt");
			(void) artery_execute(&fold_tenant, values, NULL, false, 1);
			folded = artery_field_int64(0, 1);
			artery_transaction_commit(&scope);
			MemoryContextSwitchTo(context);
		}
	}
	if (count == 0)
		return DT_NOEND;
	next = artery_clock_moment() + PAUSE_SECONDS * USECS_PER_SEC;
	return next;
}
