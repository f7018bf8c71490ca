/*
 * change_row.h
 *		One row of artery.ad_change as claim, judge and settle share it.
 *
 * For change*.c only; callers are inside a scope (runtime/dbtx.h).
 */
#ifndef ARTERY_DELIVER_CHANGE_ROW_H
#define ARTERY_DELIVER_CHANGE_ROW_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

/* Failed attempts after which a change fails for good. */
#define CHANGE_MAX_ATTEMPTS 5

/* A value of a change: a budget or a status; both NULL if not known. */
typedef struct ChangeValue
{
	Numeric		budget;
	char	   *status;
} ChangeValue;

typedef struct ChangeRow
{
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

/* Lock and read the row of a claim; false if the claim does not hold it any more. */
extern bool artery_change_lock(const char *tenant_id, const char *change_id, int attempt, ChangeRow *row);

/* Write where a locked change goes. */
extern void artery_change_move(const ChangeRow *row, const ChangeMove *move, TimestampTz moment);

/* Append to the history. */
extern void artery_change_record(const ChangeRow *row, const ChangeRecord *record, TimestampTz moment);

/* sending was applied (or, in a dry run, would have been): completed or the next step of the ramp. */
extern void artery_change_applied(const ChangeRow *row, const ChangeRecord *proof, TimestampTz moment);

/* End in state superseded: by a newer wish, or by somebody's own edit that why tells of. */
extern void artery_change_supersede(const ChangeRow *row, const ChangeValue *in_force, const char *why,
									TimestampTz moment);

extern Jsonb *artery_change_json(const ChangeValue *value); /* NULL for an unknown value */
extern bool artery_change_same(const ChangeValue *a, const ChangeValue *b); /* false if one is unknown */
extern int	artery_change_compare(Numeric a, Numeric b);

#endif							/* ARTERY_DELIVER_CHANGE_ROW_H */
