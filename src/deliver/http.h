/*
 * http.h
 *		A few HTTP requests under way at once, without ever blocking the caller.
 *
 * Nothing here knows transactions, tables or Meta. A request is submitted,
 * worked on by artery_http_pump() whenever its sockets or its timer ask for it,
 * and its answer taken by whoever submitted it. All memory is malloc's, since
 * an error of ours must never jump through libcurl.
 */
#ifndef ARTERY_DELIVER_HTTP_H
#define ARTERY_DELIVER_HTTP_H

#include "postgres.h"

#define ARTERY_HTTP_MAX_BODY (1024 * 1024)	/* longest answer that is read */
#define ARTERY_HTTP_ERROR_LENGTH 128

/* What became of a request below the level of HTTP. */
typedef enum HttpTransport
{
	HTTP_ANSWERED,				/* there is a status and a whole body */
	HTTP_NOT_SENT,				/* the server certainly never saw the request */
	HTTP_MAYBE_SENT,			/* it may have been read and acted upon */
	HTTP_UNTRUSTED				/* TLS failed: nothing was sent, and nobody but the operator can help */
} HttpTransport;

/* Headers of an answer that are kept; NULL where absent. */
typedef enum HttpHeader
{
	HTTP_APP_USAGE,				/* X-App-Usage */
	HTTP_BUSINESS_USAGE,		/* X-Business-Use-Case-Usage */
	HTTP_ACCOUNT_USAGE,			/* X-Ad-Account-Usage */
	HTTP_INSIGHTS_THROTTLE,		/* X-FB-Ads-Insights-Throttle */
	HTTP_RETRY_AFTER,			/* Retry-After */
	HTTP_VERSION_WARNING		/* X-Ad-Api-Version-Warning */
} HttpHeader;

#define HTTP_HEADERS (HTTP_VERSION_WARNING + 1)

typedef struct HttpRequest HttpRequest;

typedef struct HttpAnswer
{
	void	   *user;			/* as submitted */
	HttpTransport transport;
	char		error[ARTERY_HTTP_ERROR_LENGTH];	/* of the transport, without addresses or secrets */
	int			status;			/* 0 without an answer */
	const char *headers[HTTP_HEADERS];
	const char *body;			/* not terminated within length, but a zero byte follows; never NULL */
	size_t		length;
	double		duration_ms;
} HttpAnswer;

/* Names of the kept headers, by HttpHeader. */
extern const char *const artery_http_header_names[HTTP_HEADERS];

/* How many more requests artery.http_max_in_flight allows now. */
extern int	artery_http_free(void);

/*
 * Submit a request. owner tells whose answer it is, user comes back with it;
 * method is GET or POST; headers is a NULL-terminated array of "Name: value";
 * body may be NULL and is copied. A POST is submitted to the network once,
 * whatever becomes of its connection; a GET may be repeated.
 * Error 55000 if the address is neither https nor, where allowed, this machine;
 * 53000 if there is no place or libcurl refuses.
 */
extern HttpRequest *artery_http_submit(const void *owner, void *user, const char *method, const char *url,
									   const char *const *headers, const char *body);

/* Work on what is ready; true if a request finished. Never waits. */
extern bool artery_http_pump(void);

/* A finished request of the owner, NULL if none. Its answer lives until it is freed. */
extern HttpRequest *artery_http_take(const void *owner);
extern const HttpAnswer *artery_http_answer(const HttpRequest *request);

/* Forget a request, finished or not. */
extern void artery_http_release(HttpRequest *request);

/*
 * What to wait for: a descriptor that gets readable when there is work, or -1,
 * and in *timeout_ms the longest wait, or -1.
 */
extern int	artery_http_wait_for(long *timeout_ms);

/* Requests under way, and all finished since the process began. */
extern int	artery_http_in_flight(void);
extern uint64 artery_http_finished(void);

#endif							/* ARTERY_DELIVER_HTTP_H */
