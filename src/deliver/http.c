/*
 * http.c
 *		A few HTTP requests under way at once: the only file that knows libcurl.
 *
 * libcurl's multi interface tells which sockets it waits for; they are kept in
 * an epoll set, whose single descriptor the worker can wait for together with
 * its latch. So one slow server holds up nobody, and a signal ends a wait at
 * once.
 *
 * libcurl starts threads to resolve names. They inherit the mask of signals,
 * and a handler of PostgreSQL's must not run in them, so signals are blocked
 * while libcurl is at work.
 */
#include "artery.h"

#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/ilist.h"
#include "libpq/pqsignal.h"
#include "portability/instr_time.h"

#include "deliver/http.h"
#include "runtime/guc.h"

#if LIBCURL_VERSION_NUM < 0x074400
#error "artery needs libcurl 7.68.0 or later"
#endif

#define MAX_HEADER 8192			/* longest kept value of a header */
#define MAX_EVENTS 256
#define KEPT_CONNECTIONS 256	/* the most that may be under way */

struct HttpRequest
{
	dlist_node	node;			/* in requests */
	const void *owner;
	CURL	   *easy;
	struct curl_slist *headers;
	bool		finished;
	bool		too_long;
	instr_time	started;
	char	   *kept[HTTP_HEADERS];
	char	   *body;
	size_t		capacity;
	char	   *outgoing;		/* what is sent, NULL for none */
	size_t		outgoing_length;
	size_t		outgoing_sent;
	HttpAnswer	answer;
};

const char *const artery_http_header_names[HTTP_HEADERS] = {
	"X-App-Usage", "X-Business-Use-Case-Usage", "X-Ad-Account-Usage", "X-FB-Ads-Insights-Throttle", "Retry-After",
	"X-Ad-Api-Version-Warning"
};

static CURLM *multi = NULL;
static int	poll_fd = -1;
static long timer_ms = -1;		/* as libcurl asked at timer_set; -1: none */
static instr_time timer_set;
static dlist_head requests = DLIST_STATIC_INIT(requests);
static int	in_flight = 0;
static uint64 finished_total = 0;

static void prepare(void);
static bool is_allowed(const char *url);
static HttpRequest *make_request(const char *method, const char *url, const char *const *headers, const char *body);
static CURLcode set_options(HttpRequest *request, const char *method, const char *url);
static int	on_socket(CURL *easy, curl_socket_t socket, int what, void *user, void *socket_user);
static int	on_timer(CURLM *which, long timeout_ms, void *user);
static size_t on_outgoing(char *buffer, size_t size, size_t count, void *user);
static size_t on_body(char *data, size_t size, size_t count, void *user);
static size_t on_header(char *data, size_t size, size_t count, void *user);
static void finish(HttpRequest *request, CURLcode code);
static void date_to_seconds(HttpRequest *request);
static HttpTransport judge_transport(HttpRequest *request, CURLcode code);
static long timer_left(void);

/* Milliseconds since a moment. */
static double
elapsed_ms(instr_time since)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, since);
	return INSTR_TIME_GET_MILLISEC(now);
}

int
artery_http_free(void)
{
	return Max(artery_settings.http_max_in_flight - in_flight, 0);
}

int
artery_http_in_flight(void)
{
	return in_flight;
}

uint64
artery_http_finished(void)
{
	return finished_total;
}

HttpRequest *
artery_http_submit(const void *owner, void *user, const char *method, const char *url,
				   const char *const *headers, const char *body)
{
	HttpRequest *request;

	prepare();
	if (!is_allowed(url))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("only https addresses are called"),
				 errhint("artery.allow_loopback_http allows plain http to this machine, for tests.")));
	if (artery_http_free() == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("artery.http_max_in_flight requests are under way already")));
	request = make_request(method, url, headers, body);
	if (request == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not begin an HTTP request")));
	request->owner = owner;
	request->answer.user = user;
	INSTR_TIME_SET_CURRENT(request->started);
	dlist_push_tail(&requests, &request->node);
	in_flight++;
	return request;
}

