-- dna: scores of creatives, told or brought by a job, and what they are worth in decisions
SET client_min_messages = warning;
SET datestyle = 'ISO';
SET timezone = 'UTC';
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT artery.add_tenant('dna', 'service_business', settings => '{"fuzz_percent": 0}');
SELECT artery.register_ad('dna', 'a1', 'c1', 's1'), artery.register_ad('dna', 'a2', 'c1', 's2');

-- the newest score counts, whenever it is told
SELECT artery.record_dna('dna', 'a1', 0.4, 'model 1', '2024-03-02 00:00+00');
SELECT artery.record_dna('dna', 'a1', 0.9, 'model 1', '2024-03-01 00:00+00');
SELECT dna_score FROM artery.ad_state WHERE tenant_id = 'dna' AND ad_id = 'a1';
SELECT artery.record_dna('dna', 'a1', 0.5, 'model 2', '2024-03-02 00:00+00');
SELECT ad_id, recorded_at, score, source FROM artery.ad_dna WHERE tenant_id = 'dna' ORDER BY recorded_at;
SELECT dna_score FROM artery.ad_state WHERE tenant_id = 'dna' AND ad_id = 'a1';

-- a worker outside: one ad by the job's data, or several by name; the claim is settled with it or not at all
SELECT artery.enqueue_job('dna', 'creative-dna-extraction', '{"ad_id": "a1"}') > 0 AS queued;
SELECT job_id, attempt FROM artery.claim_jobs('creative-dna-extraction', 'test', 1, 'dna') \gset
SELECT artery.complete_job('dna', :job_id, :attempt, '{"score": "high"}') IS NULL AS refused;
SELECT artery.complete_job('dna', :job_id, :attempt, '{"score": 1.5}') IS NULL AS refused;
SELECT artery.complete_job('dna', :job_id, :attempt, '{"scores": [0.5]}') IS NULL AS refused;
SELECT artery.complete_job('dna', :job_id, :attempt, '{"scores": {"nobody": 0.5}}') IS NULL AS refused;
SELECT state FROM artery.job WHERE tenant_id = 'dna';
SELECT artery.complete_job('dna', :job_id, :attempt, '{"score": 0.75, "source": "vision 3"}');
SELECT artery.complete_job('dna', :job_id, :attempt, '{"score": 0.1}') AS settled_twice;
SELECT d.score, d.source, d.job_id = :job_id AS of_job, s.dna_score FROM artery.ad_dna d JOIN artery.ad_state s USING (tenant_id, ad_id)
 WHERE tenant_id = 'dna' AND d.job_id IS NOT NULL;
SELECT artery.enqueue_job('dna', 'creative-dna-extraction') > 0 AS queued;
SELECT job_id, attempt FROM artery.claim_jobs('creative-dna-extraction', 'test', 1, 'dna') \gset
SELECT artery.complete_job('dna', :job_id, :attempt, '{"scores": {"a1": 0.25, "a2": 1}}');
SELECT ad_id, dna_score FROM artery.ad_state WHERE tenant_id = 'dna' ORDER BY 1;

-- blended takes them as they are: 1 + 0.2 * 0.25 and 1 + 0.2 * 1
SELECT artery.add_tenant('dna blended');
SELECT artery.register_ad('dna blended', 'a1', 'c1', dna_score => 0.25);
SELECT artery.record_dna('dna blended', 'a1', 1);
SELECT metrics ->> 'model' AS model, metrics -> 'dna_boost' AS dna_boost FROM artery.allocate_budget('dna blended', 100, 1, propose => false);

