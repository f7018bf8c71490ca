/*
 * device.h
 *		What kind of device, system and browser a visitor has.
 *
 * What the payload says counts first, then the browser's Client Hints, then the
 * user agent, which is read once per session and kept (capture/user_agent.h).
 */
#ifndef ARTERY_CAPTURE_DEVICE_H
#define ARTERY_CAPTURE_DEVICE_H

#include "postgres.h"

#include "capture/sighting.h"

/* Bytes of a name, with the terminating zero. */
#define DEVICE_NAME 64

/* What a user agent tells; an empty name is one that it does not. */
typedef struct ArteryDevice
{
	char		device_type[8];	/* mobile, tablet, desktop, bot */
	char		os[DEVICE_NAME];	/* iOS, Android, Windows, Mac OS X, ... */
	char		browser[DEVICE_NAME];	/* Mobile Safari, Chrome, Facebook, ... */
	SightingOs	os_class;
	SightingBrowser browser_class;
} ArteryDevice;

/* Where a row keeps what is looked at and filled in: texts, and the hints as jsonb. */
typedef struct DeviceColumns
{
	int			user_agent;
	int			device_type;
	int			os;
	int			browser;
	int			client_hints;	/* -1: the row has none */
} DeviceColumns;

/*
 * Fill in device_type, os and browser where they are NULL and the Client Hints
 * or the user agent tell them. Anything may stand there; it is never an error.
 * The hints are NULL afterwards: all that is needed of them is filled in.
 */
extern void artery_device_fill(const DeviceColumns *columns, Datum *values, bool *nulls);

/* What a user agent (text) tells; valid until the next call. */
extern const ArteryDevice *artery_device_read(Datum user_agent);

/* The classes of names as payloads, hints and patterns give them (text). */
extern SightingOs artery_device_os_class(Datum name);
extern SightingBrowser artery_device_browser_class(Datum name);

#endif							/* ARTERY_CAPTURE_DEVICE_H */
