/*
 * dbtx.h
 *		How C code of artery reaches tables.
 *
 * A scope makes the extension's owner the current user, pins the search path
 * and connects SPI; a caller with EXECUTE on a function needs no right on any
 * table. Within a scope, statements run by kept plans. An error leaves
 * everything to the abort of the (sub)transaction, which restores user and
 * search path.
 */
#ifndef ARTERY_RUNTIME_DBTX_H
#define ARTERY_RUNTIME_DBTX_H

#include "postgres.h"

#include "executor/spi.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#define ARTERY_STATEMENT_ARGS 40

typedef struct ArteryScope
{
	Oid			user_id;		/* who called */
	int			security;		/* and the caller's security context */
	int			guc_nest;		/* level of the pinned search path */
	bool		is_overridden;	/* the search path is pinned by an override instead */
	MemoryContext caller;		/* results that outlive the scope go here */
	MemoryContext outside;		/* current before a transaction of the scope's own began */
} ArteryScope;

/*
 * A statement with its kept plan. All names in the text are qualified; the
 * plan is made at the first use in a backend and lives as long as it does.
 */
typedef struct ArteryStatement
{
	const char *sql;
	int			nargs;
	Oid			types[ARTERY_STATEMENT_ARGS];
	SPIPlanPtr	plan;
} ArteryStatement;

extern void artery_scope_enter(ArteryScope *scope);
extern void artery_scope_leave(ArteryScope *scope);

/*
 * Enter a scope whose statements look up a few rows each by their keys, in
 * tables that grow. A plan made while a table was empty would read all of it;
 * here plans are made for any size, once, and kept.
 */
extern void artery_scope_enter_lookups(ArteryScope *scope);

/*
 * Enter a scope for one or two statements that run for row after row, on tables
 * of artery's own: to pin the search path costs a tenth of what it does
 * elsewhere, but functions called in there cannot set theirs.
 */
extern void artery_scope_enter_brief(ArteryScope *scope);

/*
 * Run a statement; returns the number of rows processed, with the rows, if
 * any, in SPI_tuptable. nulls as in SPI_execute_plan ('n' is NULL) or NULL;
 * read_only for plain reads on the snapshot of the caller; limit 0 is none.
 */
extern uint64 artery_execute(ArteryStatement *statement, Datum *values, const char *nulls, bool read_only,
							 long limit);

/* Make the plan that artery_execute() runs, if there is none yet. */
extern void artery_prepare(ArteryStatement *statement);

/*
 * Field (1-based column) of a row of the last result. The _text, _json forms
 * allocate in the memory context that is current.
 */
extern bool artery_field_null(uint64 row, int column);
extern Datum artery_field(uint64 row, int column, bool *isnull);
extern char *artery_field_text(uint64 row, int column);	/* NULL when null */
extern int64 artery_field_int64(uint64 row, int column);	/* 0 when null */
extern double artery_field_double(uint64 row, int column);	/* float8; 0 when null */
extern bool artery_field_bool(uint64 row, int column);	/* false when null */
extern TimestampTz artery_field_time(uint64 row, int column);	/* DT_NOBEGIN when null */

/*
 * The fields of a composite of a named type, in a column of a row of the last
 * result, which is not null. The arrays have room for the fields of the type.
 */
extern void artery_field_row(uint64 row, int column, Datum *values, bool *nulls);

/* A copy of a by-reference field in the scope's caller context. */
extern Datum artery_field_copy(ArteryScope *scope, uint64 row, int column, bool *isnull);

/*
 * Run a step in a subtransaction. False if it failed: what it did is undone,
 * the caller's scope goes on, and *error is a copy of the error in the current
 * context. Errors that concern the whole transaction or session (cancelled,
 * serialization, deadlock, out of resources) are raised on. Memory the step
 * allocates in the current context stays in either case.
 */
extern bool artery_attempt(void (*step) (void *), void *argument, ErrorData **error);

/* The same for a background process, which has nobody to raise an error on to: any error is of the step alone. */
extern bool artery_attempt_any(void (*step) (void *), void *argument, ErrorData **error);

/*
 * A background process's own transaction: begin sets the timestamps, takes a
 * snapshot and enters a scope; commit leaves it all and reports statistics.
 */
extern void artery_transaction_begin(ArteryScope *scope, const char *activity);
extern void artery_transaction_commit(ArteryScope *scope);

#endif							/* ARTERY_RUNTIME_DBTX_H */
