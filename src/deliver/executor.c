/*
 * executor.c
 *		Sends approved changes: claim, read, judge, write, read back, settle.
 *
 * Each claimed change is a flight with a small state of its own; several are
 * under way at once, and each moves on when its answer comes, so a slow answer
 * holds up nobody else. Transactions are short and only between requests.
 *
 * What makes it safe to die anywhere: a change is claimed (state sending) before
 * the first request; the value to send is committed before the write; the
 * write is submitted at most once per claim. Whoever finds a claim without its
 * worker knows from the row whether something may have been sent, and then reads
 * before it does anything else.
 */
#include "artery.h"

#include "access/xact.h"
#include "lib/ilist.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "deliver/change.h"
#include "deliver/graph_json.h"
#include "deliver/http.h"
#include "deliver/meta.h"
#include "deliver/throttle.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/guc.h"
#include "runtime/worker.h"
#include "tenant/tenant.h"

#define CLAIMS_PER_CALL 4		/* then HTTP gets its turn */
#define CLAIM_INTERVAL (20 * USECS_PER_SEC / 1000)	/* while most places are taken: several at a time cost less */
#define FIRST_SETTLE_DELAY USECS_PER_SEC
#define LONGEST_SETTLE_DELAY (30 * USECS_PER_SEC)
#define LOCKED_WAIT (5 * USECS_PER_SEC)
#define NO_TOKEN_WAIT 900		/* seconds; setting a token ends it at once */

typedef enum FlightStage
{
	FLIGHT_READ,				/* nothing was sent by this claim */
	FLIGHT_WRITE,				/* the write is under way, or its answer is being looked at */
	FLIGHT_VERIFY,				/* it was accepted; being read back */
	FLIGHT_SETTLE				/* only the tables are still to be told */
} FlightStage;

typedef struct Flight
{
	dlist_node	node;			/* in flights */
	MemoryContext context;		/* holds all of it */
	FlightStage stage;
	ChangeClaim claim;
	MetaCredentials credentials;
	ThrottleSubject subject;
	const HttpAnswer *answer;	/* while it is being looked at */
	double		duration_ms;	/* of all requests so far */
	ChangeSettlement settlement;	/* in FLIGHT_SETTLE */
	TimestampTz settle_at;
	int64		settle_delay;
} Flight;

typedef void (*FlightStep) (Flight *flight);

static dlist_head flights = DLIST_STATIC_INIT(flights);
static const char delivery_owner = 0;	/* its address marks our requests */

static void take_answers(void);
static TimestampTz settle_again(void);
static TimestampTz claim_more(void);
static List *claim_batch(TimestampTz *next_due);
static Flight *make_flight(const ChangeClaim *claim, MemoryContext parent);
static void end_flight(Flight *flight);
static void guarded(Flight *flight, FlightStep step);
static void recover(Flight *flight, int code, const char *error);
static void begin(Flight *flight);
static bool hold_throttled(Flight *flight, const char *error);
static void on_answer(Flight *flight);
static void warn_of_version(const HttpAnswer *answer);
static void on_read(Flight *flight, const GraphVerdict *verdict, const Jsonb *parsed);
static void judge(Flight *flight, const LiveState *live);
static void on_written(Flight *flight, const GraphVerdict *verdict);
static void on_verified(Flight *flight, const GraphVerdict *verdict, const Jsonb *parsed);
static bool is_in_force(const ChangeClaim *claim, const LiveState *live);
static void refuse_by_verdict(Flight *flight, const GraphVerdict *verdict);
static void doubt(Flight *flight, const GraphVerdict *verdict, const char *error);
static char *describe(Flight *flight, const GraphVerdict *verdict);
static void hold(Flight *flight, const char *rule, const char *error, int wait_seconds);
static void settle(Flight *flight, ChangeOutcome outcome, const char *error, int wait_seconds);
static void settle_now(Flight *flight);

TimestampTz
artery_delivery_duty(void)
{
	TimestampTz next;

	take_answers();
	next = settle_again();
	return Min(next, claim_more());
}

