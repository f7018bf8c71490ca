/*
 * click_key.h
 *		The ids of clicks: making them, and taking each in once.
 */
#ifndef ARTERY_CAPTURE_CLICK_KEY_H
#define ARTERY_CAPTURE_CLICK_KEY_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* An id for a click of that moment, in the form of a UUID, version 7. */
extern text *artery_click_key_make(TimestampTz at);

/*
 * Take an id that was given from outside, for a click of that moment: true if
 * the tenant has no such click yet. Of two sessions the second waits for the
 * first. Within a scope.
 */
extern bool artery_click_key_take(Datum tenant_id, Datum click_id, Datum click_timestamp);

#endif							/* ARTERY_CAPTURE_CLICK_KEY_H */
