/*
 * change_row.c
 *		Rows of artery.ad_change: locked, moved, recorded, many at once.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "deliver/change_row.h"
#include "runtime/dbtx.h"

/* In one order everywhere; LATERAL, so that each row is looked up by its key whatever the planner expects. */
#define LOCK_CHANGES \
	"SELECT r.n, c.campaign_id, c.target_id, c.change_type, c.reconcile, c.dry_run, c.safety_override, c.failures, " \
	"       c.blocked_rule, c.next_allowed_at, c.checks, " \
	"       (SELECT n.change_id::pg_catalog.text FROM artery.ad_change n " \
	"         WHERE n.tenant_id = $1 AND n.change_id = c.superseded_by " \
	"           AND n.state <> ALL (ARRAY['rejected', 'cancelled'])), " \
	"       c.new_value, c.old_value, c.sending_value, c.sending_from, c.reached_value, c.sending_at " \
	"  FROM (SELECT u.change_id::pg_catalog.uuid AS change_id, u.attempt, u.n " \
	"          FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) WITH ORDINALITY u(change_id, attempt, n) " \
	"         ORDER BY u.change_id) r " \
	" CROSS JOIN LATERAL (SELECT * FROM artery.ad_change x " \
	"                      WHERE x.tenant_id = $1 AND x.change_id = r.change_id LIMIT 1 FOR UPDATE OF x "
#define STILL_SENT ") c WHERE c.attempt = r.attempt AND c.state = 'sending'"

static ArteryStatement lock_changes = {
	LOCK_CHANGES STILL_SENT, 3, {TEXTOID, TEXTARRAYOID, INT4ARRAYOID}, NULL
};
static ArteryStatement try_lock_changes = {
	LOCK_CHANGES "SKIP LOCKED" STILL_SENT, 3, {TEXTOID, TEXTARRAYOID, INT4ARRAYOID}, NULL
};
static ArteryStatement intend_changes = {
	"UPDATE artery.ad_change c SET sending_value = r.step, sending_from = r.in_force, checks = r.checks, "
	"  blocked_rule = NULL, blocked_detail = NULL, next_allowed_at = NULL, reconcile = false, "
	"  sending_at = r.moment, updated_at = r.moment "
	"  FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), "
	"                pg_catalog.unnest($6)) r(change_id, step, in_force, checks, moment) "
	" WHERE c.tenant_id = $1 AND c.change_id = r.change_id::pg_catalog.uuid",
	6, {TEXTOID, TEXTARRAYOID, JSONBARRAYOID, JSONBARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID}, NULL
};
static ArteryStatement move_changes = {
	"UPDATE artery.ad_change c SET state = r.state, run_at = r.run_at, failures = r.failures, blocked_rule = r.rule, "
	"  blocked_detail = r.detail, next_allowed_at = r.next_allowed_at, last_error = r.error, "
	"  reached_value = COALESCE(r.reached, c.reached_value), "
	"  sending_value = CASE WHEN r.maybe_sent THEN c.sending_value END, reconcile = false, updated_at = r.moment, "
	"  settled_at = CASE WHEN r.state = ANY (ARRAY['completed', 'failed', 'superseded']) THEN r.moment END "
	"  FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), "
	"                pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), "
	"                pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12)) "
	"       r(change_id, state, run_at, failures, rule, detail, next_allowed_at, error, reached, maybe_sent, moment) "
	" WHERE c.tenant_id = $1 AND c.change_id = r.change_id::pg_catalog.uuid",
	12, {TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, TEXTARRAYOID, JSONBARRAYOID,
	TIMESTAMPTZARRAYOID, TEXTARRAYOID, JSONBARRAYOID, BOOLARRAYOID, TIMESTAMPTZARRAYOID}, NULL
};
static ArteryStatement insert_history = {
	"INSERT INTO artery.ad_change_history (tenant_id, change_id, campaign_id, target_id, change_type, attempt, outcome, "
	"  old_value, new_value, dry_run, checks, response, error, duration_ms, recorded_at, rule, next_allowed_at) "
	"SELECT $1, r.change_id::pg_catalog.uuid, r.campaign_id, r.target_id, r.change_type, r.attempt, r.outcome, "
	"       r.old_value, r.new_value, r.dry_run, r.checks, r.response, r.error, r.duration_ms, r.recorded_at, r.rule, "
	"       r.next_allowed_at "
	"  FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), "
	"                pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), "
	"                pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12), pg_catalog.unnest($13), "
	"                pg_catalog.unnest($14), pg_catalog.unnest($15), pg_catalog.unnest($16), pg_catalog.unnest($17)) "
	"       r(change_id, campaign_id, target_id, change_type, attempt, outcome, old_value, new_value, dry_run, checks, "
	"         response, error, duration_ms, recorded_at, rule, next_allowed_at)",
	17, {TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, JSONBARRAYOID,
	JSONBARRAYOID, BOOLARRAYOID, JSONBARRAYOID, JSONBARRAYOID, TEXTARRAYOID, FLOAT8ARRAYOID, TIMESTAMPTZARRAYOID,
	TEXTARRAYOID, TIMESTAMPTZARRAYOID}, NULL
};

