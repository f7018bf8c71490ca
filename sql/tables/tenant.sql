-- tenant: who uses artery, with which settings, secrets and roles
--
-- No foreign keys between tables that are dumped: pg_restore -j loads them in any
-- order, with the keys in force. Triggers do what a key would.

-- One row: a shipped configuration, read-only. What a tenant changes is kept
-- in its own rows, so that an update of artery may improve a template.
CREATE TABLE artery.tenant_template (
    template     text PRIMARY KEY,
    description  text NOT NULL,
    stage_values jsonb NOT NULL
);
COMMENT ON TABLE artery.tenant_template IS
'Shipped configurations: the stages of a kind of business with their values (account currency) and confidences. Read-only; a tenant''s own values lie over them in synthetic_revenue_config.';

-- One row: a tenant.
CREATE TABLE artery.tenant (
    tenant_id  text PRIMARY KEY CHECK (tenant_id <> '' AND pg_catalog.octet_length(tenant_id) <= 256),
    template   text,
    settings   jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
COMMENT ON TABLE artery.tenant IS 'Tenants and their own settings; v_tenant_settings shows the effective ones.';
COMMENT ON COLUMN artery.tenant.settings IS 'Only what the tenant set itself; everything else follows the defaults.';

-- One row: a HubSpot portal of a tenant (setting hubspot_portal_ids).
CREATE TABLE artery.tenant_portal (
    tenant_id text NOT NULL,
    portal_id bigint NOT NULL,
    PRIMARY KEY (tenant_id, portal_id)
);
-- A webhook knows only the portal.
CREATE INDEX tenant_portal_by_portal ON artery.tenant_portal (portal_id);
COMMENT ON TABLE artery.tenant_portal IS 'Which tenant a HubSpot portal belongs to; kept by configure_tenant.';

-- One row: a secret. Never dumped, readable by the owner only.
CREATE TABLE artery.tenant_secret (
    tenant_id      text NOT NULL,
    name           text NOT NULL,
    value          text NOT NULL,
    updated_at     timestamptz NOT NULL,
    previous_value text,
    previous_until timestamptz,
    PRIMARY KEY (tenant_id, name),
    FOREIGN KEY (tenant_id) REFERENCES artery.tenant ON DELETE CASCADE
);
COMMENT ON TABLE artery.tenant_secret IS
'Tokens and client secrets: written by set_secret, read only inside the library, never dumped.';
COMMENT ON COLUMN artery.tenant_secret.previous_until IS 'Until when the value before the last rotation is still accepted.';

-- One row: a role that may use only the tenants it is bound to.
CREATE TABLE artery.tenant_role (
    tenant_id  text NOT NULL,
    role_name  name NOT NULL,
    granted_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, role_name)
);
COMMENT ON TABLE artery.tenant_role IS
'Roles bound to tenants by grant_tenant. A role in no row (nor member of one) is not limited; what it may do at all is a matter of GRANT.';
