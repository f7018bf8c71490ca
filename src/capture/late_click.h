/*
 * late_click.h
 *		Notes of clicks that come in after what they led to.
 */
#ifndef ARTERY_CAPTURE_LATE_CLICK_H
#define ARTERY_CAPTURE_LATE_CLICK_H

#include "postgres.h"

#include "utils/timestamp.h"

/* A click that is taken in this much after it happened is late; sql/code/late_click.sql knows it too. */
#define LATE_CLICK_AFTER USECS_PER_MINUTE

/*
 * Does a click that happened and was taken in then need a note, because it is
 * late and this (sub)transaction has none for its tenant? Both by artery's clock.
 */
extern bool artery_late_click_is_news(Datum tenant_id, TimestampTz happened_at, TimestampTz tracked_at);

/* Write the note, and wake the worker at commit. Within a scope. */
extern void artery_late_click_note(Datum tenant_id, TimestampTz tracked_at);

#endif							/* ARTERY_CAPTURE_LATE_CLICK_H */
