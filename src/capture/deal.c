/*
 * deal.c
 *		A deal's way through the stages: late, repeated and backward moves.
 *
 * The events of a deal are folded in the order of their times: each has the
 * stage and the real value in force after it, and its increment is the
 * difference of two neighbours. So the sum of the increments is the value of
 * the present stage by construction, in whatever order events arrive: an
 * event that comes late is put in its place and its successors are corrected.
 * Among equal times the order of arrival decides.
 *
 * A real value counts from the moment it was known on, so a correction of the
 * amount after the deal was won is an increment of its own.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "capture/contact_request.h"
#include "capture/deal.h"
#include "capture/identity.h"
#include "capture/privacy.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/json.h"
#include "value/revenue.h"

/* 2010-01-01 UTC: nothing older can be meant. */
#define EARLIEST_EVENT (INT64CONST(3653) * USECS_PER_DAY)

/* An event of the deal in its place. */
typedef struct ChainEvent
{
	TimestampTz occurred_at;
	int64		seq;			/* 0: not stored yet */
	char	   *event_id;
	bool		is_value;		/* told only the real value */
	char	   *stage_from;
	char	   *stage_to;
	Numeric		base_value;
	bool		is_won;
	Numeric		confidence;		/* NULL without a stage */
	Numeric		deal_value;		/* told by this event, or NULL */
	Numeric		stage_value;
	Numeric		increment;
	bool		corrected;		/* differs from what is stored */
} ChainEvent;

typedef struct Chain
{
	int			count;
	ChainEvent *events;			/* with room for one more */
} Chain;

/* What is in force after an event. */
typedef struct ChainState
{
	char	   *stage;
	Numeric		base_value;
	bool		is_won;
	Numeric		confidence;
	Numeric		deal_value;
	Numeric		value;
	TimestampTz stage_since;	/* DT_NOBEGIN without a stage, like the next */
	TimestampTz first_event_at;
} ChainState;

/* The deal's row, as locked. */
typedef struct DealRow
{
	char	   *method;
	double		confidence;
	char	   *ad_id;
	char	   *campaign_id;
	bool		has_stage;
} DealRow;

