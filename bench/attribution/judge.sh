#!/bin/bash
# How true attribution is: simulated markets with known truth go through the
# public functions, clicks and conversions in the order of time, and what
# artery answers to conversions without id is compared with the truth, beside
# the rules "newest click of the same fingerprint, else same address and user
# agent within 24 h" and "same address and user agent within 24 h". The large
# tenant is judged in memory by the same model (bench/attribution/judge.c): its
# clicks would take an hour to bring in one by one.
#
# Connects by PGHOST, PGPORT, PGUSER, PGDATABASE; artery must be installed there.
#   SEED (1), SMALL (10 runs of 30 days), MEDIUM (1), LARGE_DAYS (12; 0: none)
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
seed=${SEED:-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sql() { psql -qXAt -v ON_ERROR_STOP=1 "$@"; }

cc -O2 -I"$here/src" -I"$here/bench/attribution" -o "$work/events" "$here/bench/attribution/events.c" \
    "$here/bench/attribution/market.c" -lm
cc -O2 -I"$here/src" -I"$here/bench/attribution" -o "$work/judge" "$here/bench/attribution/judge.c" \
    "$here/bench/attribution/market.c" "$here/src/attribute/calibrated.c" -lm

prepare() {
    sql <<'SQL'
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS bench_attribution CASCADE;
CREATE SCHEMA bench_attribution;
CREATE TABLE bench_attribution.event (seq int PRIMARY KEY, at float8, kind text, number int, ad int, truth int, has_id boolean,
    ip inet, agent text, os text, browser text, width int, height int, zone text);
CREATE TABLE bench_attribution.answer (size text, tenant text, rule text, number int, answer int, confidence float8, truth int);
CREATE TABLE bench_attribution.ad (size text, rule text, tenant text, ad text, credit float8);
CREATE PROCEDURE bench_attribution.play(tenant text) LANGUAGE plpgsql AS $$
DECLARE
    e       record;
    v_begin timestamptz := '2025-01-06 00:00+00';
BEGIN
    FOR e IN SELECT * FROM bench_attribution.event ORDER BY seq LOOP
        IF e.kind = 'click' THEN
            PERFORM artery.track_click(tenant, 'campaign', 'ad ' || e.ad, 'c' || e.number, ip_address => e.ip, user_agent => e.agent,
                os => e.os, browser => e.browser, screen_width => e.width, screen_height => e.height, timezone => e.zone,
                click_timestamp => v_begin + e.at * interval '1 day');
        ELSE
            PERFORM artery.attribute_conversion(tenant, 'v' || e.number, 'lead', conversion_timestamp => v_begin + e.at * interval '1 day',
                click_id => CASE WHEN e.has_id THEN 'c' || e.truth END, ip_address => e.ip, user_agent => e.agent, os => e.os,
                browser => e.browser, screen_width => e.width, screen_height => e.height, timezone => e.zone);
        END IF;
        IF e.seq % 200 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END
$$;
-- What counts: conversions without id after the first quarter, when there is something to know.
CREATE PROCEDURE bench_attribution.judge(size text, tenant text, days float8) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench_attribution.answer
    SELECT judge.size, judge.tenant, 'calibrated', v.number, substr(c.best_click_id, 2)::int, coalesce(c.best_confidence, 0), v.truth
      FROM bench_attribution.event v
      JOIN artery.conversion_tracking c ON c.tenant_id = judge.tenant AND c.conversion_id = 'v' || v.number
     WHERE v.kind = 'conversion' AND NOT v.has_id AND v.at > days / 4;
    CREATE INDEX ON bench_attribution.event (ip, agent, at) WHERE kind = 'click';
    CREATE INDEX ON bench_attribution.event (os, browser, width, height, zone, at) WHERE kind = 'click';
    ANALYZE bench_attribution.event;
    INSERT INTO bench_attribution.answer
    SELECT judge.size, judge.tenant, r.rule, v.number, r.answer, r.confidence, v.truth
      FROM bench_attribution.event v
      LEFT JOIN LATERAL (SELECT c.number FROM bench_attribution.event c WHERE c.kind = 'click' AND c.ip = v.ip AND c.agent = v.agent
                            AND c.at <= v.at AND c.at >= v.at - 1 ORDER BY c.at DESC LIMIT 1) i ON true
      LEFT JOIN LATERAL (SELECT c.number FROM bench_attribution.event c WHERE c.kind = 'click' AND c.os = v.os AND c.browser = v.browser
                            AND c.width = v.width AND c.height = v.height AND c.zone = v.zone AND c.at <= v.at AND c.at >= v.at - 7
                          ORDER BY c.at DESC LIMIT 1) f ON true
      CROSS JOIN LATERAL (VALUES ('fingerprint, then IP', coalesce(f.number, i.number), CASE WHEN f.number IS NOT NULL THEN 0.9
                                  WHEN i.number IS NOT NULL THEN 0.7 ELSE 0 END),
                                 ('IP + user agent 24 h', i.number, CASE WHEN i.number IS NOT NULL THEN 1 ELSE 0 END)) r (rule, answer, confidence)
     WHERE v.kind = 'conversion' AND NOT v.has_id AND v.at > days / 4;
    INSERT INTO bench_attribution.ad
    SELECT judge.size, 'calibrated', judge.tenant, c.ad_id, c.credit_without_id FROM artery.v_ad_credit c
     WHERE c.tenant_id = judge.tenant AND c.day > date '2025-01-06' + (days / 4)::int;
    INSERT INTO bench_attribution.ad
    SELECT judge.size, r.rule, judge.tenant, 'ad ' || c.ad, 1 FROM bench_attribution.answer a
      JOIN bench_attribution.event c ON c.kind = 'click' AND c.number = a.answer
      CROSS JOIN LATERAL (SELECT a.rule) r WHERE a.tenant = judge.tenant AND a.rule <> 'calibrated' AND a.confidence >= 0.5;
    INSERT INTO bench_attribution.ad
    SELECT judge.size, 'truth ' || (v.at > (days / 4)::int + 1)::text, judge.tenant, 'ad ' || c.ad, 1 FROM bench_attribution.event v
      JOIN bench_attribution.event c ON c.kind = 'click' AND c.number = v.truth
     WHERE v.kind = 'conversion' AND NOT v.has_id AND v.at > days / 4;
    TRUNCATE bench_attribution.event;
    DROP INDEX bench_attribution.event_ip_agent_at_idx, bench_attribution.event_os_browser_width_height_zone_at_idx;
END
$$;
SQL
}

# play SIZE CLICKS_A_DAY DAYS RUN
play() {
    local tenant="bench $1 $4"
    echo "$1 tenant, $2 clicks a day for $3 days, seed $4 ..."
    sql -c "SELECT artery.add_tenant('$tenant') WHERE NOT EXISTS (SELECT FROM artery.tenant WHERE tenant_id = '$tenant')" >/dev/null
    for table in click_tracking conversion_tracking attribution_performance_log conversion_trace attribution_delta attribution_value attribution_state; do
        sql -c "DELETE FROM artery.$table WHERE tenant_id = '$tenant'"
    done
    "$work/events" "$2" "$3" "$4" | sql -c "COPY bench_attribution.event FROM STDIN CSV"
    sql -c "CALL bench_attribution.play('$tenant')"
    sql -c "CALL bench_attribution.judge('$1', '$tenant', $3)"
}

report() {
    psql -qX -v ON_ERROR_STOP=1 -P footer=off <<'SQL'
WITH told AS (
    SELECT a.*, a.confidence >= 0.5 AND a.answer IS NOT NULL AS answered, coalesce(a.answer = a.truth, false) AS right FROM bench_attribution.answer a),
bins AS (
    SELECT size, rule, sum(abs(stated - hits)) / sum(n) AS ece
      FROM (SELECT size, rule, least(floor(confidence * 10), 9) AS bin, sum(confidence) AS stated, sum(t.right::int) AS hits, count(*) AS n
              FROM told t WHERE answer IS NOT NULL GROUP BY 1, 2, 3) b GROUP BY 1, 2),
ads AS (
    SELECT size, rule, sum(abs(credit - truth)) / sum(truth) AS error
      FROM (SELECT r.size, r.rule, t.ad, t.truth, coalesce((SELECT sum(x.credit) FROM bench_attribution.ad x
                     WHERE x.size = r.size AND x.rule = r.rule AND x.ad = t.ad), 0) AS credit
              FROM (SELECT DISTINCT size, rule FROM bench_attribution.ad WHERE rule NOT LIKE 'truth%') r
              JOIN (SELECT size, ad, sum(credit) AS truth_all, sum(credit) FILTER (WHERE rule = 'truth true') AS truth_days
                      FROM bench_attribution.ad WHERE rule LIKE 'truth%' GROUP BY 1, 2) d ON d.size = r.size
              CROSS JOIN LATERAL (SELECT d.ad, CASE WHEN r.rule = 'calibrated' THEN coalesce(d.truth_days, 0) ELSE d.truth_all END AS truth) t) e
     GROUP BY 1, 2)
SELECT t.size, t.rule, count(*) AS "without id", round(avg(t.answered::int), 3) AS answered,
       round(avg(t.right::int) FILTER (WHERE t.answered), 3) AS precision,
       round(sum((t.answered AND t.right)::int) / nullif(count(t.truth), 0)::numeric, 3) AS recall, round(max(b.ece)::numeric, 3) AS "calibration error",
       round(avg(t.answered::int) FILTER (WHERE t.truth IS NULL), 3) AS "organic given", round(max(a.error)::numeric, 3) AS "ad error"
  FROM told t LEFT JOIN bins b USING (size, rule) LEFT JOIN ads a USING (size, rule)
 GROUP BY 1, 2 ORDER BY 1 DESC, t.rule = 'IP + user agent 24 h', t.rule;
\echo 'Stated against observed (calibrated; a bar as long as its mark is true)'
SELECT size, round(bin / 10.0, 1) AS "stated from", count(*) AS n, round(avg(confidence)::numeric, 3) AS stated, round(avg(hit)::numeric, 3) AS observed,
       overlay(rpad(repeat('=', (avg(hit) * 40)::int), 42) PLACING '|' FROM (avg(confidence) * 40)::int + 1 FOR 1) AS "0 to 1"
  FROM (SELECT size, least(floor(confidence * 10), 9)::int AS bin, confidence, coalesce(answer = truth, false)::int AS hit
          FROM bench_attribution.answer WHERE rule = 'calibrated' AND answer IS NOT NULL) b
 GROUP BY 1, 2 ORDER BY 1 DESC, 2;
\echo 'Recall at the precision of the rule by IP and user agent'
WITH rule AS (
    SELECT size, avg((answer IS NOT DISTINCT FROM truth)::int) FILTER (WHERE answer IS NOT NULL) AS precision,
           sum((answer = truth)::int)::numeric / count(truth) AS recall
      FROM bench_attribution.answer WHERE rule = 'IP + user agent 24 h' GROUP BY 1),
ranked AS (
    SELECT size, sum(hit) OVER w AS hits, row_number() OVER w AS n, driven
      FROM (SELECT size, confidence, number, tenant, coalesce(answer = truth, false)::int AS hit, count(truth) OVER (PARTITION BY size) AS driven, answer
              FROM bench_attribution.answer WHERE rule = 'calibrated') b
     WHERE answer IS NOT NULL WINDOW w AS (PARTITION BY size ORDER BY confidence DESC, tenant, number))
SELECT r.size, round(r.precision, 3) AS precision, round(r.recall, 3) AS "rule's recall",
       round(max(k.hits::numeric / k.driven) FILTER (WHERE k.hits::numeric / k.n >= r.precision), 3) AS "calibrated recall"
  FROM rule r JOIN ranked k USING (size) GROUP BY 1, 2, 3 ORDER BY 1 DESC;
SQL
}

prepare
for run in $(seq "${SMALL:-10}"); do play small 50 30 $((seed * 100 + run)); done
for run in $(seq "${MEDIUM:-1}"); do play medium 2000 30 $((seed * 100 + run)); done
report
if [ "${LARGE_DAYS:-12}" -gt 0 ]; then
    echo "large tenant, 50,000 clicks a day for ${LARGE_DAYS:-12} days, in memory"
    "$work/judge" 50000 "${LARGE_DAYS:-12}" 1 "$seed"
fi
