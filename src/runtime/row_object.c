/*
 * row_object.c
 *		Objects of jsonb for row after row, with keys that hardly differ, and lists.
 *
 * An object is a header with the number of pairs, an entry of four bytes for
 * each key and then for each value, the keys' bytes in the order of their
 * lengths, then of their bytes, and the values. An entry tells type and length, or where
 * it ends for every JB_OFFSET_STRIDE'th. What is no text is aligned for an int,
 * and the padding counts as its own.
 */
#include "artery.h"

#include "lib/stringinfo.h"

#include "runtime/decimal.h"
#include "runtime/row_object.h"

static void lay_keys(RowObject *object);
static void make_room(RowObject *object, int length);
static JEntry write_value(RowObject *object, RowSlot *slot, int offset);
static int	compare_keys(const char *left, const char *right);
static char *open_element(RowList *list, int length);
static void close_element(RowList *list, JEntry type, int length);

RowObject *
artery_row_object_open(const char *const *keys, int count)
{
	RowObject  *object = palloc0(sizeof(RowObject));
	int			i;
	int			j;

	Assert(count <= ROW_OBJECT_KEYS);
	object->keys = keys;
	object->count = count;
	for (i = 0; i < count; i++)
	{
		for (j = i; j > 0 && compare_keys(keys[object->order[j - 1]], keys[i]) > 0; j--)
			object->order[j] = object->order[j - 1];
		object->order[j] = i;
	}
	initStringInfo(&object->data);
	return object;
}

Jsonb *
artery_row_object_end(RowObject *object)
{
	int			base = VARHDRSZ + sizeof(uint32);
	int			start;
	int			at = 0;
	int			i;

	if (object->given != object->laid || object->head == 0)
		lay_keys(object);
	object->data.len = object->head;
	make_room(object, 0);
	base += 2 * object->pairs * sizeof(JEntry);
	start = object->head - base;
	for (i = 0; i < object->count; i++)
	{
		int			key = object->order[i];
		JEntry		entry;

		if ((object->given & (UINT64CONST(1) << key)) == 0)
			continue;
		entry = write_value(object, &object->slots[key], start);
		start += JBE_OFFLENFLD(entry);
		if ((object->pairs + at) % JB_OFFSET_STRIDE == 0)
			entry = (entry & JENTRY_TYPEMASK) | start | JENTRY_HAS_OFF;
		memcpy(object->data.data + VARHDRSZ + sizeof(uint32) + (object->pairs + at) * sizeof(JEntry), &entry, sizeof(JEntry));
		at++;
	}
	SET_VARSIZE(object->data.data, object->data.len);
	return (Jsonb *) object->data.data;
}

/* Write what comes before the values, and room for the entries of these. */
static void
lay_keys(RowObject *object)
{
	uint32		header;
	int			end = 0;
	int			at = 0;
	int			i;

	object->pairs = pg_popcount64(object->given);
	header = object->pairs | JB_FOBJECT;
	resetStringInfo(&object->data);
	appendStringInfoSpaces(&object->data, VARHDRSZ);
	appendBinaryStringInfo(&object->data, (char *) &header, sizeof(header));
	appendStringInfoSpaces(&object->data, 2 * object->pairs * sizeof(JEntry));
	for (i = 0; i < object->count; i++)
	{
		const char *key = object->keys[object->order[i]];
		JEntry		entry = JENTRY_ISSTRING | strlen(key);

		if ((object->given & (UINT64CONST(1) << object->order[i])) == 0)
			continue;
		end += strlen(key);
		if (at % JB_OFFSET_STRIDE == 0)
			entry = JENTRY_ISSTRING | end | JENTRY_HAS_OFF;
		memcpy(object->data.data + VARHDRSZ + sizeof(uint32) + at * sizeof(JEntry), &entry, sizeof(JEntry));
		appendBinaryStringInfo(&object->data, key, strlen(key));
		at++;
	}
	object->laid = object->given;
	object->head = object->data.len;
}

/* For a value of that length, and all the numbers that may follow, which are written without asking. */
static void
make_room(RowObject *object, int length)
{
	enlargeStringInfo(&object->data, length + (object->pairs + 1) * (DECIMAL_ROOM + sizeof(int)));
}

