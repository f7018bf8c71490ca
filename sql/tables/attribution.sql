-- attribution: conversions, the click that earned each, and how it was found

-- One row: a conversion with its attribution. Columns bear the names of
-- attribute_conversion's arguments and results.
CREATE TABLE artery.conversion_tracking (
    tenant_id                text NOT NULL,
    conversion_id            text NOT NULL,
    conversion_type          text NOT NULL,
    conversion_value         numeric,
    conversion_timestamp     timestamptz NOT NULL,
    click_id                 text,
    fbclid                   text,
    fingerprint_hash         text,
    ip_address               inet,
    user_agent               text,
    screen_width             integer,
    screen_height            integer,
    timezone                 text,
    timezone_offset          integer,
    device_type              text,
    os                       text,
    browser                  text,
    is_synthetic             boolean NOT NULL DEFAULT false,
    crm_deal_id              text,
    crm_contact_id           text,
    crm_stage                text,
    raw_data                 jsonb,
    consent                  boolean,
    client_hints             jsonb,
    success                  boolean NOT NULL,
    attributed_click_id      text,
    attribution_method       text NOT NULL,
    attribution_confidence   double precision NOT NULL,
    attribution_window_hours double precision,
    ad_id                    text,
    adset_id                 text,
    campaign_id              text,
    candidates               integer NOT NULL,
    reason                   text NOT NULL,
    best_click_id            text,
    best_confidence          double precision,
    no_click_probability     double precision,
    attributed_at            timestamptz NOT NULL
);
-- Method and confidence are checked by triggers: a CHECK is read and prepared anew for every statement, which took a
-- sixth of a conversion's time.
-- Those without an ad are the unattributed, too: a condition would be prepared anew for every statement.
CREATE INDEX conversion_tracking_by_ad ON artery.conversion_tracking (tenant_id, ad_id, conversion_timestamp);
CREATE INDEX conversion_tracking_by_deal ON artery.conversion_tracking (tenant_id, crm_deal_id)
    WHERE crm_deal_id IS NOT NULL;
-- For clearing device data by age; costs next to nothing.
CREATE INDEX conversion_tracking_by_time ON artery.conversion_tracking USING brin (attributed_at);
-- Last: to a plan made while there are few conversions all indexes cost the same, and PostgreSQL takes the youngest.
ALTER TABLE artery.conversion_tracking ADD PRIMARY KEY (tenant_id, conversion_id);
COMMENT ON TABLE artery.conversion_tracking IS
'Conversions and the clicks that earned them. INSERT and COPY attribute like attribute_conversion; leave attributed_at and the result columns out.';
COMMENT ON COLUMN artery.conversion_tracking.conversion_value IS 'In the account''s currency.';
COMMENT ON COLUMN artery.conversion_tracking.consent IS 'Whether the visitor agreed to be recognised; NULL where nothing was said, and then consent_required decides.';
COMMENT ON COLUMN artery.conversion_tracking.client_hints IS 'For INSERT and COPY; always NULL afterwards, for device_type, os and browser say it.';
COMMENT ON COLUMN artery.conversion_tracking.attribution_window_hours IS 'Hours from the click to the conversion.';
COMMENT ON COLUMN artery.conversion_tracking.best_click_id IS 'The best candidate, also where its confidence was too low to attribute.';
COMMENT ON COLUMN artery.conversion_tracking.no_click_probability IS 'Probability that no click led here (calibrated model only).';
COMMENT ON COLUMN artery.conversion_tracking.attributed_at IS 'When it was attributed; rows that bring it (a restore) are stored as they are.';

-- One row: one attempt to attribute a conversion.
CREATE TABLE artery.attribution_performance_log (
    tenant_id          text NOT NULL,
    conversion_id      text NOT NULL,
    attempt_number     integer NOT NULL,
    layer_1_result     text NOT NULL,
    layer_2_result     text NOT NULL,
    layer_3_result     text NOT NULL,
    final_method       text NOT NULL,
    final_confidence   double precision NOT NULL,
    success            boolean NOT NULL,
    candidates         integer NOT NULL,
    processing_time_ms double precision NOT NULL,
    logged_at          timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, conversion_id, attempt_number)
);
CREATE INDEX attribution_performance_log_by_time ON artery.attribution_performance_log USING brin (logged_at);
COMMENT ON TABLE artery.attribution_performance_log IS
'What each layer found, per attempt: success, no_param, no_match, expired, ambiguous, low_probability or not_attempted.';
COMMENT ON COLUMN artery.attribution_performance_log.processing_time_ms IS 'Time the search took, in milliseconds.';
