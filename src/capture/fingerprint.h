/*
 * fingerprint.h
 *		SHA-256 of what a browser tells of its device.
 */
#ifndef ARTERY_CAPTURE_FINGERPRINT_H
#define ARTERY_CAPTURE_FINGERPRINT_H

#include "postgres.h"

/* Where a row keeps the parts and the hash; the parts in the order they are joined. */
typedef struct FingerprintColumns
{
	int			screen_width;	/* int4 */
	int			screen_height;	/* int4 */
	int			timezone;		/* text, like the last three */
	int			timezone_offset;	/* int4, minutes */
	int			device_type;
	int			os;
	int			browser;
	int			hash;			/* text */
} FingerprintColumns;

/*
 * Put the row's hash into shape: a given SHA-256 becomes lower case, another id
 * of at most ARTERY_MAX_ID bytes (22001) stays as it is; where none is given it is made from the
 * parts. It stays NULL where no part is known.
 */
extern void artery_fingerprint_fill(const FingerprintColumns *columns, Datum *values, bool *nulls);

#endif							/* ARTERY_CAPTURE_FINGERPRINT_H */
