#!/bin/bash
# What the CRM's door costs: calculate_synthetic_revenue as a ratio to SELECT 1
# (the aim is 0.70 or more), and the time a webhook of one event takes.
# Each pair is run in turns by pgbench and the median of the turns' ratios is
# printed, so that a busy machine disturbs both alike.
#
# Connects by PGHOST, PGPORT, PGUSER, PGDATABASE; artery must be installed there.
#   ROUNDS (7), SECONDS_PER_RUN (2)
set -euo pipefail

rounds=${ROUNDS:-7}
seconds=${SECONDS_PER_RUN:-2}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sql() { psql -qXAt -v ON_ERROR_STOP=1 "$@"; }

prepare() {
    sql <<'SQL'
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS bench_revenue CASCADE;
CREATE SCHEMA bench_revenue;
SELECT artery.add_tenant('bench_revenue', 'service_business', settings => '{"hubspot_portal_ids": [900001], "hubspot_allow_v1": true}')
 WHERE NOT EXISTS (SELECT FROM artery.tenant WHERE tenant_id = 'bench_revenue') \g /dev/null
SELECT artery.set_secret('bench_revenue', 'hubspot_client_secret', 'bench secret') \g /dev/null
CREATE FUNCTION bench_revenue.send(deal bigint, minute bigint) RETURNS text LANGUAGE sql AS $$
    SELECT artery.hubspot_webhook(e.body, jsonb_build_object('X-HubSpot-Signature',
               encode(sha256(convert_to('bench secret', 'UTF8') || e.body), 'hex'))) ->> 'status'
      FROM (SELECT convert_to(format('[{"portalId":900001,"eventId":%s,"occurredAt":%s,"subscriptionType":"deal.propertyChange",'
               '"objectId":%s,"propertyName":"dealstage","propertyValue":"appointmentscheduled"}]',
               minute, 1749513600000 + minute * 60000, deal), 'UTF8') AS body) e
$$;
SQL
    printf 'SELECT 1;\n' >"$work/one.sql"
    call="artery.calculate_synthetic_revenue('bench_revenue', 'lead', 'appointment_scheduled')"
    printf 'SELECT * FROM %s;\n' "$call" >"$work/row.sql"
    printf 'SELECT %s;\n' "$call" >"$work/value.sql"
    printf '\\set d random(1, 20000)\n\\set m random(1, 100000)\nSELECT bench_revenue.send(:d, :m);\n' >"$work/webhook.sql"
}

# Transactions a second of a script: run MODE SCRIPT
run() {
    pgbench -n -M "$1" -T "$seconds" -f "$2" 2>"$work/stderr" | sed -n 's/^tps = \([0-9.]*\).*/\1/p' >"$work/tps"
    [ -s "$work/tps" ] || { cat "$work/stderr" >&2; exit 1; }
    cat "$work/tps"
}

# compare LABEL MODE SCRIPT: the median of the ratios to SELECT 1.
compare() {
    local one other
    : >"$work/ratios"
    for _ in $(seq "$rounds"); do
        one=$(run "$2" "$3")
        other=$(run "$2" "$work/one.sql")
        echo "$one $other" | awk '{print $1 / $2}' >>"$work/ratios"
    done
    sort -n "$work/ratios" | awk -v label="$1" '{r[NR] = $1} END {printf "ratio | %s | %.2f | 0.70 or more\n", label, r[int((NR + 1) / 2)]}'
}

# Half of the webhooks of one new event are answered within the first time, 95 percent within the second.
webhook_times() {
    pgbench -n -M prepared -T $((3 * seconds)) -l --log-prefix="$work/log" -f "$work/webhook.sql" >/dev/null 2>"$work/stderr" ||
        { cat "$work/stderr" >&2; exit 1; }
    sort -n -k3,3 "$work"/log.* | awk '{t[NR] = $3 / 1000}
        END {printf "%s: %.2f ms, %.2f ms\n", "webhook of one event: median, 95 percent within", t[int((NR + 1) / 2)], t[int(NR * 0.95)]}'
}

prepare
compare "calculate_synthetic_revenue as a row, prepared" prepared "$work/row.sql"
compare "calculate_synthetic_revenue as a value, prepared" prepared "$work/value.sql"
compare "calculate_synthetic_revenue as a row, simple" simple "$work/row.sql"
compare "calculate_synthetic_revenue as a value, simple" simple "$work/value.sql"
webhook_times
sql <<'SQL'
SET client_min_messages = warning;
DROP SCHEMA bench_revenue CASCADE;
DELETE FROM artery.webhook_event WHERE tenant_id = 'bench_revenue';
DELETE FROM artery.deal_stage_event WHERE tenant_id = 'bench_revenue';
DELETE FROM artery.deal WHERE tenant_id = 'bench_revenue';
DELETE FROM artery.conversion_tracking WHERE tenant_id = 'bench_revenue';
DELETE FROM artery.attribution_performance_log WHERE tenant_id = 'bench_revenue';
DELETE FROM artery.job WHERE tenant_id = 'bench_revenue';
SQL
