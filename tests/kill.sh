#!/bin/sh
# SPDX-License-Identifier: MIT
# Kills a training that writes a checkpoint after every step, at random times, again and again. Each
# time a checkpoint must be there that is no older than the one seen before, the next run must go on
# from it, and what comes out in the end must equal the result of a training that nobody disturbed.
#
#     kill.sh path/to/neumeta [ROUNDS [SEED]]      20 rounds unless told
set -u
neumeta=$(realpath "$1")
rounds=${2:-20}
seed=${3:-1}
source=$(dirname "$(realpath "$0")")
work=$(mktemp -d "${TMPDIR:-/tmp}/neumeta-kill.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
python3 "$source/cli/make_data.py" . || exit 1

lost() {
    echo "FAILED: round $round: $*"
    cat err
    exit 1
}

tiny="--data idx --topology lenet --channels 4 --held-out 40 --seed 7 --quiet"
# A training of 100 steps.
# shellcheck disable=SC2086 # several options, here and below
train() {
    "$@" train --manifold $tiny --reference reference.safetensors --replace-norm fold --inr-hidden 8 \
        --inr-layers 2 --inr-octaves 2 --epochs 10 --batch 20 --ema 0.9 --checkpoint-seconds 0 \
        --resume --output "$output" >out 2>err
}

# steps FILE: optimiser steps in that checkpoint, the fourth number of its tensor 'position'.
steps() {
    header=$(od -An -t d8 -N 8 "$1" | tr -d ' ')
    offset=$(head -c $((8 + header)) "$1" | tail -c +9 | tr '{' '\n' |
        grep -A 1 '"position":$' | sed -n 's/.*"data_offsets":\[\([0-9]*\),.*/\1/p')
    [ -n "$offset" ] || lost "$1 has no position"
    od -An -t d8 -j $((8 + header + offset + 24)) -N 8 "$1" | tr -d ' '
}

round=0
output=whole.safetensors
# shellcheck disable=SC2086
"$neumeta" train $tiny --epochs 0.2 --batch 20 --output reference.safetensors >out 2>err ||
    lost "no reference"
before=$(date +%s%N)
train "$neumeta" || lost "no training"
longest=$((($(date +%s%N) - before) / 4000000)) # milliseconds: a quarter of an undisturbed training

output=pieces.safetensors
checkpoint=$output.checkpoint
killed=0 writing=0 ended=0 seen=0
for pause in $(awk -v seed="$seed" -v rounds="$rounds" -v longest=$longest \
    'BEGIN { srand(seed); for (i = 0; i < rounds; i++) printf "%.3f\n", rand() * longest / 1000 }'); do
    round=$((round + 1))
    train timeout -s KILL "$pause" "$neumeta"
    code=$?
    case $code in
    0)
        cmp whole.safetensors $output || lost "the result is another one"
        rm $output
        ended=$((ended + 1)) seen=0
        continue
        ;;
    137) killed=$((killed + 1)) ;;
    *) lost "exit code $code" ;;
    esac
    left=$(find . -name '.neumeta-*.tmp' -print -delete | wc -l)
    [ "$left" -eq 0 ] || writing=$((writing + 1))
    [ -e $output ] && [ ! -e $checkpoint ] && continue # killed after the end
    [ -e $checkpoint ] || { [ "$seen" -eq 0 ] && continue; } || lost "no checkpoint"
    now=$(steps $checkpoint)
    [ "$now" -ge "$seen" ] || lost "the checkpoint has $now steps, after $seen"
    seen=$now
done
[ "$round" -eq "$rounds" ] || lost "only so many rounds"
train "$neumeta" || lost "the last training did not end"
cmp whole.safetensors $output || lost "the last result is another one"
[ "$killed" -gt 0 ] || lost "nothing was ever killed"
echo "kill: $round rounds, $killed killed, $writing of them while writing a file;" \
    "$((ended + 1)) trainings ended as undisturbed, none lost"
