-- guard: what was sent to which campaign, and the lock under which it is judged

-- One row: the lock of a campaign.
CREATE TABLE artery.campaign_guard (
    tenant_id   text NOT NULL,
    campaign_id text NOT NULL,
    PRIMARY KEY (tenant_id, campaign_id)
);
COMMENT ON TABLE artery.campaign_guard IS
'Locked FOR UPDATE while a change of the campaign is judged and its place reserved, so that many workers together never exceed a limit.';

-- One row: an action on a campaign: a place taken in its hour.
CREATE TABLE artery.campaign_action (
    tenant_id       text NOT NULL,
    campaign_id     text NOT NULL,
    acted_at        timestamptz NOT NULL,
    action_seq      bigint GENERATED ALWAYS AS IDENTITY,
    budget_owner_id text,
    change_id       uuid NOT NULL,
    attempt         integer NOT NULL,
    change_type     text NOT NULL,
    PRIMARY KEY (tenant_id, campaign_id, acted_at, action_seq)
);
CREATE INDEX campaign_action_by_owner ON artery.campaign_action (tenant_id, budget_owner_id, acted_at);
CREATE INDEX campaign_action_by_change ON artery.campaign_action (tenant_id, change_id, attempt);
COMMENT ON TABLE artery.campaign_action IS
'Reservations: a row is written when a change is allowed to be sent and removed only if it certainly was not applied.';