static ArteryStatement lock_deal = {
	"SELECT attribution_method, attribution_confidence, ad_id, campaign_id, stage IS NOT NULL "
	"  FROM artery.deal WHERE tenant_id = $1 AND deal_id = $2 FOR UPDATE",
	2, {TEXTOID, TEXTOID}, NULL
};
static ArteryStatement insert_deal = {
	"INSERT INTO artery.deal (tenant_id, deal_id, updated_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement update_deal = {
	"UPDATE artery.deal SET crm_contact_id = coalesce($3, crm_contact_id), stage = $4, stage_since = $5, "
	"       stage_value = $6, stage_confidence = $7, deal_value = $8, is_won = $9, first_event_at = $10, "
	"       updated_at = $11 "
	" WHERE tenant_id = $1 AND deal_id = $2",
	11, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, NUMERICOID, NUMERICOID, NUMERICOID, BOOLOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement update_contact = {
	"UPDATE artery.deal SET updated_at = $5, crm_contact_id = "
	"       CASE WHEN NOT $4 THEN $3 WHEN crm_contact_id <> $3 THEN crm_contact_id END "
	" WHERE tenant_id = $1 AND deal_id = $2",
	5, {TEXTOID, TEXTOID, TEXTOID, BOOLOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement select_events = {
	"SELECT occurred_at, event_seq, event_id, is_value, stage_from, stage_to, base_value, is_won, confidence, "
	"       deal_value, stage_value, increment "
	"  FROM artery.deal_stage_event WHERE tenant_id = $1 AND deal_id = $2 ORDER BY occurred_at, event_seq",
	2, {TEXTOID, TEXTOID}, NULL
};
static ArteryStatement insert_event = {
	"INSERT INTO artery.deal_stage_event (tenant_id, deal_id, occurred_at, event_id, is_value, stage_from, stage_to, "
	"       base_value, is_won, stage_value, increment, confidence, deal_value, recorded_at) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
	14, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, BOOLOID, TEXTOID, TEXTOID, NUMERICOID, BOOLOID, NUMERICOID,
	NUMERICOID, NUMERICOID, NUMERICOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement correct_event = {
	"UPDATE artery.deal_stage_event SET stage_from = $5, stage_to = $6, base_value = $7, is_won = $8, "
	"       stage_value = $9, increment = $10, confidence = $11 "
	" WHERE tenant_id = $1 AND deal_id = $2 AND occurred_at = $3 AND event_seq = $4",
	11, {TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID, TEXTOID, TEXTOID, NUMERICOID, BOOLOID, NUMERICOID, NUMERICOID,
	NUMERICOID}, NULL
};
static ArteryStatement attribute_deal = {
	"SELECT artery.attribute_deal($1, $2)", 2, {TEXTOID, TEXTOID}, NULL
};
static ArteryStatement enqueue_decision = {
	"SELECT artery.enqueue_job($1, 'budget-optimization', "
	"       pg_catalog.jsonb_build_object('reason', 'high_value', 'deal_id', $2), singleton_key => 'high_value')",
	2, {TEXTOID, TEXTOID}, NULL
};

static void check_move(const DealMove *move, TimestampTz now);
static void lock_or_create(const char *tenant_id, const char *deal_id, DealRow *deal);
static void load_chain(Chain *chain, const char *tenant_id, const char *deal_id);
static ChainEvent *find_duplicate(const Chain *chain, const DealMove *move);
static ChainEvent *place_event(Chain *chain, const DealMove *move);
static void fold_chain(Chain *chain, ChainState *state);
static void store_chain(const Chain *chain, const ChainState *state, const ArteryTenant *tenant, const DealMove *move);
static void attribute(const ArteryTenant *tenant, const char *deal_id, DealRow *deal);
static bool is_high_value(const TenantSettings *settings, const ChainEvent *event);
static Jsonb *build_answer(const char *status, const char *deal_id, const ChainEvent *event, const DealRow *deal);

static bool
is_attributed(const DealRow *deal)
{
	return strcmp(deal->method, "unattributed") != 0;
}

void
artery_deal_record(const ArteryTenant *tenant, const DealMove *move, TimestampTz now, DealResult *result)
{
	DealRow		deal;
	Chain		chain;
	ChainState	state;
	ChainEvent *event;

	check_move(move, now);
	memset(result, 0, sizeof(DealResult));
	lock_or_create(tenant->tenant_id, move->deal_id, &deal);
	load_chain(&chain, tenant->tenant_id, move->deal_id);
	event = find_duplicate(&chain, move);
	if (event != NULL)
	{
		result->duplicate = true;
		result->answer = build_answer("duplicate", move->deal_id, event, &deal);
		return;
	}
	event = place_event(&chain, move);
	fold_chain(&chain, &state);
	store_chain(&chain, &state, tenant, move);
	if (state.stage != NULL && !is_attributed(&deal))
		attribute(tenant, move->deal_id, &deal);
	result->high_value = is_high_value(&tenant->settings, event);
	result->answer = build_answer("processed", move->deal_id, event, &deal);
}

void
artery_deal_set_contact(const ArteryTenant *tenant, const char *deal_id, const char *contact_id, bool removed)
{
	DealRow		deal;
	Datum		values[5];

	artery_deal_check_id(deal_id, "deal_id");
	artery_deal_check_id(contact_id, "crm_contact_id");
	lock_or_create(tenant->tenant_id, deal_id, &deal);
	values[0] = CStringGetTextDatum(tenant->tenant_id);
	values[1] = CStringGetTextDatum(deal_id);
	values[2] = CStringGetTextDatum(contact_id);
	artery_identity_lock(values[0], values[1], true, values[2], false);
	/* one that is parted under its old id is not the one that stays */
	if (!removed)
		values[2] = artery_identity_survivor(values[0], values[2]);
	if (artery_privacy_is_erased(values[0], "contact", values[2]))
		return;
	values[3] = BoolGetDatum(removed);
	values[4] = TimestampTzGetDatum(artery_clock_now());
	(void) artery_execute(&update_contact, values, NULL, false, 0);
	if (deal.has_stage && !removed && !is_attributed(&deal))
		attribute(tenant, deal_id, &deal);
}

void
artery_deal_ask_decision(const char *tenant_id, const char *deal_id)
{
	Datum		values[2];

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(deal_id);
	(void) artery_execute(&enqueue_decision, values, NULL, false, 0);
}

void
artery_deal_check_id(const char *id, const char *what)
{
	if (id == NULL)
		return;
	if (id[0] == '\0' || strlen(id) > ARTERY_MAX_ID)
		ereport(ERROR,
				(errcode(id[0] == '\0' ? ERRCODE_INVALID_PARAMETER_VALUE : ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("%s has 1 to %d bytes", what, ARTERY_MAX_ID),
				 errhint("Give the id that the CRM uses.")));
}

static void
check_move(const DealMove *move, TimestampTz now)
{
	artery_deal_check_id(move->deal_id, "deal_id");
	artery_deal_check_id(move->contact_id, "crm_contact_id");
	artery_deal_check_id(move->event_id, "event_id");
	artery_deal_value_check(move->deal_value);
	if (TIMESTAMP_NOT_FINITE(move->occurred_at) || move->occurred_at < EARLIEST_EVENT ||
		move->occurred_at > now + USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_FIELD_OVERFLOW),
				 errmsg("occurred_at %s is out of range", timestamptz_to_str(move->occurred_at)),
				 errdetail("Events from 2010-01-01 to one day ahead are accepted."),
				 errhint("Times in milliseconds since 1970 must be divided by 1000 for to_timestamp().")));
}

/* Lock the deal's row and read it; false if there is none. */
static bool
lock_row(Datum *ids, DealRow *deal)
{
	if (artery_execute(&lock_deal, ids, NULL, false, 1) == 0)
		return false;
	deal->method = artery_field_text(0, 1);
	deal->confidence = artery_field_double(0, 2);
	deal->ad_id = artery_field_text(0, 3);
	deal->campaign_id = artery_field_text(0, 4);
	deal->has_stage = artery_field_bool(0, 5);
	SPI_freetuptable(SPI_tuptable);
	return true;
}

/* Lock the deal's row, made if need be: every move of a deal waits here for the one before. */
static void
lock_or_create(const char *tenant_id, const char *deal_id, DealRow *deal)
{
	Datum		values[3];

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(deal_id);
	values[2] = TimestampTzGetDatum(artery_clock_now());
	if (lock_row(values, deal))
		return;
	if (artery_execute(&insert_deal, values, NULL, false, 0) == 1)
	{
		/* Ours alone until we commit. */
		memset(deal, 0, sizeof(DealRow));
		deal->method = pstrdup("unattributed");
		return;
	}
	if (!lock_row(values, deal))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not lock deal \"%s\" that another transaction has just made", deal_id),
				 errdetail("The snapshot of this transaction does not show it."),
				 errhint("Run the transaction again.")));
}

