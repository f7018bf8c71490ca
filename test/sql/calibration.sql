-- The calibrated model: what it answers and why, learning, learning again.
\set VERBOSITY terse
SET timezone = 'UTC';
SELECT artery.add_tenant('cal_a'), artery.add_tenant('cal_b', 'service_business'), artery.add_tenant('cal_c');
CREATE FUNCTION pg_temp.show(conversion text, tenant text DEFAULT 'cal_a')
RETURNS TABLE (method text, click text, ad text, sure boolean, best text, layers text)
LANGUAGE sql AS $$
    SELECT c.attribution_method, c.attributed_click_id, c.ad_id, c.attribution_confidence > 0.9, c.best_click_id,
           concat_ws(' ', l.layer_1_result, l.layer_2_result, l.layer_3_result)
      FROM artery.conversion_tracking c
      LEFT JOIN LATERAL (SELECT * FROM artery.attribution_performance_log l WHERE l.tenant_id = c.tenant_id
                            AND l.conversion_id = c.conversion_id ORDER BY attempt_number DESC LIMIT 1) l ON true
     WHERE c.tenant_id = tenant AND c.conversion_id = conversion
$$;

-- A form's fingerprint is enough where a tenant has one click of it: the example of the documentation.
SELECT artery.track_click('cal_b', 'campaign_456', 'ad_123', 'c1', ip_address => '203.0.113.45',
    user_agent => 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)', screen_width => 1170, screen_height => 2532,
    timezone => 'America/New_York', timezone_offset => -300);
SELECT artery.identify('cal_b', crm_deal_id => '12345', fingerprint_hash => fingerprint_hash) > 0 AS id
  FROM artery.click_tracking WHERE tenant_id = 'cal_b';
SELECT r ->> 'status' AS status, r -> 'attribution' ->> 'method' AS method, r -> 'attribution' ->> 'ad_id' AS ad,
       (r -> 'attribution' ->> 'confidence')::float8 > 0.9 AS sure
  FROM artery.record_stage('cal_b', '12345', 'lead') r;
SELECT * FROM pg_temp.show('deal:12345', 'cal_b');

-- What a click is known by: system and browser from the fields, else from the agent, and no agent is an error.
INSERT INTO artery.click_tracking (tenant_id, click_id, user_agent, os, browser, screen_width, click_timestamp) VALUES
    ('cal_c', 'field', 'nonsense', 'iOS', 'Safari', 1, '2025-06-01'),
    ('cal_c', 'agent', 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Mobile Safari/604.1', NULL, NULL, 1, '2025-06-01'),
    ('cal_c', 'app', 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) [FBAN/FBIOS;FBAV/450]', NULL, NULL, 1, '2025-06-01'),
    ('cal_c', 'android', 'Mozilla/5.0 (Linux; Android 10; K) Chrome/126.0 Mobile Safari/537.36', NULL, NULL, 1, '2025-06-01'),
    ('cal_c', 'strange', E'\t%%"{}\\', NULL, NULL, NULL, '2025-06-01'),
    ('cal_c', 'nothing', NULL, NULL, NULL, NULL, '2025-06-01');
SELECT click_id, sighting >> 5 AS os, (sighting >> 1) & 15 AS browser, sighting & 1 AS in_app, artery.click_class(sighting) AS class,
       hardware_key = first_value(hardware_key) OVER (ORDER BY click_id <> 'agent') AS same_hardware,
       agent_key IS NOT NULL AS agent
  FROM artery.click_tracking WHERE tenant_id = 'cal_c' ORDER BY click_id;

-- Three people with one model of phone, two of them behind one address.
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id, ip_address, user_agent, os, browser, screen_width, screen_height,
                                   timezone, click_timestamp) VALUES
    ('cal_a', 'p1', 'ad_1', '198.51.100.1', 'UA 1', 'iOS', 'Safari', 1170, 2532, 'UTC', '2025-06-10 10:00'),
    ('cal_a', 'p2', 'ad_2', '198.51.100.2', 'UA 2', 'iOS', 'Safari', 1170, 2532, 'UTC', '2025-06-10 10:10'),
    ('cal_a', 'p3', 'ad_3', '203.0.113.3', 'UA 2', 'iOS', 'Safari', 1170, 2532, 'UTC', '2025-06-10 10:20');
