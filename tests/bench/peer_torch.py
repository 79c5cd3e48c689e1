# SPDX-License-Identifier: MIT
"""PyTorch's side of peers.py, which explains the commands that come by stdin.

    peer_torch.py THREADS

One more command: `export FILE` writes the opened network as ONNX.
"""
import functools
import json
import math
import struct
import sys
import time
import warnings

import torch
import torch.nn.functional as F

STEPS = 3
CLASSES = 10
STAGES = (16, 32, 64)


def read_tensors(path):
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + o for o in entry["data_offsets"])
        flat = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32)
        tensors[name] = flat.reshape(entry["shape"]).clone()
    return tensors


@functools.lru_cache(None)
def items(count):
    """The numbers of bench_items()."""
    seed, values = 1, []
    for _ in range(count * 3 * 32 * 32):
        seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
        values.append((seed >> 8) / (1 << 23) - 1)
    return torch.tensor(values).reshape(count, 3, 32, 32), torch.arange(count) % CLASSES


class Block(torch.nn.Module):
    def __init__(self, inputs, outputs, norm):
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.conv1 = torch.nn.Conv2d(inputs, outputs, 3, stride, 1, bias=not norm)
        self.conv2 = torch.nn.Conv2d(outputs, outputs, 3, 1, 1, bias=not norm)
        self.bn1 = torch.nn.BatchNorm2d(outputs) if norm else torch.nn.Identity()
        self.bn2 = torch.nn.BatchNorm2d(outputs) if norm else torch.nn.Identity()
        self.pad = (outputs - inputs) // 2

    def shortcut(self, x):
        if self.pad == 0:
            return x
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    def emitted(self, x, weights):
        """The same without norm and with these weights."""
        y = F.relu(F.conv2d(x, weights[0], weights[1], padding=1))
        return F.relu(F.conv2d(y, weights[2], weights[3], padding=1) + self.shortcut(x))


