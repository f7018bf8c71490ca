-- allocate_budget: from the tables to stored recommendations and proposed changes
SET datestyle = 'ISO';
SET timezone = 'UTC';
\set SHOW_CONTEXT never
SELECT artery.add_tenant('allocation', 'service_business', settings => '{"fuzz_percent": 0}');

-- no ads, no budget
SELECT * FROM artery.allocate_budget('allocation', 100);
SELECT count(*) FROM artery.allocation_run WHERE tenant_id = 'allocation';
SELECT artery.register_ad('allocation', 'a1', 'c1', 's1', first_seen => '2024-03-01 00:00+00');
SELECT * FROM artery.allocate_budget('allocation');

-- three ads of two owners and one without; 2024-03-05 is day 4
SELECT artery.register_ad('allocation', 'a2', 'c1', 's1', first_seen => '2024-03-03 00:00+00', dna_score => 0.5);
SELECT artery.register_ad('allocation', 'a3', 'c2', first_seen => '2024-03-04 00:00+00');
SELECT artery.register_ad('allocation', 'a4', 'c3', first_seen => '2024-03-04 00:00+00');
SELECT artery.observe_budget('allocation', 's1', 300, '2024-03-02 00:00+00');
SELECT artery.observe_budget('allocation', 'c2', 100, '2024-03-02 00:00+00');
SELECT artery.record_ad_day('allocation', 'a1', '2024-03-02', 5000, 150, 150);
SELECT artery.record_ad_day('allocation', 'a2', '2024-03-03', 2000, 20, 50);
SELECT artery.record_ad_day('allocation', 'a4', '2024-03-04', 100, 1, 24);
SELECT artery.configure_tenant('allocation', '{"daily_budget": 1000}') ->> 'daily_budget' AS daily_budget;

-- s1's 300 are shared by what was spent: 150 to 50 is 225 and 75; a4 has no owner:
-- 24 spent in one day. The amounts add up to the tenant's daily budget.
CREATE TEMP TABLE first AS
SELECT * FROM artery.allocate_budget('allocation', seed => 7, as_of => '2024-03-05 00:00+00', propose => false);
SELECT ad_id, budget_owner_id, current_budget, sum(recommended_budget) OVER () AS total,
       round((100 * (recommended_budget - current_budget) / current_budget)::numeric, 6) = round(change_percentage::numeric, 6) AS change_fits,
       confidence BETWEEN 0 AND 1 AS confident, reason ~ ' is expected to bring [0-9.]+ \(80% sure: ' AS reasoned, substring(reason FROM 'Not proposed.*') AS not_proposed
  FROM first ORDER BY ad_id;
-- the same from what was stored: any past decision can be made again
SELECT count(*), bool_and(s.recommended_budget = b.recommended_budget AND s.metrics <@ b.metrics) AS same
  FROM artery.allocation_run r
  CROSS JOIN LATERAL (SELECT jsonb_agg(i.inputs ORDER BY i.ad_id) AS states FROM artery.budget_recommendation i
                       WHERE i.tenant_id = r.tenant_id AND i.run_id = r.run_id) i
  CROSS JOIN LATERAL artery.select_budget(i.states, r.total_budget, seed => r.seed) s
  JOIN artery.budget_recommendation b ON b.tenant_id = r.tenant_id AND b.run_id = r.run_id AND b.ad_id = s.ad_id
 WHERE r.tenant_id = 'allocation';
SELECT as_of, model, seed, total_budget, ads, proposed, settings ->> 'mode' AS mode FROM artery.allocation_run WHERE tenant_id = 'allocation';
SELECT inputs - 'hops' - 'exposure' AS inputs FROM artery.budget_recommendation WHERE tenant_id = 'allocation' AND ad_id = 'a2';
SELECT count(*) FROM artery.v_budget_recommendations WHERE tenant_id = 'allocation';
-- as of noon on the 2nd: a1 is 36 hours old with that day's facts, the others are not there yet
SELECT ad_id, inputs -> 'impressions' AS impressions, inputs -> 'age_hours' AS age_hours
  FROM artery.allocation_inputs('allocation', '2024-03-02 12:00+00') ORDER BY 1;

