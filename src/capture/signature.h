/*
 * signature.h
 *		HubSpot's request signatures: pure verification, nothing but the arguments.
 *
 * Source: HubSpot developer documentation, "Validating requests".
 */
#ifndef ARTERY_CAPTURE_SIGNATURE_H
#define ARTERY_CAPTURE_SIGNATURE_H

#include "postgres.h"

typedef enum SignatureVersion
{
	SIGNATURE_V1 = 1,			/* hex(sha256(secret + body)) */
	SIGNATURE_V2,				/* hex(sha256(secret + method + uri + body)) */
	SIGNATURE_V3				/* base64(hmac_sha256(secret, method + decoded uri + body + timestamp)) */
} SignatureVersion;

typedef struct SignedRequest
{
	SignatureVersion version;
	const char *method;			/* as sent, such as POST; not needed for v1, like uri */
	const char *uri;			/* full address as HubSpot calls it, query included */
	const char *body;			/* raw bytes */
	size_t		body_length;
	const char *timestamp;		/* header of v3, milliseconds since 1970 in digits */
	const char *signature;		/* header */
} SignedRequest;

/* Did the holder of the secret sign the request? Takes the same time whatever differs. */
extern bool artery_signature_valid(const SignedRequest *request, const char *secret);

/*
 * Is the timestamp made of digits only, and no further than five minutes from
 * the moment given in microseconds since 1970 (exactly five minutes pass)?
 */
extern bool artery_signature_fresh(const char *timestamp, int64 now_us);

#endif							/* ARTERY_CAPTURE_SIGNATURE_H */
