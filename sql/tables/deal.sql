-- deal: the CRM's deals, their way through the stages, their increments

-- One row: a deal, its present stage, and the ad that earned it.
CREATE TABLE artery.deal (
    tenant_id              text NOT NULL,
    deal_id                text NOT NULL,
    crm_contact_id         text,
    stage                  text,
    stage_since            timestamptz,
    stage_value            numeric NOT NULL DEFAULT 0,
    stage_confidence       numeric,
    deal_value             numeric,
    is_won                 boolean NOT NULL DEFAULT false,
    first_event_at         timestamptz,
    conversion_id          text,
    attribution_method     text NOT NULL DEFAULT 'unattributed',
    attribution_confidence double precision NOT NULL DEFAULT 0,
    click_id               text,
    ad_id                  text,
    adset_id               text,
    campaign_id            text,
    attributed_at          timestamptz,
    updated_at             timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, deal_id)
);
CREATE INDEX deal_by_ad ON artery.deal (tenant_id, ad_id) WHERE ad_id IS NOT NULL;
CREATE INDEX deal_by_contact ON artery.deal (tenant_id, crm_contact_id) WHERE crm_contact_id IS NOT NULL;
CREATE INDEX deal_unattributed ON artery.deal (tenant_id, updated_at) WHERE attribution_method = 'unattributed';
COMMENT ON TABLE artery.deal IS 'Deals of the CRM: present stage and value, and the ad they are attributed to (once; stages inherit it).';
COMMENT ON COLUMN artery.deal.stage_value IS 'Value of the present stage in the account''s currency: the sum of the deal''s increments.';
COMMENT ON COLUMN artery.deal.deal_value IS 'Real value as the CRM last stated it; replaces the value of a won stage.';
COMMENT ON COLUMN artery.deal.conversion_id IS 'The deal''s row in conversion_tracking.';

-- One row: a deal entered a stage, or its real value became known. Ordered by
-- occurred_at, then event_seq: the order of arrival.
CREATE TABLE artery.deal_stage_event (
    tenant_id     text NOT NULL,
    deal_id       text NOT NULL,
    occurred_at   timestamptz NOT NULL,
    event_seq     bigint GENERATED ALWAYS AS IDENTITY,
    event_id      text,
    is_value      boolean NOT NULL DEFAULT false,
    stage_from    text,
    stage_to      text,
    base_value    numeric NOT NULL,
    is_won        boolean NOT NULL,
    stage_value   numeric NOT NULL,
    increment     numeric NOT NULL,
    confidence    numeric,
    deal_value    numeric,
    recorded_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, deal_id, occurred_at, event_seq),
    CHECK (is_value OR stage_to IS NOT NULL)
);
CREATE UNIQUE INDEX deal_stage_event_by_event ON artery.deal_stage_event (tenant_id, deal_id, event_id)
    WHERE event_id IS NOT NULL;
CREATE INDEX deal_stage_event_by_time ON artery.deal_stage_event (tenant_id, occurred_at);
COMMENT ON TABLE artery.deal_stage_event IS
'Every stage a deal entered, with its increment: value after the event minus value before it in time. A late event corrects what comes after it.';
COMMENT ON COLUMN artery.deal_stage_event.is_value IS
'The event told only the real value (NULL: it was taken back); its stage is the one in force, NULL if there was none yet.';
COMMENT ON COLUMN artery.deal_stage_event.base_value IS 'Value of the stage itself in the account''s currency, as configured when the event was recorded.';
COMMENT ON COLUMN artery.deal_stage_event.stage_value IS 'Value of the deal after the event: base_value, or the real value in a won stage.';
COMMENT ON COLUMN artery.deal_stage_event.increment IS 'Synthetic revenue of this move in the account''s currency; negative for moves back.';
COMMENT ON COLUMN artery.deal_stage_event.deal_value IS 'The real value that this event told, in the account''s currency.';
