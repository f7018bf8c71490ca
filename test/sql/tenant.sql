-- Tenants: settings, templates, currency, time zone, portals, secrets, bound roles.
SET client_min_messages = warning;
\set SHOW_CONTEXT never

-- Adding. A new tenant is enabled and only tries out; templates bring stages.
SELECT artery.add_tenant('tenant_a', 'service_business', 'EUR', 'Europe/Berlin');
SELECT setting, value, is_own FROM artery.v_tenant_settings
 WHERE tenant_id = 'tenant_a' AND setting = ANY (ARRAY['enabled', 'dry_run', 'currency', 'time_zone', 'daily_budget']) ORDER BY 1;
SELECT artery.add_tenant('tenant_b', settings => '{"daily_budget": 100}');
SELECT artery.add_tenant('tenant_a');
SELECT artery.add_tenant('');
SELECT artery.add_tenant(NULL);
SELECT artery.add_tenant(repeat('x', 257));
SELECT artery.add_tenant('tenant_c', 'no_such_template');
SELECT artery.add_tenant('tenant_c', currency => 'ABC');
SELECT artery.add_tenant('tenant_c', time_zone => 'Mars/Olympus');
-- Nothing is stored halfway.
SELECT count(*) FROM artery.tenant WHERE tenant_id = 'tenant_c';
SELECT tenant_id, count(*) AS stages FROM artery.v_stage_values WHERE tenant_id LIKE 'tenant\_%' GROUP BY 1;

-- Every setting with its default, range and choices.
SELECT name, type, default_value, minimum, maximum, choices, unit FROM artery.setting_definitions() ORDER BY name;

-- An unknown tenant or key is named, with what is known.
-- (Which tenants there are depends on the tests before.)
\set VERBOSITY terse
SELECT artery.configure_tenant('tenant_nobody', '{}');
\set VERBOSITY default
SELECT artery.configure_tenant('tenant_b', '{"dayly_budget": 1}');
SELECT artery.configure_tenant('tenant_b', '{"dayly_budget": null}');
SELECT artery.configure_tenant('tenant_b', NULL);
SELECT artery.configure_tenant('tenant_b', '[1]');
-- Ranges and types.
SELECT artery.configure_tenant('tenant_b', '{"velocity_window_hours": 168.1}');
SELECT artery.configure_tenant('tenant_b', '{"velocity_window_hours": 0}');
SELECT artery.configure_tenant('tenant_b', '{"rate_limit_per_hour": 1.5}');
SELECT artery.configure_tenant('tenant_b', '{"enabled": "yes"}');
SELECT artery.configure_tenant('tenant_b', '{"daily_budget": "100"}');
SELECT artery.configure_tenant('tenant_b', '{"daily_budget": -1}');
SELECT artery.configure_tenant('tenant_b', '{"mode": "both"}');
SELECT artery.configure_tenant('tenant_b', '{"jitter_ms_min": 20000}');
SELECT artery.configure_tenant('tenant_b', '{"min_budget": 10, "max_budget": 9.99}');
SELECT artery.configure_tenant('tenant_b', '{"owner_changes_per_hour": 5}');
SELECT artery.configure_tenant('tenant_b', '{"meta_ad_account_id": "act_12x"}');
SELECT artery.configure_tenant('tenant_b', '{"hubspot_webhook_url": "ftp://x"}');
SELECT artery.configure_tenant('tenant_b', '{"hubspot_portal_ids": [1.5]}');
SELECT artery.configure_tenant('tenant_b', '{"hubspot_portal_ids": [-1]}');
-- One refused key refuses the call.
SELECT artery.configure_tenant('tenant_b', '{"daily_budget": 200, "mode": "both"}');
SELECT settings FROM artery.tenant WHERE tenant_id = 'tenant_b';

-- What is set stays, what is not named is kept, null returns to the default.
\set VERBOSITY terse
SELECT artery.configure_tenant('tenant_b', '{"daily_budget": 123.45, "velocity_window_hours": 0.001, "meta_ad_account_id": "act_1234567890"}');
SELECT artery.configure_tenant('tenant_b', '{"daily_budget": null, "meta_ad_account_id": 987}');
-- The longest and shortest that are allowed.
SELECT artery.configure_tenant('tenant_b', '{"velocity_window_hours": 168, "id_window_days": 90, "fuzz_percent": 0}');

