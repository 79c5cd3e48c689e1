# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# Sourced by examples/demo.sh and tests/run.sh: gets the Debian packages that a script needs.

# need_packages NAME...
# Installs those that are missing, as root or through sudo; where neither is possible, prints the
# one line to run and ends the script. Systems without dpkg are left to Meson, which names what it
# cannot find.
need_packages()
{
    command -v dpkg-query >/dev/null || return 0
    missing=
    for package; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0

    if [ "$(id -u)" -eq 0 ]; then
        as_root="env"
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }; then
        as_root="sudo env"
    else
        echo "$0: some Debian packages are missing. Run this as root, then start again:" >&2
        echo "apt-get update && apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    echo "Installing$missing"
    # A stale list of some other source must not stop us: what counts is the installation.
    $as_root apt-get -qq update </dev/null || true
    # shellcheck disable=SC2086 # both are lists
    if ! $as_root DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 \
        install --no-install-recommends $missing </dev/null >/dev/null; then
        echo "$0: apt-get could not install$missing" >&2
        exit 1
    fi
}
