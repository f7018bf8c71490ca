/*
 * graph_usage.c
 *		What the usage headers of the Graph API say of the quotas. Pure.
 *
 * Units differ by header: estimated_time_to_regain_access is minutes,
 * reset_time_duration is seconds (Marketing API, rate limiting). The key of
 * X-Business-Use-Case-Usage is the account's bare number; with act_ before it, it
 * is understood, too, and so is an entry that is not in an array.
 */
#include "artery.h"

#include "deliver/graph_error.h"
#include "deliver/graph_json.h"

#define LONGEST_PAUSE_SECONDS 86400
#define MAX_ENTRIES 100			/* a header is 8 kB: more there cannot honestly be */

/* What is read so far, and what is left out: NULL for all. */
typedef struct UsageReading
{
	GraphUsage	usage;
	const char *account;
	const char *use_case;
} UsageReading;

static void read_plain(UsageReading *reading, const char *header, const char *const *members, int count,
					   GraphScope scope, const char *type);
static void read_business(UsageReading *reading, const char *header);
static void read_business_entry(UsageReading *reading, JsonbContainer *entry, const char *account);
static void read_tier(GraphUsage *usage, JsonbContainer *object);
static bool is_wanted(const UsageReading *reading, const char *account, const char *type);
static void note(UsageReading *reading, double percent, double pause_seconds, GraphScope scope, const char *account,
				 const char *type);

GraphUsage
artery_graph_usage(const char *const headers[HTTP_HEADERS], const char *account_id, const char *use_case)
{
	static const char *const app[] = {"call_count", "total_time", "total_cputime"};
	static const char *const account[] = {"acc_id_util_pct"};
	static const char *const insights_app[] = {"app_id_util_pct"};
	UsageReading reading = {.account = account_id, .use_case = use_case};

	read_plain(&reading, headers[HTTP_APP_USAGE], app, lengthof(app), SCOPE_APP, NULL);
	read_business(&reading, headers[HTTP_BUSINESS_USAGE]);
	read_plain(&reading, headers[HTTP_ACCOUNT_USAGE], account, lengthof(account), SCOPE_ACCOUNT, NULL);
	read_plain(&reading, headers[HTTP_INSIGHTS_THROTTLE], insights_app, lengthof(insights_app), SCOPE_APP,
			   USE_CASE_INSIGHTS);
	read_plain(&reading, headers[HTTP_INSIGHTS_THROTTLE], account, lengthof(account), SCOPE_ACCOUNT,
			   USE_CASE_INSIGHTS);
	return reading.usage;
}

/* A header that is one object with percentages. */
static void
read_plain(UsageReading *reading, const char *header, const char *const *members, int count, GraphScope scope,
		   const char *type)
{
	JsonbContainer *object;
	double		percent;
	double		reset;
	int			i;

	if (header == NULL)
		return;
	object = artery_graph_root_object(artery_graph_parse(header, strlen(header)));
	for (i = 0; i < count; i++)
	{
		if (!artery_graph_double(object, members[i], &percent))
			continue;
		if (percent < 100 || !artery_graph_double(object, "reset_time_duration", &reset))
			reset = 0;
		note(reading, percent, reset, scope, NULL, type);
	}
	read_tier(&reading->usage, object);
}

/* An object of accounts, each with an array of entries, one per use case. */
static void
read_business(UsageReading *reading, const char *header)
{
	JsonbContainer *object;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *account = NULL;

	if (header == NULL)
		return;
	object = artery_graph_root_object(artery_graph_parse(header, strlen(header)));
	if (object == NULL)
		return;
	iterator = JsonbIteratorInit(object);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		int			count = 0;
		int			i;

		if (token == WJB_KEY)
		{
			account = pnstrdup(value.val.string.val, Min(value.val.string.len, 64));
			if (strncmp(account, "act_", 4) == 0)
				account += 4;
		}
		if (token != WJB_VALUE || value.type != jbvBinary)
			continue;
		if (JsonContainerIsObject(value.val.binary.data))
			read_business_entry(reading, value.val.binary.data, account);
		if (!JsonContainerIsArray(value.val.binary.data))
			continue;
		count = Min(JsonContainerSize(value.val.binary.data), MAX_ENTRIES);
		for (i = 0; i < count; i++)
			read_business_entry(reading, artery_graph_object(getIthJsonbValueFromContainer(value.val.binary.data, i)),
								account);
	}
}

static void
read_business_entry(UsageReading *reading, JsonbContainer *entry, const char *account)
{
	static const char *const members[] = {"call_count", "total_cputime", "total_time"};
	const char *type = artery_graph_text(entry, "type");
	double		minutes;
	double		percent;
	int			i;

	if (entry == NULL)
		return;
	reading->usage.names_account |= reading->account != NULL && account != NULL && strcmp(account, reading->account) == 0;
	if (!is_wanted(reading, account, type))
		return;
	if (!artery_graph_double(entry, "estimated_time_to_regain_access", &minutes))
		minutes = 0;
	for (i = 0; i < (int) lengthof(members); i++)
		if (artery_graph_double(entry, members[i], &percent))
			note(reading, percent, minutes * 60, SCOPE_ACCOUNT, account, type);
	read_tier(&reading->usage, entry);
}

/* A tier with another name than this is taken for the low one. */
static void
read_tier(GraphUsage *usage, JsonbContainer *object)
{
	const char *tier = artery_graph_text(object, "ads_api_access_tier");

	if (tier != NULL)
		usage->full_tier = strcmp(tier, "standard_access") == 0;
}

/* What names no use case is of all of them; for insights alone it says nothing. */
static bool
is_wanted(const UsageReading *reading, const char *account, const char *type)
{
	if (reading->account != NULL && account != NULL && strcmp(reading->account, account) != 0)
		return false;
	return reading->use_case == NULL || strcmp(type == NULL ? USE_CASE_MANAGEMENT : type, reading->use_case) == 0;
}

/* Keep the longest pause; while there is none, the fullest quota. */
static void
note(UsageReading *reading, double percent, double pause_seconds, GraphScope scope, const char *account,
	 const char *type)
{
	GraphUsage *usage = &reading->usage;
	int			pause = (int) Min(Max(pause_seconds, 0), LONGEST_PAUSE_SECONDS);
	bool		leads = pause > usage->pause_seconds ||
		(usage->pause_seconds == 0 && percent > usage->max_percent);

	if (!is_wanted(reading, account, type))
		return;
	usage->max_percent = Max(usage->max_percent, percent);
	if (!leads)
		return;
	usage->pause_seconds = pause;
	usage->pause_scope = scope;
	usage->pause_account = account == NULL ? NULL : pstrdup(account);
	usage->pause_type = type == NULL ? NULL : pstrdup(type);
}
