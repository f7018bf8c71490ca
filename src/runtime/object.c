/*
 * object.c
 *		SQL doors to objects of jsonb that are made or joined for thousands of rows.
 *
 * jsonb_build_object prints every number and reads it again, and || takes both
 * objects apart, value by value, and sorts the keys. Here the keys are sorted once a
 * statement, and values are copied as they are stored (src/include/utils/jsonb.h).
 */
#include "artery.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "runtime/decimal.h"
#include "runtime/json.h"
#include "runtime/row_object.h"

typedef union WrittenNumber
{
	int			align;
	char		bytes[DECIMAL_ROOM];
} WrittenNumber;

typedef struct ObjectMaker
{
	int			count;
	const char *keys[ROW_OBJECT_KEYS];
	Oid			types[ROW_OBJECT_KEYS];
	RowObject  *object;
} ObjectMaker;

/* A pair of an object, and how many are left with it. */
typedef struct ObjectPair
{
	int			left;
	JsonWalk	key;
	JsonWalk	value;
} ObjectPair;

PG_FUNCTION_INFO_V1(artery_make_object);
PG_FUNCTION_INFO_V1(artery_join_objects);

static ObjectMaker *make_maker(FunctionCallInfo fcinfo);
static void take_value(ObjectMaker *maker, int at, Datum value);
static void take_numeric(RowObject *object, int at, Numeric number);
static int	merge_pairs(const Jsonb *left, const Jsonb *right, ObjectPair *pairs);
static void open_object(ObjectPair *pair, const JsonbContainer *object);
static void step_pair(ObjectPair *pair);
static Jsonb *write_object(const ObjectPair *pairs, int count, Size room);

/* artery.make_object(VARIADIC "any"): keys, which are constants, and values. */
Datum
artery_make_object(PG_FUNCTION_ARGS)
{
	ObjectMaker *maker = fcinfo->flinfo->fn_extra;
	Jsonb	   *made;
	Jsonb	   *copy;
	int			i;

	if (maker == NULL)
		fcinfo->flinfo->fn_extra = maker = make_maker(fcinfo);
	artery_row_object_begin(maker->object);
	for (i = 0; i < maker->count; i++)
		if (!PG_ARGISNULL(2 * i + 1))
			take_value(maker, i, PG_GETARG_DATUM(2 * i + 1));
	made = artery_row_object_end(maker->object);
	copy = palloc(VARSIZE(made));
	memcpy(copy, made, VARSIZE(made));
	PG_RETURN_JSONB_P(copy);
}

/* artery.join_objects(a, b): a || b; where one is null, the other. */
Datum
artery_join_objects(PG_FUNCTION_ARGS)
{
	Jsonb	   *left;
	Jsonb	   *right;
	Size		room;
	ObjectPair *pairs;
	Jsonb	   *joined;
	int			count;

	if (PG_ARGISNULL(0) && PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_DATUM(PG_GETARG_DATUM(PG_ARGISNULL(0) ? 1 : 0));
	left = PG_GETARG_JSONB_P(0);
	right = PG_GETARG_JSONB_P(1);
	/* aligning may take a few bytes a pair more than it did */
	count = JB_ROOT_COUNT(left) + JB_ROOT_COUNT(right);
	room = (Size) VARSIZE(left) + VARSIZE(right) + (Size) count * sizeof(int);
	if (!JB_ROOT_IS_OBJECT(left) || !JB_ROOT_IS_OBJECT(right) || room > JENTRY_OFFLENMASK)
		return DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(left), JsonbPGetDatum(right));
	pairs = palloc((count + 1) * sizeof(ObjectPair));
	count = merge_pairs(left, right, pairs);
	joined = write_object(pairs, count, room);
	pfree(pairs);
	PG_RETURN_JSONB_P(joined);
}

static ObjectMaker *
make_maker(FunctionCallInfo fcinfo)
{
	MemoryContext before = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	ObjectMaker *maker = palloc0(sizeof(ObjectMaker));
	int			i;

	maker->count = PG_NARGS() / 2;
	if (PG_NARGS() % 2 != 0 || maker->count > ROW_OBJECT_KEYS)
		elog(ERROR, "make_object takes keys with values, at most %d", ROW_OBJECT_KEYS);
	for (i = 0; i < maker->count; i++)
	{
		Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 2 * i);

		/* a literal in a list of any type stays one of no type */
		if (PG_ARGISNULL(2 * i) || !get_fn_expr_arg_stable(fcinfo->flinfo, 2 * i) || (type != UNKNOWNOID && type != TEXTOID))
			elog(ERROR, "key %d of make_object is not a constant text", i + 1);
		maker->keys[i] = type == TEXTOID ? text_to_cstring(PG_GETARG_TEXT_PP(2 * i)) : pstrdup(PG_GETARG_CSTRING(2 * i));
		maker->types[i] = get_fn_expr_argtype(fcinfo->flinfo, 2 * i + 1);
	}
	maker->object = artery_row_object_open(maker->keys, maker->count);
	MemoryContextSwitchTo(before);
	return maker;
}