/* Once per process: libcurl, its set of requests, the epoll set. */
static void
prepare(void)
{
	if (multi != NULL)
		return;
	if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not initialize libcurl")));
	if (poll_fd < 0)
		poll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (poll_fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create an epoll set: %m")));
	multi = curl_multi_init();
	if (multi == NULL ||
		curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) KEPT_CONNECTIONS) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING) != CURLM_OK)
	{
		multi = NULL;
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not initialize libcurl")));
	}
}

/* https anywhere; http to this machine only, and only where a superuser allowed it. */
static bool
is_allowed(const char *url)
{
	if (strncmp(url, "https://", 8) == 0)
		return true;
	return artery_settings.allow_loopback_http && artery_is_loopback_url(url);
}

static HttpRequest *
make_request(const char *method, const char *url, const char *const *headers, const char *body)
{
	HttpRequest *request = calloc(1, sizeof(HttpRequest));
	bool		ok = request != NULL;
	sigset_t	before;

	if (!ok)
		return NULL;
	request->answer.body = "";
	request->easy = curl_easy_init();
	ok = request->easy != NULL;
	while (ok && headers != NULL && *headers != NULL)
	{
		struct curl_slist *longer = curl_slist_append(request->headers, *headers++);

		ok = longer != NULL;
		if (ok)
			request->headers = longer;
	}
	if (ok && body != NULL)
	{
		request->outgoing = strdup(body);
		request->outgoing_length = strlen(body);
		ok = request->outgoing != NULL;
	}
	ok = ok && set_options(request, method, url) == CURLE_OK;

	sigprocmask(SIG_SETMASK, &BlockSig, &before);
	ok = ok && curl_multi_add_handle(multi, request->easy) == CURLM_OK;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (ok)
		return request;

	if (request->easy != NULL)
		curl_easy_cleanup(request->easy);
	curl_slist_free_all(request->headers);
	free(request->outgoing);
	free(request);
	return NULL;
}

/* Set one option unless an earlier one failed. */
#define SET(option, value) \
	do { \
		if (code == CURLE_OK) \
			code = curl_easy_setopt(easy, (option), (value)); \
	} while (0)

static CURLcode
set_options(HttpRequest *request, const char *method, const char *url)
{
	CURL	   *easy = request->easy;
	CURLcode	code = CURLE_OK;
	bool		is_post = strcmp(method, "POST") == 0;

	SET(CURLOPT_URL, url);
	SET(CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
	SET(CURLOPT_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
	SET(CURLOPT_QUICK_EXIT, 1L);	/* a resolver that hangs must not hold us up */
#endif
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_UNRESTRICTED_AUTH, 0L);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_NOPROXY, "127.0.0.1,localhost,::1");
	SET(CURLOPT_USERAGENT, "artery/" ARTERY_VERSION);
	SET(CURLOPT_TIMEOUT_MS, (long) artery_settings.http_timeout);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) artery_settings.http_connect_timeout);
	SET(CURLOPT_HTTPHEADER, request->headers);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, request);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, request);
	SET(CURLOPT_PRIVATE, request);
	if (is_post)
	{
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) request->outgoing_length);
		SET(CURLOPT_READFUNCTION, on_outgoing);
		SET(CURLOPT_READDATA, request);
		if (request->outgoing_length == 0)
			SET(CURLOPT_FRESH_CONNECT, 1L); /* without a body nothing keeps it from being repeated */
	}
	else
		SET(CURLOPT_HTTPGET, 1L);
	return code;
}

/* libcurl wants to know of a socket, or no more. */
static int
on_socket(CURL *easy, curl_socket_t socket, int what, void *user, void *socket_user)
{
	struct epoll_event event;

	if (what == CURL_POLL_REMOVE)
	{
		/* It may be closed already, which took it out of the set. */
		(void) epoll_ctl(poll_fd, EPOLL_CTL_DEL, socket, NULL);
		return 0;
	}
	memset(&event, 0, sizeof(event));
	event.data.fd = socket;
	if (what & CURL_POLL_IN)
		event.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		event.events |= EPOLLOUT;
	if (epoll_ctl(poll_fd, EPOLL_CTL_MOD, socket, &event) == 0)
		return 0;
	if (errno == ENOENT && epoll_ctl(poll_fd, EPOLL_CTL_ADD, socket, &event) == 0)
		return 0;
	return -1;
}

