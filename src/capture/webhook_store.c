/*
 * webhook_store.c
 *		Raw events in the table: stored first, settled last.
 *
 * A batch is written by one statement per tenant, ordered by key: two
 * deliveries of the same events at once wait for each other in the same order,
 * and the one that comes second finds what became of them.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "capture/privacy.h"
#include "capture/webhook.h"
#include "runtime/clock.h"
#include "runtime/dbtx.h"
#include "runtime/json.h"

static ArteryStatement insert_events = {
	"INSERT INTO artery.webhook_event (tenant_id, event_key, portal_id, subscription_type, object_id, occurred_at, "
	"       payload, received_at) "
	"SELECT $1, u.key, u.portal, u.type, u.object, u.at, u.payload, $8 "
	"  FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), "
	"       pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7)) AS u(key, portal, type, object, at, payload) "
	" ORDER BY u.key "
	"ON CONFLICT (tenant_id, event_key) DO NOTHING RETURNING webhook_event_id, event_key",
	8, {TEXTOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, JSONBARRAYOID,
	TIMESTAMPTZOID}, NULL
};
static ArteryStatement select_stored = {
	"SELECT webhook_event_id, event_key, status, result FROM artery.webhook_event "
	" WHERE tenant_id = $1 AND event_key = ANY ($2) ORDER BY event_key FOR UPDATE",
	2, {TEXTOID, TEXTARRAYOID}, NULL
};
static ArteryStatement settle_events = {
	"UPDATE artery.webhook_event w SET status = u.status, reason = u.reason, processed_at = $6, "
	"       result = CASE WHEN w.payload ? 'erased' THEN u.result - 'crm_contact_id' ELSE u.result END "
	"  FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), "
	"       pg_catalog.unnest($5)) AS u(id, status, reason, result) "
	" WHERE w.tenant_id = $1 AND w.webhook_event_id = u.id",
	6, {TEXTOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement select_open = {
	"SELECT webhook_event_id, payload, event_key FROM artery.webhook_event "
	" WHERE tenant_id = $1 AND status = ANY (ARRAY['stored', 'unmapped', 'failed']) ORDER BY event_key FOR UPDATE",
	1, {TEXTOID}, NULL
};

/* Columns of a batch on their way into arrays. */
typedef struct Columns
{
	int			count;
	int			width;
	Datum	   *values;			/* column after column */
	bool	   *nulls;
} Columns;

static void
begin_columns(Columns *columns, int width, int rows)
{
	columns->count = rows;
	columns->width = width;
	columns->values = palloc0(width * rows * sizeof(Datum));
	columns->nulls = palloc0(width * rows * sizeof(bool));
}

static void
put_datum(Columns *columns, int column, int row, Datum value, bool isnull)
{
	columns->values[column * columns->count + row] = value;
	columns->nulls[column * columns->count + row] = isnull;
}

static void
put_text(Columns *columns, int column, int row, const char *text)
{
	put_datum(columns, column, row, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL);
}

static Datum
column_array(const Columns *columns, int column, Oid type)
{
	int			dims[1] = {columns->count};
	int			lower[1] = {1};
	int16		length;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(type, &length, &by_value, &align);
	return PointerGetDatum(construct_md_array(columns->values + column * columns->count,
											  columns->nulls + column * columns->count, 1, dims, lower, type,
											  length, by_value, align));
}

Jsonb *
artery_webhook_as_duplicate(Jsonb *result)
{
	JsonbParseState *state = NULL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	artery_json_begin(&state);
	if (result != NULL && JB_ROOT_IS_OBJECT(result))
	{
		iterator = JsonbIteratorInit(&result->root);
		while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
		{
			if (token != WJB_KEY)
				continue;
			(void) JsonbIteratorNext(&iterator, &value, true);
			pushJsonbValue(&state, WJB_KEY, &key);
			pushJsonbValue(&state, WJB_VALUE, &value);
		}
	}
	/* Of equal keys the last one counts. */
	artery_json_text(&state, "status", artery_webhook_status_name(EVENT_DUPLICATE));
	return artery_json_end(&state);
}

static void
take_stored(WebhookEvent *event, uint64 row)
{
	char	   *status = artery_field_text(row, 3);
	bool		isnull;
	Datum		result;

	event->row_id = artery_field_int64(row, 1);
	if (strcmp(status, "processed") != 0 && strcmp(status, "ignored") != 0)
		return;
	result = artery_field(row, 4, &isnull);
	event->status = EVENT_DUPLICATE;
	event->result = artery_webhook_as_duplicate(isnull ? NULL : DatumGetJsonbP(result));
}