static void
take_answers(void)
{
	HttpRequest *request;

	while ((request = artery_http_take(&delivery_owner)) != NULL)
	{
		Flight	   *flight = artery_http_answer(request)->user;

		flight->answer = artery_http_answer(request);
		guarded(flight, on_answer);
		artery_http_release(request);
	}
}

/* Flights whose settlement failed, for example because of a lock. */
static TimestampTz
settle_again(void)
{
	TimestampTz next = DT_NOEND;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &flights)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);

		if (flight->stage == FLIGHT_SETTLE && flight->settle_at <= artery_clock_moment())
			guarded(flight, settle_now);
	}
	dlist_foreach_modify(iter, &flights)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);

		if (flight->stage == FLIGHT_SETTLE)
			next = Min(next, flight->settle_at);
	}
	return next;
}

/* Begin as many changes as there are places for requests; returns when the next falls due. */
static TimestampTz
claim_more(void)
{
	static TimestampTz claimed_at = 0;
	int			i;

	if (artery_http_in_flight() > artery_http_free() && artery_clock_wall() < claimed_at + CLAIM_INTERVAL)
		return artery_clock_moment() + CLAIM_INTERVAL;
	claimed_at = artery_clock_wall();
	for (i = 0; i < CLAIMS_PER_CALL; i++)
	{
		TimestampTz next_due;
		List	   *batch;
		ListCell   *cell;

		if (artery_http_free() == 0)
			return DT_NOEND;	/* an answer will call us */
		batch = claim_batch(&next_due);
		foreach(cell, batch)
			guarded(lfirst(cell), begin);
		if (batch == NIL)
			return next_due;
	}
	return artery_clock_moment();
}

/* One transaction: claim, and read what the tenants sign with. */
static List *
claim_batch(TimestampTz *next_due)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "artery claims", ALLOCSET_SMALL_SIZES);
	ArteryScope scope;
	List	   *claims;
	List	   *batch = NIL;
	ListCell   *cell;

	artery_transaction_begin(&scope, "artery: claiming changes");
	MemoryContextSwitchTo(context);
	artery_throttle_load();
	claims = artery_change_claim(artery_http_free(), next_due);
	foreach(cell, claims)
		batch = lappend(batch, make_flight(lfirst(cell), context));
	artery_transaction_commit(&scope);

	/* Only now they are ours; until here an error would have dropped them with the context. */
	foreach(cell, batch)
	{
		Flight	   *flight = lfirst(cell);

		MemoryContextSetParent(flight->context, TopMemoryContext);
		dlist_push_tail(&flights, &flight->node);
	}
	return batch;
}

static char *
copy_text(const char *text)
{
	return text == NULL ? NULL : pstrdup(text);
}

static Numeric
copy_numeric(Numeric value)
{
	return value == NULL ? NULL : DatumGetNumericCopy(NumericGetDatum(value));
}

static Flight *
make_flight(const ChangeClaim *claim, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "artery flight", ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	const ArteryTenant *tenant = artery_tenant_find(claim->tenant_id);
	Flight	   *flight = palloc0(sizeof(Flight));

	flight->context = context;
	flight->stage = FLIGHT_READ;
	flight->settle_delay = FIRST_SETTLE_DELAY;
	flight->claim = *claim;
	flight->claim.tenant_id = pstrdup(claim->tenant_id);
	flight->claim.change_id = pstrdup(claim->change_id);
	flight->claim.campaign_id = copy_text(claim->campaign_id);
	flight->claim.target_id = pstrdup(claim->target_id);
	flight->claim.account_id = copy_text(claim->account_id);
	flight->claim.currency = copy_text(claim->currency);
	flight->claim.budget = copy_numeric(claim->budget);
	flight->claim.sending_budget = copy_numeric(claim->sending_budget);
	flight->claim.status = copy_text(claim->status);
	flight->credentials.token = artery_tenant_secret(claim->tenant_id, "meta_access_token", NULL);
	flight->credentials.app_secret = artery_tenant_secret(claim->tenant_id, "meta_app_secret", NULL);
	flight->subject.tenant_id = flight->claim.tenant_id;
	flight->subject.account_id = flight->claim.account_id;
	flight->subject.app_id = tenant == NULL ? NULL : copy_text(tenant->settings.meta_app_id);
	flight->subject.token = flight->credentials.token;
	flight->subject.object_id = claim->is_budget && !claim->reconcile ? flight->claim.target_id : NULL;
	MemoryContextSwitchTo(before);
	return flight;
}

