/*
 * sighting.h
 *		What a landing page saw of a visitor, in the terms of the calibrated model:
 *		system and browser as classes, and keys that equal visitors share.
 *
 * Clicks keep their keys in the table, so that candidates are found by index;
 * they must therefore never change their meaning: keys are made by code of
 * artery's own and not by PostgreSQL's hash functions.
 */
#ifndef ARTERY_CAPTURE_SIGHTING_H
#define ARTERY_CAPTURE_SIGHTING_H

#include "postgres.h"

typedef enum SightingOs
{
	SIGHTING_IOS,
	SIGHTING_ANDROID,
	SIGHTING_WINDOWS,
	SIGHTING_MAC,
	SIGHTING_OTHER_OS
} SightingOs;

typedef enum SightingBrowser
{
	SIGHTING_SAFARI,
	SIGHTING_CHROME,
	SIGHTING_EDGE,
	SIGHTING_FIREFOX,
	SIGHTING_SAMSUNG,
	SIGHTING_FACEBOOK,
	SIGHTING_INSTAGRAM,
	SIGHTING_OTHER_APP,
	SIGHTING_OTHER_BROWSER
} SightingBrowser;

/* Where a row keeps what is looked at; the three columns of the screen to the offset are int4, int4, text, int4. */
typedef struct SightingColumns
{
	int			ip_address;		/* inet */
	int			user_agent;		/* text, like the next two */
	int			os;
	int			browser;
	int			screen_width;
	int			screen_height;
	int			timezone;
	int			timezone_offset;
	int			fingerprint_hash;	/* text */
} SightingColumns;

/* A key of 0 means unknown. */
typedef struct Sighting
{
	SightingOs	os;
	SightingBrowser browser;
	bool		in_app;			/* the browser inside an app */
	int64		ip;				/* address */
	int64		block;			/* its /24, or /48 for IPv6 */
	int64		hash;			/* fingerprint */
	int64		agent;			/* fingerprint and user agent */
	int64		hardware;		/* screen, time zone and system */
} Sighting;

/*
 * Read a row. The fields os and browser win over the user agent, which is only
 * looked at for what they leave open.
 */
extern void artery_sighting_read(const SightingColumns *columns, const Datum *values, const bool *nulls,
								 Sighting *sighting);

/* Put the keys under the tenant's salt, as clicks and counts keep them. */
extern void artery_sighting_seal(const unsigned char *salt, Sighting *sighting);

/* System, browser and in-app as one number, and back. */
extern int16 artery_sighting_code(const Sighting *sighting);
extern void artery_sighting_decode(int16 code, Sighting *sighting);

/* Keys of an address and of a fingerprint (text), as artery_sighting_read makes them. */
extern int64 artery_sighting_address_key(Datum address);
extern int64 artery_sighting_block_key(Datum address);
extern int64 artery_sighting_hash_key(Datum hash);

#endif							/* ARTERY_CAPTURE_SIGHTING_H */
