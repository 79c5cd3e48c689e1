#!/bin/sh
# SPDX-License-Identifier: MIT
# snippets.sh GUIDE README: runs the programs made of the pages' snippets (see snippets.awk) in a folder
# of their own. The README's takes the manifold that the guide's leaves.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$1"
"$2" manifold.safetensors
if "$2" missing.safetensors; then
    echo "a missing file went unnoticed"
    exit 1
fi
