-- tenant: adding and configuring tenants, their secrets and roles

CREATE OR REPLACE FUNCTION artery.tenant_changed()
RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'artery_tenant_changed';
COMMENT ON FUNCTION artery.tenant_changed() IS 'Tells every session to read its cached tenants again.';

CREATE TRIGGER tenant_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON artery.tenant
    FOR EACH STATEMENT EXECUTE FUNCTION artery.tenant_changed();
CREATE TRIGGER tenant_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON artery.synthetic_revenue_config
    FOR EACH STATEMENT EXECUTE FUNCTION artery.tenant_changed();
CREATE TRIGGER tenant_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON artery.tenant_role
    FOR EACH STATEMENT EXECUTE FUNCTION artery.tenant_changed();

-- Sessions know whether a tenant has a token, never which.
CREATE TRIGGER tenant_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON artery.tenant_secret
    FOR EACH STATEMENT EXECUTE FUNCTION artery.tenant_changed();

CREATE OR REPLACE FUNCTION artery.tenant_deleted()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM artery.tenant_role r WHERE r.tenant_id = OLD.tenant_id) THEN
        RAISE EXCEPTION 'roles are bound to tenant "%"', OLD.tenant_id
            USING ERRCODE = '23503', HINT = 'Without their bindings they might see all tenants: use artery.revoke_tenant() first.';
    END IF;
    DELETE FROM artery.tenant_salt s WHERE s.tenant_id = OLD.tenant_id;
    DELETE FROM artery.tenant_portal p WHERE p.tenant_id = OLD.tenant_id;
    DELETE FROM artery.synthetic_revenue_config c WHERE c.tenant_id = OLD.tenant_id;
    RETURN OLD;
END
$$;
COMMENT ON FUNCTION artery.tenant_deleted() IS 'Takes a deleted tenant''s portals, stage values and salt along; refuses while roles are bound to it.';

CREATE TRIGGER tenant_deleted BEFORE DELETE ON artery.tenant
    FOR EACH ROW EXECUTE FUNCTION artery.tenant_deleted();

CREATE OR REPLACE FUNCTION artery.require_tenant(tenant_id text)
RETURNS void
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'artery_require_tenant';
COMMENT ON FUNCTION artery.require_tenant(text) IS
'Error 22023 that names the known tenants if this one is unknown; 42501 if the session''s role is bound to others.';

CREATE OR REPLACE FUNCTION artery.tenant_visible(tenant_id text)
RETURNS boolean
LANGUAGE C STABLE STRICT
AS 'MODULE_PATHNAME', 'artery_tenant_visible_sql';
COMMENT ON FUNCTION artery.tenant_visible(text) IS
'Whether the session''s role may see the tenant: true unless grant_tenant bound the role to other tenants.';

CREATE OR REPLACE FUNCTION artery.check_settings(settings jsonb)
RETURNS jsonb
LANGUAGE C IMMUTABLE STRICT
AS 'MODULE_PATHNAME', 'artery_check_settings';
COMMENT ON FUNCTION artery.check_settings(jsonb) IS
'The settings without nulls and in plain form; error 22023 on an unknown key or a value out of range.';

CREATE OR REPLACE FUNCTION artery.setting_definitions(
    OUT name text, OUT type text, OUT default_value jsonb, OUT minimum float8, OUT maximum float8,
    OUT choices text, OUT unit text, OUT description text)
RETURNS SETOF record
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 30
AS 'MODULE_PATHNAME', 'artery_setting_definitions';
COMMENT ON FUNCTION artery.setting_definitions() IS 'Every tenant setting with type, default, range, unit and meaning.';

CREATE OR REPLACE FUNCTION artery.require_unbound_role()
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- No tenant may have the empty id, so only a bound role cannot see it.
    IF NOT artery.tenant_visible('') THEN
        RAISE EXCEPTION 'permission denied to administer tenants'
            USING ERRCODE = '42501', DETAIL = 'The role is bound to certain tenants.',
            HINT = 'Ask a role that is bound to none; artery.grant_tenant() binds.';
    END IF;
