-- constraint: what a person allows budget owners, and how allocations keep to it
SET client_min_messages = warning;
SET datestyle = 'ISO';
SET timezone = 'UTC';
\set VERBOSITY terse
\set SHOW_CONTEXT never
-- Four ad sets and a campaign with a budget of its own; s1 has two ads, the others one. Day 9 for all but new.
SELECT artery.add_tenant('bounds', 'service_business', settings => '{"fuzz_percent": 0, "daily_budget": 500}');
SELECT count(artery.register_ad('bounds', a, c, s, first_seen => '2024-03-01 00:00+00'))
  FROM (VALUES ('a1', 'c1', 's1'), ('a2', 'c1', 's1'), ('a3', 'c1', 's2'), ('a4', 'c2', 's3'), ('a5', 'c3', NULL)) v(a, c, s);
SELECT artery.register_ad('bounds', 'new', 'c2', 's4', first_seen => '2024-03-08 00:00+00');
SELECT count(artery.observe_budget('bounds', o, 100, '2024-03-01 00:00+00')) FROM unnest(ARRAY['s1', 's2', 's3', 'c3']) o;
SELECT artery.observe_budget('bounds', 's4', 10, '2024-03-08 00:00+00');
SELECT count(artery.record_ad_day('bounds', a, '2024-03-01'::date + d, 3000, clicks, spend))
  FROM (VALUES ('a1', 60, 75), ('a2', 20, 25), ('a3', 90, 100), ('a4', 30, 100), ('a5', 60, 100)) v(a, clicks, spend), generate_series(0, 7) d;
CREATE FUNCTION decided(total numeric) RETURNS TABLE (owner text, budget numeric, bound text, held text, rest text) LANGUAGE sql AS $$
    SELECT budget_owner_id, sum(recommended_budget), min(metrics ->> 'bounded_by'), min(metrics ->> 'held'), min(metrics ->> 'budget_unallocated')
      FROM artery.allocate_budget('bounds', total, 7, '2024-03-10 00:00+00', false) GROUP BY 1 $$;

-- an owner is decided on as a whole, and its ads have parts of it as they spend: three to one
SELECT ad_id, round(recommended_budget / sum(recommended_budget) OVER (), 3) AS part, metrics ? 'owner_value_mean' AS mixed,
       reason ~ 'The ads that share its budget bring [0-9.]+ together' AS said
  FROM artery.allocate_budget('bounds', 500, 7, '2024-03-10 00:00+00', false) WHERE budget_owner_id = 's1' ORDER BY 1;
SELECT sum(budget) FROM decided(500);

-- its own bounds go before the tenant's; the sum is exact
SELECT artery.configure_tenant('bounds', '{"min_budget": 20, "max_budget": 150}') ->> 'min_budget' AS min_budget;
SELECT artery.constrain_owner('bounds', 's2', max_budget => 90.01, set_by => 'anna'), artery.constrain_owner('bounds', 's3', min_budget => 120),
       artery.constrain_owner('bounds', 's4', min_budget => 5, max_budget => 5);
SELECT owner, bound, budget FROM decided(400) WHERE bound IS NOT NULL ORDER BY 1;
SELECT sum(budget), bool_and(budget BETWEEN 20 AND 150 OR owner = 's4') AS within FROM decided(400);
SELECT budget_owner_id, min_budget, max_budget, is_own, set_by FROM artery.v_owner_constraints WHERE tenant_id = 'bounds' ORDER BY 1;
-- impossible: the bounds allow 150 (s1) + 90.01 + 150 + 5 + 150 (c3) = 545.01 at most, and 20 + 20 + 120 + 5 + 20 = 185 at least
SELECT sum(budget), min(rest) AS rest FROM decided(600);
SELECT sum(budget), min(rest) AS rest FROM decided(100);
SELECT substring(reason FROM '[0-9.]+ of the total.*') AS reason FROM artery.allocate_budget('bounds', 600, 7, '2024-03-10 00:00+00', false) LIMIT 1;
SELECT substring(reason FROM 'The least.*') AS reason FROM artery.allocate_budget('bounds', 100, 7, '2024-03-10 00:00+00', false) LIMIT 1;
SELECT total_budget, unallocated FROM artery.allocation_run WHERE tenant_id = 'bounds' ORDER BY run_id DESC LIMIT 3;
-- taken back: the tenant's hold again
SELECT artery.constrain_owner('bounds', 's2'), artery.constrain_owner('bounds', 's3'), artery.constrain_owner('bounds', 's4');
SELECT artery.configure_tenant('bounds', '{"min_budget": null, "max_budget": null}') IS NOT NULL AS ok;