CREATE FUNCTION pg_temp.convert(conversion text, ip inet, agent text, width int DEFAULT 1170, at timestamptz DEFAULT '2025-06-10 11:00',
                                id text DEFAULT NULL) RETURNS boolean
LANGUAGE sql AS $$
    SELECT success FROM artery.attribute_conversion('cal_a', conversion, 'lead', conversion_timestamp => at, click_id => id,
        ip_address => ip, user_agent => agent, screen_width => width, screen_height => 2532, timezone => 'UTC', os => 'iOS',
        browser => 'Safari')
$$;
-- The address tells the three apart, though the fingerprint cannot and another click is newer.
SELECT pg_temp.convert('same-ip', '198.51.100.1', 'UA 1');
SELECT * FROM pg_temp.show('same-ip');
-- On a network of its own the fingerprint alone names none of the three for sure.
SELECT pg_temp.convert('other-ip', '192.0.2.200', 'UA 9');
SELECT method, layers FROM pg_temp.show('other-ip');
-- A device and a network never seen: no candidate; one known only from outside the window.
SELECT pg_temp.convert('stranger', '192.0.2.77', 'UA', 400);
SELECT * FROM pg_temp.show('stranger');
SELECT pg_temp.convert('late', '198.51.100.1', 'UA 1', 1170, '2025-06-17 12:00');
SELECT * FROM pg_temp.show('late');
-- Nothing to go by.
SELECT success, reason FROM artery.attribute_conversion('cal_a', 'bare', 'lead', conversion_timestamp => '2025-06-10 11:00');
-- Probabilities of candidates, of no click and of clicks not seen make 1; the ads' fractions are those of their clicks.
SELECT c.conversion_id, abs(sum(e.probability) FILTER (WHERE e.rank > 0) - 1) < 0.001 AS complete, count(*) AS rows,
       c.no_click_probability BETWEEN 0 AND 1 AS none
  FROM artery.conversion_tracking c CROSS JOIN LATERAL artery.explain_attribution('cal_a', c.conversion_id) e
 WHERE c.tenant_id = 'cal_a' AND c.conversion_id = ANY ('{same-ip,other-ip,stranger}')
 GROUP BY c.conversion_id, c.no_click_probability ORDER BY 1;
SELECT rank, click_id, chosen, device, network, probability > 0.9 AS likely, device_weight > 1 AS device_speaks_for,
       network_weight > 1000 AS network_proves, explanation ~ '^same fingerprint and user agent: .* times likelier for the same person' AS words
  FROM artery.explain_attribution('cal_a', 'same-ip') WHERE rank BETWEEN 1 AND 2 ORDER BY rank;
SELECT artery.explain_attribution('cal_a', 'no such');

-- A surviving id answers alone, and says whether the model would have found it.
SELECT pg_temp.convert('by-id', '198.51.100.2', 'UA 2', id => 'p2');
SELECT * FROM pg_temp.show('by-id');
SELECT by_id, was_right, best_click_id, credit FROM artery.conversion_trace WHERE tenant_id = 'cal_a' AND conversion_id = 'by-id';
SELECT conversions, stated > 0.9 AS stated, observed FROM artery.v_attribution_calibration WHERE tenant_id = 'cal_a';
SELECT ad_id, day, round(sum(credit)::numeric, 1) AS credit, round(sum(credit_without_id)::numeric, 1) AS without_id
  FROM artery.v_ad_credit WHERE tenant_id = 'cal_a' AND day = '2025-06-10' AND ad_id = 'ad_2' GROUP BY 1, 2;

