-- Consent: what is kept and used of visitors who agreed, refused, or said nothing. Client Hints. Erasure as a user sees it.
\set VERBOSITY terse
SELECT artery.add_tenant('privacy_a'), artery.add_tenant('privacy_b', settings => '{"consent_required": true}') \g /dev/null

-- Nothing said: kept, unless the tenant requires consent. Refused: never kept. Ids that the URL brought stay, cookies do not.
SELECT artery.track_click(t, 'camp', 'ad_' || c, 'click ' || c, fbclid => 'FB-' || c, gclid => 'G-' || c, fbc => 'fb.1.1700000000000.FB-' || c,
           fbp => 'fb.1.1.9', ip_address => '203.0.113.7', user_agent => 'Mozilla/5.0 (Windows NT 10.0) Chrome/124.0.0.0 Safari/537.36',
           screen_width => 1920, screen_height => 1080, timezone => 'Europe/Berlin', timezone_offset => -60, utm_source => 'facebook',
           landing_page_url => 'https://x.test/', click_timestamp => '2025-06-10 10:00+00', consent => c::boolean)
  FROM unnest(ARRAY['privacy_a', 'privacy_b']) t, unnest(ARRAY['true', 'false']) c \g /dev/null
SELECT artery.track_click(t, 'camp', 'ad_null', 'click null', fbclid => 'FB-null', fbc => 'fb.1.1700000000000.FB-null', fbp => 'fb.1.1.9',
           ip_address => '203.0.113.7', user_agent => 'Mozilla/5.0 (Windows NT 10.0) Chrome/124.0.0.0 Safari/537.36', screen_width => 1920,
           screen_height => 1080, timezone => 'Europe/Berlin', timezone_offset => -60, click_timestamp => '2025-06-10 09:00+00')
  FROM unnest(ARRAY['privacy_a', 'privacy_b']) t \g /dev/null
SELECT tenant_id, click_id, consent, ad_id, fbclid, gclid, fbc IS NOT NULL AS fbc, num_nonnulls(fbp, ip_address, user_agent, device_type, os, browser,
           screen_width, screen_height, timezone, timezone_offset, fingerprint_hash, hardware_key, agent_key) AS device_fields, utm_source, landing_page_url
  FROM artery.click_tracking WHERE tenant_id LIKE 'privacy__' ORDER BY 1, 2;
-- An fbclid that only a cookie brought is not taken from it.
SELECT artery.track_click('privacy_a', 'camp', 'ad', 'cookie', fbc => 'fb.1.1700000000000.FB-C', consent => false);
SELECT fbclid, fbc FROM artery.click_tracking WHERE tenant_id = 'privacy_a' AND click_id = 'cookie';
-- INSERT and COPY do the same.
COPY artery.click_tracking (tenant_id, click_id, ip_address, fingerprint_hash, consent, client_hints) FROM stdin;
privacy_b	copy yes	203.0.113.7	abc	t	{"sec-ch-ua-platform": "\\"Android\\"", "sec-ch-ua-mobile": "?1"}
privacy_b	copy no	203.0.113.7	abc	f	{"sec-ch-ua-platform": "\\"Android\\""}
privacy_b	copy null	203.0.113.7	abc	\N	\N
\.
SELECT click_id, consent, ip_address, fingerprint_hash, device_type, os, client_hints FROM artery.click_tracking
 WHERE tenant_id = 'privacy_b' AND click_id LIKE 'copy%' ORDER BY 1;

-- Attribution: who refused is found by ids only, whoever clicked.
\set device 'ip_address => ''203.0.113.7'', user_agent => ''Mozilla/5.0 (Windows NT 10.0) Chrome/124.0.0.0 Safari/537.36'', screen_width => 1920, screen_height => 1080, timezone => ''Europe/Berlin'', timezone_offset => -60, conversion_timestamp => ''2025-06-10 11:00+00'''
SELECT artery.configure_tenant(t, '{"attribution_model": "layered"}') FROM unnest(ARRAY['privacy_a', 'privacy_b']) t \g /dev/null
SELECT 'agreed' AS conversion, success, attributed_click_id, attribution_method FROM artery.attribute_conversion('privacy_b', 'agreed', 'lead', consent => true, :device)
UNION ALL SELECT 'not said', success, attributed_click_id, attribution_method FROM artery.attribute_conversion('privacy_a', 'not said', 'lead', :device);
SELECT success, attribution_method, reason FROM artery.attribute_conversion('privacy_a', 'refused', 'lead', consent => false, :device);
SELECT success, attribution_method, reason FROM artery.attribute_conversion('privacy_b', 'not said', 'lead', :device);
SELECT success, attribution_method, attributed_click_id FROM artery.attribute_conversion('privacy_b', 'by id', 'lead', fbclid => 'FB-false', :device);
SELECT tenant_id, conversion_id, consent, num_nonnulls(fingerprint_hash, ip_address, user_agent, screen_width, timezone, os, browser) AS device_fields
  FROM artery.conversion_tracking WHERE tenant_id LIKE 'privacy__' ORDER BY 1, 2;
