-- Change: what may be proposed, and the way of a change from claim to settlement.
-- Ids are random and times are now, so both are kept out of the output.
SET client_min_messages = warning;
\set VERBOSITY terse
\set SHOW_CONTEXT never
-- Claims are over all tenants: what other tests left shall not be claimed here.
UPDATE artery.tenant SET settings = settings || '{"enabled": false}';
SELECT artery.add_tenant('change_a', settings => '{"dry_run": false, "fuzz_percent": 0, "jitter_ms_min": 0, "jitter_ms_max": 0}'),
       artery.add_tenant('change_b', settings => '{"dry_run": false, "fuzz_percent": 0, "jitter_ms_min": 0, "jitter_ms_max": 0}');
SELECT artery.register_ad('change_a', 'ad_1', 'campaign_1', 'set_1', 'set_1'),
       artery.observe_budget('change_a', 'set_1', 100, artery.now() - interval '1 day');

-- What happened to a change, and where it stands.
CREATE FUNCTION pg_temp.story(change uuid) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' ', outcome, h.old_value ->> 'budget', h.old_value ->> 'status', '->', h.new_value ->> 'budget',
                     h.new_value ->> 'status', CASE WHEN h.dry_run THEN 'dry' END, h.error)
      FROM artery.ad_change_history h WHERE h.change_id = change ORDER BY history_id $$;
CREATE FUNCTION pg_temp.stand(change uuid) RETURNS TABLE (state text, rule text, failures int, wait interval, error text) LANGUAGE sql AS $$
    SELECT c.state, c.blocked_rule, c.failures, date_trunc('minute', c.run_at - c.updated_at + interval '1 second'), c.last_error
      FROM artery.ad_change c WHERE c.change_id = change $$;
-- Claim, judge by what is in force, settle as applied: one step of each change that is due, as the worker does it.
CREATE FUNCTION pg_temp.work(outcome text DEFAULT 'applied', live jsonb DEFAULT NULL) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' ', j.verdict, j.value, CASE WHEN j.verdict = 'send'
                     THEN artery.settle_ad_change(c.tenant_id, c.change_id, c.attempt, outcome, CASE WHEN outcome <> 'applied' THEN 'test' END) END)
      FROM artery.claim_ad_changes(10) c
     CROSS JOIN LATERAL artery.judge_ad_change(c.tenant_id, c.change_id, c.attempt,
           coalesce(live, jsonb_build_object('budget', artery.budget_in_force(c.tenant_id, c.target_id)))) j $$;

-- Refusals: nothing is stored.
SELECT artery.queue_ad_change('change_nobody', 'campaign_1', 'BUDGET_INCREASE', NULL, '{"budget": 120}', 'test');
SELECT artery.queue_ad_change('change_a', NULL, 'BUDGET_INCREASE', NULL, '{"budget": 120}', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', NULL, NULL, '{"budget": 120}', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_INCREASE', NULL, NULL, 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_INCREASE', NULL, '{"budget": 120}', NULL);
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BID_CHANGE', NULL, '{"budget": 120}', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_INCREASE', NULL, '{"budget": "120"}', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_INCREASE', NULL, '{"budget": 120, "bid": 3}', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_INCREASE', NULL, '[120]', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_INCREASE', NULL, '{"budget": 120.001}', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_DECREASE', NULL, '{"budget": 0}', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_DECREASE', NULL, '{"budget": -5}', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_INCREASE', NULL, '{"budget": 1e400}', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_INCREASE', NULL, '{"budget": 90}', 'test', budget_owner_id => 'set_1');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_INCREASE', '{"budget": 130}', '{"budget": 120}', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_DECREASE', NULL, '{"budget": 120}', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_INCREASE', NULL, '{"budget": 120}', 'test', ml_confidence => 1.1);
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_INCREASE', NULL, '{"budget": 120}', 'test', ml_confidence => 'NaN');
SELECT artery.queue_ad_change('change_a', repeat('x', 257), 'BUDGET_INCREASE', NULL, '{"budget": 120}', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'STATUS_CHANGE', NULL, '{"status": "DELETED"}', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'STATUS_CHANGE', NULL, '{"budget": 120}', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'STATUS_CHANGE', '{"status": "PAUSED"}', '{"status": "PAUSED"}', 'test');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'TARGETING_UPDATE', NULL, '{"age": 30}', 'test');
-- Budgets are on ad sets or campaigns: an ad nobody knows, another tenant's ad, an ad of another campaign.
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_INCREASE', NULL, '{"budget": 120}', 'test', 'ad_9');
SELECT artery.queue_ad_change('change_b', 'campaign_1', 'BUDGET_INCREASE', NULL, '{"budget": 120}', 'test', 'ad_1');
SELECT artery.queue_ad_change('change_a', 'campaign_2', 'BUDGET_INCREASE', NULL, '{"budget": 120}', 'test', 'ad_1');
SELECT artery.configure_tenant('change_a', '{"min_budget": 50, "max_budget": 1000}') - ARRAY['currency', 'time_zone', 'dry_run'];
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_DECREASE', NULL, '{"budget": 49.99}', 'test', 'ad_1');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_INCREASE', NULL, '{"budget": 1000.01}', 'test', 'ad_1');
SELECT count(*) FROM artery.ad_change WHERE tenant_id LIKE 'change\__';

