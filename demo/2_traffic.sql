-- Twelve days of visitors: clicks, forms, and what became of the deals.
\set QUIET on
\o /dev/null
SELECT setseed(0.42);

CREATE TABLE demo.device (kind int, screen_width int, screen_height int, os text, browser text);
INSERT INTO demo.device VALUES
    (0, 1170, 2532, 'iOS 18.1', 'Safari'), (1, 1179, 2556, 'iOS 18.1', 'Safari'), (2, 1290, 2796, 'iOS 18.1', 'Safari'),
    (3, 1170, 2532, 'iOS 17.6', 'Safari'), (4, 1080, 2340, 'Android 14', 'Chrome'), (5, 1440, 3088, 'Android 15', 'Chrome'),
    (6, 1080, 2400, 'Android 15', 'Firefox'), (7, 1920, 1080, 'Windows 11', 'Chrome');

-- One row: a visitor who clicked. The same generator each time; only the dates move.
CREATE TABLE demo.visitor AS
SELECT row_number() OVER (ORDER BY a.ad_id, d, n) AS visitor, a.ad_id, a.adset_id, a.campaign_id,
       artery.now() - (d + 1) * interval '1 day' + random() * interval '23 hours' AS clicked_at,
       CASE WHEN random() < 0.7 THEN 'fb.' || md5(random()::text) END AS fbclid,
       ('203.0.' || (113 + (random() * 3)::int) || '.' || 1 + (random() * 253)::int)::inet AS ip_address,
       k.*, (ARRAY['America/New_York', 'America/Chicago'])[1 + (random() * 1.3)::int % 2] AS timezone
  FROM demo.ad a, generate_series(0, a.days - 1) d, generate_series(1, a.clicks_a_day) n,
       -- few kinds of devices are shared by many people, as in life
       LATERAL (SELECT * FROM demo.device WHERE kind = (hashtext(a.ad_id || d || '-' || n) & 7)) k;

SELECT count(artery.track_click('ptd_fitness', v.campaign_id, v.ad_id, click_id => 'click-' || v.visitor,
    adset_id => v.adset_id, fbclid => v.fbclid, ip_address => v.ip_address,
    user_agent => 'Mozilla/5.0 (' || v.os || ') ' || v.browser, device_type => 'mobile', os => v.os, browser => v.browser,
    screen_width => v.screen_width, screen_height => v.screen_height, timezone => v.timezone, timezone_offset => -300,
    landing_page_url => 'https://gym.example.com/trial', click_timestamp => v.clicked_at))
  FROM demo.visitor v;

-- Some visitors fill in the form, some hours later. How much of the ad's trace
-- is left by then differs: the click's id, Meta's id, device and address, the address
-- only, or nothing at all.
CREATE TABLE demo.deal AS
WITH wanted AS (
    SELECT a.ad_id, s.stage, s.n,
           row_number() OVER (PARTITION BY a.ad_id ORDER BY s.stage, s.n) AS place
      FROM demo.ad a,
           LATERAL (SELECT 'lead' AS stage, generate_series(1, a.lead) AS n
                    UNION ALL SELECT 'appointment_scheduled', generate_series(1, a.appointment_scheduled)
                    UNION ALL SELECT 'show_up', generate_series(1, a.show_up)
                    UNION ALL SELECT 'closed_won', generate_series(1, a.closed_won)
                    UNION ALL SELECT 'closed_lost', generate_series(1, a.closed_lost)) s
), someone AS (
    SELECT v.*, row_number() OVER (PARTITION BY v.ad_id ORDER BY md5(v.visitor::text)) AS place
      FROM demo.visitor v WHERE v.clicked_at < artery.now() - interval '20 hours' OR v.ad_id LIKE '%306'
)
SELECT 9000 + row_number() OVER (ORDER BY w.ad_id, w.place) AS deal_id, w.stage AS ends_in, s.*,
       s.clicked_at + (0.2 + 1.5 * random()) * interval '1 hour' AS form_at,
       (ARRAY['click id', 'click id', 'fbclid', 'device', 'device', 'address', 'nothing'])
           [1 + (row_number() OVER (ORDER BY md5(w.ad_id || w.place))) % 7] AS trace
  FROM wanted w JOIN someone s USING (ad_id, place);
UPDATE demo.deal SET trace = 'click id' WHERE trace = 'fbclid' AND fbclid IS NULL;

SELECT count(*) FROM demo.deal d, LATERAL artery.identify('ptd_fitness', crm_deal_id => d.deal_id::text,
    click_id => CASE d.trace WHEN 'click id' THEN 'click-' || d.visitor END,
    fbclid => CASE d.trace WHEN 'fbclid' THEN d.fbclid END,
    fingerprint_hash => CASE d.trace WHEN 'device' THEN
        artery.fingerprint(d.screen_width, d.screen_height, d.timezone, -300, 'mobile', d.os, d.browser) END,
    ip_address => CASE WHEN d.trace <> 'nothing' THEN d.ip_address END,
    user_agent => CASE WHEN d.trace <> 'nothing' THEN 'Mozilla/5.0 (' || d.os || ') ' || d.browser END,
    seen_at => d.form_at);

\o
\echo 'What came in:'
SELECT count(*) AS clicks, count(fbclid) AS with_fbclid, count(DISTINCT fingerprint_hash) AS devices,
       count(DISTINCT ip_address) AS addresses, min(click_timestamp)::date AS since
  FROM artery.click_tracking WHERE tenant_id = 'ptd_fitness';
SELECT trace AS "what was left of the click when the form was sent", count(*) AS forms FROM demo.deal GROUP BY 1 ORDER BY 2 DESC, 1;
