-- shadow: what allocations would have done, and what that would have brought; and how long they leave an owner alone
SET client_min_messages = warning;
SET datestyle = 'ISO';
SET timezone = 'UTC';
\set VERBOSITY terse
\set SHOW_CONTEXT never
-- Bounds that leave no choice make the numbers plain: s1 is to have 200, s2 50; both have 100.
SELECT artery.add_tenant('shade', 'service_business', settings => '{"fuzz_percent": 0, "daily_budget": 250, "shadow": true, "cooldown_hours": 5}');
SELECT count(artery.register_ad('shade', 'a' || i, 'c1', 's' || i, first_seen => '2024-03-01 00:00+00')),
       count(artery.observe_budget('shade', 's' || i, 100, '2024-03-01 00:00+00')) FROM generate_series(1, 2) i;
SELECT artery.constrain_owner('shade', 's1', min_budget => 200, max_budget => 200), artery.constrain_owner('shade', 's2', min_budget => 50, max_budget => 50);
-- every six hours for a start, then once after three hours, then a day later
SELECT count(*) FROM generate_series('2024-03-10 00:00+00'::timestamptz, '2024-03-10 06:00+00', '6 hours') at
 CROSS JOIN LATERAL artery.allocate_budget('shade', as_of => at);
SELECT count(*) FROM artery.allocate_budget('shade', as_of => '2024-03-10 09:00+00');
SELECT count(*) FROM artery.allocate_budget('shade', as_of => '2024-03-11 09:00+00');
SELECT mode, proposed, count(*) FROM artery.allocation_run WHERE tenant_id = 'shade' GROUP BY 1, 2;
SELECT count(*) FROM artery.ad_change WHERE tenant_id = 'shade';
-- 100 -> 120 -> 144; at nine o'clock it may not move yet, and it goes on by itself at 12 and 18: 172.80, 200; the other 80, 64, 51.20, 50
SELECT budget_owner_id, since, in_force, wanted, budget FROM artery.shadow_budget WHERE tenant_id = 'shade' ORDER BY 1, 2;
-- asked only: nothing is kept; again for the same moment: neither
SELECT count(*) FROM artery.allocate_budget('shade', as_of => '2024-03-11 15:00+00', propose => false);
SELECT count(*) FROM artery.allocate_budget('shade', as_of => '2024-03-11 09:00+00');
SELECT count(*) FROM artery.shadow_budget WHERE tenant_id = 'shade';

-- What it would have brought, in numbers to follow. From the 20th on s1 would have had 150 instead of 100, s2 50; from
-- the 22nd on proposals were made, which ended the shadow. Both spent 100 a day; s1 brought two deals worth 9000, s2 one worth 2250.
SELECT artery.add_tenant('shade sums', 'service_business', settings => '{"daily_budget": 200}');
SELECT count(artery.register_ad('shade sums', 'a' || i, 'c1', 's' || i, first_seen => '2024-03-01 00:00+00')) FROM generate_series(1, 2) i;
INSERT INTO artery.allocation_run (tenant_id, as_of, model, seed, total_budget, ads, settings, started_at, duration_ms, mode)
VALUES ('shade sums', '2024-03-20 00:00+00', 'delayed', 1, 200, 2, '{}', artery.now(), 1, 'shadow'),
       ('shade sums', '2024-03-22 00:00+00', 'delayed', 1, 200, 2, '{}', artery.now(), 1, 'propose');
INSERT INTO artery.budget_recommendation (tenant_id, run_id, ad_id, budget_owner_id, recommended_budget, confidence, reason, inputs, metrics)
SELECT 'shade sums', r.run_id, 'a' || i, 's' || i, 100, 1, '', '{}', '{}' FROM artery.allocation_run r, generate_series(1, 2) i
 WHERE r.tenant_id = 'shade sums' AND r.mode = 'shadow';
INSERT INTO artery.shadow_budget (tenant_id, budget_owner_id, since, run_id, in_force, wanted, budget)
SELECT 'shade sums', o, '2024-03-20 00:00+00', r.run_id, 100, b, b FROM artery.allocation_run r, (VALUES ('s1', 150), ('s2', 50)) v(o, b)
 WHERE r.tenant_id = 'shade sums' AND r.mode = 'shadow';
