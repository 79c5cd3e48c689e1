#!/bin/sh
# SPDX-License-Identifier: MIT
# Each command of neumeta once, and some of its failures, built with a sanitiser: for what it says,
# not for results. The trainings of tests/cli/test_cli.sh take minutes there.
#
#     commands.sh path/to/neumeta
set -u
neumeta=$(realpath "$1")
source=$(dirname "$(realpath "$0")")
work=$(mktemp -d "${TMPDIR:-/tmp}/neumeta-commands.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
python3 "$source/cli/make_data.py" . || exit 1
runs=0

# gives CODE ARGUMENT...
gives() {
    code=$1
    shift
    "$neumeta" "$@" >out 2>err
    found=$?
    runs=$((runs + 1))
    if [ $found -ne "$code" ] || grep -qE 'Sanitizer|runtime error' out err; then
        echo "FAILED: neumeta $*: exit code $found, not $code"
        cat out err
        exit 1
    fi
}

tiny="--data idx --topology lenet --channels 4 --held-out 40 --seed 7"
short="--epochs 0.2 --batch 20"
cat >phases.json <<'END'
{"phases": [{"name": "only", "blocks": [0, -1], "epochs": 0.2, "batch": 20, "inr_init": "fitted",
             "fit_steps": 2, "validate_epochs": 0.1}]}
END
# shellcheck disable=SC2086 # several variables hold more than one option
{
    gives 0 --help
    gives 2 fly
    gives 0 fetch mnist --from idx --to fetched --json
    gives 1 fetch cifar10 --from png --to cifar
    gives 0 train $tiny $short --validate-epochs 0.1 --output n.safetensors --json
    gives 0 train $tiny $short --hours 1e-7 --output late.safetensors
    gives 0 train $tiny $short --output late.safetensors --resume
    gives 2 train $tiny --epochs many --output x.safetensors
    gives 0 evaluate n.safetensors $tiny --split test --results rows.jsonl
    gives 1 evaluate n.safetensors --data idx --topology resnet20-cifar
    gives 2 evaluate n.safetensors $tiny --gamma 0.5
    gives 0 inspect n.safetensors --topology lenet --channels 4 --input-channels 1 --tensors
    head -c 2000 n.safetensors >cut.safetensors
    gives 1 evaluate cut.safetensors $tiny
    gives 0 smooth n.safetensors --topology lenet --channels 4 --replace-norm fold \
        --output s.safetensors --json
    gives 0 train --manifold $tiny --reference n.safetensors --replace-norm fold --smooth \
        --inr-hidden 8 --inr-layers 2 --inr-octaves 3 --recipe phases.json --output m.safetensors
    sed 's/-1/"conv9"/' phases.json >other.json
    gives 2 train --manifold $tiny --reference n.safetensors --replace-norm fold \
        --recipe other.json --output x.safetensors
    gives 0 inspect m.safetensors --json
    gives 0 evaluate m.safetensors --data idx --gamma 0,0.5 --size 'conv*.width=3' \
        --results range.jsonl
    gives 2 evaluate m.safetensors --data idx --size height=3
    gives 0 materialize m.safetensors --gamma 0.5 --output half.safetensors
    gives 1 materialize n.safetensors --output x.safetensors
    gives 0 plot range.jsonl rows.jsonl --output plot.svg
    gives 1 plot phases.json --output p.svg
}
echo "commands: $runs runs, none with a word of a sanitiser"
