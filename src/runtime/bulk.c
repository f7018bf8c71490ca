/*
 * bulk.c
 *		Rows that a statement's triggers write together, not one by one.
 *
 * To start a statement costs more than to write a row. Rows wait in memory until
 * they are many or the statement that caused them ends; an abort forgets them.
 */
#include "artery.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "runtime/bulk.h"

typedef struct BulkRows
{
	Oid			table;
	Oid			row_type;
	TupleDesc	descriptor;
	ArteryStatement statement;
	MemoryContext context;		/* of the rows that wait */
	SubTransactionId subtransaction;
	int			count;
	Datum		rows[BULK_ROWS];
} BulkRows;

static ArteryBulk *bulks = NULL;	/* all that were ever used */

static BulkRows *prepare(ArteryBulk *bulk);
static BulkRows *begin(ArteryBulk *bulk);
static void write_rows(BulkRows *rows);
static void forget(BulkRows *rows);
static void at_transaction_end(XactEvent event, void *arg);
static void at_subtransaction_end(SubXactEvent event, SubTransactionId subtransaction, SubTransactionId parent,
								  void *arg);

bool
artery_bulk_add(ArteryBulk *bulk, const Datum *values, const bool *nulls)
{
	BulkRows   *rows;
	MemoryContext before;
	HeapTuple	tuple;

	rows = bulk->rows;
	if (rows == NULL || rows->count == 0)
		rows = prepare(bulk);
	if (rows->count > 0 && rows->subtransaction != GetCurrentSubTransactionId())
		return false;
	if (rows->count == BULK_ROWS)
		write_rows(rows);
	rows->subtransaction = GetCurrentSubTransactionId();

	before = MemoryContextSwitchTo(rows->context);
	tuple = heap_form_tuple(rows->descriptor, unconstify(Datum *, values), unconstify(bool *, nulls));
	rows->rows[rows->count++] = heap_copy_tuple_as_datum(tuple, rows->descriptor);
	heap_freetuple(tuple);
	MemoryContextSwitchTo(before);
	return true;
}

void
artery_bulk_flush(void)
{
	ArteryBulk *bulk;

	for (bulk = bulks; bulk != NULL; bulk = bulk->next)
	{
		ArteryScope scope;

		if (bulk->rows->count == 0 || bulk->rows->subtransaction != GetCurrentSubTransactionId())
			continue;
		artery_scope_enter(&scope);
		write_rows(bulk->rows);
		artery_scope_leave(&scope);
	}
}

/* Look up the table, which is another one when the extension was dropped and created again. */
static BulkRows *
prepare(ArteryBulk *bulk)
{
	BulkRows   *rows = bulk->rows != NULL ? bulk->rows : begin(bulk);
	Oid			table = get_relname_relid(bulk->table, get_namespace_oid(ARTERY_SCHEMA, false));
	MemoryContext before;

	if (rows->table == table)
		return rows;
	if (!OidIsValid(table))
		elog(ERROR, "table %s is missing", bulk->table);
	if (rows->statement.plan != NULL)
		SPI_freeplan(rows->statement.plan);
	rows->statement.plan = NULL;
	rows->table = InvalidOid;
	rows->row_type = get_rel_type_id(table);
	before = MemoryContextSwitchTo(TopMemoryContext);
	rows->descriptor = CreateTupleDescCopy(lookup_type_cache(rows->row_type, TYPECACHE_TUPDESC)->tupDesc);
	MemoryContextSwitchTo(before);
	rows->statement.types[0] = get_array_type(rows->row_type);
	rows->table = table;
	return rows;
}

static BulkRows *
begin(ArteryBulk *bulk)
{
	BulkRows   *rows = MemoryContextAllocZero(TopMemoryContext, sizeof(BulkRows));

	rows->statement.sql = bulk->sql;
	rows->statement.nargs = 1;
	rows->context = AllocSetContextCreate(TopMemoryContext, "artery rows to be written", ALLOCSET_DEFAULT_SIZES);
	if (bulks == NULL)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		RegisterSubXactCallback(at_subtransaction_end, NULL);
	}
	bulk->rows = rows;
	bulk->next = bulks;
	bulks = bulk;
	return rows;
}

static void
write_rows(BulkRows *rows)
{
	Datum		array = PointerGetDatum(construct_array(rows->rows, rows->count, rows->row_type, -1, false,
														TYPALIGN_DOUBLE));

	/* before anything can go wrong: after an error nothing must wait */
	forget(rows);
	(void) artery_execute(&rows->statement, &array, NULL, false, 0);
}

static void
forget(BulkRows *rows)
{
	rows->count = 0;
	MemoryContextReset(rows->context);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	ArteryBulk *bulk;

	for (bulk = bulks; bulk != NULL; bulk = bulk->next)
	{
		if (bulk->rows->count > 0 && event == XACT_EVENT_PRE_COMMIT)
			elog(ERROR, "rows of %s have not been written", bulk->table);
		forget(bulk->rows);
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId subtransaction, SubTransactionId parent, void *arg)
{
	ArteryBulk *bulk;

	for (bulk = bulks; bulk != NULL; bulk = bulk->next)
	{
		if (bulk->rows->count == 0 || bulk->rows->subtransaction != subtransaction)
			continue;
		if (event == SUBXACT_EVENT_ABORT_SUB)
			forget(bulk->rows);
		else if (event == SUBXACT_EVENT_COMMIT_SUB)
			bulk->rows->subtransaction = parent;
	}
}