-- proposals: one per owner, with the sum of its ads
SELECT count(*) FROM artery.allocate_budget('allocation', seed => 7, as_of => '2024-03-05 00:00+00');
SELECT c.budget_owner_id, c.campaign_id, c.adset_id, c.change_type, c.old_value, c.state, c.triggered_by,
       (c.requested_value ->> 'budget')::numeric = sum(b.recommended_budget) AS is_sum, count(*) AS ads
  FROM artery.ad_change c
  JOIN artery.budget_recommendation b ON b.tenant_id = c.tenant_id AND b.change_id = c.change_id
 WHERE c.tenant_id = 'allocation' GROUP BY c.tenant_id, c.change_id ORDER BY 1;
SELECT proposed FROM artery.allocation_run WHERE tenant_id = 'allocation' ORDER BY run_id;

-- bounds are per owner: s1's two ads share its 50 to 120.01, which both name; c2 has one ad
SELECT artery.configure_tenant('allocation', '{"min_budget": 50, "max_budget": 120.01}') ->> 'max_budget' AS max_budget;
SELECT budget_owner_id, sum(recommended_budget) BETWEEN 50 AND 120.01 AS within, min(metrics ->> 'budget_unallocated') AS unallocated
  FROM artery.allocate_budget('allocation', 200, 7, '2024-03-05 00:00+00', false) GROUP BY 1 HAVING budget_owner_id IS NOT NULL ORDER BY 1;
SELECT ad_id, inputs -> 'min_budget' AS min_budget, inputs -> 'max_budget' AS max_budget
  FROM artery.allocation_inputs('allocation', '2024-03-05 00:00+00') ORDER BY 1;
SELECT artery.configure_tenant('allocation', '{"min_budget": null, "max_budget": null}') IS NOT NULL AS ok;

-- feedback moves the next decision: a4 told to earn much is worth more
SELECT f.actual_roas FROM artery.record_feedback('allocation', 'a4', 5000, 24, 3000, 90, as_of => '2024-03-04 12:00+00') f;
SELECT (a.metrics -> 'value_mean')::float8 > (b.metrics -> 'value_mean')::float8 AS higher
  FROM artery.allocate_budget('allocation', seed => 7, as_of => '2024-03-05 00:00+00', propose => false) a
  JOIN first b USING (ad_id) WHERE ad_id = 'a4';
-- mode direct decides by cash: none was told
SELECT artery.configure_tenant('allocation', '{"mode": "direct"}') ->> 'mode' AS mode;
SELECT ad_id, metrics -> 'pipeline_roas' AS roas
  FROM artery.allocate_budget('allocation', seed => 7, as_of => '2024-03-05 00:00+00', propose => false) ORDER BY 1;
SELECT artery.configure_tenant('allocation', '{"mode": null}') IS NOT NULL AS ok;
-- a paused owner takes no part
UPDATE artery.budget_owner SET status = 'PAUSED' WHERE tenant_id = 'allocation' AND budget_owner_id = 'c2';
SELECT ad_id FROM artery.allocate_budget('allocation', seed => 7, propose => false);

-- a currency without cents gets whole units: 1000 yen; without stages, by blended
SELECT artery.add_tenant('allocation yen', currency => 'JPY');
SELECT artery.register_ad('allocation yen', 'y' || i, 'c', 's' || i, first_seen => '2024-03-01 00:00+00') FROM generate_series(1, 3) i;
SELECT sum(recommended_budget), bool_and(recommended_budget = trunc(recommended_budget)) AS whole
  FROM artery.allocate_budget('allocation yen', 1000, 1, propose => false);

-- an owner whose budget nobody observed is proposed for, its value before unknown
SELECT count(*) FROM artery.allocate_budget('allocation yen', 1000, 1);
SELECT change_type, old_value, count(*) FROM artery.ad_change WHERE tenant_id = 'allocation yen' GROUP BY 1, 2;

