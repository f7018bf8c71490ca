-- Privileges: nothing for PUBLIC but a named list, pinned search paths, a named
-- list of SECURITY DEFINER functions, and what a plain role can do.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

CREATE TEMP VIEW functions AS
SELECT p.oid, p.proname::text AS name, l.lanname::text AS language, p.prosecdef, p.proconfig, p.proacl, p.proowner,
       p.provolatile, p.proparallel, p.prokind
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
 WHERE p.pronamespace = 'artery'::regnamespace;

-- PUBLIC
SELECT is_empty($$
    SELECT c.oid::regclass, a.privilege_type FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault(
               CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a
     WHERE c.relnamespace = 'artery'::regnamespace AND a.grantee = 0 $$,
    'PUBLIC has no right on any table, view or sequence');
SELECT is_empty($$
    SELECT c.oid::regclass, t.attname FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
     WHERE c.relnamespace = 'artery'::regnamespace AND a.grantee = 0 $$, 'PUBLIC has no right on any column');
SELECT is_empty($$
    SELECT 1 FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
     WHERE n.nspname = 'artery' AND a.grantee = 0 $$, 'PUBLIC has no right on the schema');
SELECT set_eq($$
    SELECT name FROM functions f, aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a WHERE a.grantee = 0 $$,
    ARRAY['now', 'tenant_visible', 'setting_definitions', 'rule_advice', 'merge_stages'],
    'PUBLIC may execute only what views and policies call');

-- Functions
SELECT is_empty($$
    SELECT oid::regprocedure FROM functions
     WHERE language <> 'c' AND prokind <> 'a' AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false) $$,
    'every SQL and PL/pgSQL function pins its search path; an aggregate has none');
SELECT is_empty($$
    SELECT oid::regprocedure FROM functions WHERE prokind <> 'a' AND language <> ALL (ARRAY['c', 'sql', 'plpgsql']) $$,
    'functions other than aggregates are in C, SQL or PL/pgSQL');
SELECT set_eq($$ SELECT name FROM functions WHERE prosecdef $$, ARRAY[
    'add_tenant', 'configure_tenant', 'grant_tenant', 'revoke_tenant', 'fetch_contacts', 'set_stage_values', 'synthetic_revenue_config_check',
    'expire_clicks', 'make_click_partitions', 'reattribute', 'explain_attribution', 'fold_attribution_state', 'rebuild_attribution_state', 'ad_roas', 'register_ad', 'observe_budget', 'record_ad_day', 'record_ad_days',
    'record_feedback', 'record_dna', 'ad_decision', 'rebuild_allocation_state', 'allocate_budget', 'explain_recommendation', 'replay_allocation', 'replay_recommendation', 'run_scheduled_allocation',
    'schedule_allocation', 'unschedule_allocation', 'schedule_sql', 'queue_ad_change', 'approve_ad_change',
    'reject_ad_change', 'cancel_ad_change', 'rollback_ad_change', 'retry_ad_change', 'resume_delivery', 'pause_owner', 'constrain_owner', 'resume_owner',
    'erase_contact', 'clear_device_data', 'enqueue_job', 'claim_jobs', 'complete_job', 'fail_job', 'retry_job', 'health', 'purge', 'note_progress', 'note_deal',
    'conversion_after_delete'],
    'functions with the owner''s rights are exactly these');
-- In all of them a tenant that is not the caller's, or a caller who is bound, is refused first: see rls.sql.

SELECT is_empty($$
    SELECT c.oid::regclass FROM pg_class c
     WHERE c.relnamespace = 'artery'::regnamespace AND c.relkind = ANY (ARRAY['r', 'p']::"char"[]) AND NOT c.relrowsecurity
       AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id') $$,
    'row level security is on for every table of tenants');
SELECT is_empty($$
    SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'artery'::regnamespace AND c.relkind = 'v'
       AND NOT coalesce('security_barrier=true' = ANY (c.reloptions), false)
       AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id') $$,
    'every view of tenants'' rows is a security barrier');
