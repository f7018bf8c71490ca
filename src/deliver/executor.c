/*
 * executor.c
 *		Sends approved changes: claim, read, judge, write, read back, settle.
 *
 * Each claimed change is a flight with a small state of its own; several are
 * under way at once, and each moves on when its answer comes, so a slow answer
 * holds up nobody else. Transactions are short and only between requests; what
 * is to be judged, settled or claimed at the same moment shares one, and if that
 * fails, each gets its own.
 *
 * What makes it safe to die anywhere: a change is claimed (state sending) before
 * the first request; the value to send is committed before the write; the
 * write is submitted at most once per claim. Whoever finds a claim without its
 * worker knows from the row whether something may have been sent, and then reads
 * before it does anything else.
 */
#include "artery.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "deliver/aside.h"
#include "deliver/flight.h"
#include "deliver/graph_json.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/guc.h"
#include "runtime/worker.h"
#include "tenant/tenant.h"

#define ROUNDS_PER_CALL 8		/* then HTTP gets its turn */
#define CLAIM_INTERVAL (20 * USECS_PER_SEC / 1000)	/* while few places are free: several at a time cost less */
#define LONGEST_SETTLE_DELAY (30 * USECS_PER_SEC)
#define LOCKED_WAIT (5 * USECS_PER_SEC)
#define NO_TOKEN_WAIT 300		/* seconds; setting a token ends it at once */

static const char delivery_owner = 0;	/* its address marks our requests */

static void take_answers(void);
static bool work_off(bool *drained, TimestampTz *next);
static void prepare(void);
static bool may_claim(int places, TimestampTz claimed_at, TimestampTz *next);
static bool together(Flight **batch, int count, List **claims, TimestampTz *next);
static TimestampTz next_settlement(void);
static List *claim(MemoryContext context, bool careful, TimestampTz *next);
static void claim_alone(List **claims, TimestampTz *next);
static void launch(List *flights);
static void guarded(Flight *flight, FlightStep step);
static void recover(Flight *flight, int code, const char *error);
static void begin(Flight *flight);
static bool hold_throttled(Flight *flight, const char *error);
static void on_answer(Flight *flight);
static void warn_of_version(const HttpAnswer *answer);
static void on_read(Flight *flight, const GraphVerdict *verdict, const Jsonb *parsed);
static void look_once_more(Flight *flight);
static void on_judged(Flight *flight);
static void on_written(Flight *flight, const GraphVerdict *verdict);
static void on_verified(Flight *flight, const GraphVerdict *verdict, const Jsonb *parsed);
static bool is_in_force(const ChangeClaim *claim, const LiveState *live);
static void refuse_by_verdict(Flight *flight, const GraphVerdict *verdict);
static void doubt(Flight *flight, const GraphVerdict *verdict, const char *error);
static char *describe(Flight *flight, const GraphVerdict *verdict);
static void hold(Flight *flight, const char *rule, const char *error, int wait_seconds);
static void settle(Flight *flight, ChangeOutcome outcome, const char *error, int wait_seconds);
static void work_alone(Flight *flight);
static void on_done(Flight *flight);

TimestampTz
artery_delivery_duty(void)
{
	TimestampTz next = DT_NOEND;
	bool		drained = false;
	int			rounds = 0;

	take_answers();
	while (work_off(&drained, &next) && ++rounds < ROUNDS_PER_CALL)
		;
	return Min(rounds == ROUNDS_PER_CALL ? artery_clock_moment() : next, next_settlement());
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

/*
 * One round, if there is anything to do: judge what was read, settle what is
 * over, claim what is due. *drained: nothing more is, as a claim has shown; *next:
 * when to claim again.
 */
static bool
work_off(bool *drained, TimestampTz *next)
{
	static TimestampTz claimed_at = 0;
	MemoryContext before = CurrentMemoryContext;
	Flight	   *batch[FLIGHTS_TOGETHER];
	List	   *claims = NIL;
	bool		claims_now;
	bool		went_well;
	int			places;
	int			count;
	int			i;

	prepare();
	count = artery_flight_batch(batch);
	places = artery_flight_places();
	claims_now = !*drained && may_claim(places, claimed_at, next);
	if (count == 0 && !claims_now)
		return false;
	if (claims_now)
		claimed_at = artery_clock_wall();
	went_well = together(batch, count, claims_now ? &claims : NULL, next);
	for (i = 0; i < count; i++)
		guarded(batch[i], went_well && batch[i]->done ? on_done : work_alone);
	if (!went_well && claims_now)
		claim_alone(&claims, next);
	launch(claims);
	*drained |= claims_now && list_length(claims) < places;
	MemoryContextSwitchTo(before);
	return count > 0 || claims != NIL;
}

/* What has to be done before a round: ask what is in force, and look whether anything holds what was read back. */
static void
prepare(void)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &artery_flights)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);

		if (flight->stage == FLIGHT_NEW)
			guarded(flight, begin);
		if (flight->stage == FLIGHT_JUDGE)
			guarded(flight, look_once_more);
	}
}

/* Are there enough places for more changes, or if few, was the last claim long enough ago? */
static bool
may_claim(int places, TimestampTz claimed_at, TimestampTz *next)
{
	*next = places == 0 ? DT_NOEND : artery_clock_moment() + CLAIM_INTERVAL;	/* an answer will call us */
	return places > 0 && (places >= artery_settings.http_max_in_flight / 4 ||
						  artery_clock_wall() >= claimed_at + CLAIM_INTERVAL);
}

