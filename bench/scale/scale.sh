#!/bin/bash
# Attribution and clicks at size, as ratios measured in turns in one run: 'make
# bench-scale'. A tenant's clicks of 30 days are loaded by COPY, in steps; after
# each, attribute_conversion (layered, calibrated) against the limit: one SELECT,
# from the partition that has the answers, and two INSERTs in one statement, both
# prepared and neither; and batches against one by one. Then COPY, and the
# retention of a day while another session inserts. Tells on the way what it is
# at; 10 million clicks take 15 GB and, by COPY with the trigger, a quarter of an
# hour or more.
#
#   SIZES ("100000 1000000 10000000")  clicks at which to measure; the first is the small one
#   COPY_ROWS (200000)   rows of a COPY
#   DAY_ROWS (1000000)   clicks of the day that expires
#   ROUNDS (5), SECONDS_PER_RUN (2)
#   SHARED_BUFFERS (4GB)  of the server; should hold the clicks of 8 days and the indexes of their partitions
#   HUGE_PAGES (2200)    of 2 MB, set up for the buffers where that is allowed; 0: none
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
ROUNDS=${ROUNDS:-5}
sizes=${SIZES:-100000 1000000 10000000}
copy_rows=${COPY_ROWS:-200000}
day_rows=${DAY_ROWS:-1000000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$top/setup/turns.sh"
began=$SECONDS
progress() { printf '%02d:%02d %s\n' $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)) "$*"; }

# The work counts here, not how fast the disk acknowledges it.
export PGOPTIONS='-c synchronous_commit=off'

prepare() {
    sql <<'SQL'
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS bench_scale CASCADE;
CREATE SCHEMA bench_scale;
CREATE EXTENSION IF NOT EXISTS artery;
CREATE EXTENSION IF NOT EXISTS pg_prewarm;
-- People: homes with an address each, offices of 60, carriers with 250 an address. What they have in hand: 8 browsers
-- on 600 kinds of devices, a few of them very common.
-- Clicks number first to last, of one of so many people each, where number one to number another come in one by one in
-- the 30 days before today.
CREATE FUNCTION bench_scale.clicks(first bigint, last bigint, people bigint, one bigint, another bigint)
RETURNS TABLE (tenant_id text, click_id text, campaign_id text, ad_id text, fbclid text, ip_address inet, user_agent text, device_type text, os text,
               browser text, screen_width int, screen_height int, timezone text, timezone_offset int, fingerprint_hash text, landing_page_url text, click_timestamp timestamptz)
LANGUAGE sql AS $$
    SELECT 'bench_scale', 'click-' || i, 'campaign-' || p % 10, 'ad-' || p % 100, 'IwAR' || md5(i::text), '10.0.0.0'::inet + a, 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_' || p % 8 || ' like Mac OS X)',
           'mobile', 'iOS 18.' || p % 8, 'Mobile Safari', 320 + d, 2532, 'America/New_York', -300, encode(sha256((d * 8 + p % 8)::text::bytea), 'hex'), 'https://example.org/landing',
           date_trunc('day', now()) - interval '30 days' * ((another - i + 1) / (another - one + 1)::float8)
      FROM generate_series(first, last) i, LATERAL (SELECT 1 + i * 104729 % people AS p) x,
           LATERAL (SELECT floor(600 * ((p * 7919) % 10007 / 10007.0::float8) ^ 3)::bigint AS d,
                           CASE WHEN p % 20 < 11 THEN p WHEN p % 20 < 14 THEN 10000000 + p / 60 ELSE 20000000 + p / 250 END AS a) y $$;
SELECT artery.add_tenant('bench_scale', settings => '{"attribution_model": "layered"}') \g /dev/null
SELECT artery.make_click_partitions(date_trunc('day', now()) - interval '30 days', now()) \g /dev/null
CREATE TABLE bench_scale.conversion (LIKE artery.conversion_tracking INCLUDING ALL);
-- What artery looks at in its triggers.
ALTER TABLE bench_scale.conversion
    ADD CHECK (attribution_method = ANY (ARRAY['url_param', 'fingerprint', 'probabilistic', 'unattributed'])),
    ADD CHECK (attribution_confidence >= 0 AND attribution_confidence <= 1);
CREATE TABLE bench_scale.log (LIKE artery.attribution_performance_log INCLUDING ALL);
SQL
}

columns='tenant_id, click_id, campaign_id, ad_id, fbclid, ip_address, user_agent, device_type, os, browser, screen_width, screen_height, timezone, timezone_offset, fingerprint_hash, landing_page_url, click_timestamp'