-- An ad leads to its budget owner; the value before it is the one observed.
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_INCREASE', NULL, '{"budget": 250}', 'test', 'ad_1') AS ramp \gset
SELECT target_id, budget_owner_id, old_value, new_value, requested_value, state, run_at
  FROM artery.ad_change WHERE change_id = :'ramp';
-- Nothing unapproved is claimed.
SELECT pg_temp.work();
SELECT artery.approve_ad_change('change_a', :'ramp', 'anna');

-- 100 -> 250 in steps of at most 20 %, six hours apart: 120, 144, 172.80, 207.36, 248.83 (248.832 rounded down), 250.
SELECT pg_temp.work();
SELECT * FROM pg_temp.stand(:'ramp');
SELECT steps_done, reached_value, progress_percent, (blocked_detail -> 'velocity') - 'next_allowed_at' AS velocity
  FROM artery.v_pending_changes WHERE change_id = :'ramp';
-- Not due before: nothing is claimed half an hour earlier (a step and a slow machine in between).
SET artery.clock_offset = 19800;
SELECT pg_temp.work();
SET artery.clock_offset = 21610;
SELECT pg_temp.work();
SET artery.clock_offset = 43220;
SELECT pg_temp.work();
SET artery.clock_offset = 64830;
SELECT pg_temp.work();
SET artery.clock_offset = 86440;
SELECT pg_temp.work();
SET artery.clock_offset = 108050;
SELECT pg_temp.work();
SELECT pg_temp.story(:'ramp');
SELECT * FROM pg_temp.stand(:'ramp');
SELECT min(gap) >= interval '6 hours' AS at_least_6_hours_apart, count(*) FROM (
    SELECT recorded_at - lag(recorded_at) OVER (ORDER BY history_id) AS gap
      FROM artery.ad_change_history WHERE change_id = :'ramp' AND outcome IN ('step', 'completed')) g;
SELECT budget, source FROM artery.budget_observation WHERE tenant_id = 'change_a' ORDER BY observed_at;
SELECT budget FROM artery.budget_owner WHERE tenant_id = 'change_a' AND budget_owner_id = 'set_1';
SELECT old_budget, new_budget, change_percentage, outcome, dry_run, approved_by
  FROM artery.v_recent_budget_changes WHERE tenant_id = 'change_a' ORDER BY recorded_at;

