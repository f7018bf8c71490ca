/*
 * worker.h
 *		A database's background workers, and the duties each does in turn.
 */
#ifndef ARTERY_RUNTIME_WORKER_H
#define ARTERY_RUNTIME_WORKER_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * A duty does what is due now, in short transactions of its own
 * (artery_transaction_begin/commit), and returns the moment by artery's clock
 * when it wants to be called again; DT_NOEND if only when woken. It may raise an
 * error: the worker records it and goes on.
 */
typedef TimestampTz (*WorkerDuty) (void);

extern TimestampTz artery_delivery_duty(void);	/* deliver/executor.c */
extern TimestampTz artery_job_duty(void);	/* job/job_runner.c */
extern TimestampTz artery_contact_claim_duty(void);	/* deliver/contact_fetch.c */
extern TimestampTz artery_contact_fetch_duty(void);	/* deliver/contact_fetch.c */
extern TimestampTz artery_sync_claim_duty(void);	/* deliver/sync.c */
extern TimestampTz artery_calibration_duty(void);	/* attribute/calibration_duty.c */
extern TimestampTz artery_late_click_duty(void);	/* attribute/late_click_duty.c */
extern TimestampTz artery_sync_duty(void);	/* deliver/sync.c */
extern TimestampTz artery_retention_duty(void); /* runtime/retention.c */

/* Show an error in the worker's slot; the message must be redacted. */
extern void artery_worker_record_error(const char *message);

#endif							/* ARTERY_RUNTIME_WORKER_H */
