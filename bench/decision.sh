#!/bin/bash
# How fast decisions are.
#  - select_budget (blended) on 10, 1,000 and 100,000 ads in memory, beside the same
#    mathematics vectorised in numpy, from arrays to rows (decision.py): bare rows of five
#    numbers, rows with a reason and metrics, and the one's whole rows beside the other's bare ones;
#  - its cost per ad from 1,000 to 1,000,000 ads;
#  - allocate_budget of a tenant with 10,000 ads, beside a bare scan of their days and insert of as
#    many rows as it stores.
# Each pair is timed in turns; the ratio is that of the best times, the median of the turns.
#
# Connects by PGHOST, PGPORT, PGUSER, PGDATABASE; artery must be installed there. Installs python3-numpy.
#   ROUNDS (5), MOST (1000000) ads
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${ROUNDS:-5}
most=${MOST:-1000000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sql() { psql -qXAt -v ON_ERROR_STOP=1 "$@"; }

prepare() {
    sql <<'SQL'
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS bench_decision CASCADE;
CREATE SCHEMA bench_decision;
CREATE FUNCTION bench_decision.ads(n integer) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(jsonb_build_object('ad_id', 'ad_' || i, 'impressions', 500 * (i % 100), 'clicks', 10 * (i % 100),
               'spend', 7.5 * (i % 1000), 'pipeline_value', 20 * (i % 5) * (i % 500), 'cash_revenue', 0,
               'age_hours', 5 * (i % 300)) ORDER BY i) FROM generate_series(1, n) i $$;
-- The best time in ms of so many calls, with all columns read (what nobody reads is not made), or all but
-- reason and metrics. One plan for all of them: each plan of its own would take two copies of the ads along.
CREATE FUNCTION bench_decision.select_ms(n integer, repeats integer, bare boolean DEFAULT false) RETURNS float8 LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_ads   jsonb := bench_decision.ads(n);
    v_began timestamptz;
    v_best  float8 := 'infinity';
BEGIN
    FOR i IN 1 .. repeats LOOP
        v_began := clock_timestamp();
        IF bare THEN
            PERFORM count(s.ad_id), count(s.current_budget), count(s.recommended_budget), count(s.change_percentage), count(s.confidence)
               FROM artery.select_budget(v_ads, 100.0 * n, seed => 1, model => 'blended') s;
        ELSE
            PERFORM count(s.ad_id), count(s.current_budget), count(s.recommended_budget), count(s.change_percentage), count(s.confidence),
                    count(s.reason), count(s.metrics)
               FROM artery.select_budget(v_ads, 100.0 * n, seed => 1, model => 'blended') s;
        END IF;
        v_best := least(v_best, 1000 * extract(epoch FROM clock_timestamp() - v_began));
    END LOOP;
    RETURN v_best;
END $$;
SQL
}

median() { sort -n "$1" | awk '{ r[NR] = $1 } END { printf "%.2f", r[int((NR + 1) / 2)] }'; }

# against_numpy ADS REPEATS AIM
against_numpy() {
    local ours narrow bare whole
    : >"$work/bare"; : >"$work/whole"; : >"$work/more"; : >"$work/ms"
    for _ in $(seq "$rounds"); do
        ours=$(sql -c "SELECT bench_decision.select_ms($1, $2)")
        read -r bare whole < <(/usr/bin/python3 bench/decision.py "$1" "$2")
        narrow=$(sql -c "SELECT bench_decision.select_ms($1, $2, true)")
        echo "$narrow $bare" | awk '{ print $2 / $1 }' >>"$work/bare"
        echo "$ours $whole" | awk '{ print $2 / $1 }' >>"$work/whole"
        echo "$ours $bare" | awk '{ print $2 / $1 }' >>"$work/more"
        echo "$ours $whole $narrow $bare" >>"$work/ms"
    done
    sort -n "$work/ms" | head -n 1 | awk -v n="$1" '{ printf "%d ads: select_budget %.3f ms, numpy %.3f ms; bare rows %.3f ms, numpy %.3f ms\n", n, $1, $2, $3, $4 }'
    echo "ratio | select_budget, $1 ads: speed to numpy, whole rows of both | $(median "$work/whole") | $3 or more"
    echo "ratio | select_budget, $1 ads: speed to numpy, bare rows of both | $(median "$work/bare") | $3 or more"
    echo "ratio | select_budget, $1 ads: whole rows to bare rows of numpy | $(median "$work/more") | $3 or more"
}

cost_per_ad() {
    local few many n
    few=$(sql -c "SELECT bench_decision.select_ms(1000, 50) / 1000")
    for n in 10000 100000 $most; do
        many=$(sql -c "SELECT bench_decision.select_ms($n, greatest(3, 200000 / $n)) / $n")
        echo "ratio | select_budget, cost per ad: $n ads to 1000 | $(echo "$many $few" | awk '{ printf "%.2f", $1 / $2 }') | 1, flat"
    done
}

# A tenant with 10,000 ads in 2,000 ad sets, 30 days of facts, and 20,000 deals.
fill_tenant() {
    sql <<'SQL'
SET client_min_messages = warning;
SELECT artery.add_tenant('bench_decision', 'service_business', settings => '{"daily_budget": 50000}')
 WHERE NOT EXISTS (SELECT FROM artery.tenant WHERE tenant_id = 'bench_decision') \g /dev/null
SELECT setseed(0.5) \g /dev/null
INSERT INTO artery.ad_state (tenant_id, ad_id, campaign_id, adset_id, budget_owner_id, first_seen, updated_at)
SELECT 'bench_decision', 'ad_' || i, 'c' || i % 50, 's' || i % 2000, 's' || i % 2000, artery.now() - interval '40 days', artery.now()
  FROM generate_series(1, 10000) i;
INSERT INTO artery.budget_owner (tenant_id, budget_owner_id, owner_type, campaign_id, budget, observed_at, updated_at)
SELECT 'bench_decision', 's' || i, 'adset', 'c' || i % 50, 25, artery.now() - interval '1 day', artery.now() FROM generate_series(0, 1999) i;
INSERT INTO artery.budget_observation (tenant_id, budget_owner_id, observed_at, budget, source)
SELECT 'bench_decision', 's' || i, artery.now() - interval '1 day', 25, 'observed' FROM generate_series(0, 1999) i;
INSERT INTO artery.ad_day (tenant_id, ad_id, day, impressions, clicks, spend, source, updated_at)
SELECT 'bench_decision', 'ad_' || i, current_date - d, 1000 + (random() * 500)::int, 10 + (random() * 20)::int,
       round((5 + random() * 5)::numeric, 2), 'reported', artery.now() FROM generate_series(1, 10000) i, generate_series(0, 29) d;
INSERT INTO artery.deal (tenant_id, deal_id, stage, stage_since, stage_value, is_won, first_event_at, ad_id, campaign_id, updated_at)
SELECT 'bench_decision', 'd' || i, 'lead', artery.now(), 0, false, artery.now() - interval '20 days', 'ad_' || 1 + (i * 7919) % 10000, 'c1', artery.now()
  FROM generate_series(1, 20000) i;
INSERT INTO artery.deal_stage_event (tenant_id, deal_id, occurred_at, stage_to, base_value, is_won, stage_value, increment, recorded_at)
SELECT 'bench_decision', 'd' || i, artery.now() - interval '30 days' * random(), s.stage, s.value, s.stage = 'closed_won', s.value, 0, artery.now()
  FROM generate_series(1, 20000) i
  JOIN LATERAL (VALUES ('lead', 0, 1), ('appointment_scheduled', 2250, 2), ('show_up', 9000, 4), ('closed_won', 15000, 8)) s (stage, value, every)
    ON i % s.every = 0;
SELECT artery.rebuild_allocation_state('bench_decision') \g /dev/null
CREATE TABLE bench_decision.recommendation (LIKE artery.budget_recommendation INCLUDING ALL);
ALTER TABLE bench_decision.recommendation SET (toast_tuple_target = 2704);
ANALYZE;
SQL
}

clear_tenant() {
    for table in ad_state budget_owner budget_observation ad_day deal deal_stage_event allocation_run ad_progress hop_progress \
                 deal_credit allocation_state allocation_delta tenant; do
        sql -c "DELETE FROM artery.$table WHERE tenant_id = 'bench_decision'"
    done
}

ms() {
    sql -c '\timing on' -c "$1" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p'
}

# The statements are timed as a client sees them, counting the rows.
allocation() {
    local ours bare
    fill_tenant
    : >"$work/ratios"; : >"$work/ms"
    ms "SELECT count(*) FROM artery.allocate_budget('bench_decision', propose => false)" >/dev/null
    for _ in $(seq "$rounds"); do
        ours=$(ms "SELECT count(*) FROM artery.allocate_budget('bench_decision', propose => false)")
        bare=$(ms "INSERT INTO bench_decision.recommendation SELECT b.tenant_id, b.run_id, b.ad_id, b.budget_owner_id, b.current_budget,
                          b.recommended_budget, b.change_percentage, b.confidence, b.reason || '', b.inputs || '{}', b.metrics || '{}'
                     FROM artery.budget_recommendation b WHERE b.tenant_id = 'bench_decision'
                      AND b.run_id = (SELECT max(run_id) FROM artery.allocation_run WHERE tenant_id = 'bench_decision')")
        echo "$ours $bare" | awk '{ print $1 / $2 }' >>"$work/ratios"
        echo "$ours $bare" >>"$work/ms"
    done
    sort -n "$work/ms" | head -n 1 | awk '{ printf "allocate_budget of 10000 ads: %.0f ms; scan and insert of its rows: %.0f ms\n", $1, $2 }'
    echo "ratio | allocate_budget, 10000 ads: time to scanning and inserting its rows | $(median "$work/ratios") | $(sort -n "$work/ms" | awk 'NR == 1 { printf "%.2f s at best, less than 1 s wanted", $1 / 1000 }')"
    clear_tenant
}

setup/packages.sh python3-numpy
prepare
against_numpy 10 2000 5
against_numpy 1000 100 2
against_numpy 100000 4 2
cost_per_ad
allocation
sql -c "DROP SCHEMA bench_decision CASCADE" 2>/dev/null
