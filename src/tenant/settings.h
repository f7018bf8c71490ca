/*
 * settings.h
 *		The settings of a tenant: names, types, ranges, defaults, in one list.
 */
#ifndef ARTERY_TENANT_SETTINGS_H
#define ARTERY_TENANT_SETTINGS_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/numeric.h"

typedef enum TenantMode
{
	MODE_PIPELINE,				/* decide by pipeline value */
	MODE_DIRECT					/* decide by cash revenue */
} TenantMode;

typedef enum AttributionModel
{
	ATTRIBUTION_CALIBRATED,
	ATTRIBUTION_LAYERED
} AttributionModel;

typedef struct TenantSettings
{
	int			attribution_model;	/* AttributionModel */
	double		attribution_threshold;	/* 0..1 */
	double		auto_approve_confidence;	/* 0..1 */
	double		auto_approve_percent;	/* 0 = every change by hand */
	double		click_window_days;
	bool		consent_required;
	char	   *currency;		/* three letters, known to Meta */
	Numeric		daily_budget;	/* NULL when not set, like the next two */
	double		daily_budget_tolerance_percent;
	bool		dry_run;
	bool		dry_run_validate;
	bool		enabled;
	double		fuzz_percent;
	Numeric		high_value;
	double		high_value_confidence;
	bool		hold_while_learning;
	bool		hubspot_allow_v1;
	char	   *hubspot_click_id_property;
	char	   *hubspot_webhook_url;	/* NULL when not set */
	double		id_window_days; /* layer 1; NULL in SQL means click_window_days */
	int			jitter_ms_max;
	int			jitter_ms_min;
	Numeric		max_budget;		/* per budget owner */
	char	   *meta_ad_account_id; /* digits only; NULL when not set */
	char	   *meta_app_id;
	Numeric		min_budget;		/* per budget owner */
	int			mode;			/* TenantMode */
	int			owner_changes_per_hour;
	int			rate_limit_per_hour;
	char	   *time_zone;
	double		velocity_percent;
	double		velocity_window_hours;
} TenantSettings;

/*
 * Fill settings from a tenant's own values (a checked jsonb object, or NULL)
 * over the defaults; texts and numerics are allocated in the current context.
 */
extern void artery_settings_fill(TenantSettings *settings, Jsonb *own);

#endif							/* ARTERY_TENANT_SETTINGS_H */
