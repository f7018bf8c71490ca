/*
 * aside.h
 *		Changes that cannot be claimed, set aside so that the others go on.
 *
 * Callers are inside a scope (runtime/dbtx.h). A change_id of NULL means the
 * tenant as a whole: whose fault it was could not be told.
 */
#ifndef ARTERY_DELIVER_ASIDE_H
#define ARTERY_DELIVER_ASIDE_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * Is anything set aside, or was the last careful claim lost with its
 * transaction? Then a claim has to be careful, too.
 */
extern bool artery_aside_any(void);

/*
 * Set aside for 2 s, doubling with each failure in a row up to 10 minutes:
 * logged the first time, told by an alert, and by last_error and run_at of the
 * change if these can be written.
 */
extern void artery_aside_put(const char *tenant_id, const char *change_id, const char *error, TimestampTz moment);

/* It could be claimed: forget it and its tenant's trouble, and close the alerts. */
extern void artery_aside_end(const char *tenant_id, const char *change_id);

/* Begin a careful claim: forget what is long past, and set aside what the last one was lost by. */
extern void artery_aside_begin(TimestampTz moment);

/* This tenant is about to be tried; NULL: it was. */
extern void artery_aside_trying(const char *tenant_id);

/* The tenant's changes that the table does not show to be set aside, as uuid[]. */
extern Datum artery_aside_changes(const char *tenant_id, TimestampTz moment);

/*
 * How many these are, or of all tenants with NULL, and, if not NULL, when the
 * first of them may be tried again (DT_NOEND: there is none).
 */
extern int	artery_aside_count(const char *tenant_id, TimestampTz moment, TimestampTz *first);

/* Until when the tenant as a whole is set aside; DT_NOBEGIN if it is not. */
extern TimestampTz artery_aside_tenant(const char *tenant_id, TimestampTz moment);

#endif							/* ARTERY_DELIVER_ASIDE_H */
