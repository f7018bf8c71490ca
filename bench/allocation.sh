#!/bin/sh
# What decisions earn: a simulated market judges the model `delayed` beside the
# uniform split, greedy ROAS, plain Thompson and `blended`, as a fraction of what an
# oracle earns who knows every ad (judge.c, market.h), with the revenue day by day.
# The judge links the very files that artery decides with. Then, for fewer accounts, a server decides: facts
# are told to the public functions with the clock moved, and allocate_budget is asked every six
# hours (public.c), which must earn what the bare model earns. Last, real ads: what is decided on one
# half of their counts is valued by the other (split_half.sql).
#
#   ACCOUNTS (40), SEED (a fresh one)      'make bench-allocation ACCOUNTS=60 SEED=1'
#   SERVER_ACCOUNTS (3): of each kind in the server, half a minute each or so; 0: none
#   DATA: an export of ads as demo/decide.sql reads it
#   DNA=1: instead, what scores of creatives add that correlate 0, .5 and .8 with log CTR
# Connects by PGHOST, PGPORT, PGUSER, PGDATABASE; artery must be installed there.
set -eu
cd "$(dirname "$0")/.."
server_accounts=${SERVER_ACCOUNTS:-3}
data=${ARTERY_BENCH_DATA:-../shared/data/meta_ads_2017.csv}
accounts=${ACCOUNTS:-40}
seed=${SEED:-$(date +%s)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

config=${PG_CONFIG:-pg_config}
build() {
    program=$1
    shift
    ${CC:-cc} -std=gnu11 -O2 -Isrc -Ibench -I"$("$config" --includedir-server)" -I"$("$config" --includedir)" -o "$work/$program" \
        src/decide/delayed.c src/decide/appeal.c src/decide/best.c src/decide/credit.c src/decide/hedge.c src/decide/polygamma.c src/decide/dna.c src/decide/pooling.c src/decide/exposure.c src/decide/hop.c src/decide/random.c \
        src/decide/allotment.c src/decide/blended.c bench/judge.c bench/market.c bench/standalone.c "$@" \
        -L"$("$config" --libdir)" -L"$("$config" --pkglibdir)" -L"$("$config" --pkglibdir)/.." -lpgcommon -lpgport -lcrypto -lm
}
build judge

# "delayed" lines of a judgement as ratios: mean and worst tenth.
ratios() {
    awk -v mean="$1" -v tenth="$2" '
        / of oracle / { kind = $1 }
        $1 == "delayed" && $2 ~ /^[0-9.]+$/ && !plot {
            printf "ratio | revenue of delayed to an oracle'\''s, %s | %.3f | %s or more\n", kind, $2, mean
            printf "ratio | the same, worst tenth of accounts, %s | %.3f | %s or more\n", kind, $4, tenth
        }'
}

echo "seed $seed, $accounts accounts of each kind"
if [ -n "${DNA:-}" ]; then
    for correlation in 0 0.5 0.8; do
        echo "scores of creatives correlate $correlation with log CTR"
        "$work/judge" accounts="$accounts" seed="$seed" dna="$correlation" | grep -E 'of oracle|delayed'
    done
    exit
fi
judge() {
    "$work/judge" accounts="$accounts" seed="$seed" plot=1 kind="$1" | tee "$work/out"
    ratios "$2" "$3" <"$work/out"
}
judge service 0.94 0.90
judge e-commerce 0.96 0.93
judge SaaS 0.92 0.87
echo "a budget of 300 a day"
"$work/judge" accounts="$accounts" seed="$seed" kind=service budget=300

if [ "$server_accounts" -gt 0 ]; then
    build server_judge -DWITH_SERVER bench/public.c -lpq
    for kind in service e-commerce SaaS; do
        echo "decided by allocate_budget in a server, $server_accounts accounts"
        "$work/server_judge" accounts="$server_accounts" seed="$seed" plot=1 kind=$kind | tee "$work/out"
        awk -v kind=$kind '
            $1 == "delayed" && $2 ~ /^[0-9]/ && !bare { bare = $2 }
            $1 == "allocate_budget" && $2 ~ /^[0-9]/ && !served { served = $2 }
            END { printf "ratio | revenue of allocate_budget to that of the bare model, %s | %.3f | 0.99 or more\n", kind, served / bare }' "$work/out"
    done
fi
if [ -r "$data" ]; then
    echo "real ads, decided on one half of their counts and valued by the other"
    psql -qX -v file="$data" -v seed=$((seed % 1000)) -f bench/split_half.sql
fi
