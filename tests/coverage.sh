#!/bin/sh
# SPDX-License-Identifier: MIT
# Prints which share of the library's lines and branches the tests of a build with -Db_coverage=true
# have run, by unit and for the files that lack most.
#
#     tests/coverage.sh FOLDER      the build's
#
# Only sources count: an inline function of a header would count once for each file that has it.
set -eu
folder=$1

find "$folder/lib" -name '*.gcda' -exec gcov --branch-probabilities --no-output {} + 2>/dev/null |
    awk -F "[':% ]+" '
        /^File/ { file = $2; counts = file ~ /lib\/[a-z]+\/.*\.c$/ && !(file in seen) }
        !counts { next }
        /^File/ { seen[file]; sub(/.*lib\//, "", file); unit = file; sub(/\/.*/, "", unit); units[unit] }
        /^Lines executed/ { add("lines", $3, $5) }
        /^Taken at least once/ { add("branches", $5, $7) }
        /^Calls executed|^No calls/ { counts = 0 } # the last of a file: what may follow is about all
        function add(what, percent, count, hit) {
            hit = int(percent * count / 100 + 0.5)
            total[what, unit] += count; total[what, "all"] += count
            done[what, unit] += hit; done[what, "all"] += hit
            missed[what, file] = count - hit
        }
        function share(what, unit) {
            if (total[what, unit] == 0) return "     -"
            return sprintf("%5.1f%%", 100 * done[what, unit] / total[what, unit])
        }
        function line_of(unit) {
            return sprintf("%-8s %s of %5d lines   %s of %5d branches", unit, share("lines", unit),
                total["lines", unit], share("branches", unit), total["branches", unit])
        }
        END {
            for (unit in units) print line_of(unit) | "sort"
            close("sort")
            print line_of("all")
            for (file in seen) {
                sub(/.*lib\//, "", file)
                if (missed["branches", file] > 0)
                    printf "%5d branches and %4d lines not taken: %s\n", missed["branches", file],
                        missed["lines", file], file | "sort -rn | head -20"
            }
        }'
