/*
 * meta.h
 *		Calls of Meta's Graph API: how requests are built and answers are read.
 *
 * No tables and no transaction. Minor units go through currency.h only.
 */
#ifndef ARTERY_DELIVER_META_H
#define ARTERY_DELIVER_META_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#include "deliver/change.h"
#include "deliver/graph_error.h"
#include "deliver/http.h"

/* What a tenant signs its calls with. */
typedef struct MetaCredentials
{
	char	   *token;			/* system user's access token */
	char	   *app_secret;		/* NULL: calls carry no appsecret_proof */
} MetaCredentials;

/* What an answer to a read tells of an object. */
typedef struct MetaObject
{
	LiveState	live;
	bool		has_lifetime_budget;
	char	   *account_id;		/* digits; NULL if not told */
} MetaObject;

/* hex HMAC-SHA256 of the token under the app's secret (Meta, "Secure Graph API calls"); palloc'd. */
extern char *artery_meta_proof(const MetaCredentials *credentials);

/*
 * Submit the read of what a change is about, or the write of its value: for a
 * budget claim->sending_budget, for a status claim->status. Errors as
 * artery_http_submit's, and of the currency (22023, 22003).
 */
extern HttpRequest *artery_meta_read(const void *owner, void *user, const ChangeClaim *claim,
									 const MetaCredentials *credentials);
extern HttpRequest *artery_meta_write(const void *owner, void *user, const ChangeClaim *claim,
									  const MetaCredentials *credentials);

/*
 * Submit any other call: GET or POST to an object, or to an edge of it (NULL for
 * none), with parameters as artery_meta_parameter built them. Errors as
 * artery_http_submit's.
 */
extern HttpRequest *artery_meta_call(const void *owner, void *user, const char *method, const char *object,
									 const char *edge, const char *parameters, const MetaCredentials *credentials);

/* Add a parameter, escaped. */
extern void artery_meta_parameter(StringInfo parameters, const char *name, const char *value);

/* Read the answer to artery_meta_read; error 22003 if a budget is no amount. */
extern MetaObject artery_meta_object(const Jsonb *parsed, const char *currency);

/*
 * What the history keeps of an answer: status, codes, Meta's message without
 * the credentials, the budget and status read; never the answer as it came.
 */
extern Jsonb *artery_meta_summary(const HttpAnswer *answer, const GraphVerdict *verdict, const Jsonb *parsed,
								  const MetaCredentials *credentials);

/* The text without the credentials and anything that looks like a token; palloc'd. */
extern char *artery_meta_redact(const char *text, const MetaCredentials *credentials);

#endif							/* ARTERY_DELIVER_META_H */
