#!/bin/bash
# What taking in costs, as ratios to the plain statements that write the same:
# 1.00 is as fast, 0.90 takes a ninth longer. Each pair is run in turns of a few
# seconds by pgbench with prepared statements, and the median of the turns'
# ratios is printed, so that a busy machine disturbs both alike.
#
# Connects by PGHOST, PGPORT, PGUSER, PGDATABASE; artery must be installed there.
#   ROUNDS (7), SECONDS_PER_RUN (2), CLIENTS (1)
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

. "$(dirname "$0")/../setup/turns.sh"
# The work counts here, not how fast the disk acknowledges it.
export PGOPTIONS='-c synchronous_commit=off'

prepare() {
    sql <<'SQL'
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS bench_capture CASCADE;
CREATE SCHEMA bench_capture;
CREATE TABLE bench_capture.conversion (LIKE artery.conversion_tracking INCLUDING ALL);
CREATE TABLE bench_capture.bare_conversion (LIKE artery.conversion_tracking INCLUDING ALL);
-- What artery looks at in its triggers.
ALTER TABLE bench_capture.conversion
    ADD CHECK (attribution_method = ANY (ARRAY['url_param', 'fingerprint', 'probabilistic', 'unattributed'])),
    ADD CHECK (attribution_confidence >= 0 AND attribution_confidence <= 1);
CREATE TABLE bench_capture.log (LIKE artery.attribution_performance_log INCLUDING ALL);
SELECT artery.add_tenant('bench_capture', settings => '{"attribution_model": "layered"}') WHERE NOT EXISTS (SELECT FROM artery.tenant WHERE tenant_id = 'bench_capture') \g /dev/null
CREATE TABLE bench_capture.click (LIKE artery.click_tracking_other INCLUDING ALL);
DELETE FROM artery.click_tracking WHERE tenant_id = 'bench_capture';
DELETE FROM artery.conversion_tracking WHERE tenant_id = 'bench_capture';
DELETE FROM artery.attribution_performance_log WHERE tenant_id = 'bench_capture';
-- 100,000 clicks of the last 6 days from 20,000 devices and addresses, of 111 kinds of hardware, on both sides.
INSERT INTO artery.click_tracking (tenant_id, click_id, campaign_id, ad_id, fbclid, fingerprint_hash, ip_address, user_agent,
                                   screen_width, screen_height, timezone, timezone_offset, click_timestamp)
SELECT 'bench_capture', 'click-' || i, 'campaign-' || i % 10, 'ad-' || i % 100, 'fbclid-' || i,
       encode(sha256((i % 20000)::text::bytea), 'hex'), '10.0.0.0'::inet + i % 20000, 'Mozilla/5.0 (iPhone) ' || i % 50,
       320 + i % 20000 % 37 * 10, 2532, 'Zone/' || i % 20000 % 3, -300, artery.now() - i * interval '5 seconds'
  FROM generate_series(1, 100000) i;
INSERT INTO bench_capture.click SELECT * FROM artery.click_tracking WHERE tenant_id = 'bench_capture';
-- A statement that is told the key need not make it from the fingerprint.
UPDATE bench_capture.click SET fingerprint_key = substr(click_id, 7)::integer % 20000;
-- Both sides equally tidy, so that neither writes more full pages than the other.
VACUUM ANALYZE artery.click_tracking, artery.conversion_tracking, artery.attribution_performance_log;
VACUUM ANALYZE bench_capture.click, bench_capture.conversion, bench_capture.bare_conversion, bench_capture.log;
CHECKPOINT;
SQL
}

