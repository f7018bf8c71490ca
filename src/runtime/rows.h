/*
 * rows.h
 *		Rows gathered for one statement, which gets each column as an array.
 *
 * Within a scope (runtime/dbtx.h): rows live in the context that was current
 * when the first was added, their values wherever the caller made them.
 */
#ifndef ARTERY_RUNTIME_ROWS_H
#define ARTERY_RUNTIME_ROWS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#include "runtime/dbtx.h"

typedef struct ArteryRows
{
	int			ncolumns;
	int			count;
	int			capacity;
	Datum	   *values;			/* row by row */
	bool	   *nulls;
} ArteryRows;

extern void artery_rows_init(ArteryRows *rows, int ncolumns);

/* Append a row of which every field is NULL until it is put. */
extern void artery_rows_add(ArteryRows *rows);

/* Set a field of the row added last; NULL and moments that are not finite stay NULL. */
extern void artery_rows_put(ArteryRows *rows, int column, Datum value);
extern void artery_rows_put_text(ArteryRows *rows, int column, const char *text);
extern void artery_rows_put_json(ArteryRows *rows, int column, const Jsonb *json);
extern void artery_rows_put_time(ArteryRows *rows, int column, TimestampTz moment);

/* A column (from 0) as an array of this element type. */
extern Datum artery_rows_column(const ArteryRows *rows, int column, Oid type);

/*
 * Run a statement whose $1 is the tenant and whose further arguments are the
 * columns; nothing is run without rows, and there are none afterwards.
 */
extern void artery_rows_execute(ArteryStatement *statement, const char *tenant_id, ArteryRows *rows);

#endif							/* ARTERY_RUNTIME_ROWS_H */
