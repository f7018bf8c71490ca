-- Evidence that comes late, with the calibrated model: the deal is attributed once, its stages inherit, the ad's value follows.
\set VERBOSITY terse
SET timezone = 'UTC';
SELECT artery.add_tenant('late_a', 'service_business');
SELECT artery.register_ad('late_a', 'ad_1', 'camp'), artery.register_ad('late_a', 'ad_2', 'camp');
INSERT INTO artery.click_tracking (tenant_id, click_id, campaign_id, ad_id, ip_address, user_agent, os, browser, screen_width, timezone,
                                   click_timestamp)
VALUES ('late_a', 'k1', 'camp', 'ad_1', '192.0.2.1', 'UA 1', 'iOS', 'Safari', 1170, 'UTC', '2025-06-10 09:00');
CREATE FUNCTION pg_temp.state() RETURNS TABLE (deal text, method text, sure boolean, click text, ad text, stage text, value numeric,
                                               conversions bigint, attempts bigint, traces bigint)
LANGUAGE sql AS $$
    SELECT d.deal_id, d.attribution_method, d.attribution_confidence > 0.9, d.click_id, d.ad_id, d.stage, d.stage_value,
           (SELECT count(*) FROM artery.conversion_tracking c WHERE c.tenant_id = 'late_a' AND c.conversion_id = 'deal:' || d.deal_id),
           (SELECT count(*) FROM artery.attribution_performance_log l WHERE l.tenant_id = 'late_a' AND l.conversion_id = 'deal:' || d.deal_id),
           (SELECT count(*) FROM artery.conversion_trace t WHERE t.tenant_id = 'late_a' AND t.conversion_id = 'deal:' || d.deal_id)
      FROM artery.deal d WHERE d.tenant_id = 'late_a' ORDER BY 1
$$;
CREATE FUNCTION pg_temp.value(ad text) RETURNS numeric LANGUAGE sql AS $$ SELECT pipeline_value FROM artery.ad_roas('late_a', ad) $$;

-- The stage event first: nothing is known of the deal.
SELECT r ->> 'status' AS status, r -> 'attribution' ->> 'success' AS attributed
  FROM artery.record_stage('late_a', 'd1', 'appointment_scheduled', '2025-06-10 12:00') r;
SELECT * FROM pg_temp.state();
SELECT pg_temp.value('ad_1') AS ad_1;
-- The form's evidence comes after it: the deal is the ad's, at the value of its stage (2250).
SELECT artery.identify('late_a', crm_deal_id => 'd1', ip_address => '192.0.2.1', user_agent => 'UA 1', os => 'iOS', browser => 'Safari',
                       screen_width => 1170, timezone => 'UTC', seen_at => '2025-06-10 11:00') > 0 AS id;
SELECT * FROM pg_temp.state();
SELECT pg_temp.value('ad_1') AS ad_1;
-- The same again, and everything that tries again: nothing changes.
SELECT artery.identify('late_a', crm_deal_id => 'd1', ip_address => '192.0.2.1', user_agent => 'UA 1', os => 'iOS', browser => 'Safari',
                       screen_width => 1170, timezone => 'UTC', seen_at => '2025-06-10 11:00') > 0 AS id;
SELECT artery.attribute_deal('late_a', 'd1') AS attributed, artery.reattribute('late_a', '2025-06-01', '2025-07-01') AS again;
-- A better click that comes late does not take an attributed deal away.
SELECT artery.track_click('late_a', 'camp', 'ad_2', 'k2', ip_address => '192.0.2.1', user_agent => 'UA 1', os => 'iOS', browser => 'Safari',
                          screen_width => 1170, timezone => 'UTC', click_timestamp => '2025-06-10 10:59') \g /dev/null
SELECT artery.reattribute('late_a', '2025-06-01', '2025-07-01') AS attributed;
SELECT * FROM pg_temp.state();
-- Later stages inherit: the ad's value is that of the new stage (15000), and one deal is one conversion.
SELECT r -> 'attribution' ->> 'ad_id' AS ad, r ->> 'stage_to' AS stage
  FROM artery.record_stage('late_a', 'd1', 'closed_won', '2025-06-12 12:00') r;
SELECT * FROM pg_temp.state();
SELECT pg_temp.value('ad_1') AS ad_1, pg_temp.value('ad_2') AS ad_2;

