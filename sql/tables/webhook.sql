-- webhook: raw events as HubSpot sent them, kept before they are understood

-- One row: one event.
CREATE TABLE artery.webhook_event (
    tenant_id         text NOT NULL,
    webhook_event_id  bigint GENERATED ALWAYS AS IDENTITY,
    event_key         text NOT NULL,
    portal_id         bigint,
    subscription_type text,
    object_id         text,
    occurred_at       timestamptz,
    payload           jsonb NOT NULL,
    status            text NOT NULL DEFAULT 'stored',
    reason            text,
    result            jsonb,
    received_at       timestamptz NOT NULL,
    processed_at      timestamptz,
    PRIMARY KEY (tenant_id, webhook_event_id),
    UNIQUE (tenant_id, event_key),
    CHECK (status = ANY (ARRAY['stored', 'processed', 'unmapped', 'ignored', 'failed']))
);
CREATE INDEX webhook_event_open ON artery.webhook_event (tenant_id, received_at)
    WHERE status = ANY (ARRAY['stored', 'unmapped', 'failed']);
CREATE INDEX webhook_event_by_time ON artery.webhook_event USING brin (received_at);
COMMENT ON TABLE artery.webhook_event IS
'Raw events of verified webhooks; event_key makes a repeated delivery one event. Unmapped ones wait for replay_webhook_events.';
