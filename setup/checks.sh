#!/bin/sh
# Checks of the tree that need no server; each prints 'ok - ...' or 'not ok - ...'.
# The build itself, with -Wall -Wextra -Werror, comes before.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/setup/common.sh"
cd "$top"

# check TITLE FOUND: what was found must be nothing.
check() {
    if [ -z "$2" ]; then
        echo "ok - $1"
    else
        echo "not ok - $1"
        printf '%s\n' "$2" | sed 's/^/    /'
    fi
}

sources() {
    find src sql test bench demo setup gateway \( -name '*.[ch]' -o -name '*.sql' -o -name '*.sh' -o -name '*.p[lmy]' \
        -o -name '*.py' -o -name '*.spec' \) ! -name 'artery--*.sql' 2>/dev/null
}

check "no source file is longer than 600 lines" \
    "$(sources | xargs wc -l | awk '$2 != "total" && $1 > 600 {print $2 ": " $1}')"

# A library that exports other names may clash with another one's.
check "exported symbols begin with artery_" \
    "$(nm -D --defined-only --format=posix artery.so | awk '{print $1}' |
        grep -vE '^(artery_|pg_finfo_artery_|Pg_magic_func$|_PG_init$|_init$|_fini$)' || true)"

check "a fresh install replaces nothing" \
    "$(grep -nE '^CREATE OR REPLACE|^CREATE .*IF NOT EXISTS' sql/artery--*.sql || true)"

check "version tests of PostgreSQL are in compat only" \
    "$(grep -n PG_VERSION_NUM -r src --include='*.[ch]' | grep -v '^src/compat\.' || true)"

check "curl is included by http.c only" \
    "$(grep -ln 'include <curl' -r src | grep -v '^src/deliver/http\.c$' || true)"

check "now() is asked in clock.c only" \
    "$(grep -nE 'GetCurrentT(imestamp|ransactionStartT)|[^_]time\(NULL\)|gettimeofday' -r src --include='*.c' |
        grep -v '^src/runtime/clock\.c' || true)"

check "nothing is left to be done in the code" \
    "$(sources | grep -v '^setup/checks.sh$' | xargs grep -nE '\b(TODO|FIXME|XXX|HACK)[: ]' || true)"

check "every C file begins by saying what it is for" \
    "$(for f in $(find src -name '*.[ch]'); do head -1 "$f" | grep -q '^/\*' || echo "$f"; done)"

check "src/README.md names every C file" \
    "$(for f in $(find src -name '*.c'); do grep -qF "\`${f##*/}\`" src/README.md || echo "$f"; done)"
