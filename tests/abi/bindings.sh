#!/bin/sh
# SPDX-License-Identifier: MIT
# Generators of bindings take the header as it is, and see every exported function:
#   bindings.sh cffi HEADER LIST WORK SHARED-LIBRARY    Python's cffi, which also calls the library
#   bindings.sh swig HEADER LIST WORK                   SWIG, for Python from C++
# Where the generator is not there, the test is skipped.
set -eu
check=$1
header=$2
list=$3
work=$4
mkdir -p "$work"
skip() {
    echo "SKIP: $1"
    exit 77
}

case $check in
cffi)
    for python in python3 /usr/bin/python3 ''; do
        [ -n "$python" ] || skip "there is no cffi for Python"
        ! "$python" -c 'import cffi' 2>/dev/null || break
    done
    # The declarations of the header itself, without those of what it includes.
    ${CC:-cc} -E '-D__attribute__(x)=' "$header" |
        awk '/^# [0-9]/ { own = index($3, "neumeta.h") > 0; next } own' >"$work/declarations"
    "$python" - "$work/declarations" "$list" "$5" <<'END'
import sys
import cffi

ffi = cffi.FFI()
ffi.cdef(open(sys.argv[1]).read())
library = ffi.dlopen(sys.argv[3])
names = [line.strip() for line in open(sys.argv[2]) if not line.startswith("#")]
for name in names:
    getattr(library, name)
context = ffi.new("neumeta_context **")
assert library.neumeta_context_create(ffi.NULL, ffi.NULL, ffi.NULL, context) == 0
topology = ffi.new("neumeta_topology **")
assert library.neumeta_topology_create_builtin(context[0], b"lenet", ffi.NULL, topology) == 0
assert library.neumeta_topology_axis_count(topology[0]) > 0
library.neumeta_topology_free(topology[0])
library.neumeta_context_free(context[0])
print("cffi", cffi.__version__, "sees", len(names), "functions")
END
    ;;
swig)
    command -v swig >/dev/null || skip "there is no swig"
    cat >"$work/neumeta.i" <<'END'
%module neumeta
%{
#include <neumeta.h>
%}
%include <stdint.i>
%include <neumeta.h>
END
    (cd "$work" && swig -Wall -c++ -python -I"$(dirname "$header")" -o wrap.cxx neumeta.i)
    found=0
    for name in $(grep -v '^#' "$list"); do
        grep -q "_wrap_$name(" "$work/wrap.cxx" || { echo "SWIG does not wrap $name" && exit 1; }
        found=$((found + 1))
    done
    echo "SWIG wraps $found functions"
    ;;
*)
    echo "unknown generator $check"
    exit 2
    ;;
esac
