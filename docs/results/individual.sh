#!/bin/sh
# SPDX-License-Identifier: MIT
# The yardstick of full-network manifolds: one network of its own for each size, trained from scratch with batch norm
# kept on all 50,000 images of CIFAR-10. Reads the test set once for each finished network. Leaves networks and results
# (JSON lines) in WORK. Interrupted, it goes on from its checkpoints; finished networks are not trained again.
#
#     docs/results/individual.sh NEUMETA DATA WORK TOPOLOGY EPOCHS SEED GAMMA...
#
# NEUMETA: the built command; DATA: a folder made by `neumeta fetch cifar10`; TOPOLOGY: resnet20-cifar or another;
# GAMMA: the share of every inner width left out. PRECISION=bf16 in the environment trains with products in bf16;
# THREADS is the number of threads.
set -eu
neumeta=$1 data=$2 work=$3 topology=$4 epochs=$5 seed=$6
shift 6
mkdir -p "$work"
images='--data-mean 0.485,0.456,0.406 --data-std 0.229,0.224,0.225'
for gamma; do
    name=$work/$topology-gamma$gamma-seed$seed
    # shellcheck disable=SC2086 # a list of words
    "$neumeta" train --data "$data" --topology "$topology" $images --gamma "$gamma" --epochs "$epochs" --batch 128 \
        --optimizer sgd --learning-rate 0.1 --weight-decay 5e-4 --rate cosine --warmup-epochs 1 \
        --augment-shift 4 --augment-flip --precision "${PRECISION:-fp32}" --threads "${THREADS:-0}" \
        --seed "$seed" --resume --output "$name.safetensors"
    [ -s "$name.jsonl" ] || # shellcheck disable=SC2086
        "$neumeta" evaluate "$name.safetensors" --data "$data" --topology "$topology" $images --split test \
            --results "$name.jsonl"
done
