-- throttle: who has to be left alone for a while, as Meta's answers told

-- One row: a scope, why, and until when.
CREATE TABLE artery.throttle (
    tenant_id     text NOT NULL,
    scope         text NOT NULL,
    scope_id      text NOT NULL,
    reason        text NOT NULL,
    until         timestamptz NOT NULL,
    since         timestamptz NOT NULL,
    hits          integer NOT NULL DEFAULT 1,
    code          bigint,
    subcode       bigint,
    usage_percent double precision,
    PRIMARY KEY (tenant_id, scope, scope_id, reason),
    CHECK (scope = ANY (ARRAY['app', 'account', 'object', 'token', 'configuration'])),
    CHECK (reason = ANY (ARRAY['app_throttle', 'account_throttle', 'insights_throttle', 'object_throttle', 'token',
                               'account_stopped', 'configuration', 'usage']))
);
COMMENT ON TABLE artery.throttle IS
'Whom Meta wants left alone: learnt from its answers, obeyed by every worker, also after a restart. What is over is kept for a day, since the next refusal then waits longer.';
COMMENT ON COLUMN artery.throttle.tenant_id IS 'Empty where it concerns all tenants: an app, the configuration.';
COMMENT ON COLUMN artery.throttle.scope_id IS 'App, account or object of Meta''s; fingerprint of the token (never the token); address and version of the API. Empty where not known.';
COMMENT ON COLUMN artery.throttle.until IS 'infinity: until somebody does something, such as set another token.';
COMMENT ON COLUMN artery.throttle.reason IS 'As blocked_rule of the changes it holds back. usage holds nothing back, it spaces changes out.';
COMMENT ON COLUMN artery.throttle.hits IS 'Refusals in a row; each doubles the wait, up to 16 times.';
