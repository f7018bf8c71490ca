-- Tenants apart: two roles, each bound to its tenant, with every right on every
-- table, view and function. Neither sees nor changes the other's rows. What to
-- try comes from the catalog, so that nothing new is forgotten.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
\o /dev/null
\ir ../fixtures/fill.sql
GRANT USAGE ON SCHEMA artery TO artery_fill_a, artery_fill_b;
GRANT ALL ON ALL TABLES IN SCHEMA artery TO artery_fill_a, artery_fill_b;
GRANT ALL ON ALL SEQUENCES IN SCHEMA artery TO artery_fill_a, artery_fill_b;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA artery TO artery_fill_a, artery_fill_b;

CREATE TEMP TABLE relation AS
SELECT c.oid::regclass AS name, c.relkind,
       EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id') AS of_tenants
  FROM pg_class c
 WHERE c.relnamespace = 'artery'::regnamespace AND c.relkind = ANY (ARRAY['r', 'p', 'v']::"char"[]) ORDER BY c.relname;
-- Partitions of times in which nothing happened show nothing.
DELETE FROM relation r USING pg_class c
 WHERE c.oid = r.name AND c.relispartition
   AND (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', r.name), false, true, '')))[1]::text = '0';
GRANT SELECT ON relation TO artery_fill_a, artery_fill_b;

-- What a statement does for the role in use: 'done N' rows, or the SQLSTATE.
CREATE FUNCTION pg_temp.attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_rows bigint;
BEGIN
    EXECUTE statement;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RAISE EXCEPTION USING ERRCODE = 'ZZ000', MESSAGE = 'done ' || v_rows;
EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
    RETURN SQLERRM;
WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;

-- A value of each type, for arguments that do not matter.
CREATE FUNCTION pg_temp.sample(type regtype) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN type = 'jsonb'::regtype THEN '''{}''::jsonb'
                WHEN type = 'uuid'::regtype THEN 'gen_random_uuid()'
                WHEN type = 'inet'::regtype THEN '''192.0.2.1''::inet'
                WHEN type = 'timestamptz'::regtype THEN 'artery.now()'
                WHEN type = 'date'::regtype THEN 'current_date'
                WHEN type = 'boolean'::regtype THEN 'false'
                WHEN type = ANY (ARRAY['text', 'name']::regtype[]) THEN '''lead''::' || type
                WHEN type = ANY (ARRAY['integer', 'bigint', 'numeric', 'float8']::regtype[]) THEN '1::' || type
                ELSE 'NULL::' || type END
$$;

CREATE TEMP TABLE call AS
SELECT p.oid::regprocedure AS name, format('SELECT * FROM artery.%I(%s)', p.proname, (
           SELECT string_agg(CASE p.proargnames[i] WHEN 'tenant_id' THEN '''fill_b'''
                                                 WHEN 'name' THEN '''meta_access_token'''
                                                 ELSE pg_temp.sample(p.proargtypes[i - 1]) END,
                             ', ' ORDER BY i)
             FROM generate_series(1, p.pronargs) i)) AS statement
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
 WHERE p.pronamespace = 'artery'::regnamespace
   AND 'tenant_id' = ANY (p.proargnames[1:p.pronargs])
   -- The others have the caller's rights, so that the policies above hold.
   AND (p.prosecdef OR l.lanname = 'c')
   -- These two are the check itself.
   AND p.proname <> ALL (ARRAY['tenant_visible', 'require_tenant'])
 ORDER BY p.proname;
GRANT SELECT ON call TO artery_fill_a;
\o
SELECT cmp_ok((SELECT count(*) FROM relation r JOIN pg_class c ON c.oid = r.name WHERE c.relispartition), '>=', 2::bigint,
              'partitions are among what is tried');

SET ROLE artery_fill_a;
SELECT is(pg_temp.attempt(format('SELECT FROM %s WHERE tenant_id <> %L', name, 'fill_a')), 'done 0', name || ' shows no other tenant')
  FROM relation WHERE of_tenants;
SELECT isnt(pg_temp.attempt(format('SELECT FROM %s WHERE tenant_id = %L', name, 'fill_a')), 'done 0', name || ' shows the own tenant')
  FROM relation WHERE of_tenants AND relkind <> 'v' AND name <> ALL (ARRAY['artery.tenant_secret', 'artery.tenant_salt']::regclass[]);
SELECT is(pg_temp.attempt(format('UPDATE %s SET tenant_id = tenant_id WHERE tenant_id = %L', name, 'fill_b')), 'done 0',
          name || ' lets no other tenant be updated')
  FROM relation WHERE of_tenants AND relkind <> 'v';
SELECT is(pg_temp.attempt(format('DELETE FROM %s WHERE tenant_id = %L', name, 'fill_b')), 'done 0',
          name || ' lets no other tenant be deleted')
  FROM relation WHERE of_tenants AND relkind <> 'v';
SELECT is(pg_temp.attempt(format('UPDATE %s SET tenant_id = %L WHERE tenant_id = %L', name, 'fill_b', 'fill_a')),
          CASE WHEN name = ANY (ARRAY['artery.tenant_secret', 'artery.tenant_salt']::regclass[]) THEN 'done 0' ELSE '42501' END, name || ' lets no row go to another tenant')
  FROM relation WHERE of_tenants AND relkind <> 'v';

-- Class 22: what stands for an argument here was refused before the tenant was.
SELECT matches(pg_temp.attempt(statement), '^(42501|22...)$', name || ' refuses another tenant') FROM call;

-- Functions without a tenant speak of the own one only.
SELECT is((SELECT count(*) FROM artery.claim_jobs('creative-dna-extraction', 'w', 100) WHERE tenant_id <> 'fill_a'), 0::bigint,
          'claim_jobs gives jobs of the own tenant only');
SELECT is(artery.health() #>> '{accounts,tenants}', '1', 'health counts the own tenant only');
SELECT is(artery.health() #>> '{changes,blocked}', '1', 'health counts the own changes only');
SELECT throws_ok($$SELECT artery.add_tenant('fill_c')$$, '42501', NULL, 'a bound role adds no tenant');
SELECT throws_ok($$SELECT artery.grant_tenant('fill_a', 'artery_fill_b')$$, '42501', NULL, 'a bound role binds nobody');
SELECT throws_ok($$SELECT artery.revoke_tenant('fill_a', 'artery_fill_a')$$, '42501', NULL, 'a bound role does not free itself');
SELECT throws_ok('SELECT artery.purge()', '42501', NULL, 'a bound role does not purge');
SELECT throws_ok('SELECT artery.expire_clicks(artery.now())', '42501', NULL, 'a bound role does not expire clicks');
SELECT throws_ok('SELECT artery.make_click_partitions(artery.now(), artery.now())', '42501', NULL, 'a bound role makes no partitions');
SELECT throws_like($$SELECT artery.enqueue_job('fill_b', 'ad-change')$$, 'permission denied for tenant "fill_b"',
                   'the refusal names the tenant asked for');
SELECT throws_ok($$SELECT artery.enqueue_job('fill_zzz', 'ad-change')$$, '42501', NULL, 'whether a tenant exists is not told');

-- The other role sees the other tenant; a member of a bound role is bound too.
RESET ROLE;
SET ROLE artery_fill_b;
SELECT is(pg_temp.attempt($$SELECT FROM artery.v_tenant_settings WHERE tenant_id = 'fill_a'$$), 'done 0', 'b does not see a');
SELECT lives_ok($$SELECT artery.enqueue_job('fill_b', 'ad-change')$$, 'b does work for b');
RESET ROLE;
CREATE ROLE artery_fill_member IN ROLE artery_fill_b;
SET ROLE artery_fill_member;
SELECT throws_ok($$SELECT artery.enqueue_job('fill_a', 'ad-change')$$, '42501', NULL, 'a member of a bound role is bound');
RESET ROLE;

-- Taking the last binding back is never silent.
SELECT throws_ok($$SELECT artery.revoke_tenant('fill_a', 'artery_fill_a')$$, '55000', NULL, 'the last binding stays');
SELECT throws_ok($$DELETE FROM artery.tenant WHERE tenant_id = 'fill_a'$$, '23503', NULL, 'a tenant with bound roles is not deleted');
SELECT lives_ok($$SELECT artery.grant_tenant('fill_b', 'artery_fill_a')$$, 'a role may have two tenants');
SET ROLE artery_fill_a;
SELECT ok(artery.tenant_visible('fill_a') AND artery.tenant_visible('fill_b'), 'and sees both');
RESET ROLE;
SELECT lives_ok($$SELECT artery.revoke_tenant('fill_a', 'artery_fill_a')$$, 'one of two is taken back');
SET ROLE artery_fill_a;
SELECT ok(NOT artery.tenant_visible('fill_a') AND artery.tenant_visible('fill_b'), 'at once');
RESET ROLE;
SELECT lives_ok($$SELECT artery.revoke_tenant('fill_b', 'artery_fill_a', unlimited => true)$$, 'the last one where it is meant');

SELECT * FROM finish();
ROLLBACK;