-- at most 10 percent per step, s1 at most 5
SELECT artery.configure_tenant('bounds', '{"max_step_percent": 10}') ->> 'max_step_percent' AS step;
SELECT artery.constrain_owner('bounds', 's1', max_step_percent => 5);
SELECT owner, budget BETWEEN 90 AND 110 AS within, owner = 's1' AND budget BETWEEN 95 AND 105 AS s1, owner = 's4' AND budget BETWEEN 9 AND 11 AS s4
  FROM decided(410) ORDER BY 1;
SELECT sum(budget), min(rest) AS rest FROM decided(410);
-- 105 + 110 * 3 + 11 = 446 at most
SELECT sum(budget), min(rest) AS rest FROM decided(500);
-- a step that does not reach a bound is not proposed
SELECT artery.constrain_owner('bounds', 's4', min_budget => 50, max_step_percent => 10);
SELECT DISTINCT substring(reason FROM 'Not proposed.*') AS reason FROM artery.allocate_budget('bounds', 410, 7, '2024-03-10 00:00+00') WHERE budget_owner_id = 's4';
SELECT artery.constrain_owner('bounds', 's1'), artery.constrain_owner('bounds', 's4');
SELECT artery.configure_tenant('bounds', '{"max_step_percent": null}') IS NOT NULL AS ok;

-- held: pinned by a person, paused, in the learning phase; they count in the total and are not proposed for
SELECT artery.constrain_owner('bounds', 's1', pinned => true, set_by => 'anna', note => 'brand');
SELECT artery.pause_owner('bounds', 's2', 'ben');
UPDATE artery.budget_owner SET learning_status = 'LEARNING' WHERE tenant_id = 'bounds' AND budget_owner_id = 's3';
SELECT * FROM decided(500) WHERE owner LIKE 's_' AND owner <> 's4' ORDER BY 1;
SELECT sum(budget) FROM decided(500);
SELECT budget_owner_id, pinned, paused, learning FROM artery.v_owner_constraints WHERE tenant_id = 'bounds' ORDER BY 1;
SELECT ad_id, substring(reason FROM 'Its budget is left.*') AS reason FROM artery.allocate_budget('bounds', 600, 7, '2024-03-10 00:00+00') WHERE budget_owner_id = 's1' ORDER BY 1;
SELECT DISTINCT target_id FROM artery.ad_change WHERE tenant_id = 'bounds' AND run_id = (SELECT max(run_id) FROM artery.allocation_run WHERE tenant_id = 'bounds') ORDER BY 1;
-- by the same token a paused campaign holds its ad sets, and learning is not held where the tenant says so
SELECT artery.pause_owner('bounds', 'c2', 'ben');
SELECT artery.configure_tenant('bounds', '{"hold_while_learning": false}') IS NOT NULL AS ok;
SELECT owner, held FROM decided(500) ORDER BY 1;
SELECT artery.resume_owner('bounds', 'c2'), artery.resume_owner('bounds', 's2'), artery.constrain_owner('bounds', 's1');

-- new ads: s4 is two days old; half of 500 is for it, as much as its bounds allow
SELECT budget < 250 AS less FROM decided(500) WHERE owner = 's4';
SELECT artery.configure_tenant('bounds', '{"exploration_percent": 50}') ->> 'exploration_percent' AS percent;
SELECT budget, sum FROM (SELECT owner, budget, sum(budget) OVER () FROM decided(500)) d WHERE owner = 's4';
SELECT artery.constrain_owner('bounds', 's4', max_budget => 60);
SELECT ad_id, recommended_budget, metrics -> 'exploration_reserve' AS reserve, metrics -> 'exploration_missing' AS missing,
       substring(reason FROM 'Of what is reserved.*') AS reason
  FROM artery.allocate_budget('bounds', 500, 7, '2024-03-10 00:00+00', false) WHERE budget_owner_id = 's4';
