-- stage: what a stage of the funnel is worth

-- One row: a tenant's own stage values, laid over its template's.
CREATE TABLE artery.synthetic_revenue_config (
    tenant_id    text PRIMARY KEY,
    stage_values jsonb NOT NULL DEFAULT '{}',
    updated_at   timestamptz,
    FOREIGN KEY (tenant_id) REFERENCES artery.tenant ON DELETE CASCADE
);
COMMENT ON TABLE artery.synthetic_revenue_config IS
'A tenant''s own stage values: {"stage": {"value": 2250, "confidence": 0.60, "description": "...", "aliases": ["..."], "won": false}}; null takes a stage of the template away.';
COMMENT ON COLUMN artery.synthetic_revenue_config.stage_values IS 'Values in the account''s currency, confidences as shares 0..1.';
