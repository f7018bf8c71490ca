/*
 * sighting.c
 *		What a landing page saw of a visitor, in the terms of the calibrated model.
 *
 * The model needs the system, the family of the browser and whether it runs
 * inside an app; a row tells the same whether or not its fields were filled in
 * from its user agent (capture/device.h).
 */
#include "artery.h"

#include <sys/socket.h>

#include "utils/builtins.h"
#include "utils/inet.h"

#include "capture/device.h"
#include "capture/salt.h"
#include "capture/sighting.h"
#include "runtime/stable_hash.h"

static bool is_in_app(SightingBrowser browser);
static bool is_name(Datum value, const char *name);
static int64 hardware_key(const SightingColumns *columns, const Datum *values, const bool *nulls, SightingOs os);

void
artery_sighting_read(const SightingColumns *columns, const Datum *values, const bool *nulls, Sighting *sighting)
{
	const ArteryDevice *agent = NULL;

	memset(sighting, 0, sizeof(Sighting));
	sighting->os = SIGHTING_OTHER_OS;
	sighting->browser = SIGHTING_OTHER_BROWSER;
	if (!nulls[columns->user_agent])
		agent = artery_device_read(values[columns->user_agent]);
	if (agent != NULL)
	{
		sighting->os = agent->os_class;
		sighting->browser = agent->browser_class;
	}
	if (!nulls[columns->os] && (agent == NULL || !is_name(values[columns->os], agent->os)))
		sighting->os = artery_device_os_class(values[columns->os]);
	if (!nulls[columns->browser] && (agent == NULL || !is_name(values[columns->browser], agent->browser)))
	{
		sighting->browser = artery_device_browser_class(values[columns->browser]);
		/* the field may name the engine where the agent names the app around it */
		if (agent != NULL && sighting->browser <= SIGHTING_CHROME && is_in_app(agent->browser_class))
			sighting->browser = agent->browser_class;
	}
	sighting->in_app = is_in_app(sighting->browser);

	if (!nulls[columns->ip_address])
	{
		sighting->ip = artery_sighting_address_key(values[columns->ip_address]);
		sighting->block = artery_sighting_block_key(values[columns->ip_address]);
	}
	sighting->hardware = hardware_key(columns, values, nulls, sighting->os);
	if (!nulls[columns->fingerprint_hash])
	{
		sighting->hash = artery_sighting_hash_key(values[columns->fingerprint_hash]);
		if (agent != NULL)
			sighting->agent = artery_stable_hash_text(artery_stable_hash_number(4, sighting->hash), values[columns->user_agent]);
	}
}

void
artery_sighting_seal(const unsigned char *salt, Sighting *sighting)
{
	sighting->ip = artery_salt_seal(salt, sighting->ip);
	sighting->block = artery_salt_seal(salt, sighting->block);
	sighting->hash = artery_salt_seal(salt, sighting->hash);
	sighting->agent = artery_salt_seal(salt, sighting->agent);
	sighting->hardware = artery_salt_seal(salt, sighting->hardware);
}

int16
artery_sighting_code(const Sighting *sighting)
{
	return (int16) (sighting->os * 32 + sighting->browser * 2 + (sighting->in_app ? 1 : 0));
}

void
artery_sighting_decode(int16 code, Sighting *sighting)
{
	sighting->os = Min((code >> 5) & 7, SIGHTING_OTHER_OS);
	sighting->browser = Min((code >> 1) & 15, SIGHTING_OTHER_BROWSER);
	sighting->in_app = code & 1;
}

int64
artery_sighting_address_key(Datum address)
{
	inet	   *ip = DatumGetInetPP(address);

	/* of IPv6 the /64: the rest of it changes by the day, and differs between the devices of a home */
	return artery_stable_hash(1, ip_addr(ip), ip_family(ip) == PGSQL_AF_INET ? 4 : 8);
}

int64
artery_sighting_block_key(Datum address)
{
	inet	   *ip = DatumGetInetPP(address);

	return artery_stable_hash(2, ip_addr(ip), ip_family(ip) == PGSQL_AF_INET ? 3 : 6);
}

int64
artery_sighting_hash_key(Datum hash)
{
	return artery_stable_hash_text(3, hash);
}

/* Needs a screen or a time zone: the system alone is no device. */
static int64
hardware_key(const SightingColumns *columns, const Datum *values, const bool *nulls, SightingOs os)
{
	int64		key = artery_stable_hash_number(5, os);

	if (nulls[columns->screen_width] && nulls[columns->timezone] && nulls[columns->timezone_offset])
		return 0;
	key = artery_stable_hash_number(key, nulls[columns->screen_width] ? 0 : DatumGetInt32(values[columns->screen_width]));
	key = artery_stable_hash_number(key, nulls[columns->screen_height] ? 0 : DatumGetInt32(values[columns->screen_height]));
	/* the zone says more than its offset, which changes with summer time */
	if (!nulls[columns->timezone])
		return artery_stable_hash_text(key, values[columns->timezone]);
	return artery_stable_hash_number(key, nulls[columns->timezone_offset] ? 0 : DatumGetInt32(values[columns->timezone_offset]));
}

static bool
is_in_app(SightingBrowser browser)
{
	return browser >= SIGHTING_FACEBOOK && browser <= SIGHTING_OTHER_APP;
}

static bool
is_name(Datum value, const char *name)
{
	text	   *given = DatumGetTextPP(value);
	Size		length = strlen(name);

	return VARSIZE_ANY_EXHDR(given) == length && memcmp(VARDATA_ANY(given), name, length) == 0;
}
