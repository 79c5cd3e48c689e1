#!/bin/bash
# SPDX-License-Identifier: MIT
# Tests the neumeta command from outside: exit codes, sentences, files, and small trainings that are
# interrupted and resumed.
#
#     test_cli.sh path/to/neumeta
# shellcheck disable=SC2086 # several variables hold more than one option
set -u
neumeta=$(realpath "$1")
source=$(dirname "$(realpath "$0")")
work=$(mktemp -d "${TMPDIR:-/tmp}/neumeta-cli.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
python3 "$source/make_data.py" . || exit 1
python3 "$source/make_strange.py" . || exit 1

checks=0
failures=0
# passes NAME CONDITION...: counts one check.
passes()
{
    local name=$1
    shift
    checks=$((checks + 1))
    "$@" || {
        failures=$((failures + 1))
        echo "FAILED: $name"
        sed 's/^/    /' out err 2>/dev/null | tail -n 12
    }
}
# gives CODE NAME ARGUMENT...: runs the command, whose output is then in out and err.
gives()
{
    local code=$1 name=$2
    shift 2
    "$neumeta" "$@" >out 2>err
    passes "$name: exit code $code" test $? -eq "$code"
}
says() { passes "it says '$1'" grep -qF -- "$1" err; }
prints() { passes "it prints '$1'" grep -qF -- "$1" out; }
one_sentence() { passes "it says one sentence" test "$(wc -l <err)" -eq 1; }
# No control character but the ends of lines, nor one of the two bytes from U+0080 on.
is_harmless()
{
    python3 -c 'import re, sys
sys.exit(re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", open(sys.argv[1], "rb").read()) is not None)' "$1"
}
is_json_lines()
{
    python3 -c 'import json, sys
for line in open(sys.argv[1]):
    json.loads(line, parse_constant=lambda name: sys.exit(1))' "$1"
}
# member FILE LINE NAME: a member of that line's object.
member()
{
    python3 -c 'import json, sys
print(json.loads(open(sys.argv[1]).read().splitlines()[int(sys.argv[2]) - 1])[sys.argv[3]])' "$@"
}

echo "Running suite(s): command"

# --- help and wrong usage ---
gives 0 "help" --help
prints "neumeta COMMAND --help"
gives 0 "version" --version
gives 2 "no command"
gives 2 "unknown command" fly
says "no command 'fly'"
for command in fetch train calibrate search evaluate inspect materialize convert smooth bench plot; do
    gives 0 "help of $command" $command --help
    prints "Examples:"
    gives 2 "unknown option of $command" $command --no-such-option
    says "'--no-such-option' is no option of this command"
done
for words in --help --version "help train" "train --help" "train --help-settings"; do
    "$neumeta" $words >/dev/full 2>err
    passes "$words on a full disk: exit code 1" test $? -eq 1
    says "the output could not be written"
done
gives 0 "list of settings" train --help-settings
prints "--learning-rate N"
prints "lenet has 32"
prints "the share of the inner widths left out"
gives 2 "value missing" train --output
says "--output needs a value"
gives 2 "a long option with one dash" materialize m.safetensors -output x
says "'-o' is no option of this command, but --output is; see neumeta materialize --help"
gives 2 "with its value behind" materialize m.safetensors -gamma=0.5 --output x
says "'-g' is no option of this command, but --gamma is"
gives 2 "unknown letters" inspect -xy
says "'-x' is no option of this command; see"
gives 2 "an unknown letter" inspect m.safetensors -x
says "'-x' is no option of this command; see"
for option in output checkpoint reference start teacher recipe settings; do
    gives 2 "empty --$option" train --data idx --topology lenet "--$option" ""
    says "--$option is empty, must name a file"
    one_sentence
done
gives 2 "empty --data" evaluate n.safetensors --data ""
says "--data is empty, must name a folder"
echo '{"output": ""}' >nowhere.json
gives 2 "empty output of a settings file" train --data idx --topology lenet --settings nowhere.json
says "--output is empty"
gives 2 "output missing" train --data idx
says "--output is missing"
gives 2 "topology missing" train --data idx --output n.safetensors
says "--topology is missing"
gives 2 "unknown topology" train --data idx --output n.safetensors --topology cube
says "--topology is 'cube', must be one of lenet, resnet20-cifar"
one_sentence
gives 2 "setting out of range" train --data idx --topology lenet --output n.safetensors \
    --learning-rate=-0.1
says "LEARNING_RATE is -0.1"
one_sentence
gives 2 "setting without effect" train --data idx --topology lenet --output n.safetensors \
    --optimizer adamw --momentum 0.5
one_sentence
gives 2 "setting of another command" evaluate n.safetensors --data idx --learning-rate 0.1
gives 2 "setting of manifolds" train --data idx --topology lenet --output n.safetensors \
    --inr-hidden 8
says "INR_HIDDEN is for manifolds"
gives 2 "one word too many" train extra --data idx --topology lenet --output n.safetensors
gives 2 "threads that are no number" inspect --topology lenet --threads two
says "--threads is 'two'"

# --- settings files ---
echo '{"topology": "lenet", ' >broken.json
gives 1 "broken settings file" inspect --settings broken.json
says "broken.json, line"
echo '{"topology": "lenet", "colour": 3}' >unknown.json
gives 2 "unknown member" inspect --settings unknown.json
says "'colour' is no option of this command"
echo '{"topology": "lenet", "tensors": 3}' >type.json
gives 2 "member of a wrong type" inspect --settings type.json
says "'tensors' must be true or false"
gives 1 "settings file missing" inspect --settings none.json
echo '{"topology": "lenet", "CHANNELS": 4, "input_channels": 1}' >good.json
gives 0 "settings file" inspect --settings good.json --json
passes "its settings count" grep -q '"axis":"conv1.width".*"max":4,' out
gives 0 "command line over settings file" inspect --settings good.json --channels 6 --json
passes "the command line wins" grep -q '"axis":"conv1.width".*"max":6,' out
passes "inspect prints JSON" is_json_lines out

# --- data ---
mkdir empty short mixed
gives 1 "no data there" train --data empty --topology lenet --output n.safetensors
says "holds neither IDX files"
cp idx/* short
head -c 3000 idx/t10k-images-idx3-ubyte.gz >short/t10k-images-idx3-ubyte.gz
gives 1 "truncated images" train --data short --topology lenet --output n.safetensors
says "t10k-images-idx3-ubyte.gz ends early or is damaged"
cp idx/* mixed
cp idx/t10k-labels-idx1-ubyte.gz mixed/train-labels-idx1-ubyte.gz
gives 1 "labels of other images" train --data mixed --topology lenet --output n.safetensors
says "240 images, but 60 labels"
rm mixed/t10k-labels-idx1-ubyte.gz
gives 1 "a file missing" train --data mixed --topology lenet --output n.safetensors
says "t10k-labels-idx1-ubyte.gz is missing"
gives 0 "fetch from a folder" fetch mnist --from idx --to fetched --json
passes "fetch counts the images" test "$(member out 1 train)" = 240
gives 0 "fetch again" fetch mnist --to fetched
gives 1 "fetch without a source" fetch mnist --to nothing
says "give --from FOLDER"
gives 2 "unknown data set" fetch imagenet --to nothing
gives 1 "CIFAR-10 with other images" fetch cifar10 --from png --to cifar
says "data_batch_1.bin is damaged"
passes "and leaves nothing behind" test -z "$(ls cifar)"

# --- a network: trained, interrupted, evaluated ---
# In the foreground timeout signals the command alone; else its whole group as well, and the command
# takes a second Ctrl-C for the wish to end at once.
tiny="--data idx --topology lenet --channels 4 --held-out 40 --seed 7"
plain="train $tiny --epochs 60 --batch 20 --optimizer sgd --learning-rate 0.02 --augment-shift 1"
# Milliseconds since the last call; a third of a whole run, and a little more at each attempt, as
# seconds: so interruptions hit whatever the machine's speed.
clock() {
    now=$(date +%s%N)
    elapsed=$(((now - ${before:-now}) / 1000000))
    before=$now
}
slice() { printf '%d.%03d' $((($1 / 3 + $2 * 10) / 1000)) $((($1 / 3 + $2 * 10) % 1000)); }
clock
gives 0 "training" $plain --validate-epochs 5 --output whole.safetensors --json
clock
whole=$elapsed
passes "results are JSON" is_json_lines out
passes "progress is JSON" is_json_lines err
passes "it tells the loss of the last epoch" grep -q '"loss":[0-9]' out
passes "no checkpoint stays" test ! -e whole.safetensors.checkpoint
stops=0
for attempt in $(seq 200); do
    timeout --foreground --preserve-status -s INT "$(slice $whole $attempt)" "$neumeta" $plain \
        --validate-epochs 5 --output pieces.safetensors --resume --quiet >out 2>err
    code=$?
    [ $code -eq 130 ] || break
    stops=$((stops + 1))
    passes "a stop leaves a checkpoint" test -s pieces.safetensors.checkpoint
done
passes "resumed to the end" test $code -eq 0
passes "was interrupted at least once" test $stops -ge 1
passes "resumed equals uninterrupted" cmp whole.safetensors pieces.safetensors
gives 0 "resume of a finished training" $plain --output pieces.safetensors --resume
says "nothing is left to train"
gives 0 "time bound" $plain --hours 1e-7 --output late.safetensors --json
passes "it says that it is not finished" test "$(member out 1 finished)" = False
passes "it leaves both files" test -s late.safetensors -a -s late.safetensors.checkpoint
cp late.safetensors.checkpoint copy.checkpoint
gives 2 "a checkpoint in the way" $plain --output late.safetensors
says "late.safetensors.checkpoint holds an interrupted training; add --resume to go on, or delete it"
passes "it is left alone" cmp late.safetensors.checkpoint copy.checkpoint
gives 2 "checkpoint and output in one file" $plain --output x --checkpoint x
echo >rows
for option in "--output none/x" "--output x --checkpoint none/x" "--output rows/x"; do
    gives 1 "no folder for $option" $plain $option
    says "/x cannot be written: folder"
    one_sentence
done
gives 1 "output that is a folder" $plain --output idx
says "idx cannot be written: it is no regular file"
if [ "$(id -u)" -ne 0 ]; then
    mkdir locked && echo >fixed && chmod -w locked fixed
    gives 1 "folder without permission" $plain --output locked/x
    says "locked/x cannot be written: folder locked"
    gives 1 "output without permission" $plain --output fixed
    says "fixed cannot be written"
fi

# --- files that a training would lose ---
# apart FILE SENTENCE ARGUMENT...: refused, and the file is as before.
apart()
{
    local file=$1 sentence=$2
    shift 2
    cp "$file" before
    gives 2 "$sentence" train $tiny --epochs 0.1 --batch 20 "$@"
    says "$sentence are the same file"
    one_sentence
    passes "$file is left alone" cmp "$file" before
}
mkdir folder
ln -s . folder/here
ln -s whole.safetensors link.safetensors
cp whole.safetensors run.reference
echo '{"phases": [{"name": "all", "epochs": 0.1, "batch": 20}]}' >all.json
echo '{"augment-shift": 1}' >shift.json
apart rows "--output and --checkpoint" --output m.st --checkpoint ./m.st
passes "nothing is trained" test ! -e m.st
apart rows "--output and --checkpoint" --output folder/x --checkpoint folder/here/x
apart run.reference "--output and --checkpoint with .reference behind it" --output run.reference \
    --checkpoint run
apart run.reference "--reference and --checkpoint with .reference behind it" --output m.st \
    --reference run.reference --checkpoint run --smooth
apart whole.safetensors "--reference and --output" --reference whole.safetensors \
    --output whole.safetensors
apart whole.safetensors "--reference and --output" --reference link.safetensors \
    --output ./whole.safetensors
apart whole.safetensors "--reference and --checkpoint" --reference whole.safetensors --output m.st \
    --checkpoint whole.safetensors
apart whole.safetensors "--teacher and --output" --teacher whole.safetensors \
    --loss-distillation 1 --distillation-teacher network --output whole.safetensors
apart all.json "--recipe and --output" --recipe all.json --output all.json
apart shift.json "--settings and --output" --settings shift.json --output shift.json
gives 0 "a training without --smooth" train $tiny --epochs 0.1 --batch 20 --checkpoint other \
    --output run.reference
cp whole.safetensors other.reference
gives 0 "a training beside a file that is not its own" train $tiny --epochs 0.1 --batch 20 \
    --checkpoint other --output m.st
passes "leaves that" cmp whole.safetensors other.reference
gives 0 "a training with --smooth" train $tiny --epochs 0.1 --batch 20 --smooth --output m.st
passes "leaves nothing of its own" test ! -e m.st.checkpoint -a ! -e m.st.checkpoint.reference

gives 0 "evaluation" evaluate whole.safetensors $tiny --split test --json --results rows.jsonl
passes "it learned" awk -v got="$(member out 1 accuracy)" 'BEGIN { exit !(got > 0.2) }'
passes "results file equals output" cmp out rows.jsonl
gives 0 "evaluation as a table" evaluate whole.safetensors $tiny --split held-out
prints "accuracy %"
passes "it says how far it is" grep -q '"event":"progress","evaluating":"whole.safetensors"' err
passes "as JSON" is_json_lines err
cp whole.safetensors before
gives 2 "results over a network" evaluate best.safetensors whole.safetensors $tiny --results ./whole.safetensors
says "whole.safetensors and --results are the same file"
passes "it is left alone" cmp whole.safetensors before
gives 1 "results in no folder" evaluate whole.safetensors $tiny --results none/rows.jsonl
one_sentence
gives 1 "evaluation of another topology" evaluate whole.safetensors --data idx \
    --topology resnet20-cifar
gives 2 "sizes of a network" evaluate whole.safetensors $tiny --gamma 0.5
gives 2 "unknown split" evaluate whole.safetensors $tiny --split all
gives 2 "unknown norm" evaluate whole.safetensors $tiny --norm layer
gives 1 "a full disk" evaluate whole.safetensors $tiny --results /dev/full
head -c 2000 whole.safetensors >cut.safetensors
gives 1 "truncated network" evaluate cut.safetensors $tiny
echo "nothing" >text.safetensors
gives 1 "no safetensors file" inspect text.safetensors
says "is no safetensors file"
gives 1 "file missing" inspect none.safetensors
gives 1 "a longer header than the library takes" inspect long.safetensors
says "long.safetensors has a header of 83886"
gives 0 "more values than can be counted" inspect huge.safetensors
passes "are too many" grep -q "^values  *too many" out
gives 0 "controls of a terminal" inspect controls.safetensors
passes "are not printed" is_harmless out
passes "but what they stand in is" grep -q "note  *?\]0;title??\[31mred???31mredü" out
gives 0 "controls as JSON" inspect controls.safetensors --json
passes "are escaped" is_harmless out
passes "and none is lost" python3 -c 'import json
facts = {row["name"]: row["value"] for row in json.load(open("out"))["facts"]}
assert facts["note"] == "\x1b]0;title\x07\x1b[31mred\x7f\n\x9b31mred\u00fc"'
gives 1 "controls in a sentence of the library" inspect kind.safetensors
passes "are not said" is_harmless err
gives 1 "controls in a name" inspect $'no\e[31m\u009bfile'
says "no?[31m?file cannot be opened"
gives 2 "controls in a command" $'fly\e[31m'
says "no command 'fly?[31m'"
# Processor time, so that other work does not count; sanitisers take their share.
(ulimit -t 8; "$neumeta" inspect many.safetensors >out 2>err)
passes "a table of 50,000 rows takes no time" test $? -eq 0
passes "and is whole" test "$(grep -c "^t[0-9]" out)" = 50000
gives 0 "inspect a network" inspect whole.safetensors --topology lenet --channels 4 \
    --input-channels 1 --tensors
prints "conv1.weight"

lenet="--topology lenet --channels 4"
gives 0 "smoothing" smooth whole.safetensors $lenet --replace-norm fold \
    --output smooth.safetensors --json
passes "it smooths" python3 -c 'import json, sys
row = json.load(open("out")); sys.exit(row["roughness_after"] > row["roughness_before"])'
gives 0 "evaluation after smoothing" evaluate smooth.safetensors $tiny --norm fold --json
passes "smoothing keeps the accuracy" test "$(member out 1 accuracy)" = \
    "$(member rows.jsonl 1 accuracy)"

# --- a manifold ---
morph="train --manifold $tiny --reference whole.safetensors --replace-norm fold --smooth
    --inr-hidden 8 --inr-layers 2 --inr-octaves 3 --recipe phases.json --learning-rate 1e-3"
cat >phases.json <<'END'
{"phases": [
    {"name": "first", "blocks": ["conv1", "conv2"], "epochs": 4, "batch": 20, "inr_init": "fitted",
     "fit_steps": 20, "learning_rate": 9},
    {"name": "second", "blocks": [2, -1], "epochs": 16, "batch": 20, "group": 2,
     "size_draw": "sandwich", "ema": 0.9, "loss_reconstruction": 1}
]}
END
clock
gives 0 "manifold" $morph --output m.safetensors
clock
whole=$elapsed
passes "lines about the fit tell of it alone" python3 -c 'import json
lines = [json.loads(line) for line in open("err") if line[0] == "{"]
fits = [line for line in lines if "fitted" in line]
raise SystemExit(not fits or any(
    name in line for line in fits for name in ("epoch", "loss", "learning_rate",
                                               "images_per_second")))'
stops=0
for attempt in $(seq 200); do
    timeout --foreground --preserve-status -s INT "$(slice $whole $attempt)" "$neumeta" $morph \
        --output p.safetensors --resume --quiet >out 2>err
    code=$?
    [ $code -eq 130 ] || break
    stops=$((stops + 1))
done
passes "manifold resumed to the end" test $code -eq 0
passes "manifold was interrupted at least once" test $stops -ge 1
passes "resumed manifold equals uninterrupted" cmp m.safetensors p.safetensors
sed 's/"blocks": \[2, -1\]/"blocks": "conv9"/' phases.json >other.json
gives 2 "unknown block" $morph --recipe other.json --output x.safetensors
says "phase 'second': \"blocks\" must be"
sed 's/"ema": 0.9/"ema": 2/' phases.json >other.json
gives 2 "phase setting out of range" $morph --recipe other.json --output x.safetensors
says "phase 'second': EMA"
# --- a manifold that keeps batch norm ---
gives 0 "manifold with norms" train --manifold $tiny --reference whole.safetensors --recipe nm \
    --epochs 1 --batch 20 --inr-hidden 8 --inr-layers 2 --inr-octaves 3 --calibrate-sizes 6 \
    --calibrate-items 40 --output n.safetensors
says "off by"
gives 0 "which needs no data at any size" materialize n.safetensors --gamma 0.3 \
    --output half.safetensors
gives 0 "and can be evaluated" evaluate n.safetensors --data idx --gamma 0,0.5 --json
gives 0 "also with statistics from data" evaluate n.safetensors --data idx --gamma 0,0.5 \
    --calibrate-items 40 --json
passes "one row for each size" test "$(wc -l <out)" -eq 2
gives 2 "which a network has" evaluate whole.safetensors $tiny --calibrate-items 40
says "--calibrate-items is for manifolds"
one_sentence
gives 0 "calibrating anew" calibrate n.safetensors --data idx --calibrate-sizes 5 \
    --calibrate-items 30 --gamma-max 0.75 --output again.safetensors
passes "makes other functions" sh -c '! cmp -s n.safetensors again.safetensors'
cp n.safetensors place.safetensors
gives 0 "calibrating in place" calibrate place.safetensors --data idx --calibrate-sizes 5 \
    --calibrate-items 30 --gamma-max 0.75 --output ./place.safetensors --json
passes "tells the error" sh -c 'grep -q "\"error\":" out && grep -q "\"output\":\"./place.safetensors\"" out'
passes "makes the same" cmp place.safetensors again.safetensors
echo '{"calibrate-sizes": 5}' >sizes.json
gives 2 "calibrating into the settings" calibrate n.safetensors --data idx --settings sizes.json \
    --output sizes.json
says "--settings and --output are the same file"
gives 1 "nothing to calibrate" calibrate m.safetensors --data idx
says "no norms"
one_sentence
echo '{"batch": 20, "phases": [{"epochs": 1}]}' >beside.json
gives 2 "settings beside the phases of a recipe" train --manifold --data idx --topology lenet --channels 4 \
    --recipe beside.json --output x.safetensors
says "\"batch\" stands beside \"phases\""
gives 2 "a solver without smoothing" train --data idx --topology lenet --channels 4 --epochs 0.1 \
    --smooth-time-limit 3 --output x.safetensors
says "SMOOTH_TIME_LIMIT says nothing without --smooth"
gives 2 "sizes to calibrate without norms" train --manifold --data idx --topology lenet --channels 4 --norm none \
    --inr-kind grid --epochs 0.1 --batch 20 --recipe nm --calibrate-sizes 5 --output x.safetensors
says "CALIBRATE_SIZES says nothing without batch norm"
gives 2 "two files to calibrate" calibrate n.safetensors m.safetensors --data idx
cat >settle.json <<'END'
{"phases": [
    {"name": "first", "epochs": 1, "batch": 20},
    {"name": "settle", "norm-statistics": "fitted", "epochs": 1, "batch": 20, "gamma_max": 0.6}
]}
END
gives 0 "a phase that keeps statistics" train --manifold $tiny --reference whole.safetensors \
    --recipe settle.json --inr-kind grid --calibrate-sizes 6 --calibrate-items 40 \
    --output settled.safetensors
passes "is not calibrated again" sh -c '! grep -q "off by" err'
gives 0 "and yields networks" materialize settled.safetensors --gamma 0.3 --output half.safetensors

# --- a manifold that goes on ---
cat >finish.json <<'END'
{"phases": [{"name": "finish", "norm-statistics": "fitted", "epochs": 1, "batch": 20,
             "gamma_max": 0.6, "loss-distillation": 1, "distillation-teacher": "network"}]}
END
goes_on="train --manifold --data idx --start settled.safetensors"
echo '[{"name": "still", "norm-statistics": "fitted", "epochs": 0}]' >still.json
gives 0 "a manifold that goes on for no epoch" $goes_on --recipe still.json \
    --output same.safetensors
passes "stays what it was" cmp settled.safetensors same.safetensors
gives 0 "a manifold that goes on, with a teacher" $goes_on --recipe finish.json \
    --teacher whole.safetensors --teacher-topology lenet --output finished.safetensors
passes "keeps its statistics" sh -c '! grep -q "off by" err'
passes "has learned" sh -c '! cmp -s settled.safetensors finished.safetensors'
gives 0 "and yields networks" materialize finished.safetensors --gamma 0.3 --output half.safetensors
gives 2 "a network that starts as a manifold" train --data idx --start settled.safetensors \
    --output x.safetensors
says "--start is for manifolds (--manifold)"
gives 2 "another topology for it" $goes_on --topology lenet --output x.safetensors
says "--topology is for a fresh manifold, not for one of --start"
gives 2 "another kind for it" $goes_on --inr-kind mlp --output x.safetensors
says "INR_KIND is for a fresh manifold, not for one of --start"
gives 2 "a teacher of no topology" $goes_on --teacher whole.safetensors --output x.safetensors
says "--teacher needs --teacher-topology beside --start"
gives 2 "a recipe that starts anew" $goes_on --recipe ht --output x.safetensors
says "--recipe ht starts blocks anew"
gives 2 "a start that would be replaced" $goes_on --recipe still.json --output settled.safetensors
says "--start and --output are the same file"
gives 0 "without a recipe" $goes_on --epochs 0.1 --batch 20 --calibrate-sizes 3 --calibrate-items 20 \
    --storage f16 --output plain.safetensors
says "too few sizes to leave some out"
passes "half of the bytes" test "$(wc -c <plain.safetensors)" -lt "$(wc -c <settled.safetensors)"
gives 0 "from scratch, without a reference" train --manifold $tiny --recipe nm --epochs 0.1 --batch 20 \
    --inr-hidden 8 --inr-layers 2 --inr-octaves 3 --calibrate-sizes 5 --calibrate-items 20 \
    --output scratch.safetensors

# --- what a manifold was trained for ---
gives 0 "inspect knows it" inspect settled.safetensors --json
passes "the smallest width" python3 -c 'import json
axes = {row["axis"]: row for row in json.load(open("out"))["axes"]}
assert axes["conv1.width"]["trained"] == 2 and axes["conv1.width"]["max"] == 4'
gives 0 "a network below it" materialize settled.safetensors --gamma 0.75 --output half.safetensors --json
says "smaller than any that training drew"
passes "is marked" python3 -c 'import json; assert json.load(open("out"))["outside"] is True'
gives 0 "one within it" materialize settled.safetensors --gamma 0.5 --output half.safetensors --json
passes "is not" test ! -s err
gives 0 "evaluation below it" evaluate settled.safetensors --data idx --gamma 0,0.75 --json
says "1 of 2 networks are smaller"
gives 2 "a network in the place of its manifold" materialize settled.safetensors --output settled.safetensors
says "settled.safetensors and --output are the same file"
gives 0 "calibrating as far as trained" calibrate plain.safetensors --data idx --calibrate-sizes 6 \
    --calibrate-items 20 --output again.safetensors
gives 0 "keeps 16 bits" inspect again.safetensors --tensors
passes "and the range" grep -q 'neumeta.statistics .*GAMMA_MAX":0.\(6\|5999\)' out
passes "of all parameters" sh -c '! grep -q " F32 " out'
gives 0 "unless told otherwise" calibrate plain.safetensors --data idx --calibrate-sizes 6 \
    --calibrate-items 20 --gamma-max 0.25 --storage f32 --output again.safetensors
gives 0 "floats" inspect again.safetensors --tensors
passes "as told" grep -q " F32 " out
passes "that range" grep -q 'neumeta.statistics .*GAMMA_MAX":0.25' out

gives 1 "a start that is no manifold" train --manifold --data idx --start whole.safetensors \
    --output x.safetensors
one_sentence

# --- the manifold that comes with the sources ---
model=$source/../../examples/models/resnet20-cifar10.neumeta.safetensors
gives 0 "the best network for a budget" materialize "$model" --max-multiply-adds 21000000 \
    --output best.safetensors --json
passes "keeps the budget and uses it" python3 -c 'import json, sys
row = json.load(open("out"))
sys.exit(not (20.5e6 < row["multiply_adds"] <= 21e6 and row["accuracy"] > 0.89))'
gives 0 "the cheapest network of an accuracy" materialize "$model" --min-score 0.9 \
    --output best.safetensors --json
passes "promises it" python3 -c 'import json, sys; sys.exit(json.load(open("out"))["accuracy"] < 0.9)'
passes "the manifold is smaller than its dense network" python3 -c 'import os, sys
sys.exit(os.path.getsize(sys.argv[1]) > 4 * 269722)' "$model"
deep=$source/../../examples/models/resnet56-cifar10.neumeta.safetensors
gives 0 "a budget over depths" materialize "$deep" --max-multiply-adds 30000000 --output best.safetensors --json
passes "takes blocks away" python3 -c 'import json, sys
row = json.load(open("out"))
sys.exit(not (28e6 < row["multiply_adds"] <= 3e7 and row["sizes"]["layer1.depth"] < 9 and row["accuracy"] > 0.88))'
passes "a third of its dense network" python3 -c 'import os, sys
sys.exit(os.path.getsize(sys.argv[1]) > 4 * 853018 / 2.8)' "$deep"

# --- one network at sizes of its own, and teachers ---
gives 0 "a narrow network" train $tiny --gamma 0.5 --epochs 2 --batch 20 --output narrow.safetensors
gives 0 "which is evaluated at its sizes" evaluate narrow.safetensors $tiny --json
passes "half as wide" python3 -c 'import json, sys
narrow = json.load(open("out"))["parameters"]; whole = json.loads(open("rows.jsonl").readline())
sys.exit(not narrow < 0.7 * whole["parameters"])'
gives 2 "several sizes for one network" train $tiny --size conv1.width=1,2 --output x.safetensors
says "these options ask for 2 networks"
one_sentence
gives 2 "sizes for a manifold" train --manifold $tiny --gamma 0.5 --output x.safetensors
says "without --manifold and --reference"
gives 0 "a narrow network with a teacher" train $tiny --gamma 0.5 --epochs 2 --batch 20 \
    --loss-distillation 1 --distillation-teacher network --teacher whole.safetensors \
    --output taught.safetensors
passes "learns something else" sh -c '! cmp -s narrow.safetensors taught.safetensors'
gives 0 "a manifold with a teacher" train --manifold $tiny --reference whole.safetensors \
    --teacher whole.safetensors --teacher-topology lenet --loss-distillation 1 \
    --distillation-teacher network --recipe settle.json --inr-kind grid --calibrate-sizes 6 \
    --calibrate-items 40 --output taught.safetensors
gives 1 "a missing teacher" train $tiny --epochs 1 --loss-distillation 1 \
    --distillation-teacher network --output x.safetensors
says "has not given one"
one_sentence
gives 2 "a teacher of an unknown topology" train $tiny --loss-distillation 1 \
    --distillation-teacher network --teacher whole.safetensors --teacher-topology cube \
    --output x.safetensors
says "--teacher-topology is 'cube'"
gives 2 "a topology without a teacher" train $tiny --teacher-topology lenet --output x.safetensors
says "says nothing without --teacher"

# --- fronts and budgets ---
searched="--data idx --held-out 20 --search-evaluations 20 --search-items 10 --width-multiple 1"
gives 0 "search" search m.safetensors $searched --gamma-max 0.7 --output front.safetensors --json
passes "a front is JSON" is_json_lines out
cp out front.jsonl
says '"searching":"m.safetensors"'
says "found "
gives 0 "a plot of the front" plot front.jsonl --output front.svg
gives 0 "a table of the front" search m.safetensors $searched --output again.safetensors
prints "latency us"
gives 0 "inspect shows the front" inspect front.safetensors
prints "items that judged the front"
prints "accuracy %"
gives 0 "also as JSON" inspect front.safetensors --json
passes "as many entries" python3 -c 'import json; assert len(json.load(open("out"))["front"]) == \
len(open("front.jsonl").readlines())'
gives 0 "a budget" materialize front.safetensors --max-parameters 2000 --output small.safetensors --json
passes "is kept" python3 -c 'import json; row = json.load(open("out")); \
assert row["parameters"] <= 2000 and "accuracy" in row'
gives 0 "a latency" materialize front.safetensors --max-latency-us 1e9 --output small.safetensors
prints "latency us"
gives 0 "a score" materialize front.safetensors --min-score 0.01 --output small.safetensors
gives 0 "a budget without a front" materialize m.safetensors --max-multiply-adds 100000 \
    --output small.safetensors
gives 1 "a score without a front" materialize m.safetensors --min-score 0.01 --output x.safetensors
says "MIN_SCORE needs a front"
gives 1 "too small a budget" materialize front.safetensors --max-bytes 10 --output x.safetensors
says "MAX_BYTES is 10, the smallest network on offer has"
one_sentence
gives 2 "a budget beside sizes" materialize front.safetensors --max-bytes 10 --gamma 0.5 \
    --output x.safetensors
says "either sizes or a budget"
gives 2 "search without images held out" search m.safetensors --data idx
says "needs --held-out N"
gives 2 "search of two files" search m.safetensors m.safetensors --data idx
gives 1 "search of a network" search whole.safetensors --data idx --held-out 20
says "is no manifold"

gives 0 "inspect a manifold" inspect m.safetensors --json
passes "inspect of a manifold is JSON" is_json_lines out
gives 0 "manifold at several sizes" evaluate m.safetensors --data idx --gamma 0,0.25,0.5 \
    --size 'conv*.width=3' --sizes 2,5,16 --json
passes "one row for each" test "$(wc -l <out)" -eq 4
gives 0 "a range of sizes" evaluate m.safetensors --data idx --size conv1.width=1..4 \
    --size conv2.width=2..8:3,8 --results range.jsonl
passes "every combination" test "$(wc -l <range.jsonl)" -eq 16
gives 2 "unknown axis" evaluate m.safetensors --data idx --size height=3
gives 2 "sizes that are no numbers" evaluate m.safetensors --data idx --size conv1.width=a
gives 2 "too few sizes" evaluate m.safetensors --data idx --sizes 2,5
gives 2 "size outside its axis" evaluate m.safetensors --data idx --size conv1.width=5 --quiet
one_sentence
gives 2 "a later size fails" evaluate m.safetensors --data idx --size conv1.width=2,3,5 --json \
    --results part.jsonl
passes "finished rows are printed" test "$(wc -l <out)" -eq 2
passes "and written" cmp out part.jsonl
echo '{"sizes": ["2,5,16", "2,2,2", [3, 4, 5]], "gamma": [0, 0.5]}' >repeated.json
gives 0 "repeated sizes in a settings file" evaluate m.safetensors --data idx --json \
    --settings repeated.json
passes "one row for each of them" test "$(wc -l <out)" -eq 5
passes "as the file says" grep -q '"conv1.width":2,"conv2.width":5,"conv3.width":16' out
echo '{"size": ["conv1.width=3", "conv2.width=2..4"]}' >repeated.json
gives 0 "repeated size in a settings file" evaluate m.safetensors --data idx --json \
    --settings repeated.json
passes "every combination of the file" test "$(wc -l <out)" -eq 3
echo '{"sizes": [2, 5, 16]}' >repeated.json
gives 0 "one list of sizes in a settings file" evaluate m.safetensors --data idx --json \
    --settings repeated.json
passes "one row for it" test "$(wc -l <out)" -eq 1
gives 0 "materialise" materialize m.safetensors --gamma 0.5 --output half.safetensors --json
gives 1 "materialised network without its norm" evaluate half.safetensors $tiny --quiet
says "does not belong to the topology; if its norm was folded or replaced"
passes "the file is named once" test "$(grep -o half.safetensors err | wc -l)" -eq 1
one_sentence
gives 0 "materialised network" evaluate half.safetensors $tiny --norm fold --json
half=$(member out 1 accuracy)
gives 0 "the same from the manifold" evaluate m.safetensors --data idx --gamma 0.5 --json
passes "both score the same" test "$half" = "$(member out 1 accuracy)"
# --- 16 bits and fingerprints ---
gives 0 "materialise again" materialize m.safetensors --gamma 0.5 --output half.safetensors --json
name=$(member out 1 fingerprint)
passes "a fingerprint has 64 digits" test "${#name}" -eq 64
gives 0 "inspect a materialised network" inspect half.safetensors --topology lenet --channels 4 --norm fold
prints "$name"
gives 0 "materialise 16 bits" materialize m.safetensors --gamma 0.5 --storage f16 --json \
    --output small.safetensors
passes "which are others" test "$name" != "$(member out 1 fingerprint)"
gives 0 "convert a manifold" convert m.safetensors --storage f16 --output m16.safetensors --json
passes "about half of the bytes" test "$(member out 1 file_bytes)" -lt \
    $(($(wc -c <m.safetensors) / 2 + 8192))
gives 0 "a manifold of 16 bits" materialize m16.safetensors --gamma 0.5 --output x.safetensors
gives 0 "and back" convert m16.safetensors --output m32.safetensors
gives 0 "which changes no bit any more" convert m32.safetensors --storage f16 \
    --output again.safetensors
passes "the same file" cmp m16.safetensors again.safetensors
gives 0 "convert to eight bits" convert m.safetensors --storage i8 --output m8.safetensors --json
passes "fewer bytes again" test "$(member out 1 file_bytes)" -lt "$(wc -c <m16.safetensors)"
gives 0 "a manifold of eight bits" materialize m8.safetensors --gamma 0.5 --output x.safetensors
gives 2 "a network of eight bits" convert half.safetensors --topology lenet --channels 4 --norm fold --storage i8 \
    --output x.safetensors
says "STORAGE i8 is for manifolds"
gives 0 "convert a network" convert half.safetensors --topology lenet --channels 4 --norm fold --storage bf16 \
    --output small.safetensors
gives 2 "convert in place" convert ./m16.safetensors --output m16.safetensors
says "m16.safetensors and --output are the same file"
gives 2 "smooth in place" smooth whole.safetensors $lenet --output whole.safetensors
says "whole.safetensors and --output are the same file"
ln -s target.safetensors path.safetensors
gives 0 "convert through a link" convert m16.safetensors --output path.safetensors
passes "which stays" test -L path.safetensors -a -s target.safetensors
gives 2 "convert to the standard output" convert m16.safetensors --output -
says "cannot be written to the standard output"
gives 2 "a manifold's topology" convert m16.safetensors --topology lenet --output x.safetensors
says "--topology says nothing of a manifold"
gives 2 "a manifold's norm" inspect m16.safetensors --residual-scale 0.5
says "RESIDUAL_SCALE says nothing without a network file"
gives 0 "a network's own cost" inspect half.safetensors --topology lenet --channels 4 --norm fold
passes "is told" grep -qE '^multiply-adds +[0-9]+$' out
gives 1 "inspect a folder" inspect .
says "is no regular file"
gives 2 "convert to nothing known" convert m.safetensors --storage f15 --output x.safetensors
gives 2 "convert nothing" convert --output x.safetensors
rm -f x.safetensors
head -c "$(($(wc -c <m.safetensors) - 1))" m.safetensors >damaged.safetensors
printf '~' >>damaged.safetensors
gives 1 "a damaged manifold" materialize damaged.safetensors --output x.safetensors
says "is damaged: its checksum is not the one it was written with"
one_sentence
gives 2 "materialise two sizes" materialize m.safetensors --gamma 0,0.5 --output x.safetensors
head -c "$(($(wc -c <whole.safetensors) - 1))" whole.safetensors >cut.safetensors
gives 1 "inspect a file cut short" inspect cut.safetensors
says "cut.safetensors is cut short: it has"
head -c 100 whole.safetensors >cut.safetensors
gives 1 "inspect a file cut within its header" inspect cut.safetensors
says "or cut short within its header"
gives 1 "materialise a network" materialize whole.safetensors --output x.safetensors
says "is no manifold"
gives 1 "materialise into no folder" materialize m.safetensors --output none/x.safetensors
one_sentence

# --- a manifold of grids ---
grids="train --manifold $tiny --reference whole.safetensors --replace-norm fold --smooth
    --smooth-solver importance --inr-kind grid --grid-terms --recipe nm --inr-init fitted
    --gamma-max 0.7"
gives 0 "grids" $grids --epochs 2 --output g.safetensors
gives 0 "inspect grids" inspect g.safetensors --tensors
prints "conv2.weight/grid.2"
prints '"GRID_GAUGE":"absolute"'
gives 0 "grids that are not trained" $grids --epochs 0 --output g0.safetensors
gives 0 "evaluate grids" evaluate g0.safetensors --data idx --gamma 0,0.5 --json
passes "untrained grids score as their reference" test "$(member out 1 accuracy)" = \
    "$(member rows.jsonl 1 accuracy)"
gives 0 "materialise grids" materialize g.safetensors --gamma 0.5 --output half.safetensors --json
gives 2 "materialise samples of grids" materialize g.safetensors --samples 2 --output x.safetensors
says "grids have no noise"
gives 2 "grids with a setting of mlps" $grids --inr-hidden 3 --output x.safetensors
says "INR_HIDDEN has no effect while INR_KIND is grid"

# --- INRs that share a trunk ---
trunk="train --manifold $tiny --reference whole.safetensors --replace-norm fold --recipe nm
    --inr-kind trunk --inr-hidden 8 --inr-layers 2 --inr-octaves 3 --inr-init fitted --fit-steps 3"
gives 0 "a trunk" $trunk --epochs 1 --output t.safetensors
gives 0 "inspect a trunk" inspect t.safetensors --tensors
prints "conv2.weight/inr.out.weight"
prints "trunk/inr.1.scale"
gives 0 "materialise a trunk" materialize t.safetensors --gamma 0.5 --output half.safetensors

# --- separable INRs, and group norm ---
separable="train --manifold $tiny --reference whole.safetensors --replace-norm fold --recipe nm
    --inr-kind separable --inr-hidden 8 --inr-layers 2 --inr-octaves 3 --inr-init fitted"
gives 0 "separable INRs" $separable --inr-rank 4 --epochs 1 --output s.safetensors
gives 0 "inspect separable INRs" inspect s.safetensors --tensors
prints "conv2.weight/g.inr.out.weight"
prints "conv2.weight/factors"
gives 0 "materialise separable INRs" materialize s.safetensors --gamma 0.5 --output half.safetensors
gives 2 "steps of a fit in closed form" $separable --fit-steps 3 --output x.safetensors
says "FIT_STEPS has no effect on separable INRs"
gives 0 "group norm in place of batch norm" train --manifold $tiny --reference whole.safetensors \
    --replace-norm group --group-channels 2 --inr-kind grid --epochs 1 --output gn.safetensors
gives 0 "materialise group norms" materialize gn.safetensors --gamma 0.5 --output half.safetensors
gives 0 "convert group norms" convert half.safetensors --topology lenet --channels 4 --norm group \
    --group-channels 2 --storage f16 --output g16.safetensors
gives 1 "smooth group norms" smooth whole.safetensors --topology lenet --replace-norm group \
    --group-channels 2 --output x.safetensors
says "ties the order of its channels"

# --- interrupted where there is something to keep, and where there is not ---
timeout --foreground --preserve-status -k 20 -s INT 0.5 "$neumeta" materialize m.safetensors --samples 100000 \
    --output x.safetensors >out 2>err
passes "Ctrl-C ends materialize" test $? -eq 130
passes "which leaves nothing" test ! -e x.safetensors
sizes='--size conv1.width=1..4 --size conv2.width=1..8'
gives 0 "32 sizes" evaluate m.safetensors --data idx $sizes
# So long as no row was finished in time, the next attempt waits twice as long.
patience=50 # ms
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    timeout --foreground --preserve-status -s INT "$((patience / 1000)).$(printf %03d $((patience % 1000)))" \
        "$neumeta" evaluate m.safetensors --data idx $sizes --size 'conv3.width=1..16' --json \
        --results part.jsonl >out 2>err
    code=$?
    [ ! -s out ] || break
    patience=$((2 * patience))
done
passes "Ctrl-C ends evaluate" test $code -eq 130
passes "finished rows stay" test "$(wc -l <out)" -ge 1 -a "$(wc -l <out)" -lt 512
passes "in the file, too" cmp out part.jsonl

# --- benchmarks ---
export TMPDIR=$work
bench="bench --threads 1 --repetitions 1 --seconds 0 --topology resnet20-cifar --batch 1,2
    --widths 4,8 --inr 8x2x3,6x1x0 --samples 1,3 --precision bf16,fp32"
gives 0 "benchmarks" $bench --json --results bench.jsonl
passes "benchmarks are JSON" is_json_lines out
passes "their file equals the output" cmp out bench.jsonl
passes "all parts have all members" python3 "$source/check_bench.py" out
gives 0 "one part as a table" $bench --parts run
prints "GFLOP/s"
prints "resnet20-cifar, folded, batch 2"
passes "and no other part" test "$(grep -c folded out)" = 2
gives 2 "unknown part" bench --parts run,fly
says "--parts holds 'fly', must be some of materialize, train, step, run, memory, start"
gives 2 "an empty word" bench --parts run,,train
says "--parts must be 1 to 16 words with commas between"
gives 2 "INR without layers" bench --inr 256
says "--inr holds '256', must be hidden width, layers and octaves as in 256x5x16"
gives 2 "INR with more behind" bench --inr 256x5x16x2
gives 2 "unknown precision" bench --precision fp32,fp16
says "--precision holds 'fp16', must be fp32 or bf16"
gives 2 "topology without residual blocks" bench --topology lenet
says "--topology holds 'lenet', must be built-in residual networks"
gives 2 "topology that is not built in" bench --topology resnet21-cifar
says "--topology holds 'resnet21-cifar'"
gives 2 "no image" bench --batch 0
says "--batch is '0'"
gives 2 "part of an image" bench --batch 1.5
says "--batch holds 1.5, must be whole numbers"
gives 2 "no repetition" bench --repetitions 0
says "--repetitions is '0'"
gives 2 "a word too many" bench run
says "takes options only"
gives 1 "no network to start with" bench --once none.safetensors
says "none.safetensors"
gives 1 "no manifold to grow" bench --grow none.safetensors
says "none.safetensors"
gives 1 "a manifold of other images" bench --grow m.safetensors
says "m.safetensors takes images of 1 x 28 x 28, must be 3 x 32 x 32"
one_sentence
echo '{"parts": "run"}' >bench.json
gives 2 "benchmarks over their settings" bench --settings bench.json --results bench.json
says "--settings and --results are the same file"
gives 1 "benchmarks that cannot be written" $bench --parts run --results none/bench.jsonl
says "none/bench.jsonl cannot be written"
passes "no file is left" test -z "$(ls neumeta-bench-* 2>/dev/null)"

# --- plots ---
gives 0 "plot" plot range.jsonl rows.jsonl --title 'a < b & "c"' --output plot.svg
passes "the plot is XML" python3 -c 'import xml.dom.minidom as x; x.parse("plot.svg")'
gives 0 "plot of points" plot range.jsonl rows.jsonl --points range --output plot.svg
passes "one line is left" test "$(grep -c 'fill="none" stroke="#[^4]' plot.svg)" = 1
echo '{"points": ["range", "rows"]}' >repeated.json
gives 0 "points in a settings file" plot range.jsonl rows.jsonl --settings repeated.json \
    --output plot.svg
passes "no line is left" test "$(grep -c 'fill="none" stroke="#[^4]' plot.svg)" = 0
gives 2 "points of an unknown line" plot range.jsonl --points rows --output plot.svg
gives 0 "plot of sizes" plot range.jsonl --x sizes.conv1.width --series gamma --log --output p.svg
cp rows.jsonl before
gives 2 "a plot over its results" plot range.jsonl rows.jsonl --output ./rows.jsonl
says "rows.jsonl and --output are the same file"
passes "they are left alone" cmp rows.jsonl before
# The ends of all numbers, alone and in pairs.
set -- -1.7e308 -1e300 -1e308 -5e-324 0 5e-324 0.9 1e300 1.7e308
while [ $# -gt 0 ]; do
    for other; do
        for axis in "" --log; do
            printf '{"x": %s, "y": %s}\n' $1 $other $other $1 >ends.jsonl
            "$neumeta" plot ends.jsonl --x x --y y $axis --output ends.svg 2>err || continue
            grep -qi 'nan\|[^a-z]inf' ends.svg && echo "$1 $other $axis"
        done
    done
    shift
done >bad
passes "all finite numbers have places" test ! -s bad
printf '{"x": 1e300, "y": 1}\n' >ends.jsonl
gives 0 "one point far away" plot ends.jsonl --x x --y y --output ends.svg
passes "has a readable scale" grep -q ">1e+300<" ends.svg
printf '{"x": 1, "accuracy": 1e308}\n' >ends.jsonl
gives 1 "an accuracy beyond all numbers" plot ends.jsonl --x x --output ends.svg
says "is too much to show in percent"
gives 1 "nothing to plot" plot range.jsonl --x sizes.none --output p.svg
gives 1 "plot of no JSON" plot phases.json --output p.svg

# --- an example that takes manifolds ---
budget=$(dirname "$neumeta")/serve_budget
if [ -x "$budget" ]; then
    "$budget" axes.safetensors >out 2>err
    passes "more axes than the example has room for: exit code 1" test $? -eq 1
    says "has 300 axes, must have at most 256"
fi

echo "$((100 * (checks - failures) / checks))%: Checks: $checks, Failures: $failures, Errors: 0"
[ $failures -eq 0 ]
