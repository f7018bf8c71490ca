-- click: fingerprints, and taking in clicks

CREATE OR REPLACE FUNCTION artery.fingerprint(
    screen_width int, screen_height int, timezone text, timezone_offset int, device_type text, os text, browser text)
RETURNS text
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_fingerprint';
COMMENT ON FUNCTION artery.fingerprint(int, int, text, int, text, text, text) IS
'SHA-256, as 64 hexadecimal digits, of the seven parts joined by |, NULL as empty; NULL if nothing is known.';

CREATE OR REPLACE FUNCTION artery.fingerprint_key(tenant_id text, fingerprint_hash text)
RETURNS bigint
LANGUAGE C STABLE STRICT
AS 'MODULE_PATHNAME', 'artery_fingerprint_key';
COMMENT ON FUNCTION artery.fingerprint_key(text, text) IS
'The number by which clicks of a fingerprint are found: WHERE tenant_id = ... AND fingerprint_key = artery.fingerprint_key(tenant, hash). Other for every tenant.';

CREATE OR REPLACE FUNCTION artery.parse_user_agent(
    user_agent text, OUT device_type text, OUT os text, OUT os_version text, OUT browser text, OUT browser_version text,
    OUT in_app boolean, OUT device text, OUT brand text, OUT model text)
RETURNS record
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_parse_user_agent';
COMMENT ON FUNCTION artery.parse_user_agent(text) IS
'What a user agent tells, by the patterns of uap-core: kind of device (mobile, tablet, desktop, bot), system, browser, and whether it runs inside an app. Versions as the agent states them: Safari and Chrome freeze that of the system.';

CREATE OR REPLACE FUNCTION artery.track_click(
    tenant_id text, campaign_id text, ad_id text, click_id text DEFAULT NULL, adset_id text DEFAULT NULL,
    fbclid text DEFAULT NULL, gclid text DEFAULT NULL, fbc text DEFAULT NULL, fbp text DEFAULT NULL,
    ip_address inet DEFAULT NULL, user_agent text DEFAULT NULL, device_type text DEFAULT NULL,
    os text DEFAULT NULL, browser text DEFAULT NULL, screen_width int DEFAULT NULL, screen_height int DEFAULT NULL,
    timezone text DEFAULT NULL, timezone_offset int DEFAULT NULL, fingerprint_hash text DEFAULT NULL,
    landing_page_url text DEFAULT NULL, referrer_url text DEFAULT NULL, utm_source text DEFAULT NULL,
    utm_medium text DEFAULT NULL, utm_campaign text DEFAULT NULL, utm_content text DEFAULT NULL,
    utm_term text DEFAULT NULL, click_timestamp timestamptz DEFAULT artery.now(),
    consent boolean DEFAULT NULL, client_hints jsonb DEFAULT NULL)
RETURNS text
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_track_click';
COMMENT ON FUNCTION artery.track_click IS
'Take in a click and return its click_id, made if not given. The same click_id again changes nothing. The fingerprint is made from the device fields where none is given, and the fbclid taken from fbc. Without consent (false, or NULL where consent_required is set) nothing is kept that tells one device from another. client_hints are the headers Sec-CH-UA..., or navigator.userAgentData.';

CREATE OR REPLACE FUNCTION artery.click_before_insert()
RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'artery_click_before_insert';
COMMENT ON FUNCTION artery.click_before_insert() IS 'Does for INSERT and COPY what track_click does; rows that bring tracked_at pass untouched.';

-- A row is sent to its partition before the trigger sees it, so it must have its time by then.
ALTER TABLE artery.click_tracking ALTER COLUMN click_timestamp SET DEFAULT artery.now();
CREATE TRIGGER click_before_insert BEFORE INSERT ON artery.click_tracking
    FOR EACH ROW EXECUTE FUNCTION artery.click_before_insert();

CREATE OR REPLACE VIEW artery.v_active_clicks WITH (security_barrier) AS
SELECT c.tenant_id, c.click_id, c.ad_id, c.adset_id, c.campaign_id, c.click_timestamp,
       extract(epoch FROM artery.now() - c.click_timestamp)::float8 / 3600 AS age_hours,
       c.click_timestamp + w.length AS window_ends_at,
       c.fbclid IS NOT NULL AS has_fbclid, c.fingerprint_hash IS NOT NULL AS has_fingerprint,
       c.ip_address IS NOT NULL AS has_ip_address
  FROM artery.tenant t
 CROSS JOIN (SELECT d.default_value FROM artery.setting_definitions() d WHERE d.name = 'click_window_days') d
 CROSS JOIN LATERAL (
       SELECT coalesce(t.settings -> 'click_window_days', d.default_value)::float8 * interval '24 hours' AS length) w
  JOIN artery.click_tracking c ON c.tenant_id = t.tenant_id
   AND c.click_timestamp >= artery.now() - w.length AND c.click_timestamp <= artery.now()
 WHERE artery.tenant_visible(t.tenant_id);
COMMENT ON VIEW artery.v_active_clicks IS 'Clicks that a conversion happening now could still be attributed to (click_window_days).';

CREATE OR REPLACE VIEW artery.v_clicks_without_ad WITH (security_barrier) AS
SELECT c.tenant_id, c.click_id, c.click_timestamp, c.campaign_id, c.adset_id, c.fbclid, c.gclid,
       c.landing_page_url, c.utm_source, c.utm_medium, c.utm_campaign, c.utm_content, c.utm_term
  FROM artery.click_tracking c
 WHERE c.ad_id IS NULL AND artery.tenant_visible(c.tenant_id);
COMMENT ON VIEW artery.v_clicks_without_ad IS
'Clicks that do not tell their ad (an fbclid alone does not): give the ad links ad_id={{ad.id}}, or utm_content.';
