#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Time the same work here, in PyTorch and in ONNX Runtime, in alternation, after checking that all
compute the same. Started by peers.sh, which installs what is missing; see --help.

Each side is a process that stays (PyTorch's for one piece of work), fed with one command a line,
fields separated by tabs:

    about                           versions
    variants KIND                   ways that this side knows; one of them ends `open`
    open KIND TOPOLOGY WEIGHTS BATCH NORM INR NOISE RATE PRECISION|MANIFOLD [VARIANT]
                                    prepare a piece of work; ours, which takes the precision, answers
                                    its FLOPs
    time COUNT BEFORE               seconds of COUNT runs, after BEFORE others
    write BEFORE AFTER              ours: files with a manifold, and with results
    compare BEFORE AFTER            the others: relative distance of their results from those
    quit

and answers "ok" or "error", with what was asked for behind. ONNX Runtime opens a FILE and a BATCH.
"""
import argparse
import glob
import json
import os
import platform
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROUNDS_LEAST, ROUNDS_MOST = 5, 41
VISIT = 0.03    # seconds that a side computes at least before the next one's turn
SLOW = 0.3      # seconds of a run of which one timing is enough to choose by
SETTLE = 0.005  # seconds between turns: spinning threads go to sleep
TIMED_RATE, CHECKED_RATE = "1e-6", "1e-3"

# Largest relative distance of results: rounding. AdamW divides by the size of a gradient and so
# carries the rounding of tiny ones into whole steps.
TOLERANCE = {"materialize": 1e-3, "run": 1e-4, "train": 1e-2, "step": 5e-2}
TOLERANCE_BF16 = {"materialize": 1e-2, "train": 3e-1, "step": 5e-1}
NEIGHBOUR = "while True: pass"
NEIGHBOUR_TEXT = ("Beside one process that never rests. A scheduler that is fair to n threads and to it leaves work of n\n"
                  "threads (n + 1) / n times its time at best, 1.5 for two; on one thread work goes on undisturbed.")


class Side:
    def __init__(self, name, command, environment=None):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment)

    def ask(self, *fields):
        try:
            self.process.stdin.write("\t".join(str(field) for field in fields) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        status, *said = answer.rstrip("\n").split("\t")
        if status != "ok":
            raise RuntimeError(f"{self.name}: {' '.join(map(str, fields[:2]))}: "
                               f"{said[0] if said else 'ended'}")
        return said

    def seconds(self, count, before):
        return float(self.ask("time", count, before)[0]) / count

    def peak_mib(self):
        """Most memory of the process so far."""
        with open(f"/proc/{self.process.pid}/status") as file:
            kib = next(line.split()[1] for line in file if line.startswith("VmHWM:"))
        return int(kib) / 1024

    def close(self):
        try:
            self.ask("quit")
        except RuntimeError:
            pass
        self.process.stdin.close()
        self.process.wait()


class Work:
    def __init__(self, kind, label, topology="resnet20-cifar", batch=1, norm="fold", inr="-",
                 precision="fp32"):
        self.kind, self.label, self.topology = kind, label, topology
        self.batch, self.norm, self.inr, self.precision = batch, norm, inr, precision

    def halved(self):
        return Work(self.kind, self.label + "; ours in bf16", self.topology, self.batch, self.norm,
                    self.inr, "bf16")

    def fields(self, weights, checked):
        return [self.kind, self.topology, weights[self.topology], self.batch, self.norm, self.inr,
                0 if checked else 1, CHECKED_RATE if checked else TIMED_RATE]


def list_work(large):
    work = [Work("materialize", f"materialise 8,320 rows, INR {inr}, one sample", inr=inr)
            for inr in ("256x5x16", "512x8x32")]
    for name in ("20", "56"):
        for batch in (1, large):
            work.append(Work("run", f"inference ResNet-{name}, batch {batch}",
                             f"resnet{name}-cifar", batch))
    for name in ("20", "56"):
        for norm, text in (("fold", "norm folded"), ("batch", "batch norm")):
            work.append(Work("train", f"training step ResNet-{name}, batch {large}, {text}",
                             f"resnet{name}-cifar", large, norm))
    step = f"whole step of the reference method, ResNet-20, one block, batch {large}, INR 256x5x16"
    work.append(Work("step", step, batch=large, inr="256x5x16"))
    work.append(Work("step", step + "; the peer with gradients of the whole network, as in the "
                     "published code", batch=large, norm="whole", inr="256x5x16"))
    return work


def say(text):
    print(text, file=sys.stderr, flush=True)


def supports(flag):
    try:
        with open("/proc/cpuinfo") as file:
            return f" {flag} " in file.read().replace("\n", " ")
    except OSError:
        return False


def torch_settings(threads):
    """Libraries of matrix products and their kernels: which is fastest differs by processor."""
    base = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    base.pop("OPENBLAS_CORETYPE", None)
    cores = [None]
    if platform.machine() == "x86_64":
        cores += ["Haswell", "Zen"] + (["SkylakeX"] if supports("avx512f") else [])
    settings = [("system BLAS", base)]
    libraries = sorted(glob.glob("/usr/lib/*/openblas-*/libblas.so.3"))
    for library in libraries if threads > 1 else libraries[:1]:  # they differ by threads only
        folder = os.path.dirname(library)
        for core in cores:
            added = {"LD_LIBRARY_PATH": folder}
            if core is not None:
                added["OPENBLAS_CORETYPE"] = core
            settings.append((f"{os.path.basename(folder)}, OPENBLAS_CORETYPE {core or 'unset'}",
                             {**base, **added}))
    return settings[1:] or settings


def torch_command(threads):
    return [sys.executable, os.path.join(HERE, "peer_torch.py"), str(threads)]


def start_torch(threads, manifold):
    """The process with the fastest setting, judged by materialisation: all of it is products."""
    fields = ["materialize", "resnet20-cifar", "-", 1, "fold", "256x5x16", 0, 0, manifold, "eager"]
    best, best_seconds, best_setting = None, float("inf"), None
    for name, environment in torch_settings(threads):
        side = Side("torch", torch_command(threads), environment)
        side.ask("open", *fields)
        seconds = min(side.seconds(1, int(i == 0)) for i in range(4))
        say(f"  torch, {name}: {1e3 * seconds:.1f} ms")
        if seconds < best_seconds:
            if best is not None:
                best.close()
            best, best_seconds, best_setting = side, seconds, (name, environment)
        else:
            side.close()
    return best, *best_setting


class Comparison:
    def __init__(self, options, weights, threads):
        self.options, self.weights, self.threads = options, weights, threads
        self.folder = options.work
        self.before = os.path.join(self.folder, "before.safetensors")
        self.after = os.path.join(self.folder, "after")
        self.ours = self.start_ours()
        version, processor, peak, instructions = self.ours.ask("about")
        self.peak = float(peak)
        self.about = {"threads": threads, "processor": processor, "neumeta": version,
                      "peak_gflops": round(1e-9 * self.peak, 1), "peak_instructions": instructions}
        self.open_ours(Work("materialize", "", inr="256x5x16"), True)
        self.ours.ask("write", self.before, self.after)
        self.torch, self.about["torch_setting"], self.environment = start_torch(threads, self.before)
        self.about["torch"] = self.torch.ask("about")[0]
        self.onnx = None
        if options.onnxruntime:
            self.onnx = Side("onnxruntime", [options.node, os.path.join(HERE, "peer_onnxruntime.js"),
                                             str(threads), options.onnxruntime])
            self.about["onnxruntime"] = self.onnx.ask("about")[0]

    def start_ours(self):
        return Side("neumeta", [self.options.driver, str(self.threads)])

    def peaks_mib(self, work, variant):
        """Most memory of new processes, ours and torch's, that do this work only."""
        sides = self.start_ours(), Side("torch", torch_command(self.threads), self.environment)
        tails = [work.precision], [self.before, variant]
        for side, tail in zip(sides, tails):
            side.ask("open", *work.fields(self.weights, False), *tail)
            side.seconds(1, 2)
        peaks = [side.peak_mib() for side in sides]
        for side in sides:
            side.close()
        return peaks

    def close(self):
        for side in (self.ours, self.torch, self.onnx):
            if side is not None:
                side.close()

    def check(self, work, side):
        difference = float(side.ask("compare", self.before, self.after)[0])
        most = (TOLERANCE if work.precision == "fp32" else TOLERANCE_BF16)[work.kind]
        if not difference <= most:
            raise RuntimeError(f"{side.name} computes something else: {work.label}: relative "
                               f"distance {difference}, at most {most}")
        return difference

    def open_ours(self, work, checked):
        return self.ours.ask("open", *work.fields(self.weights, checked), work.precision)[0]

    def open_torch(self, work, checked, variant):
        self.torch.ask("open", *work.fields(self.weights, checked), self.before, variant)

    def time_variant(self, work, variant):
        self.open_torch(work, False, variant)
        # Its compiler looks at two runs and works during the next.
        once = min(self.torch.seconds(1, 2 * int(i == 0)) for i in range(4))
        if once > SLOW:
            return once
        return min(once, *(self.torch.seconds(max(1, int(VISIT / once)), 0) for _ in range(3)))

    def prepare_torch(self, work):
        """Opens the fastest variant, after checking it."""
        variants = self.torch.ask("variants", work.kind)
        variant = min(variants, key=lambda each: self.time_variant(work, each))
        self.open_torch(work, True, variant)
        difference = self.check(work, self.torch)
        self.open_torch(work, False, variant)
        self.torch.seconds(1, 2)
        return variant, difference

    def prepare_onnx(self, work):
        file = os.path.join(self.folder, "network.onnx")
        self.open_torch(work, True, "eager")
        self.torch.ask("export", file)
        self.onnx.ask("open", file, work.batch)
        return "", self.check(work, self.onnx)

    def alternate(self, sides):
        """Times in turn, in rounds; a list of one time a round for each side."""
        once = [min(side.seconds(1, 1), side.seconds(1, 0)) for side in sides]
        counts = [max(1, int(VISIT / seconds)) for seconds in once]
        warm = [int(seconds < VISIT) for seconds in once]
        turn = sum(s * (c + w) + SETTLE for s, c, w in zip(once, counts, warm))
        rounds = max(ROUNDS_LEAST, min(ROUNDS_MOST, int(self.options.seconds / turn)))
        times = [[] for _ in sides]
        for _ in range(rounds):
            for side, count, before, taken in zip(sides, counts, warm, times):
                time.sleep(SETTLE)
                taken.append(side.seconds(count, before))
        return times

    def run(self, work):
        self.torch.close()  # whose processes slow down with what they have done before
        self.torch = Side("torch", torch_command(self.threads), self.environment)
        flops = float(self.open_ours(work, True))
        self.ours.ask("write", self.before, self.after)
        peers = []
        if self.onnx is not None and work.kind == "run":
            peers.append((self.onnx, *self.prepare_onnx(work)))
        peers.append((self.torch, *self.prepare_torch(work)))
        self.open_ours(work, False)
        ours, *others = self.alternate([self.ours] + [peer[0] for peer in peers])
        for (side, setting, error), theirs in zip(peers, others):
            ratios = sorted(b / a for a, b in zip(ours, theirs))
            low, ratio, high = statistics.quantiles(ratios, n=4)
            median = statistics.median(ours)
            memory = {}
            if work.kind == "train":
                ours_mib, peer_mib = self.peaks_mib(work, setting)
                memory = {"neumeta_mib": ours_mib, "peer_mib": peer_mib}
            yield {"kind": work.kind, "work": work.label, "topology": work.topology,
                   "batch": work.batch, "threads": self.threads, "peer": side.name,
                   "setting": setting, "rounds": len(ours), "neumeta_ms": 1e3 * median,
                   "neumeta_min_ms": 1e3 * min(ours), "peer_ms": 1e3 * statistics.median(theirs),
                   "peer_min_ms": 1e3 * min(theirs), "ratio": ratio, "ratio_low": low,
                   "ratio_high": high, "peak_share": flops / median / self.peak,
                   "precision": work.precision, "error": error, **memory}

    def beside_neighbour(self, work):
        """Our own time alone and beside a process that never rests, in turn."""
        self.open_ours(work, False)
        once = min(self.ours.seconds(1, 1), self.ours.seconds(1, 0))
        count = max(1, int(5 * VISIT / once))
        times = ([], [])
        for _ in range(max(ROUNDS_LEAST, int(self.options.seconds / (2 * count * once)))):
            times[0].append(self.ours.seconds(count, 1))
            neighbour = subprocess.Popen([sys.executable, "-c", NEIGHBOUR])
            time.sleep(4 * VISIT)
            times[1].append(self.ours.seconds(count, 1))
            neighbour.kill()
            neighbour.wait()
        quiet, busy = (statistics.median(each) for each in times)
        return {"kind": "neighbour", "work": work.label, "threads": self.threads,
                "neumeta_ms": 1e3 * quiet, "busy_ms": 1e3 * busy,
                "ratio": statistics.median(b / a for a, b in zip(*times))}


def digits(value):
    """Three of them, without an exponent."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def table(machines, rows, neighbours):
    lines = []
    for about in machines:
        count = f"{about['threads']} thread" + "s" * (about["threads"] > 1)
        onnx = f", onnxruntime {about['onnxruntime']}" if "onnxruntime" in about else ""
        lines.append(f"{about['processor']}, {count}: multiply-adds at best {about['peak_gflops']} "
                     f"GFLOP/s ({about['peak_instructions']}); neumeta {about['neumeta']}, torch "
                     f"{about['torch']} with {about['torch_setting']}{onnx}.\n")
    lines += ["| work | threads | peer | peer, ms | neumeta, ms | peer / neumeta (quartiles) | "
              "of peak | peer, MiB | neumeta, MiB |",
              "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        peer = row["peer"] + (f", {row['setting']}" if row["setting"] else "")
        lines.append(f"| {row['work']} | {row['threads']} | {peer} | {digits(row['peer_ms'])} | "
                     f"{digits(row['neumeta_ms'])} | **{row['ratio']:.2f}** ({row['ratio_low']:.2f} to "
                     f"{row['ratio_high']:.2f}) | {100 * row['peak_share']:.0f} % | "
                     + " | ".join(digits(row[k]) if k in row else "-"
                                  for k in ("peer_mib", "neumeta_mib")) + " |")
    if neighbours:
        lines += ["", NEIGHBOUR_TEXT, "",
                  "| work | threads | alone, ms | beside it, ms | ratio |",
                  "| --- | --- | --- | --- | --- |"]
    for row in neighbours:
        lines.append(f"| {row['work']} | {row['threads']} | {digits(row['neumeta_ms'])} | "
                     f"{digits(row['busy_ms'])} | {row['ratio']:.2f} |")
    return "\n".join(lines) + "\n"


def parse():
    parser = argparse.ArgumentParser(prog="peers.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--driver", required=True, help="the built tests/bench/peer_neumeta")
    parser.add_argument("--resnet20", help="safetensors with batch norm; without it one is made")
    parser.add_argument("--resnet56", help="the same")
    parser.add_argument("--work", required=True, help="folder for files in between")
    parser.add_argument("--onnxruntime", help="folder with node_modules/onnxruntime-node")
    parser.add_argument("--node", default="node", help="the node program")
    parser.add_argument("--threads", default="1", help="numbers with commas between (default 1)")
    parser.add_argument("--batch", type=int, default=128,
                        help="images of training and of the large inference (default 128)")
    parser.add_argument("--kinds", default="materialize,run,train,step",
                        help="some of materialize,run,train,step")
    parser.add_argument("--topologies", default="resnet20-cifar,resnet56-cifar",
                        help="some of resnet20-cifar,resnet56-cifar")
    parser.add_argument("--bf16", action="store_true", help="ours in bf16, too, even where the "
                        "processor has no instructions for it")
    parser.add_argument("--seconds", type=float, default=5, help="time of one comparison")
    parser.add_argument("--results", help="JSON lines, too")
    parser.add_argument("--markdown", help="the table, too")
    return parser.parse_args()


def find_weights(options):
    weights = {"resnet20-cifar": options.resnet20, "resnet56-cifar": options.resnet56}
    missing = {t: os.path.join(options.work, t + ".safetensors")
               for t, file in weights.items() if file is None}
    if missing:
        maker = Side("neumeta", [options.driver, "1"])
        for topology, file in missing.items():
            maker.ask("make", topology, file)
        maker.close()
    return {**weights, **missing}


def main():
    options = parse()
    os.makedirs(options.work, exist_ok=True)
    weights = find_weights(options)
    wanted = [w for w in list_work(options.batch) if w.kind in options.kinds.split(",")
              and w.topology in options.topologies.split(",")]
    if options.bf16 or supports("avx512_bf16") or supports("amx_bf16"):
        wanted += [w.halved() for w in wanted if w.kind != "run"]
    machines, rows, neighbours = [], [], []
    for threads in map(int, options.threads.split(",")):
        comparison = Comparison(options, weights, threads)
        machines.append(comparison.about)
        print(json.dumps({"kind": "machine", **comparison.about}), flush=True)
        for work in wanted:
            say(f"{threads} thread{'s' * (threads > 1)}: {work.label}")
            for row in comparison.run(work):
                rows.append(row)
                print(json.dumps(row), flush=True)
        for work in wanted if threads > 1 else []:
            if work.kind in ("run", "train") and work.norm == "fold":
                neighbours.append(comparison.beside_neighbour(work))
                print(json.dumps(neighbours[-1]), flush=True)
        comparison.close()
    rows.sort(key=lambda row: [w.label for w in wanted].index(row["work"]))
    text = table(machines, rows, neighbours)
    print("\n" + text)
    if options.results:
        with open(options.results, "w") as file:
            for row in [{"kind": "machine", **about} for about in machines] + rows + neighbours:
                file.write(json.dumps(row) + "\n")
    if options.markdown:
        with open(options.markdown, "w") as file:
            file.write(text)


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as failure:
        sys.exit(f"peers: {failure}")
