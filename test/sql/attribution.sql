-- Attribution by layers: windows, order, scores, reasons, ways in.
\set VERBOSITY terse
SET timezone = 'UTC';
SELECT artery.add_tenant('att_a', settings => '{"attribution_model": "layered"}'), artery.add_tenant('att_b');

-- The clicks: all moments are relative to noon of 10 June 2025.
INSERT INTO artery.click_tracking (tenant_id, click_id, campaign_id, adset_id, ad_id, fbclid, fingerprint_hash, ip_address,
                                   user_agent, click_timestamp) VALUES
    ('att_a', 'c1', 'camp', 'set', 'ad_1', 'F1', repeat('1', 64), '192.0.2.1', 'UA1', '2025-06-10 07:00'),   -- 5 h before
    ('att_a', 'c2', 'camp', 'set', 'ad_2', 'F1', repeat('1', 64), '192.0.2.2', 'UA2', '2025-06-10 09:00'),   -- 3 h before
    ('att_a', 'c3', 'camp', NULL, 'ad_3', NULL, NULL, '192.0.2.1', 'UA1', '2025-06-10 13:00'),               -- 1 h after
    ('att_a', 'edge', 'camp', NULL, 'ad_4', 'F4', repeat('4', 64), NULL, NULL, '2025-06-03 12:00'),          -- exactly 7 d
    ('att_a', 'over', 'camp', NULL, 'ad_5', 'F5', repeat('5', 64), NULL, NULL, '2025-06-03 11:59:59.999999'),
    ('att_a', 'noad', NULL, NULL, NULL, 'F6', NULL, NULL, NULL, '2025-06-10 11:00'),
    ('att_b', 'c1', 'camp', NULL, 'ad_b', 'FB', repeat('b', 64), '192.0.2.99', 'UAB', '2025-06-10 11:00');
CREATE FUNCTION pg_temp.attribute(conversion text, click_id text DEFAULT NULL, fbclid text DEFAULT NULL,
    print text DEFAULT NULL, ip inet DEFAULT NULL, agent text DEFAULT NULL, at timestamptz DEFAULT '2025-06-10 12:00')
RETURNS TABLE (ok boolean, click text, method text, conf numeric, hours numeric, ad text, n int,
               reason text)
LANGUAGE sql AS $$
    WITH a AS MATERIALIZED (
        SELECT * FROM artery.attribute_conversion('att_a', conversion, 'lead', conversion_timestamp => at,
            click_id => click_id, fbclid => fbclid, fingerprint_hash => repeat(print, 64), ip_address => ip, user_agent => agent))
    SELECT success, attributed_click_id, attribution_method, attribution_confidence::numeric(6, 4),
           attribution_window_hours::numeric(8, 3), ad_id, candidates, a.reason FROM a
