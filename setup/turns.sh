# Two things measured in turns: sourced by benches. Expects $work (a folder);
#   ROUNDS (7), SECONDS_PER_RUN (2), CLIENTS (1)
#   PROTOCOL (prepared)  how statements are sent: prepared, extended or simple

rounds=${ROUNDS:-7}
seconds=${SECONDS_PER_RUN:-2}
clients=${CLIENTS:-1}

sql() { psql -qXAt -v ON_ERROR_STOP=1 "$@"; }

# script NAME: the standard input as a script of pgbench.
script() { cat >"$work/$1.sql"; }

# Transactions a second of a script.
run() {
    pgbench -n -M "${PROTOCOL:-prepared}" -c "$clients" -j "$clients" -T "$seconds" -f "$1" 2>"$work/stderr" |
        sed -n 's/^tps = \([0-9.]*\).*/\1/p' >"$work/tps"
    [ -s "$work/tps" ] || { cat "$work/stderr" >&2; exit 1; }
    cat "$work/tps"
}

# tell LABEL AIM: the median of the lines "ratio one other" on the standard input.
tell() {
    sort -n | awk -v label="$1" -v aim="$2" '
        { ratio[NR] = $1; one[NR] = $2; other[NR] = $3 }
        END { m = int((NR + 1) / 2); printf "ratio | %s | %.2f | %s (%d against %d a second)\n", label, ratio[m], aim, one[m], other[m] }'
}

# compare LABEL AIM SUBJECT BASELINE: the median of the ratios subject / baseline.
compare() {
    local label=$1 aim=$2 subject=$3 baseline=$4 i one other
    : >"$work/ratios"
    run "$subject" >/dev/null
    run "$baseline" >/dev/null
    for i in $(seq "$rounds"); do
        one=$(run "$subject")
        other=$(run "$baseline")
        awk -v a="$one" -v b="$other" 'BEGIN { printf "%.4f %.0f %.0f\n", a / b, a, b }' >>"$work/ratios"
    done
    tell "$label" "$aim" <"$work/ratios"
}