END
$$;
COMMENT ON FUNCTION artery.require_unbound_role() IS 'Error 42501 if the session''s role is bound to certain tenants.';

CREATE OR REPLACE FUNCTION artery.add_tenant(
    tenant_id text, template text DEFAULT NULL, currency text DEFAULT 'USD', time_zone text DEFAULT 'UTC',
    settings jsonb DEFAULT '{}')
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_known text;
BEGIN
    PERFORM artery.require_unbound_role();
    IF coalesce(tenant_id, '') = '' OR octet_length(tenant_id) > 256 THEN
        RAISE EXCEPTION 'a tenant_id has 1 to 256 bytes'
            USING ERRCODE = '22023', DETAIL = format('It has %s.', coalesce(octet_length(tenant_id), 0)),
            HINT = 'Give the name by which your systems know the customer.';
    END IF;
    IF template IS NOT NULL AND NOT EXISTS (
        SELECT FROM artery.tenant_template p WHERE p.template = add_tenant.template) THEN
        SELECT string_agg(p.template, ', ' ORDER BY p.template) INTO v_known FROM artery.tenant_template p;
        RAISE EXCEPTION 'unknown template "%"', left(template, 100)
            USING ERRCODE = '22023', HINT = format('Known templates: %s.', v_known);
    END IF;
    INSERT INTO artery.tenant AS t (tenant_id, template, created_at, updated_at)
    VALUES (add_tenant.tenant_id, add_tenant.template, artery.now(), artery.now())
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'tenant "%" exists already', tenant_id
            USING ERRCODE = '42710', HINT = 'artery.configure_tenant() changes its settings.';
    END IF;
    PERFORM artery.ensure_salt(add_tenant.tenant_id);
    PERFORM artery.configure_tenant(add_tenant.tenant_id,
        jsonb_build_object('currency', add_tenant.currency, 'time_zone', add_tenant.time_zone)
        || coalesce(add_tenant.settings, '{}'));
    PERFORM artery.begin_click_partitions();
    RETURN tenant_id;
END
$$;
COMMENT ON FUNCTION artery.add_tenant(text, text, text, text, jsonb) IS
'Add a tenant, by a template (service_business, ecommerce, b2b_saas) or without stages; returns its id. Starts with dry_run on: nothing is sent until that is turned off.';

CREATE OR REPLACE FUNCTION artery.configure_tenant(tenant_id text, settings jsonb)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_settings jsonb;
    v_taken    bigint;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    IF settings IS NULL THEN
        RAISE EXCEPTION 'settings must not be null'
            USING ERRCODE = '22004', HINT = 'For example {"daily_budget": 300}; artery.setting_definitions() lists the keys.';
    END IF;
    -- Alone first, so that a null of an unknown key is an error too.
    PERFORM artery.check_settings(settings);
    SELECT artery.check_settings(t.settings || configure_tenant.settings) INTO v_settings
      FROM artery.tenant t WHERE t.tenant_id = configure_tenant.tenant_id FOR UPDATE;

    IF settings ? 'hubspot_portal_ids' THEN
        -- One portal belongs to one tenant; two sessions must not both claim it.
        PERFORM pg_advisory_xact_lock(hashtext('artery portals'), 0);
        SELECT p.portal_id INTO v_taken FROM artery.tenant_portal p
         WHERE p.tenant_id <> configure_tenant.tenant_id
           AND p.portal_id IN (SELECT e::numeric::bigint FROM jsonb_array_elements_text(
               coalesce(v_settings -> 'hubspot_portal_ids', '[]')) e);
        IF FOUND THEN
            RAISE EXCEPTION 'portal % belongs to another tenant', v_taken
                USING ERRCODE = '23505', DETAIL = 'The tenant of an event is found by its portal, so a portal has one tenant.',
                HINT = 'Take it from the other tenant''s hubspot_portal_ids first.';
        END IF;
        DELETE FROM artery.tenant_portal p WHERE p.tenant_id = configure_tenant.tenant_id;
        INSERT INTO artery.tenant_portal (tenant_id, portal_id)
        SELECT DISTINCT configure_tenant.tenant_id, e::numeric::bigint
          FROM jsonb_array_elements_text(coalesce(v_settings -> 'hubspot_portal_ids', '[]')) e;
    END IF;
    UPDATE artery.tenant t SET settings = v_settings, updated_at = artery.now()
     WHERE t.tenant_id = configure_tenant.tenant_id;
    -- What other settings held back may pass now.
    PERFORM artery.judge_again(tenant_id, ARRAY(
        SELECT r.rule FROM (VALUES ('rate_limit', ARRAY['rate_limit_per_hour']), ('owner_limit', ARRAY['owner_changes_per_hour']),
            ('velocity', ARRAY['velocity_percent', 'velocity_window_hours']), ('owner_cap', ARRAY['min_budget', 'max_budget']),
            ('tenant_cap', ARRAY['daily_budget', 'daily_budget_tolerance_percent']), ('learning', ARRAY['hold_while_learning']),
            ('account', ARRAY['meta_ad_account_id']), ('currency', ARRAY['currency'])) r (rule, keys)
         WHERE settings ?| r.keys));
    RETURN v_settings;