/* The budget or status in a column of the last result. */
static ChangeValue
field_value(int row, int column)
{
	ChangeValue value = {NULL, NULL};
	bool		isnull;
	Datum		field = artery_field(row, column, &isnull);
	JsonbValue *found;

	if (isnull)
		return value;
	found = getKeyJsonValueFromContainer(&DatumGetJsonbP(field)->root, "budget", strlen("budget"), NULL);
	if (found != NULL && found->type == jbvNumeric)
		value.budget = DatumGetNumericCopy(NumericGetDatum(found->val.numeric));
	found = getKeyJsonValueFromContainer(&DatumGetJsonbP(field)->root, "status", strlen("status"), NULL);
	if (found != NULL && found->type == jbvString)
		value.status = pnstrdup(found->val.string.val, found->val.string.len);
	return value;
}

/* A row of the last result. */
static void
read_row(ChangeBatch *batch, ChangeTask *task, int i, ChangeRow *row)
{
	bool		isnull;
	Datum		checks;

	memset(row, 0, sizeof(ChangeRow));
	row->batch = batch;
	row->task = task;
	row->tenant_id = batch->tenant_id;
	row->change_id = task->claim->change_id;
	row->attempt = task->claim->attempt;
	row->campaign_id = artery_field_text(i, 2);
	row->target_id = artery_field_text(i, 3);
	row->change_type = artery_field_text(i, 4);
	row->increase = strcmp(row->change_type, "BUDGET_INCREASE") == 0;
	row->is_budget = row->increase || strcmp(row->change_type, "BUDGET_DECREASE") == 0;
	row->reconcile = artery_field_bool(i, 5);
	row->dry_run = artery_field_bool(i, 6);
	row->safety_override = artery_field_bool(i, 7);
	row->failures = (int) artery_field_int64(i, 8);
	row->blocked_rule = artery_field_text(i, 9);
	row->next_allowed_at = artery_field_time(i, 10);
	checks = artery_field(i, 11, &isnull);
	row->checks = isnull ? NULL : DatumGetJsonbPCopy(checks);
	row->newer = artery_field_text(i, 12);
	row->wish = field_value(i, 13);
	row->old = field_value(i, 14);
	row->sending = field_value(i, 15);
	row->from = field_value(i, 16);
	row->reached = field_value(i, 17);
	row->sending_at = artery_field_time(i, 18);
	row->facts.campaign_id = row->campaign_id;
	row->facts.target_id = row->target_id;
	row->facts.is_budget = row->is_budget;
}

void
artery_change_begin(ChangeBatch *batch, const char *tenant_id)
{
	batch->tenant_id = tenant_id;
	artery_guard_writes_init(&batch->guard, tenant_id);
	artery_rows_init(&batch->intents, 5);
	artery_rows_init(&batch->moves, 11);
	artery_rows_init(&batch->records, 16);
}

static int
compare_tasks(const void *a, const void *b)
{
	const ChangeTask *first = ((const ChangeRow *) a)->task;
	const ChangeTask *second = ((const ChangeRow *) b)->task;

	return first < second ? -1 : first > second;
}

int
artery_change_lock(ChangeBatch *batch, ChangeTask *tasks, int count, bool skip, ChangeRow *rows)
{
	ArteryRows	names;
	Datum		values[3];
	int			found;
	int			i;

	if (count == 0)
		return 0;
	artery_rows_init(&names, 2);
	for (i = 0; i < count; i++)
	{
		artery_rows_add(&names);
		artery_rows_put_text(&names, 0, tasks[i].claim->change_id);
		artery_rows_put(&names, 1, Int32GetDatum(tasks[i].claim->attempt));
	}
	values[0] = CStringGetTextDatum(batch->tenant_id);
	values[1] = artery_rows_column(&names, 0, TEXTOID);
	values[2] = artery_rows_column(&names, 1, INT4OID);
	found = (int) artery_execute(skip ? &try_lock_changes : &lock_changes, values, NULL, false, 0);
	for (i = 0; i < found; i++)
		read_row(batch, &tasks[artery_field_int64(i, 1) - 1], i, &rows[i]);
	qsort(rows, found, sizeof(ChangeRow), compare_tasks);
	return found;
}

int
artery_change_unlike(ChangeRow *rows, int count)
{
	int			kept = 0;
	int			i;
	int			j;

	for (i = 0; i < count; i++)
	{
		for (j = 0; j < kept; j++)
		{
			if (strcmp(rows[i].campaign_id, rows[j].campaign_id) == 0 ||
				strcmp(rows[i].target_id, rows[j].target_id) == 0)
				break;
		}
		if (j == kept)
			rows[kept++] = rows[i];
		else
			rows[i].task->done = false;
	}
	return kept;
}

