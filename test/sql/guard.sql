-- Guard: the velocity rule and the hourly limits as numbers.
SET client_min_messages = warning;
SET timezone = 'UTC';
\set VERBOSITY terse
SELECT artery.add_tenant('guard_usd'), artery.add_tenant('guard_jpy', currency => 'JPY');

-- Nothing observed: nothing is allowed, and no number is made up.
SELECT * FROM artery.check_budget_velocity('guard_usd', 'set_1', 100, '2026-03-01 12:00');

-- In force: 100 from 00:00, 120 from 10:00.
SELECT artery.observe_budget('guard_usd', 'set_1', 100, '2026-03-01 00:00'),
       artery.observe_budget('guard_usd', 'set_1', 120, '2026-03-01 10:00');
-- At 12:00 both count: 144 is 44 % above 100; it passes when 100, which ended at 10:00, has left the 6 hours: at 16:00.
SELECT * FROM artery.check_budget_velocity('guard_usd', 'set_1', 144, '2026-03-01 12:00');
-- A microsecond before 16:00 100 still counts; at 16:00 a budget that ended exactly 6 hours ago does not.
SELECT as_of, v.allowed, v.base_budget, v.max_allowed, v.next_allowed_at
  FROM unnest(ARRAY['2026-03-01 15:59:59.999999+00', '2026-03-01 16:00+00']::timestamptz[]) as_of,
       artery.check_budget_velocity('guard_usd', 'set_1', 144, as_of) v;
-- 250 never passes in one step: 120 * 1.2 = 144 is the most.
SELECT * FROM artery.check_budget_velocity('guard_usd', 'set_1', 250, '2026-03-02');
-- A decrease is measured against the highest: 120 * 0.8 = 96.
SELECT b AS new_budget, v.allowed, v.base_budget, v.change_percentage, v.min_allowed
  FROM unnest(ARRAY[96, 95.99, 95.999]) b, artery.check_budget_velocity('guard_usd', 'set_1', b, '2026-03-01 12:00') v;

-- A swing up and down does not hide: 100, 120, 100 within the hour, then 80 would be 33 % below 120 (96 at least) ...
SELECT artery.observe_budget('guard_usd', 'swing', 100, '2026-03-01 00:00'),
       artery.observe_budget('guard_usd', 'swing', 120, '2026-03-01 10:00'),
       artery.observe_budget('guard_usd', 'swing', 100, '2026-03-01 10:30');
SELECT * FROM artery.check_budget_velocity('guard_usd', 'swing', 80, '2026-03-01 11:00');
-- ... and 150 then 100 by hand leaves room for one amount only: at least 150 * 0.8 = 120, at most 100 * 1.2 = 120.
SELECT artery.observe_budget('guard_usd', 'hand', 150, '2026-03-01 00:00'),
       artery.observe_budget('guard_usd', 'hand', 100, '2026-03-01 10:00');
SELECT b AS new_budget, v.allowed, v.min_allowed, v.max_allowed, v.next_allowed_at
  FROM unnest(ARRAY[100, 110, 120]) b, artery.check_budget_velocity('guard_usd', 'hand', b, '2026-03-01 11:00') v;

-- Rounded so that the rule holds to the cent: 172.79 * 1.2 = 207.348 and 172.79 * 0.8 = 138.232.
SELECT artery.observe_budget('guard_usd', 'cents', 172.79, '2026-03-01');
SELECT min_allowed, max_allowed FROM artery.check_budget_velocity('guard_usd', 'cents', 172.79, '2026-03-01 12:00');
-- Without decimals in a currency without: 999 * 1.2 = 1198.8 and 999 * 0.8 = 799.2.
SELECT artery.observe_budget('guard_jpy', 'yen', 999, '2026-03-01');
SELECT min_allowed, max_allowed FROM artery.check_budget_velocity('guard_jpy', 'yen', 999, '2026-03-01 12:00');
-- Nothing grows out of nothing.
SELECT artery.observe_budget('guard_usd', 'zero', 0, '2026-03-01');
SELECT * FROM artery.check_budget_velocity('guard_usd', 'zero', 1, '2026-03-02');

