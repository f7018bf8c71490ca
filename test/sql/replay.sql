-- replay: a past run decided again from what it kept, and what a newer model may say of it
SET datestyle = 'ISO';
SET timezone = 'UTC';
\set SHOW_CONTEXT never
-- kept in src/decide/model_version.h; a run of that model tells it
SELECT m AS model, artery.model_version(m) FROM unnest(ARRAY['blended', 'delayed']) m;
SELECT artery.model_version('thompson');
-- blended is the source's and stays as it is: other numbers here are another version
SELECT ad_id, recommended_budget, round((metrics -> 'draw')::numeric, 6) AS draw, round((metrics -> 'share')::numeric, 6) AS share
  FROM artery.select_budget('[{"ad_id": "a", "impressions": 9000, "clicks": 210, "spend": 400, "pipeline_value": 450, "age_hours": 96},
                              {"ad_id": "b", "impressions": 700, "clicks": 9, "spend": 38, "pipeline_value": 60, "age_hours": 20, "dna_score": 0.5}]',
                            300, seed => 7, model => 'blended');

-- two tenants, one decided by each model
SELECT artery.add_tenant('replay', 'service_business', settings => '{"fuzz_percent": 0}'), artery.add_tenant('replay plain', currency => 'JPY');
SELECT count(artery.register_ad(t, 'r' || i, 'c1', 's' || (i + 1) / 2, first_seen => '2024-03-01 00:00+00')) FROM unnest(ARRAY['replay', 'replay plain']) t, generate_series(1, 5) i;
SELECT count(artery.record_ad_day(t, 'r' || i, ('2024-03-0' || d)::date, 1000 * i, 20 * i, 30 + i)) FROM unnest(ARRAY['replay', 'replay plain']) t, generate_series(1, 5) i, generate_series(2, 5) d;
SELECT count(artery.record_feedback(t, 'r' || i, 150.37 * i * i, 200, as_of => '2024-03-06 12:00+00')) FROM unnest(ARRAY['replay', 'replay plain']) t, generate_series(1, 5) i;
SELECT artery.constrain_owner('replay', 's1', max_budget => 100);
SELECT t, max((a.metrics -> 'run_id')::bigint) AS run_id INTO TEMP runs
  FROM unnest(ARRAY['replay', 'replay plain']) t CROSS JOIN LATERAL artery.allocate_budget(t, 1000, 7, '2024-03-07 00:00+00', false) a GROUP BY 1;
SELECT tenant_id, model, model_version = artery.model_version(model) AS present FROM artery.allocation_run WHERE tenant_id LIKE 'replay%' ORDER BY 1;
SELECT DISTINCT tenant_id, model_version = artery.model_version(model) AS present FROM artery.v_budget_recommendations WHERE tenant_id LIKE 'replay%' ORDER BY 1;

-- the same numbers, whatever has come in since
SELECT count(artery.record_ad_day(t, 'r' || i, '2024-03-06', 100000, 20, 3000)) FROM unnest(ARRAY['replay', 'replay plain']) t, generate_series(1, 5) i;
SELECT artery.configure_tenant('replay', '{"max_budget": 10}') IS NOT NULL AS ok;
SELECT t, p.ad_id, p.is_same, p.recommended_budget = p.replayed_budget AND p.share = p.replayed_share AS equal,
       p.draw = p.replayed_draw AS draws, p.model_version = p.replay_version AS version
  FROM runs CROSS JOIN LATERAL artery.replay_allocation(t, run_id) p ORDER BY 1, 2;
SELECT t, sum(replayed_budget) FROM runs CROSS JOIN LATERAL artery.replay_allocation(t, run_id) GROUP BY 1 ORDER BY 1;
-- what was tampered with shows, be it only in what is told
UPDATE artery.budget_recommendation SET recommended_budget = recommended_budget + 1 WHERE tenant_id = 'replay plain' AND ad_id = 'r2';
UPDATE artery.budget_recommendation SET metrics = metrics || '{"value_mean": 1}' WHERE tenant_id = 'replay' AND ad_id = 'r5';
UPDATE artery.budget_recommendation SET metrics = metrics || '{"more": 1}' WHERE tenant_id = 'replay' AND ad_id = 'r4';
SELECT t, p.ad_id, p.recommended_budget - p.replayed_budget AS off FROM runs CROSS JOIN LATERAL artery.replay_allocation(t, run_id) p WHERE NOT p.is_same ORDER BY 1, 2;