/* Append a value that begins at offset; its entry tells type and length, padding included. */
static JEntry
write_value(RowObject *object, RowSlot *slot, int offset)
{
	StringInfo	data = &object->data;
	int			padding = INTALIGN(offset) - offset;
	char	   *to = data->data + data->len + padding;
	int			length;

	memset(data->data + data->len, 0, sizeof(int));
	switch (slot->kind)
	{
		case ROW_SLOT_DOUBLE:
			if (slot->length == 0 || slot->value.number != slot->last)
			{
				slot->last = slot->value.number;
				slot->length = artery_decimal_write_double(slot->written, slot->last);
			}
			length = slot->length;
			memcpy(to, slot->written, DECIMAL_ROOM);
			break;
		case ROW_SLOT_AMOUNT:
			length = artery_decimal_write(to, slot->value.units, slot->digits);
			break;
		case ROW_SLOT_NUMERIC:
			length = VARSIZE(slot->value.datum);
			memcpy(to, slot->value.datum, DECIMAL_ROOM);
			break;
		case ROW_SLOT_STORED:
			length = VARSIZE(slot->value.datum);
			make_room(object, length);
			data->len += padding;
			appendBinaryStringInfo(data, slot->value.datum, length);
			return JENTRY_ISNUMERIC | (padding + length);
		case ROW_SLOT_TEXT:
			length = strlen(slot->value.text);
			make_room(object, length);
			appendBinaryStringInfo(data, slot->value.text, length);
			return JENTRY_ISSTRING | length;
		default:
			length = VARSIZE_ANY_EXHDR(slot->value.datum);
			make_room(object, length);
			data->len += padding;
			appendBinaryStringInfo(data, VARDATA_ANY(slot->value.datum), length);
			return JENTRY_ISCONTAINER | (padding + length);
	}
	data->len += padding + length;
	return JENTRY_ISNUMERIC | (padding + length);
}

/* The order of keys in an object: by length, then by bytes. */
static int
compare_keys(const char *left, const char *right)
{
	Size		a = strlen(left);
	Size		b = strlen(right);

	return a != b ? (a < b ? -1 : 1) : memcmp(left, right, a);
}

RowList *
artery_row_list_open(void)
{
	RowList    *list = palloc0(sizeof(RowList));

	initStringInfo(&list->data);
	return list;
}

void
artery_row_list_begin(RowList *list, int count)
{
	uint32		header = count | JB_FARRAY;
	int			head = VARHDRSZ + sizeof(header) + count * sizeof(JEntry);

	resetStringInfo(&list->data);
	enlargeStringInfo(&list->data, head);
	memcpy(list->data.data + VARHDRSZ, &header, sizeof(header));
	list->data.len = head;
	list->count = count;
	list->at = list->start = 0;
}

void
artery_row_list_double(RowList *list, double number)
{
	close_element(list, JENTRY_ISNUMERIC, artery_decimal_write_double(open_element(list, DECIMAL_ROOM), number));
}

void
artery_row_list_text(RowList *list, const char *text, int length)
{
	Assert(list->at < list->count);
	appendBinaryStringInfo(&list->data, text, length);
	close_element(list, JENTRY_ISSTRING, length);
}

void
artery_row_list_json(RowList *list, const Jsonb *json)
{
	int			length = VARSIZE_ANY_EXHDR(json);

	memcpy(open_element(list, length), VARDATA_ANY(json), length);
	close_element(list, JENTRY_ISCONTAINER, length);
}

Jsonb *
artery_row_list_end(RowList *list)
{
	Assert(list->at == list->count);
	SET_VARSIZE(list->data.data, list->data.len);
	return (Jsonb *) list->data.data;
}

/* Room for an element that is aligned. */
static char *
open_element(RowList *list, int length)
{
	StringInfo	data = &list->data;

	Assert(list->at < list->count);
	enlargeStringInfo(data, length + sizeof(int));
	while (data->len % sizeof(int) != 0)
		data->data[data->len++] = 0;
	return data->data + data->len;
}

/* Note the element that stands at the end, or ends there already if it is a text. */
static void
close_element(RowList *list, JEntry type, int length)
{
	int			head = VARHDRSZ + sizeof(uint32) + list->count * sizeof(JEntry);
	int			end;
	JEntry		entry;

	if (type != JENTRY_ISSTRING)
		list->data.len += length;
	end = list->data.len - head;
	entry = type | (list->at % JB_OFFSET_STRIDE == 0 ? JENTRY_HAS_OFF | end : (JEntry) (end - list->start));
	memcpy(list->data.data + VARHDRSZ + sizeof(uint32) + list->at * sizeof(JEntry), &entry, sizeof(JEntry));
	list->start = end;
	list->at++;
}
