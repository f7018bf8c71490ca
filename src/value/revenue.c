/*
 * revenue.c
 *		Synthetic revenue as SQL sees it: the value of a move between stages, and
 *		the list of stages.
 *
 * Everything is answered from the tenant cache, without SPI: this is called for
 * every keystroke of a what-if sheet.
 */
#include "artery.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/tuplestore.h"

#include "value/revenue.h"
#include "value/stage.h"

#define REVENUE_COLUMNS 6

PG_FUNCTION_INFO_V1(artery_calculate_synthetic_revenue);
PG_FUNCTION_INFO_V1(artery_get_stages);
PG_FUNCTION_INFO_V1(artery_merge_stages);

Numeric
artery_stage_worth(const ArteryStage *stage, Numeric deal_value)
{
	return stage->won && deal_value != NULL ? deal_value : stage->value;
}

void
artery_deal_value_check(Numeric deal_value)
{
	if (deal_value == NULL)
		return;
	if (numeric_is_nan(deal_value) || numeric_is_inf(deal_value) ||
		DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(deal_value),
										 NumericGetDatum(int64_to_numeric(0)))))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("deal_value %.40s is out of range",
						DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(deal_value)))),
				 errdetail("The real value of a deal is finite and not negative."),
				 errhint("Leave it NULL where the real value is not known.")));
}

/*
 * The row type of calculate_synthetic_revenue, made once per backend: looking
 * it up at each call would cost more than the calculation.
 */
static TupleDesc
revenue_row_type(void)
{
	static const struct
	{
		const char *name;
		Oid			type;
	}			columns[REVENUE_COLUMNS] = {
		{"stage_from", TEXTOID}, {"stage_to", TEXTOID}, {"synthetic_value", NUMERICOID},
		{"calculated_value", NUMERICOID}, {"confidence", NUMERICOID}, {"reason", TEXTOID}
	};
	static TupleDesc row_type = NULL;

	if (row_type == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc	made = CreateTemplateTupleDesc(REVENUE_COLUMNS);
		int			i;

		for (i = 0; i < REVENUE_COLUMNS; i++)
			TupleDescInitEntry(made, i + 1, columns[i].name, columns[i].type, -1, 0);
		row_type = BlessTupleDesc(made);
		MemoryContextSwitchTo(before);
	}
	return row_type;
}

static char *
number_text(Numeric number)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
}

static text *
explain_move(const ArteryStage *from, const ArteryStage *to, Numeric value_from, Numeric value_to, bool real)
{
	StringInfoData reason;

	initStringInfo(&reason);
	if (from == NULL)
		appendStringInfo(&reason, "new deal in %s", to->name);
	else if (from == to)
		appendStringInfo(&reason, "stays in %s", to->name);
	else
		appendStringInfo(&reason, "%s (%s) to %s", from->name, number_text(value_from), to->name);
	appendStringInfo(&reason, " (%s%s)", number_text(value_to), real ? ", the real deal value" : "");
	return cstring_to_text_with_len(reason.data, reason.len);
}

/* artery.calculate_synthetic_revenue(tenant_id, stage_from, stage_to, deal_value) */
Datum
artery_calculate_synthetic_revenue(PG_FUNCTION_ARGS)
{
	const ArteryTenant *tenant;
	const ArteryStage *from = NULL;
	const ArteryStage *to;
	Numeric		deal_value = PG_ARGISNULL(3) ? NULL : PG_GETARG_NUMERIC(3);
	Numeric		value_from = NULL;
	Numeric		value_to;
	Datum		values[REVENUE_COLUMNS];
	bool		nulls[REVENUE_COLUMNS] = {false};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "tenant_id" : "stage_to"),
				 errhint("Only stage_from, of a new deal, and deal_value may be NULL.")));
	tenant = artery_tenant_get(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (!PG_ARGISNULL(1))
		from = artery_stage_get(tenant, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	to = artery_stage_get(tenant, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	artery_deal_value_check(deal_value);

	value_to = artery_stage_worth(to, deal_value);
	nulls[0] = from == NULL;
	if (from != NULL)
	{
		value_from = artery_stage_worth(from, deal_value);
		values[0] = CStringGetTextDatum(from->name);
		values[3] = DirectFunctionCall2(numeric_sub, NumericGetDatum(value_to), NumericGetDatum(value_from));
	}
	else
		values[3] = NumericGetDatum(value_to);
	values[1] = CStringGetTextDatum(to->name);
	values[2] = NumericGetDatum(value_to);
	values[4] = NumericGetDatum(to->confidence);
	values[5] = PointerGetDatum(explain_move(from, to, value_from, value_to, to->won && deal_value != NULL));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(revenue_row_type(), values, nulls)));
}

static Datum
alias_array(const ArteryStage *stage)
{
	Datum	   *elements = palloc(Max(stage->nalias, 1) * sizeof(Datum));
	int			i;

	for (i = 0; i < stage->nalias; i++)
		elements[i] = CStringGetTextDatum(stage->alias[i]);
	return PointerGetDatum(construct_array(elements, stage->nalias, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Put the stages as rows; the columns after the fourth only where asked for. */
static void
put_stages(FunctionCallInfo fcinfo, const ArteryTenant *tenant, bool details)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			i;

	for (i = 0; i < tenant->nstages; i++)
	{
		const ArteryStage *stage = &tenant->stages[i];
		Datum		values[6];
		bool		nulls[6] = {false};

		values[0] = CStringGetTextDatum(stage->name);
		values[1] = NumericGetDatum(stage->value);
		values[2] = NumericGetDatum(stage->confidence);
		nulls[3] = stage->description == NULL;
		if (!nulls[3])
			values[3] = CStringGetTextDatum(stage->description);
		if (details)
		{
			values[4] = BoolGetDatum(stage->won);
			values[5] = alias_array(stage);
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/* artery.get_stages(tenant_id) */
Datum
artery_get_stages(PG_FUNCTION_ARGS)
{
	const ArteryTenant *tenant;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tenant_id must not be null"),
				 errhint("Name the tenant whose rows are meant.")));
	tenant = artery_tenant_get(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	artery_begin_rows(fcinfo);
	put_stages(fcinfo, tenant, false);
	return (Datum) 0;
}

/* artery.merge_stages(template_values, own_values): for the view, of any tenant */
Datum
artery_merge_stages(PG_FUNCTION_ARGS)
{
	ArteryTenant merged = {0};

	artery_stages_build(&merged, PG_ARGISNULL(0) ? NULL : PG_GETARG_JSONB_P(0),
						PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1));
	artery_begin_rows(fcinfo);
	put_stages(fcinfo, &merged, true);
	return (Datum) 0;
}
