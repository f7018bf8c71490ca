/*
 * privacy.c
 *		Persons who were erased: what comes in of them is not kept.
 *
 * Most tenants never erased anybody, and are asked only that.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "capture/privacy.h"
#include "runtime/dbtx.h"

static ArteryStatement select_any = {
	"SELECT 1 FROM artery.erased_identity e WHERE e.tenant_id = $1", 1, {TEXTOID}, NULL
};
static ArteryStatement select_erased = {
	"SELECT artery.is_erased($1, $2, $3)", 3, {TEXTOID, TEXTOID, TEXTOID}, NULL
};
static ArteryStatement select_key = {
	"SELECT 'erased|' || pg_catalog.encode(artery.identity_hash($1, 'event', $2), 'hex')", 2, {TEXTOID, TEXTOID}, NULL
};
static ArteryStatement erase_person = {
	"SELECT artery.erase_person($1, $2, NULL, NULL, NULL, 'hubspot')", 2, {TEXTOID, TEXTOID}, NULL
};

bool
artery_privacy_is_erased(Datum tenant_id, const char *kind, Datum id)
{
	Datum		values[3] = {tenant_id};

	/* not read-only: an erasure that was waited for must be seen */
	if (artery_execute(&select_any, values, NULL, false, 1) == 0)
		return false;
	values[1] = CStringGetTextDatum(kind);
	values[2] = id;
	return artery_execute(&select_erased, values, NULL, false, 1) > 0 && artery_field_bool(0, 1);
}

/* Is it of a person who was erased, whatever it tells? */
static bool
is_of_erased(Datum tenant_id, const WebhookEvent *event)
{
	bool		erased = event->person_id != NULL &&
		artery_privacy_is_erased(tenant_id, "contact", CStringGetTextDatum(event->person_id));
	int			i;

	for (i = 0; event->kind == EVENT_CONTACT_MERGE && i < event->merge.count && !erased; i++)
		erased = artery_privacy_is_erased(tenant_id, "contact", CStringGetTextDatum(event->merge.gone[i]));
	return erased;
}

void
artery_privacy_screen_events(WebhookEvent **events, int count)
{
	Datum		values[2];
	int			i;

	values[0] = CStringGetTextDatum(events[0]->tenant->tenant_id);
	for (i = 0; i < count; i++)
	{
		WebhookEvent *event = events[i];

		if (!is_of_erased(values[0], event))
			continue;
		values[1] = CStringGetTextDatum(event->key);
		(void) artery_execute(&select_key, values, NULL, false, 1);
		event->key = artery_field_text(0, 1);
		event->payload = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{\"erased\": true}")));
		event->kind = EVENT_OTHER;
		event->erased = true;
		event->object_id = event->contact_id = event->person_id = NULL;
	}
}

void
artery_privacy_erase_contact(const ArteryTenant *tenant, const char *contact_id)
{
	Datum		values[2];

	values[0] = CStringGetTextDatum(tenant->tenant_id);
	values[1] = CStringGetTextDatum(contact_id);
	(void) artery_execute(&erase_person, values, NULL, false, 0);
}
