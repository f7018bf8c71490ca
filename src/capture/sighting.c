/*
 * sighting.c
 *		What a landing page saw of a visitor, in the terms of the calibrated model.
 *
 * The model needs the system, the family of the browser and whether it runs
 * inside an app; nothing else is read from a user agent, and no agent is an
 * error. Words are looked for in an order that tells disguises apart: every
 * browser on iOS calls itself Safari, Edge calls itself Chrome.
 */
#include "artery.h"

#include <sys/socket.h>

#include "utils/builtins.h"
#include "utils/inet.h"

#include "capture/sighting.h"

/* A word of a user agent or of a field, in lower case, and what it tells. */
typedef struct Word
{
	const char *text;
	int			meaning;
} Word;

static const Word systems[] = {
	{"iphone", SIGHTING_IOS}, {"ipad", SIGHTING_IOS}, {"ipod", SIGHTING_IOS}, {"ios", SIGHTING_IOS},
	{"android", SIGHTING_ANDROID}, {"windows", SIGHTING_WINDOWS}, {"mac", SIGHTING_MAC}, {"os x", SIGHTING_MAC},
};

static const Word browsers[] = {
	{"instagram", SIGHTING_INSTAGRAM}, {"fban", SIGHTING_FACEBOOK}, {"fbav", SIGHTING_FACEBOOK},
	{"fb_iab", SIGHTING_FACEBOOK}, {"facebook", SIGHTING_FACEBOOK}, {"messenger", SIGHTING_FACEBOOK},
	{"tiktok", SIGHTING_OTHER_APP}, {"musical_ly", SIGHTING_OTHER_APP}, {"bytedance", SIGHTING_OTHER_APP},
	{"snapchat", SIGHTING_OTHER_APP}, {"pinterest", SIGHTING_OTHER_APP}, {"linkedin", SIGHTING_OTHER_APP},
	{"twitter", SIGHTING_OTHER_APP}, {"webview", SIGHTING_OTHER_APP}, {"in-app", SIGHTING_OTHER_APP},
	{"; wv)", SIGHTING_OTHER_APP}, {"samsung", SIGHTING_SAMSUNG}, {"edg", SIGHTING_EDGE},
	{"fxios", SIGHTING_FIREFOX}, {"firefox", SIGHTING_FIREFOX}, {"crios", SIGHTING_CHROME},
	{"opr/", SIGHTING_OTHER_BROWSER}, {"opera", SIGHTING_OTHER_BROWSER}, {"chrom", SIGHTING_CHROME},
	{"safari", SIGHTING_SAFARI},
};

static int find_word(const char *text, const Word *words, int count, int otherwise);
static char *lower_text(Datum value);
static int64 hash_text(int64 seed, Datum value);
static int64 hash_bytes_of(int64 seed, const void *bytes, int length);
static int64 hash_number(int64 seed, int64 number);
static int64 hardware_key(const SightingColumns *columns, const Datum *values, const bool *nulls, SightingOs os);

void
artery_sighting_read(const SightingColumns *columns, const Datum *values, const bool *nulls, Sighting *sighting)
{
	char	   *agent = nulls[columns->user_agent] ? NULL : lower_text(values[columns->user_agent]);

	memset(sighting, 0, sizeof(Sighting));
	sighting->os = SIGHTING_OTHER_OS;
	sighting->browser = SIGHTING_OTHER_BROWSER;
	if (!nulls[columns->os])
		sighting->os = find_word(lower_text(values[columns->os]), systems, lengthof(systems), SIGHTING_OTHER_OS);
	else if (agent != NULL)
		sighting->os = find_word(agent, systems, lengthof(systems), SIGHTING_OTHER_OS);
	if (!nulls[columns->browser])
		sighting->browser = find_word(lower_text(values[columns->browser]), browsers, lengthof(browsers),
									  SIGHTING_OTHER_BROWSER);
	/* the field may name the engine where the agent names the app around it */
	if (agent != NULL && (nulls[columns->browser] || sighting->browser <= SIGHTING_CHROME))
	{
		int			told = find_word(agent, browsers, lengthof(browsers), SIGHTING_OTHER_BROWSER);

		if (nulls[columns->browser] || (told >= SIGHTING_FACEBOOK && told <= SIGHTING_OTHER_APP))
			sighting->browser = told;
	}
	sighting->in_app = sighting->browser >= SIGHTING_FACEBOOK && sighting->browser <= SIGHTING_OTHER_APP;

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
			sighting->agent = hash_text(hash_number(4, sighting->hash), values[columns->user_agent]);
	}
	if (sighting->block != 0 && sighting->hardware != 0)
		sighting->place = hash_number(hash_number(6, sighting->block), sighting->hardware);
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

	return hash_bytes_of(1, ip_addr(ip), ip_addrsize(ip));
}

