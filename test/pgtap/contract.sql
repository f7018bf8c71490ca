-- The contract: names that callers rely on. Functions with their arguments in
-- order (required | with a default), the columns they return, views, tables;
-- and rules that hold for everything in the schema.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

CREATE TEMP TABLE contract (name text, required text, optional text, columns text);
INSERT INTO contract VALUES
-- tenants and settings
('add_tenant', 'tenant_id', 'template currency time_zone', NULL),
('configure_tenant', 'tenant_id settings', '', NULL),
('set_secret', 'tenant_id name value', '', NULL),
-- synthetic revenue
('calculate_synthetic_revenue', 'tenant_id stage_from stage_to', 'deal_value',
 'stage_from stage_to synthetic_value calculated_value confidence reason'),
('get_stages', 'tenant_id', '', 'stage_name stage_value stage_confidence description'),
('ad_roas', 'tenant_id ad_id', 'since until',
 'spend pipeline_value cash_revenue pipeline_roas cash_roas conversions avg_confidence'),
-- attribution
('fingerprint', 'screen_width screen_height timezone timezone_offset device_type os browser', '', NULL),
('track_click', 'tenant_id campaign_id ad_id',
 'click_id adset_id fbclid gclid fbc fbp ip_address user_agent device_type os browser screen_width screen_height timezone '
 'timezone_offset fingerprint_hash landing_page_url referrer_url utm_source utm_medium utm_campaign utm_content utm_term '
 'click_timestamp', NULL),
('attribute_conversion', 'tenant_id conversion_id conversion_type',
 'conversion_value conversion_timestamp click_id fbclid fingerprint_hash ip_address user_agent screen_width screen_height '
 'timezone timezone_offset device_type os browser is_synthetic crm_deal_id crm_contact_id crm_stage raw_data',
 'success attributed_click_id attribution_method attribution_confidence attribution_window_hours ad_id adset_id campaign_id '
 'candidates reason'),
('reattribute', 'tenant_id', 'since until', NULL),
('explain_attribution', 'tenant_id conversion_id', '', NULL),
('fold_attribution_state', 'tenant_id', '', NULL),
('rebuild_attribution_state', 'tenant_id', '', NULL),
('expire_clicks', 'before', '', NULL),
('make_click_partitions', 'since until', 'days', NULL),
-- CRM
('hubspot_webhook', 'body headers', 'method uri received_at', NULL),
('record_stage', 'tenant_id deal_id stage', 'occurred_at deal_value crm_contact_id event_id', NULL),
('record_stages', 'tenant_id stages', '', NULL),
('erase_contact', 'tenant_id', 'crm_contact_id email_hash crm_deal_id click_id', NULL),
('fetch_contacts', 'tenant_id', 'deal_id since', NULL),
('identify', 'tenant_id', 'crm_contact_id email_hash crm_deal_id click_id fbclid fingerprint_hash ip_address user_agent seen_at', NULL),
-- decision
('ctr_weight', 'age_hours', '', NULL),
('blended_score', 'impressions clicks spend pipeline_value age_hours', 'dna_score',
 'ctr pipeline_roas ctr_weight roas_weight normalized_ctr normalized_roas blended_score decay_factor dna_boost final_score'),
('select_budget', 'ad_states total_budget', 'creative_dna_scores seed model max_change',
 'ad_id current_budget recommended_budget change_percentage confidence reason metrics'),
('softmax_allocation', 'samples total_budget', 'temperature', NULL),
('register_ad', 'tenant_id ad_id campaign_id', 'adset_id budget_owner_id first_seen dna_score', NULL),
('record_ad_day', 'tenant_id ad_id day impressions clicks spend', '', NULL),
('record_ad_days', 'tenant_id days', '', NULL),
('observe_budget', 'tenant_id budget_owner_id budget', 'observed_at', NULL),
('record_feedback', 'tenant_id ad_id actual_pipeline_value actual_spend', 'impressions clicks cash_revenue as_of', 'actual_roas'),
('constrain_owner', 'tenant_id budget_owner_id', 'min_budget max_budget max_step_percent pinned set_by note', NULL),
('record_dna', 'tenant_id ad_id score', 'source recorded_at', NULL),
('allocate_budget', 'tenant_id', 'total_budget seed as_of propose',
 'ad_id current_budget recommended_budget change_percentage confidence reason metrics budget_owner_id'),