static int
on_timer(CURLM *which, long timeout_ms, void *user)
{
	timer_ms = timeout_ms;
	INSTR_TIME_SET_CURRENT(timer_set);
	return 0;
}

/*
 * What a POST sends. On a connection that was used before, libcurl repeats a
 * request whose answer never came. That must not happen to a write, and cannot
 * once the first byte of the body was taken: there is no way to rewind here, so
 * libcurl gives up (CURLE_SEND_FAIL_REWIND). Without its body a request cannot
 * have been acted upon, so until then a repetition is harmless.
 */
static size_t
on_outgoing(char *buffer, size_t size, size_t count, void *user)
{
	HttpRequest *request = user;
	size_t		length = Min(size * count, request->outgoing_length - request->outgoing_sent);

	memcpy(buffer, request->outgoing + request->outgoing_sent, length);
	request->outgoing_sent += length;
	return length;
}

static size_t
on_body(char *data, size_t size, size_t count, void *user)
{
	HttpRequest *request = user;
	size_t		length = size * count;
	size_t		needed = request->answer.length + length + 1;

	if (needed > ARTERY_HTTP_MAX_BODY + 1)
	{
		request->too_long = true;
		return 0;
	}
	if (needed > request->capacity)
	{
		size_t		capacity = Max(needed, Max(request->capacity * 2, 4096));
		char	   *larger = realloc(request->body, capacity);

		if (larger == NULL)
			return 0;
		request->body = larger;
		request->capacity = capacity;
	}
	memcpy(request->body + request->answer.length, data, length);
	request->answer.length += length;
	request->body[request->answer.length] = '\0';
	request->answer.body = request->body;
	return length;
}

static size_t
on_header(char *data, size_t size, size_t count, void *user)
{
	HttpRequest *request = user;
	size_t		length = size * count;
	int			i;

	for (i = 0; i < HTTP_HEADERS; i++)
	{
		size_t		name_length = strlen(artery_http_header_names[i]);
		size_t		begin = name_length + 1;
		size_t		end = length;

		if (length <= name_length || data[name_length] != ':' ||
			pg_strncasecmp(data, artery_http_header_names[i], name_length) != 0)
			continue;
		while (begin < end && (data[begin] == ' ' || data[begin] == '\t'))
			begin++;
		while (end > begin && strchr(" \t\r\n", data[end - 1]) != NULL)
			end--;
		free(request->kept[i]);
		request->kept[i] = end - begin > MAX_HEADER ? NULL : strndup(data + begin, end - begin);
		request->answer.headers[i] = request->kept[i];
	}
	return length;
}

bool
artery_http_pump(void)
{
	struct epoll_event events[MAX_EVENTS];
	CURLMsg    *message;
	bool		any = false;
	sigset_t	before;
	int			running;
	int			left;
	int			ready;
	int			i;

	if (multi == NULL || in_flight == 0)
		return false;
	ready = epoll_wait(poll_fd, events, MAX_EVENTS, 0);

	sigprocmask(SIG_SETMASK, &BlockSig, &before);
	for (i = 0; i < ready; i++)
	{
		int			what = 0;

		if (events[i].events & (EPOLLIN | EPOLLHUP))
			what |= CURL_CSELECT_IN;
		if (events[i].events & EPOLLOUT)
			what |= CURL_CSELECT_OUT;
		if (events[i].events & EPOLLERR)
			what |= CURL_CSELECT_ERR;
		(void) curl_multi_socket_action(multi, events[i].data.fd, what, &running);
	}
	if (timer_left() == 0)
	{
		timer_ms = -1;			/* libcurl sets the next */
		(void) curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		HttpRequest *request = NULL;

		if (message->msg != CURLMSG_DONE ||
			curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &request) != CURLE_OK)
			continue;
		finish(request, message->data.result);
		any = true;
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return any;
}

