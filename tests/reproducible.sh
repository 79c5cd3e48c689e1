#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the library and the command twice, in folders of different names and depth and from copies of the
# sources of different age, and compares the results bit by bit. Takes as long as two builds, and so
# is no part of tests/run.sh.
#
#     reproducible.sh [MESON-OPTION...]
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/neumeta-twice.XXXXXX")
trap 'rm -rf "$work"' EXIT
first=$work/a
second=$work/other/much/deeper

for place in "$first" "$second"; do
    mkdir -p "$place/source"
    (cd "$root" && git ls-files -z | tar --null -T - -cf -) | tar -x -m -C "$place/source" -f -
    { meson setup "$place/build" "$place/source" --buildtype=release -Dtests=disabled "$@" &&
        ninja -C "$place/build"; } >"$work/log" 2>&1 || { tail -n 20 "$work/log"; exit 1; }
done

compared=0
for file in lib/libneumeta.so.*.*.* lib/libneumeta.a examples/neumeta; do
    for path in "$first/build/"$file; do
        [ -f "$path" ] || continue
        cmp "$path" "$second/build/${path#"$first/build/"}"
        compared=$((compared + 1))
    done
done
[ "$compared" -gt 0 ]
echo "two builds have the same bits: $compared files"
