-- account: what Meta says of a tenant's token

-- One row: a tenant's token as Meta described it last.
CREATE TABLE artery.meta_token (
    tenant_id              text PRIMARY KEY,
    checked_at             timestamptz NOT NULL,
    is_valid               boolean NOT NULL,
    expires_at             timestamptz,
    data_access_expires_at timestamptz,
    scopes                 text[],
    problem                text
);
COMMENT ON TABLE artery.meta_token IS
'What debug_token said of each tenant''s meta_access_token, and never the token: asked when it is set, daily, and after a lack of permission, where meta_app_id and meta_app_secret are set.';
COMMENT ON COLUMN artery.meta_token.expires_at IS 'NULL: never, or not told.';
COMMENT ON COLUMN artery.meta_token.problem IS 'Why changes cannot be sent with it; NULL: they can, as far as it tells.';
