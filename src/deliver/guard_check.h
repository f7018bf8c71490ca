/*
 * guard_check.h
 *		The guard over the tables: what was done, what is in force, and the
 *		reservation of a place under the campaign's lock.
 */
#ifndef ARTERY_DELIVER_GUARD_CHECK_H
#define ARTERY_DELIVER_GUARD_CHECK_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "deliver/guard.h"
#include "runtime/rows.h"
#include "tenant/tenant.h"

struct OwnerFacts;

/*
 * What the tables say of a campaign and of the object to be written. The last
 * budgets are kept up to date as budgets are observed and sent.
 */
typedef struct GuardFacts
{
	const char *campaign_id;	/* these three are asked for */
	const char *target_id;
	bool		is_budget;		/* the target's budget is to be changed, else its status */
	int			nactions;		/* of the campaign in the last hour */
	TimestampTz *actions;		/* the newest first */
	int			nowner_actions; /* of the target, if it is a budget owner */
	TimestampTz *owner_actions;
	int			nseen;			/* its budgets in the window and the last one before it, ascending */
	GuardObservation *seen;
	Numeric		in_force;		/* the last of them; NULL if there is none */
	bool		in_force_sent;	/* by artery */
	char	   *paused;			/* the paused ad set or campaign that the target is or belongs to; NULL if none */
	struct OwnerFacts *owner;	/* owner.c's */
} GuardFacts;

/* What is to be written of changes of one tenant: a statement for each kind. */
typedef struct GuardWrites
{
	const char *tenant_id;
	ArteryRows	actions;
	ArteryRows	releases;
	ArteryRows	observations;
	ArteryRows	owners;
	const GuardFacts *owner_of; /* the last of them */
} GuardWrites;

/* What is to be done. All pointers belong to the caller. */
typedef struct GuardRequest
{
	const ArteryTenant *tenant;
	GuardFacts *facts;			/* as of the moment of the judgement */
	const char *campaign_id;
	const char *budget_owner_id;	/* NULL for a status */
	Numeric		target;			/* wanted budget; NULL for a status */
	Numeric		assumed;		/* budget in force where none was ever observed; may be NULL */
	bool		any_step;		/* safety override: the velocity rule does not hold the change back */
	const char *target_id;		/* object that is written */
	const char *change_id;		/* does not count itself among what is being sent */
	const char *status;			/* wanted; NULL for a budget */
	const char *live_status;	/* of the target as read just now; NULL if it was not */
	Numeric		in_force;		/* budget before; NULL if not known */
} GuardRequest;

typedef struct GuardVerdict
{
	bool		allowed;
	const char *rule;			/* the rule that blocks: rate_limit, owner_limit, velocity, unknown_budget, or owner.h's */
	const char *refused;		/* it can never be, and why; NULL otherwise */
	TimestampTz next_allowed_at;	/* when all rules let a step pass; DT_NOEND if not foreseeable */
	TimestampTz look_at;		/* where not foreseeable, ask again then: DT_NOEND when told to, 0 for the usual time */
	Numeric		step;			/* budget to send: the target, or the largest allowed step to it; NULL for a status */
	Jsonb	   *checks;			/* the numbers */
} GuardVerdict;

/*
 * Lock campaigns against every other judgement until the end of the
 * transaction. With skip those that somebody else holds are left out, else they
 * are waited for; locked[i] says which are held now.
 */
extern void artery_guard_lock(const char *tenant_id, const char *const *campaign_ids, int count, bool skip,
							  bool *locked);

/*
 * Read the facts of these campaigns and targets as of a moment. With what_if the
 * moment may be past and what came later does not count; else a clock that was
 * set back hides no action. What the account and the owner tell is not read then.
 */
extern void artery_guard_load(const ArteryTenant *tenant, GuardFacts **facts, int count, TimestampTz as_of,
							  bool what_if);

/* Judge at a moment; the caller holds the lock if it means to act. Allocates in the current context. */
extern void artery_guard_judge(const GuardRequest *request, TimestampTz moment, GuardVerdict *verdict);

/* Note a rule that blocks: the one that blocks longest is named. */
extern void artery_guard_block(GuardVerdict *verdict, const char *rule, TimestampTz next_allowed_at);

/* When a change that was blocked at a moment runs again; not finite: when it is told to. */
extern TimestampTz artery_guard_run_at(const GuardVerdict *verdict, TimestampTz moment);

extern void artery_guard_writes_init(GuardWrites *writes, const char *tenant_id);
extern void artery_guard_flush(GuardWrites *writes);

/* Take a place in the hour of the campaign (and of the budget owner, if any). */
extern void artery_guard_reserve(GuardWrites *writes, const GuardRequest *request, int attempt,
								 const char *change_type, TimestampTz moment);

/* Give the place of an attempt back: it certainly was not applied. */
extern void artery_guard_release(GuardWrites *writes, const char *change_id, int attempt);

/* A budget is seen in force; a row is written only where it differs from the last one. */
extern void artery_guard_observe(GuardWrites *writes, GuardFacts *facts, Numeric budget, TimestampTz moment);

/* We put a budget into force; facts may lack everything but the names where nothing is judged by them any more. */
extern void artery_guard_sent(GuardWrites *writes, GuardFacts *facts, Numeric budget, const char *change_id,
							  TimestampTz moment);

/* Whole units of guard.h at or below (up: at or above) an amount, capped; and back, with the currency's decimals. */
extern int64 artery_guard_units(Numeric amount, bool up);
extern Numeric artery_guard_amount(int64 units, int digits);

/* The velocity rule of a tenant. */
extern void artery_guard_rule(const ArteryTenant *tenant, GuardRule *rule);

#endif							/* ARTERY_DELIVER_GUARD_CHECK_H */
