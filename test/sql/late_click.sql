-- Clicks that come in after what they led to: noted, and matched with the conversions and deals that wait for them.
\set VERBOSITY terse
SET timezone = 'UTC';
SELECT artery.add_tenant('lc_a', 'service_business', settings => '{"attribution_model": "layered", "id_window_days": 14}'),
       artery.add_tenant('lc_b', 'service_business', settings => '{"attribution_model": "layered"}'),
       artery.add_tenant('lc_c', 'service_business', settings => '{"attribution_model": "calibrated"}');
SELECT artery.register_ad('lc_a', 'ad_1', 'camp'), artery.register_ad('lc_a', 'ad_2', 'camp');
CREATE FUNCTION pg_temp.convert(id text, tenant text DEFAULT 'lc_a', at timestamptz DEFAULT '2025-06-10 12:00', click_id text DEFAULT NULL,
                                fbclid text DEFAULT NULL, hash text DEFAULT NULL, ip inet DEFAULT NULL, agent text DEFAULT NULL, deal text DEFAULT NULL)
RETURNS boolean LANGUAGE sql AS $$
    SELECT success FROM artery.attribute_conversion(tenant, id, 'lead', 10, at, click_id => click_id, fbclid => fbclid,
        fingerprint_hash => hash, ip_address => ip, user_agent => agent, crm_deal_id => deal)
$$;
-- Notes, and how many of them nobody has seen yet.
CREATE FUNCTION pg_temp.notes(tenant text DEFAULT 'lc_a', OUT notes bigint, OUT unseen bigint) LANGUAGE sql AS $$
    SELECT count(*), count(*) FILTER (WHERE looked_at IS NULL) FROM artery.late_click WHERE tenant_id = tenant
$$;
CREATE FUNCTION pg_temp.show(tenant text DEFAULT 'lc_a')
RETURNS TABLE (id text, method text, click text, ad text, attempts bigint) LANGUAGE sql AS $$
    SELECT c.conversion_id, c.attribution_method, c.attributed_click_id, c.ad_id,
           (SELECT count(*) FROM artery.attribution_performance_log l WHERE l.tenant_id = tenant AND l.conversion_id = c.conversion_id)
      FROM artery.conversion_tracking c WHERE c.tenant_id = tenant ORDER BY c.conversion_id COLLATE "C"
$$;

-- What waits: conversions, one of which is none of the late clicks' (other), two outside a window (before the click; more than the
-- 7 days of a device, where ids have 14), and a deal with the evidence of its form and a conversion that names it alone.
SELECT bool_or(pg_temp.convert(id, 'lc_a', at, click_id, fbclid, hash, ip, agent, deal)) AS attributed FROM (VALUES
    ('by-click', '2025-06-10 12:00'::timestamptz, 'k1', NULL, NULL, NULL::inet, NULL, NULL),
    ('by-click-old', '2025-06-20 12:00', 'k1', NULL, NULL, NULL, NULL, NULL),
    ('by-fbclid', '2025-06-10 12:00', NULL, 'fb2', NULL, NULL, NULL, NULL),
    ('by-hash', '2025-06-10 12:00', NULL, NULL, repeat('cd', 32), NULL, NULL, NULL),
    ('by-ip', '2025-06-10 12:00', NULL, NULL, NULL, '192.0.2.4', 'UA 4', NULL),
    ('too-early', '2025-06-10 09:59', 'k1', 'fb2', repeat('cd', 32), '192.0.2.4', 'UA 4', NULL),
    ('too-late', '2025-06-18 12:00', NULL, NULL, repeat('cd', 32), '192.0.2.4', 'UA 4', NULL),
    ('other', '2025-06-10 12:00', 'k9', 'fb9', repeat('ef', 32), '192.0.2.9', 'UA 4', NULL)) v (id, at, click_id, fbclid, hash, ip, agent, deal);