SELECT sum(budget) FROM decided(500);
-- until it has spent 100 and is older than a week
SELECT artery.configure_tenant('bounds', '{"exploration_days": 1}') ->> 'exploration_days' AS days;
SELECT inputs -> 'exploration' AS exploration FROM artery.allocation_inputs('bounds', '2024-03-10 00:00+00') WHERE ad_id = 'new';
SELECT artery.record_ad_day('bounds', 'new', '2024-03-08', 3000, 60, 100);
SELECT inputs -> 'exploration' AS exploration FROM artery.allocation_inputs('bounds', '2024-03-10 00:00+00') WHERE ad_id = 'new';

-- whatever bounded them, all these runs can be made again from what they kept
SELECT count(*) > 100 AS many, bool_and(artery.replay_recommendation(b.tenant_id, b.run_id, b.ad_id, '{}') = b.recommended_budget) AS replayed
  FROM artery.budget_recommendation b WHERE b.tenant_id = 'bounds';

-- explained: what the bounds did, and what would be without them; whether the ad itself is one to kill
SELECT artery.constrain_owner('bounds', 's3', min_budget => 60), artery.constrain_owner('bounds', 's2', pinned => true);
SELECT max((metrics -> 'run_id')::bigint) AS run_id FROM artery.allocate_budget('bounds', 500, 7, '2024-03-10 00:00+00') \gset
SELECT e.ad_id, e.recommended_budget, e.bounds - 'wanted' AS bounds, e.decision, e.decision_reason,
       regexp_replace(substring(e.would_change FROM 'Without bounds.*'), '[0-9]+(\.[0-9]+)?', '#', 'g') AS would_change,
       substring(e.would_change FROM 'Without bounds of its own: ([0-9.]+)')::numeric > e.recommended_budget AS more
  FROM unnest(ARRAY['s2', 's3']) o CROSS JOIN LATERAL artery.explain_recommendation('bounds', :run_id, o) e ORDER BY 1;
SELECT ad_id, decision, held FROM artery.v_budget_recommendations WHERE tenant_id = 'bounds' AND run_id = :run_id ORDER BY 1;
-- with scores that tell something it says what another would do; the same again from what was kept
SELECT count(artery.record_dna('bounds', a, s)) FROM (VALUES ('a1', 0.6), ('a2', 0.3), ('a3', 0.9), ('a4', 0.1), ('a5', 0.6), ('new', 0.6)) v(a, s);
SELECT max((metrics -> 'run_id')::bigint) AS run_id FROM artery.allocate_budget('bounds', 500, 7, '2024-03-10 00:00+00') \gset
SELECT regexp_replace(substring(e.would_change FROM 'With a creative.*'), '[0-9]+\.[0-9]+', '#', 'g') AS would_change, e.posterior ? 'dna_effect' AS posterior
  FROM artery.explain_recommendation('bounds', :run_id, 's4') e;
SELECT bool_and(artery.replay_recommendation(b.tenant_id, b.run_id, b.ad_id, '{}') = b.recommended_budget) AS replayed
  FROM artery.budget_recommendation b WHERE b.tenant_id = 'bounds' AND b.run_id = :run_id;
SELECT artery.constrain_owner('bounds', 's2'), artery.constrain_owner('bounds', 's3');

-- the guard and the fuzz keep to the owner's own bounds, too
SELECT artery.configure_tenant('bounds', '{"fuzz_percent": 10, "max_budget": 50, "exploration_percent": 0}') IS NOT NULL AS ok;
SELECT artery.constrain_owner('bounds', 's3', max_budget => 104);
SELECT count(artery.queue_ad_change('bounds', 'c2', 'BUDGET_INCREASE', NULL, '{"budget": 103}', 'test', adset_id => CASE WHEN i > 0 THEN 's3' END))
  FROM generate_series(1, 30) i;
SELECT bool_and((c.new_value ->> 'budget')::numeric <= 104) AS within FROM artery.ad_change c WHERE tenant_id = 'bounds' AND target_id = 's3' AND triggered_by = 'test';
SELECT artery.queue_ad_change('bounds', 'c2', 'BUDGET_INCREASE', NULL, '{"budget": 105}', 'test', adset_id => 's3') IS NULL AS refused;

-- select_budget without tables: owners' names, and bounds that contradict each other
SELECT ad_id, recommended_budget FROM artery.select_budget('[
    {"ad_id": "x1", "impressions": 1000, "clicks": 10, "spend": 30, "pipeline_value": 0, "age_hours": 72, "budget_owner_id": "x", "max_budget": 50.01},
    {"ad_id": "y", "impressions": 1000, "clicks": 10, "spend": 30, "pipeline_value": 0, "age_hours": 72},
    {"ad_id": "x2", "impressions": 1000, "clicks": 10, "spend": 30, "pipeline_value": 0, "age_hours": 72, "budget_owner_id": "x", "max_budget": 80}]', 200, seed => 1);
