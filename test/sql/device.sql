-- What a user agent tells, and what of it is filled in.
\set VERBOSITY terse
SELECT artery.add_tenant('device_a') \g /dev/null

CREATE TEMP TABLE agent (name text, agent text);
INSERT INTO agent VALUES
('iphone', 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1'),
-- Safari 26 freezes the system's version at 18.6
('ios 26', 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1'),
('ipad', 'Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1'),
-- Chrome tells neither version nor model
('android', 'Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Mobile Safari/537.36'),
('a tablet', 'Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36'),
('samsung', 'Mozilla/5.0 (Linux; Android 13; SAMSUNG SM-S908B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/21.0 Chrome/110.0.5481.154 Mobile Safari/537.36'),
('chrome on ios', 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/123.0.6312.52 Mobile/15E148 Safari/604.1'),
('windows', 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36'),
('edge', 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36 Edg/124.0.0.0'),
('firefox', 'Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0'),
('mac', 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15'),
('facebook on ios', 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/21E236 [FBAN/FBIOS;FBAV/458.0.0.39.108;FBBV/581357098;FBDV/iPhone14,5;FBMD/iPhone;FBSN/iOS;FBSV/17.4.1;FBSS/3;FBID/phone;FBLC/en_US;FBOP/5]'),
('facebook on android', 'Mozilla/5.0 (Linux; Android 14; SM-S918B Build/UP1A.231005.007; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/123.0.6312.99 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/458.0.0.52.86;]'),
('instagram', 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/21E236 Instagram 325.0.0.30.84 (iPhone14,5; iOS 17_4_1; en_US; en; scale=3.00; 1170x2532; 584203058)'),
('tiktok', 'Mozilla/5.0 (Linux; Android 12; M2101K6G; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/112.0.5615.136 Mobile Safari/537.36 trill_2022904030 JsSdk/1.0 NetType/WIFI Channel/googleplay AppName/musical_ly app_version/29.4.3 ByteLocale/en ByteFullLocale/en BytedanceWebview/d8a21c6'),
('some app on ios', 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148'),
('googlebot', 'Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)'),
('googlebot, disguised', 'Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)'),
('facebook''s robot', 'facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)'),
('curl', 'curl/8.5.0'),
('nothing', 'x');
SELECT a.name, p.device_type, p.os, p.os_version, p.browser, p.browser_version, p.in_app
  FROM agent a CROSS JOIN LATERAL artery.parse_user_agent(a.agent) p;
SELECT device, brand, model FROM agent a CROSS JOIN LATERAL artery.parse_user_agent(a.agent) p WHERE a.name = 'facebook on android';

-- Clicks, evidence and conversions have what their agents tell; what they are given stays.
INSERT INTO artery.click_tracking (tenant_id, click_id, user_agent) SELECT 'device_a', name, agent FROM agent;
SELECT count(*) AS clicks, count(*) FILTER (WHERE (c.device_type, c.os, c.browser) IS NOT DISTINCT FROM (p.device_type, p.os, p.browser)) AS equal
  FROM artery.click_tracking c CROSS JOIN LATERAL artery.parse_user_agent(c.user_agent) p WHERE c.tenant_id = 'device_a';
SELECT artery.track_click('device_a', 'c', 'a', 'given', user_agent => agent, os => 'My OS', browser => 'My browser') FROM agent WHERE name = 'windows';
SELECT device_type, os, browser FROM artery.click_tracking WHERE tenant_id = 'device_a' AND click_id = 'given';
SELECT artery.identify('device_a', 'person', user_agent => agent) > 0 AS stored FROM agent WHERE name = 'instagram';
SELECT device_type, os, browser FROM artery.contact_evidence WHERE tenant_id = 'device_a';
SELECT success FROM agent a CROSS JOIN LATERAL artery.attribute_conversion('device_a', 'conversion', 'lead', user_agent => a.agent) WHERE a.name = 'edge';
SELECT device_type, os, browser FROM artery.conversion_tracking WHERE tenant_id = 'device_a';

-- The fingerprint is made of what is given, and not of what the agent tells; without anything given there is none.
SELECT count(*) FROM artery.click_tracking WHERE tenant_id = 'device_a' AND click_id <> 'given' AND fingerprint_hash IS NOT NULL;
SELECT artery.track_click('device_a', 'c', 'a', 'print', user_agent => agent, screen_width => 1170, timezone => 'UTC') FROM agent WHERE name = 'iphone';
SELECT fingerprint_hash = artery.fingerprint(1170, NULL, 'UTC', NULL, NULL, NULL, NULL) AS same, os
  FROM artery.click_tracking WHERE tenant_id = 'device_a' AND click_id = 'print';

-- What the model knows a click by is the same whether the fields were given or filled in.
SELECT artery.track_click('device_a', 'c', 'a', 'fields ' || name, user_agent => agent, screen_width => 1170, timezone => 'UTC',
                          os => p.os, browser => p.browser) IS NOT NULL AS stored,
       artery.track_click('device_a', 'c', 'a', 'agent ' || name, user_agent => agent, screen_width => 1170, timezone => 'UTC') IS NOT NULL
  FROM agent a CROSS JOIN LATERAL artery.parse_user_agent(a.agent) p \g /dev/null
SELECT count(*) AS pairs, count(*) FILTER (WHERE x.sighting = y.sighting AND x.hardware_key = y.hardware_key) AS equal
  FROM agent a
  JOIN artery.click_tracking x ON x.tenant_id = 'device_a' AND x.click_id = 'fields ' || a.name
  JOIN artery.click_tracking y ON y.tenant_id = 'device_a' AND y.click_id = 'agent ' || a.name;
-- An app is told by the agent even where the field names the engine.
SELECT artery.track_click('device_a', 'c', 'a', 'engine', user_agent => agent, os => 'iOS', browser => 'Safari') FROM agent WHERE name = 'instagram';
SELECT artery.click_class(sighting) AS class FROM artery.click_tracking WHERE tenant_id = 'device_a' AND click_id = 'engine';

-- No agent is an error, whatever its bytes and its length; too long ones are cut.
SELECT count(artery.parse_user_agent(a)) AS read
  FROM (SELECT repeat(p, 64000 / length(p)) FROM unnest(ARRAY['a', ' ', '(', 'Mozilla/5.0 (', 'iPhone;Android ', '1.', 'Linux; Android 1; a-b c_d ', '[FBAN', 'é', E'\n\\']) p
        UNION ALL SELECT string_agg(chr(33 + i * 7919 % 90), '') FROM generate_series(1, 3000) i
        UNION ALL SELECT string_agg(chr(160 + i * 7919 % 50000), '') FROM generate_series(1, 3000) i
        UNION ALL SELECT '') v (a);
SELECT artery.track_click('device_a', 'c', 'a', 'long', user_agent => repeat('é', 32000)),
       (artery.attribute_conversion('device_a', 'long', 'lead', user_agent => repeat('é', 32000))).success,
       artery.identify('device_a', 'long', user_agent => repeat('é', 32000)) > 0 AS evidence;
SELECT octet_length(user_agent) FROM artery.click_tracking WHERE tenant_id = 'device_a' AND click_id = 'long';
-- More agents than a session keeps.
SELECT count(DISTINCT browser_version) FROM generate_series(1, 1500) i
 CROSS JOIN LATERAL artery.parse_user_agent(format('Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/%s.0', i));
SELECT browser FROM agent a CROSS JOIN LATERAL artery.parse_user_agent(a.agent) WHERE name = 'edge';
