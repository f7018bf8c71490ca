/*
 * device.c
 *		What kind of device, system and browser a visitor has.
 *
 * A session keeps what it has read of the agents it has met: of most visitors
 * the agent is one of a few hundred. The memory is bounded by two generations;
 * when the younger is full it becomes the older one, and the older one goes.
 * Names are put into the classes of the calibrated model by words, looked for in
 * an order that tells disguises apart: every browser on iOS calls itself Safari,
 * Edge calls itself Chrome. The same words make do for agents where there are no
 * patterns.
 */
#include "artery.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "capture/client_hints.h"
#include "capture/device.h"
#include "capture/user_agent.h"

#define GENERATION_AGENTS 512	/* kept per generation */

PG_FUNCTION_INFO_V1(artery_parse_user_agent);

/* A word of a user agent or of a name, in lower case, and what it tells. */
typedef struct Word
{
	const char *text;
	int			meaning;
} Word;

static const Word systems[] = {
	{"windows phone", SIGHTING_OTHER_OS}, {"iphone", SIGHTING_IOS}, {"ipad", SIGHTING_IOS}, {"ipod", SIGHTING_IOS},
	{"ios", SIGHTING_IOS}, {"android", SIGHTING_ANDROID}, {"windows", SIGHTING_WINDOWS}, {"mac", SIGHTING_MAC},
	{"os x", SIGHTING_MAC},
};

/* Browsers inside apps; their agents name the app beside the engine. */
static const Word apps[] = {
	{"instagram", SIGHTING_INSTAGRAM}, {"fban", SIGHTING_FACEBOOK}, {"fbav", SIGHTING_FACEBOOK},
	{"fb_iab", SIGHTING_FACEBOOK}, {"facebook", SIGHTING_FACEBOOK}, {"messenger", SIGHTING_FACEBOOK},
	{"tiktok", SIGHTING_OTHER_APP}, {"musical_ly", SIGHTING_OTHER_APP}, {"bytedance", SIGHTING_OTHER_APP},
	{"snapchat", SIGHTING_OTHER_APP}, {"pinterest", SIGHTING_OTHER_APP}, {"linkedin", SIGHTING_OTHER_APP},
	{"twitter", SIGHTING_OTHER_APP}, {"webview", SIGHTING_OTHER_APP}, {"in-app", SIGHTING_OTHER_APP},
	{"; wv)", SIGHTING_OTHER_APP},
};

static const Word browsers[] = {
	{"samsung", SIGHTING_SAMSUNG}, {"edg", SIGHTING_EDGE}, {"fxios", SIGHTING_FIREFOX},
	{"firefox", SIGHTING_FIREFOX}, {"crios", SIGHTING_CHROME}, {"opr/", SIGHTING_OTHER_BROWSER},
	{"opera", SIGHTING_OTHER_BROWSER}, {"chrom", SIGHTING_CHROME}, {"safari", SIGHTING_SAFARI},
};

/* Names where only the class is known. */
static const char *const os_names[] = {"iOS", "Android", "Windows", "Mac OS X", ""};
static const char *const browser_names[] = {"Safari", "Chrome", "Edge", "Firefox", "Samsung Internet", "Facebook",
"Instagram", "", ""};

typedef struct KeptAgent
{
	uint64		hash;			/* key */
	int			length;
	char	   *agent;
	ArteryDevice device;
} KeptAgent;

typedef struct Generation
{
	MemoryContext context;
	HTAB	   *agents;
} Generation;

static Generation younger = {NULL, NULL};
static Generation older = {NULL, NULL};

static KeptAgent *find_kept(Generation *generation, uint64 hash, const char *agent, int length);
static const ArteryDevice *keep(uint64 hash, const char *agent, int length, const ArteryDevice *device);
static void begin_generation(void);
static void recognise(const char *agent, int length, ArteryDevice *device);
static void tell_by_words(const char *lower, ArteryDevice *device);
static const char *device_type(const char *lower, const ArteryDevice *device);
static void fill_name(int column, const char *name, Datum *values, bool *nulls);
static int find_word(const char *text, const Word *words, int count, int otherwise);
static char *lower_copy(const char *text, int length);

