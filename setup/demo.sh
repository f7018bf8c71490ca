#!/bin/sh
# The whole loop on a throwaway cluster, from nothing: 'make demo'.
# With ARTERY_DEMO_DATA=ads.csv (make demo DATA=ads.csv): budgets for real ads.
#
# The cluster and the fake Graph API are left running to look around in;
# 'setup/demo.sh stop' ends both.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/setup/common.sh"

export ARTERY_WORK="${ARTERY_WORK:-$(work_folder demo)}"
graph_pid=$ARTERY_WORK/graph.pid
graph_port=$ARTERY_WORK/graph.port

# Left running at the end, not after a failure.
finish() {
    stop_ticker
    [ -n "${finished:-}" ] || stop
}
stop() {
    stop_graph
    "$top/setup/cluster.sh" stop
}

ask() { psql -qXAt -v ON_ERROR_STOP=1 -c "$1"; }

# show NAME: a part of the story, demo/NAME.sql
show() { psql -qX -v ON_ERROR_STOP=1 -P footer=off -P null='' -f "$top/demo/$1.sql" 2>&1; }

until_true() {
    tries=$(($2 * 4))
    while [ "$(psql -qXAt -c "SELECT $1" 2>&1)" != t ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "still not true: $1"; tail -n 20 "$ARTERY_WORK/server.log"; return 1; }
        sleep 0.25
    done
}

# wait_for TITLE CONDITION SECONDS: until the SQL condition holds
wait_for() { step "$1" until_true "$2" "$3"; }

# control METHOD PATH [JSON]: the test's own door of the fake Graph API
control() {
    /usr/bin/python3 -c 'import sys, urllib.request as u
method, url, body = sys.argv[1:]
request = u.Request(url, body.encode() or None, {"Content-Type": "application/json"}, method=method)
print(u.urlopen(request).read().decode())' "$1" "http://127.0.0.1:$(cat "$graph_port")/_control/$2" "${3:-}"
}

# Hours pass for artery and for the fake; the machine's clock stays.
offset=0
move_clock() {
    offset=$((offset + $1))
    control POST settings "{\"clock_offset\": $offset}" >/dev/null
    ask "ALTER SYSTEM SET artery.clock_offset = $offset"
    ask "SELECT pg_reload_conf()" >/dev/null
}

stop_graph() {
    # A number left from before a reboot may be somebody else's by now.
    if [ -f "$graph_pid" ] && grep -q graph_api "/proc/$(cat "$graph_pid")/cmdline" 2>/dev/null; then
        kill "$(cat "$graph_pid")"
    fi
    rm -f "$graph_pid" "$graph_port"
}

start_graph() {
    stop_graph
    setsid /usr/bin/python3 "$top/test/fake/graph_api.py" --port-file "$graph_port" >"$ARTERY_WORK/graph.log" 2>&1 </dev/null &
    echo $! >"$graph_pid"
    for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        [ ! -s "$graph_port" ] || return 0
        sleep 0.25
    done
    cat "$ARTERY_WORK/graph.log"
    return 1
}

# Nothing more to do for the worker now: what is open waits for its moment.
settled="NOT EXISTS (SELECT FROM artery.ad_change WHERE state = ANY (ARRAY['approved', 'sending', 'unknown']))
    AND NOT EXISTS (SELECT FROM artery.ad_change WHERE state = 'blocked' AND run_at <= artery.now())"

real_ads() {
    say "budgets for the ads in $ARTERY_DEMO_DATA"
    psql -qX -v ON_ERROR_STOP=1 -P footer=off -v file="$ARTERY_DEMO_DATA" -f "$top/demo/decide.sql"
}

