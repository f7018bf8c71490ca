/*
 * sync.h
 *		Jobs actuals-sync: reading accounts, budgets, ads and their days from Meta.
 *
 * A sync asks one thing after the other; several, of different tenants, are
 * under way at once, and none holds a transaction while it waits.
 */
#ifndef ARTERY_DELIVER_SYNC_H
#define ARTERY_DELIVER_SYNC_H

#include "postgres.h"

#include "utils/jsonb.h"

#define ARTERY_SYNC_JOB "actuals-sync"

/* How many more syncs may be claimed now; none while artery.enabled is off. */
extern int	artery_sync_room(void);

/*
 * Take over a claimed job; artery_sync_duty() works on it and settles it. data
 * may hold "days", how many days to read up to today (28; at most 1,100, Meta
 * keeps 37 months), and "async": true to have Insights made as reports, which
 * then holds for later syncs of the account until one says false.
 */
extern void artery_sync_start(const char *tenant_id, int64 job_id, int attempt, const Jsonb *data);

#endif							/* ARTERY_DELIVER_SYNC_H */