void
artery_change_flush(ChangeBatch *batch)
{
	artery_guard_flush(&batch->guard);
	artery_rows_execute(&intend_changes, batch->tenant_id, &batch->intents);
	artery_rows_execute(&move_changes, batch->tenant_id, &batch->moves);
	artery_rows_execute(&insert_history, batch->tenant_id, &batch->records);
}

void
artery_change_intend(const ChangeRow *row, const ChangeValue *step, const ChangeValue *from, const Jsonb *checks,
					 TimestampTz moment)
{
	ArteryRows *rows = &row->batch->intents;

	artery_rows_add(rows);
	artery_rows_put_text(rows, 0, row->change_id);
	artery_rows_put_json(rows, 1, artery_change_json(step));
	artery_rows_put_json(rows, 2, artery_change_json(from));
	artery_rows_put_json(rows, 3, checks);
	artery_rows_put_time(rows, 4, moment);
}

void
artery_change_move(const ChangeRow *row, const ChangeMove *move, TimestampTz moment)
{
	ArteryRows *rows = &row->batch->moves;

	artery_rows_add(rows);
	artery_rows_put_text(rows, 0, row->change_id);
	artery_rows_put_text(rows, 1, move->state);
	artery_rows_put_time(rows, 2, move->run_at);
	artery_rows_put(rows, 3, Int32GetDatum(move->failures));
	artery_rows_put_text(rows, 4, move->rule);
	artery_rows_put_json(rows, 5, move->detail);
	artery_rows_put_time(rows, 6, move->rule != NULL ? move->next_allowed_at : DT_NOEND);
	artery_rows_put_text(rows, 7, move->error);
	artery_rows_put_json(rows, 8, artery_change_json(&move->reached));
	artery_rows_put(rows, 9, BoolGetDatum(move->maybe_sent));
	artery_rows_put_time(rows, 10, moment);
}

void
artery_change_record(const ChangeRow *row, const ChangeRecord *record, TimestampTz moment)
{
	ArteryRows *rows = &row->batch->records;

	artery_rows_add(rows);
	artery_rows_put_text(rows, 0, row->change_id);
	artery_rows_put_text(rows, 1, row->campaign_id);
	artery_rows_put_text(rows, 2, row->target_id);
	artery_rows_put_text(rows, 3, row->change_type);
	artery_rows_put(rows, 4, Int32GetDatum(row->attempt));
	artery_rows_put_text(rows, 5, record->outcome);
	artery_rows_put_json(rows, 6, artery_change_json(&record->old));
	artery_rows_put_json(rows, 7, artery_change_json(&record->new));
	artery_rows_put(rows, 8, BoolGetDatum(row->dry_run));
	artery_rows_put_json(rows, 9, record->checks);
	artery_rows_put_json(rows, 10, record->response);
	artery_rows_put_text(rows, 11, record->error);
	if (record->duration_ms >= 0)
		artery_rows_put(rows, 12, Float8GetDatum(record->duration_ms));
	artery_rows_put_time(rows, 13, moment);
	artery_rows_put_text(rows, 14, record->rule);
	artery_rows_put_time(rows, 15, record->rule != NULL ? record->next_allowed_at : DT_NOEND);
}

void
artery_change_supersede(const ChangeRow *row, const ChangeValue *in_force, const char *why, TimestampTz moment)
{
	ChangeMove	move = {.state = "superseded",.run_at = DT_NOEND,.failures = row->failures,.error = why};
	ChangeRecord record = {.outcome = "superseded",.new = row->wish,.error = why,.duration_ms = -1};

	if (in_force != NULL)
		record.old = *in_force;
	artery_change_move(row, &move, moment);
	artery_change_record(row, &record, moment);
}

Jsonb *
artery_change_json(const ChangeValue *value)
{
	JsonbParseState *state = NULL;
	JsonbValue	key;
	JsonbValue	content;

	if (value->budget == NULL && value->status == NULL)
		return NULL;
	key.type = jbvString;
	key.val.string.val = value->budget != NULL ? "budget" : "status";
	key.val.string.len = strlen(key.val.string.val);
	if (value->budget != NULL)
	{
		content.type = jbvNumeric;
		content.val.numeric = value->budget;
	}
	else
	{
		content.type = jbvString;
		content.val.string.val = value->status;
		content.val.string.len = strlen(value->status);
	}
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, &key);
	pushJsonbValue(&state, WJB_VALUE, &content);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

int
artery_change_compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

bool
artery_change_same(const ChangeValue *a, const ChangeValue *b)
{
	if (a->budget != NULL && b->budget != NULL)
		return artery_change_compare(a->budget, b->budget) == 0;
	if (a->status != NULL && b->status != NULL)
		return strcmp(a->status, b->status) == 0;
	return false;
}
