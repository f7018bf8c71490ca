/*
 * progress.c
 *		SQL doors to the sums of the model `delayed` that are kept and added to.
 *
 * A kept hop is an array of numbers: entered, reached in a known time, the sum
 * of these times, reached in an unknown time, then what is pending for the grid of
 * means. A kept exposure is one of the members of Exposure. As sums they can be moved
 * in time, and what was added can be taken away again.
 */
#include "artery.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "decide/amount.h"
#include "decide/delayed.h"
#include "runtime/row_object.h"

#define MAX_DAYS 1e5
#define MAX_COUNT 1e15

/* What is left where as much was taken away as had been added. */
#define NOTHING 1e-9

#define HOP_NUMBERS (4 + HOP_GRID)
#define EXPOSURE_NUMBERS ((int) (sizeof(Exposure) / sizeof(double)))

typedef struct KeptHop
{
	Hop			hop;
	double		unknown;		/* reached in an unknown time */
} KeptHop;

static const char *const exposure_names[] = {
	"clicks", "impressions", "shown", "shown_moment", "shown_square", "clicks_moment", "periods", "log_spend", "log_impressions"
};

static const char *const state_names[] = {"stages", "won_value", "hops", "exposure"};
static const char *const hop_names[] = {"entered", "reached", "duration", "pending"};

enum
{
	STATE_STAGES, STATE_WON_VALUE, STATE_HOPS, STATE_EXPOSURE
};
enum
{
	HOP_ENTERED, HOP_REACHED, HOP_DURATION, HOP_PENDING
};

typedef struct StateWriter
{
	RowObject  *state;
	RowObject  *hop;
	RowObject  *exposure;
	RowList    *stages;
	RowList    *stage;
	RowList    *hops;
	RowList    *pending;
} StateWriter;

PG_FUNCTION_INFO_V1(artery_hop_sums);
PG_FUNCTION_INFO_V1(artery_exposure_sums);
PG_FUNCTION_INFO_V1(artery_funnel_state);

static double *read_numbers(FunctionCallInfo fcinfo, int argument, int *count, bool **nulls);
static double read_days(FunctionCallInfo fcinfo, int argument);
static Datum *read_names(FunctionCallInfo fcinfo, int argument, int *count);
static void load_hop(const double *numbers, KeptHop *kept);
static Datum make_array(const double *numbers, int count);
static void settle_hop(KeptHop *kept, double days);
static StateWriter *find_writer(FunctionCallInfo fcinfo);
static Jsonb *write_stages(StateWriter *writer, Datum *names, int count, const KeptHop *hops);
static Jsonb *write_hop(StateWriter *writer, const Hop *hop);
static Jsonb *write_exposure(StateWriter *writer, Exposure *exposure, double age);
static double something(double number);

