/*
 * change_row.c
 *		One row of artery.ad_change: lock, move, record.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "deliver/change_row.h"
#include "runtime/dbtx.h"

static ArteryStatement lock_change = {
	"SELECT c.campaign_id, c.target_id, c.change_type, c.reconcile, c.dry_run, c.safety_override, c.failures, "
	"       c.blocked_rule, c.next_allowed_at, c.checks, "
	"       (SELECT n.change_id::pg_catalog.text FROM artery.ad_change n "
	"         WHERE n.tenant_id = $1 AND n.change_id = c.superseded_by "
	"           AND n.state <> ALL (ARRAY['rejected', 'cancelled'])), "
	"       c.new_value, c.old_value, c.sending_value, c.sending_from, c.reached_value, c.sending_at "
	"  FROM artery.ad_change c "
	" WHERE c.tenant_id = $1 AND c.change_id = $2::pg_catalog.uuid AND c.attempt = $3 AND c.state = 'sending' "
	"   FOR UPDATE OF c",
	3, {TEXTOID, TEXTOID, INT4OID}, NULL
};
static ArteryStatement move_change = {
	"UPDATE artery.ad_change SET state = $3, run_at = $4, failures = $5, blocked_rule = $6, blocked_detail = $7, "
	"  next_allowed_at = $8, last_error = $9, reached_value = COALESCE($10, reached_value), "
	"  sending_value = CASE WHEN $11 THEN sending_value END, reconcile = false, updated_at = $12, "
	"  settled_at = CASE WHEN $3 = ANY (ARRAY['completed', 'failed', 'superseded']) THEN $12 END "
	"WHERE tenant_id = $1 AND change_id = $2::pg_catalog.uuid",
	12, {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT4OID, TEXTOID, JSONBOID, TIMESTAMPTZOID, TEXTOID, JSONBOID,
	BOOLOID, TIMESTAMPTZOID}, NULL
};
static ArteryStatement insert_history = {
	"INSERT INTO artery.ad_change_history (tenant_id, change_id, campaign_id, target_id, change_type, attempt, outcome, "
	"  old_value, new_value, dry_run, checks, response, error, duration_ms, recorded_at, rule, next_allowed_at) "
	"VALUES ($1, $2::pg_catalog.uuid, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
	17, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, TEXTOID, JSONBOID, JSONBOID, BOOLOID, JSONBOID, JSONBOID,
	TEXTOID, FLOAT8OID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID}, NULL
};

static void
put_text(Datum *values, char *nulls, int i, const char *text)
{
	if (text != NULL)
		values[i] = CStringGetTextDatum(text);
	else
		nulls[i] = 'n';
}

static void
put_json(Datum *values, char *nulls, int i, const Jsonb *json)
{
	if (json != NULL)
		values[i] = PointerGetDatum(json);
	else
		nulls[i] = 'n';
}

static void
put_time(Datum *values, char *nulls, int i, TimestampTz moment)
{
	if (!TIMESTAMP_NOT_FINITE(moment))
		values[i] = TimestampTzGetDatum(moment);
	else
		nulls[i] = 'n';
}

/* The budget or status in a column of the last result. */
static ChangeValue
field_value(int column)
{
	ChangeValue value = {NULL, NULL};
	bool		isnull;
	Datum		field = artery_field(0, column, &isnull);
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

bool
artery_change_lock(const char *tenant_id, const char *change_id, int attempt, ChangeRow *row)
{
	Datum		values[3];
	bool		isnull;
	Datum		checks;

	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(change_id);
	values[2] = Int32GetDatum(attempt);
	if (artery_execute(&lock_change, values, NULL, false, 0) == 0)
		return false;
	memset(row, 0, sizeof(ChangeRow));
	row->tenant_id = tenant_id;
	row->change_id = change_id;
	row->attempt = attempt;
	row->campaign_id = artery_field_text(0, 1);
	row->target_id = artery_field_text(0, 2);
	row->change_type = artery_field_text(0, 3);
	row->increase = strcmp(row->change_type, "BUDGET_INCREASE") == 0;
	row->is_budget = row->increase || strcmp(row->change_type, "BUDGET_DECREASE") == 0;
	row->reconcile = artery_field_bool(0, 4);
	row->dry_run = artery_field_bool(0, 5);
	row->safety_override = artery_field_bool(0, 6);
	row->failures = (int) artery_field_int64(0, 7);
	row->blocked_rule = artery_field_text(0, 8);
	row->next_allowed_at = artery_field_time(0, 9);
	checks = artery_field(0, 10, &isnull);
	row->checks = isnull ? NULL : DatumGetJsonbPCopy(checks);
	row->newer = artery_field_text(0, 11);
	row->wish = field_value(12);
	row->old = field_value(13);
	row->sending = field_value(14);
	row->from = field_value(15);
	row->reached = field_value(16);
	row->sending_at = artery_field_time(0, 17);
	return true;
}

void
artery_change_move(const ChangeRow *row, const ChangeMove *move, TimestampTz moment)
{
	Datum		values[12];
	char		nulls[] = "            ";

	put_text(values, nulls, 0, row->tenant_id);
	put_text(values, nulls, 1, row->change_id);
	put_text(values, nulls, 2, move->state);
	put_time(values, nulls, 3, move->run_at);
	values[4] = Int32GetDatum(move->failures);
	put_text(values, nulls, 5, move->rule);
	put_json(values, nulls, 6, move->detail);
	put_time(values, nulls, 7, move->rule != NULL ? move->next_allowed_at : DT_NOEND);
	put_text(values, nulls, 8, move->error);
	put_json(values, nulls, 9, artery_change_json(&move->reached));
	values[10] = BoolGetDatum(move->maybe_sent);
	put_time(values, nulls, 11, moment);
	(void) artery_execute(&move_change, values, nulls, false, 0);
}

void
artery_change_record(const ChangeRow *row, const ChangeRecord *record, TimestampTz moment)
{
	Datum		values[17];
	char		nulls[] = "                 ";

	put_text(values, nulls, 0, row->tenant_id);
	put_text(values, nulls, 1, row->change_id);
	put_text(values, nulls, 2, row->campaign_id);
	put_text(values, nulls, 3, row->target_id);
	put_text(values, nulls, 4, row->change_type);
	values[5] = Int32GetDatum(row->attempt);
	put_text(values, nulls, 6, record->outcome);
	put_json(values, nulls, 7, artery_change_json(&record->old));
	put_json(values, nulls, 8, artery_change_json(&record->new));
	values[9] = BoolGetDatum(row->dry_run);
	put_json(values, nulls, 10, record->checks);
	put_json(values, nulls, 11, record->response);
	put_text(values, nulls, 12, record->error);
	values[13] = Float8GetDatum(record->duration_ms);
	if (record->duration_ms < 0)
		nulls[13] = 'n';
	put_time(values, nulls, 14, moment);
	put_text(values, nulls, 15, record->rule);
	put_time(values, nulls, 16, record->rule != NULL ? record->next_allowed_at : DT_NOEND);
	(void) artery_execute(&insert_history, values, nulls, false, 0);
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