-- A click that is delivered after the deal and its evidence: reattribute finds it, once; the answer of before is replaced.
SELECT artery.identify('late_a', crm_deal_id => 'd2', ip_address => '198.51.100.7', user_agent => 'UA 7', os => 'Android', browser => 'Chrome',
                       screen_width => 412, timezone => 'UTC', seen_at => '2025-06-11 11:00') > 0 AS id;
SELECT r ->> 'status' AS status FROM artery.record_stage('late_a', 'd2', 'appointment_scheduled', '2025-06-11 12:00') r;
SELECT * FROM pg_temp.state() WHERE deal = 'd2';
SELECT explanation FROM artery.explain_attribution('late_a', 'deal:d2') WHERE rank = 0;
SELECT artery.track_click('late_a', 'camp', 'ad_2', 'k7', ip_address => '198.51.100.7', user_agent => 'UA 7', os => 'Android', browser => 'Chrome',
                          screen_width => 412, timezone => 'UTC', click_timestamp => '2025-06-11 10:00') \g /dev/null
SELECT artery.reattribute('late_a', '2025-06-01', '2025-07-01') AS attributed, artery.reattribute('late_a', '2025-06-01', '2025-07-01') AS again;
SELECT * FROM pg_temp.state() WHERE deal = 'd2';
SELECT pg_temp.value('ad_2') AS ad_2;

-- What a trace tells: the answer first, then candidates with the weight of each kind of evidence, the runner-up, no click.
SELECT artery.attribute_conversion('late_a', 'v1', 'lead', conversion_timestamp => '2025-06-10 11:30', ip_address => '192.0.2.1',
                                   user_agent => 'UA 1', os => 'iOS', browser => 'Safari', screen_width => 1170, timezone => 'UTC') \g /dev/null
SELECT rank, click_id, ad_id, chosen, device, network, explanation ~ 'times likelier for the same person' AS weighed,
       explanation ~ '% of its probability came from older clicks that seem to be the same person''s' AS last_touch
  FROM artery.explain_attribution('late_a', 'v1') WHERE rank BETWEEN 1 AND 2 ORDER BY rank;
SELECT rank, explanation FROM artery.explain_attribution('late_a', 'v1') WHERE rank > 2 ORDER BY rank;
SELECT explanation ~ 'next candidate 0.*no click 0' AS runner_up_and_no_click FROM artery.explain_attribution('late_a', 'v1') WHERE rank = 0;

-- Recovery: two deals (both forms at 11:00) and the conversion have no id; expected to be right are as many as their confidences add up to.
SELECT day, conversions, conversions_without_id, recovered, recovery_rate,
       expected_right = (SELECT round(sum(c.attribution_confidence)::numeric, 1) FROM artery.conversion_tracking c
                          WHERE c.tenant_id = 'late_a' AND c.success AND c.conversion_timestamp::date = day) AS expected_as_stated
  FROM artery.v_attribution_recovery_rate WHERE tenant_id = 'late_a' ORDER BY day;
-- Fractions of a day's conversions, kept with four digits: none counts more than once, whoever gets it.
SELECT v.day, sum(v.credit) <= k.conversions + 0.001 AS at_most_once, sum(v.credit) > 0.9 * k.conversions AS nearly_all
  FROM artery.v_ad_credit v
  JOIN (SELECT conversion_timestamp::date AS day, count(*) AS conversions FROM artery.conversion_tracking WHERE tenant_id = 'late_a' GROUP BY 1) k
    ON k.day = v.day
 WHERE v.tenant_id = 'late_a' GROUP BY v.day, k.conversions ORDER BY 1;

-- A conversion cannot pass for a deal's attribution by its id, by no door: its value would be lost, and the deal's own click.
SELECT artery.attribute_conversion('late_a', 'deal:d9', 'purchase', 500, click_id => 'k7');
INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_value, click_id) VALUES ('late_a', 'deal:d9', 'purchase', 500, 'k7');
SELECT artery.track_click('late_a', 'camp', 'ad_9', 'k9', click_timestamp => '2025-06-12 10:00') \g /dev/null
SELECT artery.identify('late_a', crm_deal_id => 'd9', click_id => 'k9', seen_at => '2025-06-12 11:00') > 0 AS stored;
SELECT artery.record_stage('late_a', 'd9', 'lead', '2025-06-12 11:00') -> 'attribution' ->> 'ad_id' AS ad;
