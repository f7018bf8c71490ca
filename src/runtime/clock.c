/*
 * clock.c
 *		The only source of the current time.
 */
#include "artery.h"

#include "access/xact.h"
#include "utils/timestamp.h"

#include "runtime/clock.h"
#include "runtime/guc.h"

PG_FUNCTION_INFO_V1(artery_moment);
PG_FUNCTION_INFO_V1(artery_now);

static TimestampTz
add_offset(TimestampTz moment)
{
	if (artery_settings.clock_offset == 0)
		return moment;
	return moment + (TimestampTz) (artery_settings.clock_offset * USECS_PER_SEC);
}

TimestampTz
artery_clock_now(void)
{
	return add_offset(GetCurrentTransactionStartTimestamp());
}

TimestampTz
artery_clock_moment(void)
{
	return add_offset(GetCurrentTimestamp());
}

TimestampTz
artery_clock_wall(void)
{
	return GetCurrentTimestamp();
}

TimestampTz
artery_clock_to_wall(TimestampTz moment)
{
	if (artery_settings.clock_offset == 0 || TIMESTAMP_NOT_FINITE(moment))
		return moment;
	return moment - (TimestampTz) (artery_settings.clock_offset * USECS_PER_SEC);
}

/* artery.now() */
Datum
artery_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(artery_clock_now());
}

/* artery.moment() */
Datum
artery_moment(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(artery_clock_moment());
}