static void
finish(HttpRequest *request, CURLcode code)
{
	HttpAnswer *answer = &request->answer;
	long		status = 0;

	answer->duration_ms = elapsed_ms(request->started);
	answer->transport = judge_transport(request, code);
	(void) curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	answer->status = (int) status;
	date_to_seconds(request);
	if (code != CURLE_OK)
		snprintf(answer->error, sizeof(answer->error), "%s",
				 request->too_long ? "the answer is longer than 1 MB" : curl_easy_strerror(code));
	(void) curl_multi_remove_handle(multi, request->easy);
	curl_easy_cleanup(request->easy);
	request->easy = NULL;
	request->finished = true;
	in_flight--;
	finished_total++;
}

/* Retry-After may be a date; callers know it as seconds from now. */
static void
date_to_seconds(HttpRequest *request)
{
	char	  **value = &request->kept[HTTP_RETRY_AFTER];
	curl_off_t	seconds = 0;
	char		text[32];

	if (*value == NULL || strspn(*value, "0123456789") == strlen(*value))
		return;
	if (curl_easy_getinfo(request->easy, CURLINFO_RETRY_AFTER, &seconds) != CURLE_OK || seconds <= 0)
		return;
	snprintf(text, sizeof(text), "%lld", (long long) seconds);
	free(*value);
	*value = strdup(text);
	request->answer.headers[HTTP_RETRY_AFTER] = *value;
}

/*
 * Could the server have seen the request? Only what certainly happened before
 * its first byte left counts as not sent.
 */
static HttpTransport
judge_transport(HttpRequest *request, CURLcode code)
{
	long		sent = 0;

	switch (code)
	{
		case CURLE_OK:
			return HTTP_ANSWERED;
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CIPHER:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_ISSUER_ERROR:
		case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
		case CURLE_SSL_INVALIDCERTSTATUS:
			return HTTP_UNTRUSTED;
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_RESOLVE_PROXY:
		case CURLE_COULDNT_CONNECT:
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_URL_MALFORMAT:
		case CURLE_UNSUPPORTED_PROTOCOL:
			return HTTP_NOT_SENT;
		default:
			if (curl_easy_getinfo(request->easy, CURLINFO_REQUEST_SIZE, &sent) == CURLE_OK && sent == 0)
				return HTTP_NOT_SENT;
			return HTTP_MAYBE_SENT;
	}
}

HttpRequest *
artery_http_take(const void *owner)
{
	dlist_iter	iter;

	dlist_foreach(iter, &requests)
	{
		HttpRequest *request = dlist_container(HttpRequest, node, iter.cur);

		if (request->finished && request->owner == owner)
			return request;
	}
	return NULL;
}

const HttpAnswer *
artery_http_answer(const HttpRequest *request)
{
	return &request->answer;
}

void
artery_http_release(HttpRequest *request)
{
	int			i;

	dlist_delete(&request->node);
	if (request->easy != NULL)
	{
		(void) curl_multi_remove_handle(multi, request->easy);
		curl_easy_cleanup(request->easy);
		in_flight--;
	}
	curl_slist_free_all(request->headers);	/* holds the token */
	for (i = 0; i < HTTP_HEADERS; i++)
		free(request->kept[i]);
	free(request->body);
	if (request->outgoing != NULL)
		explicit_bzero(request->outgoing, request->outgoing_length);	/* holds the proof */
	free(request->outgoing);
	free(request);
}

/* Milliseconds until libcurl's timer, -1 if it has none. */
static long
timer_left(void)
{
	double		elapsed;

	if (timer_ms < 0)
		return -1;
	elapsed = elapsed_ms(timer_set);
	return elapsed >= timer_ms ? 0 : (long) (timer_ms - elapsed) + 1;
}

int
artery_http_wait_for(long *timeout_ms)
{
	*timeout_ms = -1;
	if (multi == NULL || in_flight == 0)
		return -1;
	*timeout_ms = timer_left();
	return poll_fd;
}