track_click() {
    script track_click <<'SQL'
\set n random(1, 1000000000000000)
\set w random(320, 2560)
SELECT artery.track_click('bench_capture', 'campaign-1', 'ad-1', 'new-' || :n, 'adset-1', 'fbclid-' || :n, NULL, NULL, 'fb.1.1.' || :w, '203.0.113.45', 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)', 'mobile', 'iOS 18.0', 'Mobile Safari', :w, 2532, 'America/New_York', -300, NULL, 'https://example.org/landing', 'https://www.facebook.com/', 'facebook', 'cpc', 'spring', 'video', 'gym', now());
SQL
    script bare_click <<'SQL'
\set n random(1, 1000000000000000)
\set w random(320, 2560)
INSERT INTO bench_capture.click (tenant_id, campaign_id, ad_id, click_id, adset_id, fbclid, gclid, fbc, fbp, ip_address, user_agent, device_type, os, browser, screen_width, screen_height, timezone, timezone_offset, fingerprint_hash, landing_page_url, referrer_url, utm_source, utm_medium, utm_campaign, utm_content, utm_term, click_timestamp, tracked_at, sighting, hardware_key, agent_key, fingerprint_key) VALUES ('bench_capture', 'campaign-1', 'ad-1', 'new-' || :n, 'adset-1', 'fbclid-' || :n, NULL, NULL, 'fb.1.1.' || :w, '203.0.113.45', 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)', 'mobile', 'iOS 18.0', 'Mobile Safari', :w, 2532, 'America/New_York', -300, 'efe94fabd53ae5269163e58eb45d4984b199ea4d0b55e0ee9cec2c48fd7a0e56', 'https://example.org/landing', 'https://www.facebook.com/', 'facebook', 'cpc', 'spring', 'video', 'gym', now(), now(), 1, 4611686018427387904 - :w, 4611686018427387904 - :w, 4611686018427387904 - :w);
SQL
    compare 'track_click / bare INSERT' '0.90 or more' "$work/track_click.sql" "$work/bare_click.sql"
    # Ids that are given are kept a second time, as no unique index spans the partitions; those made here are not.
    sed "s/'new-' || :n, 'adset-1'/NULL, 'adset-1'/" "$work/track_click.sql" >"$work/track_made.sql"
    compare 'the same, ids made by artery' '0.90 or more' "$work/track_made.sql" "$work/bare_click.sql"
}

