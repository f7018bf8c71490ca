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
    PRIMARY KEY (tenant_id, click_id)
);
CREATE INDEX click_tracking_by_fbclid ON artery.click_tracking (tenant_id, fbclid, click_timestamp DESC)
    WHERE fbclid IS NOT NULL;
CREATE INDEX click_tracking_by_fingerprint ON artery.click_tracking (tenant_id, fingerprint_hash, click_timestamp DESC)
    WHERE fingerprint_hash IS NOT NULL;
CREATE INDEX click_tracking_by_ip ON artery.click_tracking (tenant_id, ip_address, click_timestamp DESC)
    WHERE ip_address IS NOT NULL;
-- For ranges of time (retention, active clicks); costs next to nothing.
CREATE INDEX click_tracking_by_time ON artery.click_tracking USING brin (click_timestamp);
COMMENT ON TABLE artery.click_tracking IS
'Clicks on ads. INSERT and COPY do what track_click does; leave tracked_at out, it marks rows that were taken in.';
COMMENT ON COLUMN artery.click_tracking.click_timestamp IS 'When the click happened.';
COMMENT ON COLUMN artery.click_tracking.tracked_at IS 'When artery took the row in; rows that bring it (a restore) are stored as they are.';
