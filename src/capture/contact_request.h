/*
 * contact_request.h
 *		Deals whose contacts HubSpot shall be asked for: a note for the worker.
 */
#ifndef ARTERY_CAPTURE_CONTACT_REQUEST_H
#define ARTERY_CAPTURE_CONTACT_REQUEST_H

#include "postgres.h"

#include "tenant/tenant.h"

/*
 * Queue the reading of a deal's contacts in artery.contact_fetch, within the
 * caller's scope, and wake the worker at commit. Nothing is done where the tenant
 * has no hubspot_access_token or the id is none of HubSpot's (digits), or while the
 * deal's contacts are being read. Waits for no lock that the worker holds.
 */
extern void artery_contact_request(const ArteryTenant *tenant, const char *deal_id);

/* Is it an id as HubSpot makes them: 1 to 19 digits, fit for an address as it is? */
extern bool artery_contact_is_id(const char *id);

#endif							/* ARTERY_CAPTURE_CONTACT_REQUEST_H */
