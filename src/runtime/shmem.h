/*
 * shmem.h
 *		What the processes of artery share: a slot per worker of a served database.
 *
 * A database has two workers: one delivers and so must never be held up, the
 * other does what may take long. The launcher gives a listed database a slot for
 * each, by name; a worker, while it lives, owns its slot (pid is not 0).
 */
#ifndef ARTERY_RUNTIME_SHMEM_H
#define ARTERY_RUNTIME_SHMEM_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#define ARTERY_MAX_DATABASES 64
#define ARTERY_ERROR_LENGTH 256
#define ARTERY_NEWS 1024		/* counters of news, see news.h */

typedef enum ArteryWork
{
	ARTERY_DELIVERY,			/* changes, syncs, contacts: whatever asks Meta or HubSpot */
	ARTERY_JOBS					/* jobs, learning, retention */
} ArteryWork;

#define ARTERY_WORKS 2
#define ARTERY_SLOTS (ARTERY_WORKS * ARTERY_MAX_DATABASES)

/* Slots of one work stand together, so that all deliveries come first. */
#define ARTERY_SLOT_WORK(index) ((ArteryWork) ((index) / ARTERY_MAX_DATABASES))

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
	pg_atomic_uint32 news[ARTERY_NEWS];
	LWLock	   *lock;			/* guards the rest */
	pid_t		launcher_pid;	/* 0: no launcher */
	Latch	   *launcher_latch;
	ArteryWorkerSlot slots[ARTERY_SLOTS];
} ArteryShared;

/* NULL where the library was not preloaded. */
extern ArteryShared *artery_shared;

/* Ask for the memory; only while preloading. */
extern void artery_shmem_init(void);

/* What the worker of a work is called in pg_stat_activity (backend_type, and before the database in application_name). */
extern const char *const artery_work_names[ARTERY_WORKS];

/* Copy of a database's slot; false where it has none. */
extern bool artery_shmem_slot(Oid database, ArteryWork work, ArteryWorkerSlot *copy);

/*
 * Wake this database's worker of that work when the current transaction commits;
 * nothing happens if it rolls back, or if no worker runs.
 */
extern void artery_wake_at_commit(ArteryWork work);

/* Wake the launcher, if there is one. */
extern void artery_wake_launcher(void);

#endif							/* ARTERY_RUNTIME_SHMEM_H */
