#!/bin/sh
# SPDX-License-Identifier: MIT
# Times the same work here, in PyTorch and in ONNX Runtime, in alternation within one run, after
# checking that all compute the same. Prints JSON lines and a table.
#
#     tests/bench/peers.sh BUILD [--install] [OPTION...]
#
# BUILD: a build folder configured with tests and optimised. --install gets what is missing: Debian's
# python3-torch with OpenBLAS, and onnxruntime-node from npm into build-peers/ beside the sources.
# Options are those of peers.py: --resnet20 FILE and --resnet56 FILE (safetensors with batch norm;
# without them both are made), --threads 1,2, --kinds, --topologies, --seconds S, --results FILE,
# --markdown FILE. Without onnxruntime-node in place only PyTorch is compared.
#
# Variables: PYTHON (default /usr/bin/python3, for which Debian's PyTorch is made), NODE, NPM,
# PEERS (folder of onnxruntime-node and of files in between, default build-peers).
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -gt 0 ] || {
    sed -n '3,16s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
build=$1
shift
peers=${PEERS:-$source/build-peers}
python=${PYTHON:-/usr/bin/python3}
node=${NODE:-node}

if [ "${1:-}" = --install ]; then
    shift
    # shellcheck source=examples/packages.sh disable=SC1091
    . "$source/examples/packages.sh"
    need_packages python3-torch libopenblas0-pthread libopenblas0-openmp nodejs
    mkdir -p "$peers"
    [ -d "$peers/node_modules/onnxruntime-node" ] || (cd "$peers" && "${NPM:-npm}" install \
        --ignore-scripts --no-audit --no-fund --no-save onnxruntime-node >&2)
fi

"$python" -c 'import torch' 2>/dev/null || {
    echo "$0: $python has no torch; --install gets Debian's, or set PYTHON" >&2
    exit 1
}
if [ -d "$peers/node_modules/onnxruntime-node" ] && command -v "$node" >/dev/null; then
    set -- --onnxruntime "$peers" --node "$node" "$@"
else
    echo "$0: without onnxruntime-node, which --install gets" >&2
fi
ninja --quiet -C "$build" tests/bench/peer_neumeta >&2
exec "$python" "$source/tests/bench/peers.py" --driver "$build/tests/bench/peer_neumeta" \
    --work "$peers/work" "$@"
