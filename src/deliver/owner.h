/*
 * owner.h
 *		What a budget owner and its account allow, beyond rate and velocity.
 *
 * The rules, by the name a change is blocked with:
 *	owner_paused	a person stopped the ad set, the campaign or what it is in
 *	disabled		artery.enabled or the tenant's enabled is off
 *	account			the ad account is not active (Meta: account_status other than 1)
 *	currency		Meta tells another currency than the tenant's: amounts would be wrong
 *	floor			less than Meta takes: its minimum, or 110 % of what was spent on the
 *					account's present day (Meta, "Ad set reference"); with the day it ends
 *	owner_cap		outside the tenant's min_budget and max_budget
 *	learning		an increase while Meta's learning phase lasts
 *	tenant_cap		the budgets of all owners that deliver would exceed daily_budget and
 *					its tolerance in sum. What lowers the sum always passes, so of a
 *					reallocation the decreases go first and make room for the increases.
 */
#ifndef ARTERY_DELIVER_OWNER_H
#define ARTERY_DELIVER_OWNER_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"

#include "deliver/guard_check.h"

/*
 * Judge a request, with its facts, that the other rules were asked about; adds to the verdict
 * and to the text of its checks. The caller is inside a scope. An increase
 * under daily_budget takes a lock of the tenant's until the transaction ends.
 */
extern void artery_owner_judge(const GuardRequest *request, TimestampTz moment, GuardVerdict *verdict,
							   StringInfo checks);

/* Read what owners and the account tell of these targets, into facts->owner, and facts->paused. */
extern void artery_owner_load(const ArteryTenant *tenant, GuardFacts **facts, int count, TimestampTz moment);

/* facts->paused alone. */
extern void artery_owner_load_paused(const char *tenant_id, GuardFacts **facts, int count);

/* The object that keeps a budget owner's budget by what was seen last, palloc'd. */
extern char *artery_owner_keeper(const char *tenant_id, const char *campaign_id, const char *budget_owner_id);

/*
 * The account's day of a moment as days since 2000-01-01, and the moment it
 * ends. Days are not always 24 hours; an unknown zone counts as UTC.
 */
extern int32 artery_owner_day(TimestampTz moment, const char *time_zone, TimestampTz *ends);

#endif							/* ARTERY_DELIVER_OWNER_H */