('explain_recommendation', 'tenant_id run_id budget_owner_id', '', NULL),
('replay_allocation', 'tenant_id run_id', '',
 'ad_id budget_owner_id recommended_budget replayed_budget share replayed_share draw replayed_draw is_same model model_version replay_version'),
('replay_recommendation', 'tenant_id run_id ad_id', 'changed', NULL),
('schedule_allocation', 'tenant_id schedule', '', NULL),
('unschedule_allocation', 'tenant_id', '', NULL),
('ad_decision', 'tenant_id ad_id', 'as_of', 'decision reason spend roas days_live'),
('rebuild_allocation_state', 'tenant_id', '', NULL),
-- guard
('check_rate_limit', 'tenant_id campaign_id', 'as_of', 'allowed current_count limit_value next_allowed_at'),
('check_budget_velocity', 'tenant_id budget_owner_id new_budget', 'as_of',
 'allowed base_budget change_percentage max_percentage min_allowed max_allowed next_allowed_at'),
-- delivery
('queue_ad_change', 'tenant_id campaign_id change_type old_value new_value triggered_by',
 'ad_id adset_id ml_confidence reason safety_override', NULL),
('approve_ad_change', 'tenant_id change_id approved_by', 'note', NULL),
('rollback_ad_change', 'tenant_id change_id', '', NULL),
-- jobs and health
('enqueue_job', 'tenant_id job_name', 'data run_at priority singleton_key', NULL),
('claim_jobs', 'job_name worker', 'batch tenant_id', NULL),
('complete_job', 'tenant_id job_id attempt', 'result', NULL),
('fail_job', 'tenant_id job_id attempt error', '', NULL),
('retry_job', 'tenant_id job_id', '', NULL),
('health', '', '', NULL),
('worker_health', '', '', 'state last_round_at last_error last_error_at backlog backlog_age');

-- What there is. Arguments that the contract does not name may follow, with defaults.
CREATE FUNCTION pg_temp.inputs(p pg_proc) RETURNS text[] LANGUAGE sql AS $$
    SELECT array_agg(n ORDER BY i) FILTER (WHERE p.proargmodes IS NULL OR p.proargmodes[i] = ANY ('{i,b,v}'))
      FROM unnest(p.proargnames) WITH ORDINALITY u (n, i)
$$;
CREATE FUNCTION pg_temp.outputs(p pg_proc) RETURNS text[] LANGUAGE sql AS $$
    SELECT coalesce(
        (SELECT array_agg(n ORDER BY i) FROM unnest(p.proargnames) WITH ORDINALITY u (n, i) WHERE p.proargmodes[i] = ANY ('{o,b,t}')),
        (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid
          WHERE t.oid = p.prorettype AND t.typrelid <> 0 AND a.attnum > 0 AND NOT a.attisdropped))
$$;
CREATE FUNCTION pg_temp.words(list text) RETURNS text[] LANGUAGE sql AS $$
    SELECT coalesce(array_remove(string_to_array(list, ' '), ''), '{}')
$$;
CREATE TEMP VIEW actual AS
SELECT p.proname::text AS name, coalesce(pg_temp.inputs(p), '{}') AS inputs, p.pronargs - p.pronargdefaults AS required,
       pg_temp.outputs(p) AS outputs
  FROM pg_proc p WHERE p.pronamespace = 'artery'::regnamespace;

SELECT is((SELECT count(*) FROM actual a WHERE a.name = c.name), 1::bigint, c.name || ' is there, once') FROM contract c;
SELECT is(a.inputs[1:cardinality(pg_temp.words(c.required || ' ' || c.optional))], pg_temp.words(c.required || ' ' || c.optional),
          c.name || ' has its arguments in order')
  FROM contract c JOIN actual a USING (name);
