-- Approval: what people decide, what the policy decides, fuzz and jitter.
SET client_min_messages = warning;
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT artery.add_tenant('approval', settings => '{"dry_run": false, "fuzz_percent": 0}'), artery.add_tenant('approval_b');
SELECT artery.register_ad('approval', 'ad_' || n, 'campaign', 'set_' || n, 'set_' || n),
       artery.observe_budget('approval', 'set_' || n, 100, '2026-01-01') FROM generate_series(1, 3) n;
-- Errors name the change, whose id is random.
CREATE FUNCTION pg_temp.refused(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_hint text;
BEGIN
    EXECUTE command;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS v_hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ' ' || regexp_replace(SQLERRM, '[0-9a-f]{8}-[0-9a-f-]{27}', 'ID') || coalesce(' / ' || nullif(v_hint, ''), '');
END $$;

-- By hand: the default.
SELECT artery.queue_ad_change('approval', 'campaign', 'BUDGET_INCREASE', NULL, '{"budget": 110}', 'test', 'ad_1', ml_confidence => 1) AS c1 \gset
SELECT state, run_at FROM artery.ad_change WHERE change_id = :'c1';
SELECT pg_temp.refused(format('SELECT artery.approve_ad_change(%L, %L, NULL)', 'approval', :'c1'));
SELECT pg_temp.refused(format('SELECT artery.approve_ad_change(%L, %L, %L)', 'approval', :'c1', ''));
-- Another tenant's change is unknown, as one that never was.
SELECT pg_temp.refused(format('SELECT artery.approve_ad_change(%L, %L, %L)', 'approval_b', :'c1', 'eve'));
SELECT pg_temp.refused(format('SELECT artery.approve_ad_change(%L, %L, %L)', 'approval', gen_random_uuid(), 'eve'));
SELECT pg_temp.refused(format('SELECT artery.approve_ad_change(%L, %L, %L)', 'nobody', :'c1', 'eve')) LIKE '22023 unknown tenant%';
SELECT artery.approve_ad_change('approval', :'c1', 'anna', 'looks right');
-- The jitter is a time to run at, 3 to 18 seconds from now.
SELECT state, approved_by, approval_note, run_at - approved_at BETWEEN interval '3 s' AND interval '18 s' AS jitter
  FROM artery.ad_change WHERE change_id = :'c1';
SELECT pg_temp.refused(format('SELECT artery.approve_ad_change(%L, %L, %L)', 'approval', :'c1', 'anna'));
SELECT pg_temp.refused(format('SELECT artery.reject_ad_change(%L, %L, %L)', 'approval', :'c1', 'anna'));
SELECT pg_temp.refused(format('SELECT artery.retry_ad_change(%L, %L)', 'approval', :'c1'));
SELECT pg_temp.refused(format('SELECT artery.rollback_ad_change(%L, %L)', 'approval', :'c1'));
SELECT artery.cancel_ad_change('approval', :'c1', 'anna', 'changed my mind');
SELECT pg_temp.refused(format('SELECT artery.cancel_ad_change(%L, %L, %L)', 'approval', :'c1', 'anna'));
SELECT artery.queue_ad_change('approval', 'campaign', 'BUDGET_INCREASE', NULL, '{"budget": 110}', 'test', 'ad_1') AS c2 \gset
SELECT artery.reject_ad_change('approval', :'c2', 'anna', 'too much');
SELECT outcome, actor, response FROM artery.ad_change_history WHERE tenant_id = 'approval' ORDER BY history_id;

-- What is under way cannot be cancelled, nor rolled back.
SELECT artery.configure_tenant('approval', '{"jitter_ms_min": 0, "jitter_ms_max": 0}') ->> 'jitter_ms_max';
SELECT artery.queue_ad_change('approval', 'campaign', 'BUDGET_INCREASE', NULL, '{"budget": 110}', 'test', 'ad_1') AS c3 \gset
SELECT artery.approve_ad_change('approval', :'c3', 'anna');
SELECT verdict FROM artery.reserve_ad_change('approval', :'c3', '{"budget": 100}');
SELECT pg_temp.refused(format('SELECT artery.cancel_ad_change(%L, %L, %L)', 'approval', :'c3', 'anna'));
SELECT pg_temp.refused(format('SELECT artery.rollback_ad_change(%L, %L)', 'approval', :'c3'));
SELECT artery.settle_ad_change('approval', :'c3', 1, 'unknown');
SELECT pg_temp.refused(format('SELECT artery.cancel_ad_change(%L, %L, %L)', 'approval', :'c3', 'anna'));

-- A safety override lets a budget pass in one step, and only a person with a reason can approve it.
SELECT artery.configure_tenant('approval', '{"auto_approve_percent": 100}') ->> 'auto_approve_percent';
SELECT artery.queue_ad_change('approval', 'campaign', 'BUDGET_INCREASE', NULL, '{"budget": 150}', 'test', 'ad_2',
                              ml_confidence => 1, safety_override => true) AS over \gset
SELECT state FROM artery.ad_change WHERE change_id = :'over';
SELECT pg_temp.refused(format('SELECT artery.approve_ad_change(%L, %L, %L)', 'approval', :'over', 'anna'));
SELECT pg_temp.refused(format('SELECT artery.approve_ad_change(%L, %L, %L, %L)', 'approval', :'over', 'anna', '  '));
SELECT artery.approve_ad_change('approval', :'over', 'anna', 'sale tomorrow');
SELECT verdict, value FROM artery.reserve_ad_change('approval', :'over', '{"budget": 100}');
SELECT artery.settle_ad_change('approval', :'over', 1, 'applied');
SELECT outcome, new_value, checks -> 'velocity' AS velocity FROM artery.ad_change_history
 WHERE change_id = :'over' ORDER BY history_id;

-- The policy: 10 % of the budget observed, from a confidence of 0.8.
SELECT artery.configure_tenant('approval', '{"auto_approve_percent": 10, "auto_approve_confidence": 0.8}') ->> 'auto_approve_percent';
CREATE FUNCTION pg_temp.judged_by_policy() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    v_wish record;
    v_id   uuid;
BEGIN
    FOR v_wish IN SELECT * FROM (VALUES (110, 0.8), (110.01, 1), (110, 0.79), (90, 0.9), (89.99, 0.9), (110, NULL)) v(budget, confidence) LOOP
        v_id := artery.queue_ad_change('approval', 'campaign', CASE WHEN v_wish.budget > 100 THEN 'BUDGET_INCREASE' ELSE 'BUDGET_DECREASE' END,
            NULL, jsonb_build_object('budget', v_wish.budget), 'test', 'ad_3', ml_confidence => v_wish.confidence);
        RETURN QUERY SELECT concat_ws(' ', v_wish.budget, v_wish.confidence, c.state, 'by ' || c.approved_by)
                       FROM artery.ad_change c WHERE c.change_id = v_id;
    END LOOP;
END $$;
SELECT pg_temp.judged_by_policy();
-- The value it had was said to be 105, but 100 is observed: 12 % of that.
SELECT artery.queue_ad_change('approval', 'campaign', 'BUDGET_INCREASE', '{"budget": 105}', '{"budget": 112}', 'test', 'ad_3', ml_confidence => 1) AS c4 \gset
SELECT state FROM artery.ad_change WHERE change_id = :'c4';
-- A status has no size: by hand.
SELECT artery.queue_ad_change('approval', 'campaign', 'STATUS_CHANGE', NULL, '{"status": "PAUSED"}', 'test', 'ad_3', ml_confidence => 1) AS c5 \gset
SELECT state, target_id FROM artery.ad_change WHERE change_id = :'c5';

-- A targeting is kept for people, and says so when somebody wants to send it.
SELECT artery.queue_ad_change('approval', 'campaign', 'TARGETING_UPDATE', NULL, '{"targeting": {"age_min": 30}}', 'test', adset_id => 'set_3') AS target \gset
SELECT pg_temp.refused(format('SELECT artery.approve_ad_change(%L, %L, %L)', 'approval', :'target', 'anna'));
SELECT artery.reject_ad_change('approval', :'target', 'anna');

-- Fuzz: within +-3 %, drawn once, the same for the same seed; an increase stays one; the bounds hold.
SELECT artery.configure_tenant('approval', '{"fuzz_percent": 3, "auto_approve_percent": 0, "max_budget": 201, "min_budget": 99}') ->> 'fuzz_percent';
CREATE FUNCTION pg_temp.wishes(budget numeric, n int) RETURNS TABLE (fuzzed numeric) LANGUAGE plpgsql AS $$
DECLARE
    v_id uuid;
BEGIN
    FOR i IN 1..n LOOP
        v_id := artery.queue_ad_change('approval', 'campaign', 'BUDGET_INCREASE', NULL, jsonb_build_object('budget', budget), 'test', 'ad_3');
        RETURN QUERY SELECT (c.new_value ->> 'budget')::numeric FROM artery.ad_change c
                      WHERE c.change_id = v_id AND c.requested_value = jsonb_build_object('budget', budget);
    END LOOP;
END $$;
SELECT setseed(0.5);
SELECT array_agg(fuzzed) AS first FROM pg_temp.wishes(150, 5) \gset
SELECT setseed(0.5);
SELECT array_agg(fuzzed) = :'first' AS same_seed_same_fuzz FROM pg_temp.wishes(150, 5);
SELECT count(*), min(fuzzed) >= 145.50 AS low, max(fuzzed) <= 154.50 AS high, count(DISTINCT fuzzed) > 90 AS varied,
       bool_and(scale(fuzzed) = 2) AS cents FROM pg_temp.wishes(150, 100);
SELECT min(fuzzed) > 100 AS still_an_increase, max(fuzzed) <= 104.03 AS high FROM pg_temp.wishes(101, 100);
SELECT max(fuzzed) AS at_most, bool_or(fuzzed < 200) AS fuzzed FROM pg_temp.wishes(200, 100);
-- What passes in one step does so with its fuzz: 120 is 20 % above 100.
SELECT max(fuzzed) <= 120 AS one_step, min(fuzzed) >= 116.40 AS low, count(DISTINCT fuzzed) > 50 AS varied FROM pg_temp.wishes(120, 100);
