#!/bin/sh
# SPDX-License-Identifier: MIT
# Looks for bugs without running anything: cppcheck over the library and the command, clang-tidy
# with the checks of .clang-tidy over what meets bytes and arguments of strangers.
#
#     tests/lint.sh FOLDER      a build's, for its compile_commands.json
#
# Findings are repaired; those that are none are left out here, each for its reason.
set -eu
folder=$1
cd "$(dirname "$0")/.."

# memleak: after a realloc() that failed, the old block is still in its place.
# legacyUninitvar: read() fills it.
# invalidPointerCast: workspaces hold doubles first and floats behind them.
# unknownMacro: loops of jansson's.
# shellcheck disable=SC2046 # a list of folders
cppcheck --quiet -j 2 --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
    --suppress=memleak:examples/cli/* --suppress=legacyUninitvar:examples/cli/* \
    --suppress=invalidPointerCast:lib/net/* --suppress=unknownMacro:examples/cli/* \
    --template='{file}:{line}: {id}: {message}' -Iinclude $(find lib -type d -printf '-I%p ') \
    lib/base lib/io lib/graph lib/net lib/norm lib/smooth lib/inr lib/train lib/budget lib/api examples/cli

printf '%s\n' lib/base/*.c lib/io/*.c lib/graph/*.c lib/api/*.c lib/inr/*_file.c lib/train/nmi_checkpoint.c |
    xargs -P 2 -n 8 clang-tidy -p "$folder" --quiet 2>/dev/null
