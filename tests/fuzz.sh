#!/bin/sh
# SPDX-License-Identifier: MIT
# Searches for inputs that break a reader or a call, with each fuzz target for a time, from a bare Debian 12 on.
#
#     tests/fuzz.sh SECONDS [TARGET...]       SECONDS of each target, all of tests/fuzz/ unless named
#
# ENGINE in the environment is `libfuzzer` (default; clang's sanitizers of addresses and undefined behaviour), `plain`
# (the same without sanitizers: several times faster) or `afl` (AFL++). JOBS targets run at once, as many as there are
# processors unless told. Inputs that reach something new stay in build-tests/fuzz/, and every engine starts from those of
# all: so a search may be spread over many nights. In the end a table tells for each target what all searches up to now
# have done. Fails if anything was found, and names the inputs.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
seconds=${1:?seconds for each target}
shift
engine=${ENGINE:-libfuzzer}
targets=${*:-$(find tests/fuzz -name 'fuzz_*.c' | sed 's/.*fuzz_//; s/\.c$//' | sort)}
parts=$engine

. examples/packages.sh
need_packages clang libclang-rt-dev meson ninja-build pkg-config check libjansson-dev libpng-dev zlib1g-dev
. tests/builds.sh
search=$builds/fuzz
ledger=$search/ledger # engine, target, seconds of processor, executions, edges reached
export root builds search ledger engine seconds

compiler=clang options=
case $engine in
    libfuzzer) options='-Db_sanitize=address,undefined -Dc_args=-fno-sanitize-recover=all -Db_lundef=false' ;;
    plain) ;;
    afl)
        need_packages afl++
        compiler=afl-clang-fast
        ;;
    *)
        echo "$0: ENGINE is '$engine', must be libfuzzer, plain or afl" >&2
        exit 2
        ;;
esac
mkdir -p "$search"
printf "[binaries]\nc = '%s'\n" "$compiler" >"$search/$engine.ini"
# shellcheck disable=SC2086 # a list
configure "fuzz-$engine" clang clang++ --cross-file tests/cross/base.ini --cross-file "$search/$engine.ini" \
    --buildtype=debugoptimized --default-library=static -Dblis=disabled -Dfuzz=enabled -Dexamples=disabled \
    -Dcli=enabled $options
say "$name: building"
# shellcheck disable=SC2046,SC2086 # lists
ninja --quiet -C "$folder" $(printf 'tests/fuzz/fuzz_%s ' $targets)

# One target, in a process of its own: $1.
cat >"$search/one.sh" <<'ONE'
set -u
target=$1
program=$builds/fuzz-$engine/tests/fuzz/fuzz_$target
own=$search/$engine-$target
mkdir -p "$own/inputs" "$own/found"
set --
for other in "$root/tests/fuzz/corpus/$target" "$search"/*-"$target"/inputs "$search"/afl-"$target"/out/default/queue; do
    [ ! -d "$other" ] || [ "$other" = "$own/inputs" ] || set -- "$@" "$other"
done
if [ "$engine" = afl ]; then
    # Inputs of the other engines come in as seeds; it keeps its own.
    seeds=$own/seeds
    rm -rf "$seeds"
    mkdir "$seeds"
    for other; do
        find "$other" -maxdepth 1 -type f -size -64k -exec cp -n {} "$seeds" \;
    done
    rm -rf "$own/out"
    AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_AFFINITY=1 AFL_NO_UI=1 AFL_IGNORE_SEED_PROBLEMS=1 \
        afl-fuzz -V "$seconds" -t 10000+ -m none -i "$seeds" -o "$own/out" -- "$program" >"$own/log" 2>&1
    find "$own/out/default/crashes" "$own/out/default/hangs" -name 'id*' -exec cp {} "$own/found" \;
else
    "$program" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048 -close_fd_mask=3 \
        -print_final_stats=1 -artifact_prefix="$own/found/" "$own/inputs" "$@" >"$own/log" 2>&1
fi
times >"$own/times" # not in a pipe, where another shell would tell its own
spent=$(awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, t, /[ms]/); s += 60 * t[1] + t[2] } printf "%.0f", s }' "$own/times")
if [ "$engine" = afl ]; then
    stats=$(awk -F ' *: ' '{ v[$1] = $2 } END { print v["execs_done"] + 0, v["edges_found"] + 0 }' "$own/out/default/fuzzer_stats")
else
    stats=$(awk '/stat::number_of_executed_units/ { n = $2 } { for (i = 1; i < NF; i++) if ($i == "cov:") c = $(i + 1) }
        END { print n + 0, c + 0 }' "$own/log")
fi
echo "$engine $target $spent $stats" >>"$ledger"
ONE
say "$engine: $seconds seconds of each of: $targets"
# shellcheck disable=SC2086
printf '%s\n' $targets | xargs -P "${JOBS:-$(nproc)}" -I '{}' sh "$search/one.sh" '{}'

awk '{ key = $2 " " $1; time[key] += $3; runs[key] += $4; if ($5 > edges[key]) edges[key] = $5; all[$2] += $3 }
    END {
        print "target       engine     CPU hours  executions      edges"
        for (key in time) {
            split(key, part, " ")
            printf "%-12s %-10s %9.2f %11d %10d\n", part[1], part[2], time[key] / 3600, runs[key], edges[key] | "sort"
        }
        close("sort")
        for (target in all) printf "%-12s all        %9.2f\n", target, all[target] / 3600 | "sort"
    }' "$ledger"
found=$(find "$search" -path '*/found/*' -type f)
if [ -n "$found" ]; then
    fail "inputs were found:"
    echo "$found"
    exit 1
fi
