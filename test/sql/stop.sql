-- Stop: the buttons that people have (owner, tenant, server), a person's newer edit, and a budget that moved to the campaign.
SET client_min_messages = warning;
\set VERBOSITY terse
\set SHOW_CONTEXT never
-- Claims are over all tenants: what other tests left shall not be claimed here.
UPDATE artery.tenant SET settings = settings || '{"enabled": false}';
SELECT artery.add_tenant(t, settings => '{"dry_run": false, "fuzz_percent": 0, "jitter_ms_min": 0, "jitter_ms_max": 0}')
  FROM (VALUES ('stop'), ('stop_b')) v(t);
CREATE FUNCTION pg_temp.propose(owner text, budget numeric, campaign text DEFAULT 'campaign') RETURNS uuid LANGUAGE sql AS $$
    SELECT c.id FROM (SELECT artery.queue_ad_change('stop', campaign,
               CASE WHEN budget > artery.budget_in_force('stop', owner) THEN 'BUDGET_INCREASE' ELSE 'BUDGET_DECREASE' END, NULL,
               jsonb_build_object('budget', budget), 'test', budget_owner_id => owner) AS id OFFSET 0) c,
           LATERAL artery.approve_ad_change('stop', c.id, 'anna') $$;
CREATE FUNCTION pg_temp.stand(change uuid) RETURNS TABLE (state text, rule text, next_allowed_at timestamptz, runs boolean, attempt int, failures int, error text)
LANGUAGE sql AS $$
    SELECT c.state, c.blocked_rule, c.next_allowed_at, c.run_at IS NOT NULL, c.attempt, c.failures, c.last_error
      FROM artery.ad_change c WHERE c.change_id = change $$;
CREATE FUNCTION pg_temp.story(change uuid) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' ', h.outcome, h.old_value ->> 'budget', '->', h.new_value ->> 'budget', h.rule, 'by ' || h.actor, h.response ->> 'note', h.error)
      FROM artery.ad_change_history h WHERE h.change_id = change ORDER BY history_id $$;
