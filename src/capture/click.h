/*
 * click.h
 *		Taking in clicks.
 *
 * The SQL functions artery.track_click() and the trigger of click_tracking are
 * all there is; other parts read the table.
 */
#ifndef ARTERY_CAPTURE_CLICK_H
#define ARTERY_CAPTURE_CLICK_H

/* Columns of click_tracking in the order of the table. */
typedef enum ClickColumn
{
	CLICK_TENANT_ID,
	CLICK_CLICK_ID,
	CLICK_CAMPAIGN_ID,
	CLICK_ADSET_ID,
	CLICK_AD_ID,
	CLICK_FBCLID,
	CLICK_GCLID,
	CLICK_FBC,
	CLICK_FBP,
	CLICK_IP_ADDRESS,
	CLICK_USER_AGENT,
	CLICK_DEVICE_TYPE,
	CLICK_OS,
	CLICK_BROWSER,
	CLICK_SCREEN_WIDTH,
	CLICK_SCREEN_HEIGHT,
	CLICK_TIMEZONE,
	CLICK_TIMEZONE_OFFSET,
	CLICK_FINGERPRINT_HASH,
	CLICK_LANDING_PAGE_URL,
	CLICK_REFERRER_URL,
	CLICK_UTM_SOURCE,
	CLICK_UTM_MEDIUM,
	CLICK_UTM_CAMPAIGN,
	CLICK_UTM_CONTENT,
	CLICK_UTM_TERM,
	CLICK_CLICK_TIMESTAMP,
	CLICK_CONSENT,
	CLICK_CLIENT_HINTS,			/* read, and NULL in the table */
	CLICK_TRACKED_AT,
	/* what the calibrated model finds and weighs clicks by; NULL where unknown */
	CLICK_SIGHTING,				/* system, browser, in-app: see capture/sighting.h */
	CLICK_HARDWARE_KEY,
	CLICK_AGENT_KEY,
	CLICK_FINGERPRINT_KEY,
	CLICK_COLUMNS
} ClickColumn;

#endif							/* ARTERY_CAPTURE_CLICK_H */