SELECT artery.identify('lc_a', crm_deal_id => 'd1', ip_address => '198.51.100.5', user_agent => 'UA 5', seen_at => '2025-06-10 11:00') > 0 AS stored;
SELECT artery.record_stage('lc_a', 'd1', 'appointment_scheduled', '2025-06-10 12:00') -> 'attribution' ->> 'success' AS attributed;
SELECT pg_temp.convert('heir', deal => 'd1') AS attributed;

-- A click that is not late writes no note; one that is writes one.
SELECT artery.track_click('lc_a', 'camp', 'ad_1', 'now') \g /dev/null
SELECT artery.track_click('lc_a', 'camp', 'ad_1', 'just-now', click_timestamp => artery.now() - interval '50 seconds') \g /dev/null
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id) VALUES ('lc_a', 'now-2', 'ad_1');
SELECT * FROM pg_temp.notes();
SELECT artery.track_click('lc_a', 'camp', 'ad_1', 'k1', click_timestamp => '2025-06-10 10:00') \g /dev/null
SELECT * FROM pg_temp.notes();
-- The same id again is no click, so there is nothing to note; nor is a row that a restore brings.
SELECT artery.track_click('lc_a', 'camp', 'ad_1', 'k1', click_timestamp => '2025-06-10 10:00') \g /dev/null
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id, click_timestamp, tracked_at) VALUES ('lc_a', 'restored', 'ad_1', '2025-06-10 10:00', '2025-06-11');
SELECT * FROM pg_temp.notes();
-- What nobody has seen is not matched: first that it is seen is committed.
SELECT * FROM artery.match_late_clicks('lc_a');
SELECT * FROM artery.mark_late_clicks('', 10000) WHERE tenant_id LIKE 'lc\__';
SELECT * FROM artery.mark_late_clicks('', 10000) WHERE tenant_id LIKE 'lc\__';
SELECT * FROM pg_temp.notes();
-- by-click, and by-click-old by the 14 days of ids.
SELECT * FROM artery.match_late_clicks('lc_a');
SELECT * FROM artery.match_late_clicks('lc_a');
SELECT * FROM pg_temp.show();

-- COPY writes one note for all its late clicks of a tenant, also where tenants take turns.
COPY artery.click_tracking (tenant_id, click_id, ad_id, fbclid, fingerprint_hash, ip_address, user_agent, click_timestamp) FROM stdin;
lc_a	k2	ad_2	fb2	\N	\N	\N	2025-06-10 10:00
lc_b	k2	ad_2	fb2	\N	\N	\N	2025-06-10 10:00
lc_a	k3	ad_2	\N	cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd	\N	\N	2025-06-10 10:30
lc_b	k3	ad_2	fb2	\N	\N	\N	2025-06-10 10:00
lc_a	k4	ad_2	\N	\N	192.0.2.4	UA 4	2025-06-10 11:00
lc_a	k5	ad_1	\N	\N	198.51.100.5	UA 5	2025-06-10 10:00
\.
SELECT * FROM pg_temp.notes(), pg_temp.notes('lc_b') b;
SELECT count(*) FROM artery.mark_late_clicks('', 10000) WHERE tenant_id LIKE 'lc\__';
-- In steps of two: first the deal, which takes its heir along, then the others.
SELECT pipeline_value FROM artery.ad_roas('lc_a', 'ad_1');
SELECT * FROM artery.match_late_clicks('lc_a', 2);
SELECT * FROM artery.match_late_clicks('lc_a', 2);
SELECT * FROM artery.match_late_clicks('lc_a', 2);
SELECT * FROM pg_temp.show();
SELECT deal_id, attribution_method, click_id, ad_id FROM artery.deal WHERE tenant_id = 'lc_a';
-- The deal's 2250, and 10 each of by-click and by-click-old; heir is the deal's.
SELECT pipeline_value FROM artery.ad_roas('lc_a', 'ad_1');
-- Later stages inherit.
SELECT r -> 'attribution' ->> 'ad_id' AS ad FROM artery.record_stage('lc_a', 'd1', 'closed_won', '2025-06-12 12:00') r;
-- Of the other tenant, nothing waited.
SELECT * FROM artery.match_late_clicks('lc_b');

