-- progress: what the model `delayed` has counted of each tenant's ads and deals

-- One row: up to where a tenant's facts are counted.
CREATE TABLE artery.allocation_state (
    tenant_id    text NOT NULL,
    form         jsonb NOT NULL,
    days_through date NOT NULL,
    counted_at   timestamptz NOT NULL,
    folded_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE artery.allocation_state IS
'Up to where ads and deals are counted for the model delayed. Kept by allocate_budget; rebuild_allocation_state makes it anew, as the next run does where there is none, after a restore for example.';
COMMENT ON COLUMN artery.allocation_state.form IS 'What the sums depend on besides facts: the tenant''s funnel and the numbers of the model. With another one all is counted anew.';
COMMENT ON COLUMN artery.allocation_state.days_through IS 'Days of the ad account up to here are counted; later ones are read when a decision is made.';
COMMENT ON COLUMN artery.allocation_state.counted_at IS 'Stage changes up to this moment are counted.';

-- One row: what an ad showed, and the clicks that it brought.
CREATE TABLE artery.ad_progress (
    tenant_id    text NOT NULL,
    ad_id        text NOT NULL,
    days_through date NOT NULL,
    exposure     double precision[] NOT NULL,
    clicks       double precision[] NOT NULL,
    PRIMARY KEY (tenant_id, ad_id)
);
COMMENT ON TABLE artery.ad_progress IS 'Sums over an ad''s days, as of the middle of days_through, the last of them.';
COMMENT ON COLUMN artery.ad_progress.exposure IS 'In the order of Exposure (src/decide/exposure.h).';
COMMENT ON COLUMN artery.ad_progress.clicks IS 'Clicks as entries of the first hop: see hop_progress.sums.';

-- One row: an ad's deals on the way to one place of the funnel.
CREATE TABLE artery.hop_progress (
    tenant_id  text NOT NULL,
    ad_id      text NOT NULL,
    place      integer NOT NULL,
    counted_at timestamptz NOT NULL,
    sums       double precision[] NOT NULL,
    PRIMARY KEY (tenant_id, ad_id, place)
);
COMMENT ON TABLE artery.hop_progress IS 'Sums over an ad''s deals, in parts where the attribution is not sure, as of counted_at.';
COMMENT ON COLUMN artery.hop_progress.sums IS
'Entered, reached in a known time, the sum of these times in days, reached in an unknown time, then the sums of exp(-age / mean) over entries for the grid of means (src/decide/hop.h).';

-- One row: what of a deal is in the sums, so that it can be taken back.
CREATE TABLE artery.deal_credit (
    tenant_id text NOT NULL,
    deal_id   text NOT NULL,
    credit    jsonb NOT NULL,
    click_ad  text,
    places    integer[] NOT NULL,
    reached   timestamptz[] NOT NULL,
    took      double precision[] NOT NULL,
    PRIMARY KEY (tenant_id, deal_id)
);
COMMENT ON TABLE artery.deal_credit IS 'Deals as they are counted: the ads that share one, and when it came to each place of the funnel.';
COMMENT ON COLUMN artery.deal_credit.click_ad IS 'The ad of its click: for the others it is not known how long the first step took.';
COMMENT ON COLUMN artery.deal_credit.took IS 'Days after the place before, or after the click; NULL where that is not known.';

-- One row: a deal or an ad whose facts have changed since they were counted.
CREATE TABLE artery.allocation_delta (
    tenant_id text NOT NULL,
    delta_id  bigint GENERATED ALWAYS AS IDENTITY,
    deal_id   text,
    ad_id     text,
    day       date,
    PRIMARY KEY (tenant_id, delta_id)
);
COMMENT ON TABLE artery.allocation_delta IS
'Deals (deal_id) and ads (ad_id, with the earliest day) to be counted again. Appended to by triggers, so that writers do not wait for each other; emptied by the next fold.';
