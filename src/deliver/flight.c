/*
 * flight.c
 *		A claimed change on its way: made, launched, ended.
 */
#include "artery.h"

#include "utils/memutils.h"

#include "deliver/flight.h"
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

Flight *
artery_flight_make(const ChangeClaim *claim, MemoryContext parent)
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
	flight->credentials.token = artery_tenant_secret(claim->tenant_id, "meta_access_token", NULL);
	flight->credentials.app_secret = artery_tenant_secret(claim->tenant_id, "meta_app_secret", NULL);
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
	MemoryContextDelete(flight->context);
}

int
artery_flight_places(void)
{
	int			flights = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &artery_flights)
		flights++;
	return Min(artery_http_free(), Max(artery_settings.http_max_in_flight - flights, 0));
}
