/*
 * change_row.h
 *		Rows of artery.ad_change as claim, judge and settle share them.
 *
 * What is done to changes of one tenant in one transaction is a batch: their
 * rows are locked by one statement, each is decided on by itself, and what comes
 * of it is gathered and written by one statement for each table.
 *
 * For change*.c only; callers are inside a scope (runtime/dbtx.h).
 */
#ifndef ARTERY_DELIVER_CHANGE_ROW_H
#define ARTERY_DELIVER_CHANGE_ROW_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "deliver/change.h"
#include "deliver/guard_check.h"
#include "runtime/rows.h"

/* Failed attempts after which a change fails for good. */
#define CHANGE_MAX_ATTEMPTS 5

/* A value of a change: a budget or a status; both NULL if not known. */
typedef struct ChangeValue
{
	Numeric		budget;
	char	   *status;
} ChangeValue;

typedef struct ChangeBatch
{
	const char *tenant_id;
	GuardWrites guard;
	ArteryRows	intents;		/* to be written: what is about to be sent, */
	ArteryRows	moves;			/* where changes go from sending, */
	ArteryRows	records;		/* and their history */
} ChangeBatch;

typedef struct ChangeRow
{
	ChangeBatch *batch;
	ChangeTask *task;			/* what it was locked for */
	GuardFacts	facts;			/* its names; the rest once it was loaded */
	const char *tenant_id;
	const char *change_id;
	int			attempt;
	char	   *campaign_id;
	char	   *target_id;
	char	   *change_type;
	bool		is_budget;
	bool		increase;		/* of a budget: type BUDGET_INCREASE */
	ChangeValue wish;
	ChangeValue old;
	ChangeValue sending;
	ChangeValue from;			/* in force before sending */
	TimestampTz sending_at;		/* when it was judged; DT_NOBEGIN if never */
	ChangeValue reached;		/* last step of a ramp that was applied */
	bool		reconcile;
	bool		dry_run;
	bool		safety_override;
	int			failures;
	char	   *blocked_rule;
	TimestampTz next_allowed_at;	/* DT_NOBEGIN if NULL */
	Jsonb	   *checks;
	char	   *newer;			/* the wish that supersedes this one, if it still stands */
} ChangeRow;

/* Where a change goes from sending. */
typedef struct ChangeMove
{
	const char *state;
	TimestampTz run_at;			/* DT_NOBEGIN or DT_NOEND: never by itself */
	int			failures;
	const char *rule;			/* blocked_rule, NULL for none */
	Jsonb	   *detail;
	TimestampTz next_allowed_at;	/* not finite: not known */
	const char *error;			/* NULL for none */
	ChangeValue reached;		/* not NULL: a step was applied */
	bool		maybe_sent;		/* keep sending_value: it may have been applied */
} ChangeMove;

/* What a row of the history says beyond what the change itself tells. */
typedef struct ChangeRecord
{
	const char *outcome;
	ChangeValue old;
	ChangeValue new;
	const char *rule;			/* that blocks, until next_allowed_at; NULL for none */
	TimestampTz next_allowed_at;
	Jsonb	   *checks;
	Jsonb	   *response;
	const char *error;
	double		duration_ms;	/* < 0: none */
} ChangeRecord;

/* A claim made before this moment has hung. */
extern TimestampTz artery_change_lease(TimestampTz moment);

/*
 * Take a tenant's claims back whose process is gone or has hung, at most so many;
 * true if there were any. Of one, *trying tells which: an error is its fault.
 */
extern bool artery_change_rescue(const char *tenant_id, int limit, TimestampTz moment, char **trying);

/*
 * Claim the tenant's next due changes whose campaigns nobody is busy with, as
 * many as wanted if there are; the list and all in it live in the context. If one
 * is wanted, *trying tells which: an error is its fault.
 */
extern List *artery_change_take(const ArteryTenant *tenant, int wanted, TimestampTz moment, MemoryContext context,
								char **trying);

extern void artery_change_begin(ChangeBatch *batch, const char *tenant_id);

/*
 * Lock and read the rows of claims, into rows, in the order of the tasks and with
 * room for as many; returns how many there are. Left out are those that a claim does not hold any more and,
 * with skip, those that somebody else has locked.
 */
extern int	artery_change_lock(ChangeBatch *batch, ChangeTask *tasks, int count, bool skip, ChangeRow *rows);

/*
 * Of rows with a campaign or target in common keep the first, so that none is
 * decided on by facts that another one changes; returns how many are left.
 */
extern int	artery_change_unlike(ChangeRow *rows, int count);

/* Write what was gathered so far. */
extern void artery_change_flush(ChangeBatch *batch);

/* What is to be sent, why it may, and from when. */
extern void artery_change_intend(const ChangeRow *row, const ChangeValue *step, const ChangeValue *from,
								 const Jsonb *checks, TimestampTz moment);

/* Where a locked change goes; once for each row and batch. */
extern void artery_change_move(const ChangeRow *row, const ChangeMove *move, TimestampTz moment);

/* Append to the history. */
extern void artery_change_record(const ChangeRow *row, const ChangeRecord *record, TimestampTz moment);

/* Is what is being sent less than the wish? */
extern bool artery_change_ramps(const ChangeRow *row);

/* sending was applied (or, in a dry run, would have been): completed or the next step of the ramp. */
extern void artery_change_applied(ChangeRow *row, const ChangeRecord *proof, TimestampTz moment);

/* End in state superseded: by a newer wish, or by somebody's own edit that why tells of. */
extern void artery_change_supersede(const ChangeRow *row, const ChangeValue *in_force, const char *why,
									TimestampTz moment);

extern Jsonb *artery_change_json(const ChangeValue *value); /* NULL for an unknown value */
extern bool artery_change_same(const ChangeValue *a, const ChangeValue *b); /* false if one is unknown */
extern int	artery_change_compare(Numeric a, Numeric b);

#endif							/* ARTERY_DELIVER_CHANGE_ROW_H */
