/*
 * retention.c
 *		Removing what is older than the retention settings.
 *
 * Every hour, a batch per transaction, so that no lock is held for long and a
 * million rows do not become one transaction.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/worker.h"

#define BATCH 5000				/* rows per table and transaction */
#define ROUNDS_AT_ONCE 20		/* then the other duties come first */
#define PAUSE_US (1 * USECS_PER_SEC)

static ArteryStatement purge = {
	"SELECT pg_catalog.max(deleted) FROM artery.purge($1)", 1, {INT4OID}, NULL
};

TimestampTz
artery_retention_duty(void)
{
	static TimestampTz next = DT_NOBEGIN;	/* of this worker: soon after its start, then hourly */
	Datum		batch = Int32GetDatum(BATCH);
	bool		more = true;
	int			round;

	if (artery_clock_moment() < next)
		return next;
	for (round = 0; more && round < ROUNDS_AT_ONCE; round++)
	{
		ArteryScope scope;

		CHECK_FOR_INTERRUPTS();
		artery_transaction_begin(&scope, "artery: purging old rows");
		(void) artery_execute(&purge, &batch, NULL, false, 0);
		more = artery_field_int64(0, 1) == BATCH;
		artery_transaction_commit(&scope);
	}
	next = artery_clock_moment() + (more ? PAUSE_US : USECS_PER_HOUR);
	return next;
}
