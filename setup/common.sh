# Shared by the scripts of this folder; sourced with $top (the checkout) set.

# What make hands down would reach the make calls in here: 'make demo
# DATA=ads.csv' must not become the DATA of an installation.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES GNUMAKEFLAGS DATA
# The server runs as another user where we are root, and reads what we write.
umask 022

if [ -z "${PG_CONFIG:-}" ]; then
    PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config
    [ -x "$PG_CONFIG" ] || PG_CONFIG=pg_config
fi
export PG_CONFIG

# A work folder per checkout, user and purpose ('' is the developer's cluster).
work_folder() {
    echo "/tmp/artery-$(printf %s "$top" | cksum | cut -d' ' -f1)${1:+-$1}"
}

# PostgreSQL refuses to run as root; where we stand, its user may not be let in.
as_server() {
    if [ "$(id -u)" = 0 ]; then runuser -u postgres -- env -C / "$@"; else "$@"; fi
}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n== %s\n' "$*"; }

ticker=
stop_ticker() {
    [ -z "$ticker" ] || kill "$ticker" 2>/dev/null || true
    ticker=
}

# step TITLE COMMAND...: run a command quietly; its title, a dot every two
# seconds, its duration; if it fails, the end of what it said.
step() {
    printf '%s ' "$1"
    shift
    step_began=$(date +%s)
    step_log=$(mktemp)
    (while sleep 2 >/dev/null 2>&1; do printf .; done) &
    ticker=$!
    if "$@" >"$step_log" 2>&1 </dev/null; then step_status=0; else step_status=$?; fi
    stop_ticker
    if [ "$step_status" = 0 ]; then
        printf ' done, %s s\n' $(($(date +%s) - step_began))
    else
        printf ' FAILED\n'
        tail -n 60 "$step_log" >&2
    fi
    rm -f "$step_log"
    return "$step_status"
}