SELECT cmp_ok(a.required::integer, '<=', cardinality(pg_temp.words(c.required)), c.name || ' has its defaults')
  FROM contract c JOIN actual a USING (name);
SELECT is(a.outputs[1:cardinality(pg_temp.words(c.columns))], pg_temp.words(c.columns), c.name || ' has its columns in order')
  FROM contract c JOIN actual a USING (name) WHERE c.columns IS NOT NULL;
SELECT ok('{tenant_id,change_id}' <@ a.inputs, a.name || ' takes tenant and change')
  FROM actual a WHERE a.name = ANY (ARRAY['reject_ad_change', 'cancel_ad_change']);
SELECT has_function('artery', f) FROM unnest(ARRAY['reject_ad_change', 'cancel_ad_change']::name[]) f;
SELECT ok('{tenant_id,job_id,job_name,data,attempt,lease_until}' <@ a.outputs, 'claim_jobs has its columns')
  FROM actual a WHERE a.name = 'claim_jobs';

SELECT has_table('artery', t, 'table ' || t) FROM unnest(ARRAY[
    'synthetic_revenue_config', 'click_tracking', 'conversion_tracking', 'attribution_performance_log', 'ad_state',
    'allocation_run', 'budget_recommendation', 'ad_change', 'ad_change_history', 'job_config', 'job_execution_history',
    'job_rate_limit_tracker']::name[]) t;
SELECT has_view('artery', v, 'view ' || v) FROM unnest(ARRAY[
    'v_tenant_settings', 'v_stage_values', 'v_synthetic_revenue_summary', 'v_attribution_recovery_rate', 'v_active_clicks',
    'v_unattributed_conversions', 'v_ad_credit', 'v_attribution_calibration', 'v_conversion_attribution_summary', 'v_clicks_without_ad', 'v_click_partitions', 'v_recent_budget_changes',
    'v_campaign_activity_summary', 'v_safety_check_failures', 'v_pending_changes', 'v_job_queue_health', 'v_failed_jobs',
    'v_rate_limit_status', 'v_job_performance_by_tenant', 'v_contact_fetches', 'v_contact_fetch_health']::name[]) v;

-- Columns of the two tables that are written by INSERT and COPY.
SELECT is_empty(format($$
    SELECT unnest(%L::text[]) EXCEPT SELECT attname::text FROM pg_attribute WHERE attrelid = 'artery.%I'::regclass $$,
    pg_temp.words(c.required || ' ' || c.optional || ' ' || coalesce(c.columns, '')), t.name),
    t.name || ' has columns by the names of arguments and results')
  FROM (VALUES ('click_tracking', 'track_click'), ('conversion_tracking', 'attribute_conversion')) t (name, function)
  JOIN contract c ON c.name = t.function;

-- Rules for everything in the schema.
SELECT is_empty($$
    SELECT p.oid::regprocedure FROM pg_proc p
     WHERE p.pronamespace = 'artery'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL $$, 'every function has a comment');
SELECT is_empty($$
    SELECT c.oid::regclass FROM pg_class c
     WHERE c.relnamespace = 'artery'::regnamespace AND c.relkind = ANY (ARRAY['r', 'p', 'v']::"char"[])
       AND obj_description(c.oid, 'pg_class') IS NULL $$, 'every table and view has a comment');
SELECT is_empty($$
    SELECT c.oid::regclass FROM pg_class c
     WHERE c.relnamespace = 'artery'::regnamespace AND c.relkind = 'r'
       AND c.relname <> ALL (ARRAY['tenant_template', 'job_config'])
       AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
                        WHERE i.indrelid = c.oid AND i.indisprimary AND a.attname = 'tenant_id') $$,
    'tenant_id is the first column of every primary key');
SELECT is_empty($$
    SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
      LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
     WHERE c.relnamespace = 'artery'::regnamespace AND i.indisunique AND a.attname IS DISTINCT FROM 'tenant_id'
       AND c.relname <> ALL (ARRAY['tenant_template', 'job_config']) $$, 'no unique index without tenant_id first');
