/*
 * change.h
 *		The states of a change in the tables: claim, judge and reserve, settle.
 *
 * The protocol of one change, each step in a short transaction that the caller
 * opens, perhaps for many changes, with the HTTP between them outside any
 * transaction:
 *
 *	claim	-> state sending, attempt raised, no value yet
 *	GET		what is in force now
 *	judge	-> under the campaign's lock: the guard, and with its consent the
 *			   reservation and the value to send (the intent), committed
 *	POST	that value, GET again
 *	settle	-> completed, the next step of a ramp, retry, failed or unknown
 *
 * Whoever settles must present the attempt it claimed; a claim that somebody
 * else took over meanwhile settles nothing.
 */
#ifndef ARTERY_DELIVER_CHANGE_H
#define ARTERY_DELIVER_CHANGE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

typedef struct ChangeClaim
{
	char	   *tenant_id;
	char	   *change_id;		/* uuid as text */
	int			attempt;		/* the fence */
	bool		reconcile;		/* an earlier attempt's outcome is unknown: read, never send, first */
	bool		is_budget;		/* else a status */
	bool		dry_run;		/* of the tenant, when claimed */
	bool		validate;		/* in a dry run: have Meta check the write (validate_only) */
	char	   *campaign_id;
	char	   *target_id;		/* object to read and write */
	char	   *account_id;		/* digits; may be NULL */
	char	   *currency;
	Numeric		budget;			/* wanted in the end; NULL for a status */
	Numeric		sending_budget; /* being sent when the outcome got unknown; NULL otherwise */
	char	   *status;			/* wanted; NULL for a budget */
} ChangeClaim;

/* What Meta says is in force now. */
typedef struct LiveState
{
	bool		known;			/* false: could not be read (dry run without a token) */
	Numeric		budget;			/* per day; NULL where the object has none */
	char	   *status;			/* NULL if not read */
} LiveState;

typedef enum ChangeVerdict
{
	VERDICT_SEND,				/* reserved; send claim->sending_budget or claim->status */
	VERDICT_BLOCKED,			/* row says which rule, the numbers, when it can pass */
	VERDICT_ALREADY,			/* in force already: settled as completed */
	VERDICT_SUPERSEDED,			/* somebody's newer edit or wish won: settled so */
	VERDICT_REFUSED,			/* it can never be (the object carries no daily budget): settled as failed */
	VERDICT_LOST				/* the claim is not ours any more */
} ChangeVerdict;

typedef enum ChangeOutcome
{
	OUTCOME_APPLIED,			/* verified by reading back */
	OUTCOME_NOT_APPLIED_RETRY,	/* certainly not applied; try again later */
	OUTCOME_THROTTLED,			/* certainly not applied; wait, no attempt spent */
	OUTCOME_FAILED,				/* certainly not applied; never again */
	OUTCOME_UNKNOWN				/* may have been applied: reconcile by reading */
} ChangeOutcome;

typedef struct ChangeSettlement
{
	ChangeOutcome outcome;
	TimestampTz not_before;		/* earliest next try; DT_NOBEGIN: the backoff's own */
	const char *rule;			/* for OUTCOME_THROTTLED: shown as blocked_rule */
	const char *error;			/* redacted; NULL if none */
	Jsonb	   *response;		/* redacted; NULL if none */
	double		duration_ms;
} ChangeSettlement;

/* A claimed change in a batch that is judged or settled together. */
typedef struct ChangeTask
{
	ChangeClaim *claim;
	const LiveState *live;		/* to judge it by */
	const ChangeSettlement *settlement; /* or to settle it by */
	MemoryContext context;		/* of what judging adds to the claim */
	ChangeVerdict verdict;		/* of judging; VERDICT_LOST of settling, too, if the claim is not ours any more */
	bool		done;			/* false: somebody else has what it needs, see below */
} ChangeTask;

/*
 * Claim up to limit due changes, fair between tenants, at most one per campaign
 * in flight; claims whose worker is gone are taken back first. Sets *next_due to
 * the moment the next one falls due (DT_NOEND if none; now, if only limit was
 * in the way). Claims and their
 * texts are allocated in the current context.
 *
 * An error ends the claim of all. A careful claim has a subtransaction for each
 * tenant, and where that fails for each of its changes, and sets aside what
 * cannot be claimed (aside.h); it is for the worker only.
 */
extern List *artery_change_claim(int limit, bool careful, TimestampTz *next_due);

/*
 * Claim this approved or blocked change now, whatever its time and whatever
 * else is under way in its campaign; NULL if its state does not allow it. For
 * tests, which race for the campaign's lock with it.
 */
extern ChangeClaim *artery_change_claim_one(const char *tenant_id, const char *change_id);

/*
 * Judge claimed changes of one tenant by what is in force now; with VERDICT_SEND
 * the place is reserved and claim->sending_budget set (a step of a ramp may be
 * smaller than the wish). A budget that was read is recorded as observed. For a
 * claim with reconcile: what is in force equals the value sent -> VERDICT_ALREADY
 * (the step is settled as applied); equals the value before it -> judged anew;
 * something else -> VERDICT_SUPERSEDED.
 *
 * Without wait those whose locks somebody else holds are left (done stays false)
 * for a call of their own that waits. So are, in either case, all but one of
 * those that have their campaign or target in common. An error concerns the whole
 * call.
 */
extern void artery_change_judge(ChangeTask *tasks, int count, bool wait);

/* Settle claimed changes of one tenant; the same holds. */
extern void artery_change_settle(ChangeTask *tasks, int count, bool wait);

#endif							/* ARTERY_DELIVER_CHANGE_H */