attribute_conversion() {
    script attribute <<'SQL'
\set n random(1, 1000000000000000)
\set d random(1, 19999)
SELECT * FROM artery.attribute_conversion('bench_capture', 'conversion-' || :n, 'lead', 100, now(), NULL, NULL, encode(sha256((:d)::text::bytea), 'hex'), '10.0.0.0'::inet + :d, 'Mozilla/5.0 (iPhone) ' || :d % 50, 320 + :d % 37 * 10, 2532, 'Zone/' || :d % 3, -300);
SQL
    # Everybody at one address, on one kind of hardware: the clicks of the bench before.
    script attribute_crowd <<'SQL'
\set n random(1, 1000000000000000)
\set w random(320, 2560)
SELECT * FROM artery.attribute_conversion('bench_capture', 'conversion-' || :n, 'lead', 100, now(), NULL, NULL, NULL, '203.0.113.45', 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)', :w, 2532, 'America/New_York', -300, 'mobile', 'iOS 18.0', 'Mobile Safari');
SQL
    script bare_attribution <<'SQL'
\set n random(1, 1000000000000000)
\set d random(1, 19999)
WITH found AS (SELECT c.click_id, c.ad_id, c.adset_id, c.campaign_id, c.click_timestamp FROM bench_capture.click c WHERE c.tenant_id = 'bench_capture' AND c.fingerprint_hash = encode(sha256((:d)::text::bytea), 'hex') AND c.click_timestamp <= now() ORDER BY c.click_timestamp DESC LIMIT 1), stored AS (INSERT INTO bench_capture.conversion (tenant_id, conversion_id, conversion_type, conversion_value, conversion_timestamp, fingerprint_hash, ip_address, user_agent, is_synthetic, success, attributed_click_id, attribution_method, attribution_confidence, attribution_window_hours, ad_id, adset_id, campaign_id, candidates, reason, best_click_id, best_confidence, attributed_at) SELECT 'bench_capture', 'conversion-' || :n, 'lead', 100, now(), encode(sha256((:d)::text::bytea), 'hex'), '10.0.0.0'::inet + :d, 'Mozilla/5.0 (iPhone) ' || :d % 50, false, true, f.click_id, 'fingerprint', 0.9, 1.0, f.ad_id, f.adset_id, f.campaign_id, 1, 'The device fingerprint matched 5 clicks; the newest was 1.0 hours before.', f.click_id, 0.9, now() FROM found f RETURNING conversion_id) INSERT INTO bench_capture.log (tenant_id, conversion_id, attempt_number, layer_1_result, layer_2_result, layer_3_result, final_method, final_confidence, success, candidates, processing_time_ms, logged_at) SELECT 'bench_capture', s.conversion_id, 1, 'no_param', 'success', 'not_attempted', 'fingerprint', 0.9, true, 1, 0.1, now() FROM stored s;
SQL
    # The same without any constraint, told artery's own short key of the fingerprint.
    sed "s/c.fingerprint_hash = encode(sha256((:d)::text::bytea), 'hex')/c.fingerprint_key = :d/; s/INTO bench_capture.conversion/INTO bench_capture.bare_conversion/" \
        "$work/bare_attribution.sql" >"$work/barest_attribution.sql"
    sql -c "CREATE INDEX ON bench_capture.click (tenant_id, fingerprint_hash, click_timestamp DESC)" -c "ANALYZE bench_capture.click"
    compare 'attribute_conversion, layered / SELECT and two INSERTs' '1.00 or more' "$work/attribute.sql" "$work/bare_attribution.sql"
    compare 'attribute_conversion, layered / the same, no constraints, by key' '' "$work/attribute.sql" "$work/barest_attribution.sql"
    PROTOCOL=simple compare 'attribute_conversion, layered / SELECT and two INSERTs, neither prepared' '1.00 or more' "$work/attribute.sql" "$work/bare_attribution.sql"
    sql -c "SELECT artery.configure_tenant('bench_capture', '{\"attribution_model\": \"calibrated\"}')" \
        -c "SELECT artery.fold_attribution_state('bench_capture')" >/dev/null
    compare 'attribute_conversion, calibrated / SELECT and two INSERTs' '0.40 or more' "$work/attribute.sql" "$work/bare_attribution.sql"
    compare 'attribute_conversion, calibrated / the same, no constraints, by key' '' "$work/attribute.sql" "$work/barest_attribution.sql"
    PROTOCOL=simple compare 'attribute_conversion, calibrated / SELECT and two INSERTs, neither prepared' '0.40 or more' "$work/attribute.sql" "$work/bare_attribution.sql"
    compare 'attribute_conversion, calibrated, all clicks at one address' '0.40 or more' "$work/attribute_crowd.sql" "$work/bare_attribution.sql"
}

fingerprint() {
    script fingerprint <<'SQL'
SELECT count(artery.fingerprint(i, 2532, 'America/New_York', -300, 'mobile', 'iOS 18.0', 'Mobile Safari')) FROM generate_series(1, 20000) i;
SQL
    script sha256 <<'SQL'
SELECT count(encode(sha256(convert_to(i || '|2532|America/New_York|-300|mobile|iOS 18.0|Mobile Safari', 'UTF8')), 'hex')) FROM generate_series(1, 20000) i;
SQL
    compare 'fingerprint / sha256 of the joined text' '0.95 or more' "$work/fingerprint.sql" "$work/sha256.sql"
}

prepare
track_click
attribute_conversion
fingerprint
sql -c "SET client_min_messages = warning" -c "DROP SCHEMA bench_capture CASCADE" \
    -c "DELETE FROM artery.click_tracking WHERE tenant_id = 'bench_capture'" \
    -c "DELETE FROM artery.conversion_tracking WHERE tenant_id = 'bench_capture'" \
    -c "DELETE FROM artery.attribution_performance_log WHERE tenant_id = 'bench_capture'" \
    -c "DELETE FROM artery.conversion_trace WHERE tenant_id = 'bench_capture'" \
    -c "DELETE FROM artery.attribution_correction WHERE tenant_id = 'bench_capture'" \
    -c "DELETE FROM artery.attribution_value WHERE tenant_id = 'bench_capture'" \
    -c "DELETE FROM artery.attribution_state WHERE tenant_id = 'bench_capture'" \
    -c "DELETE FROM artery.tenant WHERE tenant_id = 'bench_capture'"
