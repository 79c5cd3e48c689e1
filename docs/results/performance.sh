#!/bin/sh
# SPDX-License-Identifier: MIT
# Measures the speed of the library on this machine and against PyTorch and ONNX Runtime, and writes
# performance.md with its data and plots into this folder. Takes about ten minutes; the machine
# should have nothing else to do.
#
#     docs/results/performance.sh BUILD [--quick] [OPTION...]
#
# BUILD: an optimised build folder with the command and the tests. --quick: a short try whose pages
# go to build-peers/quick instead. Options are those of tests/bench/peers.sh: --install, --resnet20
# FILE, --resnet56 FILE. Variable REMARK: a sentence about the machine, for the page.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
[ $# -gt 0 ] || {
    sed -n '3,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
build=$(cd "$1" && pwd)
shift
commit=$(git -C "$source" describe --always --dirty 2>/dev/null || echo unknown) # before results come into the tree
peers=${PEERS:-$source/build-peers}
data=$peers/performance
target=$here
most=$(getconf _NPROCESSORS_ONLN)
seconds=0.4 repetitions=9 peer_seconds=3 batch=128 samples=100
inrs=256x5x16,512x8x32 widths=4,8,16,24,32,40,48,56,64
hidden='32 64 96 128 192 256 384 512 768' batches=1,2,3,4,6,8,12,16,24,32,48,64,96,128
if [ "${1:-}" = --quick ]; then
    shift
    target=$peers/quick
    seconds=0.02 repetitions=3 peer_seconds=0.2 batch=4 samples=2
    inrs=32x3x8,48x3x8 widths=4,8 hidden='16 32' batches=1,2
    set -- "$@" --topologies resnet20-cifar --kinds run
    most=1
fi
install=
if [ "${1:-}" = --install ]; then
    shift
    install=--install
fi
mkdir -p "$data" "$target"
rm -f "$data"/*
ninja --quiet -C "$build" examples/neumeta >&2
neumeta=$build/examples/neumeta
counts=1
[ "$most" -eq 1 ] || counts=1,$most

# bench NAME OPTION...: rows of the command, which are told apart by the name of their file.
bench()
{
    name=$1
    shift
    echo "$name" >&2
    "$neumeta" bench --repetitions "$repetitions" --seconds "$seconds" \
        --results "$data/$name.jsonl" "$@" >&2
}
# plot NAME FILE OPTION...
plot()
{
    svg=$target/performance-$1.svg
    shift
    "$neumeta" plot --output "$svg" "$@"
}

bench whole-1 --threads 1 --samples 1,$samples --inr "$inrs" --batch 1,$batch
[ "$most" -eq 1 ] || bench "whole-$most" --threads "$most" --samples 1 --batch 1,$batch
# A line of a plot takes one point for each place: those below are of floats alone.
bench rows --threads 1 --parts materialize --precision fp32 --samples 1 --inr "$inrs" \
    --widths "$widths"
bench inr --threads 1 --parts materialize --precision fp32 --samples 1 --widths 64 \
    --inr "$(for width in $hidden; do printf '%sx5x16,' "$width"; done | sed 's/,$//')"
bench batch --threads 1 --parts run --batch "$batches"
for threads in $(seq "$most"); do
    bench "threads-$threads" --threads "$threads" --parts materialize,train,step,run \
        --precision fp32 --topology resnet20-cifar --samples 1 --widths 64 \
        --inr "${inrs%%,*}" --batch "$batch"
done

plot rows "$data/rows.jsonl" --x rows --y median_ms --series hidden \
    --title 'materialising a block of ResNet-20, one thread' --x-title 'rows' \
    --y-title 'ms, by hidden width of the INRs'
plot inr "$data/inr.jsonl" --x hidden --y gflops --series layers --x-title 'hidden width' \
    --title 'materialising 8,320 rows by INRs of 5 layers, one thread' --y-title 'GFLOP/s'
plot batch "$data/batch.jsonl" --x batch --y images_per_second --series topology --log \
    --title 'inference, one thread' --x-title 'batch' --y-title 'images/s'
# Training with batch norm is left out: a line takes one point for each number of threads.
grep -hE '"part":"materialize"|"norm":"fold"' "$data"/threads-*.jsonl >"$data/threads.jsonl"
plot threads "$data/threads.jsonl" --x threads --y gflops --series part \
    --title 'ResNet-20, norm folded, on several threads' --x-title 'threads' --y-title 'GFLOP/s'

# shellcheck disable=SC2086 # empty or one option
"$source/tests/bench/peers.sh" "$build" $install --threads "$counts" --batch "$batch" \
    --seconds "$peer_seconds" --results "$data/peers.jsonl" --markdown "$data/peers.md" "$@" >&2

cat "$data"/whole-*.jsonl >"$target/performance.jsonl"
cp "$data/peers.jsonl" "$target/performance-peers.jsonl"
"${PYTHON:-python3}" "$here/performance.py" "$target" "$data/peers.md" "$commit" "${REMARK:-}" \
    >"$target/performance.md"
echo "written: $target/performance.md"
