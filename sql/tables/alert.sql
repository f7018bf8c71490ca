-- alert: what somebody has to look at

-- One row: something was wrong from raised_at until cleared_at.
CREATE TABLE artery.alert (
    tenant_id  text NOT NULL,
    alert_id   bigint GENERATED ALWAYS AS IDENTITY,
    kind       text NOT NULL,
    key        text NOT NULL,
    message    text NOT NULL,
    raised_at  timestamptz NOT NULL,
    cleared_at timestamptz,
    PRIMARY KEY (tenant_id, alert_id)
);
-- One open alert of a thing, however often it is met.
CREATE UNIQUE INDEX alert_open ON artery.alert (tenant_id, kind, key) WHERE cleared_at IS NULL;
COMMENT ON TABLE artery.alert IS 'What a person has to look at, such as a refused token; open until cleared_at.';
COMMENT ON COLUMN artery.alert.key IS 'What it is about within its kind, such as an account''s number; never a secret.';
