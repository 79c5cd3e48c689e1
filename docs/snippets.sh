#!/bin/sh
# SPDX-License-Identifier: MIT
# snippets.sh GUIDE README: runs the programs made of the pages' snippets (see snippets.awk) in a
# folder of their own. The README's takes the manifold that the guide's leaves.
set -eu
guide=$(realpath "$1")
readme=$(realpath "$2")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$guide"
"$readme" manifold.safetensors
if "$readme" missing.safetensors; then
    echo "a missing file went unnoticed"
    exit 1
fi
