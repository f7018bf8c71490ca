-- schedule: days that are an hour shorter or longer, runs that were missed, and a tenant of ten thousand ads
SET client_min_messages = warning;
SET datestyle = 'ISO';
SET timezone = 'UTC';
-- Berlin: 2024-03-31 has 23 hours, 2024-10-27 has 25. Days begin at 23:00, 22:00, 22:00 and 23:00 UTC.
SELECT artery.add_tenant('clock', 'service_business', time_zone => 'Europe/Berlin', settings => '{"fuzz_percent": 0, "daily_budget": 100, "shadow": true}');
SELECT at, artery.account_day('clock', at::timestamptz) FROM unnest(ARRAY[
    '2024-03-30 22:59:59+00', '2024-03-30 23:00+00', '2024-03-31 21:59:59+00', '2024-03-31 22:00+00',
    '2024-10-26 21:59:59+00', '2024-10-26 22:00+00', '2024-10-27 22:59:59+00', '2024-10-27 23:00+00']) at;
-- a run at each hour of these days decides on the facts of its own day, and counts no hour twice
SELECT artery.register_ad('clock', 'a', 'c', 's', first_seen => '2024-01-01 00:00+00');
SELECT count(artery.record_ad_day('clock', 'a', d::date, 1000, 20, 100)) FROM unnest(ARRAY['2024-03-30', '2024-03-31', '2024-04-01', '2024-10-26', '2024-10-27', '2024-10-28']) d;
SELECT artery.observe_budget('clock', 's', 100, '2024-01-01 00:00+00');
SELECT (i.inputs ->> 'spend')::numeric AS spend, min(at), max(at), count(*)
  FROM generate_series('2024-03-30 12:00+00'::timestamptz, '2024-04-01 12:00+00', '1 hour') at
 CROSS JOIN LATERAL artery.allocation_inputs('clock', at) i GROUP BY 1 ORDER BY 1;
-- the whole of such a day counts whole: the shadow had 80 all day, the account 100
INSERT INTO artery.allocation_run (tenant_id, as_of, model, seed, total_budget, ads, settings, started_at, duration_ms, mode)
VALUES ('clock', '2024-03-30 23:00+00', 'delayed', 1, 100, 1, '{}', artery.now(), 1, 'shadow'), ('clock', '2024-03-31 22:00+00', 'delayed', 1, 100, 1, '{}', artery.now(), 1, 'propose'),
       ('clock', '2024-10-26 22:00+00', 'delayed', 1, 100, 1, '{}', artery.now(), 1, 'shadow'), ('clock', '2024-10-27 23:00+00', 'delayed', 1, 100, 1, '{}', artery.now(), 1, 'propose');
INSERT INTO artery.budget_recommendation (tenant_id, run_id, ad_id, budget_owner_id, recommended_budget, confidence, reason, inputs, metrics)
SELECT tenant_id, run_id, 'a', 's', 100, 1, '', '{}', '{}' FROM artery.allocation_run WHERE tenant_id = 'clock' AND mode = 'shadow';
INSERT INTO artery.shadow_budget (tenant_id, budget_owner_id, since, run_id, in_force, wanted, budget)
SELECT tenant_id, 's', as_of, run_id, 100, 80, 80 FROM artery.allocation_run WHERE tenant_id = 'clock' AND mode = 'shadow';
SELECT round(actual_roas::numeric, 3) AS actual_roas FROM artery.record_feedback('clock', 'a', 700, 600, as_of => '2024-10-28 12:00+00');
SELECT day, budget, shadow_budget, spend, shadow_spend FROM artery.v_shadow_performance WHERE tenant_id = 'clock' AND budget_owner_id = 's' AND day IS NOT NULL ORDER BY 1;

-- A tenant of 10,000 ads in 4,000 ad sets, some of them pinned, some new: exact to the cent, and made again from what was kept.
SELECT artery.add_tenant('many ads', 'service_business', settings => '{"fuzz_percent": 0, "daily_budget": 123456.78, "min_budget": 1, "exploration_percent": 5}');
INSERT INTO artery.ad_state (tenant_id, ad_id, campaign_id, adset_id, budget_owner_id, impressions, clicks, spend, first_seen, updated_at)
SELECT 'many ads', 'a' || i, 'c' || i % 100, 's' || i % 4000, 's' || i % 4000, 0, 0, 0, artery.now() - (i % 4000 % 60) * interval '1 day', artery.now()
  FROM generate_series(1, 10000) i;
INSERT INTO artery.budget_owner (tenant_id, budget_owner_id, campaign_id, budget, observed_at, updated_at)
SELECT 'many ads', 's' || i, 'c' || i % 100, 30, '2024-01-01 00:00+00', artery.now() FROM generate_series(0, 3999) i;
INSERT INTO artery.budget_observation (tenant_id, budget_owner_id, observed_at, budget, source)
SELECT 'many ads', 's' || i, '2024-01-01 00:00+00', 30, 'observed' FROM generate_series(0, 3999) i;
SELECT artery.record_ad_days('many ads', (SELECT jsonb_agg(jsonb_build_object('ad_id', 'a' || i, 'day', current_date - 2, 'impressions', 1000 + i % 997,
    'clicks', 10 + i % 31, 'spend', 10 + i % 7)) FROM generate_series(1, 10000) i)) IS NOT NULL AS recorded;
SELECT count(artery.constrain_owner('many ads', 's' || i * 40, pinned => true)) FROM generate_series(0, 99) i;
ANALYZE artery.ad_state, artery.ad_day, artery.budget_owner, artery.budget_observation, artery.owner_constraint;
SELECT count(*), sum(recommended_budget), count(DISTINCT budget_owner_id) FILTER (WHERE metrics ? 'held') AS pinned,
       min(metrics ->> 'budget_unallocated') AS unallocated
  FROM artery.allocate_budget('many ads', propose => false);
ANALYZE artery.budget_recommendation, artery.allocation_run;
SELECT count(*) AS owners, bool_and(budget >= 1) AS at_least_one, bool_and(budget = 30) FILTER (WHERE held) AS pinned_stay
  FROM (SELECT budget_owner_id, sum(recommended_budget) AS budget, bool_or(metrics ? 'held') AS held
          FROM artery.budget_recommendation WHERE tenant_id = 'many ads' GROUP BY 1) o;
SELECT sum(recommended_budget) >= 6172.84 AS for_new FROM artery.budget_recommendation WHERE tenant_id = 'many ads' AND inputs ? 'exploration';
WITH run AS MATERIALIZED (
    SELECT r.total_budget, r.seed, r.model, jsonb_agg(i.inputs ORDER BY i.ad_id DESC) AS states
      FROM artery.allocation_run r JOIN artery.budget_recommendation i USING (tenant_id, run_id)
     WHERE tenant_id = 'many ads' GROUP BY 1, 2, 3
), again AS MATERIALIZED (
    SELECT s.ad_id, s.recommended_budget FROM run r CROSS JOIN LATERAL artery.select_budget(r.states, r.total_budget, seed => r.seed, model => r.model) s
    EXCEPT SELECT b.ad_id, b.recommended_budget FROM artery.budget_recommendation b WHERE b.tenant_id = 'many ads'
)
SELECT count(*) AS differ FROM again;
SELECT duration_ms < 60000 AS in_time FROM artery.allocation_run WHERE tenant_id = 'many ads';
DELETE FROM artery.allocation_run WHERE tenant_id = 'many ads';
