-- Taking in clicks: track_click, INSERT and COPY.
\set VERBOSITY terse
SELECT artery.add_tenant('click_a'), artery.add_tenant('click_b');

-- Everything given is kept as given.
SELECT artery.track_click('click_a', 'camp_1', 'ad_1', 'full', 'set_1', 'FB-1', 'G-1', 'fb.1.1700000000000.FB-1', 'fb.1.2.3',
    '203.0.113.45', 'Agent/1', 'mobile', 'iOS', 'Safari', 1170, 2532, 'America/New_York', -300, NULL,
    'https://x.test/l', 'https://x.test/r', 'src', 'med', 'cam', 'con', 'term', '2025-01-02 03:04:05+00');
SELECT campaign_id, ad_id, click_id, adset_id, fbclid, gclid, fbc, fbp, ip_address, user_agent, device_type, os, browser,
       screen_width, screen_height, timezone, timezone_offset, landing_page_url, referrer_url,
       utm_source, utm_medium, utm_campaign, utm_content, utm_term, click_timestamp AT TIME ZONE 'UTC' AS at,
       fingerprint_hash = artery.fingerprint(1170, 2532, 'America/New_York', -300, 'mobile', 'iOS', 'Safari') AS fingerprinted,
       tracked_at > artery.now() - interval '1 hour' AS tracked_now
  FROM artery.click_tracking WHERE tenant_id = 'click_a' \gx

-- An id is made where none is given: 36 characters, later ones sort later.
SELECT artery.track_click('click_b', 'c', 'a') AS first \gset
SELECT pg_sleep(0.002) \g /dev/null
SELECT artery.track_click('click_b', 'c', 'a', click_id => '') AS second \gset
SELECT :'first' ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' AS shape,
       :'second' COLLATE "C" > :'first' COLLATE "C" AS ordered,
       (SELECT count(*) FROM artery.click_tracking WHERE tenant_id = 'click_b' AND click_id IN (:'first', :'second')
           AND click_timestamp BETWEEN tracked_at - interval '1 minute' AND tracked_at) AS stored;
SELECT count(DISTINCT artery.track_click('click_b', 'c', 'a')) AS distinct_ids FROM generate_series(1, 1000);

-- The same click again changes nothing and answers the same; another tenant has its own.
SELECT artery.track_click('click_a', 'camp_2', 'ad_2', 'full') AS again;
SELECT artery.track_click('click_b', 'camp_2', 'ad_2', 'full') AS others;
SELECT tenant_id, ad_id, campaign_id FROM artery.click_tracking WHERE click_id = 'full' ORDER BY 1;

-- INSERT and COPY do the same work, without duplicates, in one command too.
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id, screen_width, os, ip_address, fbc, utm_source)
VALUES ('click_a', 'full', 'ad_9', NULL, NULL, NULL, NULL, NULL),
       ('click_a', 'i1', 'ad_3', 390, 'iOS', '198.51.100.7/24', 'fb.1.1700000000000.From.Fbc', ''),
       ('click_a', 'i1', 'ad_4', NULL, NULL, NULL, NULL, NULL);
INSERT INTO artery.click_tracking (tenant_id, ad_id) SELECT 'click_a', 'ad_many' FROM generate_series(1, 3);
COPY artery.click_tracking (tenant_id, click_id, ad_id, fbclid, fingerprint_hash) FROM stdin;
click_a	k1	ad_5	FB-5	ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789
click_a	k1	ad_6	FB-6	\N
click_a	i1	ad_7	FB-7	\N
\.
SELECT click_id, ad_id, fbclid, ip_address, utm_source IS NULL AS empty_is_null,
       fingerprint_hash = encode(sha256('390|||||iOS|'), 'hex') AS of_parts, left(fingerprint_hash, 10) AS hash,
       click_timestamp BETWEEN tracked_at - interval '1 minute' AND tracked_at AS now
  FROM artery.click_tracking WHERE tenant_id = 'click_a' AND click_id IN ('i1', 'k1') ORDER BY 1;