class ResNet(torch.nn.Module):
    def __init__(self, topology, norm):
        super().__init__()
        blocks = (int(topology[len("resnet"):-len("-cifar")]) - 2) // 6
        self.conv1 = torch.nn.Conv2d(3, STAGES[0], 3, 1, 1, bias=not norm)
        self.bn1 = torch.nn.BatchNorm2d(STAGES[0]) if norm else torch.nn.Identity()
        channels = STAGES[0]
        for number, width in enumerate(STAGES):
            stage = []
            for _ in range(blocks):
                stage.append(Block(channels, width, norm))
                channels = width
            setattr(self, f"layer{number + 1}", torch.nn.Sequential(*stage))
        self.linear = torch.nn.Linear(channels, CLASSES)

    def trunk(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.layer2(self.layer1(x))

    def forward(self, x):
        return self.linear(self.layer3(self.trunk(x)).mean((2, 3)))

    def emitted(self, x, weights):
        """With these weights in the last block."""
        x = self.layer3[:-1](self.trunk(x))
        return self.linear(self.layer3[-1].emitted(x, weights).mean((2, 3)))


def fold(tensors):
    """Moves each norm into the convolution before it."""
    result = {}
    for name, value in tensors.items():
        layer, _, kind = name.rpartition(".")
        if "bn" in layer.split(".")[-1]:
            continue
        norm = layer.replace("conv", "bn") if kind == "weight" else ""
        if norm + ".running_var" not in tensors or norm == layer:
            result[name] = value
            continue
        mean, variance, gain, shift = (
            tensors[f"{norm}.{part}"].double()
            for part in ("running_mean", "running_var", "weight", "bias"))
        gain = gain / torch.sqrt(variance + 1e-5)
        result[name] = (value.double() * gain.reshape(-1, 1, 1, 1)).float()
        result[layer + ".bias"] = (shift - mean * gain).float()
    return result


class Inr(torch.nn.Module):
    """One tensor of the last block; `index` of 4 in the coordinates, see docs/methods/inr.md."""

    def __init__(self, parameters, index, octaves, noise):
        super().__init__()
        self.layers = sum(name.endswith(".bias") for name in parameters) - 1
        self.octaves, self.noise = octaves, noise
        for m in [*range(self.layers), "out"]:
            for part in ("weight", "bias") + (("scale",) if m not in (0, "out") else ()):
                tensor = parameters[f"inr.{m}.{part}"]
                setattr(self, f"{part}_{m}", torch.nn.Parameter(tensor.clone()))
        self.convolution = index % 2 == 0
        outputs, inputs = STAGES[-1], STAGES[-1] if self.convolution else 1
        o, i = torch.meshgrid(torch.arange(outputs), torch.arange(inputs), indexing="ij")
        rows = outputs * inputs
        clean = [torch.full((rows,), index), o.reshape(-1), i.reshape(-1)]
        clean += [torch.full((rows,), n) for n in (4, outputs, inputs)]
        self.register_buffer("clean", torch.stack(clean, 1).float())
        self.register_buffer("powers", 2.0 ** torch.arange(octaves).float())
        self.inputs, self.outputs = inputs, outputs

    def parameters_list(self):
        return [(name.split("_")[1] + "." + name.split("_")[0], p)
                for name, p in self.named_parameters()]

    def encode(self):
        q = self.clean
        if self.noise > 0:
            q = q + (torch.rand_like(q) - 0.5) * self.noise
        x = torch.cat([q[:, :3] / q[:, 3:], q[:, 3:] / STAGES[-1]], 1)
        # Periods of 2 are taken off before pi comes in, or float32 loses the high octaves.
        y = (x.unsqueeze(1) * self.powers.unsqueeze(1)).flatten(1)
        y = (y - 2 * torch.round(y / 2)) * math.pi
        return torch.cat([x, torch.sin(y), torch.cos(y)], 1)

    def forward(self):
        a = F.relu(F.linear(self.encode(), self.weight_0, self.bias_0))
        for m in range(1, self.layers):
            weight, bias = getattr(self, f"weight_{m}"), getattr(self, f"bias_{m}")
            a = a + getattr(self, f"scale_{m}") * F.relu(F.linear(a, weight, bias))
        if self.convolution:
            taps = F.linear(a, self.weight_out, self.bias_out)
            return taps.reshape(self.outputs, self.inputs, 3, 3) / self.inputs
        middle = self.weight_out.shape[0] // 2
        return F.linear(a, self.weight_out[middle:middle + 1],
                        self.bias_out[middle:middle + 1]).reshape(-1)


class Emitter(torch.nn.Module):
    def __init__(self, path, octaves, noise):
        super().__init__()
        tensors = read_tensors(path)
        names = sorted({name.split("/")[0] for name in tensors if "/inr." in name})
        self.names = sorted(names, key=lambda n: (n.split(".")[-2], n.endswith(".bias")))
        self.inrs = torch.nn.ModuleList(
            Inr({k.split("/")[1]: v for k, v in tensors.items() if k.startswith(name + "/")},
                index, octaves, noise) for index, name in enumerate(self.names))

    def forward(self):
        return tuple(inr() for inr in self.inrs)


def error(ours, theirs):
    """Relative Euclidean distance of two lists of tensors."""
    difference = math.sqrt(sum(float((a - b).double().square().sum()) for a, b in zip(ours, theirs)))
    return difference / math.sqrt(sum(float(b.double().square().sum()) for b in theirs))


# Each kind of work: variants, once(), and compare(before, after) with files of ours.

class Materialize:
    variants = ("eager", "jit")

    def __init__(self, job):
        emitter = Emitter(job["manifold"], job["octaves"], 0).eval().requires_grad_(False)
        self.names = emitter.names
        # Not frozen: all would be constants, and folding them would leave nothing to do.
        self.emit = torch.jit.trace(emitter, (), check_trace=False) if job["jit"] else emitter

    @torch.inference_mode()
    def once(self):
        return self.emit()

    def compare(self, before, after):
        expected = read_tensors(after)
        return error(self.once(), [expected[name] for name in self.names])


class Run:
    variants = ("eager", "eager channels_last", "jit", "jit channels_last")

    def __init__(self, job):
        self.network = job["network"].eval().requires_grad_(False)
        self.inputs = job["inputs"]
        self.run = self.network
        if job["jit"]:
            traced = torch.jit.freeze(torch.jit.trace(self.network, self.inputs))
            self.run = torch.jit.optimize_for_inference(traced)

    @torch.inference_mode()
    def once(self):
        return self.run(self.inputs)

    def compare(self, before, after):
        with open(after, "rb") as file:
            expected = torch.frombuffer(bytearray(file.read()), dtype=torch.float32)
        return error([self.once().reshape(-1)], [expected])


class Train:
    variants = ("eager", "eager channels_last", "jit", "jit channels_last")

    def __init__(self, job):
        self.network = job["network"].train()
        self.inputs, self.targets = job["inputs"], job["targets"]
        self.start = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.run = torch.jit.script(self.network) if job["jit"] else self.network
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=job["rate"], momentum=0.9,
                                         nesterov=True)

    def once(self):
        self.optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(self.run(self.inputs), self.targets).backward()
        self.optimizer.step()

    def compare(self, before, after):
        for _ in range(STEPS):
            self.once()
        expected = read_tensors(after)
        names = [name for name, _ in self.network.named_parameters()]
        state = self.network.state_dict()
        return error([state[n] - self.start[n] for n in names],
                     [expected[n] - self.start[n] for n in names])