-- Rolled back: the value before all its steps is proposed, without fuzz.
SELECT artery.rollback_ad_change('change_a', :'ramp') AS back \gset
SELECT change_type, old_value, new_value, state, triggered_by, rollback_of = :'ramp' AS linked FROM artery.ad_change WHERE change_id = :'back';
SELECT artery.approve_ad_change('change_a', :'back', 'anna');
-- 250 -> 200 -> 160 -> 128 -> 102.40 -> 100: first step now (250 in force, 248.83 before: 250 * 0.8 = 200 binds).
SET artery.clock_offset = 110000;
SELECT pg_temp.work();
-- Somebody else sets the budget meanwhile: the person's newer edit wins, and both numbers are told.
SELECT artery.observe_budget('change_a', 'set_1', 220, artery.now());
SET artery.clock_offset = 132000;
SELECT pg_temp.work();
SELECT * FROM pg_temp.stand(:'back');

-- A newer wish for the same object supersedes the older, audibly; another object's is left alone.
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_DECREASE', NULL, '{"budget": 200}', 'test', 'ad_1') AS older \gset
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'STATUS_CHANGE', NULL, '{"status": "PAUSED"}', 'test', adset_id => 'set_1') AS status \gset
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_DECREASE', NULL, '{"budget": 150}', 'test', 'ad_1') AS newer \gset
SELECT state, superseded_by = :'newer' AS linked, settled_at IS NOT NULL AS settled FROM artery.ad_change WHERE change_id = :'older';
SELECT pg_temp.story(:'older');
SELECT state FROM artery.ad_change WHERE change_id = :'status';

-- A wish under way is left to finish its step and ends then.
SET artery.clock_offset = 200000;
SELECT artery.approve_ad_change('change_a', :'newer', 'anna');
SELECT change_id = :'newer' AS claimed, attempt FROM artery.claim_ad_changes(5);
SELECT verdict, value FROM artery.judge_ad_change('change_a', :'newer', 1, '{"budget": 220}');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'BUDGET_DECREASE', NULL, '{"budget": 180}', 'test', 'ad_1') AS newest \gset
SELECT state, superseded_by = :'newest' AS linked FROM artery.ad_change WHERE change_id = :'newer';
SELECT artery.settle_ad_change('change_a', :'newer', 1, 'applied');
SELECT state FROM artery.ad_change WHERE change_id = :'newer';
SELECT replace(s, :'newest', 'the newest') FROM pg_temp.story(:'newer') s;
SELECT artery.cancel_ad_change('change_a', :'newest', 'anna', 'enough');

-- A status takes a place too; what is in force already is completed without being sent.
SELECT artery.approve_ad_change('change_a', :'status', 'anna');
SELECT pg_temp.work(live => '{"status": "ACTIVE"}');
SELECT pg_temp.story(:'status');
SELECT artery.queue_ad_change('change_a', 'campaign_1', 'STATUS_CHANGE', NULL, '{"status": "PAUSED"}', 'test', 'ad_1') AS status \gset
SELECT artery.approve_ad_change('change_a', :'status', 'anna');
SELECT pg_temp.work(live => '{"status": "PAUSED"}');
SELECT pg_temp.story(:'status');
SELECT change_type, budget_owner_id FROM artery.campaign_action WHERE tenant_id = 'change_a' AND acted_at > artery.now() - interval '1 hour' ORDER BY action_seq;