-- The calibrated model likewise; and what was refused stays so when attribution is tried again.
SELECT artery.configure_tenant(t, '{"attribution_model": "calibrated"}') FROM unnest(ARRAY['privacy_a', 'privacy_b']) t \g /dev/null
SELECT candidates, success FROM artery.attribute_conversion('privacy_a', 'refused 2', 'lead', consent => false, :device);
SELECT candidates > 0 AS candidates FROM artery.attribute_conversion('privacy_b', 'agreed 2', 'lead', consent => true, :device);
SELECT click_id FROM artery.explain_attribution('privacy_b', 'agreed 2') WHERE rank > 0 AND click_id IS NOT NULL;
SELECT artery.reattribute('privacy_a');
-- Evidence: the ids of the click, and the device only with consent.
SELECT artery.identify('privacy_b', 'c_' || c, click_id => 'click true', fbclid => 'FB-x', ip_address => '203.0.113.7', user_agent => 'UA', timezone => 'UTC',
           consent => c::boolean) > 0 AS stored FROM unnest(ARRAY['true', 'false']) c;
SELECT artery.identify('privacy_b', 'c_null', click_id => 'click true', ip_address => '203.0.113.7', seen_at => '2025-06-10 10:30+00') > 0 AS stored;
SELECT crm_contact_id, consent, click_id, fbclid, num_nonnulls(fingerprint_hash, ip_address, user_agent, timezone, os, browser) AS device_fields
  FROM artery.contact_evidence WHERE tenant_id = 'privacy_b' ORDER BY 1;
SELECT tenant_id, kind, total, agreed, refused, not_said, with_device_data FROM artery.v_consent
 WHERE tenant_id LIKE 'privacy__' AND day = '2025-06-10' ORDER BY 1, 2;

-- Client Hints: as headers in any case, or as navigator.userAgentData; they win over the agent, and what is given wins over them.
SELECT n, artery.track_click('privacy_a', 'c', 'a', 'hint ' || n, user_agent => 'Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/124.0.0.0 Mobile Safari/537.36',
           client_hints => h, os => CASE n WHEN 3 THEN 'My OS' END)
  FROM unnest(ARRAY[
    '{"Sec-CH-UA": "\"Chromium\";v=\"124\", \"Microsoft Edge\";v=\"124\", \"Not-A.Brand\";v=\"99\"", "Sec-CH-UA-Mobile": "?0", "Sec-CH-UA-Platform": "\"Windows\""}',
    '{"brands": [{"brand": "Not A;Brand", "version": "8"}, {"brand": "Chromium", "version": "124"}], "mobile": true, "platform": "Android"}',
    '{"sec_ch_ua_platform": "\"macOS\"", "sec_ch_ua_mobile": "?0"}',
    '{"sec-ch-ua-platform": "Android", "sec-ch-ua-mobile": "?0"}',
    '{"sec-ch-ua": "x\"\\\"", "brands": 5, "mobile": "yes", "platform": null, "sec-ch-ua-full-version-list": [1, {}, {"brand": 7}]}',
    '[1]', '"x"', 'null', '{}']::jsonb[]) WITH ORDINALITY u (h, n) \g /dev/null
SELECT click_id, device_type, os, browser, client_hints FROM artery.click_tracking WHERE tenant_id = 'privacy_a' AND click_id LIKE 'hint%' ORDER BY 1;
SELECT artery.identify('privacy_a', 'hinted', client_hints => '{"platform": "Windows", "mobile": false}') > 0 AS stored;
SELECT device_type, os FROM artery.contact_evidence WHERE tenant_id = 'privacy_a' AND crm_contact_id = 'hinted';
SELECT success FROM artery.attribute_conversion('privacy_a', 'hinted', 'lead', client_hints => '{"platform": "Windows", "mobile": false}');
SELECT device_type, os, client_hints FROM artery.conversion_tracking WHERE tenant_id = 'privacy_a' AND conversion_id = 'hinted';

-- Erasure: one of contact, e-mail hash, deal, click must be named.
SELECT artery.erase_contact('privacy_a');
SELECT artery.erase_contact('privacy_a', '', '', '');
SELECT artery.erase_contact('privacy_a', email_hash => 'a@b.test');
SELECT artery.erase_contact('privacy_nobody', 'c');
SELECT artery.erase_contact('privacy_a', click_id => 'click true');
SELECT consent, ad_id, campaign_id, ip_address, fingerprint_hash, fbclid, utm_source FROM artery.click_tracking WHERE tenant_id = 'privacy_a' AND click_id = 'click true';
-- The click's own device at its own address went with it: the conversion that found it, and the other click.
SELECT conversion_id, attributed_click_id, ad_id, ip_address, user_agent FROM artery.conversion_tracking WHERE tenant_id = 'privacy_a' AND conversion_id = 'not said';
SELECT erasure_id > 0 AS id, requested_by, evidence, clicks, conversions, deals FROM artery.v_erasures WHERE tenant_id = 'privacy_a';
-- The same click delivered again brings nothing back.
SELECT artery.track_click('privacy_a', 'camp', 'ad_true', 'click true', ip_address => '203.0.113.7', click_timestamp => '2025-06-10 10:00+00');
SELECT ip_address FROM artery.click_tracking WHERE tenant_id = 'privacy_a' AND click_id = 'click true';

