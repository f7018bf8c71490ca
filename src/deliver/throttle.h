/*
 * throttle.h
 *		Who has to be left alone for a while: apps, accounts, objects, tokens, everybody.
 *
 * Learnt from Meta's answers and kept in artery.throttle, so that what is due
 * meanwhile is held back without asking Meta again, by whichever worker, also
 * after a restart. Each claim reads the table anew: who deletes a row there
 * ends the wait.
 */
#ifndef ARTERY_DELIVER_THROTTLE_H
#define ARTERY_DELIVER_THROTTLE_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "deliver/graph_error.h"
#include "deliver/http.h"
#include "tenant/tenant.h"

/* Whose request it is; all but tenant and token may be NULL where not known. */
typedef struct ThrottleSubject
{
	const char *tenant_id;
	const char *account_id;
	const char *app_id;
	const char *token;
	const char *object_id;		/* whose budget is to be written; NULL for everything else */
	bool		insights;		/* asks for reports, which have a quota of their own */
} ThrottleSubject;

/*
 * Learn from an answer that came, in a transaction of its own: none may be
 * open. A wait is only ever lengthened, and doubled if the first answer after it
 * refuses again.
 */
extern void artery_throttle_note(const ThrottleSubject *subject, const HttpAnswer *answer,
								 const GraphVerdict *verdict);

/*
 * Must the subject wait? Then *until says by artery's clock how long (DT_NOEND:
 * until somebody acts), and *rule why.
 */
extern bool artery_throttle_applies(const ThrottleSubject *subject, TimestampTz *until, const char **rule);

/*
 * Within the transaction that settles a change by an endless wait: does it
 * still stand? It then does until that transaction ends, so that whoever lifts it
 * finds the change waiting.
 */
extern bool artery_throttle_stands(const char *tenant_id, const char *rule);

/* Read the table; within a scope. The first call with other settings releases what waited for them. */
extern void artery_throttle_load(void);

/*
 * From 75 % of a quota on the changes of a tenant are spaced out (*slowed): when
 * may its next one begin (DT_NOBEGIN: at once)? And tell that one begins.
 */
extern TimestampTz artery_throttle_next(const ArteryTenant *tenant, bool *slowed);
extern void artery_throttle_begun(const ArteryTenant *tenant, TimestampTz moment);

#endif							/* ARTERY_DELIVER_THROTTLE_H */
