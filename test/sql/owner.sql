-- Owner: which object keeps a budget, and what holds its changes back beyond rate and velocity.
SET client_min_messages = warning;
\set VERBOSITY terse
\set SHOW_CONTEXT never
-- Claims are over all tenants: what other tests left shall not be claimed here.
UPDATE artery.tenant SET settings = settings || '{"enabled": false}';
SELECT artery.add_tenant('owner', settings => '{"dry_run": false, "fuzz_percent": 0, "jitter_ms_min": 0, "jitter_ms_max": 0,
    "meta_ad_account_id": "act_17", "time_zone": "UTC"}');
-- Proposed, approved, and judged by what is observed as in force.
CREATE FUNCTION pg_temp.propose(owner text, budget numeric, campaign text DEFAULT 'campaign') RETURNS uuid LANGUAGE sql AS $$
    SELECT c.id FROM (SELECT artery.queue_ad_change('owner', campaign,
               CASE WHEN budget > artery.budget_in_force('owner', owner) THEN 'BUDGET_INCREASE' ELSE 'BUDGET_DECREASE' END, NULL,
               jsonb_build_object('budget', budget), 'test', budget_owner_id => owner) AS id OFFSET 0) c,
           LATERAL artery.approve_ad_change('owner', c.id, 'anna') $$;
