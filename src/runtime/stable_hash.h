/*
 * stable_hash.h
 *		Hashes that tables keep.
 *
 * They mean the same for ever and on every machine, which PostgreSQL's own hash
 * functions do not promise. No secrets: whoever likes can make two texts with one hash.
 */
#ifndef ARTERY_RUNTIME_STABLE_HASH_H
#define ARTERY_RUNTIME_STABLE_HASH_H

#include "postgres.h"

/* Of so many bytes, of a text, of a number; another seed gives another hash. Never 0. */
extern int64 artery_stable_hash(int64 seed, const void *bytes, int length);
extern int64 artery_stable_hash_text(int64 seed, Datum value);
extern int64 artery_stable_hash_number(int64 seed, int64 number);

#endif							/* ARTERY_RUNTIME_STABLE_HASH_H */