static void
end_flight(Flight *flight)
{
	dlist_delete(&flight->node);
	if (flight->credentials.token != NULL)
		explicit_bzero(flight->credentials.token, strlen(flight->credentials.token));
	if (flight->credentials.app_secret != NULL)
		explicit_bzero(flight->credentials.app_secret, strlen(flight->credentials.app_secret));
	MemoryContextDelete(flight->context);
}

/* Run a step of a flight; an error ends that step only, and only this flight's. */
static void
guarded(Flight *flight, FlightStep step)
{
	MemoryContext before = CurrentMemoryContext;
	const char *volatile failure = NULL;
	volatile int code = 0;

	MemoryContextSwitchTo(flight->context);
	PG_TRY();
	{
		step(flight);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(flight->context);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		code = error->sqlerrcode;
		failure = artery_meta_redact(error->message, &flight->credentials);
		artery_worker_record_error(failure);
		ereport(LOG, (errcode(error->sqlerrcode), errmsg("artery delivery: %s", failure)));
	}
	PG_END_TRY();
	if (failure != NULL)
		recover(flight, code, failure);
	MemoryContextSwitchTo(before);
}

/* After an error of ours: what is known of the change decides how it is settled. */
static void
recover(Flight *flight, int code, const char *error)
{
	bool		is_locked = code == ERRCODE_LOCK_NOT_AVAILABLE || code == ERRCODE_T_R_DEADLOCK_DETECTED;

	MemoryContextSwitchTo(flight->context);
	if (flight->stage == FLIGHT_SETTLE)
	{
		flight->settle_at = artery_clock_moment() + flight->settle_delay;
		flight->settle_delay = Min(flight->settle_delay * 2, LONGEST_SETTLE_DELAY);
		return;
	}
	flight->settlement.outcome = OUTCOME_UNKNOWN;
	flight->settlement.not_before = DT_NOBEGIN;
	if (flight->stage == FLIGHT_READ && is_locked)
	{
		flight->settlement.outcome = OUTCOME_THROTTLED; /* somebody works on it: no fault of the change */
		flight->settlement.rule = "locked";
		flight->settlement.not_before = artery_clock_moment() + LOCKED_WAIT;
	}
	else if (flight->stage == FLIGHT_READ)
		flight->settlement.outcome = OUTCOME_NOT_APPLIED_RETRY;
	flight->settlement.error = error;
	flight->settlement.duration_ms = flight->duration_ms;
	flight->stage = FLIGHT_SETTLE;
	guarded(flight, settle_now);
}

static void
begin(Flight *flight)
{
	ChangeClaim *claim = &flight->claim;
	LiveState	unseen = {false, NULL, NULL};

	if (claim->dry_run && !claim->reconcile)
		judge(flight, &unseen);
	else if (flight->credentials.token == NULL)
		hold(flight, "token", "no meta_access_token is set", NO_TOKEN_WAIT);
	else if (!hold_throttled(flight, NULL))
		(void) artery_meta_read(&delivery_owner, flight, claim, &flight->credentials);
}

/* Hold a change back whose account, token or the like has to be left alone; false if nothing is in its way. */
static bool
hold_throttled(Flight *flight, const char *error)
{
	TimestampTz until;
	const char *rule;

	if (!artery_throttle_applies(&flight->subject, &until, &rule))
		return false;
	flight->settlement.not_before = until;
	hold(flight, rule, error, -1);
	return true;
}