END
$$;
COMMENT ON FUNCTION artery.configure_tenant(text, jsonb) IS
'Set some of a tenant''s settings; null returns one to its default. Returns the tenant''s own settings. setting_definitions() lists the keys.';

CREATE OR REPLACE FUNCTION artery.set_secret(tenant_id text, name text, value text)
RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_set_secret';
COMMENT ON FUNCTION artery.set_secret(text, text, text) IS
'Store meta_access_token, meta_app_secret, hubspot_client_secret or hubspot_access_token; NULL removes it. Write-only. The previous value of hubspot_client_secret stays valid for 24 hours.';

CREATE OR REPLACE FUNCTION artery.grant_tenant(tenant_id text, role_name name)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_unbound_role();
    PERFORM artery.require_tenant(tenant_id);
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = role_name) THEN
        RAISE EXCEPTION 'role "%" does not exist', role_name
            USING ERRCODE = '42704', HINT = 'CREATE ROLE makes it.';
    END IF;
    INSERT INTO artery.tenant_role (tenant_id, role_name, granted_at)
    VALUES (grant_tenant.tenant_id, grant_tenant.role_name, artery.now())
    ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION artery.grant_tenant(text, name) IS
'Bind a role to a tenant. From the first binding on, the role and its members see and change only the tenants they are bound to. Bindings go by the role''s name: a renamed role must be bound anew.';

CREATE OR REPLACE FUNCTION artery.revoke_tenant(tenant_id text, role_name name, unlimited boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_unbound_role();
    -- Two sessions must not each take one of the last two.
    LOCK TABLE artery.tenant_role IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM artery.tenant_role r
     WHERE r.tenant_id = revoke_tenant.tenant_id AND r.role_name = revoke_tenant.role_name;
    IF FOUND AND NOT coalesce(unlimited, false)
       AND NOT EXISTS (SELECT FROM artery.tenant_role r WHERE r.role_name = revoke_tenant.role_name)
       AND EXISTS (SELECT FROM pg_roles r WHERE r.rolname = revoke_tenant.role_name) THEN
        RAISE EXCEPTION 'tenant "%" is the last one of role "%"', tenant_id, role_name
            USING ERRCODE = '55000', DETAIL = 'A role bound to no tenant is not limited to certain tenants.',
                  HINT = 'Revoke its rights on functions and tables, then give unlimited => true.';
    END IF;
END
$$;
COMMENT ON FUNCTION artery.revoke_tenant(text, name, boolean) IS
'Take a binding back. The last one of a role only with unlimited => true: a role without any binding is not limited to certain tenants.';

CREATE OR REPLACE VIEW artery.v_tenant_settings WITH (security_barrier) AS
SELECT t.tenant_id, d.name AS setting, coalesce(t.settings -> d.name, d.default_value) AS value,
       t.settings ? d.name AS is_own, d.default_value, d.unit, d.description
  FROM artery.tenant t CROSS JOIN artery.setting_definitions() d
 WHERE artery.tenant_visible(t.tenant_id);
COMMENT ON VIEW artery.v_tenant_settings IS 'Effective settings per tenant, and which are its own.';