/* Numbers keep the decimal places they show; a double shows what it takes to tell it from others. */
static void
take_value(ObjectMaker *maker, int at, Datum value)
{
	RowObject  *object = maker->object;
	double		number;

	switch (maker->types[at])
	{
		case TEXTOID:
			artery_row_object_text(object, at, text_to_cstring(DatumGetTextPP(value)));
			return;
		case INT8OID:
			if (DatumGetInt64(value) < INT64CONST(1000000000000000) && DatumGetInt64(value) > INT64CONST(-1000000000000000))
				artery_row_object_amount(object, at, DatumGetInt64(value), 0);
			else
				take_numeric(object, at, int64_to_numeric(DatumGetInt64(value)));
			return;
		case NUMERICOID:
			take_numeric(object, at, DatumGetNumeric(value));
			return;
		case FLOAT8OID:
			number = DatumGetFloat8(value);
			if (fabs(number) < 1e15 && number == (double) (int64) number)
				artery_row_object_amount(object, at, (int64) number, 0);
			else
				take_numeric(object, at, DatumGetNumeric(DirectFunctionCall3(numeric_in,
					CStringGetDatum(DatumGetCString(DirectFunctionCall1(float8out, value))), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1))));
			return;
		default:
			elog(ERROR, "make_object cannot take a value of type %u", maker->types[at]);
	}
}

/* What is no number in JSON becomes a text. */
static void
take_numeric(RowObject *object, int at, Numeric number)
{
	if (numeric_is_nan(number) || numeric_is_inf(number))
		artery_row_object_text(object, at, DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number))));
	else
		artery_row_object_stored(object, at, number);
}

/* The pairs of both, in the order that an object has them; of the same key, the right one's. */
static int
merge_pairs(const Jsonb *left, const Jsonb *right, ObjectPair *pairs)
{
	ObjectPair	a;
	ObjectPair	b;
	int			count = 0;

	for (open_object(&a, &left->root), open_object(&b, &right->root); a.left > 0 || b.left > 0; count++)
	{
		int			order = a.left == 0 ? 1 : b.left == 0 ? -1 : (int) a.key.length - (int) b.key.length;

		if (order == 0)
			order = memcmp(a.key.at, b.key.at, a.key.length);
		pairs[count] = order < 0 ? a : b;
		if (order <= 0)
			step_pair(&a);
		if (order >= 0)
			step_pair(&b);
	}
	return count;
}

static void
open_object(ObjectPair *pair, const JsonbContainer *object)
{
	pair->left = JsonContainerSize(object) + 1;
	artery_json_walk_begin(&pair->key, object);
	artery_json_walk_values(&pair->value, object);
	step_pair(pair);
}

static void
step_pair(ObjectPair *pair)
{
	if (--pair->left > 0)
	{
		artery_json_walk_step(&pair->key);
		artery_json_walk_step(&pair->value);
	}
}

static Jsonb *
write_object(const ObjectPair *pairs, int count, Size room)
{
	Jsonb	   *object = palloc(room);
	JEntry	   *entries = object->root.children;
	char	   *base = (char *) (entries + 2 * count);
	char	   *to = base;
	int			i;

	object->root.header = count | JB_FOBJECT;
	for (i = 0; i < 2 * count; i++)
	{
		const JsonWalk *part = i < count ? &pairs[i].key : &pairs[i - count].value;
		char	   *begun = to;
		Size		length = part->base + part->end - part->at;

		if (JBE_ISNUMERIC(part->entry) || JBE_ISCONTAINER(part->entry))
			while ((to - base) % sizeof(int) != 0)
				*to++ = 0;
		memcpy(to, part->at, length);
		to += length;
		entries[i] = (part->entry & JENTRY_TYPEMASK) | (i % JB_OFFSET_STRIDE == 0 ? JENTRY_HAS_OFF | (to - base) : to - begun);
	}
	SET_VARSIZE(object, to - (char *) object);
	return object;
}