/* artery.hop_sums(sums, days, ages, counts, durations, weights) */
Datum
artery_hop_sums(PG_FUNCTION_ARGS)
{
	KeptHop		kept;
	double		numbers[HOP_NUMBERS];
	double	   *columns[4];
	bool	   *nulls;
	double	   *sums;
	int			counts[4];
	int			n;
	int			i;

	sums = read_numbers(fcinfo, 0, &n, NULL);
	if (n != 0 && n != HOP_NUMBERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sums of a hop must be %d numbers", HOP_NUMBERS)));
	memset(&kept, 0, sizeof(kept));
	if (n > 0)
		load_hop(sums, &kept);
	for (i = 0; i < 4; i++)
		columns[i] = read_numbers(fcinfo, 2 + i, &counts[i], i == 2 ? &nulls : NULL);
	if (counts[0] != counts[1] || counts[2] != counts[3])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ages and counts, and durations and weights, must be of one length")));
	artery_hop_pass(&kept.hop, read_days(fcinfo, 1));
	for (i = 0; i < counts[0]; i++)
		artery_hop_enter(&kept.hop, columns[1][i], artery_amount_check(columns[0][i], MAX_DAYS, "ages"));
	for (i = 0; i < counts[2]; i++)
	{
		if (nulls[i])
			kept.unknown += columns[3][i];
		else
			artery_hop_reach(&kept.hop, columns[3][i], artery_amount_check(columns[2][i], MAX_DAYS, "durations"));
	}
	numbers[0] = kept.hop.entered;
	numbers[1] = kept.hop.reached;
	numbers[2] = kept.hop.duration;
	numbers[3] = kept.unknown;
	memcpy(numbers + 4, kept.hop.pending, sizeof(kept.hop.pending));
	PG_RETURN_DATUM(make_array(numbers, HOP_NUMBERS));
}

/* artery.exposure_sums(sums, days, impressions, clicks, spend) */
Datum
artery_exposure_sums(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"days", "impressions", "clicks", "spend"};
	Exposure	exposure = {0};
	DelayedOptions options;
	double	   *columns[4];
	double	   *sums;
	int			n;
	int			count;
	int			i;
	int			j;

	sums = read_numbers(fcinfo, 0, &n, NULL);
	if (n != 0 && n != EXPOSURE_NUMBERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sums of an exposure must be %d numbers", EXPOSURE_NUMBERS)));
	if (n > 0)
		memcpy(&exposure, sums, sizeof(exposure));
	for (j = 0; j < 4; j++)
	{
		columns[j] = read_numbers(fcinfo, 1 + j, &count, NULL);
		if (j > 0 && count != n)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the arrays must be of one length")));
		n = count;
	}
	artery_delayed_defaults(&options, 1);
	for (i = 0; i < n; i++)
	{
		for (j = 0; j < 4; j++)
			artery_amount_check(columns[j][i], j == 0 ? MAX_DAYS : MAX_COUNT, names[j]);
		artery_exposure_add(&exposure, options.half_life, columns[0][i], columns[1][i], columns[2][i], columns[3][i]);
	}
	PG_RETURN_DATUM(make_array((double *) &exposure, EXPOSURE_NUMBERS));
}

/*
 * artery.funnel_state(names, won_value, exposure, exposure_age, clicks, places, sums,
 * ages): clicks are as old as the exposure; sums has a row for each of the places.
 */
Datum
artery_funnel_state(PG_FUNCTION_ARGS)
{
	StateWriter *writer;
	Jsonb	   *made;
	Jsonb	   *copy;
	KeptHop		hops[DELAYED_MAX_HOPS];
	KeptHop		clicks;
	Exposure	exposure = {0};
	double		age = read_days(fcinfo, 3);
	Datum	   *names;
	int			count;
	int			rows;
	int			known = 0;
	int			n;
	int			i;
	double	   *exposure_numbers = read_numbers(fcinfo, 2, &n, NULL);
	double	   *click_numbers;
	double	   *sums;
	double	   *ages;
	Datum	   *places = NULL;

	memset(hops, 0, sizeof(hops));
	memset(&clicks, 0, sizeof(clicks));
	if (n == EXPOSURE_NUMBERS)
		memcpy(&exposure, exposure_numbers, sizeof(exposure));
	names = read_names(fcinfo, 0, &count);
	click_numbers = read_numbers(fcinfo, 4, &n, NULL);
	if (n == HOP_NUMBERS)
		load_hop(click_numbers, &clicks);
	settle_hop(&clicks, age);
	sums = read_numbers(fcinfo, 6, &n, NULL);
	ages = read_numbers(fcinfo, 7, &rows, NULL);
	if (!PG_ARGISNULL(5))
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(5), INT4OID, sizeof(int32), true, TYPALIGN_INT, &places, NULL, &known);
	for (i = 0; i < Min(known, rows) && (i + 1) * HOP_NUMBERS <= n; i++)
	{
		int			place = DatumGetInt32(places[i]);

		if (place < 1 || place > count)
			continue;
		load_hop(sums + i * HOP_NUMBERS, &hops[place - 1]);
		settle_hop(&hops[place - 1], ages[i]);
	}
	hops[0].hop.entered = clicks.hop.entered;
	memcpy(hops[0].hop.pending, clicks.hop.pending, sizeof(clicks.hop.pending));

	writer = find_writer(fcinfo);
	artery_row_object_begin(writer->state);
	artery_row_object_json(writer->state, STATE_STAGES, write_stages(writer, names, count, hops));
	if (!PG_ARGISNULL(1))
		artery_row_object_stored(writer->state, STATE_WON_VALUE, PG_GETARG_NUMERIC(1));
	artery_row_list_begin(writer->hops, count);
	for (i = 0; i < count; i++)
		artery_row_list_json(writer->hops, write_hop(writer, &hops[i].hop));
	artery_row_object_json(writer->state, STATE_HOPS, artery_row_list_end(writer->hops));
	artery_row_object_json(writer->state, STATE_EXPOSURE, write_exposure(writer, &exposure, age));
	made = artery_row_object_end(writer->state);
	copy = palloc(VARSIZE(made));
	memcpy(copy, made, VARSIZE(made));
	PG_RETURN_JSONB_P(copy);
}

/* Elements of an array argument; NULL is an empty one. Nulls are errors unless the caller takes them. */
static double *
read_numbers(FunctionCallInfo fcinfo, int argument, int *count, bool **nulls)
{
	Datum	   *values;
	double	   *numbers;
	bool	   *are_null;
	int			i;

	*count = 0;
	if (nulls != NULL)
		*nulls = NULL;
	if (PG_ARGISNULL(argument))
		return NULL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &values, &are_null, count);
	numbers = palloc(Max(*count, 1) * sizeof(double));
	for (i = 0; i < *count; i++)
	{
		if (are_null[i] && nulls == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("the arrays must not contain nulls")));
		numbers[i] = are_null[i] ? 0 : DatumGetFloat8(values[i]);
		if (!isfinite(numbers[i]))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("the arrays must contain finite numbers")));
	}
	if (nulls != NULL)
		*nulls = are_null;
	return numbers;
}

