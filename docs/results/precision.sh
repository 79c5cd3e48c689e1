#!/bin/sh
# SPDX-License-Identifier: MIT
# One epoch of ResNet-20 with batch norm on CIFAR-10 from scratch, in floats and in bf16: the losses on
# the way as JSON lines and as a plot, in WORK. The seed is the same, so are images and their order.
#
#     docs/results/precision.sh NEUMETA DATA WORK SEED
#
# NEUMETA: the built command; DATA: a folder made by `neumeta fetch cifar10`.
set -eu
neumeta=$1 data=$2 work=$3 seed=$4
mkdir -p "$work"
rows=$work/precision.jsonl
: >"$rows"
for precision in fp32 bf16; do
    "$neumeta" train --data "$data" --topology resnet20-cifar --held-out 5000 \
        --data-mean 0.485,0.456,0.406 --data-std 0.229,0.224,0.225 --augment-shift 4 --augment-flip \
        --epochs 1 --batch 128 --optimizer sgd --learning-rate 0.1 --weight-decay 1e-4 \
        --precision "$precision" --threads 1 --seed "$seed" \
        --output "$work/$precision.safetensors" 2>"$work/$precision.log"
    # The loss is the mean of the epoch so far.
    sed -n "s|\"training\":\"[^\"]*\"|\"precision\":\"$precision\"|p" "$work/$precision.log" >>"$rows"
done
"$neumeta" plot "$rows" --x epoch --y loss --series precision --x-title epoch \
    --y-title 'loss, mean since the beginning' --output "$work/precision.svg" \
    --title 'ResNet-20, CIFAR-10, from scratch: products in floats and in bf16'
