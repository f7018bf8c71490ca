/*
 * fields.c
 *		Checks and normal form of what landing pages and CRMs send.
 */
#include "artery.h"

#include <ctype.h>
#include <sys/socket.h>

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/inet.h"
#include "utils/timestamp.h"

#include "capture/fields.h"
#include "runtime/clock.h"

/* 2010-01-01 00:00 UTC, counted from 2000-01-01 */
#define EARLIEST_TIME (INT64CONST(3653) * USECS_PER_DAY)

void
artery_fields_clean_texts(const TextField *fields, int count, Datum *values, bool *nulls)
{
	int			i;

	for (i = 0; i < count; i++)
	{
		int			column = fields[i].column;
		text	   *value;
		int			length;

		if (nulls[column])
			continue;
		value = DatumGetTextPP(values[column]);
		length = VARSIZE_ANY_EXHDR(value);
		if (length > fields[i].max_bytes && fields[i].is_cut)
		{
			length = pg_mbcliplen(VARDATA_ANY(value), length, fields[i].max_bytes);
			value = cstring_to_text_with_len(VARDATA_ANY(value), length);
		}
		else if (length > fields[i].max_bytes)
			ereport(ERROR,
					(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
					 errmsg("%s is too long", fields[i].name),
					 errdetail("It has %d bytes; at most %d are accepted.", length, fields[i].max_bytes),
					 errhint("Give the id or text itself; a longer one is cut by the caller, who knows what may be lost.")));
		values[column] = PointerGetDatum(value);
		nulls[column] = length == 0;
	}
}

void
artery_fields_require(const char *name, bool isnull)
{
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null or empty", name),
				 errhint("Every row needs it; fields that are not known may be null.")));
}

void
artery_fields_clean_address(Datum *value, bool *isnull)
{
	/* ::ffff:a.b.c.d, as servers that listen for both families see a.b.c.d */
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
	inet	   *address;
	inet	   *host;
	bool		is_mapped;

	if (*isnull)
		return;
	address = DatumGetInetPP(*value);
	*value = InetPGetDatum(address);
	is_mapped = ip_family(address) == PGSQL_AF_INET6 && memcmp(ip_addr(address), mapped, sizeof(mapped)) == 0;
	if (ip_bits(address) == ip_maxbits(address) && !is_mapped)
		return;
	host = (inet *) palloc0(sizeof(inet));
	ip_family(host) = is_mapped ? PGSQL_AF_INET : ip_family(address);
	ip_bits(host) = ip_maxbits(host);
	memcpy(ip_addr(host), ip_addr(address) + (is_mapped ? sizeof(mapped) : 0), ip_addrsize(host));
	SET_INET_VARSIZE(host);
	*value = InetPGetDatum(host);
}

void
artery_fields_clean_time(const char *name, Datum *value, bool *isnull)
{
	TimestampTz moment;

	if (*isnull)
	{
		*value = TimestampTzGetDatum(artery_clock_now());
		*isnull = false;
		return;
	}
	moment = DatumGetTimestampTz(*value);
	if (moment < EARLIEST_TIME || moment > artery_clock_now() + USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("%s is out of range: %s", name, timestamptz_to_str(moment)),
				 errdetail("Times from 2010-01-01 to one day ahead are accepted."),
				 errhint("Times in milliseconds since 1970 must be divided by 1000 for to_timestamp().")));
}

bool
artery_fields_withheld(const ArteryTenant *tenant, Datum consent, bool isnull)
{
	return isnull ? tenant->settings.consent_required : !DatumGetBool(consent);
}

void
artery_fields_derive_fbclid(Datum fbc, bool fbc_null, Datum *fbclid, bool *isnull)
{
	const char *position;
	const char *end;
	int			part;

	if (!*isnull || fbc_null)
		return;
	position = VARDATA_ANY(DatumGetPointer(fbc));
	end = position + VARSIZE_ANY_EXHDR(DatumGetPointer(fbc));
	if (end - position < 3 || strncmp(position, "fb.", 3) != 0)
		return;
	position += 3;
	for (part = 0; part < 2; part++)	/* number of the domain's parts, then the time */
	{
		const char *start = position;

		while (position < end && isdigit((unsigned char) *position))
			position++;
		if (position == start || position == end || *position != '.')
			return;
		position++;
	}
	if (position == end)
		return;
	*fbclid = PointerGetDatum(cstring_to_text_with_len(position, end - position));
	*isnull = false;
}