-- They would come back twice from a dump, once from here and once from the partitions.
-- PostgreSQL 18 counts NOT NULL among the constraints; those are part of a column there too.
SELECT is_empty($$
    SELECT c.oid::regclass FROM pg_class c
     WHERE c.relnamespace = 'artery'::regnamespace AND c.relkind = 'p'
       AND (EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid)
            OR EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype <> 'n')) $$,
    'partitioned tables themselves have neither key nor index');
-- pg_restore -j loads tables in any order, with foreign keys in force; secrets are not dumped.
SELECT is_empty($$
    SELECT k.conname FROM pg_constraint k
     WHERE k.connamespace = 'artery'::regnamespace AND k.contype = 'f' AND k.conrelid <> 'artery.tenant_secret'::regclass $$,
    'no foreign keys between tables that are dumped');
-- By time alone only for retention (block ranges); by portal, because a webhook knows nothing else.
SELECT is_empty($$
    SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
      JOIN pg_class t ON t.oid = i.indrelid LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
     WHERE t.relnamespace = 'artery'::regnamespace AND m.amname <> 'brin' AND a.attname IS DISTINCT FROM 'tenant_id'
       AND t.relname <> ALL (ARRAY['tenant_template', 'job_config']) AND c.relname <> 'tenant_portal_by_portal' $$,
    'every index for lookups begins with tenant_id');
SELECT is_empty($$
    SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'artery'::regnamespace AND c.relkind = 'r' AND c.relpersistence <> 'p' $$,
    'every table is logged');

-- A dump is complete: what is not in it is named.
SELECT set_eq($$
    SELECT c.relname::text FROM pg_class c
     WHERE c.relnamespace = 'artery'::regnamespace AND c.relkind = ANY (ARRAY['r', 'p', 'S']::"char"[]) AND NOT c.relispartition
       AND c.oid <> ALL ((SELECT extconfig FROM pg_extension WHERE extname = 'artery')::oid[]) $$,
    ARRAY['tenant_template', 'job_config', 'tenant_secret', 'allocation_state', 'ad_progress', 'hop_progress', 'deal_credit',
          'allocation_delta', 'allocation_delta_delta_id_seq'],
    'every table and sequence is dumped but the shipped ones, the secrets and what is counted again');
SELECT is_empty($$
    SELECT unnest FROM pg_extension, unnest(extcondition) WHERE extname = 'artery' AND unnest <> '' $$, 'and dumped whole');
SELECT is_empty($$
    SELECT c.oid::regclass FROM pg_class c
     WHERE c.relnamespace = 'artery'::regnamespace AND c.relkind = ANY (ARRAY['r', 'p', 'v', 'S']::"char"[])
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = ANY (ARRAY['e', 'i', 'a']::"char"[])) $$,
    'everything belongs to the extension');

-- Volatility. Pure mathematics is immutable; whatever in C speaks of a tenant
-- reads tables, so it never is, and stays out of parallel workers.
SELECT is_empty($$
    SELECT n FROM unnest(ARRAY['ctr_weight', 'blended_score', 'softmax_allocation', 'fingerprint']) n
     WHERE NOT EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = 'artery'::regnamespace AND p.proname = n
                          AND p.provolatile = 'i' AND p.proparallel = 's') $$, 'pure functions are immutable and parallel safe');
SELECT is_empty($$
    SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
     WHERE p.pronamespace = 'artery'::regnamespace AND l.lanname = 'c' AND 'tenant_id' = ANY (p.proargnames)
       AND (p.provolatile = 'i' OR p.proparallel = 's') $$, 'functions of a tenant are neither immutable nor parallel safe');
SELECT is_empty($$
    SELECT p.oid::regprocedure FROM pg_proc p
     WHERE p.pronamespace = 'artery'::regnamespace AND p.provolatile <> 'v' AND p.proname ~
           '^(add|configure|set|grant|revoke|track|attribute|record|register|observe|allocate|unschedule|queue|approve|reject|cancel|'
           'rollback|enqueue|claim|complete|fail|retry|purge|expire|rebuild|wake)_|^(reattribute|identify|hubspot_webhook|schedule_allocation)$' $$, 'functions that write are volatile');

SELECT * FROM finish();
ROLLBACK;
