/*
 * artery.h
 *		Names and limits that every part of artery shares.
 */
#ifndef ARTERY_H
#define ARTERY_H

#include "postgres.h"

#include "compat.h"

/* Version of the library; the extension's version in SQL must equal it. */
#define ARTERY_VERSION "1.0"

#define ARTERY_SCHEMA "artery"

/* Longest accepted identifiers and texts, in bytes. */
#define ARTERY_MAX_ID 256		/* tenant, ad, deal, click, job ids */
#define ARTERY_MAX_TEXT 8192	/* urls, user agents, reasons */
#define ARTERY_MAX_EVENTS 1000	/* events in one webhook call */

/*
 * SQLSTATEs of artery's own. Wrong arguments use the standard ones: 22023
 * (unknown tenant, stage, key, ad ...), 22003 (number out of range), 22008
 * (time out of range), 28000 (signature), 54000 (too much in one call), 42501
 * (a tenant of somebody else), 55000 (not in a state that allows it).
 */

#endif							/* ARTERY_H */
