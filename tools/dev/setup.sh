#!/bin/sh
# tools/dev/setup.sh - install the Debian packages of packages.txt that are missing. Says what it does; does nothing when all are there.
set -eu
here=$(dirname "$0")
missing=
for p in $(grep -v '^#' "$here/packages.txt"); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
echo "setup: installing from Debian:$missing"
as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "setup: as root, run: apt-get install$missing" >&2; exit 1; }
    as_root=sudo
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
apt="$as_root apt-get -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120"
# shellcheck disable=SC2086
if ! { $apt update && $apt install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    cat "$log" >&2
    echo "setup: apt-get failed, see above; as root, run: apt-get install$missing" >&2
    exit 1
fi
rm -f "$log"