-- delayed learns what they are worth. Thirty ads, whose CTR is .01 times e^score between 0 and 1, and two
-- new ones of which nothing is known but the score.
CREATE FUNCTION ads(score text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_ads jsonb;
BEGIN
    EXECUTE format($q$
        SELECT jsonb_agg(jsonb_build_object('ad_id', 'old ' || i, 'impressions', 100000, 'clicks', round(1000 * exp((i %% 11) / 10.0)),
            'spend', 1000, 'pipeline_value', 0, 'age_hours', 480, 'current_budget', 50, 'stages', jsonb_build_array(
                jsonb_build_array('lead', 20 * exp((i %% 11) / 10.0)), jsonb_build_array('won', 5 * exp((i %% 11) / 10.0))),
            'won_value', 1000, 'dna_score', %s)) FROM generate_series(1, 30) i $q$, score) INTO v_ads;
    RETURN v_ads || jsonb_build_array(
        '{"ad_id": "high", "impressions": 0, "clicks": 0, "spend": 0, "pipeline_value": 0, "age_hours": 0, "current_budget": 50, "stages": [["lead", 0], ["won", 0]], "won_value": 1000, "dna_score": 0.95}'::jsonb,
        '{"ad_id": "low", "impressions": 0, "clicks": 0, "spend": 0, "pipeline_value": 0, "age_hours": 0, "current_budget": 50, "stages": [["lead", 0], ["won", 0]], "won_value": 1000, "dna_score": 0.05}'::jsonb);
END $$;
-- informative: the slope is near 1 per score, so .3 per deviation, as scores 0, .1, ... 1 deviate by
-- about .31 from their mean; .95 and .05 are .45 from it: e^.45 = 1.6 and e^-.45 = .6
SELECT ad_id, round((metrics -> 'dna_effect')::numeric, 1) AS effect, round((metrics #> '{dna_slopes,ctr}')::numeric, 1) AS slope
  FROM artery.select_budget(ads('(i % 11) / 10.0'), 1600, seed => 1) WHERE ad_id IN ('high', 'low') ORDER BY 1;
SELECT max(recommended_budget) FILTER (WHERE ad_id = 'high') > 2 * max(recommended_budget) FILTER (WHERE ad_id = 'low') AS high_gets_more
  FROM artery.select_budget(ads('(i % 11) / 10.0'), 1600, seed => 1);
-- scores that have nothing to do with it are found to be worth nothing
SELECT ad_id, round((metrics -> 'dna_effect')::numeric, 3) AS effect
  FROM artery.select_budget(ads($$('x' || substr(md5(i::text), 1, 2))::bit(8)::int / 255.0$$), 1600, seed => 1) WHERE ad_id IN ('high', 'low') ORDER BY 1;
-- ... also those that are all the same, and too few (four must be known)
SELECT DISTINCT metrics ? 'dna_effect' AS counts FROM artery.select_budget(jsonb_path_query_array(ads('0.5'), '$[0 to 29]'), 1600, seed => 1);
SELECT DISTINCT metrics ? 'dna_effect' AS counts FROM artery.select_budget(jsonb_path_query_array(ads('i / 30.0'), '$[0 to 2]'), 1600, seed => 1);
-- scores told beside the states count alike
SELECT bool_and(a.recommended_budget = b.recommended_budget) AS same
  FROM artery.select_budget(ads('i / 30.0'), 1600, seed => 1) a
  JOIN artery.select_budget((SELECT jsonb_agg(e - 'dna_score') FROM jsonb_array_elements(ads('i / 30.0')) e), 1600,
      (SELECT jsonb_object_agg(e ->> 'ad_id', e -> 'dna_score') FROM jsonb_array_elements(ads('i / 30.0')) e), seed => 1) b USING (ad_id);
DROP FUNCTION ads;

-- refused
SELECT artery.record_dna('dna', 'nobody', 0.5);
SELECT artery.record_dna('dna', 'a1', 1.5);
SELECT artery.record_dna('dna', 'a1', 'NaN');
SELECT artery.record_dna('dna', 'a1', NULL);
SELECT artery.record_dna('dna', 'a1', 0.5, recorded_at => '2009-01-01');
SELECT artery.record_dna('nobody', 'a1', 0.5);