$$;
CREATE FUNCTION pg_temp.layers(conversion text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(concat_ws(' ', attempt_number, layer_1_result, layer_2_result, layer_3_result, final_method), '; '
                      ORDER BY attempt_number)
      FROM artery.attribution_performance_log l WHERE l.tenant_id = 'att_a' AND l.conversion_id = conversion
$$;

-- Layer 1: click id before fbclid; the newest click of an fbclid; confidence 1.
SELECT * FROM pg_temp.attribute('l1-click', click_id => 'c1', fbclid => 'F4', print => '4');
SELECT * FROM pg_temp.attribute('l1-fbclid', fbclid => 'F1');
SELECT * FROM pg_temp.attribute('l1-wrong-click', click_id => 'nope', fbclid => 'F4');
-- A click of another tenant, or after the conversion, is none.
SELECT * FROM pg_temp.attribute('l1-other-tenant', fbclid => 'FB');
SELECT * FROM pg_temp.attribute('l1-after', click_id => 'c3');
-- The window's edge counts, a microsecond more does not; id_window_days widens layer 1 alone.
SELECT * FROM pg_temp.attribute('l1-edge', click_id => 'edge');
SELECT * FROM pg_temp.attribute('l1-over', click_id => 'over');
SELECT * FROM pg_temp.attribute('l1-over-then-print', click_id => 'over', print => '1');
SELECT artery.configure_tenant('att_a', '{"id_window_days": 30}') \g /dev/null
SELECT * FROM pg_temp.attribute('l1-wide', click_id => 'over');
SELECT * FROM pg_temp.attribute('l2-not-wide', print => '5');
SELECT artery.configure_tenant('att_a', '{"id_window_days": null}') \g /dev/null
-- A click that does not tell its ad attributes, without one.
SELECT * FROM pg_temp.attribute('l1-no-ad', fbclid => 'F6');

-- Layer 2: the newest of the same fingerprint, 0.9, tried when layer 1 fails.
SELECT * FROM pg_temp.attribute('l2', print => '1');
SELECT * FROM pg_temp.attribute('l2-fallback', click_id => 'nope', print => '1');
SELECT * FROM pg_temp.attribute('l2-edge', print => '4');
SELECT * FROM pg_temp.attribute('l2-as-of', print => '1', at => '2025-06-10 08:00');
-- From the device fields, as given to both sides.
SELECT artery.track_click('att_a', 'camp', 'ad_dev', 'dev', screen_width => 1170, os => 'iOS', click_timestamp => '2025-06-10 06:00');
SELECT attribution_method, ad_id, campaign_id, adset_id FROM artery.attribute_conversion('att_a', 'l2-device', 'lead',
    conversion_timestamp => '2025-06-10 12:00', screen_width => 1170, os => 'iOS');

-- Layer 3: 0.5 address + 0.3 user agent + 0.2 * (1 - hours / 24), stated as at most 0.70.
-- c1, 5 h, same agent: 0.8 + 0.2 * 19/24 = 0.9583.
SELECT * FROM pg_temp.attribute('l3', ip => '192.0.2.1', agent => 'UA1');
-- Another agent: 0.5 + 0.2 * 19/24 = 0.6583, too low, but the best candidate is kept.
SELECT * FROM pg_temp.attribute('l3-low', ip => '192.0.2.1', agent => 'UA9');
SELECT success, best_click_id, best_confidence::numeric(6, 4), attribution_confidence, attributed_click_id
  FROM artery.conversion_tracking WHERE tenant_id = 'att_a' AND conversion_id = 'l3-low';
-- No agent at all is no agreement; at the very moment of the click 0.5 + 0.2 = 0.7 is enough.
SELECT * FROM pg_temp.attribute('l3-no-agent', ip => '192.0.2.1');
SELECT * FROM pg_temp.attribute('l3-at-once', ip => '192.0.2.1', agent => 'UA9', at => '2025-06-10 07:00');
-- Exactly 24 h before: 0.8. A microsecond more: expired.
SELECT * FROM pg_temp.attribute('l3-24h', ip => '192.0.2.2', agent => 'UA2', at => '2025-06-11 09:00');
SELECT * FROM pg_temp.attribute('l3-over', ip => '192.0.2.2', agent => 'UA2', at => '2025-06-11 09:00:00.000001');
-- An address with a netmask is the host's.
SELECT * FROM pg_temp.attribute('l3-mask', ip => '192.0.2.1/24', agent => 'UA1');
-- The user agent alone finds nothing.
SELECT * FROM pg_temp.attribute('l3-agent-only', agent => 'UA1');

-- A busy address: 500 newer clicks with other agents do not hide the one that agrees (23 h: 0.8 + 0.2/24 = 0.8083),
-- of two that agree the newer wins, and one that agrees 25 h ago is too old.
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id, ip_address, user_agent, click_timestamp)
SELECT 'att_a', 'busy-' || i, 'ad_busy', '198.51.100.1', 'other', timestamptz '2025-06-10 11:00' - i * interval '1 second'
  FROM generate_series(1, 500) i
