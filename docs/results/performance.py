# SPDX-License-Identifier: MIT
"""Print performance.md from the data that performance.sh put beside it.

    performance.py FOLDER PEERS.md COMMIT [REMARK]
"""
import json
import sys

PARTS = [
    ("materialize", "Materialisation",
     "The last block of ResNet-20 from a manifold; \"INR 256x5x16\" is hidden width, layers and "
     "octaves;\nfp32 or bf16 is that of their operands. 100 samples are the papers' average over "
     "coordinate noise."),
    ("train", "Training", "One step of SGD on a whole network: forward, backward, update."),
    ("step", "The whole step of the reference method",
     "INRs emit the last block, ResNet-20 runs forward and backward, the losses on weights come in, "
     "the INRs step\n(recipe `nm` at full width)."),
    ("run", "Inference", "Norm folded."),
]


def read(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def digits(value):
    """Three of them, without an exponent."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def time_table(rows, images):
    lines = ["| work | threads | ms (fastest to slowest) |" + (" images/s |" if images else "")
             + " GFLOP/s | of peak |",
             "| --- | --- | --- | --- | --- |" + (" --- |" if images else "")]
    for row in rows:
        speed = f" {row['images_per_second']:,.0f} |" if images else ""
        lines.append(f"| {row['work']} | {row['threads']} | {digits(row['median_ms'])} "
                     f"({digits(row['min_ms'])} to {digits(row['max_ms'])}) |{speed} "
                     f"{row['gflops']:.1f} | {100 * row['peak_share']:.0f} % |")
    return "\n".join(lines)


def start_table(rows):
    memory = [row for row in rows if row["part"] == "memory" and row["threads"] == 1]
    lines = ["| network | working memory of a run | weights | most memory of the process |",
             "| --- | --- | --- | --- |"]
    for row in memory:
        values = (row[key] / 2 ** 20 for key in
                  ("memory_bytes", "weight_bytes", "peak_resident_bytes"))
        lines.append(f"| {row['work']} | " + " | ".join(f"{v:.2f} MiB" for v in values) + " |")
    lines += ["", "| start of a process to its first output and end | threads | ms | in the library | of it "
              "materialising | most memory |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        if row["part"] == "start":
            made = f"{row['materialize_ms']:.2f}" if "materialize_ms" in row else "-"
            lines.append(f"| {row['work'].removesuffix(', process to first output')} | "
                         f"{row['threads']} | {row['median_ms']:.1f} ({row['min_ms']:.1f} to "
                         f"{row['max_ms']:.1f}) | {row['library_ms']:.1f} | {made} | "
                         f"{row['peak_resident_bytes'] / 2 ** 20:.1f} MiB |")
    return "\n".join(lines)


def main():
    folder, peers_path, commit, remark = (sys.argv[1:] + [""])[:4]
    rows = read(folder + "/performance.jsonl")
    with open(peers_path) as file:
        peers = file.read()
    machines = [row for row in rows if row["part"] == "machine"]
    peaks = ", ".join(f"{row['peak_gflops']:.0f} GFLOP/s on {row['threads']} thread"
                      + "s" * (row["threads"] > 1) for row in machines)
    first = machines[0]
    print(f"""<!-- SPDX-License-Identifier: MIT -->
# Performance

Written by [performance.sh](performance.sh), which measures all of this again:

    docs/results/performance.sh build --install --resnet20 resnet20_cifar10.safetensors \\
        --resnet56 resnet56_cifar10.safetensors

Processor: {first['processor']}, {first['processors']} processors. Multiply-adds at best, measured in the
same run without leaving the registers ({first['peak_instructions']}): {peaks}. neumeta {first['version']}, commit
{commit}. Times are medians of repeated timings. A multiply-add counts 2; a training step three times a run;
what the library saves is not taken off, so shares of the peak may exceed 100 %: convolutions of 3 x 3 taps need 4/9
of the products that are counted (Winograd's algorithm, [kernels.md](../methods/kernels.md)).{' ' if remark else ''}{remark}

## Against PyTorch and ONNX Runtime

`tests/bench/peers.sh`: processes that stay for a piece of work, timed in turn within one run, on the same weights and
images, after a check that all compute the same. Above 1 ours is faster. PyTorch runs at the fastest of what it
offers: eager or compiled (jit), channels last or not, and the fastest kernels of OpenBLAS. "Of peak" is ours; MiB
are the most resident memory of a new process that does three steps and nothing else, libraries included.

{peers}""")
    for part, title, text in PARTS:
        found = [row for row in rows if row["part"] == part]
        print(f"## {title}\n\n{text}\n\n{time_table(found, part != 'materialize')}\n")
        if part == "materialize":
            print("![milliseconds by rows](performance-rows.svg)\n")
            print("![GFLOP/s by hidden width](performance-inr.svg)\n")
        if part == "run":
            print("![images a second by batch](performance-batch.svg)\n")
    print(f"""## Threads

![GFLOP/s by threads](performance-threads.svg)

## Memory and start

`neumeta_network_memory()` tells the working memory before any is taken. The process is `neumeta bench
--once`, which loads the file of a network, or `--grow`, which loads that of a manifold of grids and materialises it at
full sizes; both run one batch.

{start_table(rows)}""")


main()