SELECT * FROM artery.select_budget('[
    {"ad_id": "x1", "impressions": 1000, "clicks": 10, "spend": 30, "pipeline_value": 0, "age_hours": 72, "budget_owner_id": "x", "max_budget": 50},
    {"ad_id": "x2", "impressions": 1000, "clicks": 10, "spend": 30, "pipeline_value": 0, "age_hours": 72, "budget_owner_id": "x", "min_budget": 60}]', 200, seed => 1);
SELECT * FROM artery.select_budget('[{"ad_id": "x1", "impressions": 1, "clicks": 1, "spend": 1, "pipeline_value": 0, "age_hours": 7, "budget_owner_id": 7}]', 200, seed => 1);

-- an owner's own bound comes before the tenant's that contradicts it, and nobody's run fails: s1 from 80 to 50, s2 from 60 to 150
SELECT artery.add_tenant('bounds own', 'service_business', settings => '{"fuzz_percent": 0, "daily_budget": 300, "min_budget": 80, "max_budget": 120}');
SELECT count(artery.register_ad('bounds own', 'o' || i, 'c1', 's' || i, first_seen => '2024-03-01 00:00+00')) FROM generate_series(1, 3) i;
SELECT count(artery.observe_budget('bounds own', 's' || i, 100, '2024-03-01 00:00+00')) FROM generate_series(1, 3) i;
SELECT artery.constrain_owner('bounds own', 's1', max_budget => 50), artery.constrain_owner('bounds own', 's2', min_budget => 150);
SELECT ad_id, recommended_budget, metrics ->> 'bounded_by' AS bounded_by, substring(reason FROM 'Held.*') AS held
  FROM artery.allocate_budget('bounds own', 300, 7, '2024-03-10 00:00+00') ORDER BY 1;
SELECT budget_owner_id, min_budget, max_budget FROM artery.v_owner_constraints WHERE tenant_id = 'bounds own' ORDER BY 1;
-- and the guard lets pass what it allows
SELECT target_id, change_type, new_value FROM artery.v_pending_changes WHERE tenant_id = 'bounds own' ORDER BY 1;
-- bounds between which there is no cent; bounds that leave one amount are no pin, unless it is the present one
SELECT artery.constrain_owner('bounds own', 's1', min_budget => 70.001, max_budget => 70.004), artery.constrain_owner('bounds own', 's2', min_budget => 100, max_budget => 100);
SELECT ad_id, recommended_budget, metrics ->> 'bounded_by' AS bounded_by, substring(reason FROM '(?:Held|Its budget).*') AS held
  FROM artery.allocate_budget('bounds own', 300, 7, '2024-03-10 00:00+00', false) ORDER BY 1;
-- feedback is taken whatever bounds there are: of an owner whose budget nobody has seen they follow from what all its ads spend
SELECT artery.add_tenant('bounds told', 'service_business', settings => '{"max_step_percent": 10}');
SELECT count(artery.register_ad('bounds told', 't' || i, 'c1', 's1', first_seen => '2024-03-01 00:00+00')) FROM generate_series(1, 2) i;
SELECT count(artery.record_ad_day('bounds told', 't' || i, '2024-03-08', 3000, 60, 100 * i)) FROM generate_series(1, 2) i;
SELECT actual_roas, posterior_low < posterior_high AS believed FROM artery.record_feedback('bounds told', 't2', 400, 200, as_of => '2024-03-09 00:00+00');
-- one that can have no budget, as Meta takes no less than 40, stays with what it has and counts so: s1 stays at 40, s2 gets the rest of 100
SELECT artery.add_tenant('bounds least', 'service_business', settings => '{"fuzz_percent": 0}');
SELECT count(artery.register_ad('bounds least', 'l' || i, 'c1', 's' || i, first_seen => '2024-03-01 00:00+00')) FROM generate_series(1, 2) i;
SELECT count(artery.observe_budget('bounds least', 's' || i, 40, '2024-03-01 00:00+00')) FROM generate_series(1, 2) i;
UPDATE artery.budget_owner SET minimum = 40 WHERE tenant_id = 'bounds least';
SELECT artery.constrain_owner('bounds least', 's1', max_budget => 30);
SELECT ad_id, recommended_budget, substring(reason FROM 'It is held.*') AS reason FROM artery.allocate_budget('bounds least', 100, 7, '2024-03-10 00:00+00') ORDER BY 1;
SELECT target_id, new_value FROM artery.v_pending_changes WHERE tenant_id = 'bounds least';
-- a wish that cannot be is its owner's trouble and not the run's: the ads of one ad set are said to be of two campaigns, one of which keeps its budget itself
SELECT artery.register_ad('bounds least', 'l3', 'c3', 's3', budget_owner_id => 's3', first_seen => '2024-03-01 00:00+00'), artery.register_ad('bounds least', 'l4', 'c4', 's3', first_seen => '2024-03-01 00:00+00');
SELECT artery.observe_budget('bounds least', 's3', 50, '2024-03-01 00:00+00'), artery.observe_budget('bounds least', 'c3', 70, '2024-03-02 00:00+00');
SELECT ad_id, budget_owner_id, substring(reason FROM 'Not proposed.*') AS reason FROM artery.allocate_budget('bounds least', 400, 7, '2024-03-10 00:00+00') ORDER BY 1;

