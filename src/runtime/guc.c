/*
 * guc.c
 *		The server settings of artery: names, ranges, checks.
 *
 * In alphabetical order. What only a test may want is for superusers.
 */
#include "artery.h"

#include <ctype.h>

#include "utils/guc.h"
#include "utils/varlena.h"

#include "runtime/guc.h"

ArterySettings artery_settings;

bool
artery_is_loopback_url(const char *url)
{
	static const char *const hosts[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};
	int			i;

	for (i = 0; i < (int) lengthof(hosts); i++)
	{
		size_t		length = strlen(hosts[i]);

		if (strncmp(url, hosts[i], length) == 0 &&
			(url[length] == '\0' || url[length] == ':' || url[length] == '/'))
			return true;
	}
	return false;
}

/* https, or plain http to this machine; whether the latter is used is judged when it is. */
static bool
check_base_url(char **newval, void **extra, GucSource source)
{
	const char *url = *newval;

	if (strncmp(url, "https://", 8) != 0 && !artery_is_loopback_url(url))
	{
		GUC_check_errdetail("The address must begin with https:// (or, for tests, be http://127.0.0.1).");
		return false;
	}
	if (strpbrk(url, " \t\r\n?#@") != NULL || url[strlen(url) - 1] == '/')
	{
		GUC_check_errdetail("The address has no user, query, fragment, space or trailing slash.");
		return false;
	}
	return true;
}

/* v and two digits and .0 */
static bool
check_api_version(char **newval, void **extra, GucSource source)
{
	const char *version = *newval;

	if (strlen(version) == 5 && version[0] == 'v' && isdigit((unsigned char) version[1]) &&
		isdigit((unsigned char) version[2]) && strcmp(version + 3, ".0") == 0)
		return true;
	GUC_check_errdetail("A version looks like v25.0.");
	return false;
}

/* a year and a month of HubSpot's dated versions */
static bool
check_hubspot_version(char **newval, void **extra, GucSource source)
{
	const char *version = *newval;
	int			i;

	for (i = 0; version[i] != '\0' && i < 8; i++)
		if (i == 4 ? version[i] != '-' : !isdigit((unsigned char) version[i]))
			break;
	if (i == 7 && version[i] == '\0')
		return true;
	GUC_check_errdetail("A version looks like 2026-03.");
	return false;
}

static bool
check_databases(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names = NIL;
	bool		ok = SplitIdentifierString(copy, ',', &names);

	list_free(names);
	pfree(copy);
	if (!ok)
		GUC_check_errdetail("List database names separated by commas.");
	return ok;
}

static void
define_retention(const char *name, const char *what, int *variable, int boot)
{
	DefineCustomIntVariable(name, what, "In days; 0 keeps them for ever.", variable, boot, 0, 36500,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
define_http_settings(void)
{
	DefineCustomIntVariable("artery.http_connect_timeout", "Longest time to connect.", NULL,
							&artery_settings.http_connect_timeout, 5000, 1, 600000, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("artery.http_max_in_flight", "Requests under way at once per worker.", NULL,
							&artery_settings.http_max_in_flight, 8, 1, 256, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("artery.http_timeout", "Longest time of one request.", NULL,
							&artery_settings.http_timeout, 30000, 1, 3600000, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomStringVariable("artery.hubspot_api_version", "Version of the HubSpot API, such as 2026-03.", NULL,
							   &artery_settings.hubspot_api_version, "2026-03", PGC_SIGHUP, 0,
							   check_hubspot_version, NULL, NULL);
	DefineCustomStringVariable("artery.hubspot_base_url", "Address of the HubSpot API.", NULL,
							   &artery_settings.hubspot_base_url, "https://api.hubapi.com", PGC_SIGHUP, 0,
							   check_base_url, NULL, NULL);
	DefineCustomStringVariable("artery.meta_api_version", "Version of the Meta Marketing API, such as v25.0.", NULL,
							   &artery_settings.meta_api_version, "v25.0", PGC_SIGHUP, 0, check_api_version,
							   NULL, NULL);
	DefineCustomStringVariable("artery.meta_base_url", "Address of the Meta Graph API.", NULL,
							   &artery_settings.meta_base_url, "https://graph.facebook.com", PGC_SIGHUP, 0,
							   check_base_url, NULL, NULL);
}

static void
define_retention_settings(void)
{
	define_retention("artery.retention_allocation", "Age of allocation runs and their recommendations.",
					 &artery_settings.retention_allocation, 365);
	define_retention("artery.retention_attribution_log", "Age of attribution log rows.",
					 &artery_settings.retention_attribution_log, 90);
	define_retention("artery.retention_change_history", "Age of the history of changes.",
					 &artery_settings.retention_change_history, 730);
	define_retention("artery.retention_clicks", "Age of clicks.",
					 &artery_settings.retention_clicks, 90);
	define_retention("artery.retention_cron_log", "Age of what pg_cron logged of artery's schedules.",
					 &artery_settings.retention_cron_log, 0);
	define_retention("artery.retention_device_data",
					 "Age of addresses, agents, screens and fingerprints in clicks and conversions, beyond the tenant's click_window_days.",
					 &artery_settings.retention_device_data, 7);
	define_retention("artery.retention_evidence", "Age of what landing pages knew of a contact.",
					 &artery_settings.retention_evidence, 90);
	define_retention("artery.retention_job_history", "Age of the history of jobs.",
					 &artery_settings.retention_job_history, 30);
	define_retention("artery.retention_webhook_events", "Age of raw webhook events that were processed.",
					 &artery_settings.retention_webhook_events, 90);
}

void
artery_guc_init(void)
{
	DefineCustomBoolVariable("artery.allow_loopback_http", "Allow plain http to this machine (for tests).", NULL,
							 &artery_settings.allow_loopback_http, false, PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("artery.click_partition_days", "Days in a new partition of click_tracking.",
							"0 chooses: 28, or 1 where more than 500,000 clicks a day come in.",
							&artery_settings.click_partition_days, 0, 0, 31, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("artery.clock_offset", "Seconds added to the current time (for tests).", NULL,
							 &artery_settings.clock_offset, 0, -3.2e9, 3.2e9, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("artery.databases", "Databases in which artery works in the background.",
							   "Comma-separated; needs artery in shared_preload_libraries.",
							   &artery_settings.databases, "", PGC_SIGHUP, GUC_LIST_INPUT,
							   check_databases, NULL, NULL);
	DefineCustomBoolVariable("artery.enabled", "Off stops all sending at once.", NULL,
							 &artery_settings.enabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	define_http_settings();
	define_retention_settings();
	DefineCustomIntVariable("artery.sync_interval", "Time between two readings of a tenant's ad account.",
							"Budgets, ads and Insights of tenants with an ad account and a token; 0 reads only on demand.",
							&artery_settings.sync_interval, 3600, 0, 604800, PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomStringVariable("artery.user_agent_patterns", "File of the patterns that tell system and browser from a user agent.",
							   "The regexes.yaml of uap-core, read when the server starts; empty goes by a few words instead.",
							   &artery_settings.user_agent_patterns, "/usr/share/uap-core/regexes.yaml",
							   PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("artery.worker_role", "Role the background worker connects as.",
							   "Empty is the bootstrap superuser. The role needs LOGIN and CONNECT only.",
							   &artery_settings.worker_role, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("artery");
}
