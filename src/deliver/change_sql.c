/*
 * change_sql.c
 *		The protocol of a change as SQL functions, for tests and for a look at
 *		what would happen: nothing here sends.
 */
#include "artery.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "deliver/change.h"
#include "deliver/change_row.h"
#include "tenant/tenant.h"

PG_FUNCTION_INFO_V1(artery_claim_ad_changes);
PG_FUNCTION_INFO_V1(artery_judge_ad_change);
PG_FUNCTION_INFO_V1(artery_settle_ad_change);
PG_FUNCTION_INFO_V1(artery_reserve_ad_change);

static const char *const verdict_names[] = {"send", "blocked", "already", "superseded", "refused", "lost"};
static const char *const outcome_names[] = {"applied", "retry", "throttled", "failed", "unknown"};

/* artery.claim_ad_changes(claim_limit) */
Datum
artery_claim_ad_changes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz next_due;
	ListCell   *cell;
	List	   *claims;

	if (!artery_tenant_visible(""))	/* no tenant may have the empty id, so only a bound role cannot see it */
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to claim changes of all tenants"),
				 errdetail("The role is bound to certain tenants.")));
	artery_begin_rows(fcinfo);
	claims = artery_change_claim(PG_GETARG_INT32(0), false, &next_due);
	foreach(cell, claims)
	{
		ChangeClaim *claim = lfirst(cell);
		ChangeValue wish = {claim->budget, claim->status};
		ChangeValue sending = {claim->sending_budget, NULL};
		Jsonb	   *sending_json = artery_change_json(&sending);
		Datum		values[8];
		bool		nulls[8] = {false};

		values[0] = CStringGetTextDatum(claim->tenant_id);
		values[1] = DirectFunctionCall1(uuid_in, CStringGetDatum(claim->change_id));
		values[2] = Int32GetDatum(claim->attempt);
		values[3] = BoolGetDatum(claim->reconcile);
		values[4] = CStringGetTextDatum(claim->campaign_id);
		values[5] = CStringGetTextDatum(claim->target_id);
		values[6] = PointerGetDatum(artery_change_json(&wish));
		values[7] = PointerGetDatum(sending_json);
		nulls[7] = sending_json == NULL;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static char *
uuid_text(Datum uuid)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, uuid));
}

static Datum
verdict_row(FunctionCallInfo fcinfo, ChangeVerdict verdict, const ChangeClaim *claim)
{
	ChangeValue value = {claim->sending_budget, claim->status};
	TupleDesc	description;
	Datum		values[3];
	bool		nulls[3] = {false, verdict != VERDICT_SEND, false};

	if (get_call_result_type(fcinfo, NULL, &description) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = CStringGetTextDatum(verdict_names[verdict]);
	values[1] = nulls[1] ? (Datum) 0 : PointerGetDatum(artery_change_json(&value));
	values[2] = Int32GetDatum(claim->attempt);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(description), values, nulls));
}

static void
read_live(Jsonb *json, LiveState *live)
{
	JsonbValue *found = getKeyJsonValueFromContainer(&json->root, "budget", strlen("budget"), NULL);

	live->known = true;
	if (found != NULL && found->type == jbvNumeric)
		live->budget = found->val.numeric;
	found = getKeyJsonValueFromContainer(&json->root, "status", strlen("status"), NULL);
	if (found != NULL && found->type == jbvString)
		live->status = pnstrdup(found->val.string.val, found->val.string.len);
}

/* Judge a claim by itself. */
static ChangeVerdict
judge(ChangeClaim *claim, const LiveState *live)
{
	ChangeTask	task = {.claim = claim,.live = live,.context = CurrentMemoryContext};

	artery_change_judge(&task, 1, true);
	return task.verdict;
}

/* artery.judge_ad_change(tenant_id, change_id, attempt, live) */
Datum
artery_judge_ad_change(PG_FUNCTION_ARGS)
{
	ChangeClaim claim = {0};
	LiveState	live = {0};
	ChangeVerdict verdict;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tenant_id, change_id and attempt must not be null")));
	claim.tenant_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	claim.change_id = uuid_text(PG_GETARG_DATUM(1));
	claim.attempt = PG_GETARG_INT32(2);
	if (!PG_ARGISNULL(3))
		read_live(PG_GETARG_JSONB_P(3), &live);
	(void) artery_tenant_get(claim.tenant_id);
	verdict = judge(&claim, &live);
	return verdict_row(fcinfo, verdict, &claim);
}

/* artery.reserve_ad_change(tenant_id, change_id, live) */
Datum
artery_reserve_ad_change(PG_FUNCTION_ARGS)
{
	LiveState	live = {0};
	ChangeClaim *claim;
	ChangeVerdict verdict = VERDICT_LOST;
	ChangeClaim none = {0};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tenant_id and change_id must not be null")));
	if (!PG_ARGISNULL(2))
		read_live(PG_GETARG_JSONB_P(2), &live);
	claim = artery_change_claim_one(text_to_cstring(PG_GETARG_TEXT_PP(0)), uuid_text(PG_GETARG_DATUM(1)));
	if (claim != NULL)
		verdict = judge(claim, &live);
	return verdict_row(fcinfo, verdict, claim != NULL ? claim : &none);
}

/* artery.settle_ad_change(tenant_id, change_id, attempt, outcome, error, rule, not_before) */
Datum
artery_settle_ad_change(PG_FUNCTION_ARGS)
{
	ChangeClaim claim = {0};
	ChangeSettlement settlement = {.not_before = DT_NOBEGIN,.duration_ms = -1};
	ChangeTask	task = {.claim = &claim,.settlement = &settlement};
	char	   *outcome;
	int			i;

	for (i = 0; i < 4; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("tenant_id, change_id, attempt and outcome must not be null")));
	claim.tenant_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	claim.change_id = uuid_text(PG_GETARG_DATUM(1));
	claim.attempt = PG_GETARG_INT32(2);
	outcome = text_to_cstring(PG_GETARG_TEXT_PP(3));
	for (i = 0; i < (int) lengthof(outcome_names) && strcmp(outcome, outcome_names[i]) != 0; i++)
		;
	if (i == (int) lengthof(outcome_names))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown outcome \"%.64s\"", outcome),
				 errhint("Known outcomes: applied, retry, throttled, failed, unknown.")));
	settlement.outcome = (ChangeOutcome) i;
	if (!PG_ARGISNULL(4))
		settlement.error = text_to_cstring(PG_GETARG_TEXT_PP(4));
	if (!PG_ARGISNULL(5))
		settlement.rule = text_to_cstring(PG_GETARG_TEXT_PP(5));
	if (!PG_ARGISNULL(6))
		settlement.not_before = PG_GETARG_TIMESTAMPTZ(6);
	(void) artery_tenant_get(claim.tenant_id);
	artery_change_settle(&task, 1, true);
	PG_RETURN_BOOL(task.verdict != VERDICT_LOST);
}