UNION ALL VALUES ('att_a', 'old', 'ad_old', inet '198.51.100.1', 'mine', timestamptz '2025-06-09 11:00'),
                 ('att_a', 'right', 'ad_right', '198.51.100.1', 'mine', '2025-06-09 13:00'),
                 ('att_a', 'older', 'ad_older', '198.51.100.1', 'mine', '2025-06-09 12:30');
SELECT * FROM pg_temp.attribute('l3-busy', ip => '198.51.100.1', agent => 'mine');
SELECT * FROM pg_temp.attribute('l3-busy-none', ip => '198.51.100.1', agent => 'nobody');
-- The window of the tenant holds for layer 3 too.
SELECT artery.configure_tenant('att_a', '{"click_window_days": 0.125}') \g /dev/null
SELECT * FROM pg_temp.attribute('l3-3h', ip => '192.0.2.2', agent => 'UA2');
SELECT * FROM pg_temp.attribute('l3-3h-not', ip => '192.0.2.1', agent => 'UA1');
SELECT artery.configure_tenant('att_a', '{"click_window_days": null}') \g /dev/null

-- Nothing given.
SELECT * FROM pg_temp.attribute('none');

-- What was found per layer.
SELECT conversion_id, pg_temp.layers(conversion_id) FROM artery.conversion_tracking
 WHERE tenant_id = 'att_a' ORDER BY conversion_id COLLATE "C";
SELECT bool_and(processing_time_ms >= 0 AND final_confidence = attribution_confidence AND l.success = c.success
                AND l.candidates = c.candidates) AS log_agrees
  FROM artery.attribution_performance_log l JOIN artery.conversion_tracking c USING (tenant_id, conversion_id)
 WHERE c.tenant_id = 'att_a';

-- The same conversion again: what is stored, whatever is asked now.
SELECT * FROM pg_temp.attribute('l2', click_id => 'c1');
SELECT count(*), max(attempt_number) FROM artery.attribution_performance_log WHERE tenant_id = 'att_a' AND conversion_id = 'l2';

-- INSERT and COPY: many rows at once, repeated ones once, results given by the caller ignored.
INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, click_id, user_agent,
                                        ip_address, success, attribution_method, ad_id)
VALUES ('att_a', 'i1', 'lead', '2025-06-10 12:00', 'c1', NULL, NULL, NULL, NULL, 'mine'),
       ('att_a', 'i2', 'lead', '2025-06-10 12:00', '', 'UA1', '192.0.2.1', NULL, NULL, NULL),
       ('att_a', 'i1', 'sale', '2025-06-10 12:00', 'c2', NULL, NULL, NULL, NULL, NULL),
       ('att_a', 'l2', 'sale', '2025-06-10 12:00', 'c2', NULL, NULL, NULL, NULL, NULL);
COPY artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, screen_width, os) FROM stdin;
att_a	k1	lead	2025-06-10 12:00	1170	iOS
att_a	k2	lead	2025-06-10 12:00	1	\N
att_a	k1	lead	2025-06-10 12:00	1	\N
\.
SELECT conversion_id, conversion_type, success, attribution_method, ad_id, is_synthetic, pg_temp.layers(conversion_id)
  FROM artery.conversion_tracking WHERE conversion_id IN ('i1', 'i2', 'k1', 'k2') ORDER BY 1;
-- A restored row brings attributed_at and is not touched.
INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, click_id, success,
    attribution_method, attribution_confidence, candidates, reason, attributed_at)
VALUES ('att_b', 'restored', 'lead', '2025-06-10 12:00', 'c1', false, 'unattributed', 0, 0, 'as it was', '2025-06-10 12:00');
SELECT reason, pg_temp.layers('restored') IS NULL AS no_log FROM artery.conversion_tracking WHERE conversion_id = 'restored';

