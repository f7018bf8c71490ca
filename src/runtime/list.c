/*
 * list.c
 *		An aggregate that makes an array of thousands of long objects.
 *
 * array_agg copies each value to a place of its own, and all of them once more into the
 * array. Here they are put where they stay, in memory of huge pages: of tens of
 * megabytes, making pages present takes longer than all copying.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/jsonb.h"

#include "runtime/huge.h"

#define LEAST_ROOM ((Size) 64 * 1024)

typedef struct ObjectList
{
	ArrayType  *array;
	Size		length;
	Size		room;
	int			count;
} ObjectList;

PG_FUNCTION_INFO_V1(artery_list_add);
PG_FUNCTION_INFO_V1(artery_list_end);

static ObjectList *make_list(MemoryContext memory);
static void make_room(ObjectList *list, Size size, MemoryContext memory);

/* artery.list_add(list, object): the transition; what is null is left out. */
Datum
artery_list_add(PG_FUNCTION_ARGS)
{
	MemoryContext memory;
	ObjectList *list;
	Jsonb	   *object;

	if (!AggCheckCallContext(fcinfo, &memory))
		elog(ERROR, "list_add is a part of an aggregate");
	list = PG_ARGISNULL(0) ? make_list(memory) : (ObjectList *) PG_GETARG_POINTER(0);
	if (PG_ARGISNULL(1))
		PG_RETURN_POINTER(list);
	object = PG_GETARG_JSONB_P(1);
	if (list->length + INTALIGN(VARSIZE(object)) > list->room)
		make_room(list, list->length + INTALIGN(VARSIZE(object)), memory);
	memcpy((char *) list->array + list->length, object, VARSIZE(object));
	memset((char *) list->array + list->length + VARSIZE(object), 0, INTALIGN(VARSIZE(object)) - VARSIZE(object));
	list->length += INTALIGN(VARSIZE(object));
	list->count++;
	PG_FREE_IF_COPY(object, 1);
	PG_RETURN_POINTER(list);
}

/* artery.list_end(list): the array, NULL of nothing. */
Datum
artery_list_end(PG_FUNCTION_ARGS)
{
	ObjectList *list = PG_ARGISNULL(0) ? NULL : (ObjectList *) PG_GETARG_POINTER(0);

	if (list == NULL || list->count == 0)
		PG_RETURN_NULL();
	SET_VARSIZE(list->array, list->length);
	ARR_DIMS(list->array)[0] = list->count;
	PG_RETURN_ARRAYTYPE_P(list->array);
}

static ObjectList *
make_list(MemoryContext memory)
{
	ObjectList *list = MemoryContextAllocZero(memory, sizeof(ObjectList));

	list->length = ARR_OVERHEAD_NONULLS(1);
	make_room(list, LEAST_ROOM, memory);
	list->array->ndim = 1;
	list->array->dataoffset = 0;
	list->array->elemtype = JSONBOID;
	ARR_LBOUND(list->array)[0] = 1;
	return list;
}

static void
make_room(ObjectList *list, Size size, MemoryContext memory)
{
	MemoryContext before = MemoryContextSwitchTo(memory);
	/* what is not written yet costs nothing but addresses, so it is seldom copied */
	Size		room = Max((list->room < HUGE_LEAST ? 32 : 4) * list->room, size);
	ArrayType  *array;

	if (size > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the objects take more than an array can hold"),
				 errdetail("It can hold %zu bytes.", (Size) MaxAllocSize)));
	room = Min(room, MaxAllocSize);
	array = artery_huge_alloc(room, 0);
	if (list->array != NULL)
	{
		memcpy(array, list->array, list->length);
		pfree(list->array);
	}
	list->array = array;
	list->room = room;
	MemoryContextSwitchTo(before);
}