SELECT count(*), count(DISTINCT click_id) FROM artery.click_tracking WHERE tenant_id = 'click_a' AND ad_id = 'ad_many';
-- A restored row brings tracked_at and is not touched.
INSERT INTO artery.click_tracking (tenant_id, click_id, utm_source, click_timestamp, tracked_at)
VALUES ('click_a', 'restored', '', '2001-01-01', '2001-01-02');
SELECT utm_source = '' AS untouched FROM artery.click_tracking WHERE click_id = 'restored';

-- The caller's search path is what it was between the rows of a statement, and after an error.
CREATE SCHEMA click_own;
CREATE FUNCTION click_own.ad_of(i int) RETURNS text LANGUAGE sql AS $$ SELECT 'own_' || i $$;
CREATE FUNCTION click_own.look_up(i int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE v_ad text;
BEGIN EXECUTE format('SELECT ad_of(%s)', i) INTO v_ad; RETURN v_ad; END $$;
SET search_path = click_own;
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id) SELECT 'click_a', 'path' || i, look_up(i) FROM generate_series(1, 3) i;
DO $$
BEGIN
    INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id) SELECT 'click_a', 'fails' || i, (1 / (2 - i))::text FROM generate_series(1, 3) i;
EXCEPTION WHEN division_by_zero THEN
    RAISE NOTICE 'after the error: %', look_up(4);
END $$;
SELECT click_id, ad_id, look_up(5) FROM artery.click_tracking WHERE tenant_id = 'click_a' AND click_id ~ '^(path|fails)' ORDER BY 1;
RESET search_path;
DROP SCHEMA click_own CASCADE;

-- The fbclid inside fbc, where it is one.
INSERT INTO artery.click_tracking (tenant_id, click_id, fbc)
SELECT 'click_b', 'fbc-' || x.fbc, x.fbc
  FROM (VALUES ('fb.1.1554763741205.AbCdEf'), ('fb.2.1554763741205.a.b_c-d'), ('fb.1..x'), ('fb.1.12'), ('fb.1.12.'),
               ('fa.1.12.x'), ('fb')) x(fbc);
SELECT fbc, fbclid FROM artery.click_tracking
 WHERE tenant_id = 'click_b' AND click_id LIKE 'fbc-%' ORDER BY fbc COLLATE "C";
SELECT artery.track_click('click_b', 'c', 'a', 'own', fbc => 'fb.1.1.other', fbclid => 'mine') \g /dev/null
SELECT fbclid FROM artery.click_tracking WHERE tenant_id = 'click_b' AND click_id = 'own';

-- What is refused, and nothing of it stored.
SELECT count(*) AS before FROM artery.click_tracking \gset
SELECT artery.track_click(NULL, 'c', 'a');
SELECT artery.track_click('', 'c', 'a');
SELECT artery.track_click('click_nobody', 'c', 'a');
SELECT artery.track_click('click_a', 'c', 'a', click_timestamp => '2009-12-31 23:59:59+00');
SELECT artery.track_click('click_a', 'c', 'a', click_timestamp => 'infinity') IS NULL;
SELECT artery.track_click('click_a', 'c', 'a', click_timestamp => '-infinity') IS NULL;
\set VERBOSITY sqlstate
SELECT artery.track_click('click_a', 'c', 'a', click_timestamp => artery.now() + interval '24 hours 1 second');
INSERT INTO artery.click_tracking (tenant_id, click_id, click_timestamp) VALUES ('click_a', 'old', '1999-01-01');
\set VERBOSITY terse
SELECT artery.track_click('click_a', 'c', 'a', repeat('x', 257));
SELECT artery.track_click('click_a', 'c', 'a', fbclid => repeat('x', 1025));
SELECT artery.track_click('click_a', 'c', 'a', utm_term => repeat('x', 8193));
SELECT artery.track_click('click_a', 'c', 'a', fingerprint_hash => repeat('a', 300));
SELECT artery.track_click('click_a', 'c', 'a', ip_address => '300.1.1.1');
SELECT artery.track_click('click_a', 'c', 'a', screen_width => '99999999999');
INSERT INTO artery.click_tracking (tenant_id, click_id) VALUES ('click_nobody', 'x');
INSERT INTO artery.click_tracking (click_id) VALUES ('x');
SELECT count(*) - :before AS stored FROM artery.click_tracking;
-- The edges are accepted.
SELECT artery.track_click('click_a', 'c', 'a', 'edge_1', click_timestamp => '2010-01-01 00:00+00'),
       artery.track_click('click_a', 'c', 'a', 'edge_2', click_timestamp => artery.now() + interval '24 hours'),
       artery.track_click('click_a', repeat('x', 256), repeat('x', 256), repeat('x', 256), user_agent => repeat('x', 8192),
                          fbclid => repeat('x', 1024)) = repeat('x', 256) AS long;

