/*
 * row_object.h
 *		Objects of jsonb for row after row, with keys that hardly differ, and lists.
 *
 * Pushing keys and values one by one allocates, sorts and copies each of them.
 * Here the keys are sorted once and laid down once; a row only writes its values,
 * in the form that jsonb has on disk (src/include/utils/jsonb.h of PostgreSQL).
 */
#ifndef ARTERY_RUNTIME_ROW_OBJECT_H
#define ARTERY_RUNTIME_ROW_OBJECT_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#include "runtime/decimal.h"

#define ROW_OBJECT_KEYS 64

typedef enum RowSlotKind
{
	ROW_SLOT_DOUBLE,
	ROW_SLOT_AMOUNT,
	ROW_SLOT_NUMERIC,
	ROW_SLOT_STORED,
	ROW_SLOT_TEXT,
	ROW_SLOT_JSON
} RowSlotKind;

/*
 * A value that waits for the end of its object. Of doubles, many are what they were in the
 * row before (weights, what is clamped): the last one is kept as it was written.
 */
typedef struct RowSlot
{
	RowSlotKind kind;
	int			digits;
	double		last;
	int			length;			/* of last, as written; 0: none yet */
	char		written[DECIMAL_ROOM];
	union
	{
		double		number;
		int64		units;
		const char *text;
		const void *datum;
	}			value;
} RowSlot;

typedef struct RowObject
{
	const char *const *keys;
	int			count;
	int			order[ROW_OBJECT_KEYS]; /* of the keys in an object */
	uint64		given;			/* keys of the object at hand */
	uint64		laid;			/* keys for which the head of data is laid down */
	int			pairs;
	int			head;			/* bytes of it */
	RowSlot		slots[ROW_OBJECT_KEYS];
	StringInfoData data;
} RowObject;

/* A writer of objects with some of these keys (at most ROW_OBJECT_KEYS, all different); keys are kept by reference. */
extern RowObject *artery_row_object_open(const char *const *keys, int count);

/* The finished object, which lasts until the next one is begun. */
extern Jsonb *artery_row_object_end(RowObject *object);

static inline void
artery_row_object_begin(RowObject *object)
{
	object->given = 0;
}

static inline RowSlot *
artery_row_object_take(RowObject *object, int key, RowSlotKind kind)
{
	RowSlot    *slot = &object->slots[key];

	object->given |= UINT64CONST(1) << key;
	slot->kind = kind;
	return slot;
}

/* Between begin and end, the keys that the object has, each once, in any order. */
static inline void
artery_row_object_double(RowObject *object, int key, double number)
{
	artery_row_object_take(object, key, ROW_SLOT_DOUBLE)->value.number = number;
}

static inline void
artery_row_object_amount(RowObject *object, int key, int64 units, int digits)
{
	RowSlot    *slot = artery_row_object_take(object, key, ROW_SLOT_AMOUNT);

	slot->value.units = units;
	slot->digits = digits;
}

/* What these point to must last until the end of the object; a numeric in DECIMAL_ROOM bytes, a stored one of any size. */
static inline void
artery_row_object_numeric(RowObject *object, int key, const void *numeric)
{
	artery_row_object_take(object, key, ROW_SLOT_NUMERIC)->value.datum = numeric;
}

static inline void
artery_row_object_stored(RowObject *object, int key, const void *numeric)
{
	artery_row_object_take(object, key, ROW_SLOT_STORED)->value.datum = numeric;
}

static inline void
artery_row_object_text(RowObject *object, int key, const char *text)
{
	artery_row_object_take(object, key, ROW_SLOT_TEXT)->value.text = text;
}

static inline void
artery_row_object_json(RowObject *object, int key, const Jsonb *json)
{
	artery_row_object_take(object, key, ROW_SLOT_JSON)->value.datum = json;
}

/* A list, written as its elements come. */
typedef struct RowList
{
	int			count;
	int			at;
	int			start;			/* of the next element, behind the entries */
	StringInfoData data;
} RowList;

extern RowList *artery_row_list_open(void);

/* A list of so many elements, which are then added. */
extern void artery_row_list_begin(RowList *list, int count);
extern void artery_row_list_double(RowList *list, double number);
extern void artery_row_list_text(RowList *list, const char *text, int length);
extern void artery_row_list_json(RowList *list, const Jsonb *json);

/* The finished list, which lasts until the next one is begun. */
extern Jsonb *artery_row_list_end(RowList *list);

#endif							/* ARTERY_RUNTIME_ROW_OBJECT_H */