SELECT throws_ok('UPDATE artery.job_config SET max_attempts = 1', '55000', NULL, 'shipped job types are read-only');
SELECT throws_ok('DELETE FROM artery.tenant_template', '55000', NULL, 'shipped templates are read-only');

-- A plain role with USAGE and EXECUTE, without a right on any table.
\o /dev/null
SELECT artery.add_tenant('privileges', 'service_business');
CREATE ROLE artery_plain;
GRANT USAGE ON SCHEMA artery TO artery_plain;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA artery TO artery_plain;
\o
SET ROLE artery_plain;
SELECT isnt(artery.track_click('privileges', 'campaign', 'ad', ip_address => '203.0.113.1', fbclid => 'f1'), NULL, 'it tracks clicks');
SELECT is((SELECT attribution_method FROM artery.attribute_conversion('privileges', 'conversion', 'lead', fbclid => 'f1')),
    'url_param', 'it attributes');
SELECT isnt(artery.enqueue_job('privileges', 'actuals-sync'), NULL, 'it enqueues jobs');
SELECT is((SELECT count(*) FROM artery.claim_jobs('actuals-sync', 'w', 1, 'privileges')), 1::bigint, 'it claims jobs');
SELECT lives_ok($$SELECT artery.record_stage('privileges', 'deal', 'lead')$$, 'it records stages');
SELECT lives_ok($$SELECT artery.identify('privileges', 'contact', fbclid => 'f1')$$, 'it identifies contacts');
SELECT lives_ok($$SELECT artery.register_ad('privileges', 'ad', 'campaign', 'adset')$$, 'it registers ads');
SELECT lives_ok($$SELECT artery.observe_budget('privileges', 'adset', 100)$$, 'it observes budgets');
SELECT lives_ok($$SELECT * FROM artery.allocate_budget('privileges', 100)$$, 'it allocates');
SELECT lives_ok(format('SELECT artery.replay_recommendation(''privileges'', %s, ad_id), artery.replay_allocation(''privileges'', %1$s)
                            FROM artery.allocate_budget(''privileges'', 100, propose => false)', a.metrics ->> 'run_id'), 'it replays')
  FROM artery.allocate_budget('privileges', 100, propose => false) a;
SELECT lives_ok($$SELECT artery.queue_ad_change('privileges', 'campaign', 'STATUS_CHANGE', '{"status": "ACTIVE"}',
    '{"status": "PAUSED"}', 'test', ad_id => 'ad')$$, 'it queues changes');
SELECT lives_ok($$SELECT artery.set_secret('privileges', 'meta_access_token', 'x')$$, 'it sets secrets');
SELECT lives_ok('SELECT artery.health()', 'it asks for health');
SELECT throws_ok('SELECT * FROM artery.click_tracking', '42501', NULL, 'it reads no table');
SELECT throws_ok('INSERT INTO artery.job (tenant_id) VALUES (NULL)', '42501', NULL, 'it writes no table');
SELECT throws_ok('SELECT * FROM artery.tenant_secret', '42501', NULL, 'it reads no secret');
SELECT is(artery.make_click_partitions('2011-01-03', '2011-01-16 23:00+00', 7), 2, 'it makes partitions of clicks');
SELECT throws_ok('SELECT * FROM artery.click_tracking_20110103', '42501', NULL, 'and reads none');
SELECT throws_ok('DROP TABLE artery.click_tracking_20110103', '42501', NULL, 'nor drops one');
SELECT throws_ok($$CREATE TABLE artery.planted (x int)$$, '42501', NULL, 'it plants nothing in the schema');
RESET ROLE;

-- Partitions, whoever had them made, are like the table they belong to.
SELECT is_empty($$
    SELECT c.oid::regclass FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
     WHERE i.inhparent = 'artery.click_tracking'::regclass
       AND (c.relowner <> (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'artery') OR NOT c.relrowsecurity
            OR NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polqual IS NOT NULL AND p.polwithcheck IS NOT NULL)
            OR EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner)) $$,
    'partitions have the owner and the policy of their table, and nobody else any right on them');