CREATE FUNCTION pg_temp.judge(change uuid, live jsonb DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', r.verdict, r.value, CASE WHEN r.verdict = 'send' THEN artery.settle_ad_change('owner', change, r.claimed_attempt, 'applied') END)
      FROM artery.ad_change c,
           artery.reserve_ad_change('owner', change, coalesce(live, jsonb_build_object('budget', artery.budget_in_force('owner', c.target_id)))) r
     WHERE c.change_id = change $$;
CREATE FUNCTION pg_temp.stand(change uuid) RETURNS TABLE (state text, rule text, numbers jsonb, next_allowed_at timestamptz, runs boolean, failures int, error text)
LANGUAGE sql AS $$
    SELECT c.state, c.blocked_rule, (c.blocked_detail -> c.blocked_rule) - 'day', c.next_allowed_at, c.run_at IS NOT NULL, c.failures, c.last_error
      FROM artery.ad_change c WHERE c.change_id = change $$;
SELECT artery.observe_budget('owner', 'set_' || n, 100, artery.now() - interval '1 day') FROM generate_series(1, 9) n;

-- The minimum: a wish below it is raised when proposed, and what was asked for is kept; one that is then none is refused.
INSERT INTO artery.ad_account (tenant_id, account_id, currency, time_zone, account_status, min_daily_budget, synced_at)
VALUES ('owner', '17', 'USD', 'UTC', 1, 1.50, artery.now());
UPDATE artery.budget_owner SET minimum = 85 WHERE tenant_id = 'owner' AND budget_owner_id = 'set_1';
SELECT artery.least_budget('owner', 'set_1') AS by_owner, artery.least_budget('owner', 'set_2') AS by_account;
SELECT pg_temp.propose('set_1', 80) AS low \gset
SELECT requested_value, new_value FROM artery.ad_change WHERE change_id = :'low';
SELECT pg_temp.judge(:'low');
SELECT artery.queue_ad_change('owner', 'campaign', 'BUDGET_DECREASE', NULL, '{"budget": 70}', 'test', budget_owner_id => 'set_1');
-- A minimum learnt after the approval: what was approved is not altered, it waits.
SELECT pg_temp.propose('set_2', 90) AS low \gset
UPDATE artery.budget_owner SET minimum = 95 WHERE tenant_id = 'owner' AND budget_owner_id = 'set_2';
SELECT pg_temp.judge(:'low');
SELECT * FROM pg_temp.stand(:'low');

-- 110 % of what was spent on the account's present day: 81.82 spent, 81.82 * 1.1 = 90.002, so at least 90.01.
SELECT artery.register_ad('owner', 'ad_3', 'campaign', 'set_3', 'set_3'),
       artery.record_ad_day('owner', 'ad_3', artery.account_day('owner', artery.now()), 1000, 10, 81.82);
SELECT pg_temp.propose('set_3', 90) AS spent \gset
SELECT pg_temp.judge(:'spent');
-- It can pass when the day ends: at the next midnight of the account.
SELECT state, rule, numbers - 'day' AS numbers, runs, failures, next_allowed_at = (artery.account_day('owner', artery.now()) + 1)::timestamp AT TIME ZONE 'UTC' AS at_midnight
  FROM pg_temp.stand(:'spent');
SELECT pg_temp.judge(:'spent') FROM set_config('artery.clock_offset', extract(epoch FROM
       (SELECT next_allowed_at FROM pg_temp.stand(:'spent')) - clock_timestamp() + interval '1 second')::text, false);
RESET artery.clock_offset;
-- 70 spent allow 77, not less; an owner without spend has no such floor.
SELECT artery.record_ad_day('owner', 'ad_3', artery.account_day('owner', artery.now()), 1000, 10, 0);
UPDATE artery.budget_owner SET spend_today = 70, spend_day = artery.account_day('owner', artery.now()) WHERE tenant_id = 'owner' AND budget_owner_id = 'set_4';
SELECT pg_temp.judge(pg_temp.propose('set_4', 81));
SELECT pg_temp.judge(pg_temp.propose('set_5', 81));
-- What was spent on another day is none of today's.
UPDATE artery.budget_owner SET spend_today = 99, spend_day = artery.account_day('owner', artery.now()) - 1 WHERE tenant_id = 'owner' AND budget_owner_id = 'set_6';
SELECT pg_temp.judge(pg_temp.propose('set_6', 81));

-- Bounds of the tenant set after the approval hold when it is sent.
SELECT pg_temp.propose('set_7', 120) AS cap \gset
SELECT artery.configure_tenant('owner', '{"max_budget": 110}') ->> 'max_budget' AS max_budget;
SELECT pg_temp.judge(:'cap');
SELECT * FROM pg_temp.stand(:'cap');
SELECT artery.configure_tenant('owner', '{"max_budget": null}') ->> 'max_budget' AS max_budget;
SELECT pg_temp.judge(:'cap');

-- Learning holds increases, not decreases, until Meta says it is over or the tenant does not mind.
UPDATE artery.budget_owner SET learning_status = 'LEARNING' WHERE tenant_id = 'owner' AND budget_owner_id IN ('set_8', 'set_9');
SELECT pg_temp.judge(pg_temp.propose('set_8', 95));
SELECT pg_temp.propose('set_9', 110) AS learning \gset
SELECT pg_temp.judge(:'learning');
SELECT * FROM pg_temp.stand(:'learning');
UPDATE artery.budget_owner SET learning_status = 'SUCCESS' WHERE tenant_id = 'owner' AND budget_owner_id = 'set_9';
SELECT run_at <= artery.moment() AS at_once FROM artery.ad_change WHERE change_id = :'learning';
SELECT pg_temp.judge(:'learning');

-- An account that is not active, an account in another currency: nothing is sent.
SELECT pg_temp.propose('set_5', 90) AS account \gset
UPDATE artery.ad_account SET account_status = 3 WHERE tenant_id = 'owner';
SELECT pg_temp.judge(:'account');
SELECT * FROM pg_temp.stand(:'account');
UPDATE artery.ad_account SET account_status = 1, currency = 'JPY' WHERE tenant_id = 'owner';
SELECT pg_temp.judge(:'account');
SELECT * FROM pg_temp.stand(:'account');
UPDATE artery.ad_account SET currency = 'USD' WHERE tenant_id = 'owner';
SELECT pg_temp.judge(:'account');

-- Archived and deleted objects take no change, by what was read just now before what was read last.
UPDATE artery.budget_owner SET status = 'ARCHIVED' WHERE tenant_id = 'owner' AND budget_owner_id = 'set_6';
SELECT pg_temp.propose('set_6', 85) AS archived \gset
SELECT pg_temp.judge(:'archived', '{"budget": 81}');
SELECT * FROM pg_temp.stand(:'archived');
SELECT pg_temp.judge(pg_temp.propose('set_6', 85), '{"budget": 81, "status": "ACTIVE"}');
SELECT pg_temp.propose('set_6', 90) AS deleted \gset
SELECT pg_temp.judge(:'deleted', '{"budget": 85, "status": "DELETED"}');
SELECT * FROM pg_temp.stand(:'deleted');
SELECT artery.queue_ad_change('owner', 'campaign', 'STATUS_CHANGE', NULL, '{"status": "PAUSED"}', 'test', adset_id => 'set_6') AS deleted \gset
SELECT artery.approve_ad_change('owner', :'deleted', 'anna');
SELECT pg_temp.judge(:'deleted', '{"status": "DELETED"}');

-- The tenant's day: 1,000 with a tolerance of 5 %, ten owners.
SELECT artery.add_tenant('owner_cap', settings => '{"dry_run": false, "fuzz_percent": 0, "jitter_ms_min": 0, "jitter_ms_max": 0, "daily_budget": 1000}');
SELECT artery.observe_budget('owner_cap', 'cap_' || n, 100, artery.now() - interval '1 day') FROM generate_series(1, 10) n;
CREATE FUNCTION pg_temp.cap(owner text, type text, value jsonb) RETURNS uuid LANGUAGE sql AS $$
    SELECT c.id FROM (SELECT artery.queue_ad_change('owner_cap', 'c' || owner, type, NULL, value, 'test', adset_id => owner) AS id OFFSET 0) c,
           LATERAL artery.approve_ad_change('owner_cap', c.id, 'anna') $$;
CREATE FUNCTION pg_temp.try(change uuid, live jsonb DEFAULT '{"budget": 100}') RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', r.verdict, r.value) FROM artery.reserve_ad_change('owner_cap', change, live) r $$;
SELECT pg_temp.cap('cap_1', 'BUDGET_INCREASE', '{"budget": 120}') AS up_1 \gset
SELECT pg_temp.cap('cap_2', 'BUDGET_INCREASE', '{"budget": 120}') AS up_2 \gset
SELECT pg_temp.cap('cap_3', 'BUDGET_INCREASE', '{"budget": 120}') AS up_3 \gset
SELECT pg_temp.cap('cap_4', 'BUDGET_DECREASE', '{"budget": 80}') AS down \gset
-- 1,020 is within 1,050; with the next one, while the first is being sent, it is 1,040; the third would make 1,060.
SELECT pg_temp.try(:'up_1');
SELECT pg_temp.try(:'up_2');
SELECT pg_temp.try(:'up_3');
SELECT * FROM pg_temp.stand(:'up_3');
-- A decrease passes and makes room: the one that waited is judged again at once, 1,060 - 20 = 1,040.
SELECT pg_temp.try(:'down');
SELECT artery.settle_ad_change('owner_cap', :'down', 1, 'applied');
SELECT state, run_at <= artery.moment() AS at_once FROM artery.ad_change WHERE change_id = :'up_3';
SELECT pg_temp.try(:'up_3');
-- Paused owners spend nothing, so their budgets do not count; 1,040 - 100 + 20 = 960. Letting one deliver adds its 100.
UPDATE artery.budget_owner SET status = 'PAUSED', effective_status = 'PAUSED' WHERE tenant_id = 'owner_cap' AND budget_owner_id = 'cap_10';
SELECT pg_temp.cap('cap_5', 'BUDGET_INCREASE', '{"budget": 120}') AS up_5 \gset
SELECT pg_temp.try(:'up_5');
SELECT pg_temp.cap('cap_10', 'STATUS_CHANGE', '{"status": "ACTIVE"}') AS activate \gset
SELECT pg_temp.try(:'activate', '{"status": "PAUSED"}');
SELECT rule, numbers FROM pg_temp.stand(:'activate');
-- It says what to do; an override lifts the velocity only; and other settings have it judged again at once.
SELECT advice FROM artery.v_pending_changes WHERE change_id = :'activate';
SELECT artery.queue_ad_change('owner_cap', 'ccap_9', 'BUDGET_INCREASE', NULL, '{"budget": 200}', 'test', adset_id => 'cap_9', safety_override => true) AS over \gset
SELECT artery.approve_ad_change('owner_cap', :'over', 'anna', 'sale');
SELECT pg_temp.try(:'over');
SELECT rule, numbers FROM pg_temp.stand(:'over');
SELECT run_at > artery.moment() AS waits FROM artery.ad_change WHERE change_id = :'over';
SELECT artery.configure_tenant('owner_cap', '{"daily_budget": 2000}') ->> 'daily_budget';
SELECT run_at <= artery.moment() AS at_once FROM artery.ad_change WHERE change_id = :'over';
SELECT artery.cancel_ad_change('owner_cap', :'over', 'anna');
-- A reallocation passes in the end, one after the other: decreases first.
SELECT artery.configure_tenant('owner_cap', '{"daily_budget_tolerance_percent": 0, "daily_budget": 880}') ->> 'daily_budget';
UPDATE artery.ad_change SET state = 'completed' WHERE tenant_id = 'owner_cap';
SELECT sum(budget) FROM artery.budget_owner WHERE tenant_id = 'owner_cap' AND status IS DISTINCT FROM 'PAUSED';
SELECT pg_temp.cap('cap_6', 'BUDGET_INCREASE', '{"budget": 120}') AS up \gset
SELECT pg_temp.cap('cap_7', 'BUDGET_DECREASE', '{"budget": 80}') AS down \gset
SELECT pg_temp.cap('cap_8', 'BUDGET_DECREASE', '{"budget": 80}') AS down_2 \gset
CREATE FUNCTION pg_temp.rounds(n int) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' ', c.target_id, j.verdict, CASE WHEN j.verdict = 'send' THEN artery.settle_ad_change(c.tenant_id, c.change_id, c.attempt, 'applied') END)
      FROM artery.claim_ad_changes(n) c, artery.judge_ad_change(c.tenant_id, c.change_id, c.attempt, '{"budget": 100}') j
     WHERE c.tenant_id = 'owner_cap' $$;
