/*
 * graph_error.h
 *		What an answer of the Graph API means for the change that asked.
 *
 * Pure: no tables, no time. The rules, in this order: the transport; then, by
 * presence of "error" in the body and never by the HTTP status, code and
 * subcode together, a code of a million or more read as a subcode, the code, the
 * range of the code, is_transient; what is left is unknown.
 */
#ifndef ARTERY_DELIVER_GRAPH_ERROR_H
#define ARTERY_DELIVER_GRAPH_ERROR_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "deliver/http.h"

typedef enum GraphClass
{
	GRAPH_OK,					/* ok_verify: accepted; a write is still to be read back */
	GRAPH_RETRY,				/* retry_later: certainly not applied, or a read */
	GRAPH_THROTTLE,				/* throttle: the scope (app, account) has to wait */
	GRAPH_THROTTLE_OBJECT,		/* throttle_object: budget writes of this object have to wait */
	GRAPH_TOKEN,				/* token_stop_tenant: the tenant's credential is unusable */
	GRAPH_PERMANENT,			/* permanent: never as it is */
	GRAPH_AMBIGUOUS,			/* ambiguous: may have been applied; read, then decide */
	GRAPH_SHRINK,				/* shrink_and_retry: a read that asked for too much */
	GRAPH_HUMAN,				/* stop_account_human: blocked for a reason only a person can clear */
	GRAPH_CONFIG				/* config_stop_all: the operator's settings are wrong */
} GraphClass;

typedef enum GraphScope
{
	SCOPE_CHANGE,
	SCOPE_OBJECT,
	SCOPE_ACCOUNT,
	SCOPE_TENANT,
	SCOPE_APP
} GraphScope;

typedef enum GraphOperation
{
	GRAPH_READ,
	GRAPH_WRITE
} GraphOperation;

typedef struct GraphVerdict
{
	GraphClass	class;
	GraphScope	scope;
	int			wait_seconds;	/* least wait before the next try; 0: none known */
	bool		has_error;		/* the body had an error object; then: */
	int64		code;
	int64		subcode;		/* 0: none */
	char	   *message;		/* Meta's, at most 512 bytes, not yet redacted; NULL if none */
	char	   *trace;			/* fbtrace_id, NULL if none */
} GraphVerdict;

/* What the usage headers say of the quota. */
typedef struct GraphUsage
{
	double		max_percent;	/* the fullest of all quotas; 0 if none is told */
	int			pause_seconds;	/* until access is regained */
	GraphScope	pause_scope;	/* SCOPE_ACCOUNT or SCOPE_APP; of the pause, or of the fullest */
	char	   *pause_account;	/* digits; NULL if the header names none */
	char	   *pause_type;		/* ads_management, ads_insights ...; NULL if not told */
	bool		full_tier;		/* only where the header says standard_access */
	bool		names_account;	/* the one asked for is in X-Business-Use-Case-Usage */
} GraphUsage;

extern const char *artery_graph_class_name(GraphClass class);
extern const char *artery_graph_scope_name(GraphScope scope);

/*
 * Classify an answer. parsed is the body as artery_graph_parse gave it. The
 * headers lengthen the wait: by what they say of the account (digits), or, where
 * they do not name it or NULL is given, of any, which may be its business.
 */
extern GraphVerdict artery_graph_classify(const HttpAnswer *answer, GraphOperation operation, const Jsonb *parsed,
										  const char *account_id);

/* Is it a quota of Insights alone that refused? */
extern bool artery_graph_refuses_insights(const GraphVerdict *verdict);

#define USE_CASE_MANAGEMENT "ads_management"
#define USE_CASE_INSIGHTS "ads_insights"

/*
 * Read the usage headers; values that are no JSON count as absent. With an
 * account (digits), what they say of other accounts is left out, so that it
 * neither hides nor slows this one; with a use case, what they say of others.
 * NULL leaves out nothing. Meta may name a business instead of the account: its
 * number is not known here, so then the header says nothing.
 */
extern GraphUsage artery_graph_usage(const char *const headers[HTTP_HEADERS], const char *account_id,
									 const char *use_case);

#endif							/* ARTERY_DELIVER_GRAPH_ERROR_H */
