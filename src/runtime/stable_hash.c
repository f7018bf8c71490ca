/*
 * stable_hash.c
 *		Hashes that tables keep.
 */
#include "artery.h"

#include "runtime/stable_hash.h"

/* FNV-1a with a closing mix. */
int64
artery_stable_hash(int64 seed, const void *bytes, int length)
{
	const unsigned char *byte = bytes;
	uint64		hash = UINT64CONST(0xcbf29ce484222325) ^ (uint64) seed * UINT64CONST(0x9e3779b97f4a7c15);
	int			i;

	for (i = 0; i < length; i++)
		hash = (hash ^ byte[i]) * UINT64CONST(0x100000001b3);
	hash = (hash ^ (hash >> 32)) * UINT64CONST(0xd6e8feb86659fd93);
	hash ^= hash >> 32;
	return hash == 0 ? 1 : (int64) hash;
}

int64
artery_stable_hash_text(int64 seed, Datum value)
{
	text	   *given = DatumGetTextPP(value);

	return artery_stable_hash(seed, VARDATA_ANY(given), VARSIZE_ANY_EXHDR(given));
}

int64
artery_stable_hash_number(int64 seed, int64 number)
{
	uint64		hash = (uint64) seed * UINT64CONST(0x9e3779b97f4a7c15) ^ (uint64) number;

	hash = (hash ^ (hash >> 29)) * UINT64CONST(0xbf58476d1ce4e5b9);
	hash = (hash ^ (hash >> 32)) * UINT64CONST(0xd6e8feb86659fd93);
	hash ^= hash >> 32;
	return hash == 0 ? 1 : (int64) hash;
}