-- A threshold of 0 takes the best candidate, one of 1 none.
SELECT artery.configure_tenant('cal_a', '{"attribution_threshold": 1}') \g /dev/null
SELECT pg_temp.convert('too-strict', '198.51.100.1', 'UA 1');
SELECT method, best, layers FROM pg_temp.show('too-strict');
-- The evidence is the same later on, the tenant's mind is not: what the attempt before taught is replaced.
SELECT artery.configure_tenant('cal_a', '{"attribution_threshold": null}') \g /dev/null
SELECT artery.reattribute('cal_a') >= 1 AS attributed, artery.reattribute('cal_a') AS again;
SELECT method, click FROM pg_temp.show('too-strict');
SELECT count(*) FROM artery.conversion_trace WHERE tenant_id = 'cal_a' AND conversion_id = 'too-strict';
-- A click that comes late finds its conversion.
SELECT artery.track_click('cal_a', 'camp', 'ad_late', 'late-click', ip_address => '192.0.2.77', screen_width => 400, screen_height => 2532,
    timezone => 'UTC', os => 'iOS', browser => 'Safari', user_agent => 'UA', click_timestamp => '2025-06-10 10:50') \g /dev/null
SELECT artery.reattribute('cal_a') AS attributed, artery.reattribute('cal_a') AS again;
SELECT method, click, ad FROM pg_temp.show('stranger');

-- Learnt again from the tables, everything is as it was.
CREATE FUNCTION pg_temp.fold_all(tenant text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    -- a transaction under way elsewhere may hold it up for a moment
    FOR i IN 1 .. 300 LOOP
        PERFORM artery.fold_attribution_state(tenant);
        EXIT WHEN (SELECT s.counted_until FROM artery.attribution_state s WHERE s.tenant_id = tenant)
                  >= (SELECT max(c.tracked_at) FROM artery.click_tracking c WHERE c.tenant_id = tenant);
        PERFORM pg_sleep(0.1);
    END LOOP;
    RETURN NOT EXISTS (SELECT FROM artery.conversion_trace x JOIN artery.attribution_state s ON s.tenant_id = x.tenant_id
                        WHERE x.tenant_id = tenant AND x.traced_at > s.counted_until)
       AND NOT EXISTS (SELECT FROM artery.attribution_correction d WHERE d.tenant_id = tenant);
END
$$;
INSERT INTO artery.click_tracking (tenant_id, ad_id, ip_address, user_agent, os, browser, screen_width, timezone, click_id, click_timestamp)
SELECT 'cal_c', 'ad_' || n % 5, ('198.18.' || n % 40 || '.' || n % 7)::inet, 'UA ' || n % 11, 'Android', 'Chrome', n % 13, 'UTC', 'n' || n,
       '2025-06-01'::timestamptz + n * interval '20 minutes'
  FROM generate_series(1, 600) n;
INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, click_id, ip_address, user_agent,
                                        os, browser, screen_width, timezone)
SELECT 'cal_c', 'n' || n, 'lead', '2025-06-01'::timestamptz + (n + 2) * interval '20 minutes', CASE WHEN n % 2 = 0 THEN 'n' || n END,
       ('198.18.' || n % 40 || '.' || n % 7)::inet, 'UA ' || n % 11, 'Android', 'Chrome', n % 13, 'UTC'
  FROM generate_series(5, 600, 5) n;
SELECT pg_temp.fold_all('cal_c');
CREATE TEMP TABLE before AS
SELECT 's' AS kind, o.place, o.amount FROM artery.attribution_state s, unnest(s.learnt) WITH ORDINALITY o (amount, place) WHERE s.tenant_id = 'cal_c'
UNION ALL SELECT 'v', v.value_key, v.occurrences FROM artery.attribution_value v WHERE v.tenant_id = 'cal_c';
SELECT artery.rebuild_attribution_state('cal_c') AS rebuilt;
SELECT count(*) > 100 AS many, count(*) FILTER (WHERE abs(a.amount - b.amount) < 1e-9 * greatest(1, abs(b.amount))) = count(*) AS equal
  FROM before b FULL JOIN (
       SELECT 's' AS kind, o.place, o.amount FROM artery.attribution_state s, unnest(s.learnt) WITH ORDINALITY o (amount, place) WHERE s.tenant_id = 'cal_c'
       UNION ALL SELECT 'v', v.value_key, v.occurrences FROM artery.attribution_value v WHERE v.tenant_id = 'cal_c') a USING (kind, place);
