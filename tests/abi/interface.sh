#!/bin/sh
# SPDX-License-Identifier: MIT
# The released interface, types included, as libabigail (Debian's abigail-tools) sees it:
#   interface.sh dump SHARED-LIBRARY HEADERS             prints it, for the file of a release in abi/
#   interface.sh check SHARED-LIBRARY HEADERS FOLDER     the library still offers all of the newest file
#                                                        that FOLDER has for this processor
# The library must have been built with -Ddebug=true. Without the tool or a file the check is skipped.
set -eu
skip() {
    echo "SKIP: $1"
    exit 77
}
case $1 in
dump)
    # The licence's line may not come first: the tool knows its files by that one.
    abidw --exported-interfaces-only --headers-dir "$3" --drop-private-types --no-corpus-path \
        --no-show-locs --no-comp-dir-path --no-parameter-names --type-id-style hash "$2" |
        sed '1a\  <!-- SPDX-License-Identifier: MIT -->'
    ;;
check)
    command -v abidiff >/dev/null || skip "there is no abidiff"
    released=$(find "$4" -name "neumeta-*-$(uname -m).abi" | sort -V | tail -n 1)
    [ -n "$released" ] || skip "no interface was released for $(uname -m)"
    abidiff --no-added-syms --headers-dir2 "$3" --drop-private-types "$released" "$2"
    echo "all of $(basename "$released" .abi) is there: $(grep -c '<function-decl' "$released") functions"
    ;;
*)
    echo "unknown action $1"
    exit 2
    ;;
esac