-- what one changed input would have made of it; nothing given is nothing changed
SELECT run_id FROM runs WHERE t = 'replay' \gset
SELECT artery.replay_recommendation('replay', :run_id, 'r5') = recommended_budget AS same,
       artery.replay_recommendation('replay', :run_id, 'r5', '{"max_budget": 50}') AS bounded
  FROM artery.budget_recommendation WHERE tenant_id = 'replay' AND run_id = :run_id AND ad_id = 'r5';

-- decided by another version: what was decided is shown as it was stored, what is computed anew says by whom
CREATE TEMP TABLE before AS SELECT o, e.* FROM unnest(ARRAY['s1', 's2']) o CROSS JOIN LATERAL artery.explain_recommendation('replay', :run_id, o) e;
SELECT ad_id, model_version = artery.model_version(model) AS present, regexp_replace(would_change, '[0-9]+(\.[0-9]+)?', '#', 'g') AS would_change FROM before ORDER BY 1;
UPDATE artery.allocation_run SET model_version = 77 WHERE tenant_id = 'replay';
UPDATE artery.budget_recommendation SET recommended_budget = 12.34, metrics = metrics || '{"value_mean": 5.67}' WHERE tenant_id = 'replay' AND ad_id = 'r1';
SELECT e.ad_id, e.model_version, e.recommended_budget = b.recommended_budget AS budget, e.posterior -> 'mean' = b.posterior -> 'mean' AS mean,
       e.confidence = b.confidence AND e.reason = b.reason AND e.inputs = b.inputs AND e.bounds = b.bounds AND e.decision_reason = b.decision_reason AS others,
       e.would_change = format('Decided by version 77 of the model; what follows is computed by version %s, which comes to %s a day on the same inputs. %s',
                               artery.model_version(e.model), b.recommended_budget, b.would_change) AS says_so
  FROM unnest(ARRAY['s1', 's2']) o CROSS JOIN LATERAL artery.explain_recommendation('replay', :run_id, o) e JOIN before b USING (ad_id) ORDER BY 1;
SELECT recommended_budget, posterior -> 'mean' AS mean FROM artery.explain_recommendation('replay', :run_id, 's1') WHERE ad_id = 'r1';
-- and so do replays: with the version in each row, and a notice, of which no more is shown here than that it comes (run and version vary)
\set VERBOSITY sqlstate
SELECT ad_id, is_same, model_version, replay_version = artery.model_version(model) AS present FROM artery.replay_allocation('replay', :run_id) ORDER BY 1;
SELECT artery.replay_recommendation('replay', :run_id, 'r5') > 0 AS replayed;
\set VERBOSITY default
-- inputs of another version that this one does not take: the decision is shown all the same
UPDATE artery.budget_recommendation SET inputs = inputs - 'impressions' WHERE tenant_id = 'replay' AND ad_id = 'r3';
SELECT ad_id, recommended_budget > 0 AS shown, replace(would_change, 'version ' || artery.model_version(model), 'version #') AS would_change
  FROM artery.explain_recommendation('replay', :run_id, 's3') ORDER BY 1;

-- refused: a run of another tenant, none, an ad that had no part in it, and inputs that are none
\set VERBOSITY sqlstate
SELECT * FROM artery.replay_allocation('replay plain', :run_id);
SELECT artery.replay_recommendation('replay plain', :run_id, 'r1');
SELECT artery.replay_recommendation('replay plain', run_id, 'r9') FROM runs WHERE t = 'replay plain';
SELECT * FROM artery.explain_recommendation('replay plain', :run_id, 's1');
SELECT * FROM runs CROSS JOIN LATERAL artery.explain_recommendation(t, run_id, 's9') WHERE t = 'replay plain';
\set VERBOSITY default
SELECT * FROM artery.replay_allocation('replay', 0);
SELECT * FROM artery.replay_allocation('replay', NULL);
\set VERBOSITY terse
SELECT * FROM artery.replay_allocation('nobody', 0);
\set VERBOSITY default
SELECT artery.replay_recommendation('replay plain', run_id, 'r1', '[]') FROM runs WHERE t = 'replay plain';
SELECT artery.replay_recommendation('replay plain', run_id, 'r1', '{"ad_id": "r2"}') FROM runs WHERE t = 'replay plain';
SELECT artery.replay_recommendation('replay plain', run_id, 'r1', '{"clicks": "many"}') FROM runs WHERE t = 'replay plain';