-- The least that Meta takes is a bound, too: what is recommended is what is proposed, and comes to the total. m1 earns by far the most,
-- so the others stand at the 15 that the account takes at least, which leaves 100 - 3 * 15 = 55
SELECT artery.add_tenant('bounds meta', 'service_business', settings => '{"fuzz_percent": 0, "meta_ad_account_id": "act_77"}');
SELECT count(artery.register_ad('bounds meta', 'm' || i, 'c1', 's' || i, first_seen => '2024-03-01 00:00+00')) FROM generate_series(1, 4) i;
SELECT count(artery.observe_budget('bounds meta', 's' || i, 25, '2024-03-01 00:00+00')) FROM generate_series(1, 4) i;
SELECT count(artery.record_ad_day('bounds meta', 'm' || i, '2024-03-01'::date + d, 20000, CASE i WHEN 1 THEN 1000 ELSE 200 END, 25))
  FROM generate_series(1, 4) i, generate_series(0, 7) d;
INSERT INTO artery.ad_account (tenant_id, account_id, currency, min_daily_budget, synced_at)
VALUES ('bounds meta', '77', 'USD', 15, '2024-03-01 00:00+00'), ('bounds meta', '78', 'USD', 99, '2024-03-02 00:00+00');
SELECT ad_id, recommended_budget, metrics ->> 'bounded_by' AS bounded_by, metrics -> 'least_budget' AS least, substring(reason FROM 'Held.*') AS held
  FROM artery.allocate_budget('bounds meta', 100, 7, '2024-03-10 00:00+00') ORDER BY 1;
SELECT target_id, new_value, requested_value = new_value AS as_decided FROM artery.v_pending_changes WHERE tenant_id = 'bounds meta' ORDER BY 1;
SELECT sum((new_value ->> 'budget')::numeric) FROM artery.v_pending_changes WHERE tenant_id = 'bounds meta';
SELECT e.ad_id, e.bounds - 'wanted' AS bounds, substring(e.would_change FROM 'Without bounds.*') AS would_change
  FROM artery.allocation_run r CROSS JOIN LATERAL artery.explain_recommendation('bounds meta', r.run_id, 's2') e WHERE r.tenant_id = 'bounds meta';
-- four times 15 are more than 50: the nearest, and it says by how much
SELECT ad_id, recommended_budget, metrics -> 'budget_unallocated' AS unallocated FROM artery.allocate_budget('bounds meta', 50, 7, '2024-03-10 00:00+00', false) ORDER BY 1;
-- the greater one of Meta's least and the tenant's or an owner's own minimum; Meta's of the owner itself, s4; a pinned budget stays, whatever it is
SELECT artery.configure_tenant('bounds meta', '{"min_budget": 8}') IS NOT NULL AS ok;
SELECT artery.constrain_owner('bounds meta', 's2', min_budget => 17), artery.constrain_owner('bounds meta', 's3', pinned => true);
SELECT artery.observe_budget('bounds meta', 's3', 5, '2024-03-09 00:00+00');
UPDATE artery.budget_owner SET minimum = 16 WHERE tenant_id = 'bounds meta' AND budget_owner_id = 's4';
SELECT ad_id, recommended_budget, metrics ->> 'bounded_by' AS bounded_by, metrics -> 'least_budget' AS least
  FROM artery.allocate_budget('bounds meta', 100, 7, '2024-03-10 00:00+00', false) ORDER BY 1;
