/*
 * privacy.h
 *		Persons who were erased: what comes in of them is not kept.
 *
 * artery.erase_contact() leaves salted hashes of their ids behind; the doors by
 * which ids come in ask here.
 */
#ifndef ARTERY_CAPTURE_PRIVACY_H
#define ARTERY_CAPTURE_PRIVACY_H

#include "postgres.h"

#include "capture/webhook.h"

/* Was this contact, e-mail hash ("email") or deal (text) erased? Within a scope. */
extern bool artery_privacy_is_erased(Datum tenant_id, const char *kind, Datum id);

/*
 * Take out of events that tell of erased contacts what names them, before they
 * are stored; sets erased. All of one tenant. Within a scope.
 */
extern void artery_privacy_screen_events(WebhookEvent **events, int count);

/* Erase a contact because HubSpot says so (contact.privacyDeletion). Within a scope. */
extern void artery_privacy_erase_contact(const ArteryTenant *tenant, const char *contact_id);

#endif							/* ARTERY_CAPTURE_PRIVACY_H */
