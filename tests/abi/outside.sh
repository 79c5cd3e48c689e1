#!/bin/sh
# SPDX-License-Identifier: MIT
# outside.sh SOURCE BUILD WORK: uses the library of a finished build the way others do. Installs it
# below WORK, then builds and runs one program in C and in C++ through pkg-config, shared and
# static, and once more with the library as a Meson subproject.
set -eu
source=$1
build=$2
work=$3
program=$source/tests/abi/consumer.c
prefix=$work/prefix

mkdir -p "$work"
rm -rf "$work/stage" "$prefix" "$work/project"
DESTDIR=$work/stage meson install -C "$build" --no-rebuild --quiet
# The .pc file names the prefix of the build: it is told where the files really are.
installed=$(find "$work/stage" -name neumeta.pc)
[ -n "$installed" ]
mv "$work/stage$(sed -n 's/^prefix=//p' "$installed")" "$prefix"
installed=$(find "$prefix" -name neumeta.pc)
libraries=$(dirname "$(dirname "$installed")")
config() { PKG_CONFIG_PATH=$(dirname "$installed") pkg-config --define-variable=prefix="$prefix" "$@" neumeta; }

for language in c c++; do
    case $language in
    c) compiler=${CC:-cc} standard=c99 ;;
    c++) compiler=${CXX:-c++} standard=c++11 ;;
    esac
    # shellcheck disable=SC2046 # lists of flags
    $compiler -x $language -std="$standard" -Wall -Wextra -Werror $(config --cflags) "$program" \
        -x none -o "$work/shared-$language" $(config --libs)
    LD_LIBRARY_PATH=$libraries "$work/shared-$language"
    # Only the library itself is forced to be the archive; the rest is as the .pc file says.
    # shellcheck disable=SC2046
    $compiler -x $language -std="$standard" $(config --cflags --static) "$program" -x none \
        -o "$work/static-$language" \
        $(config --libs --static | sed 's/-lneumeta/-l:libneumeta.a/')
    "$work/static-$language"
    if ldd "$work/static-$language" | grep -q libneumeta; then
        echo "the static program needs the shared library"
        exit 1
    fi
done
# Everything static: only complete and well ordered Libs.private and Requires.private link.
# shellcheck disable=SC2046
${CC:-cc} $(config --cflags --static) "$program" -o "$work/alone" -static $(config --libs --static)
"$work/alone"

project=$work/project
mkdir -p "$project/subprojects"
ln -s "$source" "$project/subprojects/neumeta"
cp "$program" "$project/consumer.c"
cat >"$project/meson.build" <<'END'
project('outside', 'c', meson_version: '>=1.0')
neumeta = dependency('neumeta', fallback: 'neumeta')
test('consumer', executable('consumer', 'consumer.c', dependencies: neumeta))
END
if [ ! -f "$work/project-build/build.ninja" ]; then
    # Without optimisation: compiled sooner, and by an option that no other build has.
    meson setup "$work/project-build" "$project" --default-library=static --buildtype=debug \
        -Dneumeta:buildtype=debug --force-fallback-for=neumeta >"$work/project.log" 2>&1 || { cat "$work/project.log"; exit 1; }
fi
meson test -C "$work/project-build" --suite outside >"$work/project.log" 2>&1 ||
    { cat "$work/project.log"; exit 1; }
echo "installed and used: C, C++, shared, static, subproject"