-- All that is due is claimed.
CREATE FUNCTION pg_temp.claim() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT target_id FROM artery.claim_ad_changes(20) ORDER BY 1 $$;
CREATE FUNCTION pg_temp.judge(change uuid, live jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', j.verdict, j.value)
      FROM artery.ad_change c, artery.judge_ad_change('stop', change, c.attempt, live) j WHERE c.change_id = change $$;
CREATE FUNCTION pg_temp.settle(change uuid, outcome text DEFAULT 'applied') RETURNS boolean LANGUAGE sql AS $$
    SELECT artery.settle_ad_change('stop', change, c.attempt, outcome) FROM artery.ad_change c WHERE c.change_id = change $$;
SELECT artery.observe_budget('stop', 'set_' || n, 100, artery.now() - interval '1 day'),
       artery.register_ad('stop', 'ad_' || n, 'campaign_' || n, 'set_' || n, 'set_' || n) FROM generate_series(1, 8) n \g /dev/null

-- Refused: who stops must be named, and what is stopped must be known.
SELECT artery.pause_owner('stop', 'set_1', NULL);
SELECT artery.pause_owner('stop', 'set_1', '');
SELECT artery.pause_owner('stop', NULL, 'anna');
SELECT artery.pause_owner('stop', 'set_99', 'anna');
SELECT artery.pause_owner('stop_b', 'set_1', 'anna');
SELECT artery.resume_owner('stop', 'set_1', 'anna');

-- A paused owner: what is approved is held and shows it, nothing of it is claimed, with no attempt spent.
SELECT pg_temp.propose('set_1', 110, 'campaign_1') AS c1 \gset
SELECT artery.queue_ad_change('stop', 'campaign_1', 'STATUS_CHANGE', NULL, '{"status": "PAUSED"}', 'test', 'ad_1') AS ad \gset
SELECT artery.approve_ad_change('stop', :'ad', 'anna');
SELECT artery.pause_owner('stop', 'set_1', 'anna', 'the shop is closed') AS held;
SELECT * FROM pg_temp.stand(:'c1');
SELECT paused_by, pause_note, paused_at IS NOT NULL AS paused, open_changes FROM artery.v_budget_owners WHERE tenant_id = 'stop' AND budget_owner_id = 'set_1';
SELECT pg_temp.claim();
-- What is approved meanwhile is held as soon as it would be claimed.
SELECT pg_temp.propose('set_1', 115, 'campaign_1') AS c2 \gset
SELECT pg_temp.claim();
SELECT * FROM pg_temp.stand(:'c2');
SELECT regexp_replace(s, '[0-9a-f]{8}-[0-9a-f-]{27}', 'ID') FROM pg_temp.story(:'c1') s;
-- Other owners go on.
SELECT pg_temp.propose('set_2', 110, 'campaign_2') AS c3 \gset
SELECT pg_temp.claim();
SELECT pg_temp.judge(:'c3', '{"budget": 100}');
-- Claimed and being sent when it is paused: the request is finished and recorded.
SELECT artery.pause_owner('stop', 'set_2', 'anna') AS held;
SELECT pg_temp.settle(:'c3');
SELECT pg_temp.story(:'c3');
-- Claimed and not sent yet: it is not sent any more.
SELECT pg_temp.propose('set_3', 110, 'campaign_3') AS c4 \gset
SELECT pg_temp.claim();
SELECT artery.pause_owner('stop', 'set_3', 'anna') AS held;
SELECT pg_temp.judge(:'c4', '{"budget": 100}');
SELECT * FROM pg_temp.stand(:'c4');
SELECT count(*) AS places FROM artery.campaign_action WHERE tenant_id = 'stop' AND campaign_id = 'campaign_3';
-- Of unknown outcome: it is read, since that sends nothing new; not applied, it is held.
SELECT pg_temp.propose('set_4', 110, 'campaign_4') AS c5 \gset
SELECT pg_temp.claim();
SELECT pg_temp.judge(:'c5', '{"budget": 100}');
SELECT pg_temp.settle(:'c5', 'unknown');
SELECT artery.pause_owner('stop', 'set_4', 'anna') AS held;
-- That it is not applied counts 10 seconds after it was sent.
UPDATE artery.ad_change SET run_at = artery.now(), sending_at = sending_at - interval '11 seconds' WHERE change_id = :'c5';
SELECT pg_temp.claim();
SELECT pg_temp.judge(:'c5', '{"budget": 100}');
SELECT * FROM pg_temp.stand(:'c5');
-- A ramp is stopped between its steps.
SELECT pg_temp.propose('set_5', 200, 'campaign_5') AS c6 \gset
SELECT pg_temp.claim();
SELECT pg_temp.judge(:'c6', '{"budget": 100}');
SELECT pg_temp.settle(:'c6');
SELECT artery.pause_owner('stop', 'campaign_5', 'anna', 'the whole campaign') AS held;
SET artery.clock_offset = 22000;
SELECT pg_temp.claim();
-- Resumed: judged anew at once.
SELECT artery.resume_owner('stop', 'set_1', 'ben', 'open again') AS released;
SELECT pg_temp.claim();
SELECT pg_temp.judge(:'c2', '{"budget": 100}');
SELECT pg_temp.settle(:'c2');
SELECT pg_temp.story(:'c2');
SELECT artery.resume_owner('stop', 'campaign_5') AS released;
SELECT pg_temp.claim();
SELECT pg_temp.judge(:'c6', '{"budget": 120}');
SELECT pg_temp.settle(:'c6');
RESET artery.clock_offset;

-- The tenant's switch: nothing is claimed; what was claimed is not sent; what is being sent is finished.
SELECT pg_temp.propose('set_6', 110, 'campaign_6') AS c7 \gset
SELECT pg_temp.propose('set_7', 110, 'campaign_7') AS c8 \gset
SELECT pg_temp.claim();
SELECT pg_temp.judge(:'c7', '{"budget": 100}');
SELECT artery.configure_tenant('stop', '{"enabled": false}') ->> 'enabled';
SELECT pg_temp.judge(:'c8', '{"budget": 100}');
SELECT * FROM pg_temp.stand(:'c8');
SELECT pg_temp.settle(:'c7');
SELECT pg_temp.claim();
SELECT artery.configure_tenant('stop', '{"enabled": true}') ->> 'enabled';
SELECT pg_temp.claim();
SELECT pg_temp.judge(:'c8', '{"budget": 100}');
SELECT pg_temp.settle(:'c8');

-- A person's newer edit wins, whatever its direction, and both numbers are told; an edit to just what was wanted completes it.
CREATE FUNCTION pg_temp.after_edit(owner text, old jsonb, wanted numeric, live numeric) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_change uuid;
    v_result text;
BEGIN
    PERFORM artery.observe_budget('stop', owner, 100, artery.now() - interval '1 day');
    v_change := artery.queue_ad_change('stop', 'campaign_e', CASE WHEN wanted > 100 THEN 'BUDGET_INCREASE' ELSE 'BUDGET_DECREASE' END,
        old, jsonb_build_object('budget', wanted), 'test', adset_id => owner);
    PERFORM artery.approve_ad_change('stop', v_change, 'anna');
    SELECT r.verdict INTO v_result FROM artery.reserve_ad_change('stop', v_change, jsonb_build_object('budget', live)) r;
    RETURN concat_ws(' ', v_result, c.state, c.last_error) FROM artery.ad_change c WHERE c.change_id = v_change;
END $$;
SELECT pg_temp.after_edit('edit_1', NULL, 120, 110) AS same_way;
SELECT pg_temp.after_edit('edit_2', NULL, 120, 90) AS other_way;
SELECT pg_temp.after_edit('edit_3', NULL, 120, 130) AS beyond;
SELECT pg_temp.after_edit('edit_4', NULL, 120, 120) AS just_that;
SELECT pg_temp.after_edit('edit_5', NULL, 120, 100.00) AS untouched;
SELECT pg_temp.after_edit('edit_6', '{"budget": 105}', 120, 100) AS planned_on_another;
-- Seen by the sync before it was read: the same.
SELECT pg_temp.propose('set_8', 110, 'campaign_8') AS c9 \gset
SELECT artery.observe_budget('stop', 'set_8', 105);
SELECT pg_temp.claim();
SELECT pg_temp.judge(:'c9', '{"budget": 105}');
SELECT pg_temp.story(:'c9');
-- What artery set itself is nobody's edit: the wish before it was sent while this one was proposed.
SELECT artery.observe_budget('stop', 'set_8', 100);
SELECT pg_temp.propose('set_8', 110, 'campaign_8') AS c10 \gset
SELECT pg_temp.claim();
SELECT pg_temp.judge(:'c10', '{"budget": 100}');
SELECT pg_temp.propose('set_8', 115, 'campaign_8') AS c11 \gset
SELECT pg_temp.settle(:'c10');
SELECT pg_temp.claim();
SELECT pg_temp.judge(:'c11', '{"budget": 110}');
SELECT pg_temp.settle(:'c11');
SELECT old_value, new_value, outcome FROM artery.ad_change_history WHERE change_id = :'c11' ORDER BY history_id;

-- A campaign budget: the campaign is changed, even where an ad set or its ad was named.
INSERT INTO artery.budget_owner (tenant_id, budget_owner_id, owner_type, campaign_id, budget, budget_type, observed_at, status, updated_at)
VALUES ('stop', 'cbo', 'campaign', 'cbo', 500, 'daily', artery.now(), 'ACTIVE', artery.now()),
       ('stop', 'cbo_set', 'adset', 'cbo', NULL, 'none', artery.now(), 'ACTIVE', artery.now());
SELECT artery.observe_budget('stop', 'cbo', 500), artery.register_ad('stop', 'cbo_ad', 'cbo', 'cbo_set');
SELECT artery.queue_ad_change('stop', 'cbo', 'BUDGET_INCREASE', NULL, '{"budget": 550}', 'test', adset_id => 'cbo_set') AS cbo \gset
SELECT target_id, old_value FROM artery.ad_change WHERE change_id = :'cbo';
SELECT artery.queue_ad_change('stop', 'cbo', 'BUDGET_INCREASE', NULL, '{"budget": 550}', 'test', budget_owner_id => 'cbo_set') AS cbo \gset
SELECT target_id, old_value FROM artery.ad_change WHERE change_id = :'cbo';
SELECT artery.queue_ad_change('stop', 'cbo', 'BUDGET_INCREASE', NULL, '{"budget": 550}', 'test', 'cbo_ad') AS cbo \gset
SELECT target_id, old_value FROM artery.ad_change WHERE change_id = :'cbo';
-- Amounts of an ad set never reach its campaign.
\set VERBOSITY default
SELECT artery.queue_ad_change('stop', 'cbo', 'BUDGET_DECREASE', '{"budget": 100}', '{"budget": 80}', 'test', adset_id => 'cbo_set');
\set VERBOSITY terse
-- Toggled by somebody: before it is approved, before it is sent, and seen only when it is read.
SELECT artery.observe_budget('stop', 'cbo_t', 100, artery.now() - interval '1 day'), artery.register_ad('stop', 'cbo_ad_t', 'cbo_c', 'cbo_t', 'cbo_t');
SELECT artery.queue_ad_change('stop', 'cbo_c', 'BUDGET_INCREASE', NULL, '{"budget": 110}', 'test', 'cbo_ad_t') AS before \gset
SELECT artery.observe_budget('stop', 'cbo_c', 300);
SELECT budget_owner_id FROM artery.ad_state WHERE tenant_id = 'stop' AND ad_id = 'cbo_ad_t';
\set VERBOSITY sqlstate
SELECT artery.approve_ad_change('stop', :'before', 'anna');
\set VERBOSITY terse
SELECT state FROM artery.ad_change WHERE change_id = :'before';
SELECT artery.observe_budget('stop', 'cbo_u', 100, artery.now() - interval '1 day'), artery.register_ad('stop', 'cbo_ad_u', 'cbo_d', 'cbo_u', 'cbo_u');
SELECT pg_temp.propose('cbo_u', 110, 'cbo_d') AS sent \gset
SELECT artery.observe_budget('stop', 'cbo_d', 300);
SELECT pg_temp.claim();
SELECT pg_temp.judge(:'sent', '{"status": "ACTIVE"}');
SELECT * FROM pg_temp.stand(:'sent');

-- A dry run has Meta check what would be sent only where that is set.
SELECT setting, value FROM artery.v_tenant_settings WHERE tenant_id = 'stop' AND setting = 'dry_run_validate';
UPDATE artery.tenant SET settings = settings || '{"enabled": false}' WHERE tenant_id = 'stop';