void
artery_device_fill(const DeviceColumns *columns, Datum *values, bool *nulls)
{
	const ArteryDevice *device;

	if (columns->client_hints >= 0 && !nulls[columns->client_hints])
	{
		ClientHints hints;

		artery_client_hints_read(DatumGetJsonbP(values[columns->client_hints]), &hints);
		fill_name(columns->device_type, hints.device_type, values, nulls);
		fill_name(columns->os, hints.platform, values, nulls);
		fill_name(columns->browser, hints.brand, values, nulls);
		nulls[columns->client_hints] = true;
	}
	if (nulls[columns->user_agent] ||
		(!nulls[columns->device_type] && !nulls[columns->os] && !nulls[columns->browser]))
		return;
	device = artery_device_read(values[columns->user_agent]);
	fill_name(columns->device_type, device->device_type, values, nulls);
	fill_name(columns->os, device->os, values, nulls);
	fill_name(columns->browser, device->browser, values, nulls);
}

const ArteryDevice *
artery_device_read(Datum user_agent)
{
	text	   *given = DatumGetTextPP(user_agent);
	const char *agent = VARDATA_ANY(given);
	int			length = VARSIZE_ANY_EXHDR(given);
	ArteryDevice device;
	KeptAgent  *kept;
	uint64		hash;

	if (length > USER_AGENT_LOOKED_AT)
		length = pg_mbcliplen(agent, length, USER_AGENT_LOOKED_AT);
	hash = DatumGetUInt64(hash_any_extended((const unsigned char *) agent, length, 0));
	kept = find_kept(&younger, hash, agent, length);
	if (kept != NULL)
		return &kept->device;
	kept = find_kept(&older, hash, agent, length);
	if (kept != NULL)
		device = kept->device;
	else
		recognise(agent, length, &device);
	return keep(hash, agent, length, &device);
}

SightingOs
artery_device_os_class(Datum name)
{
	text	   *given = DatumGetTextPP(name);

	return find_word(lower_copy(VARDATA_ANY(given), VARSIZE_ANY_EXHDR(given)), systems, lengthof(systems),
					 SIGHTING_OTHER_OS);
}

SightingBrowser
artery_device_browser_class(Datum name)
{
	text	   *given = DatumGetTextPP(name);
	char	   *lower = lower_copy(VARDATA_ANY(given), VARSIZE_ANY_EXHDR(given));
	int			app = find_word(lower, apps, lengthof(apps), -1);

	return app >= 0 ? app : find_word(lower, browsers, lengthof(browsers), SIGHTING_OTHER_BROWSER);
}

