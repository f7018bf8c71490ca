-- change: wishes to change an ad account, and what became of them

-- One row: a wish and its state.
CREATE TABLE artery.ad_change (
    tenant_id        text NOT NULL,
    change_id        uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    campaign_id      text NOT NULL,
    adset_id         text,
    ad_id            text,
    budget_owner_id  text,
    target_id        text NOT NULL,
    change_type      text NOT NULL,
    old_value        jsonb,
    new_value        jsonb NOT NULL,
    requested_value  jsonb NOT NULL,
    state            text NOT NULL DEFAULT 'proposed',
    triggered_by     text NOT NULL,
    reason           text,
    ml_confidence    double precision CHECK (ml_confidence >= 0 AND ml_confidence <= 1),
    safety_override  boolean NOT NULL DEFAULT false,
    run_id           bigint,
    run_at           timestamptz,
    attempt          integer NOT NULL DEFAULT 0,
    failures         integer NOT NULL DEFAULT 0,
    sending_value    jsonb,
    sending_from     jsonb,
    sending_at       timestamptz,
    sending_worker   integer,
    sending_started  timestamptz,
    reached_value    jsonb,
    reconcile        boolean NOT NULL DEFAULT false,
    dry_run          boolean NOT NULL DEFAULT false,
    checks           jsonb,
    blocked_rule     text,
    blocked_detail   jsonb,
    next_allowed_at  timestamptz,
    last_error       text,
    approved_by      text,
    approved_at      timestamptz,
    approval_note    text,
    superseded_by    uuid,
    rollback_of      uuid,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    settled_at       timestamptz,
    PRIMARY KEY (tenant_id, change_id),
    CHECK (change_type = ANY (ARRAY['BUDGET_INCREASE', 'BUDGET_DECREASE', 'STATUS_CHANGE', 'TARGETING_UPDATE'])),
    CHECK (state = ANY (ARRAY['proposed', 'approved', 'blocked', 'sending', 'completed', 'failed', 'unknown',
                              'rejected', 'cancelled', 'superseded']))
);
-- What the worker looks for: due changes in their order, and first those in doubt.
CREATE INDEX ad_change_due ON artery.ad_change (tenant_id, run_at, created_at)
    WHERE state = ANY (ARRAY['approved', 'blocked', 'sending', 'unknown']);
CREATE INDEX ad_change_doubtful ON artery.ad_change (tenant_id, run_at, created_at) WHERE state = 'unknown';
CREATE INDEX ad_change_sending ON artery.ad_change (tenant_id, campaign_id) WHERE state = 'sending';
CREATE INDEX ad_change_open ON artery.ad_change (tenant_id, target_id)
    WHERE state = ANY (ARRAY['proposed', 'approved', 'blocked', 'sending', 'unknown']);
-- What was settled of late: allocations leave its objects alone for a while.
CREATE INDEX ad_change_settled ON artery.ad_change (tenant_id, settled_at) WHERE settled_at IS NOT NULL;
-- The condition, always true, keeps statements that do not name the campaign from reading all of a tenant's by it.
CREATE INDEX ad_change_by_campaign ON artery.ad_change (tenant_id, campaign_id, created_at) WHERE campaign_id IS NOT NULL;
COMMENT ON TABLE artery.ad_change IS
'Wishes to change a budget or status, and their state: proposed, approved, blocked, sending, completed, failed, unknown, rejected, cancelled, superseded.';
COMMENT ON COLUMN artery.ad_change.target_id IS 'Object of Meta''s that is written: the budget owner, or what a status change names.';
COMMENT ON COLUMN artery.ad_change.new_value IS 'What is approved, judged and sent in the end: {"budget": 100.00} per day in the account''s currency (fuzz included), or {"status": "PAUSED"}.';
COMMENT ON COLUMN artery.ad_change.requested_value IS 'What was asked for, before fuzz.';
COMMENT ON COLUMN artery.ad_change.run_at IS 'Not before this moment: jitter, backoff, or the moment a blocked change can pass.';
COMMENT ON COLUMN artery.ad_change.attempt IS 'Raised with every claim; whoever settles must present it.';
COMMENT ON COLUMN artery.ad_change.failures IS 'Failed attempts in a row; being blocked is none.';
COMMENT ON COLUMN artery.ad_change.sending_value IS 'The step under way or sent last: less than new_value while a large change ramps. NULL as long as nothing may have been sent since the claim.';
COMMENT ON COLUMN artery.ad_change.sending_from IS 'What was in force when sending_value was judged.';
COMMENT ON COLUMN artery.ad_change.sending_at IS 'When sending_value was judged: a write may be applied some seconds later even if its sender is gone.';
COMMENT ON COLUMN artery.ad_change.sending_worker IS 'Process that claimed it last; with sending_started, the start of that process, no later process is taken for it.';
COMMENT ON COLUMN artery.ad_change.sending_started IS 'Start of the process that claimed it last, by the server''s own clock.';
COMMENT ON COLUMN artery.ad_change.reached_value IS 'The last step that was applied: how far a ramp has come.';
COMMENT ON COLUMN artery.ad_change.reconcile IS 'Claimed to find out by reading whether sending_value was applied.';
COMMENT ON COLUMN artery.ad_change.dry_run IS 'Whether the tenant was in dry run when it was claimed last.';
COMMENT ON COLUMN artery.ad_change.checks IS 'Numbers of the judgement that let sending_value pass.';
COMMENT ON COLUMN artery.ad_change.superseded_by IS 'A newer wish for the same object. One that is sending or unknown is left to finish that step first.';
COMMENT ON COLUMN artery.ad_change.blocked_rule IS 'rate_limit, owner_limit, velocity, unknown_budget, floor, owner_cap, tenant_cap, learning, account, currency, owner_paused, disabled, or what the executor waits for (token ...); the numbers are in blocked_detail.';

-- One row: one attempt and its outcome. Append-only.
CREATE TABLE artery.ad_change_history (
    tenant_id   text NOT NULL,
    history_id  bigint GENERATED ALWAYS AS IDENTITY,
    change_id   uuid NOT NULL,
    campaign_id text NOT NULL,
    target_id   text NOT NULL,
    change_type text NOT NULL,
    attempt     integer NOT NULL,
    outcome     text NOT NULL,
    old_value   jsonb,
    new_value   jsonb,
    dry_run     boolean NOT NULL DEFAULT false,
    actor       text,
    rule        text,
    next_allowed_at timestamptz,
    checks      jsonb,
    response    jsonb,
    error       text,
    duration_ms double precision,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, history_id)
);
CREATE INDEX ad_change_history_by_change ON artery.ad_change_history (tenant_id, change_id, history_id);
CREATE INDEX ad_change_history_by_campaign ON artery.ad_change_history (tenant_id, campaign_id, recorded_at);
CREATE INDEX ad_change_history_by_time ON artery.ad_change_history USING brin (recorded_at);
COMMENT ON TABLE artery.ad_change_history IS
'Append-only: what happened to each change: proposed, approved, blocked, sent steps, failures, with values, checks, response and duration.';
COMMENT ON COLUMN artery.ad_change_history.rule IS 'Of a blocked attempt: the rule that held it back, until next_allowed_at.';
COMMENT ON COLUMN artery.ad_change_history.next_allowed_at IS 'When it can pass; NULL where that is not foreseeable.';
COMMENT ON COLUMN artery.ad_change_history.outcome IS
'proposed, approved, rejected, cancelled, superseded, blocked, step (part of a ramp applied), completed, retry, failed, unknown, reconciled.';