static double
read_days(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? 0 : artery_amount_check(PG_GETARG_FLOAT8(argument), MAX_DAYS, "days");
}

/* The names of the funnel's stages, as many as the model knows. */
static Datum *
read_names(FunctionCallInfo fcinfo, int argument, int *count)
{
	Datum	   *names;

	if (PG_ARGISNULL(argument) || array_contains_nulls(PG_GETARG_ARRAYTYPE_P(argument)))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the names of stages must not be null")));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, count);
	*count = Min(*count, DELAYED_MAX_HOPS);
	return names;
}

static void
load_hop(const double *numbers, KeptHop *kept)
{
	kept->hop.entered = numbers[0];
	kept->hop.reached = numbers[1];
	kept->hop.duration = numbers[2];
	kept->unknown = numbers[3];
	memcpy(kept->hop.pending, numbers + 4, sizeof(kept->hop.pending));
}

static Datum
make_array(const double *numbers, int count)
{
	Datum		elements[HOP_NUMBERS];
	int			i;

	for (i = 0; i < count; i++)
		elements[i] = Float8GetDatum(numbers[i]);
	return PointerGetDatum(construct_array(elements, count, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* As of so many days later, nothing below 0, and unknown times taken for the mean of the others. */
static void
settle_hop(KeptHop *kept, double days)
{
	Hop		   *hop = &kept->hop;
	int			i;

	artery_hop_pass(hop, days);
	hop->entered = hop->entered < NOTHING ? 0 : hop->entered;
	hop->reached = hop->reached < NOTHING ? 0 : hop->reached;
	hop->duration = hop->reached == 0 ? 0 : Max(hop->duration, 0);
	for (i = 0; i < HOP_GRID; i++)
		hop->pending[i] = Min(Max(hop->pending[i], 0), hop->entered);
	if (kept->unknown > NOTHING)
		artery_hop_reach(hop, kept->unknown, hop->reached > 0 ? hop->duration / hop->reached : 1);
}

/* The writers of what a state consists of, which serve row after row. */
static StateWriter *
find_writer(FunctionCallInfo fcinfo)
{
	MemoryContext before;
	StateWriter *writer = fcinfo->flinfo->fn_extra;

	if (writer != NULL)
		return writer;
	before = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	writer = palloc(sizeof(StateWriter));
	writer->state = artery_row_object_open(state_names, lengthof(state_names));
	writer->hop = artery_row_object_open(hop_names, lengthof(hop_names));
	writer->exposure = artery_row_object_open(exposure_names, lengthof(exposure_names));
	writer->stages = artery_row_list_open();
	writer->stage = artery_row_list_open();
	writer->hops = artery_row_list_open();
	writer->pending = artery_row_list_open();
	MemoryContextSwitchTo(before);
	return fcinfo->flinfo->fn_extra = writer;
}

/* [["lead", 12], ["closed_won", 1]] */
static Jsonb *
write_stages(StateWriter *writer, Datum *names, int count, const KeptHop *hops)
{
	int			i;

	artery_row_list_begin(writer->stages, count);
	for (i = 0; i < count; i++)
	{
		artery_row_list_begin(writer->stage, 2);
		artery_row_list_text(writer->stage, VARDATA_ANY(DatumGetPointer(names[i])), VARSIZE_ANY_EXHDR(DatumGetPointer(names[i])));
		artery_row_list_double(writer->stage, something(rint(hops[i].hop.reached * 1e6) / 1e6));
		artery_row_list_json(writer->stages, artery_row_list_end(writer->stage));
	}
	return artery_row_list_end(writer->stages);
}

static Jsonb *
write_hop(StateWriter *writer, const Hop *hop)
{
	int			i;

	artery_row_object_begin(writer->hop);
	artery_row_object_double(writer->hop, HOP_ENTERED, something(hop->entered));
	artery_row_object_double(writer->hop, HOP_REACHED, something(hop->reached));
	artery_row_object_double(writer->hop, HOP_DURATION, something(hop->duration));
	if (hop->entered > 0)
	{
		artery_row_list_begin(writer->pending, HOP_GRID);
		for (i = 0; i < HOP_GRID; i++)
			artery_row_list_double(writer->pending, something(hop->pending[i]));
		artery_row_object_json(writer->hop, HOP_PENDING, artery_row_list_end(writer->pending));
	}
	return artery_row_object_end(writer->hop);
}

static Jsonb *
write_exposure(StateWriter *writer, Exposure *exposure, double age)
{
	DelayedOptions options;
	int			i;

	artery_delayed_defaults(&options, 1);
	artery_exposure_add(exposure, options.half_life, age, 0, 0, 0);
	artery_row_object_begin(writer->exposure);
	for (i = 0; i < EXPOSURE_NUMBERS; i++)
		artery_row_object_double(writer->exposure, i, something(((double *) exposure)[i]));
	return artery_row_object_end(writer->exposure);
}

static double
something(double number)
{
	return fabs(number) < NOTHING ? 0 : number;
}