-- schedules need pg_cron; the statement for another database is there anyway
SELECT artery.run_scheduled_allocation('allocation') ~ '^allocated 1000.00 to 3 ads$' AS ran;
SELECT artery.schedule_sql('allocation', '0 * * * *') = format(
    'SELECT cron.schedule_in_database(''artery allocation allocation'', ''0 * * * *'', ''SELECT artery.run_scheduled_allocation(''''allocation'''')'', %L);',
    current_database()) AS as_expected;
\set VERBOSITY terse
SELECT artery.schedule_allocation('allocation', '0 * * * *');
SELECT artery.unschedule_allocation('allocation');
SELECT artery.schedule_allocation('nobody', '0 * * * *');
\set VERBOSITY default
SELECT artery.schedule_sql('allocation', '');
SELECT artery.schedule_sql('allocation', NULL);
SELECT octet_length(artery.allocation_job_name(repeat('x', 256))), artery.allocation_job_name(repeat('x', 256)) <> artery.allocation_job_name(repeat('x', 255)) AS apart;

-- refused
\set VERBOSITY terse
SELECT * FROM artery.allocate_budget('nobody', 100);
SELECT * FROM artery.allocate_budget('allocation', -1);
SELECT * FROM artery.allocate_budget('allocation', 'NaN');
SELECT * FROM artery.allocate_budget('allocation', 100, as_of => '2009-01-01');
SELECT * FROM artery.allocate_budget('allocation', 100, as_of => NULL);
\set VERBOSITY default

-- an ad that earned a deal though nobody registered it takes part, with its campaign
SELECT artery.add_tenant('allocation adopted', 'service_business');
INSERT INTO artery.deal (tenant_id, deal_id, stage, stage_value, first_event_at, ad_id, campaign_id, adset_id, updated_at)
VALUES ('allocation adopted', 'd1', 'lead', 0, '2024-03-04 00:00+00', 'ad_1', 'c1', NULL, artery.now()),
       ('allocation adopted', 'd2', 'appointment_scheduled', 2250, '2024-03-03 00:00+00', 'ad_1', 'c1', 's1', artery.now());
SELECT ad_id, budget_owner_id, recommended_budget FROM artery.allocate_budget('allocation adopted', 100);
SELECT ad_id, campaign_id, adset_id, first_seen FROM artery.ad_state WHERE tenant_id = 'allocation adopted';

-- facts beyond all measure count as the most that a decision takes, and stop nobody's run; twice what is told is no more than that either
SELECT artery.add_tenant('allocation absurd', 'service_business'), artery.add_tenant('allocation absurd plain');
SELECT count(artery.register_ad(t, 'z' || i, 'c', 's' || i, first_seen => '2024-03-01 00:00+00')) FROM unnest(ARRAY['allocation absurd', 'allocation absurd plain']) t, generate_series(1, 3) i;
SELECT count(artery.record_ad_day(t, 'z1', day, 1e15::bigint, 1e15::bigint, 1e12)) FROM unnest(ARRAY['allocation absurd', 'allocation absurd plain']) t, unnest(ARRAY['2024-03-02', '2024-03-03']::date[]) day;
SELECT t, f.actual_roas FROM unnest(ARRAY['allocation absurd', 'allocation absurd plain']) t CROSS JOIN LATERAL artery.record_feedback(t, 'z2', 1e12, 1, 10, 10, as_of => '2024-03-04 00:00+00') f;
SELECT t, sum(recommended_budget), max(metrics ->> 'run_id')::bigint AS run_id INTO TEMP absurd
  FROM unnest(ARRAY['allocation absurd', 'allocation absurd plain']) t CROSS JOIN LATERAL artery.allocate_budget(t, 100, 7, '2024-03-05 00:00+00', false) a GROUP BY 1;
SELECT t, sum, (SELECT count(*) FROM artery.explain_recommendation(t, run_id, 's2') WHERE would_change IS NOT NULL) AS explained FROM absurd ORDER BY 1;
SELECT artery.record_feedback('allocation absurd', 'z2', 1, 1, impressions => -1);
SELECT artery.record_feedback('allocation absurd', 'z2', 1, 1, clicks => 2000000000000000);