# load FIRST LAST PEOPLE: clicks by COPY, in the order of their times, as they
# come in, their ids made by artery; the indexes are made afterwards, which is faster.
load() {
    local from=$1 to
    index DROP
    while [ "$from" -le "$2" ]; do
        to=$((from + 499999))
        [ "$to" -le "$2" ] || to=$2
        sql -c "COPY (SELECT ${columns/click_id, /} FROM bench_scale.clicks($from, $to, $3, $1, $2)) TO STDOUT" |
            sql -c "COPY artery.click_tracking (${columns/click_id, /}) FROM STDIN"
        progress "$to of $2 clicks loaded"
        from=$((to + 1))
    done
    # No conversion is to be tried again for what was loaded, least of all while there are no indexes.
    sql -c 'DELETE FROM artery.late_click'
    index CREATE
    # The limit looks fingerprints up as they are given.
    sql -c "SET maintenance_work_mem = '512MB'" -c "CREATE INDEX by_print ON $(partition_of_answers) (tenant_id, fingerprint_hash, click_timestamp DESC)"
    progress "indexes made"
    sql -c 'VACUUM ANALYZE artery.click_tracking' -c CHECKPOINT
}

# Bring into the server's buffers what statements of the present look at: neither
# the disk is measured nor how pages are copied from the system's memory.
warm() {
    sql >/dev/null <<'SQL'
WITH young AS (SELECT p.partition FROM artery.click_partitions() p WHERE p.until > now() - interval '8 days')
SELECT sum(pg_prewarm(r)) FROM (
    SELECT partition AS r FROM young
    UNION ALL SELECT x.indexrelid FROM young y JOIN pg_index x ON x.indrelid = y.partition
    UNION ALL VALUES ('artery.attribution_value'::regclass), ('artery.attribution_value_pkey')) a;
SQL
}

# DROP or CREATE the indexes of the partitions with the clicks.
index() {
    sql <<SQL
SET maintenance_work_mem = '512MB';
DO \$\$
DECLARE
    p record;
    i record;
BEGIN
    FOR p IN SELECT c.relname, c.oid FROM artery.click_partitions() k JOIN pg_class c ON c.oid = k.partition WHERE k.since < date_trunc('day', now()) LOOP
        IF '$1' = 'CREATE' THEN
            PERFORM artery.index_click_table(p.relname);
            CONTINUE;
        END IF;
        FOR i IN SELECT x.indexrelid::regclass AS name, x.indisprimary FROM pg_index x WHERE x.indrelid = p.oid LOOP
            EXECUTE CASE WHEN i.indisprimary THEN format('ALTER TABLE %s DROP CONSTRAINT %s', p.oid::regclass, (SELECT quote_ident(conname) FROM pg_constraint WHERE conindid = i.name))
                         ELSE format('DROP INDEX %s', i.name) END;
        END LOOP;
    END LOOP;
END \$\$;
SQL
}

partition_of_answers() {
    sql -c "SELECT partition FROM artery.click_partitions() WHERE date_trunc('day', now()) - interval '1 second' BETWEEN since AND until"
}

conversion_scripts() {
    local people=$1 week
    week=$(partition_of_answers)
    script attribute <<SQL
\set n random(1, 1000000000000000)
\set p random(1, $people)
\set d int(600 * pow(((:p * 7919) % 10007) / 10007.0, 3) - 0.5)
\set k :d * 8 + :p % 8
\set a case when :p % 20 < 11 then :p when :p % 20 < 14 then 10000000 + :p / 60 else 20000000 + :p / 250 end
\set b :p % 8
SELECT * FROM artery.attribute_conversion('bench_scale', 'conversion-' || :n, 'lead', 100, date_trunc('day', now()), NULL, NULL, encode(sha256((:k)::text::bytea), 'hex'), '10.0.0.0'::inet + :a, 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_' || :b || ' like Mac OS X)');
SQL
    script limit <<SQL
\set n random(1, 1000000000000000)
\set p random(1, $people)
\set d int(600 * pow(((:p * 7919) % 10007) / 10007.0, 3) - 0.5)
\set k :d * 8 + :p % 8
\set a case when :p % 20 < 11 then :p when :p % 20 < 14 then 10000000 + :p / 60 else 20000000 + :p / 250 end
\set b :p % 8
WITH found AS (SELECT c.click_id, c.ad_id, c.adset_id, c.campaign_id, c.click_timestamp FROM $week c WHERE c.tenant_id = 'bench_scale' AND c.fingerprint_hash = encode(sha256((:k)::text::bytea), 'hex') AND c.click_timestamp <= date_trunc('day', now()) ORDER BY c.click_timestamp DESC LIMIT 1), stored AS (INSERT INTO bench_scale.conversion (tenant_id, conversion_id, conversion_type, conversion_value, conversion_timestamp, fingerprint_hash, ip_address, user_agent, is_synthetic, success, attributed_click_id, attribution_method, attribution_confidence, attribution_window_hours, ad_id, adset_id, campaign_id, candidates, reason, best_click_id, best_confidence, attributed_at) SELECT 'bench_scale', 'conversion-' || :n, 'lead', 100, date_trunc('day', now()), encode(sha256((:k)::text::bytea), 'hex'), '10.0.0.0'::inet + :a, 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_' || :b || ' like Mac OS X)', false, true, f.click_id, 'fingerprint', 0.9, 1.0, f.ad_id, f.adset_id, f.campaign_id, 1, 'The device fingerprint matched 5 clicks; the newest was 1.0 hours before.', f.click_id, 0.9, now() FROM found f RETURNING conversion_id) INSERT INTO bench_scale.log (tenant_id, conversion_id, attempt_number, layer_1_result, layer_2_result, layer_3_result, final_method, final_confidence, success, candidates, processing_time_ms, logged_at) SELECT 'bench_scale', s.conversion_id, 1, 'no_param', 'success', 'not_attempted', 'fingerprint', 0.9, true, 1, 0.1, now() FROM stored s;
SQL
}

