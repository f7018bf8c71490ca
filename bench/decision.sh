#!/bin/bash
# How fast decisions are.
#  - select_budget (blended) on 10, 1,000 and 100,000 ads in memory, beside the same
#    mathematics vectorised in numpy, from arrays to rows (decision.py): bare rows of five
#    numbers, and rows with a reason and metrics as select_budget gives them;
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
-- The best time in ms of so many calls, all columns read.
CREATE FUNCTION bench_decision.select_ms(n integer, repeats integer) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    v_ads   jsonb := bench_decision.ads(n);
    v_began timestamptz;
    v_best  float8 := 'infinity';
BEGIN
    FOR i IN 1 .. repeats LOOP
        v_began := clock_timestamp();
        PERFORM count(s.metrics) FROM artery.select_budget(v_ads, 100.0 * n, seed => 1, model => 'blended') s;
        v_best := least(v_best, 1000 * extract(epoch FROM clock_timestamp() - v_began));
    END LOOP;
    RETURN v_best;
END $$;
SQL
}

median() { sort -n "$1" | awk '{ r[NR] = $1 } END { printf "%.2f", r[int((NR + 1) / 2)] }'; }

# against_numpy ADS REPEATS AIM
against_numpy() {
    local ours bare whole
    : >"$work/bare"; : >"$work/whole"; : >"$work/ms"
    for _ in $(seq "$rounds"); do
        ours=$(sql -c "SELECT bench_decision.select_ms($1, $2)")
        read -r bare whole < <(/usr/bin/python3 bench/decision.py "$1" "$2")
        echo "$ours $bare" | awk '{ print $2 / $1 }' >>"$work/bare"
        echo "$ours $whole" | awk '{ print $2 / $1 }' >>"$work/whole"
        echo "$ours $bare $whole" >>"$work/ms"
    done
    sort -n "$work/ms" | head -n 1 | awk -v n="$1" '{ printf "%d ads: select_budget %.3f ms, numpy %.3f ms bare, %.3f ms whole\n", n, $1, $2, $3 }'
    echo "ratio | select_budget, $1 ads: speed to numpy with whole rows | $(median "$work/whole") | $3 or more"
    echo "ratio | select_budget, $1 ads: speed to numpy with bare rows | $(median "$work/bare") | $3 or more"
}

cost_per_ad() {
    local few many n
    few=$(sql -c "SELECT bench_decision.select_ms(1000, 50) / 1000")
    for n in 10000 100000 $most; do
        many=$(sql -c "SELECT bench_decision.select_ms($n, greatest(1, 200000 / $n)) / $n")
        echo "ratio | select_budget, cost per ad: $n ads to 1000 | $(echo "$many $few" | awk '{ printf "%.2f", $1 / $2 }') | 1, flat"
    done
}

setup/packages.sh python3-numpy
prepare
against_numpy 10 2000 5
against_numpy 1000 100 2
against_numpy 100000 4 2
cost_per_ad
sql -c "DROP SCHEMA bench_decision CASCADE" 2>/dev/null
