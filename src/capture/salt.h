/*
 * salt.h
 *		Keys of visitors under their tenant's salt.
 *
 * Equal visitors of one tenant have equal keys; the keys of two tenants have
 * nothing to do with each other, and who does not know the salt cannot tell which
 * address or device a key is of.
 */
#ifndef ARTERY_CAPTURE_SALT_H
#define ARTERY_CAPTURE_SALT_H

#include "postgres.h"

#include "tenant/tenant.h"

/* The key under the salt (TENANT_SALT_BYTES of them); 0, unknown, stays 0. */
extern int64 artery_salt_seal(const unsigned char *salt, int64 key);

#endif							/* ARTERY_CAPTURE_SALT_H */