SELECT budget_owner_id, min_budget, max_budget, is_own FROM artery.v_owner_constraints WHERE tenant_id = 'bounds meta' ORDER BY 1;
-- one that may have at most less than Meta takes cannot be changed: it counts with what it has
SELECT artery.constrain_owner('bounds meta', 's3'), artery.constrain_owner('bounds meta', 's2', max_budget => 12);
SELECT ad_id, recommended_budget, metrics ->> 'held' AS held FROM artery.allocate_budget('bounds meta', 100, 7, '2024-03-10 00:00+00', false) ORDER BY 1;
-- an account in another currency, as before a tenant's was corrected, says nothing (s4 keeps its own 16); all these runs can be made again
UPDATE artery.ad_account SET currency = 'JPY' WHERE tenant_id = 'bounds meta';
SELECT ad_id, recommended_budget < 15 AS less FROM artery.allocate_budget('bounds meta', 100, 7, '2024-03-10 00:00+00', false) ORDER BY 1;
SELECT count(*) AS ads, bool_and(p.is_same) AS same FROM artery.allocation_run r CROSS JOIN LATERAL artery.replay_allocation('bounds meta', r.run_id) p WHERE r.tenant_id = 'bounds meta';

-- Whole units: of 10000.6 yen 10000 are split, never a yen more. What all budgets come to with the fuzz, the run tells; at most 3 percent more or less.
SELECT artery.add_tenant('bounds yen', 'service_business', 'JPY', settings => '{"fuzz_percent": 3}');
SELECT count(artery.register_ad('bounds yen', 'y' || i, 'c1', 's' || i, first_seen => '2024-03-01 00:00+00')) FROM generate_series(1, 7) i;
SELECT count(artery.observe_budget('bounds yen', 's' || i, 3000, '2024-03-01 00:00+00')) FROM generate_series(1, 7) i;
SELECT artery.constrain_owner('bounds yen', 's7', pinned => true);
SELECT sum(recommended_budget), bool_and(recommended_budget = trunc(recommended_budget)) AS whole FROM artery.allocate_budget('bounds yen', 10000.6, 7, '2024-03-10 00:00+00');
SELECT r.total_budget, r.proposed, r.proposed_total = 3000 + p.sum AS told, r.proposed_total BETWEEN 3000 + 0.97 * 7000 - 3 AND 3000 + 1.03 * 7000 + 3 AS near, p.whole
  FROM artery.allocation_run r, (SELECT sum((new_value ->> 'budget')::numeric), bool_and((new_value ->> 'budget')::numeric % 1 = 0) AS whole
                                   FROM artery.v_pending_changes WHERE tenant_id = 'bounds yen') p
 WHERE r.tenant_id = 'bounds yen';
-- what is not proposed stays as it is, and is told: less than 1 percent is no change, so it stays at 7 * 3000
SELECT artery.configure_tenant('bounds yen', '{"fuzz_percent": 0}') IS NOT NULL AS ok;
SELECT count(artery.cancel_ad_change('bounds yen', change_id, 'test')) FROM artery.v_pending_changes WHERE tenant_id = 'bounds yen';
SELECT artery.configure_tenant('bounds yen', '{"cooldown_hours": 0}') IS NOT NULL AS ok;
SELECT count(artery.constrain_owner('bounds yen', 's' || i, min_budget => 2980, max_budget => 3000)) FROM generate_series(1, 6) i;
SELECT sum(recommended_budget) FROM artery.allocate_budget('bounds yen', 20900, 7, '2024-03-10 00:00+00');
SELECT r.proposed, r.proposed_total, r.unallocated FROM artery.allocation_run r WHERE r.tenant_id = 'bounds yen' ORDER BY r.run_id DESC LIMIT 1;

-- refused
SELECT artery.constrain_owner('bounds', 's9', pinned => true);
SELECT artery.constrain_owner('bounds', 's1', min_budget => 10, max_budget => 5);
SELECT artery.constrain_owner('bounds', 's1', min_budget => -1);
SELECT artery.constrain_owner('bounds', 's1', max_step_percent => 'NaN');
SELECT artery.constrain_owner('nobody', 's1');
DROP FUNCTION decided;