static Numeric
copy_numeric(uint64 row, int column)
{
	bool		isnull;
	Datum		value = artery_field(row, column, &isnull);

	return isnull ? NULL : DatumGetNumericCopy(value);
}

static void
load_chain(Chain *chain, const char *tenant_id, const char *deal_id)
{
	Datum		values[2];
	int			i;

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(deal_id);
	/* Not read-only: it must see what was committed while we waited for the lock. */
	chain->count = (int) artery_execute(&select_events, values, NULL, false, 0);
	chain->events = palloc0((chain->count + 1) * sizeof(ChainEvent));
	for (i = 0; i < chain->count; i++)
	{
		ChainEvent *event = &chain->events[i];

		event->occurred_at = artery_field_time(i, 1);
		event->seq = artery_field_int64(i, 2);
		event->event_id = artery_field_text(i, 3);
		event->is_value = artery_field_bool(i, 4);
		event->stage_from = artery_field_text(i, 5);
		event->stage_to = artery_field_text(i, 6);
		event->base_value = copy_numeric(i, 7);
		event->is_won = artery_field_bool(i, 8);
		event->confidence = copy_numeric(i, 9);
		event->deal_value = copy_numeric(i, 10);
		event->stage_value = copy_numeric(i, 11);
		event->increment = copy_numeric(i, 12);
	}
	SPI_freetuptable(SPI_tuptable);
}

static bool
same_number(Numeric left, Numeric right)
{
	if (left == NULL || right == NULL)
		return left == right;
	return DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(left), NumericGetDatum(right)));
}

static bool
same_text(const char *left, const char *right)
{
	if (left == NULL || right == NULL)
		return left == right;
	return strcmp(left, right) == 0;
}

/* Does the event say what the move says, as far as that can be told without an event_id? */
static bool
says_the_same(const ChainEvent *event, const DealMove *move)
{
	if (event->occurred_at != move->occurred_at || event->is_value != (move->stage == NULL))
		return false;
	if (move->stage == NULL)
		return same_number(event->deal_value, move->deal_value);
	/* One that tells a real value not told yet is not a repetition. */
	return strcmp(event->stage_to, move->stage->name) == 0 &&
		(move->deal_value == NULL || same_number(event->deal_value, move->deal_value));
}

static ChainEvent *
find_duplicate(const Chain *chain, const DealMove *move)
{
	int			i;

	for (i = 0; i < chain->count; i++)
		if (move->event_id != NULL ? same_text(chain->events[i].event_id, move->event_id) :
			says_the_same(&chain->events[i], move))
			return &chain->events[i];
	return NULL;
}

