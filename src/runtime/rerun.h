/*
 * rerun.h
 *		Statements that the rows of one command run again and again.
 *
 * The trigger of a row begins and ends; between, look-ups asked for here are
 * started once and then only given other values. Whoever begins sees to it that
 * artery_rerun_close() is called at the end of the command.
 */
#ifndef ARTERY_RUNTIME_RERUN_H
#define ARTERY_RUNTIME_RERUN_H

#include "postgres.h"

#include "runtime/dbtx.h"

#define RERUN_ROWS 100			/* look-ups are started anew at the latest then */

/* What the choice of partitions hangs on: look-ups of other keys are started apart. */
typedef struct RerunKey
{
	int64		since;
	int64		until;
} RerunKey;

/* Another row of a command; within a scope. */
extern void artery_rerun_begin(void);
extern void artery_rerun_end(void);
extern bool artery_rerun_active(void);

/*
 * Run a look-up as artery_execute() does, not read-only. Between begin and end
 * it is kept started, and sees what was committed when it was; of its own
 * command it sees the rows so far. Plans that cannot be run again with other
 * values are run in the plain way. Partitions are chosen at the start: values
 * that choose others have another key.
 */
extern uint64 artery_rerun(ArteryStatement *statement, RerunKey key, Datum *values, const char *nulls, long limit);

/* The same if it has been started; false if not, and then nothing is done. */
extern bool artery_rerun_started(ArteryStatement *statement, RerunKey key, Datum *values, const char *nulls, long limit,
								 uint64 *rows);

/* End what was started: at the end of the command, or to see what was written since. */
extern void artery_rerun_close(void);

/* The statement is about to become another one. */
extern void artery_rerun_withdraw(const ArteryStatement *statement);

#endif							/* ARTERY_RUNTIME_RERUN_H */
