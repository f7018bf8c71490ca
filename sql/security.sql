-- security: who may do what, in one place to review
--
-- Nothing is granted to PUBLIC but a few functions that views and policies
-- call. Roles get USAGE on the schema and EXECUTE on what they shall use;
-- functions act with the owner's rights on tables and check the tenant. Where
-- somebody grants a table to a role, row level security keeps tenants apart.

REVOKE ALL ON ALL TABLES IN SCHEMA artery FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA artery FROM PUBLIC;
REVOKE ALL ON SCHEMA artery FROM PUBLIC;

DO $$
DECLARE
    v_table regclass;
BEGIN
    FOR v_table IN
        SELECT c.oid
          FROM pg_catalog.pg_class c
          JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
         WHERE c.relnamespace = 'artery'::pg_catalog.regnamespace AND c.relkind = ANY (ARRAY['r', 'p']::"char"[])
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', v_table);
        IF v_table <> ALL (ARRAY['artery.tenant_secret', 'artery.tenant_salt']::pg_catalog.regclass[]) THEN
            EXECUTE pg_catalog.format(
                'CREATE POLICY tenant_isolation ON %s USING (artery.tenant_visible(tenant_id)) '
                'WITH CHECK (artery.tenant_visible(tenant_id))', v_table);
        END IF;
    END LOOP;
END
$$;

GRANT EXECUTE ON FUNCTION artery.now() TO PUBLIC;
GRANT EXECUTE ON FUNCTION artery.tenant_visible(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION artery.setting_definitions() TO PUBLIC;
GRANT EXECUTE ON FUNCTION artery.rule_advice(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION artery.merge_stages(jsonb, jsonb) TO PUBLIC;

-- Monitoring: numbers and states, no personal data.
GRANT USAGE ON SCHEMA artery TO pg_monitor;
GRANT EXECUTE ON FUNCTION artery.health(), artery.worker_health(), artery.worker_status() TO pg_monitor;

DO $$
DECLARE
    v_view regclass;
BEGIN
    FOR v_view IN
        SELECT c.oid FROM pg_catalog.pg_class c
         WHERE c.relnamespace = 'artery'::pg_catalog.regnamespace AND c.relkind = 'v'
           AND c.relname = ANY (ARRAY['v_job_queue_health', 'v_failed_jobs', 'v_rate_limit_status',
                                      'v_job_performance_by_tenant', 'v_contact_fetch_health', 'v_attribution_recovery_rate',
                                      'v_campaign_activity_summary', 'v_pending_changes', 'v_failed_changes', 'v_recent_budget_changes',
                                      'v_safety_check_failures'])
    LOOP
        EXECUTE pg_catalog.format('GRANT SELECT ON %s TO pg_monitor', v_view);
    END LOOP;
END
$$;

-- What artery ships is not part of a dump; an edit would be lost by a restore.
CREATE OR REPLACE FUNCTION artery.refuse_edit()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'table "%" is shipped read-only', TG_TABLE_NAME
        USING ERRCODE = '55000', DETAIL = 'It is not part of a dump, so an edit would be lost by a restore.';
END
$$;
COMMENT ON FUNCTION artery.refuse_edit() IS 'Keeps shipped tables as they are.';
REVOKE ALL ON FUNCTION artery.refuse_edit() FROM PUBLIC;

CREATE OR REPLACE TRIGGER refuse_edit BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON artery.tenant_template
    FOR EACH STATEMENT EXECUTE FUNCTION artery.refuse_edit();
CREATE OR REPLACE TRIGGER refuse_edit BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON artery.job_config
    FOR EACH STATEMENT EXECUTE FUNCTION artery.refuse_edit();
