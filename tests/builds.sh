# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# Sourced by tests/run.sh and tests/emulators.sh: builds in build-tests/, the tests of a build, and what
# failed. The script sets `root` and `parts`.
# shellcheck disable=SC2154
builds=$root/build-tests
failures=
export CK_VERBOSITY=normal

started=$(date +%s)
say() { echo "[$(($(date +%s) - started)) s] $*"; }
wanted() { case " $parts " in *" $1 "*) ;; *) return 1 ;; esac; }
fail() {
    say "FAILED: $*"
    failures="$failures '$*'"
}

# configure NAME C-COMPILER C++-COMPILER OPTION...: only when the options are new.
configure() {
    name=$1
    settings="$*"
    folder=$builds/$name
    log=$builds/$name.log
    mkdir -p "$builds"
    rm -f "$folder/meson-logs/testlog.txt" # what is printed at the end is of this run
    if [ "$(cat "$folder/settings" 2>/dev/null)" != "$settings" ]; then
        say "$name: configuring"
        rm -rf "$folder"
        if ! CC=$2 CXX=$3 sh -c 'shift 3; exec meson setup "$@"' sh "$@" \
            -Dwerror=true -Dtests=enabled -Db_ndebug=false "$folder" >"$log" 2>&1; then
            cat "$log"
            fail "$name: configuration"
            return 1
        fi
        echo "$settings" >"$folder/settings"
    fi
}

# build, with the same arguments: all but what only some tests need.
build() {
    configure "$@" || return 1
    say "$name: building"
    if ! ninja --quiet -C "$folder" >"$log" 2>&1; then
        cat "$log"
        fail "$name: build"
        return 1
    fi
}

# Names of the tests that have just failed in a build.
failed_tests() {
    # shellcheck disable=SC2012 # meson chose the names
    last=$(ls -t "$builds/$1"/meson-logs/testlog*.json 2>/dev/null | head -n 1)
    [ -z "$last" ] || sed -nE '/"result": "(FAIL|TIMEOUT|ERROR|INTERRUPT)"/s/.*"name": "([^"]*)".*/\1/p' "$last" | tr '\n' ' '
}

# check NAME COMMAND-PREFIX OPTION...: builds what tests need, and runs them. They have long on a busy machine;
# Check ends each single one that hangs.
check() {
    name=$1
    prefix=$2
    shift 2
    say "$name: testing${prefix:+ ($prefix)}"
    # shellcheck disable=SC2086 # a prefix may be empty or several words
    $prefix meson test -C "$builds/$name" --print-errorlogs --timeout-multiplier 10 "$@" ||
        fail "$name${prefix:+, $prefix}: $(failed_tests "$name")"
}

# Says how it all ended; the script ends with the same answer.
conclude() {
    if [ -n "$failures" ]; then
        say "FAILED:$failures"
    else
        say "all passed: $parts"
    fi
}
