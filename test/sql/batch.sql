-- Conversions that come in many at once: log and traces are written together, and are the same as one by one.
\set VERBOSITY terse
SELECT artery.add_tenant('batch_a');
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id, ip_address, user_agent, fingerprint_hash, click_timestamp)
SELECT 'batch_a', 'k' || i, 'ad' || i % 7, '192.0.2.0'::inet + i, 'agent', 'print' || i, '2025-06-10 10:00+00'::timestamptz + i * interval '1 second'
  FROM generate_series(1, 250) i;
CREATE TEMP VIEW stored AS
SELECT count(*) AS conversions, count(*) FILTER (WHERE c.success) AS found,
       (SELECT count(*) FROM artery.attribution_performance_log l WHERE l.tenant_id = 'batch_a') AS logged,
       (SELECT max(l.attempt_number) FROM artery.attribution_performance_log l WHERE l.tenant_id = 'batch_a') AS attempts,
       (SELECT count(*) FROM artery.conversion_trace t WHERE t.tenant_id = 'batch_a') AS traced
  FROM artery.conversion_tracking c WHERE c.tenant_id = 'batch_a';
-- Nobody folds meanwhile.
SELECT artery.fold_attribution_state('batch_a') >= 250 AS folded;
INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, ip_address, user_agent, fingerprint_hash)
SELECT 'batch_a', 'v' || i, 'lead', '2025-06-10 12:00+00', '192.0.2.0'::inet + i, 'agent', 'print' || i FROM generate_series(1, 120) i;
SELECT * FROM stored;
-- Each log row is of its conversion.
SELECT count(*) FROM artery.conversion_tracking c JOIN artery.attribution_performance_log l USING (tenant_id, conversion_id, success, candidates)
 WHERE c.tenant_id = 'batch_a' AND l.final_method = c.attribution_method AND l.final_confidence = c.attribution_confidence;
SELECT count(*) FROM artery.conversion_tracking c JOIN artery.conversion_trace t USING (tenant_id, conversion_id, best_click_id)
 WHERE c.tenant_id = 'batch_a' AND t.by_id = false AND t.no_click = c.no_click_probability;

-- A statement that fails leaves nothing behind, neither in the tables nor for the next one.
DO $$
BEGIN
    INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, ip_address)
    SELECT 'batch_a', 'w' || i, CASE WHEN i < 130 THEN 'lead' END, '2025-06-10 12:00+00', '192.0.2.1' FROM generate_series(1, 130) i;
EXCEPTION WHEN null_value_not_allowed THEN
    RAISE NOTICE '%', SQLERRM;
END $$;
SELECT * FROM stored;
-- By COPY, and a statement within a statement that comes back from an error.
COPY artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, fingerprint_hash) FROM stdin;
batch_a	c1	lead	2025-06-10 12:00+00	print1
batch_a	v1	lead	2025-06-10 12:00+00	print1
batch_a	c2	lead	2025-06-10 12:00+00	print2
\.
CREATE FUNCTION pg_temp.inner_insert(i int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, fingerprint_hash)
    VALUES ('batch_a', 'inner' || i, 'lead', '2025-06-10 12:00+00', 'print' || i), ('batch_a', 'other' || i, CASE WHEN i % 2 = 0 THEN 'lead' END, '2025-06-10 12:00+00', 'print1');
    RETURN 'lead';
EXCEPTION WHEN null_value_not_allowed THEN
    RETURN 'lost';
END $$;
INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, fingerprint_hash)
SELECT 'batch_a', 'outer' || i, pg_temp.inner_insert(i), '2025-06-10 12:00+00', 'print' || i FROM generate_series(1, 4) i;
SELECT string_agg(conversion_id || ' ' || conversion_type, ', ' ORDER BY conversion_id) FROM artery.conversion_tracking
 WHERE tenant_id = 'batch_a' AND conversion_id ~ '^(c|inner|other|outer)';
SELECT * FROM stored;
-- One that was removed is gone with its log, what it taught is taken back, and it may come again.
SELECT artery.fold_attribution_state('batch_a') > 0 AS folded;
DELETE FROM artery.conversion_tracking WHERE tenant_id = 'batch_a' AND conversion_id = 'v1';
INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, ip_address, user_agent, fingerprint_hash)
VALUES ('batch_a', 'v1', 'lead', '2025-06-10 12:00+00', '192.0.2.1', 'agent', 'print1'), ('batch_a', 'v250', 'lead', '2025-06-10 12:00+00', '192.0.2.1', 'agent', 'print1');
SELECT * FROM stored;
SELECT attempt_number, count(*) FROM artery.attribution_performance_log WHERE tenant_id = 'batch_a' AND conversion_id IN ('v1', 'v250') GROUP BY 1 ORDER BY 1;
SELECT count(*) FILTER (WHERE t.traced_at > s.counted_until) AS to_learn, (SELECT count(*) FROM artery.attribution_correction d WHERE d.tenant_id = 'batch_a') AS to_take_back
  FROM artery.conversion_trace t JOIN artery.attribution_state s ON s.tenant_id = t.tenant_id WHERE t.tenant_id = 'batch_a';
