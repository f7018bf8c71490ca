/*
 * client_hints.h
 *		What a browser says of itself where it is asked, instead of in its user
 *		agent.
 */
#ifndef ARTERY_CAPTURE_CLIENT_HINTS_H
#define ARTERY_CAPTURE_CLIENT_HINTS_H

#include "postgres.h"

#include "utils/jsonb.h"

/* Bytes of a name, with the terminating zero; longer ones are cut. */
#define CLIENT_HINT_NAME 64

/* An empty text is one that is not told. */
typedef struct ClientHints
{
	char		device_type[8];	/* mobile, tablet, desktop */
	char		platform[CLIENT_HINT_NAME];	/* Android, Windows, macOS, ... */
	char		brand[CLIENT_HINT_NAME];	/* Google Chrome, Microsoft Edge, ... */
} ClientHints;

/*
 * Read hints in either form: headers by name ({"Sec-CH-UA-Platform": "\"Windows\"",
 * ...}, any case), or navigator.userAgentData ({"platform": "Windows", "mobile":
 * false, "brands": [{"brand": ...}]}). What is of neither form is not told.
 */
extern void artery_client_hints_read(Jsonb *given, ClientHints *hints);

#endif							/* ARTERY_CAPTURE_CLIENT_HINTS_H */
