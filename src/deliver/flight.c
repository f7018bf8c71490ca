/*
 * flight.c
 *		A claimed change on its way: made, launched, judged and settled with
 *		others, ended.
 */
#include "artery.h"

#include "utils/memutils.h"

#include "deliver/flight.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/guc.h"
#include "tenant/tenant.h"

#define FIRST_SETTLE_DELAY USECS_PER_SEC

dlist_head	artery_flights = DLIST_STATIC_INIT(artery_flights);

static char *
copy_text(const char *text)
{
	return text == NULL ? NULL : pstrdup(text);
}

static Numeric
copy_numeric(Numeric value)
{
	return value == NULL ? NULL : DatumGetNumericCopy(NumericGetDatum(value));
}

static void
read_credentials(Flight *flight, const Flight *sibling)
{
	const char *tenant_id = flight->claim.tenant_id;

	if (sibling != NULL && strcmp(sibling->claim.tenant_id, tenant_id) == 0)
	{
		flight->credentials.token = copy_text(sibling->credentials.token);
		flight->credentials.app_secret = copy_text(sibling->credentials.app_secret);
		return;
	}
	flight->credentials.token = artery_tenant_secret(tenant_id, "meta_access_token", NULL);
	flight->credentials.app_secret = artery_tenant_secret(tenant_id, "meta_app_secret", NULL);
}

Flight *
artery_flight_make(const ChangeClaim *claim, const Flight *sibling, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "artery flight", ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	const ArteryTenant *tenant = artery_tenant_find(claim->tenant_id);
	Flight	   *flight = palloc0(sizeof(Flight));

	flight->context = context;
	flight->stage = FLIGHT_NEW;
	flight->settle_delay = FIRST_SETTLE_DELAY;
	flight->claim = *claim;
	flight->claim.tenant_id = pstrdup(claim->tenant_id);
	flight->claim.change_id = pstrdup(claim->change_id);
	flight->claim.campaign_id = copy_text(claim->campaign_id);
	flight->claim.target_id = pstrdup(claim->target_id);
	flight->claim.account_id = copy_text(claim->account_id);
	flight->claim.currency = copy_text(claim->currency);
	flight->claim.budget = copy_numeric(claim->budget);
	flight->claim.sending_budget = copy_numeric(claim->sending_budget);
	flight->claim.status = copy_text(claim->status);
	read_credentials(flight, sibling);
	flight->subject.tenant_id = flight->claim.tenant_id;
	flight->subject.account_id = flight->claim.account_id;
	flight->subject.app_id = tenant == NULL ? NULL : copy_text(tenant->settings.meta_app_id);
	flight->subject.token = flight->credentials.token;
	flight->subject.object_id = claim->is_budget && !claim->reconcile ? flight->claim.target_id : NULL;
	MemoryContextSwitchTo(before);
	return flight;
}

void
artery_flight_launch(Flight *flight)
{
	MemoryContextSetParent(flight->context, TopMemoryContext);
	dlist_push_tail(&artery_flights, &flight->node);
}

void
artery_flight_end(Flight *flight)
{
	dlist_delete(&flight->node);
	if (flight->credentials.token != NULL)
		explicit_bzero(flight->credentials.token, strlen(flight->credentials.token));
	if (flight->credentials.app_secret != NULL)
		explicit_bzero(flight->credentials.app_secret, strlen(flight->credentials.app_secret));
	if (CurrentMemoryContext == flight->context)
		MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextDelete(flight->context);
}

int
artery_flight_places(void)
{
	int			most = artery_settings.http_max_in_flight;
	int			flights = 0;
	int			over = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &artery_flights)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);

		flights++;
		over += flight->stage == FLIGHT_SETTLE;
	}
	return Max(Min(Min(artery_http_free(), most - (flights - over)), 2 * most - flights), 0);
}

/* What is over is settled first: what is judged then sees it. */
static int
compare(const Flight *a, const Flight *b)
{
	int			order = strcmp(a->claim.tenant_id, b->claim.tenant_id);

	return order != 0 ? order : (int) b->stage - (int) a->stage;
}

int
artery_flight_batch(Flight **batch)
{
	TimestampTz moment = artery_clock_moment();
	int			count = 0;
	int			i;
	dlist_iter	iter;

	dlist_foreach(iter, &artery_flights)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);

		if ((flight->stage != FLIGHT_JUDGE && flight->stage != FLIGHT_SETTLE) || flight->settle_at > moment ||
			count == FLIGHTS_TOGETHER)
			continue;
		/* of one tenant and stage in the order in which they were claimed */
		for (i = count++; i > 0 && compare(batch[i - 1], flight) > 0; i--)
			batch[i] = batch[i - 1];
		batch[i] = flight;
	}
	return count;
}

/* Flights of one tenant: ask the guard, and write down what is to be sent. */
static void
judge(Flight **flights, int count, bool wait)
{
	const ArteryTenant *tenant = artery_tenant_find(flights[0]->claim.tenant_id);
	ChangeTask	tasks[FLIGHTS_TOGETHER];
	Flight	   *judged[FLIGHTS_TOGETHER];
	int			n = 0;
	int			i;

	for (i = 0; i < count; i++)
	{
		Flight	   *flight = flights[i];

		flight->halted = tenant == NULL || !tenant->settings.enabled ||
			(tenant->settings.dry_run && !flight->claim.dry_run);
		flight->done = flight->halted;
		if (flight->halted)
			continue;
		memset(&tasks[n], 0, sizeof(ChangeTask));
		tasks[n].claim = &flight->claim;
		tasks[n].live = &flight->live;
		tasks[n].context = flight->context;
		judged[n++] = flight;
	}
	artery_change_judge(tasks, n, wait);
	for (i = 0; i < n; i++)
	{
		judged[i]->verdict = tasks[i].verdict;
		judged[i]->done = tasks[i].done;
	}
}

/* Flights of one tenant: write down what became of them. */
static void
settle(Flight **flights, int count, bool wait)
{
	ChangeTask	tasks[FLIGHTS_TOGETHER];
	int			i;

	for (i = 0; i < count; i++)
	{
		ChangeSettlement *settlement = &flights[i]->settlement;

		if (settlement->not_before == DT_NOEND &&
			!artery_throttle_stands(flights[i]->claim.tenant_id, settlement->rule))
			settlement->not_before = artery_clock_moment();
		memset(&tasks[i], 0, sizeof(ChangeTask));
		tasks[i].claim = &flights[i]->claim;
		tasks[i].settlement = settlement;
	}
	artery_change_settle(tasks, count, wait);
	for (i = 0; i < count; i++)
		flights[i]->done = tasks[i].done;
}

void
artery_flight_work(Flight **batch, int count, bool wait)
{
	int			begin;
	int			end;

	for (begin = 0; begin < count; begin = end)
	{
		for (end = begin + 1; end < count && compare(batch[begin], batch[end]) == 0; end++)
			;
		if (batch[begin]->stage == FLIGHT_JUDGE)
			judge(batch + begin, end - begin, wait);
		else
			settle(batch + begin, end - begin, wait);
	}
}
