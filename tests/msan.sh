#!/bin/sh
# SPDX-License-Identifier: MIT
# Fuzz targets under clang's memory sanitizer, which sees where a result depends on memory that nobody has
# written: what they find in 20,000 runs or a minute each, from their corpora and a fixed seed.
#
#     tests/msan.sh FOLDER      where to build
set -eu
cd "$(dirname "$0")/.."
folder=$1
if [ ! -f "$folder/build.ninja" ]; then
    mkdir -p "$folder"
    if ! meson setup "$folder" --cross-file tests/cross/msan.ini --buildtype=debugoptimized \
        --default-library=static -Db_sanitize=memory -Db_lundef=false -Db_ndebug=false -Dblis=disabled \
        -Dtests=enabled -Dfuzz=enabled -Dexamples=disabled -Dcli=disabled >"$folder.log"; then
        cat "$folder.log"
        exit 1
    fi
fi
targets=$(ninja -C "$folder" -t targets all | sed -n 's/^\(tests\/fuzz\/fuzz_[a-z]*\): .*/\1/p')
# shellcheck disable=SC2086 # a list
ninja --quiet -C "$folder" $targets
meson test -C "$folder" --no-rebuild --print-errorlogs --suite fuzz
