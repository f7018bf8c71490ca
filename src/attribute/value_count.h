/*
 * value_count.h
 *		How often values (addresses, blocks, fingerprints, ...) occur in a
 *		tenant's clicks.
 *
 * A backend keeps the values it has read of one tenant, as of one version of
 * what was learnt of it. All within a scope.
 */
#ifndef ARTERY_ATTRIBUTE_VALUE_COUNT_H
#define ARTERY_ATTRIBUTE_VALUE_COUNT_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Key under which clicks of a class are counted; other keys are hashes. */
#define VALUE_CLASS_KEY(click_class) ((click_class) + 1)

/* What is asked from now on is of that tenant's values, as of that version (0: none): others are forgotten. */
extern void artery_value_use(const char *tenant_id, int64 version);

/*
 * The keys whose values are to be read, as an array (bigint[]); returns how
 * many. A key of 0 is none.
 */
extern int	artery_value_seek(const int64 *keys, int nkeys, Datum *sought);

/* A value was read: it occurred so often, as of that moment. */
extern void artery_value_remember(int64 key, double occurrences, TimestampTz counted_at);

/* All were read: those sought that nothing was told of never occurred. */
extern void artery_value_settle(Datum sought);

/* How often a value occurs in the clicks of a week, as of a moment; false, and 0, if that is not known without reading. */
extern bool artery_value_known(TimestampTz at, int64 key, double *clicks);

/*
 * How often values occur in the clicks of a week, as of a moment: counts[i] for
 * keys[i], 0 for those never seen. Reads those that are not known.
 */
extern void artery_value_count(Datum tenant_id, TimestampTz at, const int64 *keys, int nkeys, double *counts);

#endif							/* ARTERY_ATTRIBUTE_VALUE_COUNT_H */