-- A click without an ad is kept, and shown.
SELECT artery.track_click('click_a', NULL, NULL, 'no_ad', fbclid => 'FB-9', utm_content => '{{ad.id}}');
SELECT click_id, fbclid, utm_content FROM artery.v_clicks_without_ad WHERE tenant_id = 'click_a' AND click_id = 'no_ad';

-- Active: within the tenant's window now.
SELECT artery.configure_tenant('click_a', '{"click_window_days": 2}') \g /dev/null
SELECT artery.track_click('click_a', 'c', 'a', 'active_1', click_timestamp => artery.now() - interval '47 hours'),
       artery.track_click('click_a', 'c', 'a', 'active_2', click_timestamp => artery.now() - interval '49 hours');
SELECT click_id, round(age_hours) AS hours, window_ends_at > artery.now() AS open, has_fingerprint
  FROM artery.v_active_clicks WHERE tenant_id = 'click_a' AND click_id LIKE 'active%';

-- Where consent is required, nothing that tells a device is kept.
SELECT artery.configure_tenant('click_a', '{"consent_required": true}') \g /dev/null
SELECT artery.track_click('click_a', 'c', 'a', 'private', fbclid => 'FB-P', fbp => 'x', ip_address => '192.0.2.1', user_agent => 'U',
                          screen_width => 1, timezone => 'UTC', utm_source => 's');
SELECT fbclid, fbp, ip_address, user_agent, screen_width, timezone, fingerprint_hash, utm_source
  FROM artery.click_tracking WHERE click_id = 'private';

-- Expiry.
SELECT artery.track_click('click_b', 'c', 'a', 'aged', click_timestamp => '2012-01-01') \g /dev/null
SELECT artery.expire_clicks(NULL);
SELECT artery.expire_clicks('2013-01-01') >= 3 AS deleted,    -- aged, edge_1, restored
       (SELECT count(*) FROM artery.click_tracking WHERE tenant_id = 'click_b') > 1000 AS others_stay;
SELECT count(*) FROM artery.click_tracking WHERE click_timestamp < '2013-01-01';

-- A role bound to one tenant, with EXECUTE only.
CREATE ROLE click_role;
GRANT USAGE ON SCHEMA artery TO click_role;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA artery TO click_role;
GRANT INSERT ON artery.click_tracking TO click_role;
GRANT SELECT ON artery.v_clicks_without_ad TO click_role;
SELECT artery.grant_tenant('click_b', 'click_role');
SET ROLE click_role;
SELECT artery.track_click('click_b', 'c', NULL, 'by_role');
SELECT artery.track_click('click_a', 'c', 'a', 'by_role');
INSERT INTO artery.click_tracking (tenant_id, click_id) VALUES ('click_b', 'by_role_2');
INSERT INTO artery.click_tracking (tenant_id, click_id) VALUES ('click_a', 'by_role_2');
SELECT artery.expire_clicks('2013-01-01');
SELECT count(*) FROM artery.click_tracking;
SELECT tenant_id, click_id FROM artery.v_clicks_without_ad ORDER BY 1, 2;
RESET ROLE;
DROP OWNED BY click_role;
SELECT artery.revoke_tenant('click_b', 'click_role', unlimited => true);
DROP ROLE click_role;

