/*
 * shmem.h
 *		What the processes of artery share: one slot per served database.
 *
 * The launcher gives a listed database a slot by name; its worker, while it
 * lives, owns the slot (pid is not 0).
 */
#ifndef ARTERY_RUNTIME_SHMEM_H
#define ARTERY_RUNTIME_SHMEM_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#define ARTERY_MAX_DATABASES 64
#define ARTERY_ERROR_LENGTH 256

typedef struct ArteryWorkerSlot
{
	NameData	name;			/* of the database; empty: free */
	Oid			database;		/* set by the worker once connected, kept after its end */
	pid_t		pid;			/* 0: no worker */
	Latch	   *latch;			/* of the worker, while it lives */
	bool		stop;			/* the worker shall end: its database is not listed any more */
	int			leave;			/* sessions that need the database without a worker just now */
	bool		was_terminated; /* the last worker was told to end */
	TimestampTz started_at;
	TimestampTz ended_at;
	TimestampTz last_round_at;	/* end of the last round without an error */
	uint64		rounds;
	uint64		requests;		/* HTTP requests finished */
	int			in_flight;
	TimestampTz last_error_at;
	char		last_error[ARTERY_ERROR_LENGTH];	/* redacted */
} ArteryWorkerSlot;

typedef struct ArteryShared
{
	LWLock	   *lock;			/* guards the rest */
	pid_t		launcher_pid;	/* 0: no launcher */
	Latch	   *launcher_latch;
	ArteryWorkerSlot slots[ARTERY_MAX_DATABASES];
} ArteryShared;

/* NULL where the library was not preloaded. */
extern ArteryShared *artery_shared;

/* Ask for the memory; only while preloading. */
extern void artery_shmem_init(void);

/* Copy of the slot of a database; false where it has none. */
extern bool artery_shmem_slot(Oid database, ArteryWorkerSlot *copy);

/*
 * Wake this database's worker when the current transaction commits; nothing
 * happens if it rolls back, or if no worker runs.
 */
extern void artery_wake_worker_at_commit(void);

/* Wake the launcher, if there is one. */
extern void artery_wake_launcher(void);

#endif							/* ARTERY_RUNTIME_SHMEM_H */
