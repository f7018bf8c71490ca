/*
 * pause.h
 *		Who has to be left alone for a while: accounts, apps, tokens, everybody.
 *
 * Learnt from Meta's answers and kept in the worker's memory, so that what is due
 * meanwhile is held back without asking Meta again. A restarted worker learns
 * it anew by its next request.
 */
#ifndef ARTERY_DELIVER_PAUSE_H
#define ARTERY_DELIVER_PAUSE_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "deliver/graph_error.h"
#include "deliver/http.h"

/* Whose request it is; all but the token may be NULL where not known. */
typedef struct PauseSubject
{
	const char *tenant_id;		/* never NULL */
	const char *account_id;
	const char *app_id;
	const char *token;			/* never NULL */
} PauseSubject;

/* Learn from an answer that came. A pause is only ever lengthened. */
extern void artery_pause_note(const PauseSubject *subject, const HttpAnswer *answer, const GraphVerdict *verdict);

/* Must the subject wait? Then *until says by artery's clock how long, and *rule why. */
extern bool artery_pause_applies(const PauseSubject *subject, TimestampTz *until, const char **rule);

#endif							/* ARTERY_DELIVER_PAUSE_H */
