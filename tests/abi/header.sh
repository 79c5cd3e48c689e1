#!/bin/sh
# SPDX-License-Identifier: MIT
# header.sh FOLDER: <neumeta.h> alone compiles without a warning as C99 to C17 and C++11 to C++20,
# with every compiler that is there; no compiler at all is a failure.
set -eu
warnings='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef -Werror'
found=0
for compiler in gcc clang g++ clang++; do
    if ! command -v "$compiler" >/dev/null; then
        echo "SKIP: there is no $compiler"
        continue
    fi
    case $compiler in
    *++) language=c++ standards='c++11 c++14 c++17 c++20' ;;
    *) language=c standards='c99 c11 c17' ;;
    esac
    for standard in $standards; do
        # shellcheck disable=SC2086 # a list
        echo '#include <neumeta.h>' |
            "$compiler" -x $language -std="$standard" $warnings -I"$1" -fsyntax-only -
        found=$((found + 1))
    done
done
echo "compiled $found ways"
[ "$found" -gt 0 ]
