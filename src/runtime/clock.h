/*
 * clock.h
 *		The only source of the current time.
 *
 * artery.clock_offset (seconds) is added everywhere, so that tests can move the
 * clock instead of sleeping.
 */
#ifndef ARTERY_RUNTIME_CLOCK_H
#define ARTERY_RUNTIME_CLOCK_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Start of the current transaction plus the offset: what artery.now() gives. */
extern TimestampTz artery_clock_now(void);

/* This very moment plus the offset: for verdicts under a lock and for the worker. */
extern TimestampTz artery_clock_moment(void);

/* This very moment by the machine's clock: for waits and for what processes tell of themselves. */
extern TimestampTz artery_clock_wall(void);

/* A moment of artery's clock as wall time of the machine, for waiting. */
extern TimestampTz artery_clock_to_wall(TimestampTz moment);

#endif							/* ARTERY_RUNTIME_CLOCK_H */
