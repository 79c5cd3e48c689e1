#!/bin/sh
# SPDX-License-Identifier: MIT
# The NM-last protocol on ResNet-20 and CIFAR-10: only the last block's inner width h morphs, 32 to 64
# in training, 8 to 64 in the test. Leaves manifold, results (JSON lines) and plot in WORK.
#
#     docs/results/nm-last.sh NEUMETA DATA REFERENCE WORK ENCODING EPOCHS SEED [tune]
#
# NEUMETA: the built command; DATA: a folder made by `neumeta fetch cifar10`; REFERENCE: the pretrained
# resnet20_cifar10.safetensors; ENCODING: plain or integrated. With "tune", trains on the first 45,000
# images and tests on the last 5,000 training images; otherwise trains on all 50,000 and reads the
# test set once. Interrupted, it goes on from its checkpoint. PRECISION=bf16 in the environment trains with
# products in bf16.
set -eu
neumeta=$1 data=$2 reference=$3 work=$4 encoding=$5 epochs=$6 seed=$7 mode=${8:-final}
mkdir -p "$work"
name=$work/$encoding-seed$seed-$mode
images='--topology resnet20-cifar --data-mean 0.485,0.456,0.406 --data-std 0.229,0.224,0.225'
held_out='' split=test
if [ "$mode" = tune ]; then
    held_out='--held-out 5000' split=held-out
fi

# shellcheck disable=SC2086 # lists of words
"$neumeta" train --manifold --data "$data" $images $held_out --reference "$reference" \
    --replace-norm fold --smooth --recipe nm --morph-blocks 9 \
    --inr-hidden 256 --inr-layers 5 --inr-octaves 16 --inr-extent-octaves 0 \
    --inr-encoding "$encoding" \
    --inr-init fitted --fit-steps 3000 --fit-rate 2e-3 \
    --epochs "$epochs" --batch 128 --rate cosine --learning-rate 5e-4 --warmup-epochs 1 \
    --augment-shift 4 --augment-flip --precision "${PRECISION:-fp32}" --seed "$seed" --resume --output "$name.safetensors"

samples=100
[ "$encoding" = plain ] || samples=1
# shellcheck disable=SC2086
"$neumeta" evaluate "$name.safetensors" --data "$data" --data-mean 0.485,0.456,0.406 \
    --data-std 0.229,0.224,0.225 $held_out --split "$split" --samples "$samples" \
    --size layer3.2.inner=8..64 --results "$name.jsonl"
"$neumeta" plot "$name.jsonl" --x sizes.layer3.2.inner --x-title 'inner width h of the last block' \
    --title "NM-last, ResNet-20, CIFAR-10, $encoding encoding" --output "$name.svg"
