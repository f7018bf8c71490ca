-- dump: everything a user put in is part of pg_dump
--
-- All tables and their sequences but the shipped read-only ones, the secrets,
-- which are set again after a restore, and what allocate_budget has counted, which
-- it counts again.

DO $$
DECLARE
    v_relation regclass;
BEGIN
    FOR v_relation IN
        SELECT c.oid
          FROM pg_catalog.pg_class c
         WHERE c.relnamespace = 'artery'::pg_catalog.regnamespace
           AND c.relkind = ANY (ARRAY['r', 'p', 'S']::"char"[])
           AND c.relname <> ALL (ARRAY['tenant_template', 'job_config', 'tenant_secret', 'allocation_state', 'ad_progress',
                                         'hop_progress', 'deal_credit', 'allocation_delta', 'allocation_delta_delta_id_seq'])
         ORDER BY c.oid
    LOOP
        PERFORM pg_catalog.pg_extension_config_dump(v_relation, '');
    END LOOP;
END
$$;
