#!/bin/sh
# SPDX-License-Identifier: MIT
# One file that yields networks of sizes it never saw: trains a reference network and its manifold
# on Fashion-MNIST and prints what subnets of many sizes are worth. Installs the packages that
# are missing, builds in build-demo/, and leaves its results in build-demo/results/. A second run
# repeats nothing that is done, an interrupted one goes on; remove the folder to start anew.
set -eu
cd "$(dirname "$0")/.."
build=build-demo
results=$build/results
started=$(date +%s)
say() { echo "[$(($(date +%s) - started)) s] $*"; }

. examples/packages.sh
need_packages gcc libc6-dev meson ninja-build pkg-config libblis-serial-dev libjansson-dev \
    libpng-dev zlib1g-dev dataset-fashion-mnist

say "Building"
mkdir -p "$results"
[ -f $build/build.ninja ] || meson setup $build --default-library=static -Dtests=disabled \
    -Dexamples=disabled -Dcli=enabled >$build/setup.log 2>&1 || { cat $build/setup.log; exit 1; }
ninja -C $build examples/neumeta >$build/build.log || { cat $build/build.log; exit 1; }
neumeta() { $build/examples/neumeta "$@"; }

# 55,000 images to train, 5,000 held out to select, 10,000 to test.
data=$results/fashion-mnist
neumeta fetch fashion-mnist --to $data --quiet >/dev/null
network="--data $data --topology lenet --channels 16"

say "Training the reference network, with batch norm"
# shellcheck disable=SC2086 # several options
neumeta train $network --held-out 5000 --settings examples/demo-reference.json --resume \
    --output $results/reference.safetensors

say "Training its manifold, block by block: batch norm folded, channels smoothed"
# shellcheck disable=SC2086
neumeta train $network --held-out 5000 --settings examples/demo-manifold.json --resume \
    --reference $results/reference.safetensors --output $results/manifold.safetensors

say "Test accuracy of the reference"
# shellcheck disable=SC2086
neumeta evaluate $network $results/reference.safetensors

say "Test accuracy of networks made of the manifold; widths were trained down to gamma 0.75"
[ -s $results/table.txt ] || {
    neumeta evaluate --data $data $results/manifold.safetensors \
        --gamma 0,0.125,0.25,0.375,0.5,0.625,0.75,0.8125,0.875 \
        --sizes 16,8,64 --sizes 5,27,64 --sizes 11,13,64 --sizes 4,32,64 \
        --results $results/table.jsonl >$results/table.part
    mv $results/table.part $results/table.txt
}
cat $results/table.txt

grep '"gamma"' $results/table.jsonl >$results/uniform.jsonl
grep -v '"gamma"' $results/table.jsonl >$results/non-uniform.jsonl
neumeta plot $results/uniform.jsonl $results/non-uniform.jsonl --points non-uniform --log \
    --title "Fashion-MNIST: one manifold, many networks" --output $results/accuracy.svg
[ -f $results/half.safetensors ] || {
    neumeta materialize $results/manifold.safetensors --gamma 0.5 \
        --output $results/half.safetensors >/dev/null
}
say "Done. In $results/: manifold.safetensors, half.safetensors (a subnet), accuracy.svg"