-- 60 conversions had an id.
SELECT count(*), count(*) FILTER (WHERE was_right) > 50 AS right FROM artery.conversion_trace WHERE tenant_id = 'cal_c' AND by_id;
SELECT artery.fold_attribution_state('cal_c') AS nothing_new;
SELECT artery.fold_attribution_state('no such tenant');

-- History by one statement learns as it goes: of conversions that are alike in all, later ones are stated otherwise.
SELECT artery.add_tenant('cal_d');
INSERT INTO artery.click_tracking (tenant_id, ad_id, ip_address, os, browser, screen_width, timezone, click_id, click_timestamp)
SELECT 'cal_d', 'ad', ('198.18.' || n || '.1')::inet, 'Android', 'Chrome', n, 'UTC', 'd' || n, '2025-06-01 10:00' FROM generate_series(1, 30) n;
INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, ip_address, os, browser, screen_width, timezone)
SELECT 'cal_d', 'd' || n, 'lead', '2025-06-01 11:00', ('198.18.' || n || '.1')::inet, 'Android', 'Chrome', n, 'UTC' FROM generate_series(1, 30) n;
SELECT count(*), count(DISTINCT no_click) > 20 AS learnt FROM artery.conversion_trace WHERE tenant_id = 'cal_d';

-- IPv6: one /64 is one address, for its other half changes by the day; another /64 is not.
SELECT artery.add_tenant('cal_e');
INSERT INTO artery.click_tracking (tenant_id, ad_id, ip_address, os, browser, screen_width, timezone, click_id, click_timestamp) VALUES
    ('cal_e', 'ad', '2001:db8:1:2::a', 'iOS', 'Safari', 1170, 'UTC', 'home', '2025-06-10 10:00'),
    ('cal_e', 'ad', '2001:db8:9:9::b', 'iOS', 'Safari', 1170, 'UTC', 'elsewhere', '2025-06-10 10:10');
SELECT attributed_click_id FROM artery.attribute_conversion('cal_e', 'e1', 'lead', conversion_timestamp => '2025-06-10 11:00',
    ip_address => '2001:db8:1:2:3:4:5:6', os => 'iOS', browser => 'Safari', screen_width => 1170, timezone => 'UTC');
SELECT click_id, network FROM artery.explain_attribution('cal_e', 'e1') WHERE rank IN (1, 2) ORDER BY rank;

-- What a transaction taught is known to the rest of it, but not what was rolled back to a savepoint or by an exception: of four
-- tenants with the same clicks, the last two say of the same conversion what the first says.
SELECT count(artery.add_tenant('cal_s' || n)) FROM generate_series(1, 4) n;
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id, ip_address, user_agent, screen_width, screen_height, timezone, click_timestamp)
SELECT 'cal_s' || n, 'k' || i, 'ad', ('198.18.' || i || '.1')::inet, 'UA ' || i % 3, 1170, 2532, 'UTC', '2025-06-10 08:00'
  FROM generate_series(1, 4) n, generate_series(1, 30) i;
CREATE FUNCTION pg_temp.teach(tenant text, first int, last int, fail boolean DEFAULT false) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM artery.attribute_conversion(tenant, 'taught' || i, 'lead', conversion_timestamp => '2025-06-10 09:00', click_id => 'k' || i,
        ip_address => '203.0.113.9', user_agent => 'UA 7', screen_width => 1170, screen_height => 2532, timezone => 'UTC')
       FROM generate_series(first, last) i;
    IF fail THEN
        RAISE EXCEPTION 'not so';
    END IF;
