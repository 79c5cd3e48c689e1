#!/bin/sh
# SPDX-License-Identifier: MIT
# Checks what the linker will see of the library:
#   symbols.sh exports SHARED-LIBRARY LIST   exported names are those of the list, in both directions
#   symbols.sh names ARCHIVE                 every global name begins with nmi_ or neumeta_
#   symbols.sh banned ARCHIVE                nothing ends the process, prints, or reads its settings
#   symbols.sh state ARCHIVE                 no variable can change: no .data, no .bss
#   symbols.sh levels ARCHIVE                only the kernels of a level have its instructions, and of
#                                            their objects nothing is seen but the table
set -eu
export LC_ALL=C
check=$1
file=$2

# Of the tools at the heads of pipes below, failures would be lost.
for tool in nm 'size -A' 'objdump -f'; do
    # shellcheck disable=SC2086 # a tool and its option
    $tool "$file" >/dev/null
done

case $check in
exports)
    nm -D --defined-only "$file" | awk '$2 != "A" { sub(/@.*/, "", $NF); print $NF }' | sort >exports.found
    grep -v '^#' "$3" | sort >exports.listed
    if ! diff exports.listed exports.found; then
        echo "'<' is listed in $3 only, '>' is exported only"
        exit 1
    fi
    ;;
names)
    wrong=$(nm -g --defined-only "$file" | awk 'NF == 3 && $3 !~ /^(nmi|neumeta)_/ { print $3 }')
    ;;
banned)
    wrong=$(nm -u "$file" | awk '$1 == "U" { sub(/@.*/, "", $2); print $2 }' | sort -u | grep -xE \
        -e '(__)?(printf|fprintf|vprintf|vfprintf|dprintf|vdprintf)(_chk)?' \
        -e 'puts|putchar|putc|fputs|fputc|perror|stdout|stderr|__assert_fail|psignal' \
        -e 'abort|exit|_exit|_Exit|quick_exit|atexit|on_exit|err|errx|verr|verrx|warn|warnx' \
        -e '(__)?(secure_)?getenv|setenv|putenv|rand|rand_r|srand|random|srandom|drand48' \
        -e 'setlocale|signal|sigaction|raise|kill|system|popen' || true)
    ;;
state)
    wrong=$(size -A "$file" | awk '
        / :$|ex / { object = $1 }
        ($1 ~ /^\.(data|bss|tdata|tbss)/ && $1 !~ /^\.data\.rel\.ro/ && $2 > 0) { print object, $1, $2 }')
    ;;
levels)
    # Else the linker could take a common function from there, for all processors.
    wrong=$(nm -g --defined-only "$file" | awk '
        / :$|:$/ { object = $1 }
        NF == 3 && object ~ /nmi_rows_(base|neon|avx|amx)/ && $3 !~ /^nmi_kernels_[a-z0-9]+$/ { print object, $3 }')
    [ -n "$wrong" ] ||
        # AVX alone has these registers, and a v before the names of instructions on the old ones.
        wrong=$(objdump -d --no-show-raw-insn "$file" | awk -F '\t' '
        /file format/ { object = $0; sub(/:.*/, "", object) }
        object !~ /nmi_rows_(avx|amx)/ && ($2 ~ /%([yz]|t)mm/ || $2 ~ /^v[a-z0-9]+ .*%xmm/) && !seen[object]++ {
            print object, $2
        }')
    ;;
*)
    echo "unknown check $check"
    exit 2
    ;;
esac
if [ -n "${wrong-}" ]; then
    echo "$check: not allowed in $file:"
    echo "$wrong"
    exit 1
fi
