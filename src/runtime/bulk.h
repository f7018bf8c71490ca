/*
 * bulk.h
 *		Rows that a statement's triggers write together, not one by one.
 */
#ifndef ARTERY_RUNTIME_BULK_H
#define ARTERY_RUNTIME_BULK_H

#include "postgres.h"

#include "runtime/dbtx.h"

#define BULK_ROWS 100			/* that wait at most; they are written when another comes */

/*
 * Rows of a table of schema artery that wait. The statement takes them as its
 * only parameter $1, an array of the table's rows.
 */
typedef struct ArteryBulk
{
	const char *table;
	const char *sql;
	struct BulkRows *rows;
	struct ArteryBulk *next;
} ArteryBulk;

/*
 * Have a row, in the order of the table's columns, written with others. False
 * if it cannot wait, as those that wait are of another subtransaction: then the
 * caller writes it. Whoever adds rows sees to it that artery_bulk_flush() is
 * called at the end of the statement. Within a scope.
 */
extern bool artery_bulk_add(ArteryBulk *bulk, const Datum *values, const bool *nulls);

/* Write what waits, of all tables. Enters a scope only if there is something. */
extern void artery_bulk_flush(void);

#endif							/* ARTERY_RUNTIME_BULK_H */
