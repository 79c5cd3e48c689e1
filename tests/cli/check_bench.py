# SPDX-License-Identifier: MIT
"""Checks the JSON lines of `neumeta bench` with the options that test_cli.sh gives it."""
import json
import sys

TIMES = {"work", "threads", "repetitions", "median_ms", "min_ms", "max_ms"}
RATES = TIMES | {"topology", "gflops", "peak_share"}
IMAGES = RATES | {"norm", "batch", "images_per_second"}

# Part: how many rows, and what they have beside "part".
EXPECTED = {
    "machine": (1, {"processor", "processors", "threads", "version", "kernels", "peak_gflops",
                    "peak_instructions"}),
    "materialize": (10, RATES | {"precision", "width", "rows", "samples", "hidden", "layers",
                         "octaves"}),
    "train": (4, IMAGES | {"precision"}),
    "step": (2, IMAGES | {"precision", "hidden", "layers", "octaves"}),
    "run": (2, IMAGES),
    "memory": (2, {"work", "threads", "topology", "batch", "memory_bytes", "weight_bytes",
                   "peak_resident_bytes"}),
    "start": (2, TIMES | {"topology", "library_ms", "peak_resident_bytes"}),
}

with open(sys.argv[1]) as file:
    rows = [json.loads(line) for line in file]
for part, (count, members) in EXPECTED.items():
    found = [row for row in rows if row["part"] == part]
    assert len(found) == count, f"{len(found)} rows of {part}, must be {count}"
    for row in found:
        grown = {"materialize_ms"} if "grown" in row.get("work", "") else set()
        assert set(row) == members | grown | {"part"}, set(row) ^ (members | grown | {"part"})
        numbers = {k: v for k, v in row.items() if isinstance(v, (int, float))}
        may_be_zero = {"octaves"}
        assert all(v > 0 or k in may_be_zero for k, v in numbers.items()), row
        assert row.get("min_ms", 0) <= row.get("median_ms", 0) <= row.get("max_ms", 0), row
assert len(rows) == sum(count for count, _ in EXPECTED.values())

# Widths 4 and 8 of a stream of 64: two convolutions and their biases.
emitted = [row for row in rows if row["part"] == "materialize"]
assert [row["samples"] for row in emitted] == 2 * [1, 1, 1, 1, 3]
assert [row["rows"] for row in emitted] == 2 * [580, 1096, 580, 1096, 1096]
assert [row["precision"] for row in emitted] == 5 * ["bf16"] + 5 * ["fp32"]
# The weights of ResNet-20 with its norm folded, as they lie in memory.
assert all(row["weight_bytes"] == 4 * 269034 for row in rows if row["part"] == "memory")
