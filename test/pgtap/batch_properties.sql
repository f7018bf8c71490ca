-- Conversions that come in together get what each gets by itself: whatever traces they bring, from whatever weeks.
-- In a transaction that sees what it saw at its beginning, so nobody teaches the model meanwhile; as conversions learn
-- from those before them in the same transaction, those that come together have a tenant of the same clicks to themselves.
BEGIN ISOLATION LEVEL REPEATABLE READ;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SELECT artery.add_tenant(t, 'service_business') FROM unnest(ARRAY['batch_properties', 'batch_together']) t;

-- Clicks of 40 days of few people: weeks with a partition, days with one each, and times without.
SELECT artery.make_click_partitions('2021-03-01 00:00+00', '2021-03-15 00:00+00', 7);
SELECT artery.make_click_partitions('2021-03-22 00:00+00', '2021-04-02 00:00+00', 1);
SELECT setseed(0.37);
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id, campaign_id, fbclid, ip_address, user_agent, screen_width, screen_height, timezone, timezone_offset, fingerprint_hash, click_timestamp)
SELECT 'batch_properties', 'k' || i, 'ad' || i % 7, 'c' || i % 3, 'fb' || i % 900, '192.0.2.0'::inet + (random() * 60)::int, 'agent ' || i % 5,
       1000 + i % 3, 800, 'Europe/Rome', 60, CASE WHEN i % 10 > 0 THEN 'print' || (random() * 90)::int END, '2021-03-01 00:00+00'::timestamptz + random() * interval '40 days'
  FROM generate_series(1, 4000) i;
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id, campaign_id, fbclid, ip_address, user_agent, screen_width, screen_height, timezone, timezone_offset, fingerprint_hash, click_timestamp)
SELECT 'batch_together', click_id, ad_id, campaign_id, fbclid, ip_address, user_agent, screen_width, screen_height, timezone, timezone_offset, fingerprint_hash, click_timestamp
  FROM artery.click_tracking WHERE tenant_id = 'batch_properties' ORDER BY length(click_id), click_id;
SELECT artery.rebuild_attribution_state(t) FROM unnest(ARRAY['batch_properties', 'batch_together']) t;
SELECT cmp_ok(count(*), '>', 100::bigint, 'the model knows how common things are') FROM artery.attribution_value WHERE tenant_id = 'batch_properties';

CREATE TEMP TABLE visit AS
SELECT i, '2021-03-01 00:00+00'::timestamptz + random() * interval '50 days' AS at,
       CASE WHEN i % 9 = 0 THEN 'k' || (random() * 4400)::int END AS click_id, CASE WHEN i % 7 = 0 THEN 'fb' || (random() * 1000)::int END AS fbclid,
       CASE WHEN random() < 0.7 THEN 'print' || (random() * 100)::int END AS print, CASE WHEN random() < 0.8 THEN '192.0.2.0'::inet + (random() * 70)::int END AS ip,
       CASE WHEN random() < 0.8 THEN 'agent ' || i % 6 END AS agent, CASE WHEN random() < 0.5 THEN 1000 + i % 4 END AS width
  FROM generate_series(1, 500) i;

-- Some come twice in the one statement.
CREATE FUNCTION pg_temp.together(prefix text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, click_id, fbclid, fingerprint_hash, ip_address, user_agent, screen_width)
    SELECT 'batch_together', prefix || v.i, 'lead', v.at, v.click_id, v.fbclid, v.print, v.ip, v.agent, v.width
      FROM visit v, generate_series(1, 1 + (v.i % 40 = 0)::int) ORDER BY v.i % 250, v.i;
$$;
CREATE FUNCTION pg_temp.one_by_one(prefix text) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(r.reason)
      FROM (SELECT * FROM visit ORDER BY i % 250, i) v, LATERAL artery.attribute_conversion('batch_properties', prefix || v.i, 'lead', NULL, v.at, v.click_id, v.fbclid, v.print, v.ip, v.agent, v.width) r;
$$;
CREATE FUNCTION pg_temp.answers(prefix text) RETURNS TABLE (visit text, answer text) LANGUAGE sql AS $$
    SELECT substr(c.conversion_id, length(prefix) + 1),
           concat_ws('|', (to_jsonb(c) - 'tenant_id' - 'conversion_id' - 'attributed_at')::text, (to_jsonb(t) - 'tenant_id' - 'conversion_id' - 'traced_at')::text,
                     l.layer_1_result, l.layer_2_result, l.layer_3_result, l.attempt_number)
      FROM artery.conversion_tracking c
      LEFT JOIN artery.conversion_trace t USING (tenant_id, conversion_id)
      LEFT JOIN artery.attribution_performance_log l USING (tenant_id, conversion_id)
     WHERE c.tenant_id LIKE 'batch%' AND c.conversion_id LIKE prefix || '%';
$$;
SELECT pg_temp.together('calibrated many ');
SELECT is(pg_temp.one_by_one('calibrated one '), 500::bigint, 'all are answered one by one');
SELECT set_eq($$SELECT * FROM pg_temp.answers('calibrated many ')$$, $$SELECT * FROM pg_temp.answers('calibrated one ')$$,
    'calibrated: answers, reasons, traces and what was learnt are the same');
SELECT cmp_ok(count(*), '>', 100::bigint, 'with clicks found by weighing, too') FROM artery.conversion_trace
 WHERE tenant_id = 'batch_properties' AND NOT by_id AND best_click_id IS NOT NULL;

SELECT artery.configure_tenant(t, '{"attribution_model": "layered"}') FROM unnest(ARRAY['batch_properties', 'batch_together']) t;
SELECT pg_temp.together('layered many ');
SELECT is(pg_temp.one_by_one('layered one '), 500::bigint, 'and by the other model');
SELECT set_eq($$SELECT * FROM pg_temp.answers('layered many ')$$, $$SELECT * FROM pg_temp.answers('layered one ')$$,
    'layered: answers and reasons are the same');
SELECT cmp_ok(count(DISTINCT (l.layer_1_result, l.layer_2_result, l.layer_3_result)), '>', 12::bigint, 'of many ways to be found and not to be')
  FROM artery.attribution_performance_log l WHERE l.tenant_id = 'batch_properties' AND l.conversion_id LIKE 'layered%';
SELECT * FROM finish();
ROLLBACK;