-- A portal belongs to one tenant.
SELECT artery.configure_tenant('tenant_a', '{"hubspot_portal_ids": [4711, 4711, 4712]}') -> 'hubspot_portal_ids' AS portals;
SELECT portal_id FROM artery.tenant_portal WHERE tenant_id = 'tenant_a' ORDER BY 1;
SELECT artery.configure_tenant('tenant_b', '{"hubspot_portal_ids": [4712]}');
SELECT artery.configure_tenant('tenant_a', '{"hubspot_portal_ids": [4711]}') IS NOT NULL AS given_up;
SELECT artery.configure_tenant('tenant_b', '{"hubspot_portal_ids": [4712]}') IS NOT NULL AS taken;
SELECT artery.configure_tenant('tenant_b', '{"hubspot_portal_ids": null}') ? 'hubspot_portal_ids' AS has_portals;
SELECT tenant_id, portal_id FROM artery.tenant_portal WHERE tenant_id LIKE 'tenant\_%' ORDER BY 1, 2;

-- Settings are seen at once, in the same transaction and after it is rolled back.
BEGIN;
SELECT artery.configure_tenant('tenant_b', '{"rate_limit_per_hour": 3}') IS NOT NULL AS set;
SELECT limit_value FROM artery.check_rate_limit('tenant_b', 'campaign');
ROLLBACK;
SELECT limit_value FROM artery.check_rate_limit('tenant_b', 'campaign');

-- Secrets: set, rotated with a day of grace, removed; never shown.
SELECT artery.set_secret('tenant_a', 'hubspot_client_secret', 'first');
SELECT artery.set_secret('tenant_a', 'hubspot_client_secret', 'second');
SELECT previous_value IS NOT NULL AS has_previous, previous_until - updated_at AS grace
  FROM artery.tenant_secret WHERE tenant_id = 'tenant_a';
-- The same value again is no rotation.
SELECT artery.set_secret('tenant_a', 'hubspot_client_secret', 'second');
SELECT previous_value = 'first' AS kept FROM artery.tenant_secret WHERE tenant_id = 'tenant_a';
SELECT artery.set_secret('tenant_a', 'hubspot_client_secret', NULL);
SELECT count(*) FROM artery.tenant_secret WHERE tenant_id = 'tenant_a';
\set VERBOSITY default
SELECT artery.set_secret('tenant_a', 'no_such_secret', 'x');
SELECT artery.set_secret('tenant_a', 'meta_access_token', '');
SELECT artery.set_secret('tenant_a', NULL, 'x');

-- Roles bound to tenants.
CREATE ROLE regress_artery_bound;
CREATE ROLE regress_artery_member IN ROLE regress_artery_bound;
GRANT USAGE ON SCHEMA artery TO regress_artery_bound;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA artery TO regress_artery_bound;
GRANT SELECT ON artery.v_tenant_settings TO regress_artery_bound;
SELECT artery.grant_tenant('tenant_a', 'no_such_role');
\set VERBOSITY terse
SELECT artery.grant_tenant('tenant_nobody', 'regress_artery_bound');
\set VERBOSITY default
SELECT artery.grant_tenant('tenant_a', 'regress_artery_bound');
SET ROLE regress_artery_member;
SELECT DISTINCT tenant_id FROM artery.v_tenant_settings;
SELECT artery.configure_tenant('tenant_a', '{"high_value": 500}') -> 'high_value' AS own;
SELECT artery.configure_tenant('tenant_b', '{"high_value": 500}');
SELECT artery.configure_tenant('tenant_nobody', '{"high_value": 500}');
SELECT artery.add_tenant('tenant_c');
SELECT artery.grant_tenant('tenant_b', 'regress_artery_bound');
RESET ROLE;
SELECT artery.revoke_tenant('tenant_a', 'regress_artery_bound');
SELECT artery.revoke_tenant('tenant_a', 'regress_artery_bound', unlimited => true);
SELECT artery.revoke_tenant('tenant_a', 'regress_artery_bound');
DROP OWNED BY regress_artery_bound;
DROP ROLE regress_artery_member, regress_artery_bound;