class Step:
    """Cross-entropy, 1e-4 norms and weighted reconstruction; only the INRs train. The published code
    has gradients of the whole network computed nevertheless (`whole`)."""
    variants = Train.variants

    def __init__(self, job):
        self.network = job["network"].eval().requires_grad_(job["whole"])
        self.inputs, self.targets = job["inputs"], job["targets"]
        self.emitter = Emitter(job["manifold"], job["octaves"], job["noise"])
        self.start = [p.detach().clone() for p in self.emitter.parameters()]
        self.average = [p.detach().clone() for p in self.emitter.parameters()]
        self.emit = torch.jit.trace(self.emitter, (), check_trace=False) if job["jit"] \
            else self.emitter
        last = self.network.layer3[-1]
        self.reference = [each.detach() for each in (last.conv1.weight, last.conv1.bias,
                                                     last.conv2.weight, last.conv2.bias)]
        self.weighting = [(r.abs() + 1e-6) / (r.abs().max() + 1e-6) for r in self.reference]
        self.optimizer = torch.optim.AdamW(self.emitter.parameters(), lr=job["rate"],
                                           weight_decay=1e-2, foreach=True)

    def once(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.network.zero_grad(set_to_none=True)
        weights = self.emit()
        loss = F.cross_entropy(self.network.emitted(self.inputs, weights), self.targets)
        loss = loss + 1e-4 * sum(w.norm() for w in weights)
        loss = loss + sum((a * (w - r) ** 2).mean() for a, w, r in
                          zip(self.weighting, weights, self.reference)) / len(weights)
        loss.backward()
        parameters = list(self.emitter.parameters())
        torch.nn.utils.clip_grad_value_(parameters, 10)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_mul_(self.average, 0.995)
            torch._foreach_add_(self.average, [p.detach() for p in parameters], alpha=0.005)

    def compare(self, before, after):
        for _ in range(STEPS):
            self.once()
        expected = read_tensors(after)
        ours, theirs, start = [], [], iter(self.start)
        for name, inr in zip(self.emitter.names, self.emitter.inrs):
            for part, parameter in inr.parameters_list():
                first = next(start)
                ours.append(parameter.detach() - first)
                theirs.append(expected[f"{name}/inr.{part}"] - first)
        return error(ours, theirs)


KINDS = {"materialize": Materialize, "run": Run, "train": Train, "step": Step}


def open_work(fields):
    kind, topology, weights, batch, norm, inr, noise, rate, manifold, variant = fields
    job = {"jit": "jit" in variant, "noise": float(noise), "rate": float(rate),
           "manifold": manifold}
    if inr != "-":
        job["octaves"] = int(inr.split("x")[2])
    if kind != "materialize":
        tensors = read_tensors(weights)
        network = ResNet(topology, norm == "batch")
        network.load_state_dict(tensors if norm == "batch" else fold(tensors), strict=False)
        job["whole"] = norm == "whole"
        job["inputs"], job["targets"] = items(int(batch))
        if "channels_last" in variant:
            network = network.to(memory_format=torch.channels_last)
            job["inputs"] = job["inputs"].contiguous(memory_format=torch.channels_last)
        job["network"] = network
    return KINDS[kind](job)


def serve(fields, work):
    command = fields[0]
    if command == "about":
        return work, [torch.__version__]
    if command == "variants":
        return work, KINDS[fields[1]].variants
    if command == "open":
        return open_work(fields[1:]), []
    if command == "time":
        for _ in range(int(fields[2])):
            work.once()
        begin = time.perf_counter()
        for _ in range(int(fields[1])):
            work.once()
        return work, [f"{time.perf_counter() - begin:.9f}"]
    if command == "compare":
        return work, [f"{work.compare(fields[1], fields[2]):.3g}"]
    if command == "export":
        torch.onnx.export(work.network, work.inputs.contiguous(), fields[1], opset_version=13,
                          input_names=["input"], output_names=["output"])
        return work, []
    raise ValueError("no such command: " + command)


def main():
    warnings.simplefilter("ignore")  # of tracing and exporting, which the checks cover
    threads = int(sys.argv[1])
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.manual_seed(0)
    work = None
    for line in sys.stdin:
        fields = line.rstrip("\n").split("\t")
        if fields[0] == "quit":
            break
        try:
            if fields[0] == "open":
                work = None
            work, said = serve(fields, work)
            print("\t".join(["ok", *said]), flush=True)
        except Exception as failure:
            print("error\t" + str(failure).replace("\n", " ")[:500], flush=True)


main()
