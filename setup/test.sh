#!/bin/sh
# Every test, on a throwaway cluster: 'make test', or 'make test T=pattern' for
# the groups and files whose name (regress/clicks, t/002_crash, checks) contains
# the pattern, a grep -E expression.
#
# What ran is left in the work folder (printed below); the last line says
# 'N passed, N failed'.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/setup/common.sh"
cd "$top"

pattern=${T:-}
work=${ARTERY_WORK:-$(work_folder test)}
export ARTERY_WORK="$work"
copy=$work/tree
log=$work/log
passed=0
failed=0
skipped=0

finish() {
    stop_ticker
    "$top/setup/cluster.sh" stop || true
}
trap finish EXIT
trap 'exit 130' INT TERM

count() {
    passed=$((passed + $1))
    failed=$((failed + $2))
    skipped=$((skipped + ${3:-0}))
}

# names GROUP GLOB: stems of the group's files that were asked for
names() {
    for file in $2; do
        [ -f "$file" ] || continue
        stem=${file##*/}
        stem=${stem%.*}
        printf '%s/%s\n' "$1" "$stem" | grep -qE -e "$pattern" && printf '%s ' "$stem"
    done
    true
}

# Output on the screen as it comes, and into a file. pg_regress and the like are
# judged by what they print, so their exit status may go.
watch() { tee "$log/$1.log"; }

# The lines 'ok ...' and 'not ok ...' of a log.
count_lines() { count "$(grep -c '^ok' "$log/$1.log")" "$(grep -c '^not ok' "$log/$1.log")"; }

run_checks() {
    [ -n "$(echo checks | grep -E -e "$pattern")" ] || return 0
    say "checks of the tree"
    setup/checks.sh | watch checks
    count_lines checks
}

# run_regress GROUP VARIABLE OTHER GLOB: tests of pg_regress or its isolation tester
run_regress() {
    files=$(names "$1" "$4")
    [ -n "$files" ] || return 0
    say "$1"
    rm -f regression.diffs output_iso/regression.diffs
    timeout 900 make -s installcheck "$2=$files" "$3=" 2>&1 | grep --line-buffered -E '^(test |parallel group| .*\.\.\. |ok |not ok |make: )' | watch "$1"
    good=$(grep -cE '^(test| ) .*\.\.\. ok|^ok [0-9]' "$log/$1.log" || true)
    bad=$(($(echo $files | wc -w) - good))
    count "$good" "$bad"
    if [ "$bad" -gt 0 ] && [ -f regression.diffs ]; then
        cp regression.diffs "$log/$1.diffs"
        head -n 300 "$log/$1.diffs"
    fi
}

# run_tap GROUP FILES COMMAND...: TAP files by setup/tap.pl
run_tap() {
    group=$1
    shift
    say "$group"
    "$@" 2>&1 | tee "$log/$group.log" | grep --line-buffered -v "^counts: "
    if ! counts=$(grep '^counts: ' "$log/$group.log"); then
        echo "$group did not come to its end"
        counts="counts: 0 1 0"
    fi
    count ${counts#counts: }
}

# paths FOLDER STEMS SUFFIX
paths() {
    for stem in $2; do printf '%s/%s.%s ' "$1" "$stem" "$3"; done
}

run_pgtap() {
    files=$(names pgtap 'test/pgtap/*.sql')
    [ -n "$files" ] || return 0
    psql -qX -d postgres -c 'DROP DATABASE IF EXISTS artery_pgtap' -c 'CREATE DATABASE artery_pgtap' 2>/dev/null
    psql -qX -d artery_pgtap -c 'CREATE EXTENSION artery' -c 'CREATE EXTENSION pgtap'
    run_tap pgtap timeout 900 env PGDATABASE=artery_pgtap PGOPTIONS='-c client_min_messages=warning' \
        perl setup/tap.pl --exec 'psql -XqAt -v ON_ERROR_STOP=1 -f' $(paths test/pgtap "$files" sql)
}

# These start servers of their own: as a user who may, in a copy of the tree
# which that user can read.
run_perl() {
    files=$(names t 'test/t/*.pl')
    [ -n "$files" ] || return 0
    rm -rf "$copy"
    mkdir "$copy"
    { cat "$work/stage.conf" && echo "log_min_messages = debug5"; } >"$work/test.conf"
    cp -r sql src test demo setup Makefile artery.control "$copy/"
    [ "$(id -u)" != 0 ] || chown -R postgres "$copy"
    pgxs=$(dirname "$(dirname "$("$PG_CONFIG" --pgxs)")")
    run_tap t as_server timeout 1100 env -C "$copy" -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE \
        PATH="$("$PG_CONFIG" --bindir):$PATH" PERL5LIB="$pgxs/test/perl:$copy/test/t" \
        PG_REGRESS="$pgxs/test/regress/pg_regress" TESTDIR="$copy" TESTDATADIR="$copy/tmp_check" \
        TESTLOGDIR="$copy/tmp_check/log" ARTERY_TEST_CONF="$work/test.conf" \
        perl setup/tap.pl $(paths test/t "$files" pl)
    [ "${counts#counts: * }" = "0 ${counts##* }" ] || tail -n 20 "$copy"/tmp_check/log/regress_log_*
}

# What README.md shows is what really comes out.
run_readme() {
    [ -n "$(echo readme | grep -E -e "$pattern")" ] || return 0
    [ -f setup/readme.sh ] || return 0
    say "README.md"
    { setup/readme.sh check 2>&1 || echo "not ok - README.md: its parts could not be made"; } | watch readme
    count_lines readme
}

# Nor may any of the servers, all at their most talkative, have told a secret; nor
# does what they hold, as it would be dumped.
run_secret_check() {
    say "secrets"
    mkdir -p "$log/dumps"
    for database in $(psql -qXAt -d postgres -c "SELECT datname FROM pg_database WHERE datallowconn" 2>/dev/null); do
        pg_dump -f "$log/dumps/$database.sql" "$database" || echo "not ok - $database could not be dumped"
    done 2>&1 | watch dumps
    count_lines dumps
    [ ! -d "$copy/tmp_check/log" ] || cp "$copy"/tmp_check/log/*.log "$log/dumps/"
    cp "$work/server.log" "$log/dumps/"
    setup/secrets.sh "$log/dumps" | watch secrets
    count_lines secrets
    rm -rf "$log/dumps"
}

# Whatever the tests said: no process of the server may have died.
run_crash_check() {
    say "server"
    if grep -E 'was terminated by signal|PANIC:|TRAP:' "$work/server.log" >"$log/crash.log"; then
        echo "not ok - no server process crashed"
        cat "$log/crash.log"
        count 0 1
    else
        echo "ok - no server process crashed"
        count 1 0
    fi
}

began=$(date +%s)
setup/packages.sh
mkdir -p "$work"
rm -rf "$log"
mkdir "$log"
rm -f "$work/server.log"
ARTERY_EXTRA_CONF="${ARTERY_EXTRA_CONF:-}
log_min_messages = debug5"
export ARTERY_EXTRA_CONF
step "building and starting a cluster" setup/cluster.sh fresh
eval "$(setup/cluster.sh env)"

run_checks
run_regress regress REGRESS ISOLATION 'test/sql/*.sql'
run_regress isolation ISOLATION REGRESS 'test/specs/*.spec'
run_pgtap
run_perl
run_readme
run_secret_check
run_crash_check

say "result"
echo "$(($(date +%s) - began)) s; logs are in $log"
[ "$skipped" = 0 ] || tests=", $skipped skipped"
echo "$passed passed, $failed failed${tests:-}"
[ "$failed" = 0 ]
