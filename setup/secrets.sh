#!/bin/sh
# Is a secret that the tests use in any of these files or folders (logs, at their
# most talkative)? Prints TAP; the last line of a find says where, not what.
#
#   setup/secrets.sh FILE...
#
# Secrets are what test/ gives to set_secret as a literal of at least 8 characters,
# and how the tokens that are put together at run time begin.
set -u
top=$(cd "$(dirname "$0")/.." && pwd)

list=$(mktemp)
trap 'rm -f "$list"' EXIT
grep -rhoE "set_secret\('[^']*', '[^']*', '[^'\$]{8,}'" "$top/test" "$top/demo" |
    sed -E "s/.*, '([^']*)'\$/\1/" >"$list"
printf '%s\n' token-of- EAAverysecret0123456789token story-token appsecret_proof= Bearer >>"$list"

known=$(sort -u "$list" | wc -l)
if [ "$known" -lt 10 ]; then
    echo "not ok - the tests' secrets are known"
    exit 1
fi
echo "ok - the tests' secrets are known: $known"
found=$(grep -rlF -f "$list" "$@" 2>/dev/null)
size=$(du -cm "$@" 2>/dev/null | tail -n 1 | cut -f1)
if [ -z "$found" ]; then
    echo "ok - none of them is in $size MB of logs and dumps"
else
    echo "not ok - none of them is in the logs and dumps"
    for file in $found; do
        echo "# $file, lines $(grep -nF -f "$list" "$file" | cut -d: -f1 | head -n 5 | tr '\n' ' ')"
    done
    exit 1
fi
