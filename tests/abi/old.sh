#!/bin/sh
# SPDX-License-Identifier: MIT
# old.sh SHARED-LIBRARY HEADER WORK: what was built when version 0.1 was new still works. Its header's
# constants have their numbers in HEADER, and a program linked in those days runs with the library.
set -eu
export LC_ALL=C
old=$(dirname "$(realpath "$0")")/old
libraries=$(dirname "$(realpath "$1")")
header=$2
work=$3
cc=${CC:-cc}
mkdir -p "$work"

constants() {
    $cc -E -dM "$1" | grep -E '^#define NEUMETA_[A-Z0-9_]+ [(]?-?[0-9]' | grep -v _VERSION_ | sort
}
constants "$old/neumeta.h" >"$work/old"
constants "$header" >"$work/new"
[ -s "$work/old" ]
if [ -n "$(comm -23 "$work/old" "$work/new")" ]; then
    echo "constants of version 0.1 that are gone or have another number:"
    comm -23 "$work/old" "$work/new"
    exit 1
fi

# The linker of those days saw a library without versions, of which it noted the names alone.
$cc -E "$old/neumeta.h" | grep -o 'neumeta_[a-z_]* *(' | tr -d ' (' | sort -u |
    sed 's/.*/void &(void);\nvoid &(void) {}/' >"$work/names.c"
soname=$(objdump -p "$1" | awk '$1 == "SONAME" { print $2 }')
$cc -shared -fPIC -Wl,-soname,"$soname" -o "$work/libneumeta.so" "$work/names.c"
$cc -std=c11 -I"$old" -o "$work/client" "$old/client.c" "$work/libneumeta.so"
LD_LIBRARY_PATH=$libraries "$work/client" "$work/client.safetensors"