-- a page's own fingerprint is taken as it is; a SHA-256 in capitals is the same as in small letters
SELECT artery.track_click('click_b', 'c', 'a', click_id => 'own_print', fingerprint_hash => 'Visitor-7Kx');
SELECT artery.track_click('click_b', 'c', 'a', click_id => 'capitals', fingerprint_hash => repeat('AB', 32));
SELECT click_id, left(fingerprint_hash, 12) AS hash FROM artery.click_tracking
 WHERE tenant_id = 'click_b' AND click_id IN ('own_print', 'capitals') ORDER BY click_id;
-- clicks of a fingerprint are found by its key, which is another one for every tenant
SELECT click_id FROM artery.click_tracking WHERE tenant_id = 'click_b' AND fingerprint_key = artery.fingerprint_key('click_b', 'Visitor-7Kx');
SELECT artery.fingerprint_key('click_a', 'Visitor-7Kx') <> artery.fingerprint_key('click_b', 'Visitor-7Kx') AS differ, artery.fingerprint_key('click_b', NULL);
SELECT artery.fingerprint_key('click_nobody', 'Visitor-7Kx');
-- an IPv4 address seen by a server that listens for both families is the same one, and no neighbour of all others
SELECT artery.track_click('click_b', 'c', 'mapped_ad', click_id => 'mapped', ip_address => '::ffff:198.51.100.77', user_agent => 'U');
SELECT ip_address FROM artery.click_tracking WHERE tenant_id = 'click_b' AND click_id = 'mapped';
INSERT INTO artery.click_tracking (tenant_id, click_id, ip_address)
VALUES ('click_b', 'mapped_2', '::ffff:198.51.100.78/112'), ('click_b', 'mapped_3', '::fffe:198.51.100.78'), ('click_b', 'mapped_4', '2001:db8::1')
RETURNING click_id, ip_address;
SELECT artery.configure_tenant('click_b', '{"attribution_model": "layered"}') IS NOT NULL AS layered;
SELECT ad_id, attribution_method FROM artery.attribute_conversion('click_b', 'mapped', 'lead', ip_address => '198.51.100.77', user_agent => 'U');

-- Two ids may share a hash, and then a row of click_key: both come in, and each but once where it is.
SELECT artery.track_click('click_b', 'c', 'a', click_id => 'first_of_hash', click_timestamp => '2025-06-01 12:00+00');
SELECT id_hash AS first FROM artery.click_key WHERE tenant_id = 'click_b' AND click_timestamp = '2025-06-01 12:00+00' \gset
SELECT artery.track_click('click_b', 'c', 'a', click_id => 'second_of_hash', click_timestamp => '2025-06-01 13:00+00');
SELECT id_hash AS second FROM artery.click_key WHERE tenant_id = 'click_b' AND click_timestamp = '2025-06-01 13:00+00' \gset
DELETE FROM artery.click_tracking WHERE tenant_id = 'click_b' AND click_id = 'second_of_hash';
DELETE FROM artery.click_key WHERE tenant_id = 'click_b' AND id_hash = :second;
UPDATE artery.click_key SET id_hash = :second WHERE tenant_id = 'click_b' AND id_hash = :first;
SELECT artery.track_click('click_b', 'c', 'a', click_id => 'second_of_hash', click_timestamp => '2025-06-01 13:00+00');
SELECT artery.track_click('click_b', 'c', 'a', click_id => 'second_of_hash', click_timestamp => '2025-07-01 13:00+00');
SELECT artery.track_click('click_b', 'c', 'a', click_id => 'first_of_hash', click_timestamp => '2025-06-01 12:00+00');
SELECT click_id, click_timestamp FROM artery.click_tracking WHERE tenant_id = 'click_b' AND click_id LIKE '%_of_hash' ORDER BY 1, 2;
