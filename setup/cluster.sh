#!/bin/sh
# A throwaway PostgreSQL cluster with this tree's artery: own data folder, own
# socket, never the system's.
#
#   setup/cluster.sh start      build, install into the work folder, (re)start
#   setup/cluster.sh stop       stop it; the data stays until the next 'fresh'
#   setup/cluster.sh fresh      stop, drop the data, start
#   setup/cluster.sh env        print the settings to connect, for eval
#
# ARTERY_WORK names the work folder (by default one per checkout under /tmp).
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
pg_config=${PG_CONFIG:-pg_config}
work=${ARTERY_WORK:-/tmp/artery-$(printf %s "$top" | cksum | cut -d' ' -f1)}
stage=$work/stage
data=$work/data
port=${ARTERY_PORT:-5432}

# The server refuses to run as root.
as_server() {
    if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

install_into_stage() {
    make -C "$top" -s PG_CONFIG="$pg_config" >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
    make -C "$top" -s PG_CONFIG="$pg_config" install DESTDIR="$stage" >>"$work/build.log" 2>&1
}

write_settings() {
    lib=$("$pg_config" --pkglibdir)
    cat <<EOF
listen_addresses = ''
port = $port
unix_socket_directories = '$work'
extension_destdir = '$stage'
dynamic_library_path = '$stage$lib:\$libdir'
shared_preload_libraries = 'pg_cron, artery'
cron.database_name = 'artery'
cron.use_background_workers = on
max_worker_processes = 32
artery.databases = 'artery'
artery.allow_loopback_http = on
timezone = 'UTC'
log_timezone = 'UTC'
EOF
}

start() {
    mkdir -p "$work"
    chmod 755 "$work"
    install_into_stage
    [ "$(id -u)" != 0 ] || chown postgres "$work"
    if [ ! -f "$data/PG_VERSION" ]; then
        as_server "$(bindir)/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$work/initdb.log"
        as_server sh -c "echo \"include_if_exists = '$work/artery.conf'\" >> '$data/postgresql.conf'"
    fi
    write_settings >"$work/settings.tmp"
    cp "$work/settings.tmp" "$work/artery.conf"
    stop
    [ -z "${ARTERY_EXTRA_CONF:-}" ] || printf '%s\n' "$ARTERY_EXTRA_CONF" >>"$work/artery.conf"
    as_server "$(bindir)/pg_ctl" -D "$data" -l "$work/server.log" -w start >/dev/null 2>"$work/pg_ctl.err" ||
        { cat "$work/pg_ctl.err" "$work/server.log" >&2; exit 1; }
    psql -qXAt -h "$work" -p "$port" -U postgres -d postgres -c \
        "SELECT 'CREATE DATABASE artery' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'artery')" |
        psql -qX -h "$work" -p "$port" -U postgres -d postgres
    echo "connect with: psql -h $work -p $port -U postgres artery"
}

stop() {
    [ ! -f "$data/postmaster.pid" ] || as_server "$(bindir)/pg_ctl" -D "$data" -w -m fast stop >/dev/null
}

bindir() { "$pg_config" --bindir; }

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    fresh) stop; rm -rf "$data"; start ;;
    env) echo "export PGHOST=$work PGPORT=$port PGUSER=postgres PGDATABASE=artery" ;;
    *) sed -n '2,12p' "$0"; exit 2 ;;
esac
