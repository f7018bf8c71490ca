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
        IF v_table <> 'artery.tenant_secret'::pg_catalog.regclass THEN
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
