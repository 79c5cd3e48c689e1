#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes safetensors files that nobody should trust, for test_cli.sh: make_strange.py FOLDER"""
import json
import struct
import sys

EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}


def write(path, header, data=b"", padding=0):
    text = json.dumps(header).encode() + padding * b" "
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def manifold(path, axes):
    """One convolution as a grid, with so many axes, all but one of which nothing uses."""
    topology = {
        "format": 1, "blocks": ["b"], "output": 1,
        "axes": [{"name": f"a{i}", "kind": "width", "min": 1, "max": 2, "step": 1}
                 for i in range(axes)],
        "nodes": [{"name": "x", "op": "input", "inputs": [], "channels": 3, "height": 32,
                   "width": 32},
                  {"name": "c", "op": "conv", "inputs": [0], "axis": 0, "block": 0}],
    }
    write(path, {
        "__metadata__": {"neumeta.format": "1", "neumeta.kind": "manifold",
                         "neumeta.topology": json.dumps(topology),
                         "neumeta.options": '{"INR_KIND":"grid","MORPH_BLOCKS":[0]}'},
        "c.weight/grid.0": {"dtype": "F32", "shape": [2, 3, 1, 1], "data_offsets": [0, 24]},
    }, bytes(24))


def main(folder):
    write(f"{folder}/many.safetensors", {f"t{i}": EMPTY for i in range(50000)})
    controls = "\x1b]0;title\x07\x1b[31mred\x7f\n\x9b31mred\u00fc"
    write(f"{folder}/controls.safetensors",
          {"__metadata__": {"note": controls, "k\x1b[2J": "v"}, "t\x9b2J": EMPTY})
    write(f"{folder}/kind.safetensors",
          {"__metadata__": {"neumeta.kind": "manifold", "neumeta.format": "2\x1b[31m"}, "t": EMPTY})
    write(f"{folder}/huge.safetensors", {"t": dict(EMPTY, shape=[2**62, 16]), "u": EMPTY})
    write(f"{folder}/long.safetensors", {"t": EMPTY}, padding=8 << 20)
    manifold(f"{folder}/axes.safetensors", 300)


if __name__ == "__main__":
    main(sys.argv[1])
