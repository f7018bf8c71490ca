#!/bin/sh
# Speed as ratios measured side by side in one run: 'make bench', or
# 'make bench T=capture' for some. Runs bench/*.sh on a throwaway cluster; each
# prints, among what it likes, lines
#
#   ratio | what is compared | measured | aim, or the numbers compared
#
# which are shown together at the end.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/setup/common.sh"
cd "$top"

export ARTERY_WORK="${ARTERY_WORK:-$(work_folder bench)}"
# Alike on every machine, and not measuring its disk: nor shall every commit wake
# the WAL writer, which is still busy with it.
export ARTERY_EXTRA_CONF="shared_buffers = '512MB'
wal_writer_flush_after = '1GB'
max_wal_size = '4GB'
autovacuum = off
${ARTERY_EXTRA_CONF:-}"

# HUGE_PAGES: so many pages of 2 MB for the server's buffers, where we may; given back at the end.
pages=/proc/sys/vm/nr_hugepages
pages_before=
if [ -n "${HUGE_PAGES:-}" ] && [ -w "$pages" ]; then
    pages_before=$(cat "$pages")
    [ "$pages_before" -ge "$HUGE_PAGES" ] || echo "$HUGE_PAGES" 2>/dev/null >"$pages" || true
fi

finish() {
    stop_ticker
    "$top/setup/cluster.sh" stop || true
    [ -z "$pages_before" ] || echo "$pages_before" 2>/dev/null >"$pages" || true
}
trap finish EXIT
trap 'exit 130' INT TERM

setup/packages.sh
step "building and starting a cluster" setup/cluster.sh fresh
eval "$(setup/cluster.sh env)"
psql -qX -c "CREATE EXTENSION artery"
results=$ARTERY_WORK/bench.log
: >"$results"
for script in ${BENCH:-bench/*.sh}; do
    printf '%s\n' "$script" | grep -qE -e "${T:-}" || continue
    say "$script"
    "$script" 2>&1 | tee -a "$results"
done

say "ratios"
sed -n 's/^ratio *| *//p' "$results" |
    awk -F ' *[|] *' 'BEGIN { printf "%-64s %10s   %s\n", "", "measured", "aim or numbers" } { printf "%-64s %10s   %s\n", $1, $2, $3 }'