-- The same visitor's keys: equal within a tenant, of no use to join two tenants, in clicks and in counts.
SELECT artery.add_tenant('privacy_c'), artery.add_tenant('privacy_d') \g /dev/null
SELECT artery.track_click(t, 'c', 'a', 'salted ' || n, ip_address => '198.51.100.7', user_agent => 'UA', screen_width => 1920, timezone => 'UTC')
  FROM unnest(ARRAY['privacy_c', 'privacy_d']) t, generate_series(1, 2) n \g /dev/null
DO $$
BEGIN
    -- Clicks are counted when no older transaction is under way, here or in another database.
    FOR i IN 1 .. 200 LOOP
        PERFORM artery.fold_attribution_state(t) FROM unnest(ARRAY['privacy_c', 'privacy_d']) t;
        EXIT WHEN (SELECT count(*) FROM artery.attribution_value WHERE tenant_id IN ('privacy_c', 'privacy_d')) = 12;
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$$;
SELECT count(DISTINCT (tenant_id, hardware_key, agent_key)) AS visitors, count(DISTINCT hardware_key) AS hardware_keys, count(DISTINCT agent_key) AS agent_keys
  FROM artery.click_tracking WHERE tenant_id IN ('privacy_c', 'privacy_d');
-- address, block, fingerprint, fingerprint and agent, hardware; each counted twice
SELECT tenant_id, count(*) AS keys, min(round(occurrences)) AS least, max(round(occurrences)) AS most FROM artery.attribution_value
 WHERE tenant_id IN ('privacy_c', 'privacy_d') AND value_key NOT BETWEEN 1 AND 20 GROUP BY 1 ORDER BY 1;
SELECT count(*) AS common FROM artery.attribution_value c JOIN artery.attribution_value d ON d.value_key = c.value_key
 WHERE c.tenant_id = 'privacy_c' AND d.tenant_id = 'privacy_d' AND c.value_key NOT BETWEEN 1 AND 20;
-- Fingerprints stay as they are given, for pages and CRMs make them too.
SELECT count(DISTINCT fingerprint_hash) AS fingerprints, bool_and(fingerprint_hash = artery.fingerprint(1920, NULL, 'UTC', NULL, NULL, NULL, NULL)) AS as_made
  FROM artery.click_tracking WHERE tenant_id IN ('privacy_c', 'privacy_d');

-- Device data goes by age: 7 days (and the window of 7) after it came in; what statistics need stays.
SELECT artery.add_tenant('privacy_e') \g /dev/null
BEGIN;
SET LOCAL artery.clock_offset = -1300000;      -- 15 days and an hour ago
SELECT artery.track_click('privacy_e', 'c', 'a', 'old', fbclid => 'FB', fbp => 'p', ip_address => '203.0.113.5', user_agent => 'Mozilla/5.0 (Windows NT 10.0) Firefox/125.0',
           screen_width => 1, timezone => 'UTC') \g /dev/null
SELECT success FROM artery.attribute_conversion('privacy_e', 'old', 'lead', ip_address => '203.0.113.5', user_agent => 'UA', crm_contact_id => 'c', raw_data => '{}') \g /dev/null
COMMIT;
BEGIN;
SET LOCAL artery.clock_offset = -1100000;      -- 12 days and 17 hours ago
SELECT artery.track_click('privacy_e', 'c', 'a', 'newer', ip_address => '203.0.113.5') \g /dev/null
SELECT success FROM artery.attribute_conversion('privacy_e', 'newer', 'lead', ip_address => '203.0.113.5') \g /dev/null
COMMIT;
SELECT table_name, what, rows, extract(day FROM artery.now() - oldest) AS days, setting, kept_days FROM artery.v_personal_data WHERE tenant_id = 'privacy_e' ORDER BY 1, 2;
SELECT artery.clear_device_data(0);
SELECT artery.clear_device_data(100000) >= 2 AS cleared;
SELECT click_id, num_nonnulls(fbp, ip_address, user_agent, screen_width, timezone, fingerprint_hash, hardware_key, agent_key) AS device, fbclid, device_type, os, browser
  FROM artery.click_tracking WHERE tenant_id = 'privacy_e' ORDER BY 1;
SELECT conversion_id, num_nonnulls(ip_address, user_agent) AS device, crm_contact_id FROM artery.conversion_tracking WHERE tenant_id = 'privacy_e' ORDER BY 1;
SELECT artery.clear_device_data() AS cleared;
SELECT table_name, what, rows, extract(day FROM artery.now() - oldest) AS days FROM artery.v_personal_data WHERE tenant_id = 'privacy_e' ORDER BY 1, 2;
-- The purge does it; a click of that age that comes in late has its own days.
SELECT deleted FROM artery.purge() WHERE table_name = 'device data';
SELECT artery.track_click('privacy_e', 'c', 'a', 'late', ip_address => '203.0.113.5', click_timestamp => artery.now() - interval '30 days') \g /dev/null
SELECT artery.clear_device_data() AS cleared;
