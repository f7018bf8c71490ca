#!/bin/sh
# What decisions earn: a simulated market judges the model `delayed` beside the
# uniform split, greedy ROAS, plain Thompson and `blended`, as a fraction of what an
# oracle earns who knows every ad (judge.c, market.h), with the revenue day by day.
# The judge links the very files that artery decides with and needs no server.
#
#   ACCOUNTS (40), SEED (a fresh one)      'make bench-allocation ACCOUNTS=60 SEED=1'
#   DNA=1: instead, what scores of creatives add that correlate 0, .5 and .8 with log CTR
set -eu
cd "$(dirname "$0")/.."
accounts=${ACCOUNTS:-40}
seed=${SEED:-$(date +%s)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

config=${PG_CONFIG:-pg_config}
${CC:-cc} -std=gnu11 -O2 -Isrc -Ibench -I"$("$config" --includedir-server)" -o "$work/judge" \
    src/decide/delayed.c src/decide/dna.c src/decide/pooling.c src/decide/exposure.c src/decide/hop.c src/decide/random.c src/decide/allotment.c \
    src/decide/blended.c bench/judge.c bench/market.c bench/standalone.c \
    -L"$("$config" --libdir)" -L"$("$config" --pkglibdir)" -L"$("$config" --pkglibdir)/.." -lpgcommon -lpgport -lcrypto -lm

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