-- Failures: five attempts, a minute later, then doubled; then for good, until somebody retries.
SELECT artery.observe_budget('change_b', 'set_b', 100, '2026-01-01');
SELECT artery.queue_ad_change('change_b', 'campaign_b', 'BUDGET_INCREASE', NULL, '{"budget": 110}', 'test', budget_owner_id => 'set_b') AS fails \gset
SELECT artery.approve_ad_change('change_b', :'fails', 'ben');
CREATE FUNCTION pg_temp.fail_five() RETURNS TABLE (attempt int, state text, minutes numeric, places bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..5 LOOP
        PERFORM set_config('artery.clock_offset', (300000 + i * 2000)::text, false);
        PERFORM pg_temp.work('retry');
        RETURN QUERY SELECT i, c.state, trunc(extract(epoch FROM c.run_at - c.updated_at) / 60 / 2 ^ (i - 1)::numeric),
            (SELECT count(*) FROM artery.campaign_action a WHERE a.tenant_id = 'change_b')
          FROM artery.ad_change c WHERE c.tenant_id = 'change_b';
    END LOOP;
END $$;
SELECT * FROM pg_temp.fail_five();
SELECT pg_temp.story(:'fails');
SELECT artery.retry_ad_change('change_b', :'fails');
-- Being throttled spends no attempt and is told once.
SELECT pg_temp.work('throttled');
SELECT * FROM pg_temp.stand(:'fails');
-- Unknown: read before anything else, soon. In force: completed, with the step recorded.
SET artery.clock_offset = 320000;
SELECT pg_temp.work('unknown');
SELECT state, sending_value, run_at - updated_at < interval '10 seconds' AS soon FROM artery.ad_change WHERE change_id = :'fails';
SET artery.clock_offset = 320010;
SELECT reconcile, sending_value FROM artery.claim_ad_changes(5);
SELECT verdict FROM artery.judge_ad_change('change_b', :'fails', (SELECT attempt FROM artery.ad_change WHERE change_id = :'fails'), '{"budget": 110.00}');
SELECT pg_temp.story(:'fails');

-- Unknown and not applied: sent again; unknown and something else in force: somebody's edit won.
SET artery.clock_offset = 350000;
SELECT artery.queue_ad_change('change_b', 'campaign_b', 'BUDGET_INCREASE', NULL, '{"budget": 120}', 'test', budget_owner_id => 'set_b') AS lost \gset
SELECT artery.approve_ad_change('change_b', :'lost', 'ben');
SELECT pg_temp.work('unknown');
SET artery.clock_offset = 350020;
SELECT pg_temp.work('unknown', '{"budget": 110}');
SET artery.clock_offset = 350040;
SELECT pg_temp.work('applied', '{"budget": 95}');
SELECT pg_temp.story(:'lost');
-- Every attempt whose outcome was unknown keeps its place.
SELECT count(*) FROM artery.campaign_action WHERE tenant_id = 'change_b' AND change_id = :'lost';

-- Taken and never applied, time and again: failed after five times, not sent for ever.
SELECT artery.queue_ad_change('change_b', 'campaign_d', 'BUDGET_INCREASE', '{"budget": 100}', '{"budget": 120}', 'test', budget_owner_id => 'set_d') AS never \gset
SELECT artery.approve_ad_change('change_b', :'never', 'ben');
DO $$
BEGIN
    FOR i IN 1..6 LOOP
        PERFORM set_config('artery.clock_offset', (350040 + i * 4000)::text, false);
        PERFORM pg_temp.work('unknown', '{"budget": 100}');
    END LOOP;
END $$;
SELECT * FROM pg_temp.stand(:'never');
SELECT outcome, count(*) FROM artery.ad_change_history WHERE change_id = :'never' GROUP BY 1 ORDER BY 1;
-- What happened stays as it was recorded.
UPDATE artery.ad_change_history SET outcome = 'completed' WHERE tenant_id = 'change_b';

-- The object carries no budget: refused for good.
SELECT artery.queue_ad_change('change_b', 'campaign_c', 'BUDGET_INCREASE', '{"budget": 100}', '{"budget": 120}', 'test') AS none \gset
SELECT artery.approve_ad_change('change_b', :'none', 'ben');
SELECT pg_temp.work(live => '{}');
SELECT * FROM pg_temp.stand(:'none');

-- Five wishes for one budget owner within the hour: the fifth waits until the first has left it; no attempt is spent.
SET artery.clock_offset = 400000;
SELECT artery.configure_tenant('change_b', '{"velocity_window_hours": 0.001}') ->> 'velocity_window_hours';
CREATE FUNCTION pg_temp.five() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    v_change uuid;
BEGIN
    FOR i IN 1..5 LOOP
        PERFORM set_config('artery.clock_offset', (400000 + i * 60)::text, false);
        v_change := artery.queue_ad_change('change_b', 'campaign_b', 'BUDGET_INCREASE', NULL,
            jsonb_build_object('budget', 100 + i), 'test', budget_owner_id => 'set_b');
        PERFORM artery.approve_ad_change('change_b', v_change, 'ben');
        RETURN QUERY SELECT pg_temp.work();
        RETURN QUERY SELECT concat_ws(' ', c.state, c.blocked_rule, c.failures, 'in', date_trunc('minute', c.run_at - c.updated_at + interval '1 s'))
            FROM artery.ad_change c WHERE c.change_id = v_change;
    END LOOP;
END $$;
SELECT pg_temp.five();
SELECT blocked_rule, new_value, checks -> 'owner_limit' ->> 'count' AS count, checks -> 'owner_limit' ->> 'limit' AS limit, state_now
  FROM artery.v_safety_check_failures WHERE tenant_id = 'change_b' ORDER BY recorded_at;
SELECT actions_last_hour, limit_value, places_left, blocked, completed_last_day
  FROM artery.v_campaign_activity_summary WHERE tenant_id = 'change_b' AND campaign_id = 'campaign_b';

-- A dry run goes through all of it, takes a place, and leaves the budgets observed alone.
SELECT artery.add_tenant('change_dry', settings => '{"fuzz_percent": 0, "jitter_ms_max": 0, "jitter_ms_min": 0}');
SELECT artery.queue_ad_change('change_dry', 'campaign_1', 'BUDGET_INCREASE', '{"budget": 100}', '{"budget": 150}', 'test') AS dry \gset
SELECT artery.approve_ad_change('change_dry', :'dry', 'dora');
SELECT attempt FROM artery.claim_ad_changes(5);
SELECT verdict, value FROM artery.judge_ad_change('change_dry', :'dry', 1);
SELECT artery.settle_ad_change('change_dry', :'dry', 1, 'applied');
SELECT pg_temp.story(:'dry');
SELECT state FROM artery.ad_change WHERE change_id = :'dry';
SELECT count(*) FROM artery.budget_observation WHERE tenant_id = 'change_dry';
\set VERBOSITY sqlstate
SELECT artery.rollback_ad_change('change_dry', :'dry');
\set VERBOSITY terse

-- A tenant that is off is not served.
SELECT artery.queue_ad_change('change_dry', 'campaign_1', 'BUDGET_INCREASE', '{"budget": 100}', '{"budget": 110}', 'test') AS off \gset
SELECT artery.approve_ad_change('change_dry', :'off', 'dora');
SELECT artery.configure_tenant('change_dry', '{"enabled": false}') ->> 'enabled';
SELECT count(*) FROM artery.claim_ad_changes(5);
SELECT artery.configure_tenant('change_dry', '{"enabled": true}') ->> 'enabled';
SELECT count(*) FROM artery.claim_ad_changes(5);

-- Fair: a tenant with many changes does not keep out the one with few. Two claims at a time reach both.
RESET artery.clock_offset;
SELECT artery.add_tenant('change_many', settings => '{"jitter_ms_max": 0, "jitter_ms_min": 0}');
SELECT artery.add_tenant('change_few', settings => '{"jitter_ms_max": 0, "jitter_ms_min": 0}');
SELECT count(artery.approve_ad_change(t, artery.queue_ad_change(t, 'campaign_' || n, 'STATUS_CHANGE', NULL, '{"status": "PAUSED"}', 'test'), 'x'))
  FROM (VALUES ('change_many', 20), ('change_few', 2)) v(t, many), generate_series(1, many) n;
SELECT tenant_id, count(*) FROM (SELECT * FROM artery.claim_ad_changes(2) UNION ALL SELECT * FROM artery.claim_ad_changes(2)) c GROUP BY 1 ORDER BY 1;
-- One claim at a time: the turn goes on.
SELECT tenant_id FROM artery.claim_ad_changes(1);
SELECT count(*) FROM artery.claim_ad_changes(100);
DELETE FROM artery.ad_change WHERE tenant_id IN ('change_many', 'change_few');
UPDATE artery.tenant SET settings = settings || '{"enabled": false}' WHERE tenant_id LIKE 'change\__%';
