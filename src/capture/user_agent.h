/*
 * user_agent.h
 *		What a user agent says of browser, system and device, by the patterns of
 *		uap-core.
 */
#ifndef ARTERY_CAPTURE_USER_AGENT_H
#define ARTERY_CAPTURE_USER_AGENT_H

#include "postgres.h"

/* Bytes of an agent that are looked at; real ones have a few hundred. */
#define USER_AGENT_LOOKED_AT 2048

/* Bytes of each part, with the terminating zero; longer ones are cut. */
#define USER_AGENT_PART 256

/* An empty part is one that the agent does not tell. */
typedef struct UserAgent
{
	char		browser[USER_AGENT_PART];
	char		browser_version[USER_AGENT_PART];	/* as far as told: 17.4.1 */
	char		os[USER_AGENT_PART];
	char		os_version[USER_AGENT_PART];
	char		device[USER_AGENT_PART];
	char		brand[USER_AGENT_PART];
	char		model[USER_AGENT_PART];
	bool		is_bot;
} UserAgent;

/*
 * Read an agent of any bytes; never an error. False where there are no
 * patterns (the setting artery.user_agent_patterns), which is logged once. Names
 * of devices come from several hundred patterns more, so they are only looked
 * for when asked for; whether it is a robot always is.
 */
extern bool artery_user_agent_read(const char *agent, int length, bool with_device, UserAgent *parts);

/* Load and compile all patterns now: by the postmaster, so that no session has to. */
extern void artery_user_agent_preload(void);

#endif							/* ARTERY_CAPTURE_USER_AGENT_H */