/*
 * All of a round in one transaction, so in one flush to disk; claims NULL: claim
 * nothing. False if it failed: whose fault that was shows when each part is tried
 * alone.
 */
static bool
together(Flight **batch, int count, List **claims, TimestampTz *next)
{
	MemoryContext before = CurrentMemoryContext;
	ArteryScope scope;
	volatile bool committed = false;

	PG_TRY();
	{
		artery_transaction_begin(&scope, "artery: judging, settling and claiming changes");
		artery_flight_work(batch, count, count == 1);
		if (claims != NULL)
			*claims = claim(before, artery_aside_any(), next);
		artery_transaction_commit(&scope);
		committed = true;
	}
	PG_CATCH();
	{
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(before);
	return committed;
}

/* Flights whose settlement failed, for example because of a lock, are settled later. */
static TimestampTz
next_settlement(void)
{
	TimestampTz next = DT_NOEND;
	dlist_iter	iter;

	dlist_foreach(iter, &artery_flights)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);

		if (flight->stage == FLIGHT_SETTLE || flight->stage == FLIGHT_JUDGE)
			next = Min(next, flight->settle_at);
	}
	return next;
}

/* Within a transaction: claim as many as there are places for, and read what the tenants sign with. */
static List *
claim(MemoryContext context, bool careful, TimestampTz *next)
{
	List	   *flights = NIL;
	List	   *claims;
	ListCell   *cell;

	artery_throttle_load();
	MemoryContextSwitchTo(context); /* only here: a statement leaves us in SPI's own, which ends with the scope */
	claims = artery_change_claim(artery_flight_places(), careful, next);
	foreach(cell, claims)
		flights = lappend(flights, artery_flight_make(lfirst(cell), flights == NIL ? NULL : llast(flights), context));
	return flights;
}

/* A claim that failed with the rest of its round, or made the rest fail: now with care. */
static void
claim_alone(List **claims, TimestampTz *next)
{
	MemoryContext before = CurrentMemoryContext;
	ArteryScope scope;

	artery_transaction_begin(&scope, "artery: claiming changes");
	*claims = claim(before, true, next);
	artery_transaction_commit(&scope);
}

/* Only now they are ours: what was claimed before an error went with the memory of the round. */
static void
launch(List *flights)
{
	ListCell   *cell;

	foreach(cell, flights)
		artery_flight_launch(lfirst(cell));
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
		MemoryContextSwitchTo(flight->context); /* which the abort left */
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
	if (flight->stage <= FLIGHT_JUDGE && is_locked)
	{
		flight->settlement.outcome = OUTCOME_THROTTLED; /* somebody works on it: no fault of the change */
		flight->settlement.rule = "locked";
		flight->settlement.not_before = artery_clock_moment() + LOCKED_WAIT;
	}
	else if (flight->stage <= FLIGHT_JUDGE || flight->claim.validate)
		flight->settlement.outcome = OUTCOME_NOT_APPLIED_RETRY;
	flight->settlement.error = error;
	flight->settlement.duration_ms = flight->duration_ms;
	flight->stage = FLIGHT_SETTLE;
	flight->settle_at = 0;
}

static void
begin(Flight *flight)
{
	ChangeClaim *claim = &flight->claim;

	flight->stage = FLIGHT_READ;
	if (claim->dry_run && !claim->validate && !claim->reconcile)
		flight->stage = FLIGHT_JUDGE;	/* by what is known */
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
												 parsed, flight->subject.account_id);

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
	{
		flight->live = object.live;
		flight->stage = FLIGHT_JUDGE;
	}
}

/* The last moment at which nothing was sent: does nothing stop it? */
static void
look_once_more(Flight *flight)
{
	if (!artery_settings.enabled)
		hold(flight, "disabled", "artery.enabled is off", 0);
	else if (!flight->claim.dry_run)
		(void) hold_throttled(flight, NULL);	/* another answer may have taught it meanwhile */
}

/* A change that could not be judged or settled together with others. */
static void
work_alone(Flight *flight)
{
	ArteryScope scope;

	artery_transaction_begin(&scope, flight->stage == FLIGHT_JUDGE ? "artery: judging a change" : "artery: settling a change");
	artery_flight_work(&flight, 1, true);
	artery_transaction_commit(&scope);
	MemoryContextSwitchTo(flight->context);
	on_done(flight);
}

/* It is judged or settled, and committed. */
static void
on_done(Flight *flight)
{
	if (flight->stage == FLIGHT_JUDGE)
		on_judged(flight);
	else
		artery_flight_end(flight);
}

/* What is to be sent is written down; only now it is sent. */
static void
on_judged(Flight *flight)
{
	ChangeClaim *claim = &flight->claim;

	if (flight->halted)
		hold(flight, "disabled", "the tenant was turned off or to dry run", 0);
	else if (flight->verdict != VERDICT_SEND)
		artery_flight_end(flight);	/* settled with the verdict, or not ours any more */
	else if (claim->dry_run && !claim->validate)
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
		refuse_by_verdict(flight, verdict);
	else if (flight->claim.validate)
		settle(flight, OUTCOME_APPLIED, NULL, 0);
	else
	{
		flight->stage = FLIGHT_VERIFY;
		(void) artery_meta_read(&delivery_owner, flight, &flight->claim, &flight->credentials);
	}
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
	/* what was only to be checked certainly was not applied */
	settle(flight, flight->claim.validate ? OUTCOME_NOT_APPLIED_RETRY : OUTCOME_UNKNOWN, error,
		   verdict->has_error ? verdict->wait_seconds : 0);
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
	flight->settle_at = 0;
}
