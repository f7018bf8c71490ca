/*
 * retention.c
 *		Removing what is older than the retention settings, and the care for the
 *		partitions of clicks, which is the same work for them.
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
#define KEPT_AT_ONCE 200		/* steps of care for the partitions */
#define BUSY_US (10 * USECS_PER_SEC)	/* when a lock was not to be had */
#define ROUNDS_AT_ONCE 20		/* then the other duties come first */
#define PAUSE_US (1 * USECS_PER_SEC)

static ArteryStatement purge = {
	"SELECT pg_catalog.max(deleted) FROM artery.purge($1)", 1, {INT4OID}, NULL
};

static ArteryStatement keep_partitions = {
	"SELECT artery.keep_click_partitions($1)", 1, {INT4OID}, NULL
};

static TimestampTz keep_click_partitions(void);
static TimestampTz purge_tables(void);

TimestampTz
artery_retention_duty(void)
{
	TimestampTz partitions = keep_click_partitions();
	TimestampTz tables = purge_tables();

	return Min(partitions, tables);
}

static TimestampTz
keep_click_partitions(void)
{
	static TimestampTz next = DT_NOBEGIN;	/* of this worker: soon after its start, then hourly */
	Datum		batch = Int32GetDatum(BATCH);
	bool		busy = false;
	bool		more = true;
	int			step;

	if (artery_clock_moment() < next)
		return next;
	for (step = 0; more && step < KEPT_AT_ONCE; step++)
	{
		ArteryScope scope;
		char	   *done;

		CHECK_FOR_INTERRUPTS();
		artery_transaction_begin(&scope, "artery: keeping the partitions of clicks");
		(void) artery_execute(&keep_partitions, &batch, NULL, false, 0);
		done = artery_field_text(0, 1);
		busy = done != NULL && strcmp(done, "busy") == 0;
		more = done != NULL && !busy;
		artery_transaction_commit(&scope);
	}
	next = artery_clock_moment() + (busy ? BUSY_US : more ? PAUSE_US : USECS_PER_HOUR);
	return next;
}

static TimestampTz
purge_tables(void)
{
	static TimestampTz next = DT_NOBEGIN;
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