int64
artery_sighting_block_key(Datum address)
{
	inet	   *ip = DatumGetInetPP(address);

	return hash_bytes_of(2, ip_addr(ip), ip_family(ip) == PGSQL_AF_INET ? 3 : 6);
}

int64
artery_sighting_hash_key(Datum hash)
{
	return hash_text(3, hash);
}

/* Needs a screen or a time zone: the system alone is no device. */
static int64
hardware_key(const SightingColumns *columns, const Datum *values, const bool *nulls, SightingOs os)
{
	int64		key = hash_number(5, os);

	if (nulls[columns->screen_width] && nulls[columns->timezone] && nulls[columns->timezone_offset])
		return 0;
	key = hash_number(key, nulls[columns->screen_width] ? 0 : DatumGetInt32(values[columns->screen_width]));
	key = hash_number(key, nulls[columns->screen_height] ? 0 : DatumGetInt32(values[columns->screen_height]));
	/* the zone says more than its offset, which changes with summer time */
	if (!nulls[columns->timezone])
		return hash_text(key, values[columns->timezone]);
	return hash_number(key, nulls[columns->timezone_offset] ? 0 : DatumGetInt32(values[columns->timezone_offset]));
}

/* What the first word of the list that occurs in the text means. */
static int
find_word(const char *text, const Word *words, int count, int otherwise)
{
	int			i;

	for (i = 0; i < count; i++)
		if (strstr(text, words[i].text) != NULL)
			return words[i].meaning;
	return otherwise;
}

static char *
lower_text(Datum value)
{
	char	   *lower = TextDatumGetCString(value);
	char	   *c;

	for (c = lower; *c != '\0'; c++)
		*c = (char) pg_ascii_tolower((unsigned char) *c);
	return lower;
}

static int64
hash_text(int64 seed, Datum value)
{
	text	   *given = DatumGetTextPP(value);

	return hash_bytes_of(seed, VARDATA_ANY(given), VARSIZE_ANY_EXHDR(given));
}

/* FNV-1a with a closing mix; never 0. */
static int64
hash_bytes_of(int64 seed, const void *bytes, int length)
{
	const unsigned char *byte = bytes;
	uint64		hash = UINT64CONST(0xcbf29ce484222325) ^ (uint64) seed * UINT64CONST(0x9e3779b97f4a7c15);
	int			i;

	for (i = 0; i < length; i++)
		hash = (hash ^ byte[i]) * UINT64CONST(0x100000001b3);
	hash = (hash ^ (hash >> 32)) * UINT64CONST(0xd6e8feb86659fd93);
	hash ^= hash >> 32;
	return hash == 0 ? 1 : (int64) hash;
}

static int64
hash_number(int64 seed, int64 number)
{
	uint64		hash = (uint64) seed * UINT64CONST(0x9e3779b97f4a7c15) ^ (uint64) number;

	hash = (hash ^ (hash >> 29)) * UINT64CONST(0xbf58476d1ce4e5b9);
	hash = (hash ^ (hash >> 32)) * UINT64CONST(0xd6e8feb86659fd93);
	hash ^= hash >> 32;
	return hash == 0 ? 1 : (int64) hash;
}