END
$$;
CREATE FUNCTION pg_temp.probe(tenant text) RETURNS numeric LANGUAGE sql AS $$
    SELECT artery.attribute_conversion(tenant, 'probe', 'lead', conversion_timestamp => '2025-06-10 09:30', ip_address => '198.18.30.1',
        user_agent => 'UA 2', screen_width => 1170, screen_height => 2532, timezone => 'UTC');
    SELECT round(t.no_click::numeric, 9) FROM artery.conversion_trace t WHERE t.tenant_id = tenant AND t.conversion_id = 'probe'
$$;
BEGIN;
SELECT pg_temp.teach('cal_s1', 1, 2);
SELECT pg_temp.probe('cal_s1') AS taught_two \gset
COMMIT;
BEGIN;
SELECT pg_temp.teach('cal_s2', 1, 2), pg_temp.teach('cal_s2', 3, 20);
SELECT pg_temp.probe('cal_s2') <> :taught_two AS taught_more;
COMMIT;
BEGIN;
SELECT pg_temp.teach('cal_s3', 1, 1);
SAVEPOINT one;
SELECT pg_temp.teach('cal_s3', 2, 2);
SAVEPOINT two;
SELECT pg_temp.teach('cal_s3', 3, 10);
SAVEPOINT three;
SELECT pg_temp.teach('cal_s3', 11, 20);
RELEASE three;
ROLLBACK TO two;
RELEASE one;
SELECT pg_temp.probe('cal_s3') = :taught_two AS as_if_it_had_not_been;
COMMIT;
BEGIN;
SELECT pg_temp.teach('cal_s4', 1, 2);
DO $$ BEGIN PERFORM pg_temp.teach('cal_s4', 3, 20, true); EXCEPTION WHEN raise_exception THEN NULL; END $$;
SELECT pg_temp.probe('cal_s4') = :taught_two AS as_if_it_had_not_been;
COMMIT;

-- A kind of hardware tells who it was where few have it; of a common one no click is looked at for that alone, whether or not the
-- session knew before that it is.
SELECT artery.add_tenant('cal_h');
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id, ip_address, os, browser, screen_width, screen_height, timezone, click_timestamp)
SELECT 'cal_h', 'h' || i, 'ad', ('198.18.' || i || '.1')::inet, 'iOS', 'Chrome', CASE WHEN i <= 90 THEN 1170 ELSE 400 END, 2532, 'UTC', '2025-06-10 08:00'
  FROM generate_series(1, 92) i;
CREATE FUNCTION pg_temp.by_hardware(id text, width int) RETURNS int LANGUAGE sql AS $$
    SELECT candidates FROM artery.attribute_conversion('cal_h', id, 'lead', conversion_timestamp => '2025-06-10 09:00', ip_address => '203.0.113.9',
        os => 'iOS', browser => 'Safari', screen_width => width, screen_height => 2532, timezone => 'UTC')
$$;
SELECT artery.fold_attribution_state('cal_h') AS clicks;
SELECT pg_temp.by_hardware('common', 1170) AS common, pg_temp.by_hardware('again', 1170) AS again, pg_temp.by_hardware('rare', 400) AS rare;
-- A common fingerprint neither, but where the address is that of its click.
SELECT artery.add_tenant('cal_f');
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id, ip_address, fingerprint_hash, click_timestamp)
SELECT 'cal_f', 'f' || i, 'ad', '10.1.0.0'::inet + i * 256, 'print', '2025-06-10 08:00' FROM generate_series(1, 1600) i;
SELECT artery.fold_attribution_state('cal_f') AS clicks;
SELECT candidates, success, reason FROM artery.attribute_conversion('cal_f', 'f1', 'lead', conversion_timestamp => '2025-06-10 09:00', fingerprint_hash => 'print');
SELECT candidates, success, attributed_click_id FROM artery.attribute_conversion('cal_f', 'f2', 'lead', conversion_timestamp => '2025-06-10 09:00', fingerprint_hash => 'print',
    ip_address => '10.1.7.0');
SELECT layer_2_result, layer_3_result FROM artery.attribution_performance_log WHERE tenant_id = 'cal_f' ORDER BY conversion_id;
