-- Tables of README.md from the catalog; written to files in :folder.
\set ON_ERROR_STOP on
\set file :folder '/part.settings'
\o :file
SELECT '| setting | default | range | meaning |' UNION ALL SELECT '|---|---|---|---|';
SELECT format('| `%s` | %s | %s | %s |', name, coalesce('`' || (default_value #>> '{}') || '`', ''),
    concat_ws(' ', coalesce(replace(choices, '|', ', '),
                            CASE WHEN maximum >= 1e12 THEN 'from ' || minimum ELSE minimum || ' to ' || maximum END,
                            CASE type WHEN 'boolean' THEN 'true, false' END), unit), description)
  FROM artery.setting_definitions() ORDER BY name;

\set file :folder '/part.gucs'
\o :file
SELECT '| setting | default | meaning |' UNION ALL SELECT '|---|---|---|';
SELECT format('| `%s` | %s | %s |', name, CASE WHEN boot_val <> '' THEN '`' || boot_val || coalesce(' ' || unit, '') || '`' END,
    concat_ws(' ', short_desc, extra_desc))
  FROM pg_settings WHERE name LIKE 'artery.%' ORDER BY name;
\o

-- Functions by what one wants to do; the rest is artery's own machinery.
CREATE TEMP TABLE section (n int, title text, names text[]);
INSERT INTO section VALUES
(1, 'Tenants', '{add_tenant,configure_tenant,set_secret,grant_tenant,revoke_tenant,setting_definitions}'),
(2, 'Revenue', '{get_stages,set_stage_values,calculate_synthetic_revenue,ad_roas}'),
(3, 'Clicks and conversions', '{track_click,identify,fingerprint,fingerprint_key,parse_user_agent,attribute_conversion,explain_attribution,reattribute,make_click_partitions,expire_clicks,fold_attribution_state,rebuild_attribution_state}'),
(4, 'CRM', '{hubspot_webhook,replay_webhook_events,record_stage,record_stages,fetch_contacts}'),
(5, 'Ads', '{register_ad,record_ad_day,record_ad_days,observe_budget,record_feedback,rebuild_allocation_state}'),
(6, 'Decisions', '{ctr_weight,blended_score,select_budget,softmax_allocation,allocate_budget,constrain_owner,record_dna,explain_recommendation,replay_allocation,replay_recommendation,ad_decision,schedule_allocation,unschedule_allocation,schedule_sql,explain_budget}'),
(7, 'Guard', '{check_rate_limit,check_budget_velocity}'),
(8, 'Changes', '{queue_ad_change,approve_ad_change,reject_ad_change,cancel_ad_change,rollback_ad_change,retry_ad_change,resume_delivery}'),
(9, 'Jobs', '{enqueue_job,claim_jobs,complete_job,fail_job,retry_job}'),
(10, 'Health and upkeep', '{health,worker_health,worker_status,erase_contact,purge,purge_cron_log,now}');

\set file :folder '/part.functions'
\o :file
SELECT line FROM (
    SELECT 0 AS n, 0 AS place, '| function | what it does |' || E'\n|---|---|' AS line
    UNION ALL
    SELECT s.n, 0, format('| **%s** | |', s.title) FROM section s
    UNION ALL
    SELECT s.n, f.place, format('| `%s(%s)` | %s |', p.proname,
           -- of long lists only what must be given
           (SELECT string_agg(a.name, ', ' ORDER BY a.place) FILTER (WHERE p.pronargs <= 9 OR a.place <= p.pronargs - p.pronargdefaults)
              FROM unnest(p.proargnames) WITH ORDINALITY a (name, place) WHERE a.place <= p.pronargs)
           || CASE WHEN p.pronargs > 9 THEN ', ...' ELSE '' END,
           replace(obj_description(p.oid, 'pg_proc'), '|', '\|'))
      FROM section s, unnest(s.names) WITH ORDINALITY f (name, place)
      JOIN pg_proc p ON p.proname = f.name AND p.pronamespace = 'artery'::regnamespace) x
 ORDER BY n, place, line;

\set file :folder '/part.views'
\o :file
SELECT '| view | what it shows |' UNION ALL SELECT '|---|---|';
SELECT format('| `%s` | %s |', relname, replace(obj_description(oid, 'pg_class'), '|', '\|'))
  FROM pg_class WHERE relnamespace = 'artery'::regnamespace AND relkind = 'v' ORDER BY relname;
\o