-- Refused, with nothing stored.
SELECT artery.attribute_conversion(NULL, 'x', 'lead');
SELECT artery.attribute_conversion('att_nobody', 'x', 'lead');
SELECT artery.attribute_conversion('att_a', NULL, 'lead');
SELECT artery.attribute_conversion('att_a', 'x', '');
SELECT artery.attribute_conversion('att_a', 'x', 'lead', -0.01);
SELECT artery.attribute_conversion('att_a', 'x', 'lead', 'NaN');
SELECT artery.attribute_conversion('att_a', 'x', 'lead', 'Infinity');
SELECT artery.attribute_conversion('att_a', 'x', 'lead', conversion_timestamp => '2009-12-31');
SELECT artery.attribute_conversion('att_a', 'x', 'lead', fingerprint_hash => repeat('a', 300));
SELECT artery.attribute_conversion('att_a', repeat('x', 257), 'lead');
INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_value) VALUES ('att_a', 'x', 'lead', -1);
SELECT count(*) FROM artery.conversion_tracking WHERE conversion_id = 'x';

-- Rows that bring their result, as a restore does, pass as they are; but method and confidence must be possible ones.
INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, success, attribution_method,
       attribution_confidence, candidates, reason, attributed_at)
VALUES ('att_a', 'brought', 'lead', '2025-06-10 12:00', true, 'guess', 0.5, 1, 'told', '2025-06-10 12:00');
INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, success, attribution_method,
       attribution_confidence, candidates, reason, attributed_at)
VALUES ('att_a', 'brought', 'lead', '2025-06-10 12:00', true, 'fingerprint', 'NaN', 1, 'told', '2025-06-10 12:00');
INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, success, attribution_method,
       attribution_confidence, candidates, reason, attributed_at)
VALUES ('att_a', 'brought', 'lead', '2024-06-10 12:00', true, 'fingerprint', 1, 1, 'told', '2024-06-10 12:00');
UPDATE artery.conversion_tracking SET attribution_method = 'guess' WHERE conversion_id = 'brought';
UPDATE artery.conversion_tracking SET attribution_confidence = 1.01 WHERE conversion_id = 'brought';
-- Values and times of stored conversions stay within what is taken in: a NaN would spoil every sum over it.
UPDATE artery.conversion_tracking SET conversion_value = 'NaN' WHERE conversion_id = 'brought';
UPDATE artery.conversion_tracking SET conversion_value = -1 WHERE conversion_id = 'brought';
UPDATE artery.conversion_tracking SET conversion_timestamp = '2009-12-31 23:59+00' WHERE conversion_id = 'brought';
UPDATE artery.conversion_tracking SET conversion_timestamp = 'infinity' WHERE conversion_id = 'brought';
UPDATE artery.conversion_tracking SET conversion_value = 12.50, conversion_timestamp = '2024-06-11 12:00' WHERE conversion_id = 'brought'
    RETURNING conversion_value, attribution_method;
INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_value, conversion_timestamp, success,
       attribution_method, attribution_confidence, candidates, reason, attributed_at)
VALUES ('att_a', 'brought-2', 'lead', 'NaN', '2024-06-10 12:00', true, 'fingerprint', 1, 1, 'told', '2024-06-10 12:00');
DELETE FROM artery.conversion_tracking WHERE conversion_id = 'brought' RETURNING attribution_method, attribution_confidence, reason;

-- Late clicks: reattribute finds them, once, within the range asked for, and counts attempts.
SELECT * FROM pg_temp.attribute('late-1', click_id => 'to-come');
SELECT * FROM pg_temp.attribute('late-2', fbclid => 'F-to-come', at => '2025-06-12 12:00');
SELECT artery.track_click('att_a', 'camp', 'ad_late', 'to-come', fbclid => 'F-to-come', click_timestamp => '2025-06-10 11:30');
-- late-1, and l3-3h-not, whose window was narrow then
SELECT artery.reattribute('att_a', '2025-06-10 11:00', '2025-06-10 12:00') AS first,
       artery.reattribute('att_a', '2025-06-10 11:00', '2025-06-10 12:00') AS again;
SELECT artery.reattribute('att_a', '2025-06-12', '2025-06-13') AS second;
SELECT conversion_id, success, attribution_method, ad_id, attribution_window_hours, pg_temp.layers(conversion_id)
  FROM artery.conversion_tracking WHERE conversion_id LIKE 'late-%' ORDER BY 1;
