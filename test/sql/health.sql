-- Health: this database is served by no worker; what is asked is counted.
SET client_min_messages = warning;
SELECT artery.add_tenant('health_a'), artery.add_tenant('health_b');
SELECT jsonb_object_keys(artery.health()) AS key ORDER BY 1;
SELECT jsonb_typeof(artery.health() #> '{version,library}') AS library,
       artery.health() #>> '{version,library}' = artery.health() #>> '{version,extension}' AS same_version,
       artery.health() #>> '{worker,state}' AS worker;

-- Seen by a role bound to one tenant, others do not count: from here on only health_a does.
CREATE ROLE regress_artery_health;
GRANT USAGE ON SCHEMA artery TO regress_artery_health;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA artery TO regress_artery_health;
SELECT artery.grant_tenant('health_a', 'regress_artery_health');
SELECT artery.enqueue_job('health_b', 'actuals-sync') IS NOT NULL AS queued;
SET ROLE regress_artery_health;
SELECT h ->> 'status' AS status, h -> 'problems' AS problems, h -> 'backlog' AS backlog, h #> '{accounts,tenants}' AS tenants
  FROM artery.health() h;

-- A job due for a minute is backlog; for six minutes, a problem; turned off, it waits.
SELECT artery.enqueue_job('health_a', 'actuals-sync') IS NOT NULL AS queued;
SET ROLE NONE;
SET artery.clock_offset = 60;
SET ROLE regress_artery_health;
SELECT h ->> 'status' AS status, h #> '{backlog,jobs}' AS jobs, (h #>> '{backlog,age_seconds}')::numeric BETWEEN 60 AND 90 AS a_minute,
       h -> 'clock_offset' AS clock_offset
  FROM artery.health() h;
SELECT backlog, backlog_age BETWEEN '60 s' AND '90 s' AS a_minute, state, last_error FROM artery.worker_health();
SET ROLE NONE;
SET artery.clock_offset = 360;
SET ROLE regress_artery_health;
SELECT h ->> 'status' AS status, h #>> '{problems,0}' LIKE 'work has been due since %' AS problem FROM artery.health() h;
SELECT artery.configure_tenant('health_a', '{"enabled": false}') IS NOT NULL AS off;
SELECT h ->> 'status' AS status, h #> '{accounts,enabled}' AS enabled FROM artery.health() h;
SELECT artery.configure_tenant('health_a', '{"enabled": true}') IS NOT NULL AS "on";
SET ROLE NONE;
RESET artery.clock_offset;
SET ROLE regress_artery_health;

-- A dead job is a problem until it is revived and done.
SELECT job_id AS job FROM artery.claim_jobs('actuals-sync', 'w', 1, 'health_a') \gset
SET ROLE NONE;
UPDATE artery.job SET max_attempts = 1 WHERE tenant_id = 'health_a';
SET ROLE regress_artery_health;
SELECT artery.fail_job('health_a', :job, 1, 'no');
SELECT h ->> 'status' AS status, h -> 'problems' AS problems, h #> '{jobs,dead}' AS dead FROM artery.health() h;
SELECT artery.retry_job('health_a', :job) = :job AS revived;
SELECT attempt FROM artery.claim_jobs('actuals-sync', 'w', 1, 'health_a');
SELECT artery.complete_job('health_a', :job, 2);
SELECT h ->> 'status' AS status FROM artery.health() h;

-- Conversions of today, and the share that found its click: one of two.
SELECT artery.track_click('health_a', 'campaign', 'ad', 'click_1') IS NOT NULL AS tracked;
SELECT success FROM artery.attribute_conversion('health_a', 'conversion_1', 'lead', click_id => 'click_1');
SELECT success FROM artery.attribute_conversion('health_a', 'conversion_2', 'lead', click_id => 'click_2');
SELECT artery.health() -> 'attribution' AS attribution;

-- Changes: what waits for approval, what is blocked by which rule, what failed today.
SET ROLE NONE;
INSERT INTO artery.ad_change (tenant_id, campaign_id, target_id, change_type, new_value, requested_value, state, triggered_by,
                              blocked_rule, next_allowed_at, run_at, created_at, updated_at)
SELECT 'health_a', 'campaign', 'adset_' || n, 'STATUS_CHANGE', '{"status": "PAUSED"}', '{"status": "PAUSED"}', state, 'test', rule,
       artery.now() + interval '1 hour', artery.now() + interval '1 hour', artery.now(), artery.now()
  FROM (VALUES (1, 'proposed', NULL), (2, 'blocked', 'rate_limit'), (3, 'blocked', 'velocity'), (4, 'blocked', 'velocity'),
               (5, 'failed', NULL)) v (n, state, rule);
INSERT INTO artery.ad_change_history (tenant_id, change_id, campaign_id, target_id, change_type, attempt, outcome, recorded_at)
SELECT tenant_id, change_id, campaign_id, target_id, change_type, 1, 'failed', artery.now() FROM artery.ad_change
 WHERE tenant_id = 'health_a' AND state = 'failed';
SET ROLE regress_artery_health;
SELECT h ->> 'status' AS status, h -> 'problems' AS problems, h -> 'blocked_changes' AS blocked,
       h #> '{changes,blocked_by}' AS blocked_by, h #> '{changes,awaiting_approval}' AS awaiting_approval
  FROM artery.health() h;

SET ROLE NONE;
DELETE FROM artery.ad_change WHERE tenant_id = 'health_a';
DELETE FROM artery.ad_change_history WHERE tenant_id = 'health_a';

-- Retention: what is older goes, a batch at a time.
INSERT INTO artery.job_execution_history (tenant_id, job_id, job_name, attempt, outcome, queued_at, finished_at)
SELECT 'health_b', n, 'ad-change', 1, 'completed', artery.now(), artery.now() - n * interval '1 day' FROM generate_series(1, 40) n;
-- retention_job_history is 30 days: 11 rows, of day 30 (a moment ago by now) to 40, are older.
SELECT deleted FROM artery.purge(4) WHERE table_name = 'job_execution_history';
SELECT deleted FROM artery.purge() WHERE table_name = 'job_execution_history';
SELECT count(*) AS left, max(artery.now() - finished_at) <= interval '30 days 1 minute' AS young
  FROM artery.job_execution_history WHERE tenant_id = 'health_b';
-- Events that still wait for a mapping stay, and so does a budget still in force.
INSERT INTO artery.webhook_event (tenant_id, event_key, payload, status, received_at)
SELECT 'health_b', s, '{}', s, artery.now() - interval '91 days' FROM unnest(ARRAY['processed', 'ignored', 'unmapped', 'failed', 'stored']) s;
INSERT INTO artery.budget_observation (tenant_id, budget_owner_id, observed_at, budget, source)
SELECT 'health_b', 'adset', artery.now() - n * interval '1 day', n, 'observed' FROM unnest(ARRAY[800, 750, 10]) n;
SELECT table_name, deleted FROM artery.purge() WHERE table_name = ANY (ARRAY['webhook_event', 'budget_observation']);
SELECT status FROM artery.webhook_event WHERE tenant_id = 'health_b' ORDER BY 1;
SELECT budget FROM artery.budget_observation WHERE tenant_id = 'health_b' ORDER BY 1;
SELECT artery.purge(0);

DROP OWNED BY regress_artery_health;
SELECT artery.revoke_tenant('health_a', 'regress_artery_health', unlimited => true);
DROP ROLE regress_artery_health;
DELETE FROM artery.job WHERE tenant_id LIKE 'health\_%';
