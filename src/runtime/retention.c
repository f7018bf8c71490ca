/*
 * retention.c
 *		Removing what is older than the retention settings, a batch at a time.
 */
#include "artery.h"

#include "runtime/worker.h"

TimestampTz
artery_retention_duty(void)
{
	return DT_NOEND;
}