/* Put the move after every event that is not later; returns its place. */
static ChainEvent *
place_event(Chain *chain, const DealMove *move)
{
	int			place = chain->count;
	ChainEvent *event;

	while (place > 0 && chain->events[place - 1].occurred_at > move->occurred_at)
		place--;
	event = &chain->events[place];
	memmove(event + 1, event, (chain->count - place) * sizeof(ChainEvent));
	chain->count++;
	memset(event, 0, sizeof(ChainEvent));
	event->occurred_at = move->occurred_at;
	event->event_id = move->event_id ? pstrdup(move->event_id) : NULL;
	event->deal_value = move->deal_value;
	event->is_value = move->stage == NULL;
	if (!event->is_value)
	{
		event->stage_to = move->stage->name;
		event->base_value = move->stage->value;
		event->is_won = move->stage->won;
		event->confidence = move->stage->confidence;
	}
	return event;
}

/* What is in force after an event, from what was before it. */
static void
advance_state(ChainState *state, const ChainEvent *event)
{
	if (event->is_value)
		state->deal_value = event->deal_value;
	else
	{
		if (event->deal_value != NULL)
			state->deal_value = event->deal_value;
		if (!same_text(state->stage, event->stage_to))
			state->stage_since = event->occurred_at;
		if (state->first_event_at == DT_NOBEGIN)
			state->first_event_at = event->occurred_at;
		state->stage = event->stage_to;
		state->base_value = event->base_value;
		state->is_won = event->is_won;
		state->confidence = event->confidence;
	}
	state->value = state->is_won && state->deal_value != NULL ? state->deal_value : state->base_value;
}

/* Work out every event from the one before it; *state is what is in force at the end. */
static void
fold_chain(Chain *chain, ChainState *state)
{
	int			i;

	memset(state, 0, sizeof(ChainState));
	state->base_value = state->value = int64_to_numeric(0);
	state->stage_since = state->first_event_at = DT_NOBEGIN;
	for (i = 0; i < chain->count; i++)
	{
		ChainEvent *event = &chain->events[i];
		char	   *stage_before = state->stage;
		Numeric		value_before = state->value;
		Numeric		increment;

		advance_state(state, event);
		increment = DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(state->value),
														NumericGetDatum(value_before)));
		event->corrected = !same_text(event->stage_from, stage_before) || !same_text(event->stage_to, state->stage) ||
			!same_number(event->stage_value, state->value) || !same_number(event->increment, increment);
		event->stage_from = stage_before;
		event->stage_to = state->stage;
		event->base_value = state->base_value;
		event->is_won = state->is_won;
		event->confidence = state->confidence;
		event->stage_value = state->value;
		event->increment = increment;
	}
}

static Datum
nullable_text(const char *value, char *null)
{
	*null = value == NULL ? 'n' : ' ';
	return value == NULL ? (Datum) 0 : CStringGetTextDatum(value);
}

static Datum
nullable_number(Numeric value, char *null)
{
	*null = value == NULL ? 'n' : ' ';
	return NumericGetDatum(value);
}

static Datum
nullable_time(TimestampTz value, char *null)
{
	*null = value == DT_NOBEGIN ? 'n' : ' ';
	return TimestampTzGetDatum(value);
}

static void
store_correction(const ChainEvent *event, const Datum *ids)
{
	Datum		values[11] = {ids[0], ids[1]};
	char		nulls[11];

	memset(nulls, ' ', sizeof(nulls));
	values[2] = TimestampTzGetDatum(event->occurred_at);
	values[3] = Int64GetDatum(event->seq);
	values[4] = nullable_text(event->stage_from, &nulls[4]);
	values[5] = nullable_text(event->stage_to, &nulls[5]);
	values[6] = NumericGetDatum(event->base_value);
	values[7] = BoolGetDatum(event->is_won);
	values[8] = NumericGetDatum(event->stage_value);
	values[9] = NumericGetDatum(event->increment);
	values[10] = nullable_number(event->confidence, &nulls[10]);
	(void) artery_execute(&correct_event, values, nulls, false, 0);
}

