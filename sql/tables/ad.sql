-- ad: ads, their budget owners, and what each day brought

-- One row: an ad, as of now.
CREATE TABLE artery.ad_state (
    tenant_id       text NOT NULL,
    ad_id           text NOT NULL,
    campaign_id     text,
    adset_id        text,
    budget_owner_id text,
    impressions     bigint NOT NULL DEFAULT 0,
    clicks          bigint NOT NULL DEFAULT 0,
    spend           numeric NOT NULL DEFAULT 0,
    pipeline_value  numeric NOT NULL DEFAULT 0,
    cash_revenue    numeric NOT NULL DEFAULT 0,
    dna_score       double precision CHECK (dna_score >= 0 AND dna_score <= 1),
    first_seen      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, ad_id)
);
CREATE INDEX ad_state_by_owner ON artery.ad_state (tenant_id, budget_owner_id);
CREATE INDEX ad_state_by_adset ON artery.ad_state (tenant_id, adset_id);
CREATE INDEX ad_state_by_campaign ON artery.ad_state (tenant_id, campaign_id);
COMMENT ON TABLE artery.ad_state IS 'Ads with their totals. Meta keeps budgets on ad sets or campaigns: budget_owner_id names the one that pays for the ad.';
COMMENT ON COLUMN artery.ad_state.spend IS 'Total in the account''s currency.';
COMMENT ON COLUMN artery.ad_state.pipeline_value IS 'What record_feedback told, in the account''s currency. What is attributed stays with deals and conversions; decisions take the greater of the two.';
COMMENT ON COLUMN artery.ad_state.cash_revenue IS 'What record_feedback told, in the account''s currency; see pipeline_value.';

-- One row: an ad on a day of the ad account.
CREATE TABLE artery.ad_day (
    tenant_id      text NOT NULL,
    ad_id          text NOT NULL,
    day            date NOT NULL,
    impressions    bigint NOT NULL DEFAULT 0,
    clicks         bigint NOT NULL DEFAULT 0,
    spend          numeric NOT NULL DEFAULT 0,
    pipeline_value numeric NOT NULL DEFAULT 0,
    cash_revenue   numeric NOT NULL DEFAULT 0,
    source         text NOT NULL,
    updated_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, ad_id, day),
    CHECK (source = ANY (ARRAY['reported', 'feedback', 'insights']))
);
CREATE INDEX ad_day_by_day ON artery.ad_day (tenant_id, day);
COMMENT ON TABLE artery.ad_day IS
'Daily facts. source: reported (record_ad_day), insights (read from Meta), feedback (the increment of record_feedback, which the other two replace).';
COMMENT ON COLUMN artery.ad_day.day IS 'A day in the time zone of the ad account.';
COMMENT ON COLUMN artery.ad_day.pipeline_value IS 'Only what record_feedback told; deals and conversions are counted where they are kept.';

-- One row: totals to date of an ad as somebody saw them.
CREATE TABLE artery.ad_feedback (
    tenant_id      text NOT NULL,
    ad_id          text NOT NULL,
    as_of          timestamptz NOT NULL,
    impressions    bigint,
    clicks         bigint,
    spend          numeric NOT NULL,
    pipeline_value numeric NOT NULL,
    cash_revenue   numeric,
    recorded_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, ad_id, as_of)
);
COMMENT ON TABLE artery.ad_feedback IS 'Totals to date told by record_feedback; increments between them become daily facts.';

-- One row: an object of Meta's that carries a budget.
CREATE TABLE artery.budget_owner (
    tenant_id       text NOT NULL,
    budget_owner_id text NOT NULL,
    owner_type      text NOT NULL DEFAULT 'adset' CHECK (owner_type = ANY (ARRAY['adset', 'campaign'])),
    campaign_id     text,
    budget          numeric CHECK (budget >= 0),
    observed_at     timestamptz,
    status          text,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, budget_owner_id)
);
CREATE INDEX budget_owner_by_campaign ON artery.budget_owner (tenant_id, campaign_id);
COMMENT ON TABLE artery.budget_owner IS 'Ad sets and campaigns that carry a budget, with the budget last observed.';
COMMENT ON COLUMN artery.budget_owner.budget IS 'Per day in the account''s currency.';

-- One row: a budget came into force (or was seen to be) at a moment.
CREATE TABLE artery.budget_observation (
    tenant_id       text NOT NULL,
    budget_owner_id text NOT NULL,
    observed_at     timestamptz NOT NULL,
    observation_seq bigint GENERATED ALWAYS AS IDENTITY,
    budget          numeric NOT NULL CHECK (budget >= 0),
    source          text NOT NULL,
    change_id       uuid,
    PRIMARY KEY (tenant_id, budget_owner_id, observed_at, observation_seq),
    CHECK (source = ANY (ARRAY['observed', 'sent']))
);
COMMENT ON TABLE artery.budget_observation IS
'The history of budgets in force, ours and those changed by hand: what the velocity rule is judged by. A budget lasts until the next row of its owner.';
COMMENT ON COLUMN artery.budget_observation.budget IS 'Per day in the account''s currency.';