tell_the_story() {
    step "starting a fake Graph API" start_graph
    ask "ALTER SYSTEM SET artery.meta_base_url = 'http://127.0.0.1:$(cat "$graph_port")'"
    ask "SELECT pg_reload_conf()" >/dev/null
    ask "CREATE EXTENSION pg_cron; CREATE EXTENSION artery"

    say "1. A tenant"
    show 1_tenant
    control POST objects "$(ask "SELECT demo.objects_at_meta()")" >/dev/null
    control POST insights "$(ask "SELECT demo.insights(12, 0)")" >/dev/null

    say "2. Twelve days of clicks and forms"
    show 2_traffic

    say "3. What Meta tells"
    read_from_meta
    show 3_actuals

    say "4. The CRM tells how the deals go"
    show 4_crm

    say "5. Which ad earned it"
    show 5_attribution

    say "6. A budget decision"
    wait_for "a conversion of high value asked for one at once; the worker makes it" \
        "EXISTS (SELECT FROM artery.job_execution_history WHERE job_name = 'budget-optimization' AND outcome = 'completed')" 30
    ask "SELECT artery.schedule_allocation('ptd_fitness', '* * * * *')" >/dev/null
    ask "SELECT 'scheduled by pg_cron: ' || schedule || '  ' || command FROM cron.job"
    wait_for "waiting for the full minute" \
        "EXISTS (SELECT FROM cron.job_run_details WHERE status = 'succeeded')" 80
    ask "SELECT 'pg_cron ran it: ' || status || ' in ' || end_time - start_time FROM cron.job_run_details ORDER BY runid LIMIT 1"
    ask "SELECT artery.unschedule_allocation('ptd_fitness')" >/dev/null
    show 6_decision

    say "7. Approval"
    show 7_approval

    say "8. The guard and the worker"
    echo "Each change runs after a jitter of 3 to 18 s; the clock of artery is moved instead of waiting."
    move_clock 20
    wait_for "the worker sends what may be sent" "$settled" 30
    show 8_delivery
    hours=0
    while [ "$hours" -lt 36 ] && [ "$(ask "SELECT EXISTS (SELECT FROM artery.ad_change WHERE state = 'blocked')")" = t ]; do
        hours=$((hours + 6))
        say "$hours hours later"
        move_clock 21601
        wait_for "the worker sends the next steps" "$settled" 30
        show 8_delivery
    done
    say "What Meta received"
    control GET changes | show_changes

    say "9. A day later: actuals come back, and the posterior moves"
    move_clock 86400
    control POST insights "$(ask "SELECT demo.insights(0, 0)")" >/dev/null
    read_from_meta
    show 9_feedback

    say "10. How artery is"
    show 10_health
}

# The worker reads accounts, budgets, ads and Insights.
read_from_meta() {
    job=$(ask "SELECT artery.enqueue_job('ptd_fitness', 'actuals-sync')")
    wait_for "the worker reads ads, budgets and Insights" \
        "EXISTS (SELECT FROM artery.job_execution_history WHERE job_id = $job AND outcome = 'completed')" 30
}

show_changes() {
    /usr/bin/python3 -c 'import json, sys, time
for change in json.load(sys.stdin):
    print(time.strftime("%m-%d %H:%M:%S", time.gmtime(change["at"])), " POST", change["id"], "",
          change["field"], "%8.2f -> %8.2f" % (int(change["old"]) / 100, int(change["new"]) / 100))'
}

if [ "${1:-}" = stop ]; then
    stop
    exit
fi
if [ -n "${ARTERY_DEMO_DATA:-}" ] && [ ! -r "$ARTERY_DEMO_DATA" ]; then
    echo "cannot read $ARTERY_DEMO_DATA" >&2
    exit 1
fi
trap finish EXIT
trap 'exit 130' INT TERM

"$top/setup/packages.sh"
mkdir -p "$ARTERY_WORK"
step "building and starting a cluster" "$top/setup/cluster.sh" fresh
eval "$("$top/setup/cluster.sh" env)"
if [ -n "${ARTERY_DEMO_DATA:-}" ]; then
    ask "CREATE EXTENSION artery"
    real_ads
else
    tell_the_story
fi

finished=yes
say "Look around"
echo "connect:  psql -h $PGHOST -p $PGPORT -U postgres artery"
echo "stop it:  setup/demo.sh stop"
