#!/bin/sh
# Install what building, testing and demonstrating artery needs and this
# machine lacks, by apt (with sudo if not root). Does nothing where all is there.
#
# Installing PostgreSQL on Debian makes and starts a cluster "main"; that is
# turned off for the time of this installation only, by a file that is removed
# after it. An existing cluster is neither touched nor needed.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/setup/common.sh"

# Further packages may be named by the caller.
packages="$* gcc make binutils perl openssl
    postgresql-15 postgresql-server-dev-15 postgresql-15-cron postgresql-15-pgtap
    libtap-parser-sourcehandler-pgtap-perl libipc-run-perl
    libcurl4-openssl-dev libssl-dev libpcre2-dev libyaml-dev uap-core
    python3 python3-aiohttp python3-yaml"
no_cluster=/etc/postgresql-common/createcluster.d/artery-setup.conf

if ! command -v dpkg-query >/dev/null; then
    echo "no Debian packages here: taking for granted what setup/packages.sh lists" >&2
    exit 0
fi

missing=
for package in $packages; do
    case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
        "install ok installed") ;;
        *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    root=
elif command -v sudo >/dev/null; then
    root=sudo
    sudo -v
else
    echo "please install as root:$missing" >&2
    exit 1
fi

apt() {
    $root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

finish() {
    stop_ticker
    $root rm -f "$no_cluster"
}
trap finish EXIT
trap 'exit 130' INT TERM

echo "missing:$missing"
step "reading package lists" apt update
case $missing in
    *\ postgresql-15\ *)
        $root mkdir -p "${no_cluster%/*}"
        echo "create_main_cluster = false" | $root tee "$no_cluster" >/dev/null
        ;;
esac
step "installing packages" apt install --no-install-recommends $missing
