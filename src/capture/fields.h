/*
 * fields.h
 *		Checks and normal form of what landing pages and CRMs send.
 *
 * Clicks, evidence and conversions carry the same fields; they are kept as
 * arrays of Datums in the order of the table's columns, and these functions put
 * single columns of such a row into shape.
 */
#ifndef ARTERY_CAPTURE_FIELDS_H
#define ARTERY_CAPTURE_FIELDS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "tenant/tenant.h"

/* Longest fbclid, gclid, fbc, fbp: longer than other ids, and still fit for an index. */
#define ARTERY_MAX_CLICK_REFERENCE 1024

typedef struct TextField
{
	int			column;			/* in the row */
	const char *name;
	int			max_bytes;
	bool		is_cut;			/* a longer one is cut: nobody means to send it */
} TextField;

/*
 * Detoast the texts, make empty ones NULL, refuse long ones (22001) or cut them.
 */
extern void artery_fields_clean_texts(const TextField *fields, int count, Datum *values, bool *nulls);

/* Error 22004 if the column is NULL (clean_texts made empty texts so). */
extern void artery_fields_require(const char *name, bool isnull);

/* An address without its netmask; an IPv4 address that is written as an IPv6 one (::ffff:192.0.2.1) as itself. */
extern void artery_fields_clean_address(Datum *value, bool *isnull);

/* NULL becomes now; error 22008 before 2010-01-01 or more than a day ahead. */
extern void artery_fields_clean_time(const char *name, Datum *value, bool *isnull);

/*
 * Must device data be left out: for want of consent (a boolean), or because the
 * tenant requires it and nothing was said?
 */
extern bool artery_fields_withheld(const ArteryTenant *tenant, Datum consent, bool isnull);

/* The fbclid inside an fbc cookie (fb.1.<milliseconds>.<fbclid>), where none is given. */
extern void artery_fields_derive_fbclid(Datum fbc, bool fbc_null, Datum *fbclid, bool *isnull);

#endif							/* ARTERY_CAPTURE_FIELDS_H */