model() {
    sql -c "SELECT artery.configure_tenant('bench_scale', '{\"attribution_model\": \"$1\"}')" \
        -c "SELECT artery.fold_attribution_state('bench_scale')" -c 'VACUUM ANALYZE artery.attribution_value' >/dev/null
}

# Median and 99th percentile of a conversion, in microseconds: of five runs the one
# with the lowest median, as whoever else is at work can only add to it.
cost() {
    local i
    for i in 1 2 3 4 5; do
        rm -f "$work"/log*
        (cd "$work" && pgbench -n -M prepared -T 2 -l --log-prefix=log -f attribute.sql >/dev/null 2>stderr) || { cat "$work/stderr" >&2; exit 1; }
        # the first are those of a backend that has yet to plan
        cat "$work"/log* | tail -n +100 | awk '{ print $3 }' | sort -n | awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)], t[int(NR * 0.99)] }'
    done | sort -n | head -1
}

aim() { [ "$1" = layered ] && echo '1.00 or more' || echo '0.40 or more'; }

conversions() {
    local clicks=$1 people=$2 name median p99
    conversion_scripts "$people"
    for name in layered calibrated; do
        model $name
        warm
        compare "$clicks clicks: attribute_conversion, $name / one SELECT, two INSERTs" \
            "$(aim $name)" "$work/attribute.sql" "$work/limit.sql"
        PROTOCOL=simple compare "$clicks clicks: the same, $name, neither prepared" "$(aim $name)" "$work/attribute.sql" "$work/limit.sql"
        read -r median p99 <<<"$(cost)"
        eval "first_$name=\${first_$name:-$median}"
        awk -v label="$clicks clicks: median cost, $name / at the smallest size" -v m="$median" -v first="$(eval echo \$first_$name)" -v p="$p99" \
            'BEGIN { printf "ratio | %s | %.2f | 1.30 or less (median %d, 99th percentile %d microseconds)\n", label, m / first, m, p }'
    done
}

# A thousand conversions: by one INSERT, and one by one in a transaction each;
# both without waiting for the disk, and as durable as any server makes it.
batches() {
    local clicks=$1 people=$2 name wait one other i PGOPTIONS=
    sql <<SQL
SET client_min_messages = warning;
DROP TABLE IF EXISTS bench_scale.visitor;
CREATE TABLE bench_scale.visitor AS SELECT row_number() OVER () AS n, c.fingerprint_hash, c.ip_address, c.user_agent
    FROM generate_series(1, 10000) i, LATERAL bench_scale.clicks(i * ($people / 10000), i * ($people / 10000), $people, 1, $people) c;
CREATE INDEX ON bench_scale.visitor (n);
ANALYZE bench_scale.visitor;
SQL
    script batch <<SQL
\set n random(1, 1000000000000)
\set v random(1, 9000)
INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_value, conversion_timestamp, fingerprint_hash, ip_address, user_agent)
SELECT 'bench_scale', 'batch-' || :n || '-' || v.n, 'lead', 100, date_trunc('day', now()), v.fingerprint_hash, v.ip_address, v.user_agent
  FROM bench_scale.visitor v WHERE v.n BETWEEN :v AND :v + 999;
SQL
    for name in layered calibrated; do
        model $name
        for wait in off on; do
            export PGOPTIONS="-c synchronous_commit=$wait"
            : >"$work/ratios"
            for i in $(seq "$rounds"); do
                one=$(run "$work/batch.sql")
                other=$(run "$work/attribute.sql")
                awk -v a="$one" -v b="$other" 'BEGIN { printf "%.4f %.0f %.0f\n", a * 1000 / b, a * 1000, b }' >>"$work/ratios"
            done
            tell "$clicks clicks: batches of 1,000, $name / one by one$([ $wait = on ] || echo ', no wait for the disk')" "4.00 or more" <"$work/ratios"
        done
    done
}

