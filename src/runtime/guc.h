/*
 * guc.h
 *		The server settings of artery.
 */
#ifndef ARTERY_RUNTIME_GUC_H
#define ARTERY_RUNTIME_GUC_H

#include "postgres.h"

typedef struct ArterySettings
{
	bool		allow_loopback_http;	/* plain http to 127.0.0.1, for tests */
	double		clock_offset;	/* seconds added to now(), for tests */
	char	   *databases;		/* comma-separated list the launcher serves */
	bool		enabled;		/* false stops all sending at once */
	int			http_connect_timeout;	/* ms */
	int			http_max_in_flight; /* requests at once per worker */
	int			http_timeout;	/* ms, a whole request */
	char	   *hubspot_api_version;
	char	   *hubspot_base_url;
	char	   *meta_api_version;
	char	   *meta_base_url;
	int			retention_allocation;	/* days, like the following; 0 keeps for ever */
	int			retention_attribution_log;
	int			retention_change_history;
	int			click_partition_days;
	int			retention_clicks;
	int			retention_cron_log;
	int			retention_device_data;
	int			retention_evidence;
	int			retention_job_history;
	int			retention_webhook_events;
	int			sync_interval;	/* seconds between scheduled syncs of a tenant; 0: none */
	char	   *user_agent_patterns;	/* file of uap-core; empty: none */
	char	   *worker_role;	/* role the worker connects as; empty: bootstrap superuser */
} ArterySettings;

extern ArterySettings artery_settings;

/* Define all settings and reserve the prefix. Called once from _PG_init. */
extern void artery_guc_init(void);

/* Is the address plain http to this very machine? */
extern bool artery_is_loopback_url(const char *url);

#endif							/* ARTERY_RUNTIME_GUC_H */
