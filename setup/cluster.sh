#!/bin/sh
# A throwaway PostgreSQL cluster with this tree's artery: own data folder, own
# socket, never the system's.
#
#   setup/cluster.sh build      build and install into the work folder only
#   setup/cluster.sh start      build, (re)start
#   setup/cluster.sh stop       stop it; the data stays until the next 'fresh'
#   setup/cluster.sh fresh      stop, drop the data, start
#   setup/cluster.sh env        print the settings to connect, for eval
#
# ARTERY_WORK names the work folder (by default one per checkout under /tmp),
# ARTERY_EXTRA_CONF further lines for postgresql.conf.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/setup/common.sh"

work=${ARTERY_WORK:-$(work_folder)}
stage=$work/stage
data=$work/data
port=${ARTERY_PORT:-5432}

server() { as_server "$("$PG_CONFIG" --bindir)/$@"; }

make_work_folder() {
    mkdir -p "$work"
    chmod 755 "$work"
    if [ "$(id -u)" = 0 ]; then
        chown postgres "$work"
    elif [ ! -O "$work" ]; then
        echo "$work belongs to somebody else; name another folder in ARTERY_WORK" >&2
        exit 1
    fi
}

build() {
    make_work_folder
    make -C "$top" -s -j"$(nproc)" >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
    rm -rf "$stage"
    make -C "$top" -s install DESTDIR="$stage" >>"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
    # What any server needs to find this build.
    cat >"$work/stage.conf" <<END
extension_destdir = '$stage'
dynamic_library_path = '$stage$("$PG_CONFIG" --pkglibdir):\$libdir'
END
}

write_settings() {
    cat "$work/stage.conf"
    cat <<END
listen_addresses = ''
port = $port
unix_socket_directories = '$work'
shared_preload_libraries = 'pg_cron, artery'
cron.database_name = 'artery'
cron.use_background_workers = on
max_worker_processes = 32
artery.databases = 'artery'
artery.allow_loopback_http = on
timezone = 'UTC'
log_timezone = 'UTC'
END
    [ -z "${ARTERY_EXTRA_CONF:-}" ] || printf '%s\n' "$ARTERY_EXTRA_CONF"
}

start() {
    build
    stop
    if [ ! -f "$data/PG_VERSION" ]; then
        server initdb -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$work/initdb.log"
        as_server sh -c "echo \"include_if_exists = '$work/artery.conf'\" >> '$data/postgresql.conf'"
    fi
    write_settings >"$work/artery.conf"
    server pg_ctl -D "$data" -l "$work/server.log" -w start >/dev/null 2>"$work/pg_ctl.err" ||
        { cat "$work/pg_ctl.err" "$work/server.log" >&2; exit 1; }
    psql -qXAt -h "$work" -p "$port" -U postgres -d postgres -c \
        "SELECT 'CREATE DATABASE artery' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'artery')" |
        psql -qX -h "$work" -p "$port" -U postgres -d postgres
    echo "connect with: psql -h $work -p $port -U postgres artery"
}

stop() {
    if [ -f "$data/postmaster.pid" ] && server pg_ctl -D "$data" status >/dev/null; then
        server pg_ctl -D "$data" -w -m fast stop >/dev/null
    fi
}

case "${1:-}" in
    build) build ;;
    start) start ;;
    stop) stop ;;
    fresh) stop; rm -rf "$data"; start ;;
    env) echo "export PGHOST=$work PGPORT=$port PGUSER=postgres PGDATABASE=artery" ;;
    *) sed -n '2,13p' "$0"; exit 2 ;;
esac
