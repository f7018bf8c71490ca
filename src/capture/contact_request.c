/*
 * contact_request.c
 *		Deals whose contacts HubSpot shall be asked for: a note for the worker.
 *
 * Whoever calls holds the deal's row and locks of its contact, and may go on to other
 * deals; the worker that settles a reading may wait for such locks. So a row that the
 * worker has locked is left as it is: it is looked at again by itself.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "capture/contact_request.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/shmem.h"

#define MAX_DIGITS 19

/* ON CONFLICT alone would wait for whoever is changing the row. */
static ArteryStatement insert_request = {
	"INSERT INTO artery.contact_fetch (tenant_id, deal_id, run_at, requested_at) SELECT $1, $2, $3, $3 "
	" WHERE NOT EXISTS (SELECT FROM artery.contact_fetch x WHERE x.tenant_id = $1 AND x.deal_id = $2) "
	"ON CONFLICT DO NOTHING",
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};

/* Settled ones begin anew; those that wait for another look, not for HubSpot to recover, need not wait. */
static ArteryStatement renew_request = {
	"UPDATE artery.contact_fetch f "
	"   SET state = 'queued', run_at = $3, requested_at = $3, failures = 0, looks = 0, settled_at = NULL "
	"  FROM (SELECT x.tenant_id, x.deal_id FROM artery.contact_fetch x "
	"         WHERE x.tenant_id = $1 AND x.deal_id = $2 "
	"           AND (x.state = ANY (ARRAY['done', 'failed']) "
	"                OR x.state = 'queued' AND x.failures = 0 AND x.run_at > $3) "
	"           FOR UPDATE SKIP LOCKED) l "
	" WHERE f.tenant_id = $1 AND f.deal_id = l.deal_id",
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};

bool
artery_contact_is_id(const char *id)
{
	size_t		length = strlen(id);

	return length > 0 && length <= MAX_DIGITS && strspn(id, "0123456789") == length;
}

void
artery_contact_request(const ArteryTenant *tenant, const char *deal_id)
{
	Datum		values[3];

	if (!tenant->has_hubspot_token || !artery_contact_is_id(deal_id))
		return;
	values[0] = CStringGetTextDatum(tenant->tenant_id);
	values[1] = CStringGetTextDatum(deal_id);
	values[2] = TimestampTzGetDatum(artery_clock_now());
	if (artery_execute(&insert_request, values, NULL, false, 0) == 0 &&
		artery_execute(&renew_request, values, NULL, false, 0) == 0)
		return;
	artery_wake_at_commit(ARTERY_DELIVERY);
}