seconds_of() {
    local began ended
    began=$(date +%s.%N)
    sql -c "$1" <"$2"
    ended=$(date +%s.%N)
    awk -v a="$began" -v b="$ended" 'BEGIN { print b - a }'
}

# COPY of clicks with the trigger, and COPY of what came of it into the same table without.
copies() {
    local ids i one other list all
    all=$(sql -c "SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'artery.click_tracking'::regclass AND attnum > 0 AND NOT attisdropped")
    for ids in given made; do
        : >"$work/ratios"
        for i in 1 2 3 4; do
            mark=copy-$ids-$i-
            sql -c "COPY (SELECT $(echo "$columns" | sed "s/click_id/'$mark' || click_id/; s/landing_page_url/'$mark'/") FROM bench_scale.clicks(1, $copy_rows, $copy_rows / 2, 1, $copy_rows)) TO STDOUT" >"$work/rows"
            list=$columns
            if [ $ids = made ]; then
                cut -f 1,3- "$work/rows" >"$work/rows2" && mv "$work/rows2" "$work/rows"
                list=${columns/click_id, /}
            fi
            one=$(seconds_of "COPY artery.click_tracking ($list) FROM STDIN" "$work/rows")
            sql -c "COPY (SELECT $(echo "$all" | sed "s/click_id/click_id || 'b'/") FROM artery.click_tracking WHERE landing_page_url = '$mark') TO STDOUT" >"$work/rows"
            other=$(PGOPTIONS="$PGOPTIONS -c session_replication_role=replica" seconds_of "COPY artery.click_tracking ($all) FROM STDIN" "$work/rows")
            # the first brings the pages in
            [ "$i" = 1 ] || awk -v n="$copy_rows" -v a="$one" -v b="$other" 'BEGIN { printf "%.4f %.0f %.0f\n", b / a, n / a, n / b }' >>"$work/ratios"
        done
        tell "COPY of clicks, ids $ids / the same without trigger" "0.70 or more" <"$work/ratios"
    done
}

# The oldest day expires, in a partition of its own, while another session inserts.
retention() {
    local rows=$day_rows day make taken
    day="date_trunc('day', now()) - interval '60 days'"
    # The worker need not look for conversions of what was copied, which holds partitions up for seconds.
    sql -c 'DELETE FROM artery.late_click'
    make="SELECT artery.make_click_partitions($day, $day, 1)"
    sql -c "$make" >/dev/null || sql -c "$make" >/dev/null
    sql -c "COPY (SELECT $(echo "$columns" | sed "s/click_id/'old-' || click_id/; s/click_timestamp/$day + interval '1 second' * (row_number() OVER () % 86400)/") FROM bench_scale.clicks(1, $rows, $rows / 2, 1, $rows)) TO STDOUT" |
        sql -c "COPY artery.click_tracking ($columns) FROM STDIN"
    # A day that expires was written weeks ago.
    sql -c CHECKPOINT
    script insert <<'SQL'
\set n random(1, 1000000000000000)
SELECT artery.track_click('bench_scale', 'campaign-1', 'ad-1', 'live-' || :n, ip_address => '203.0.113.45');
SQL
    rm -f "$work"/log*
    (cd "$work" && exec pgbench -n -M prepared -T 8 -l --log-prefix=log -f insert.sql >/dev/null 2>&1) &
    sleep 3
    taken=$(sql -c '\timing on' -c "SELECT artery.expire_clicks($day + interval '1 day')" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p')
    wait
    cat "$work"/log* | awk '{ if ($3 > m) m = $3 } END { print m / 1000 }' >"$work/longest"
    awk -v n="$rows" -v t="$taken" -v w="$(cat "$work/longest")" \
        'BEGIN { printf "ratio | retention of a day of %d clicks, seconds | %.2f | 1.00 or less (longest insert meanwhile %d ms)\n", n, t / 1000, w }'
}

awk '/^HugePages_Total/ { n = $2 } END { print n > 0 ? "buffers in huge pages (" n " of 2 MB)" : "buffers in pages of 4 kB" }' /proc/meminfo
prepare
done_clicks=0
for size in $sizes; do
    load $((done_clicks + 1)) "$size" $((size / 2))
    done_clicks=$size
    people=$((size / 2))
    conversions "$size" "$people"
    batches "$size" "$people"
done
sql -c 'DROP INDEX artery.by_print'
progress COPY
copies
progress retention
retention
progress done
sql -c 'SET client_min_messages = warning' -c 'DROP SCHEMA bench_scale CASCADE'
