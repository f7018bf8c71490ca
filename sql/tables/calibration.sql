-- calibration: what the calibrated model has learnt of each tenant

-- One row: the learnt numbers of a tenant, and up to where they go.
CREATE TABLE artery.attribution_state (
    tenant_id     text NOT NULL,
    version       bigint NOT NULL,
    learnt        double precision[] NOT NULL,
    learnt_at     timestamptz NOT NULL,
    known_since   timestamptz,
    counted_until timestamptz NOT NULL,
    mark_at       timestamptz,
    mark_xid      bigint,
    folded_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE artery.attribution_state IS
'What the calibrated model has learnt of a tenant. Kept by fold_attribution_state; rebuild_attribution_state makes it anew.';
COMMENT ON COLUMN artery.attribution_state.version IS 'Another one after every change, so that sessions may keep what they have read.';
COMMENT ON COLUMN artery.attribution_state.learnt IS
'Sums of what clicks and conversions taught, without the factory''s priors, in the order of CalibratedState (src/attribute/calibrated.h); they fade with a half-life of 30 days.';
COMMENT ON COLUMN artery.attribution_state.learnt_at IS 'The moment the sums are faded to: that of the newest click or conversion in them.';
COMMENT ON COLUMN artery.attribution_state.known_since IS 'The oldest click or conversion learnt from.';
COMMENT ON COLUMN artery.attribution_state.counted_until IS 'Clicks with tracked_at and traces with traced_at up to here are counted.';
COMMENT ON COLUMN artery.attribution_state.mark_at IS
'Transactions that may have clicks or traces from before this moment all have ids below mark_xid; when they have ended, all up to here are counted.';
COMMENT ON COLUMN artery.attribution_state.folded_at IS 'By the machine''s clock.';

-- One row: how often a value (address, block, fingerprint, ...) occurred in clicks.
CREATE TABLE artery.attribution_value (
    tenant_id   text NOT NULL,
    value_key   bigint NOT NULL,
    occurrences double precision NOT NULL,
    counted_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, value_key)
);
COMMENT ON TABLE artery.attribution_value IS
'How common values are among a tenant''s clicks: 1 to 5 are the classes of clicks, others are keys as in src/capture/sighting.h, under the tenant''s salt.';
COMMENT ON COLUMN artery.attribution_value.occurrences IS 'As of counted_at; half of it is gone 7 days later.';

-- One row: what a trace that was replaced or removed had taught.
CREATE TABLE artery.attribution_correction (
    tenant_id     text NOT NULL,
    correction_id bigint GENERATED ALWAYS AS IDENTITY,
    traced_at     timestamptz NOT NULL,
    happened_at   timestamptz NOT NULL,
    positions     smallint[] NOT NULL,
    amounts       double precision[] NOT NULL,
    PRIMARY KEY (tenant_id, correction_id)
);
COMMENT ON TABLE artery.attribution_correction IS
'What conversions taught by traces that are no more, to be taken out of the state if it is in there. Appended to, so that conversions of one tenant do not wait for each other.';
COMMENT ON COLUMN artery.attribution_correction.traced_at IS 'Of the trace that is no more: one the state had not come to yet is not in there.';

-- What is read of a click that may have earned a conversion.
CREATE TYPE artery.click_candidate AS (
    click_id        text,
    ad_id           text,
    adset_id        text,
    campaign_id     text,
    sighting        smallint,
    hardware_key    bigint,
    agent_key       bigint,
    fingerprint_key bigint,
    ip_address      inet,
    search_range    integer,
    occurrences     double precision
);
COMMENT ON TYPE artery.click_candidate IS
'A click that may have earned a conversion, and the range of an index it was found in: 1 of the address, 2 of the fingerprint, 3 of the hardware. In range 0 it is no click, but a value_key of attribution_value, in place of the hardware''s, with its occurrences.';

-- One row: how the calibrated model weighed a conversion.
CREATE TABLE artery.conversion_trace (
    tenant_id         text NOT NULL,
    conversion_id     text NOT NULL,
    happened_at       timestamptz NOT NULL,
    traced_at         timestamptz NOT NULL,
    by_id             boolean NOT NULL,
    best_click_id     text,
    best_probability  double precision NOT NULL,
    stated            double precision NOT NULL,
    was_right         boolean,
    no_click          double precision NOT NULL,
    unseen_click      double precision NOT NULL,
    credit            jsonb NOT NULL,
    candidates        json NOT NULL,
    positions         smallint[] NOT NULL,
    amounts           double precision[] NOT NULL,
    PRIMARY KEY (tenant_id, conversion_id)
);
CREATE INDEX conversion_trace_by_traced ON artery.conversion_trace (tenant_id, traced_at);
COMMENT ON TABLE artery.conversion_trace IS
'How the calibrated model weighed a conversion: explain_attribution shows it. Where the id survived, what the model would have said without it.';
COMMENT ON COLUMN artery.conversion_trace.traced_at IS 'When it was weighed: the state learns from traces in this order.';
COMMENT ON COLUMN artery.conversion_trace.stated IS 'The confidence stated for the best click, calibrated; its raw probability is best_probability.';
COMMENT ON COLUMN artery.conversion_trace.was_right IS 'Where the id survived: is the best click the one it names?';
COMMENT ON COLUMN artery.conversion_trace.unseen_click IS 'Probability of a click that was not among the candidates.';
COMMENT ON COLUMN artery.conversion_trace.candidates IS
'The most probable clicks, each as click_id, ad_id, hours before, probability, how the device agrees, its weight, how the network does, its weight, conversions a day, share of its probability from older clicks of the same person.';
COMMENT ON COLUMN artery.conversion_trace.credit IS 'Probability per ad; 1 for the ad that an id names.';
COMMENT ON COLUMN artery.conversion_trace.positions IS 'What the conversion taught: places in attribution_state.learnt, with amounts.';
