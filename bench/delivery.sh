#!/bin/bash
# Verified changes a second: each is claimed, read, judged under its campaign's
# lock, written, read back and settled, all committed to disk, over connections
# to a peer on this machine that answers at once (bench/delivery_peer.c).
#
# Beside it, the peer's own pace with nothing behind it, by curl's parallel mode;
# and what a change costs: the worker's time on a processor, which tells more than
# its pace where others use the machine, commits, and what is flushed to disk.
# Connects by PGHOST, PGPORT, PGUSER, PGDATABASE; artery must be preloaded there.
#   CHANGES (10000), TENANTS (4), IN_FLIGHT (64)
set -euo pipefail

changes=${CHANGES:-10000}
tenants=${TENANTS:-4}
in_flight=${IN_FLIGHT:-64}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
peer=

finish() {
    [ -z "$peer" ] || kill "$peer" 2>/dev/null || true
    sql -c "UPDATE artery.tenant SET settings = settings || '{\"enabled\": false}' WHERE tenant_id LIKE 'delivery\_%'" \
        -c "ALTER SYSTEM RESET artery.meta_base_url" -c "ALTER SYSTEM RESET artery.http_max_in_flight" \
        -c "ALTER SYSTEM RESET artery.allow_loopback_http" -c "SELECT pg_reload_conf()" >/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
sql() { psql -qXAt -v ON_ERROR_STOP=1 "$@"; }

cc -O2 -o "$work/peer" "$here/delivery_peer.c"
"$work/peer" >"$work/port" &
peer=$!
until [ -s "$work/port" ]; do sleep 0.05; done
base=http://127.0.0.1:$(cat "$work/port")

sql -c "ALTER SYSTEM SET artery.meta_base_url = '$base'" -c "ALTER SYSTEM SET artery.http_max_in_flight = $in_flight" \
    -c "ALTER SYSTEM SET artery.allow_loopback_http = on" -c "SELECT pg_reload_conf()" >/dev/null

# One ad set of a campaign of its own for each change; tenants are off until all is queued.
sql >/dev/null <<SQL
SET client_min_messages = warning;
SELECT artery.add_tenant('delivery_' || t, 'service_business', settings => '{"enabled": false, "dry_run": false,
    "fuzz_percent": 0, "jitter_ms_min": 0, "jitter_ms_max": 0}')
  FROM generate_series(1, $tenants) t WHERE NOT EXISTS (SELECT FROM artery.tenant x WHERE x.tenant_id = 'delivery_' || t);
SELECT artery.set_secret('delivery_' || t, 'meta_access_token', 'bench-token') FROM generate_series(1, $tenants) t;
SELECT count(artery.register_ad('delivery_' || n % $tenants + 1, 'ad' || n, 'c' || n, 'b' || n)) FROM generate_series(1, $changes) n;
SELECT count(artery.queue_ad_change('delivery_' || n % $tenants + 1, 'c' || n, 'BUDGET_INCREASE', '{"budget": 100}',
    '{"budget": 110}', 'bench', adset_id => 'b' || n)) FROM generate_series(1, $changes) n;
SELECT count(artery.approve_ad_change(c.tenant_id, c.change_id, 'bench')) FROM artery.ad_change c WHERE c.state = 'proposed';
ANALYZE;
CHECKPOINT;
SQL
worker="SELECT pid FROM pg_stat_activity WHERE backend_type = 'artery worker'"
open="SELECT count(*) FROM artery.ad_change WHERE state = ANY (ARRAY['approved', 'blocked', 'sending', 'unknown'])"
memory() { awk '/RssAnon/ {print int($2 / 1024)}' "/proc/$(sql -c "$worker")/status"; }
# milliseconds on a processor, commits of the database, flushes of the log, kB of it
costs() {
    awk -v hz="$(getconf CLK_TCK)" '{printf "%d ", ($14 + $15) * 1000 / hz}' "/proc/$(sql -c "$worker")/stat"
    sql -F ' ' -c "SELECT d.xact_commit, w.wal_sync, w.wal_bytes::bigint / 1024 FROM pg_stat_database d, pg_stat_wal w WHERE d.datname = current_database()"
}
sql -c "SELECT artery.wake_worker()" >/dev/null
until [ -n "$(sql -c "$worker")" ]; do sleep 0.1; done
before=$(memory)
costs_before=$(costs)

began=$(date +%s.%N)
sql -c "SELECT artery.configure_tenant('delivery_' || t, '{\"enabled\": true}') FROM generate_series(1, $tenants) t" \
    -c "SELECT artery.wake_worker()" >/dev/null
until [ "$(sql -c "$open")" = 0 ]; do
    sleep 0.5
    awk -v began="$began" -v now="$(date +%s.%N)" 'BEGIN {exit now - began > 300}' || { echo "not done after 300 s" >&2; exit 1; }
done
read -r seconds completed <<<"$(sql -F ' ' -c "
    SELECT round(extract(epoch FROM max(recorded_at))::numeric - $began, 2), count(*) FROM artery.ad_change_history
     WHERE outcome = 'completed' AND extract(epoch FROM recorded_at) > $began")"
after=$(memory)
sleep 1 # a process tells of its statistics a second late
costs_after=$(costs)
requests=$(curl -s "$base/count")

# The peer alone: the same number of requests by one curl with as many connections.
printf 'url = "%s/v25.0/b[1-20000]"\noutput = "/dev/null"\n' "$base" >"$work/alone"
alone_began=$(date +%s.%N)
curl -s -Z --parallel-max "$in_flight" -K "$work/alone" 2>/dev/null || true
alone=$(awk -v began="$alone_began" -v now="$(date +%s.%N)" 'BEGIN {printf "%d", 20000 / (now - began)}')

awk -v changes="$completed" -v seconds="$seconds" -v requests="$requests" -v alone="$alone" -v before="$before" -v after="$after" -v spent_before="$costs_before" -v spent_after="$costs_after" 'BEGIN {
    printf "%d changes verified in %s s with %d requests: %d changes/s, %d requests/s\n", changes, seconds, requests, changes / seconds, requests / seconds
    printf "curl alone, without a database behind it: %d requests/s\n", alone
    printf "ratio | durable delivery to curl alone, requests a second | %.2f | %d and %d a second\n", requests / seconds / alone, requests / seconds, alone
    printf "ratio | requests a second against 3200 without durability | %.2f | above 1\n", requests / seconds / 3200
    split(spent_before, b, " "); split(spent_after, a, " ")
    printf "for 1000 changes: %.0f ms of the worker on a processor, %d commits, %d flushes to disk, %d kB of log\n",
        (a[1] - b[1]) * 1000 / changes, (a[2] - b[2]) * 1000 / changes, (a[3] - b[3]) * 1000 / changes, (a[4] - b[4]) * 1000 / changes
    printf "memory of the worker: %d MB, %d MB after it\n", before, after}'
