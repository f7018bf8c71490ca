-- ads: registering, daily facts, feedback, budgets observed
SET datestyle = 'ISO';
SET timezone = 'UTC';
\set SHOW_CONTEXT never
SELECT artery.add_tenant('ad', 'service_business', time_zone => 'America/New_York');

-- registering again changes what is given; the earliest first_seen stays
SELECT artery.register_ad('ad', 'a1', 'c1', 's1', first_seen => '2024-03-01 12:00+00');
SELECT artery.register_ad('ad', 'a1', 'c2', dna_score => 0.5);
SELECT ad_id, campaign_id, adset_id, budget_owner_id, dna_score, first_seen AT TIME ZONE 'UTC' AS first_seen
  FROM artery.ad_state WHERE tenant_id = 'ad';

-- a day again replaces, the totals follow: 1000 -> 1500, and 40.50 of another day
SELECT artery.record_ad_day('ad', 'a1', '2024-03-01', 1000, 10, 20);
SELECT artery.record_ad_day('ad', 'a1', '2024-03-01', 1500, 12, 30.25);
SELECT artery.record_ad_day('ad', 'a1', '2024-03-02', 500, 3, 10.25);
SELECT impressions, clicks, spend FROM artery.ad_state WHERE tenant_id = 'ad' AND ad_id = 'a1';
-- less than before is a correction
SELECT artery.record_ad_day('ad', 'a1', '2024-03-02', 400, 2, 9.75);
SELECT impressions, clicks, spend FROM artery.ad_state WHERE tenant_id = 'ad' AND ad_id = 'a1';