/* artery.parse_user_agent(user_agent): all that the patterns tell */
Datum
artery_parse_user_agent(PG_FUNCTION_ARGS)
{
	text	   *given = PG_GETARG_TEXT_PP(0);
	const ArteryDevice *device = artery_device_read(PG_GETARG_DATUM(0));
	SightingBrowser class = device->browser_class;
	UserAgent	parts;
	const char *texts[] = {device->device_type, device->os, parts.os_version, device->browser, parts.browser_version,
	NULL, parts.device, parts.brand, parts.model};
	Datum		values[lengthof(texts)];
	bool		nulls[lengthof(texts)];
	TupleDesc	descriptor;
	int			i;

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	(void) artery_user_agent_read(VARDATA_ANY(given), VARSIZE_ANY_EXHDR(given), true, &parts);
	for (i = 0; i < (int) lengthof(texts); i++)
	{
		nulls[i] = texts[i] != NULL && texts[i][0] == '\0';
		if (texts[i] == NULL)
			values[i] = BoolGetDatum(class >= SIGHTING_FACEBOOK && class <= SIGHTING_OTHER_APP);
		else if (!nulls[i])
			values[i] = CStringGetTextDatum(texts[i]);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}

static KeptAgent *
find_kept(Generation *generation, uint64 hash, const char *agent, int length)
{
	KeptAgent  *kept = NULL;

	if (generation->agents != NULL)
		kept = hash_search(generation->agents, &hash, HASH_FIND, NULL);
	return kept != NULL && kept->length == length && memcmp(kept->agent, agent, length) == 0 ? kept : NULL;
}

static const ArteryDevice *
keep(uint64 hash, const char *agent, int length, const ArteryDevice *device)
{
	KeptAgent  *kept;
	char	   *copy;
	bool		found;

	if (younger.agents == NULL || hash_get_num_entries(younger.agents) >= GENERATION_AGENTS)
		begin_generation();
	copy = MemoryContextAlloc(younger.context, length + 1);
	memcpy(copy, agent, length);
	kept = hash_search(younger.agents, &hash, HASH_ENTER, &found);
	if (found)					/* another agent of the same hash gives way */
		pfree(kept->agent);
	kept->agent = copy;
	kept->length = length;
	kept->device = *device;
	return &kept->device;
}

static void
begin_generation(void)
{
	HASHCTL		control = {.keysize = sizeof(uint64),.entrysize = sizeof(KeptAgent)};
	Generation	next;

	next.context = AllocSetContextCreate(TopMemoryContext, "artery known user agents", ALLOCSET_DEFAULT_SIZES);
	control.hcxt = next.context;
	next.agents = hash_create("artery user agents", GENERATION_AGENTS, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	if (older.context != NULL)
		MemoryContextDelete(older.context);
	older = younger;
	younger = next;
}

static void
recognise(const char *agent, int length, ArteryDevice *device)
{
	char	   *lower = lower_copy(agent, length);
	UserAgent	parts;
	int			app;

	memset(device, 0, sizeof(ArteryDevice));
	if (artery_user_agent_read(agent, length, false, &parts))
	{
		strlcpy(device->os, parts.os, pg_mbcliplen(parts.os, strlen(parts.os), DEVICE_NAME - 1) + 1);
		strlcpy(device->browser, parts.browser, pg_mbcliplen(parts.browser, strlen(parts.browser), DEVICE_NAME - 1) + 1);
		device->os_class = artery_device_os_class(CStringGetTextDatum(device->os));
		device->browser_class = artery_device_browser_class(CStringGetTextDatum(device->browser));
		/* apps that the patterns do not know */
		app = find_word(lower, apps, lengthof(apps), -1);
		if (app >= 0 && (device->browser_class < SIGHTING_FACEBOOK || device->browser_class > SIGHTING_OTHER_APP))
			device->browser_class = app;
		if (parts.is_bot)
			device->browser_class = SIGHTING_OTHER_BROWSER;
	}
	else
		tell_by_words(lower, device);
	strlcpy(device->device_type, parts.is_bot ? "bot" : device_type(lower, device), sizeof(device->device_type));
	pfree(lower);
}

static void
tell_by_words(const char *lower, ArteryDevice *device)
{
	int			app = find_word(lower, apps, lengthof(apps), -1);

	device->os_class = find_word(lower, systems, lengthof(systems), SIGHTING_OTHER_OS);
	device->browser_class = app >= 0 ? app : find_word(lower, browsers, lengthof(browsers), SIGHTING_OTHER_BROWSER);
	strlcpy(device->os, os_names[device->os_class], DEVICE_NAME);
	strlcpy(device->browser, browser_names[device->browser_class], DEVICE_NAME);
}

/* Android says "Mobile" on telephones and not on tablets; an iPad that asks for desktop pages passes for a Mac. */
static const char *
device_type(const char *lower, const ArteryDevice *device)
{
	bool		says_mobile = strstr(lower, "mobile") != NULL || strstr(lower, "phone") != NULL;

	switch (device->os_class)
	{
		case SIGHTING_IOS:
			return strstr(lower, "ipad") != NULL ? "tablet" : "mobile";
		case SIGHTING_ANDROID:
			return says_mobile ? "mobile" : "tablet";
		case SIGHTING_WINDOWS:
		case SIGHTING_MAC:
			return says_mobile ? "mobile" : "desktop";
		default:
			return says_mobile ? "mobile" : strstr(lower, "x11") != NULL || strstr(lower, "cros") != NULL ? "desktop" : "";
	}
}

static void
fill_name(int column, const char *name, Datum *values, bool *nulls)
{
	if (!nulls[column] || name[0] == '\0')
		return;
	values[column] = CStringGetTextDatum(name);
	nulls[column] = false;
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
lower_copy(const char *text, int length)
{
	char	   *lower = palloc(length + 1);
	int			i;

	for (i = 0; i < length; i++)
		lower[i] = (char) pg_ascii_tolower((unsigned char) text[i]);
	lower[length] = '\0';
	return lower;
}
