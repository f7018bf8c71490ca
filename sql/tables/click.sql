-- click: every click on an ad

-- One row: a click. Columns bear the names of track_click's arguments.
CREATE TABLE artery.click_tracking (
    tenant_id        text NOT NULL,
    click_id         text NOT NULL,
    campaign_id      text,
    adset_id         text,
    ad_id            text,
    fbclid           text,
    gclid            text,
    fbc              text,
    fbp              text,
    ip_address       inet,
    user_agent       text,
    device_type      text,
    os               text,
    browser          text,
    screen_width     integer,
    screen_height    integer,
    timezone         text,
    timezone_offset  integer,
    fingerprint_hash text,
    landing_page_url text,
    referrer_url     text,
    utm_source       text,
    utm_medium       text,
    utm_campaign     text,
    utm_content      text,
    utm_term         text,
    click_timestamp  timestamptz NOT NULL,
    tracked_at       timestamptz NOT NULL,
    sighting         smallint,
    hardware_key     bigint,
    agent_key        bigint,
    place_key        bigint,
    PRIMARY KEY (tenant_id, click_id)
);
CREATE INDEX click_tracking_by_fbclid ON artery.click_tracking (tenant_id, fbclid, click_timestamp DESC)
    WHERE fbclid IS NOT NULL;
CREATE INDEX click_tracking_by_fingerprint ON artery.click_tracking (tenant_id, fingerprint_hash, click_timestamp DESC)
    WHERE fingerprint_hash IS NOT NULL;
CREATE INDEX click_tracking_by_ip ON artery.click_tracking (tenant_id, ip_address, click_timestamp DESC)
    WHERE ip_address IS NOT NULL;
-- The same hardware in the same network block. With fingerprint and address, candidates enough for the calibrated
-- model: measured, ranges by hardware alone or by fingerprint and user agent found no more right answers.
CREATE INDEX click_tracking_by_place ON artery.click_tracking (tenant_id, place_key, click_timestamp DESC)
    WHERE place_key IS NOT NULL;
-- New clicks are counted in the order of their arrival. The condition, always true, keeps statements that do not name
-- it from taking this index for a tenant's: a plan made while the table is empty would read the whole tenant by it.
CREATE INDEX click_tracking_by_arrival ON artery.click_tracking (tenant_id, tracked_at)
    WHERE tracked_at > '-infinity';
-- For ranges of time (retention, active clicks); costs next to nothing.
CREATE INDEX click_tracking_by_time ON artery.click_tracking USING brin (click_timestamp);
COMMENT ON TABLE artery.click_tracking IS
'Clicks on ads. INSERT and COPY do what track_click does; leave tracked_at out, it marks rows that were taken in.';
COMMENT ON COLUMN artery.click_tracking.click_timestamp IS 'When the click happened.';
COMMENT ON COLUMN artery.click_tracking.tracked_at IS 'When artery took the row in; rows that bring it (a restore) are stored as they are.';
COMMENT ON COLUMN artery.click_tracking.sighting IS 'System, browser and in-app as the calibrated model tells them apart; made by artery, like the keys.';
COMMENT ON COLUMN artery.click_tracking.hardware_key IS 'Equal for equal screen, time zone and system.';
COMMENT ON COLUMN artery.click_tracking.agent_key IS 'Equal for equal fingerprint and user agent.';
COMMENT ON COLUMN artery.click_tracking.place_key IS 'Equal for equal hardware in one network block (/24, IPv6 /48).';
