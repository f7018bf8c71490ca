#!/bin/bash
# How true attribution is: simulated markets with known truth, and what artery
# answers to conversions without id compared with the truth, beside the rules
# "newest click of the same fingerprint, else same address and user agent within
# 24 h" and "same address and user agent within 24 h".
#
# First the model in memory (bench/attribution/judge.c), over many markets. Then
# artery itself, through its tables: small tenants click by click with
# track_click and attribute_conversion, the others in slices of ten simulated
# minutes, clicks and conversions by INSERT, what is new folded before the
# conversions as the worker would. Last, how far the two agree.
#
# Connects by PGHOST, PGPORT, PGUSER, PGDATABASE; artery must be installed there.
#   SEED (1)
#   HABITS (usual)  varied: each market has habits of its own, see market.h
#   MEMORY (400 20 3), TABLES (10 1 1)  runs of the small, medium and large tenant
set -euo pipefail

habits=${HABITS:-usual}
read -r -a memory <<<"${MEMORY:-400 20 3}"
read -r -a tables <<<"${TABLES:-10 1 1}"
here=$(cd "$(dirname "$0")/../.." && pwd)
seed=${SEED:-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sql() { psql -qXAt -v ON_ERROR_STOP=1 "$@"; }

cc -O2 -I"$here/src" -I"$here/bench/attribution" -o "$work/events" "$here"/bench/attribution/{events,market}.c -lm
cc -O2 -I"$here/src" -I"$here/bench/attribution" -o "$work/judge" "$here"/bench/attribution/{judge,memory,market}.c \
    "$here"/src/attribute/{calibrated,agreement,last_touch}.c -lm

prepare() {
    sql <<'SQL'
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS bench_attribution CASCADE;
CREATE SCHEMA bench_attribution;
CREATE TABLE bench_attribution.event (seq int PRIMARY KEY, at float8, kind text, number int, ad int, truth int, has_id boolean,
    ip inet, agent text, os text, browser text, width int, height int, zone text);
CREATE TABLE bench_attribution.answer (size text, tenant text, rule text, number int, answer int, confidence float8, truth int);
CREATE TABLE bench_attribution.memory (size text, tenant text, run int, number int, answer int, confidence float8);
CREATE TABLE bench_attribution.loaded (run int, number int, answer int, confidence float8);
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
-- Clicks up to a slice's end come in before its conversions; those after a conversion are none of its candidates.
CREATE PROCEDURE bench_attribution.play_slices(tenant text) LANGUAGE plpgsql AS $$
DECLARE
    v_begin timestamptz := '2025-01-06 00:00+00';
    v_slice float8 := 10.0 / 1440;
    v_until float8;
    v_done  float8 := -1;
BEGIN
    FOR v_until IN SELECT DISTINCT (floor(e.at / v_slice) + 1) * v_slice FROM bench_attribution.event e WHERE e.kind = 'conversion' ORDER BY 1 LOOP
        INSERT INTO artery.click_tracking (tenant_id, click_id, campaign_id, ad_id, ip_address, user_agent, os, browser, screen_width,
                                           screen_height, timezone, click_timestamp)
        SELECT tenant, 'c' || e.number, 'campaign', 'ad ' || e.ad, e.ip, e.agent, e.os, e.browser, e.width, e.height, e.zone,
               v_begin + e.at * interval '1 day'
          FROM bench_attribution.event e WHERE e.kind = 'click' AND e.at >= v_done AND e.at < v_until ORDER BY e.seq;
        COMMIT;
        PERFORM artery.fold_attribution_state(tenant);
        INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, conversion_timestamp, click_id, ip_address,
                                                user_agent, os, browser, screen_width, screen_height, timezone)
        SELECT tenant, 'v' || e.number, 'lead', v_begin + e.at * interval '1 day', CASE WHEN e.has_id THEN 'c' || e.truth END, e.ip,
               e.agent, e.os, e.browser, e.width, e.height, e.zone
          FROM bench_attribution.event e WHERE e.kind = 'conversion' AND e.at >= v_done AND e.at < v_until ORDER BY e.seq;
        COMMIT;
        v_done := v_until;
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
    INSERT INTO bench_attribution.memory SELECT judge.size, judge.tenant, m.* FROM bench_attribution.loaded m;
    TRUNCATE bench_attribution.loaded;
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

# play SIZE CLICKS_A_DAY DAYS SEED PROCEDURE
play() {
    local tenant="bench $1 $4" begin=$SECONDS
    sql -c "SELECT artery.add_tenant('$tenant') WHERE NOT EXISTS (SELECT FROM artery.tenant WHERE tenant_id = '$tenant')" >/dev/null
    for table in click_tracking click_key conversion_tracking attribution_performance_log conversion_trace attribution_correction \
        attribution_value attribution_state; do
        sql -c "DELETE FROM artery.$table WHERE tenant_id = '$tenant'"
    done
    "$work/events" "$2" "$3" "$4" "$habits" | sql -c "COPY bench_attribution.event FROM STDIN CSV" \
        -c "CREATE INDEX event_at ON bench_attribution.event (kind, at)" -c "ANALYZE bench_attribution.event"
    "$work/judge" "$1" "$2" "$3" 1 "$4" "$habits" "$work/answers" >/dev/null
    sql -c "COPY bench_attribution.loaded FROM STDIN CSV" <"$work/answers"
    sql -c "CALL bench_attribution.$5('$tenant')"
    sql -c "DROP INDEX bench_attribution.event_at" -c "CALL bench_attribution.judge('$1', '$tenant', $3)"
    echo "$1 tenant, $2 clicks a day for $3 days, seed $4: $((SECONDS - begin)) s"
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
\echo 'The tables beside the same markets in memory'
SELECT m.size, count(*) AS "without id", round(avg((coalesce(a.answer, -1) = m.answer)::int), 3) AS "same click",
       round(avg(((coalesce(a.answer, -1) = m.answer OR a.confidence < 0.5) AND (a.confidence >= 0.5) = (m.confidence >= 0.5))::int), 3)
           AS "same answer", round(avg(abs(a.confidence - m.confidence))::numeric, 4) AS "confidence apart"
  FROM bench_attribution.memory m
  JOIN bench_attribution.answer a ON a.tenant = m.tenant AND a.number = m.number AND a.rule = 'calibrated'
 GROUP BY 1 ORDER BY 1 DESC;
SQL
}

seed=$((seed * 1000))
echo "In memory, $habits habits"
"$work/judge" small 50 30 "${memory[0]}" "$seed" "$habits"
"$work/judge" medium 2000 30 "${memory[1]}" "$seed" "$habits"
"$work/judge" large 50000 12 "${memory[2]}" "$seed" "$habits"

echo
echo "Through the tables, $habits habits"
prepare
for run in $(seq "${tables[0]}"); do play small 50 30 $((seed + run - 1)) play; done
for run in $(seq "${tables[1]}"); do play medium 2000 30 $((seed + run - 1)) play_slices; done
for run in $(seq "${tables[2]}"); do play large 50000 12 $((seed + run - 1)) play_slices; done
report
