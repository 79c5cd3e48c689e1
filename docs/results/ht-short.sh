#!/bin/sh
# SPDX-License-Identifier: MIT
# The block-wise recipe of arXiv 2505.05510 on all nine blocks of ResNet-20, short: small INRs, less than an
# epoch a block instead of 50, and so higher rates for the residual scalars, which start at 0, and for the
# directly trained classifier. It is stopped and resumed from its checkpoint, as a long run would be.
#
#     docs/results/ht-short.sh NEUMETA DATA REFERENCE WORK EPOCHS SEED
#
# Arguments as in nm-last.sh; EPOCHS are those of each block. The network is tested on the test set.
set -eu
neumeta=$1 data=$2 reference=$3 work=$4 epochs=$5 seed=$6
mkdir -p "$work"
name=$work/ht-seed$seed
images='--data-mean 0.485,0.456,0.406 --data-std 0.229,0.224,0.225'

train() {
    # shellcheck disable=SC2086 # a list of words
    "$neumeta" train --manifold --data "$data" --topology resnet20-cifar $images \
        --reference "$reference" --replace-norm skip-init --smooth \
        --recipe ht --morph-blocks 1,2,3,4,5,6,7,8,9 \
        --inr-hidden 64 --inr-layers 3 --inr-octaves 16 --inr-function elu --noise-clamp 0.49 \
        --inr-encoding integrated --epochs "$epochs" --warmup-epochs 0.1 \
        --residual-rate 1e-2 --direct-rate 1e-3 \
        --augment-shift 4 --augment-flip --seed "$seed" --resume --output "$name.safetensors" "$@"
}

train --hours 0.01 || true # stops within an early phase and leaves a checkpoint
train
# shellcheck disable=SC2086
"$neumeta" evaluate "$name.safetensors" --data "$data" $images --gamma 0,0.1,0.25,0.4,0.5,0.6,0.75 \
    --results "$name.jsonl"