static void
on_answer(Flight *flight)
{
	const HttpAnswer *answer = flight->answer;
	Jsonb	   *parsed = artery_graph_parse(answer->body, answer->length);
	GraphVerdict verdict = artery_graph_classify(answer, flight->stage == FLIGHT_WRITE ? GRAPH_WRITE : GRAPH_READ,
												 parsed);

	flight->duration_ms += answer->duration_ms;
	warn_of_version(answer);
	flight->settlement.response = artery_meta_summary(answer, &verdict, parsed, &flight->credentials);
	artery_throttle_note(&flight->subject, answer, &verdict);
	switch (flight->stage)
	{
		case FLIGHT_READ:
			on_read(flight, &verdict, parsed);
			break;
		case FLIGHT_WRITE:
			on_written(flight, &verdict);
			break;
		case FLIGHT_VERIFY:
			on_verified(flight, &verdict, parsed);
			break;
		default:
			elog(ERROR, "an answer came for a change that is being settled");
	}
}

/* Meta says that the version's end has come; once per setting is enough. */
static void
warn_of_version(const HttpAnswer *answer)
{
	static char warned[8] = "";

	if (answer->headers[HTTP_VERSION_WARNING] == NULL || strcmp(warned, artery_settings.meta_api_version) == 0)
		return;
	strlcpy(warned, artery_settings.meta_api_version, sizeof(warned));
	artery_worker_record_error("Meta serves artery.meta_api_version by a newer one only");
	ereport(LOG,
			(errmsg("Meta does not serve version %s of its API any more, but a newer one in its place", warned),
			 errhint("Raise artery.meta_api_version.")));
}

static void
on_read(Flight *flight, const GraphVerdict *verdict, const Jsonb *parsed)
{
	const ChangeClaim *claim = &flight->claim;
	MetaObject	object;

	if (verdict->class != GRAPH_OK)
	{
		refuse_by_verdict(flight, verdict);
		return;
	}
	object = artery_meta_object(parsed, claim->currency);
	if (object.account_id != NULL && claim->account_id != NULL && strcmp(object.account_id, claim->account_id) != 0)
		settle(flight, OUTCOME_FAILED,
			   psprintf("%s belongs to ad account %s, not to the tenant's %s", claim->target_id, object.account_id,
						claim->account_id), 0);
	else if (claim->is_budget && object.live.budget == NULL && object.has_lifetime_budget)
		settle(flight, OUTCOME_FAILED,
			   psprintf("%s has a lifetime budget; only daily budgets are changed", claim->target_id), 0);
	else
		judge(flight, &object.live);
}

/* Ask the guard and write down what is to be sent; only then send it. */
static void
judge(Flight *flight, const LiveState *live)
{
	ChangeClaim *claim = &flight->claim;
	ChangeVerdict verdict;
	ArteryScope scope;

	if (!artery_settings.enabled)
	{
		hold(flight, "disabled", "artery.enabled is off", 0);
		return;
	}
	if (!claim->dry_run && hold_throttled(flight, NULL))
		return;					/* another answer taught it meanwhile */
	artery_transaction_begin(&scope, "artery: judging a change");
	MemoryContextSwitchTo(flight->context);
	verdict = artery_change_judge(claim, live);
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(flight->context);

	if (verdict != VERDICT_SEND)
		end_flight(flight);		/* settled with the verdict, or not ours any more */
	else if (claim->dry_run)
		settle(flight, OUTCOME_APPLIED, NULL, 0);
	else
	{
		(void) artery_meta_write(&delivery_owner, flight, claim, &flight->credentials);
		flight->stage = FLIGHT_WRITE;
	}
}

static void
on_written(Flight *flight, const GraphVerdict *verdict)
{
	if (verdict->class != GRAPH_OK)
	{
		refuse_by_verdict(flight, verdict);
		return;
	}
	flight->stage = FLIGHT_VERIFY;
	(void) artery_meta_read(&delivery_owner, flight, &flight->claim, &flight->credentials);
}

/* "success" alone proves nothing: an unknown parameter is ignored with success. */
static void
on_verified(Flight *flight, const GraphVerdict *verdict, const Jsonb *parsed)
{
	MetaObject	object;

	if (verdict->class != GRAPH_OK)
	{
		doubt(flight, verdict, describe(flight, verdict));
		return;
	}
	object = artery_meta_object(parsed, flight->claim.currency);
	if (is_in_force(&flight->claim, &object.live))
		settle(flight, OUTCOME_APPLIED, NULL, 0);
	else
		settle(flight, OUTCOME_UNKNOWN, "Meta accepted the change, but something else is in force", 0);
}

