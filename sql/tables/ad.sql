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
    effective_status text,
    first_seen      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, ad_id)
);
-- The conditions keep these from statements that name only the tenant and another column: to a plan made while the
-- table is empty all indexes cost the same, and one that reads the whole tenant for each ad would stay.
CREATE INDEX ad_state_by_owner ON artery.ad_state (tenant_id, budget_owner_id) WHERE budget_owner_id IS NOT NULL;
CREATE INDEX ad_state_by_adset ON artery.ad_state (tenant_id, adset_id) WHERE adset_id IS NOT NULL;
CREATE INDEX ad_state_by_campaign ON artery.ad_state (tenant_id, campaign_id) WHERE campaign_id IS NOT NULL;
COMMENT ON TABLE artery.ad_state IS 'Ads with their totals. Meta keeps budgets on ad sets or campaigns: budget_owner_id names the one that pays for the ad.';
COMMENT ON COLUMN artery.ad_state.effective_status IS 'As last read from Meta, such as ACTIVE or ADSET_PAUSED, and ARCHIVED for what Meta lists no more; NULL as long as it was not read.';
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
    budget_type     text CHECK (budget_type = ANY (ARRAY['daily', 'lifetime', 'none'])),
    observed_at     timestamptz,
    currency        text,
    minimum         numeric CHECK (minimum >= 0),
    status          text,
    effective_status text,
    learning_status text,
    spend_day       date,
    spend_today     numeric CHECK (spend_today >= 0),
    paused_at       timestamptz,
    paused_by       text,
    pause_note      text,
    edited_at       timestamptz,
    edited_by       text,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, budget_owner_id)
);
CREATE INDEX budget_owner_by_campaign ON artery.budget_owner (tenant_id, campaign_id) WHERE campaign_id IS NOT NULL;
CREATE INDEX budget_owner_paused ON artery.budget_owner (tenant_id, budget_owner_id) WHERE paused_at IS NOT NULL;
COMMENT ON TABLE artery.budget_owner IS 'Ad sets and campaigns that carry a budget, with the budget last observed.';
COMMENT ON COLUMN artery.budget_owner.budget IS 'Per day in the account''s currency; NULL where it is not known or the object carries no daily budget.';
COMMENT ON COLUMN artery.budget_owner.budget_type IS 'What Meta said it carries: none where the campaign or its ad sets carry it instead; NULL as long as it was not read.';
COMMENT ON COLUMN artery.budget_owner.currency IS 'The account''s, as Meta tells it; NULL as long as it was not read.';
COMMENT ON COLUMN artery.budget_owner.minimum IS 'Smallest daily budget that Meta takes, in the account''s currency; NULL: not known.';
COMMENT ON COLUMN artery.budget_owner.status IS 'What was set: ACTIVE, PAUSED, DELETED, ARCHIVED.';
COMMENT ON COLUMN artery.budget_owner.effective_status IS 'What holds with all above it, such as CAMPAIGN_PAUSED, and ARCHIVED for what Meta lists no more.';
COMMENT ON COLUMN artery.budget_owner.learning_status IS 'Meta''s learning phase of an ad set: LEARNING, SUCCESS, FAIL.';
COMMENT ON COLUMN artery.budget_owner.spend_day IS 'The day of the ad account that spend_today is of.';
COMMENT ON COLUMN artery.budget_owner.spend_today IS 'Spent on spend_day when last read, in the account''s currency.';
COMMENT ON COLUMN artery.budget_owner.edited_at IS 'When somebody else than artery changed its budget last, as Meta''s activity log tells, and edited_by who.';
COMMENT ON COLUMN artery.budget_owner.paused_at IS 'Since when a person has stopped artery''s changes of it.';

-- One row: an ad account as Meta described it.
CREATE TABLE artery.ad_account (
    tenant_id        text NOT NULL,
    account_id       text NOT NULL,
    currency         text NOT NULL,
    time_zone        text,
    account_status   integer,
    min_daily_budget numeric CHECK (min_daily_budget >= 0),
    amount_spent     numeric CHECK (amount_spent >= 0),
    report_days      integer CHECK (report_days > 0),
    synced_at        timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, account_id)
);
COMMENT ON TABLE artery.ad_account IS 'Ad accounts as last read from Meta.';
COMMENT ON COLUMN artery.ad_account.account_id IS 'Digits, without act_.';
COMMENT ON COLUMN artery.ad_account.account_status IS '1 is active; with any other Meta delivers nothing.';
COMMENT ON COLUMN artery.ad_account.report_days IS 'Days of Insights that go into one report; NULL: they come at once, without one.';
COMMENT ON COLUMN artery.ad_account.min_daily_budget IS 'In the account''s currency, like amount_spent.';

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