-- many at once: one row per element, the later of two for the same day holds
SELECT r FROM jsonb_array_elements(artery.record_ad_days('ad', '[
    {"ad_id": "a2", "day": "2024-03-01", "impressions": 100, "clicks": 1, "spend": 1},
    {"ad_id": "a2", "day": "2024-03-01", "impressions": 200, "clicks": 2, "spend": 2},
    {"ad_id": "a2", "day": "2024-02-30", "impressions": 100, "clicks": 1, "spend": 1},
    {"ad_id": "a2", "day": "2024-03-02", "impressions": -1, "clicks": 1, "spend": 1},
    {"ad_id": "a2", "day": "2024-03-03", "impressions": 1, "spend": 1},
    {"ad_id": "a1", "day": "2024-03-03", "impressions": 100, "clicks": 1, "spend": "5.00"},
    {"ad_id": "a2", "day": "2009-12-31", "impressions": 100, "clicks": 1, "spend": 1},
    {"ad_id": "a2", "day": "2024-03-04", "impressions": 100, "clicks": 1, "spend": "NaN"},
    7]')) r;
-- nobody registered a2: its facts made it known, from the start of its first day in New York
SELECT ad_id, impressions, clicks, spend, first_seen AT TIME ZONE 'UTC' AS first_seen
  FROM artery.ad_state WHERE tenant_id = 'ad' ORDER BY ad_id;
SELECT artery.record_ad_days('ad', '[]');
SELECT artery.record_ad_days('ad', '{}');

-- feedback: totals to date; the increment is the day's unless the day was reported
SELECT artery.register_ad('ad', 'f1', 'c1', first_seen => '2024-03-01 12:00+00');
CREATE FUNCTION f1() RETURNS TABLE (day date, impressions bigint, spend numeric, pipeline_value numeric, source text)
LANGUAGE sql AS $$
    SELECT d.day, d.impressions, d.spend, d.pipeline_value, d.source FROM artery.ad_day d WHERE d.tenant_id = 'ad' AND d.ad_id = 'f1'
    UNION ALL
    SELECT NULL, s.impressions, s.spend, s.pipeline_value, 'total' FROM artery.ad_state s WHERE s.tenant_id = 'ad' AND s.ad_id = 'f1'
    ORDER BY 1 $$;
SELECT actual_roas FROM artery.record_feedback('ad', 'f1', 200, 100, 1000, 10, as_of => '2024-03-02 17:00+00');
SELECT actual_roas FROM artery.record_feedback('ad', 'f1', 500, 150, 1600, 16, as_of => '2024-03-03 17:00+00');
SELECT * FROM f1();
-- the same again changes nothing; later the same day moves the day
SELECT actual_roas FROM artery.record_feedback('ad', 'f1', 500, 150, 1600, 16, as_of => '2024-03-03 17:00+00');
SELECT actual_roas FROM artery.record_feedback('ad', 'f1', 400, 160, 1700, 16, as_of => '2024-03-03 22:00+00');
SELECT * FROM f1();
-- 03:30 UTC on the 5th is still the 4th in New York
SELECT actual_roas FROM artery.record_feedback('ad', 'f1', 400, 200, as_of => '2024-03-05 03:30+00');
-- out of order: the 1st takes 60 of the 100 that stood on the 2nd
SELECT actual_roas FROM artery.record_feedback('ad', 'f1', 0, 60, 700, 7, as_of => '2024-03-01 17:00+00');
SELECT * FROM f1();
-- reported wins its day: the 2nd is 55 now, the increments of the others stay
SELECT artery.record_ad_day('ad', 'f1', '2024-03-02', 350, 5, 55);
SELECT * FROM f1();
-- a day reported between two feedbacks is not counted again: 260 - 200 - 25
SELECT artery.record_ad_day('ad', 'f1', '2024-03-06', 100, 1, 25);
SELECT actual_roas FROM artery.record_feedback('ad', 'f1', 300, 260, 2000, 20, as_of => '2024-03-07 17:00+00');
SELECT * FROM f1();
-- a smaller total corrects the days before; value may fall, too
SELECT actual_roas FROM artery.record_feedback('ad', 'f1', 100, 190, as_of => '2024-03-08 17:00+00');
SELECT * FROM f1();
SELECT artery.rebuild_allocation_state('ad');
SELECT * FROM f1();

-- the posterior after it, of a tenant without stages, so by blended: 2000 impressions, 40 clicks, ROAS 3, 24 hours:
-- score 0.7 * 0.02/0.05 + 0.3 = 0.58, times exp(-0.2) = 0.47486; alpha 2000 * that + 1, beta 2002 - alpha
SELECT artery.add_tenant('ad blended');
SELECT artery.register_ad('ad blended', 'p1', 'c1', first_seen => '2024-03-01 12:00+00');
SELECT actual_roas, round(posterior_alpha::numeric, 4) AS alpha, round(posterior_beta::numeric, 4) AS beta,
       round(posterior_mean::numeric, 6) AS mean
  FROM artery.record_feedback('ad blended', 'p1', 300, 100, 2000, 40, as_of => '2024-03-02 12:00+00');
SELECT actual_roas FROM artery.record_feedback('ad', 'p2', 5, 0, as_of => '2024-03-02 12:00+00');

-- budgets: the newest is in force, whatever the order they come in
SELECT artery.register_ad('ad', 'b1', 'c7', 's7'), artery.register_ad('ad', 'b2', 'c7', 's7'),
       artery.register_ad('ad', 'b3', 'c8', 's8'), artery.register_ad('ad', 'b4', 'c9', 's9', 'c9');
SELECT artery.observe_budget('ad', 's7', 100, '2024-03-02 12:00+00');
SELECT artery.observe_budget('ad', 's7', 90, '2024-03-01 12:00+00');
SELECT artery.observe_budget('ad', 's7', 100, '2024-03-02 12:00+00');
SELECT artery.observe_budget('ad', 'c8', 250, '2024-03-02 12:00+00');
SELECT artery.observe_budget('ad', 'nobody', 5, '2024-03-02 12:00+00');
SELECT budget_owner_id, owner_type, campaign_id, budget, observed_at AT TIME ZONE 'UTC' AS observed_at
  FROM artery.budget_owner WHERE tenant_id = 'ad' ORDER BY 1;
SELECT observed_at AT TIME ZONE 'UTC' AS observed_at, budget, source
  FROM artery.budget_observation WHERE tenant_id = 'ad' AND budget_owner_id = 's7' ORDER BY 1;
SELECT ad_id, budget_owner_id FROM artery.ad_state WHERE tenant_id = 'ad' AND ad_id LIKE 'b%' ORDER BY 1;
-- an ad that comes later finds its owner
SELECT artery.register_ad('ad', 'b5', 'c8', 's8b');
SELECT budget_owner_id FROM artery.ad_state WHERE tenant_id = 'ad' AND ad_id = 'b5';

-- attributed value: present stage values of deals, other conversions, and no deal twice
INSERT INTO artery.deal (tenant_id, deal_id, stage, stage_value, deal_value, is_won, ad_id, updated_at)
VALUES ('ad', 'd1', 'appointment_scheduled', 2250, NULL, false, 'v1', artery.now()),
       ('ad', 'd2', 'closed_won', 12000, 12000, true, 'v1', artery.now()),
       ('ad', 'd3', 'lead', 0, NULL, false, NULL, artery.now());
SELECT * FROM artery.ad_value('ad');
SELECT * FROM artery.ad_value('ad', 'v1');
-- told 20000 or 10000: the greater of told and attributed 14250, never the sum
SELECT artery.register_ad('ad', 'v1', 'c1', first_seen => '2024-03-01 12:00+00');
SELECT actual_roas FROM artery.record_feedback('ad', 'v1', 10000, 100, as_of => '2024-03-02 12:00+00');
SELECT pipeline_value, cash_revenue FROM artery.ad_facts('ad', '2024-03-03 12:00+00', 'v1');
SELECT actual_roas FROM artery.record_feedback('ad', 'v1', 20000, 100, as_of => '2024-03-02 13:00+00');
SELECT pipeline_value, cash_revenue FROM artery.ad_facts('ad', '2024-03-03 12:00+00', 'v1');

-- refused, with nothing stored
\set VERBOSITY terse
SELECT artery.register_ad('nobody', 'a', 'c');
\set VERBOSITY default
SELECT artery.register_ad('ad', NULL, 'c');
SELECT artery.register_ad('ad', '', 'c');
SELECT artery.register_ad('ad', repeat('x', 257), 'c');
SELECT artery.register_ad('ad', 'x', NULL);
SELECT artery.register_ad('ad', 'x', 'c', first_seen => '2009-12-31');
SELECT artery.register_ad('ad', 'x', 'c', first_seen => 'infinity');
SELECT artery.register_ad('ad', 'x', 'c', dna_score => 1.5);
SELECT artery.register_ad('ad', 'x', 'c', dna_score => 'NaN');
SELECT artery.record_ad_day('ad', 'x', '2024-03-01', -1, 0, 0);
SELECT artery.record_ad_day('ad', 'x', '2024-03-01', 1, 0, 'NaN');
SELECT artery.record_ad_day('ad', 'x', '2024-03-01', 1, 0, 'Infinity');
SELECT artery.record_ad_day('ad', 'x', NULL, 1, 0, 1);
SELECT artery.record_ad_day('ad', 'x', '1999-01-01', 1, 0, 1);
SELECT artery.record_ad_day('ad', 'x', 'infinity', 1, 0, 1);
SELECT artery.record_feedback('ad', 'x', -1, 1);
SELECT artery.record_feedback('ad', 'x', 1, 'NaN');
SELECT artery.record_feedback('ad', 'x', 1, 1, -1);
SELECT artery.record_feedback('ad', NULL, 1, 1);
SELECT artery.record_feedback('ad', 'x', 1, NULL);
SELECT artery.observe_budget('ad', 'x', -5);
SELECT artery.observe_budget('ad', 'x', NULL);
SELECT artery.observe_budget('ad', NULL, 5);
SELECT artery.observe_budget('ad', 'x', 5, '2009-01-01');
SELECT count(*) FROM artery.ad_state WHERE tenant_id = 'ad' AND ad_id = 'x';
DROP FUNCTION f1;
