#!/bin/sh
# SPDX-License-Identifier: MIT
# Tests for processors that this machine is not, under QEMU's emulation of single programs, from a bare
# Debian 12 on; needs an x86-64 machine. `tests/emulators.sh neon` runs only this part of:
#   neon      builds for AArch64 and runs the neon and base kernels there
#   nehalem   runs the x86-64 build on a processor without AVX: no instruction may be too new
# Emulation is some twenty times slower, so cases that are tagged 'sequential' are left out: long ones, of
# which little depends on the processor.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
parts=${*:-neon nehalem}

. examples/packages.sh
need_packages gcc g++ libc6-dev binutils meson ninja-build pkg-config check libjansson-dev qemu-user
. tests/builds.sh

options='--buildtype=release --default-library=static -Dblis=disabled -Dexamples=disabled -Dcli=disabled'
suites='--suite unit --suite kernel --suite gradient --suite golden --suite api'
export CK_TIMEOUT_MULTIPLIER=20

# The libraries for AArch64 in a folder of ours. Apt gets lists and packages of the other architecture
# by its own rules, but nothing of it enters the system, whose dpkg would have to be told first.
foreign_libraries() {
    sysroot=$builds/aarch64-root
    [ ! -f "$sysroot/complete" ] || return 0
    say "aarch64: fetching libraries"
    rm -rf "$sysroot"
    mkdir -p "$sysroot/apt/lists/partial" "$sysroot/apt/cache/archives/partial"
    (
        cd "$sysroot/apt"
        foreign="-o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::status=/dev/null
            -o Dir::State::lists=$PWD/lists -o Dir::Cache=$PWD/cache -o APT::Sandbox::User="
        # shellcheck disable=SC2086 # a list
        apt-get -qq $foreign update
        # shellcheck disable=SC2086
        apt-get -qq $foreign download libjansson-dev check libsubunit-dev
        for package in *.deb; do
            dpkg-deb -x "$package" "$sysroot"
        done
    ) || return 1
    rm -rf "$sysroot/apt"
    touch "$sysroot/complete"
}

# check_emulated NAME LEVEL OPTION...
check_emulated() {
    name=$1
    level=$2
    shift 2
    # shellcheck disable=SC2086 # a list
    check "$name" "env NEUMETA_TEST_KERNELS=$level CK_EXCLUDE_TAGS=sequential" --logbase "testlog-$level" \
        $suites "$@"
}

# has_not LEVEL EMULATOR NAME: whether a build's kernel test misses that level there.
has_not() {
    $2 "$builds/$3/tests/test_kernel_rows" 2>&1 | grep -qx "SKIP: .* has no $1 kernels"
}

if wanted neon; then
    need_packages gcc-aarch64-linux-gnu g++-aarch64-linux-gnu
    emulator='qemu-aarch64 -L /usr/aarch64-linux-gnu'
    # shellcheck disable=SC2086 # a list
    if ! foreign_libraries; then
        fail "aarch64: libraries"
    elif PKG_CONFIG_SYSROOT_DIR=$builds/aarch64-root \
        PKG_CONFIG_LIBDIR=$builds/aarch64-root/usr/lib/aarch64-linux-gnu/pkgconfig \
        build aarch64 gcc g++ --cross-file tests/cross/aarch64.ini -Dprefer_static=true $options; then
        check_emulated aarch64 neon
        if has_not neon "$emulator" aarch64; then
            fail "aarch64: no neon kernels"
        fi
    fi
fi

if wanted nehalem; then
    # shellcheck disable=SC2086 # a list
    if build baseline gcc g++ $options; then
        check_emulated baseline auto --wrapper 'qemu-x86_64 -cpu Nehalem'
        has_not avx2 'qemu-x86_64 -cpu Nehalem' baseline || fail "baseline: AVX2 on a Nehalem"
    fi
fi

conclude
[ -z "$failures" ]
