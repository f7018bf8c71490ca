/*
 * rows.c
 *		Rows gathered for one statement, which gets each column as an array.
 */
#include "artery.h"

#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "runtime/rows.h"

#define FIRST_CAPACITY 16

void
artery_rows_init(ArteryRows *rows, int ncolumns)
{
	memset(rows, 0, sizeof(ArteryRows));
	rows->ncolumns = ncolumns;
}

void
artery_rows_add(ArteryRows *rows)
{
	if (rows->values == NULL)
	{
		rows->capacity = FIRST_CAPACITY;
		rows->values = palloc(rows->capacity * rows->ncolumns * sizeof(Datum));
		rows->nulls = palloc(rows->capacity * rows->ncolumns * sizeof(bool));
	}
	else if (rows->count == rows->capacity)
	{
		rows->capacity *= 2;
		rows->values = repalloc(rows->values, rows->capacity * rows->ncolumns * sizeof(Datum));
		rows->nulls = repalloc(rows->nulls, rows->capacity * rows->ncolumns * sizeof(bool));
	}
	memset(rows->values + rows->count * rows->ncolumns, 0, rows->ncolumns * sizeof(Datum));
	memset(rows->nulls + rows->count * rows->ncolumns, true, rows->ncolumns * sizeof(bool));
	rows->count++;
}

void
artery_rows_put(ArteryRows *rows, int column, Datum value)
{
	int			field = (rows->count - 1) * rows->ncolumns + column;

	rows->values[field] = value;
	rows->nulls[field] = false;
}

void
artery_rows_put_text(ArteryRows *rows, int column, const char *text)
{
	if (text != NULL)
		artery_rows_put(rows, column, CStringGetTextDatum(text));
}

void
artery_rows_put_json(ArteryRows *rows, int column, const Jsonb *json)
{
	if (json != NULL)
		artery_rows_put(rows, column, PointerGetDatum(json));
}

void
artery_rows_put_time(ArteryRows *rows, int column, TimestampTz moment)
{
	if (!TIMESTAMP_NOT_FINITE(moment))
		artery_rows_put(rows, column, TimestampTzGetDatum(moment));
}

Datum
artery_rows_column(const ArteryRows *rows, int column, Oid type)
{
	Datum	   *values = palloc(Max(rows->count, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(rows->count, 1) * sizeof(bool));
	int			begins = 1;
	int16		length;
	bool		by_value;
	char		align;
	int			i;

	for (i = 0; i < rows->count; i++)
	{
		values[i] = rows->values[i * rows->ncolumns + column];
		nulls[i] = rows->nulls[i * rows->ncolumns + column];
	}
	get_typlenbyvalalign(type, &length, &by_value, &align);
	return PointerGetDatum(construct_md_array(values, nulls, 1, (int *) &rows->count, &begins, type, length, by_value,
											  align));
}

void
artery_rows_execute(ArteryStatement *statement, const char *tenant_id, ArteryRows *rows)
{
	Datum		values[ARTERY_STATEMENT_ARGS];
	int			i;

	Assert(statement->nargs == rows->ncolumns + 1);
	if (rows->count == 0)
		return;
	values[0] = CStringGetTextDatum(tenant_id);
	for (i = 0; i < rows->ncolumns; i++)
		values[i + 1] = artery_rows_column(rows, i, get_element_type(statement->types[i + 1]));
	rows->count = 0;
	(void) artery_execute(statement, values, NULL, false, 0);
}