static void
store_new(const ChainEvent *event, const Datum *ids, TimestampTz now)
{
	Datum		values[14] = {ids[0], ids[1]};
	char		nulls[14];

	memset(nulls, ' ', sizeof(nulls));
	values[2] = TimestampTzGetDatum(event->occurred_at);
	values[3] = nullable_text(event->event_id, &nulls[3]);
	values[4] = BoolGetDatum(event->is_value);
	values[5] = nullable_text(event->stage_from, &nulls[5]);
	values[6] = nullable_text(event->stage_to, &nulls[6]);
	values[7] = NumericGetDatum(event->base_value);
	values[8] = BoolGetDatum(event->is_won);
	values[9] = NumericGetDatum(event->stage_value);
	values[10] = NumericGetDatum(event->increment);
	values[11] = nullable_number(event->confidence, &nulls[11]);
	values[12] = nullable_number(event->deal_value, &nulls[12]);
	values[13] = TimestampTzGetDatum(now);
	(void) artery_execute(&insert_event, values, nulls, false, 0);
}

/* Write the new event, the corrected ones, and the deal. */
static void
store_chain(const Chain *chain, const ChainState *state, const ArteryTenant *tenant, const DealMove *move)
{
	TimestampTz now = artery_clock_now();
	Datum		values[11];
	char		nulls[11];
	int			i;

	memset(nulls, ' ', sizeof(nulls));
	values[0] = CStringGetTextDatum(tenant->tenant_id);
	values[1] = CStringGetTextDatum(move->deal_id);
	for (i = 0; i < chain->count; i++)
	{
		if (chain->events[i].seq == 0)
			store_new(&chain->events[i], values, now);
		else if (chain->events[i].corrected)
			store_correction(&chain->events[i], values);
	}
	values[2] = nullable_text(move->contact_id, &nulls[2]);
	artery_identity_lock(values[0], values[1], true, values[2], nulls[2] == 'n');
	if (nulls[2] == ' ')
		values[2] = artery_identity_survivor(values[0], values[2]);
	if (nulls[2] == ' ' && artery_privacy_is_erased(values[0], "contact", values[2]))
		nulls[2] = 'n';
	values[3] = nullable_text(state->stage, &nulls[3]);
	values[4] = nullable_time(state->stage_since, &nulls[4]);
	values[5] = NumericGetDatum(state->value);
	values[6] = nullable_number(state->confidence, &nulls[6]);
	values[7] = nullable_number(state->deal_value, &nulls[7]);
	values[8] = BoolGetDatum(state->is_won);
	values[9] = nullable_time(state->first_event_at, &nulls[9]);
	values[10] = TimestampTzGetDatum(now);
	(void) artery_execute(&update_deal, values, nulls, false, 0);
}

/* Have the deal attributed with the evidence there is, and read what came of it; if nothing did, ask HubSpot for more. */
static void
attribute(const ArteryTenant *tenant, const char *deal_id, DealRow *deal)
{
	Datum		values[2];

	values[0] = CStringGetTextDatum(tenant->tenant_id);
	values[1] = CStringGetTextDatum(deal_id);
	(void) artery_execute(&attribute_deal, values, NULL, false, 0);
	(void) lock_row(values, deal);
	if (!is_attributed(deal))
		artery_contact_request(tenant, deal_id);
}

/* More than high_value, at a confidence of at least high_value_confidence. */
static bool
is_high_value(const TenantSettings *settings, const ChainEvent *event)
{
	if (event->confidence == NULL)
		return false;
	return DatumGetBool(DirectFunctionCall2(numeric_gt, NumericGetDatum(event->increment),
											NumericGetDatum(settings->high_value))) &&
		DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(event->confidence)))
		>= settings->high_value_confidence;
}

static Jsonb *
build_answer(const char *status, const char *deal_id, const ChainEvent *event, const DealRow *deal)
{
	JsonbParseState *state = NULL;

	artery_json_begin(&state);
	artery_json_text(&state, "status", status);
	artery_json_text(&state, "deal_id", deal_id);
	artery_json_text(&state, "stage_to", event->stage_to);
	artery_json_key(&state, "synthetic_revenue");
	artery_json_begin(&state);
	artery_json_number(&state, "value", event->stage_value);
	artery_json_number(&state, "incremental", event->increment);
	artery_json_number(&state, "confidence", event->confidence);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	artery_json_key(&state, "attribution");
	artery_json_begin(&state);
	artery_json_bool(&state, "success", is_attributed(deal));
	artery_json_text(&state, "method", deal->method);
	artery_json_number(&state, "confidence",
					   DatumGetNumeric(DirectFunctionCall1(float8_numeric, Float8GetDatum(deal->confidence))));
	artery_json_text(&state, "ad_id", deal->ad_id);
	artery_json_text(&state, "campaign_id", deal->campaign_id);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return artery_json_end(&state);
}