/* Find the rows of those events that the insert left out. */
static void
find_stored(WebhookEvent **events, int count, Datum tenant_id)
{
	Columns		columns;
	Datum		values[2] = {tenant_id};
	uint64		rows;
	uint64		row;
	int			missing = 0;
	int			i;

	begin_columns(&columns, 1, count);
	for (i = 0; i < count; i++)
		if (events[i]->row_id == 0)
			put_text(&columns, 0, missing++, events[i]->key);
	if (missing == 0)
		return;
	columns.count = missing;
	values[1] = column_array(&columns, 0, TEXTOID);
	rows = artery_execute(&select_stored, values, NULL, false, 0);
	for (row = 0; row < rows; row++)
	{
		char	   *key = artery_field_text(row, 2);

		for (i = 0; i < count; i++)
			if (events[i]->row_id == 0 && strcmp(events[i]->key, key) == 0)
				take_stored(events[i], row);
	}
}

void
artery_webhook_store(WebhookEvent **events, int count, TimestampTz received_at)
{
	static const Oid types[] = {TEXTOID, INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, JSONBOID};
	Columns		columns;
	Datum		values[8];
	uint64		rows;
	uint64		row;
	int			i;

	artery_privacy_screen_events(events, count);
	begin_columns(&columns, lengthof(types), count);
	for (i = 0; i < count; i++)
	{
		WebhookEvent *event = events[i];

		put_text(&columns, 0, i, event->key);
		put_datum(&columns, 1, i, Int64GetDatum(event->portal_id), event->portal_id == 0);
		put_text(&columns, 2, i, event->type);
		put_text(&columns, 3, i, event->object_id);
		put_datum(&columns, 4, i, TimestampTzGetDatum(event->occurred_at), event->occurred_at == DT_NOBEGIN);
		put_datum(&columns, 5, i, JsonbPGetDatum(event->payload), false);
	}
	values[0] = CStringGetTextDatum(events[0]->tenant->tenant_id);
	for (i = 0; i < (int) lengthof(types); i++)
		values[1 + i] = column_array(&columns, i, types[i]);
	values[7] = TimestampTzGetDatum(received_at);
	rows = artery_execute(&insert_events, values, NULL, false, 0);
	for (row = 0; row < rows; row++)
	{
		char	   *key = artery_field_text(row, 2);

		/* A repetition within the batch keeps row_id 0 here and finds the row below. */
		for (i = 0; i < count; i++)
		{
			if (events[i]->row_id == 0 && strcmp(events[i]->key, key) == 0)
			{
				events[i]->row_id = artery_field_int64(row, 1);
				break;
			}
		}
	}
	find_stored(events, count, values[0]);
}

void
artery_webhook_settle(WebhookEvent **events, int count)
{
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID, JSONBOID};
	Columns		columns;
	Datum		values[6];
	int			rows = 0;
	int			i;

	for (i = 0; i < count; i++)
		rows += events[i]->status != EVENT_DUPLICATE;
	if (rows == 0)
		return;
	begin_columns(&columns, lengthof(types), rows);
	rows = 0;
	for (i = 0; i < count; i++)
	{
		WebhookEvent *event = events[i];

		if (event->status == EVENT_DUPLICATE)
			continue;
		put_datum(&columns, 0, rows, Int64GetDatum(event->row_id), false);
		put_text(&columns, 1, rows, artery_webhook_status_name(event->status));
		put_text(&columns, 2, rows, event->reason);
		put_datum(&columns, 3, rows, JsonbPGetDatum(event->result), false);
		rows++;
	}
	values[0] = CStringGetTextDatum(events[0]->tenant->tenant_id);
	for (i = 0; i < (int) lengthof(types); i++)
		values[1 + i] = column_array(&columns, i, types[i]);
	values[5] = TimestampTzGetDatum(artery_clock_now());
	(void) artery_execute(&settle_events, values, NULL, false, 0);
}

WebhookEvent *
artery_webhook_open_events(const ArteryTenant *tenant, int *count)
{
	Datum		value = CStringGetTextDatum(tenant->tenant_id);
	WebhookEvent *events;
	int			i;

	*count = (int) artery_execute(&select_open, &value, NULL, false, 0);
	events = palloc0(Max(*count, 1) * sizeof(WebhookEvent));
	for (i = 0; i < *count; i++)
	{
		WebhookEvent *event = &events[i];
		bool		isnull;

		event->index = i;
		event->tenant = tenant;
		event->row_id = artery_field_int64(i, 1);
		event->payload = DatumGetJsonbPCopy(artery_field(i, 2, &isnull));
		artery_webhook_read_portal(event);
		artery_webhook_read(event);
	}
	return events;
}