SELECT is((SELECT count(DISTINCT (SELECT array_agg(d.text ORDER BY d.text)
                                    FROM pg_index x CROSS JOIN LATERAL (
                                         SELECT regexp_replace(pg_get_indexdef(x.indexrelid), 'click_tracking_(\d+|other)', 'T', 'g')) d (text)
                                   WHERE x.indrelid = i.inhrelid))
             FROM pg_inherits i WHERE i.inhparent = 'artery.click_tracking'::regclass), 1::bigint, 'all partitions have the same indexes');

-- Every view needs nothing but SELECT on it.
GRANT SELECT ON ALL TABLES IN SCHEMA artery TO artery_plain;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA artery FROM artery_plain;
SELECT lives_ok(format('SET LOCAL ROLE artery_plain; SELECT * FROM %s; RESET ROLE', c.oid::regclass),
                format('%s needs SELECT only', c.relname))
  FROM pg_class c WHERE c.relnamespace = 'artery'::regnamespace AND c.relkind = 'v' ORDER BY c.relname;
RESET ROLE;
SELECT is_empty($$
    SELECT oid::regclass FROM pg_class
     WHERE relnamespace = 'artery'::regnamespace AND relname = 'tenant_secret' AND NOT relrowsecurity $$,
    'secrets stay hidden by row level security where somebody grants the table');
SET LOCAL ROLE artery_plain;
SELECT is((SELECT count(*) FROM artery.tenant_secret), 0::bigint, 'no secret is seen even with SELECT on the table');
SELECT is((SELECT count(*) FROM artery.tenant_salt), 0::bigint, 'nor a salt');
RESET ROLE;

-- Monitoring: all health views with rows, and nothing else.
\o /dev/null
CREATE ROLE artery_watcher;
GRANT pg_monitor TO artery_watcher;
\o
SET LOCAL ROLE artery_watcher;
SELECT cmp_ok((SELECT count(*) FROM artery.v_rate_limit_status), '>', 0::bigint, 'pg_monitor sees the hourly limits');
SELECT cmp_ok((SELECT count(*) FROM artery.v_job_queue_health), '>', 0::bigint, 'pg_monitor sees the queue');
SELECT cmp_ok((SELECT count(*) FROM artery.v_pending_changes), '>', 0::bigint, 'pg_monitor sees open changes');
SELECT ok(artery.health() ? 'status', 'pg_monitor asks for health');
SELECT ok((SELECT library_version FROM artery.worker_status()) IS NOT NULL, 'pg_monitor sees the worker');
SELECT ok((SELECT state IS NOT NULL AND backlog >= 0 FROM artery.worker_health()), 'pg_monitor sees how far behind the worker is');
RESET ROLE;
SELECT set_eq($$
    SELECT c.relname::text FROM pg_class c, aclexplode(c.relacl) a
     WHERE c.relnamespace = 'artery'::regnamespace AND a.grantee = 'pg_monitor'::regrole $$,
    ARRAY['v_job_queue_health', 'v_failed_jobs', 'v_rate_limit_status', 'v_job_performance_by_tenant', 'v_contact_fetch_health',
          'v_attribution_recovery_rate', 'v_campaign_activity_summary', 'v_pending_changes', 'v_failed_changes', 'v_recent_budget_changes',
          'v_safety_check_failures'],
    'pg_monitor reads health views and nothing else');
SELECT set_eq($$
    SELECT name FROM functions f, aclexplode(f.proacl) a WHERE a.grantee = 'pg_monitor'::regrole $$,
    ARRAY['health', 'worker_health', 'worker_status'], 'pg_monitor executes health functions and nothing else');

SELECT * FROM finish();
ROLLBACK;