SELECT pg_temp.rounds(10);
SELECT pg_temp.rounds(10);
SELECT sum(budget) FROM artery.budget_owner WHERE tenant_id = 'owner_cap' AND status IS DISTINCT FROM 'PAUSED';
-- An owner's own least above the tenant's most: its own holds, up to 110 where others end at 105.
SELECT artery.configure_tenant('owner_cap', '{"daily_budget": null, "max_budget": 115}') ->> 'max_budget' AS most;
SELECT artery.observe_budget('owner_cap', 'cap_own', 100, artery.now() - interval '1 day'), artery.observe_budget('owner_cap', 'cap_none', 100, artery.now() - interval '1 day');
SELECT artery.constrain_owner('owner_cap', 'cap_own', min_budget => 110);
SELECT pg_temp.cap('cap_own', 'BUDGET_INCREASE', '{"budget": 110}') AS own \gset
SELECT pg_temp.cap('cap_none', 'BUDGET_INCREASE', '{"budget": 110}') AS none \gset
SELECT artery.configure_tenant('owner_cap', '{"max_budget": 105}') ->> 'max_budget' AS most;
SELECT pg_temp.try(:'own');
SELECT pg_temp.try(:'none');
SELECT rule FROM pg_temp.stand(:'none');
UPDATE artery.tenant SET settings = settings || '{"enabled": false}' WHERE tenant_id = 'owner_cap';