SELECT count(artery.record_ad_day('shade sums', 'a' || i, '2024-03-19'::date + d, 3000, 60, 100)) FROM generate_series(1, 2) i, generate_series(0, 3) d;
INSERT INTO artery.deal (tenant_id, deal_id, stage, stage_value, first_event_at, ad_id, updated_at)
SELECT 'shade sums', 'd' || i, 'x', v, '2024-03-20 12:00+00', a, artery.now() FROM (VALUES (1, 'a1', 9000), (2, 'a1', 9000), (3, 'a2', 2250)) v(i, a, v);
-- s1: 18000 over 200 spent is 90 each; 1.5^.8 = 1.383162, so 24896.91 instead of 18000. Its doubt: sqrt(2 * 9000^2) / 200 = 63.64
-- each, times 200 * .383162, is 4876.85; 1.28155 of it down and up. s2: 2250 over 200 is 11.25; .5^.8 = .57435, so 1292.29;
-- doubt 2250 * .42565 = 957.71. In all the gain is 6896.91 - 957.71, and the doubt sqrt(4876.85^2 + 957.71^2) = 4970.00.
SELECT budget_owner_id, day, budget, shadow_budget, spend, shadow_spend, pipeline_value, shadow_value, gain, gain_low, gain_high, deals
  FROM artery.v_shadow_performance WHERE tenant_id = 'shade sums' ORDER BY budget_owner_id NULLS LAST, day NULLS LAST;
-- half a day: from the 21st at noon s1 has 150 for half of the day, the rest as before
UPDATE artery.shadow_budget SET since = '2024-03-21 12:00+00' WHERE tenant_id = 'shade sums' AND budget_owner_id = 's1';
UPDATE artery.deal SET first_event_at = '2024-03-21 18:00+00' WHERE tenant_id = 'shade sums' AND ad_id = 'a1';
SELECT day, budget, shadow_budget, spend, shadow_spend, pipeline_value FROM artery.v_shadow_performance WHERE tenant_id = 'shade sums' AND budget_owner_id = 's1';
-- with its run it goes
DELETE FROM artery.allocation_run WHERE tenant_id = 'shade sums' AND mode = 'shadow';
SELECT count(*) FROM artery.shadow_budget WHERE tenant_id = 'shade sums';

-- Cool-down. Out of the shadow, the wish for s1 is asked for, once, and again only when it was settled five hours ago.
SELECT artery.configure_tenant('shade', '{"shadow": false, "daily_budget": 300, "velocity_percent": 100, "dry_run": false, "jitter_ms_min": 0, "jitter_ms_max": 0}') IS NOT NULL AS ok;
SELECT count(*) FROM artery.allocate_budget('shade');
SELECT count(*) FROM artery.allocate_budget('shade');
SELECT mode, proposed FROM artery.allocation_run WHERE tenant_id = 'shade' ORDER BY run_id DESC LIMIT 2;
SELECT target_id, count(*) FROM artery.ad_change WHERE tenant_id = 'shade' GROUP BY 1 ORDER BY 1;
SELECT change_id AS s1 FROM artery.ad_change WHERE tenant_id = 'shade' AND target_id = 's1' \gset
SELECT change_id AS s2 FROM artery.ad_change WHERE tenant_id = 'shade' AND target_id = 's2' \gset
SELECT artery.approve_ad_change('shade', :'s1', 'anna'), artery.reject_ad_change('shade', :'s2', 'anna', 'not now');
SELECT verdict FROM artery.reserve_ad_change('shade', :'s1', '{"budget": 100}');
SELECT artery.settle_ad_change('shade', :'s1', 1, 'applied');
-- somebody sets both back by hand: another wish would be due
SELECT count(artery.observe_budget('shade', 's' || i, 100)) FROM generate_series(1, 2) i;
SELECT budget_owner_id, regexp_replace(substring(reason FROM 'Not proposed.*'), '[0-9]{4}[-0-9: ]+', '# ', 'g') AS reason FROM artery.allocate_budget('shade') ORDER BY 1;
SET artery.clock_offset = 17940;  -- a minute less than five hours
SELECT count(*) FILTER (WHERE reason ~ 'no other change is asked for before') AS cooling FROM artery.allocate_budget('shade');
SET artery.clock_offset = 18060;
SELECT count(*) FILTER (WHERE reason ~ 'no other change is asked for before') AS cooling FROM artery.allocate_budget('shade');
SELECT target_id, count(*) FILTER (WHERE state = 'proposed') AS open FROM artery.ad_change WHERE tenant_id = 'shade' GROUP BY 1 ORDER BY 1;
RESET artery.clock_offset;
