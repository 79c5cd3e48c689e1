#!/bin/bash
# SPDX-License-Identifier: MIT
# Proves that a newcomer's two commands work: makes a minimal Debian 12 in a temporary folder, clones
# the committed state of this repository into it, and runs examples/demo.sh and tests/run.sh there.
# Needs root and debootstrap; the mirror and the proxy are those of this machine's apt.
#
#     tests/fresh.sh [COMMAND...]      other commands to run inside, each one argument
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
commands=("$@")
[ $# -gt 0 ] || commands=(examples/demo.sh tests/run.sh)

if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
    echo "$0: needs root and the package debootstrap" >&2
    exit 1
fi
# Mounts of an own namespace end with this process, whatever ends it.
if [ -z "${NEUMETA_FRESH-}" ]; then
    NEUMETA_FRESH=1 exec unshare --mount --propagation private "$0" "$@"
fi

# shellcheck disable=SC2016 # apt-get fills the fields
mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(SITE)' 'Created-By: Packages' |
    awk '$1 == "bookworm" && $2 == "main" { print $3; exit }')
if [ -z "$mirror" ]; then
    echo "$0: this machine's apt has no source for bookworm" >&2
    exit 1
fi

system=$(mktemp -d "${TMPDIR:-/tmp}/neumeta-fresh.XXXXXX")
clean()
{
    # Busy mounts go lazily, so that nothing of the host can be below when the folder goes.
    for point in dev/shm dev/pts dev proc; do
        ! mountpoint -q "$system/$point" || umount "$system/$point" || umount -l "$system/$point"
    done
    rm -rf --one-file-system "$system"
}
trap clean EXIT
trap 'exit 1' INT TERM HUP

started=$SECONDS
timed()
{
    local before=$SECONDS
    echo "== $1"
    shift
    "$@"
    echo "== took $((SECONDS - before)) s"
}
inside() { chroot "$system" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"; }

bootstrap()
{
    chmod 755 "$system" # apt drops its rights, and must still get in
    debootstrap --variant=minbase bookworm "$system" "$mirror" >"$system.log" 2>&1 ||
        { cat "$system.log"; rm -f "$system.log"; return 1; }
    rm -f "$system.log"
    mount -t proc proc "$system/proc"
    mount --bind /dev "$system/dev"
    mount -t devpts devpts "$system/dev/pts" -o newinstance,ptmxmode=0666
    mount -t tmpfs tmpfs "$system/dev/shm"
    cp -L /etc/resolv.conf "$system/etc/resolv.conf"
    apt-config dump | grep -iE '^Acquire::[^ ]*(proxy|retries|timeout)' \
        >"$system/etc/apt/apt.conf.d/90host" || true
    git clone --quiet --no-local "$root" "$system/root/libneumeta"
}

timed "minimal Debian 12" bootstrap
for command in "${commands[@]}"; do
    timed "$command" inside sh -c "cd /root/libneumeta && $command </dev/null"
done
echo "== all done in $((SECONDS - started)) s"
