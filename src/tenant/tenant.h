/*
 * tenant.h
 *		A tenant as C sees it: settings and stages from a cache, and who may use it.
 */
#ifndef ARTERY_TENANT_TENANT_H
#define ARTERY_TENANT_TENANT_H

#include "postgres.h"

#include "tenant/settings.h"

/* One stage of the funnel and what reaching it is worth. */
typedef struct ArteryStage
{
	char	   *name;
	Numeric		value;			/* account currency, >= 0 */
	Numeric		confidence;		/* share 0..1, with the digits it was given */
	char	   *description;	/* may be NULL */
	bool		won;			/* a real deal value replaces its value */
	int			nalias;
	char	  **alias;			/* other ids of the same stage, for example HubSpot's */
} ArteryStage;

#define TENANT_SALT_BYTES 16		/* of those stored; the rest is for tombstones */

typedef struct ArteryTenant
{
	char	   *tenant_id;
	char	   *template;		/* NULL for none */
	TenantSettings settings;
	unsigned char salt[TENANT_SALT_BYTES];	/* mixed into keys of visitors; zeros where there is none */
	bool		has_hubspot_token;	/* contacts of deals can be read from HubSpot */
	int			nstages;
	ArteryStage *stages;		/* by value, then name */
} ArteryTenant;

/* Register the cache's callbacks. */
extern void artery_tenant_init(void);

/*
 * The tenant, from the backend's cache; error 22023 if unknown, 42501 if the
 * session's role is bound to other tenants. The result is valid until the end
 * of the transaction.
 */
extern const ArteryTenant *artery_tenant_get(const char *tenant_id);

/* The same without the check of the role, for the worker and for webhooks; NULL if unknown. */
extern const ArteryTenant *artery_tenant_find(const char *tenant_id);

/* May the session's role (GetOuterUserId) use the tenant? */
extern bool artery_tenant_visible(const char *tenant_id);

/*
 * A secret's value, palloc'd, or NULL; only for code that signs, verifies or
 * sends. With previous not NULL, also the value before it while still valid.
 */
extern char *artery_tenant_secret(const char *tenant_id, const char *name, char **previous);

#endif							/* ARTERY_TENANT_TENANT_H */