static bool
is_in_force(const ChangeClaim *claim, const LiveState *live)
{
	if (!claim->is_budget)
		return live->status != NULL && strcmp(live->status, claim->status) == 0;
	return live->budget != NULL &&
		DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(live->budget),
										 NumericGetDatum(claim->sending_budget)));
}

/* A read or a write was not accepted. */
static void
refuse_by_verdict(Flight *flight, const GraphVerdict *verdict)
{
	char	   *error = describe(flight, verdict);
	int			wait = verdict->wait_seconds;

	switch (verdict->class)
	{
		case GRAPH_RETRY:
		case GRAPH_SHRINK:
			settle(flight, OUTCOME_NOT_APPLIED_RETRY, error, wait);
			break;
		case GRAPH_THROTTLE:
		case GRAPH_THROTTLE_OBJECT:
		case GRAPH_TOKEN:
		case GRAPH_HUMAN:
		case GRAPH_CONFIG:
			/* what was learnt from it says how long; what does not concern changes is only waited for */
			if (!hold_throttled(flight, error))
				hold(flight, "throttled", error, wait);
			break;
		case GRAPH_PERMANENT:
			settle(flight, OUTCOME_FAILED, error, 0);
			break;
		default:
			doubt(flight, verdict, error);
			break;
	}
}

/* Reading back need not wait long unless Meta asked for it. */
static void
doubt(Flight *flight, const GraphVerdict *verdict, const char *error)
{
	settle(flight, OUTCOME_UNKNOWN, error, verdict->has_error ? verdict->wait_seconds : 0);
}

/* What went wrong, in a line without secrets. */
static char *
describe(Flight *flight, const GraphVerdict *verdict)
{
	char	   *message;

	if (flight->answer->transport != HTTP_ANSWERED)
		return pstrdup(flight->answer->error);
	if (!verdict->has_error)
		return psprintf("an answer with HTTP status %d that says nothing", flight->answer->status);
	message = verdict->message == NULL ? pstrdup("no message") :
		artery_meta_redact(verdict->message, &flight->credentials);
	if (verdict->subcode != 0)
		return psprintf("Meta's error " INT64_FORMAT "/" INT64_FORMAT ": %s", verdict->code, verdict->subcode, message);
	return psprintf("Meta's error " INT64_FORMAT ": %s", verdict->code, message);
}

/* Certainly not applied, and not the change's fault: wait without spending an attempt. */
static void
hold(Flight *flight, const char *rule, const char *error, int wait_seconds)
{
	flight->settlement.rule = pstrdup(rule);
	settle(flight, OUTCOME_THROTTLED, error, wait_seconds);
}

/* wait_seconds 0 leaves the time to the backoff; below 0 not_before is set already. */
static void
settle(Flight *flight, ChangeOutcome outcome, const char *error, int wait_seconds)
{
	ChangeSettlement *settlement = &flight->settlement;

	settlement->outcome = outcome;
	settlement->error = error;
	settlement->duration_ms = flight->duration_ms;
	if (outcome == OUTCOME_THROTTLED && wait_seconds == 0)
		settlement->not_before = artery_clock_moment();
	else if (wait_seconds == 0)
		settlement->not_before = DT_NOBEGIN;
	else if (wait_seconds > 0)
		settlement->not_before = artery_clock_moment() + wait_seconds * USECS_PER_SEC;
	flight->stage = FLIGHT_SETTLE;
	settle_now(flight);
}

static void
settle_now(Flight *flight)
{
	ChangeSettlement *settlement = &flight->settlement;
	ArteryScope scope;

	artery_transaction_begin(&scope, "artery: settling a change");
	if (settlement->not_before == DT_NOEND && !artery_throttle_stands(flight->claim.tenant_id, settlement->rule))
		settlement->not_before = artery_clock_moment();
	(void) artery_change_settle(&flight->claim, settlement);
	artery_transaction_commit(&scope);
	end_flight(flight);
}