-- A note goes with its clicks: a savepoint that is rolled back leaves none, one that is kept leaves one more.
DELETE FROM artery.late_click WHERE tenant_id LIKE 'lc\__';
BEGIN;
SAVEPOINT s;
SELECT artery.track_click('lc_a', 'camp', 'ad_1', 's1', click_timestamp => '2025-06-10 10:00') \g /dev/null
SELECT * FROM pg_temp.notes();
ROLLBACK TO s;
SELECT * FROM pg_temp.notes();
SELECT artery.track_click('lc_a', 'camp', 'ad_1', 's2', click_timestamp => '2025-06-10 10:00') \g /dev/null
SELECT artery.track_click('lc_a', 'camp', 'ad_1', 's3', click_timestamp => '2025-06-10 10:00') \g /dev/null
SELECT * FROM pg_temp.notes();
SAVEPOINT t;
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id, click_timestamp) VALUES ('lc_a', 's4', 'ad_1', '2025-06-10 10:00');
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id, click_timestamp) VALUES ('lc_a', 's5', 'ad_1', '2025-06-10 10:00');
RELEASE t;
COMMIT;
SELECT * FROM pg_temp.notes();

-- A conversion that comes after the click was seen has looked for it itself: it is not tried again, whatever came of it.
SELECT count(*) FROM artery.mark_late_clicks('', 10000) WHERE tenant_id LIKE 'lc\__';
UPDATE artery.tenant SET settings = settings || '{"id_window_days": 0.01}' WHERE tenant_id = 'lc_a';
SELECT pg_temp.convert('after', click_id => 's2') AS attributed;
UPDATE artery.tenant SET settings = settings || '{"id_window_days": 14}' WHERE tenant_id = 'lc_a';
SELECT * FROM artery.match_late_clicks('lc_a');
-- Notes are kept for two seconds, for those who look for clicks at the same moment, and as long as one of them has not ended.
SELECT * FROM pg_temp.notes();
SET artery.clock_offset = 10;
CREATE FUNCTION pg_temp.wait_for_forgotten() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 600 LOOP
        PERFORM artery.match_late_clicks('lc_a');
        EXIT WHEN (SELECT notes FROM pg_temp.notes()) = 0;
        PERFORM pg_sleep(0.1);
    END LOOP;
    RETURN (SELECT notes FROM pg_temp.notes());
END
$$;
SELECT pg_temp.wait_for_forgotten() AS notes;
RESET artery.clock_offset;

-- reattribute does it all without the worker (other, and after, as its window is 14 days again),
-- and forgets notes of more than an hour ago if it was asked for all times.
SELECT artery.track_click('lc_a', 'camp', 'ad_1', 'k9', click_timestamp => '2025-06-10 10:00') \g /dev/null
SELECT artery.reattribute('lc_a', '2025-06-01', '2025-06-16') AS attributed;
SELECT * FROM pg_temp.notes();
SET artery.clock_offset = 3700;
SELECT artery.reattribute('lc_a') AS attributed;
RESET artery.clock_offset;
SELECT * FROM pg_temp.notes();

-- The calibrated model, by the device's address and agent: the trace tells of the click, and what was learnt is of the last attempt.
SELECT pg_temp.convert('c1', 'lc_c', ip => '192.0.2.1', agent => 'UA 1') AS attributed;
SELECT artery.track_click('lc_c', 'camp', 'ad_1', 'k1', ip_address => '192.0.2.1', user_agent => 'UA 1', click_timestamp => '2025-06-10 11:00') \g /dev/null
SELECT is_new FROM artery.mark_late_clicks('', 10000) WHERE tenant_id = 'lc_c';
SELECT artery.fold_attribution_state('lc_c') AS folded;
SELECT * FROM artery.match_late_clicks('lc_c');
SELECT * FROM pg_temp.show('lc_c');
SELECT rank, click_id, chosen FROM artery.explain_attribution('lc_c', 'c1') WHERE rank <= 1 ORDER BY rank;
DELETE FROM artery.late_click WHERE tenant_id LIKE 'lc\__';
