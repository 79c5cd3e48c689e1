#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs all tests, from a bare Debian 12 on: installs what is missing, builds with both compilers
# and under the sanitisers in build-tests/, and ends with the closing line of every Check program.
# A second run installs and compiles nothing again. `tests/run.sh gcc asan` runs only these parts
# of: gcc levels outside lint valgrind clang asan tsan. Three more run only when they are named:
# coverage, which prints what the tests reach of the library; msan, fuzzing under clang's memory
# sanitizer; and optimization, the other compilers and levels: gcc at -O0 and -O2, clang at -O0 and -O3.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
parts=${*:-gcc levels outside lint valgrind clang asan tsan}

. examples/packages.sh
need_packages gcc g++ libc6-dev binutils clang libclang-rt-dev meson ninja-build pkg-config check \
    libblis-serial-dev libjansson-dev libpng-dev zlib1g-dev doxygen \
    abigail-tools python3-cffi swig

. tests/builds.sh
wanted lint && need_packages cppcheck clang-tidy
wanted valgrind && need_packages valgrind libc6-dbg

# Optimised as users have it, but with assertions, and with the types that abidiff compares; a warning of
# Doxygen fails this build too.
if wanted gcc && build gcc gcc g++ --buildtype=release -Ddebug=true -Dblis=enabled -Dexamples=enabled \
    -Dcli=enabled -Ddocs=enabled -Dfuzz=enabled; then
    check gcc ''
fi

# What computes, at the levels of kernels below the best one: the base one, which most machines with
# continuous integration would never choose, AVX2 where there is AVX-512, and AVX-512 where it has
# more.
if wanted levels && [ -f "$builds/gcc/settings" ]; then
    levels=base
    if grep -qw avx512bw /proc/cpuinfo 2>/dev/null; then
        levels='base avx2'
    fi
    if grep -qw avx512_bf16 /proc/cpuinfo 2>/dev/null; then
        levels='base avx2 avx512'
    fi
    if grep -qw amx_bf16 /proc/cpuinfo 2>/dev/null; then
        levels='base avx2 avx512 avx512bf16'
    fi
    for level in $levels; do
        check gcc "env NEUMETA_TEST_KERNELS=$level" --logbase "testlog-$level" --suite levels
    done
fi

if wanted outside && [ -f "$builds/gcc/settings" ]; then
    say "outside: installed library and subproject, in C and C++"
    tests/abi/outside.sh "$root" "$builds/gcc" "$builds/outside" || fail "use from outside"
fi

# Bugs that can be seen without running anything.
if wanted lint && [ -f "$builds/gcc/compile_commands.json" ]; then
    say "lint: testing"
    tests/lint.sh "$builds/gcc" || fail "lint"
fi

# What reads bytes, and what has many small arrays. Valgrind knows no AVX-512; it sees what jansson
# and the C library do with our memory, too.
if wanted valgrind && [ -f "$builds/gcc/settings" ]; then
    check gcc 'env CK_FORK=no NEUMETA_TEST_KERNELS=base' --logbase testlog-valgrind \
        --wrapper 'valgrind -q --error-exitcode=9' \
        json file options slot stages ties encoding starts
fi

# Clang brings libFuzzer: here it searches for a moment from fixed seeds. At -O2, where gcc has -O3.
if wanted clang && build clang clang clang++ --buildtype=release -Doptimization=2 --default-library=static \
    -Dexamples=enabled -Dcli=enabled -Dfuzz=enabled; then
    check clang '' --suite unit --suite api --suite fuzz
fi

few_refusals=NEUMETA_TEST_STRIDE=5 # of allocations, each of which was refused above
export CK_TIMEOUT_MULTIPLIER=10
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1
if wanted asan && build asan gcc g++ --buildtype=debugoptimized --default-library=static \
    -Db_sanitize=address,undefined -Dc_args=-fno-sanitize-recover=all -Dfuzz=enabled \
    -Dexamples=enabled -Dcli=enabled; then
    # The other examples and the suite of the command train for minutes here. The kernels' thousands of small tests
    # share a process: looking for leaks at the end of each costs more than they do.
    check asan "env $few_refusals" --no-suite abi --no-suite cli --no-suite examples --no-suite kernel
    check asan 'env CK_FORK=no' --logbase testlog-kernel --suite kernel
    check asan '' custom_topology embed
    tests/commands.sh "$builds/asan/examples/neumeta" || fail "asan: commands"
fi

# ThreadSanitizer of gcc 12 cannot start under the widest address randomisation.
fixed_addresses=
if setarch -R true 2>/dev/null; then
    fixed_addresses='setarch -R'
fi
if wanted tsan && build tsan gcc g++ --buildtype=debugoptimized --default-library=static \
    -Db_sanitize=thread -Dexamples=disabled -Dcli=disabled; then
    check tsan "env CK_EXCLUDE_TAGS=sequential $few_refusals $fixed_addresses" --suite threads
fi

if wanted optimization; then
    for level in 0 2; do
        build "gcc-O$level" gcc g++ --buildtype=release -Doptimization=$level --default-library=static \
            -Dexamples=disabled -Dcli=disabled && check "gcc-O$level" '' --suite unit --suite api
    done
    for level in 0 3; do
        build "clang-O$level" clang clang++ --buildtype=release -Doptimization=$level \
            --default-library=static -Dexamples=disabled -Dcli=disabled &&
            check "clang-O$level" '' --suite unit --suite api
    done
fi

if wanted coverage && build coverage gcc g++ --buildtype=debug -Db_coverage=true -Dc_args=-DNDEBUG \
    -Dfuzz=enabled -Dexamples=disabled -Dcli=disabled; then
    find "$builds/coverage" -name '*.gcda' -delete
    check coverage '' --no-suite abi
    tests/coverage.sh "$builds/coverage"
fi

# What depends on memory that nobody has written, found in 20,000 runs or some seconds of each fuzz target.
if wanted msan && configure msan clang clang++ --cross-file tests/cross/base.ini --buildtype=debugoptimized \
    --default-library=static -Db_sanitize=memory -Db_lundef=false -Dblis=disabled -Dfuzz=enabled \
    -Dexamples=disabled -Dcli=disabled; then
    check msan '' --suite fuzz
fi

conclude
log=$builds/gcc/meson-logs/testlog.txt
if wanted gcc; then
    grep -hE '^SKIP: ' "$log" | sort | uniq -c || true
    grep -E '^(Running suite|faults: |[0-9]+%: Checks: )' "$log" || fail "no Check program ran"
fi
if [ -n "$failures" ]; then
    conclude # again, where it is seen
    exit 1
fi
