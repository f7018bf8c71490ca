-- click: every click on an ad

-- One row: a click. Columns bear the names of track_click's arguments. No unique constraint spans the partitions:
-- click_key keeps ids that were given unique, and ids made here tell their click's time.
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
    consent          boolean,
    client_hints     jsonb,
    tracked_at       timestamptz NOT NULL,
    sighting         smallint,
    hardware_key     bigint,
    agent_key        bigint,
    fingerprint_key  bigint
) PARTITION BY RANGE (click_timestamp);
-- Bare: a key or an index here, with partitions made at run time, would come back twice from a dump. The partitions
-- have them: see sql/code/click_partition.sql.
COMMENT ON TABLE artery.click_tracking IS
'Clicks on ads. INSERT and COPY do what track_click does; leave tracked_at out, it marks rows that were taken in.';
COMMENT ON COLUMN artery.click_tracking.click_timestamp IS 'When the click happened.';
COMMENT ON COLUMN artery.click_tracking.consent IS 'Whether the visitor agreed to be recognised; NULL where nothing was said, and then consent_required decides.';
COMMENT ON COLUMN artery.click_tracking.client_hints IS 'For INSERT and COPY; always NULL afterwards, for device_type, os and browser say it.';
COMMENT ON COLUMN artery.click_tracking.tracked_at IS 'When artery took the row in; rows that bring it (a restore) are stored as they are.';
COMMENT ON COLUMN artery.click_tracking.sighting IS 'System, browser and in-app as the calibrated model tells them apart; made by artery, like the keys.';
COMMENT ON COLUMN artery.click_tracking.hardware_key IS 'Equal for equal screen, time zone and system of one tenant''s visitors: made under its salt, like agent_key.';
COMMENT ON COLUMN artery.click_tracking.agent_key IS 'Equal for equal fingerprint and user agent.';
COMMENT ON COLUMN artery.click_tracking.fingerprint_key IS 'Equal for equal fingerprints: what clicks are found by, an eighth of the length.';

-- One row: a click_id that was given by who sent the click, so that it comes in once, whatever its partition. Stays
-- behind when its click goes, means nothing then, and is removed by retention. Of the id a hash is kept: a short number
-- is found and compared faster, and two ids that share it share the row, which then tells of the one that came last.
CREATE TABLE artery.click_key (
    tenant_id       text NOT NULL,
    id_hash         bigint NOT NULL,
    click_timestamp timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id_hash)
);
CREATE INDEX click_key_by_time ON artery.click_key USING brin (click_timestamp);
COMMENT ON TABLE artery.click_key IS
'Ids of clicks that were given from outside, by their hash, with the time of the click and thus its partition. Ids made by artery are not here.';
COMMENT ON COLUMN artery.click_key.click_timestamp IS 'When the click happened: where to look for it.';
