/*
 * compat.h
 *		Every test of the server's version in the project.
 *
 * PostgreSQL 15 is the version artery is written for; 14 and 16 to 18 differ in
 * the few places below.
 */
#ifndef ARTERY_COMPAT_H
#define ARTERY_COMPAT_H

#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/guc.h"

#if PG_VERSION_NUM < 140000
#error "artery needs PostgreSQL 14 or later"
#endif

#if PG_VERSION_NUM >= 180000
#define ARTERY_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "artery", .version = ARTERY_VERSION)
#else
#define ARTERY_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* 15 brought pg_prng; before it there is erand48's generator with 48 bits of state. */
#if PG_VERSION_NUM >= 150000
#include "common/pg_prng.h"
#else
#include "port.h"

typedef struct pg_prng_state
{
	unsigned short xseed[3];
} pg_prng_state;

static inline void
pg_prng_seed(pg_prng_state *state, uint64 seed)
{
	state->xseed[0] = (unsigned short) seed;
	state->xseed[1] = (unsigned short) (seed >> 16);
	state->xseed[2] = (unsigned short) (seed >> 32);
}

static inline double
pg_prng_double(pg_prng_state *state)
{
	return pg_erand48(state->xseed);
}
#endif

/* 15 split the request for shared memory from its start-up. */
#if PG_VERSION_NUM >= 150000
#define ARTERY_HAVE_SHMEM_REQUEST_HOOK 1
#endif

/* 17 took away the override of the search path, which costs less than the setting. */
#if PG_VERSION_NUM < 170000
#define ARTERY_HAVE_SEARCH_PATH_OVERRIDE 1
#endif

/* 18 says pg_noreturn before the declaration instead. */
#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

#if PG_VERSION_NUM < 150000
#define MarkGUCPrefixReserved(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/*
 * Begin the answer of a set-returning function: afterwards rows go to
 * rsinfo->setResult with rsinfo->setDesc. Error where a set is not accepted.
 */
extern void artery_begin_rows(FunctionCallInfo fcinfo);

/* The same for many rows, which may take so much memory before they go to disk. */
extern void artery_begin_many_rows(FunctionCallInfo fcinfo, int kilobytes);

/* Before 15 every custom scan was taken to form what its parent asks for. */
#if PG_VERSION_NUM >= 150000
#define ARTERY_CUSTOMPATH_PROJECTS CUSTOMPATH_SUPPORT_PROJECTION
#else
#define ARTERY_CUSTOMPATH_PROJECTS 0
#endif

/* Error where the present role may not execute the function. */
extern void artery_check_may_execute(Oid function);

/* Does the role own the database, or is it a superuser? */
extern bool artery_owns_database(Oid database, Oid role);

/* The same of an extension. */
extern bool artery_owns_extension(Oid extension, Oid role);

#endif							/* ARTERY_COMPAT_H */