-- The window and the percentage are the tenant's: 30 minutes, 50 %.
SELECT artery.configure_tenant('guard_usd', '{"velocity_window_hours": 0.5, "velocity_percent": 50}');
SELECT * FROM artery.check_budget_velocity('guard_usd', 'set_1', 180, '2026-03-01 10:29');
SELECT * FROM artery.check_budget_velocity('guard_usd', 'set_1', 180, '2026-03-01 10:30');
SELECT artery.configure_tenant('guard_usd', '{"velocity_window_hours": null, "velocity_percent": null}');

-- Another tenant's owner is unknown.
SELECT allowed, base_budget FROM artery.check_budget_velocity('guard_jpy', 'set_1', 100, '2026-03-01 12:00');

-- Refusals.
SELECT artery.check_budget_velocity('guard_nobody', 'set_1', 100);
SELECT artery.check_budget_velocity('guard_usd', 'set_1', 'NaN');
SELECT artery.check_budget_velocity('guard_usd', 'set_1', 'Infinity');
SELECT artery.check_budget_velocity('guard_usd', 'set_1', -1);
SELECT artery.check_budget_velocity('guard_usd', 'set_1', NULL);
SELECT artery.check_budget_velocity('guard_usd', NULL, 100);
SELECT artery.check_budget_velocity('guard_usd', 'set_1', 100, 'infinity');
SELECT (artery.check_budget_velocity('guard_usd', 'set_1', 1e60, '2026-03-01 12:00')).allowed;
SELECT artery.check_rate_limit('guard_usd', NULL);
SELECT artery.check_rate_limit('guard_usd', 'c', '-infinity');

-- Fifteen actions, one a minute from 12:01 to 12:15, are all that fits into 60 minutes.
SELECT * FROM artery.check_rate_limit('guard_usd', 'campaign', '2026-03-01 12:15');
INSERT INTO artery.campaign_action (tenant_id, campaign_id, acted_at, budget_owner_id, change_id, attempt, change_type)
SELECT 'guard_usd', 'campaign', timestamptz '2026-03-01 12:00+00' + n * interval '1 minute', 'set_' || n, gen_random_uuid(), 1,
       'BUDGET_INCREASE' FROM generate_series(1, 15) n;
SELECT * FROM artery.check_rate_limit('guard_usd', 'campaign', '2026-03-01 12:15');
-- The first leaves at 13:01 exactly, not a microsecond before.
SELECT as_of, r.* FROM unnest(ARRAY['2026-03-01 13:00:59.999999+00', '2026-03-01 13:01+00']::timestamptz[]) as_of,
       artery.check_rate_limit('guard_usd', 'campaign', as_of) r;
-- Asked about a moment before, what came later does not count.
SELECT allowed, current_count FROM artery.check_rate_limit('guard_usd', 'campaign', '2026-03-01 12:05');
-- Of another campaign, and of another tenant's campaign of that name, nothing counts.
SELECT current_count FROM artery.check_rate_limit('guard_usd', 'campaign_2', '2026-03-01 12:15');
SELECT current_count FROM artery.check_rate_limit('guard_jpy', 'campaign', '2026-03-01 12:15');
-- A limit lowered to 5: a place is free when only four are left, when the fifth newest (12:11) leaves.
SELECT artery.configure_tenant('guard_usd', '{"rate_limit_per_hour": 5}');
SELECT * FROM artery.check_rate_limit('guard_usd', 'campaign', '2026-03-01 12:15');
-- A limit of 0 never frees a place.
SELECT artery.configure_tenant('guard_usd', '{"rate_limit_per_hour": 0}');
SELECT * FROM artery.check_rate_limit('guard_usd', 'other', '2026-03-01 12:15');