SELECT artery.reattribute('att_nobody');

-- With a conversion goes its log; it may come again.
DELETE FROM artery.conversion_tracking WHERE tenant_id = 'att_a' AND conversion_id = 'l2';
SELECT ok FROM pg_temp.attribute('l2', print => '1');
SELECT pg_temp.layers('l2');

-- Views.
SELECT day, conversions, attributed, url_param, fingerprint, probabilistic, unattributed, attribution_rate,
       conversions_without_id, recovered, recovery_rate
  FROM artery.v_attribution_recovery_rate WHERE tenant_id = 'att_a' ORDER BY day;
-- Days begin in the ad account's zone: 12:00 UTC of 10 June is 02:00 of the 11th on Kiritimati.
SELECT artery.configure_tenant('att_a', '{"time_zone": "Pacific/Kiritimati"}') \g /dev/null
SELECT day, conversions FROM artery.v_attribution_recovery_rate WHERE tenant_id = 'att_a' ORDER BY day;
SELECT conversion_id, layer_1_result, layer_2_result, layer_3_result, attempts, best_click_id
  FROM artery.v_unattributed_conversions WHERE tenant_id = 'att_a' AND conversion_id LIKE 'l3%' ORDER BY 1;
SELECT artery.attribute_conversion('att_b', 'v1', 'sale', 100, '2025-06-10 12:00', 'c1') \g /dev/null
SELECT artery.attribute_conversion('att_b', 'v2', 'sale', 50.5, '2025-06-10 14:00', 'c1') \g /dev/null
-- 1 h and 3 h after the click: 2 h on average.
SELECT campaign_id, ad_id, attribution_method, conversions, conversion_value, avg_confidence, avg_window_hours
  FROM artery.v_conversion_attribution_summary WHERE tenant_id = 'att_b' ORDER BY ad_id;

-- A conversion worth more than high_value (1000), found with a confidence of high_value_confidence (0.5) or more, asks for a budget
-- decision, once while that is queued.
SELECT artery.attribute_conversion('att_b', 'h0', 'sale', 1000, '2025-06-10 12:00', 'c1') \g /dev/null
SELECT artery.attribute_conversion('att_b', 'h1', 'sale', 5000, '2025-06-10 12:00') \g /dev/null
SELECT count(*) AS jobs FROM artery.job WHERE tenant_id = 'att_b';
SELECT artery.attribute_conversion('att_b', 'h2', 'sale', 1000.01, '2025-06-10 12:00', 'c1') \g /dev/null
SELECT artery.attribute_conversion('att_b', 'h3', 'sale', 3000, '2025-06-10 12:00', 'c1') \g /dev/null
INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_value, conversion_timestamp, click_id)
VALUES ('att_b', 'h4', 'sale', 4000, '2025-06-10 12:00', 'c1');
SELECT job_name, data, singleton_key FROM artery.job WHERE tenant_id = 'att_b';
DELETE FROM artery.job WHERE tenant_id = 'att_b';

-- A role with EXECUTE only, bound to one tenant.
CREATE ROLE att_role;
GRANT USAGE ON SCHEMA artery TO att_role;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA artery TO att_role;
SELECT artery.grant_tenant('att_b', 'att_role');
SET ROLE att_role;
SELECT success, ad_id FROM artery.attribute_conversion('att_b', 'r1', 'lead', conversion_timestamp => '2025-06-10 12:00', fbclid => 'FB');
SELECT success FROM artery.attribute_conversion('att_a', 'r1', 'lead');
SELECT artery.reattribute('att_a');
SELECT artery.attribute_again('att_a', 'none');
SELECT artery.attribute_deal('att_a', 'none');
RESET ROLE;
DROP OWNED BY att_role;
SELECT artery.revoke_tenant('att_b', 'att_role', unlimited => true);
DROP ROLE att_role;
