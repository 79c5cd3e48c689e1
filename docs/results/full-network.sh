#!/bin/sh
# SPDX-License-Identifier: MIT
# One manifold of grids over all inner widths of a residual network on CIFAR-10, batch norm kept as functions
# of the sizes, taught by a larger network. Leaves manifold and results (JSON lines) in WORK.
#
#     docs/results/full-network.sh NEUMETA DATA WORK TOPOLOGY REFERENCE TEACHER TEACHER-TOPOLOGY SEED [tune]
#
# NEUMETA: the built command; DATA: a folder made by `neumeta fetch cifar10`; REFERENCE and TEACHER: pretrained
# networks. With "tune", trains on the first 45,000 images and tests on the last 5,000 training images;
# otherwise trains on all 50,000 and reads the test set once. RECIPE names another file of phases;
# PRECISION=bf16 trains with products in bf16; THREADS is the number of threads. DEPTHS=3 says that the recipe
# trains depths, too, down to three blocks a stage: they are tested as well. CALIBRATE_SIZES and CALIBRATE_ITEMS are
# those of the statistics. START names a manifold to go on from, in place of REFERENCE; STORAGE is the file's type of
# numbers. STREAMS=0.5 says that the recipe trains streams, too, down to this share: they are tested as well, and the
# random sizes have random streams. Interrupted, it goes on from its checkpoint.
set -eu
neumeta=$1 data=$2 work=$3 topology=$4 reference=$5 teacher=$6 teacher_topology=$7 seed=$8 mode=${9:-final}
here=$(dirname "$0")
mkdir -p "$work"
name=$work/$topology-seed$seed-$mode
images='--data-mean 0.485,0.456,0.406 --data-std 0.229,0.224,0.225'
held_out='' split=test
if [ "$mode" = tune ]; then
    held_out='--held-out 5000' split=held-out
fi

if [ -n "${START:-}" ]; then
    set -- --start "$START"
else
    set -- --topology "$topology" --reference "$reference" --smooth --smooth-solver importance --inr-kind grid
fi
# shellcheck disable=SC2086 # lists of words
"$neumeta" train --manifold --data "$data" $images $held_out "$@" --teacher "$teacher" \
    --teacher-topology "$teacher_topology" --recipe "${RECIPE:-$here/full-network.json}" \
    --augment-shift 4 --augment-flip --calibrate-sizes "${CALIBRATE_SIZES:-512}" \
    --calibrate-items "${CALIBRATE_ITEMS:-1024}" --precision "${PRECISION:-fp32}" --threads "${THREADS:-0}" \
    --seed "$seed" --resume --storage "${STORAGE:-f32}" --output "$name.safetensors"

# Every compression by 64ths past the trained range's end, and 100 random sizes within it.
case $topology in
    resnet20-cifar) depth=3 ;;
    resnet32-cifar) depth=5 ;;
    resnet44-cifar) depth=7 ;;
    resnet56-cifar) depth=9 ;;
esac
gammas=$(awk 'BEGIN { for (n = 0; n <= 58; n++) printf "%s%g", n ? "," : "", n / 64; print ",0.85" }')
sizes=$(awk -v depth="$depth" -v streams="${STREAMS:-1}" '
function draw(least, most) { state = state * 16807 % 2147483647; return least + state % (most - least + 1) }
BEGIN {
    state = 1 # a generator of our own: rand() differs from one awk to another
    for (n = 0; n < 100; n++) {
        printf "%s--sizes ", n ? " " : ""
        for (width = 16; width <= 64; width *= 2) {
            printf "%s%d,%d", (width > 16) ? "," : "", streams < 1 ? draw(int(streams * width + 0.5), width) : width, depth
            for (block = 0; block < depth; block++)
                printf ",%d", draw(int(0.15 * width + 0.5), width)
        }
    }
}')
# shellcheck disable=SC2086
[ -s "$name.jsonl" ] || "$neumeta" evaluate "$name.safetensors" --data "$data" $images $held_out --split "$split" \
    --gamma "$gammas" $sizes --threads "${THREADS:-0}" --results "$name.jsonl"

# Depths below the full one, the same in each stage, at four compressions.
for blocks in $([ -z "${DEPTHS:-}" ] || seq "$DEPTHS" "$((depth - 1))"); do
    # shellcheck disable=SC2086
    [ -s "$name-depth$blocks.jsonl" ] || "$neumeta" evaluate "$name.safetensors" --data "$data" $images $held_out \
        --split "$split" --gamma 0,0.25,0.5,0.75 --size "layer*.depth=$blocks" --threads "${THREADS:-0}" \
        --results "$name-depth$blocks.jsonl"
done

# Streams, the same share in each stage, from full to the narrowest in four steps, at five compressions.
for step in $([ -z "${STREAMS:-}" ] || seq 1 4); do
    share=$(awk -v least="$STREAMS" -v step="$step" 'BEGIN { printf "%g", 1 - (1 - least) * step / 4 }')
    widths=$(awk -v share="$share" 'BEGIN { for (stage = 1; stage <= 3; stage++)
        printf " --size layer%d.stream=%d", stage, int(8 * 2 ^ stage * share + 0.5) }')
    # shellcheck disable=SC2086
    [ -s "$name-stream$share.jsonl" ] || "$neumeta" evaluate "$name.safetensors" --data "$data" $images $held_out \
        --split "$split" --gamma 0,0.25,0.5,0.75,0.85 $widths --threads "${THREADS:-0}" --results "$name-stream$share.jsonl"
done
