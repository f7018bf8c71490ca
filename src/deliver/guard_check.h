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

#include "tenant/tenant.h"

/* What is to be done. All pointers belong to the caller. */
typedef struct GuardRequest
{
	const ArteryTenant *tenant;
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
 * Lock the campaign against every other judgement until the end of the
 * transaction, or, with skip, return false where somebody else holds it.
 */
extern bool artery_guard_lock(const char *tenant_id, const char *campaign_id, bool skip);

/* Judge at a moment; the caller holds the lock if it means to act. Allocates in the current context. */
extern void artery_guard_judge(const GuardRequest *request, TimestampTz moment, GuardVerdict *verdict);

/* Note a rule that blocks: the one that blocks longest is named. */
extern void artery_guard_block(GuardVerdict *verdict, const char *rule, TimestampTz next_allowed_at);

/* When a change that was blocked at a moment runs again; not finite: when it is told to. */
extern TimestampTz artery_guard_run_at(const GuardVerdict *verdict, TimestampTz moment);

/* Take a place in the hour of the campaign (and of the budget owner, if any). */
extern void artery_guard_reserve(const GuardRequest *request, const char *change_id, int attempt,
								 const char *change_type, TimestampTz moment);

/* Give the place of an attempt back: it certainly was not applied. */
extern void artery_guard_release(const char *tenant_id, const char *change_id, int attempt);

/* A budget is seen in force; a row is written only where it differs from the last one. */
extern void artery_guard_observe(const char *tenant_id, const char *campaign_id, const char *budget_owner_id,
								 Numeric budget, TimestampTz moment);

/* We put a budget into force. */
extern void artery_guard_sent(const char *tenant_id, const char *campaign_id, const char *budget_owner_id,
							  Numeric budget, const char *change_id, TimestampTz moment);

/* The budget in force at a moment as observed, in the current context; NULL if never observed. */
extern Numeric artery_guard_in_force(const char *tenant_id, const char *budget_owner_id, TimestampTz moment);

#endif							/* ARTERY_DELIVER_GUARD_CHECK_H */
