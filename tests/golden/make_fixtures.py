#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Compute tests/golden/*.safetensors with PyTorch (Debian: python3-torch, python3-numpy).

Tiny random operators, losses, optimisers and an INR (fixtures.safetensors), and two residual networks with
batch norm that are run and trained (network.safetensors), computed in float64 and stored as float32, so
that a run of the tests is checked against a framework without having one. Run it from anywhere:

    /usr/bin/python3 tests/golden/make_fixtures.py
"""
import json
import math
import os
import struct

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(20241124)
torch.set_default_dtype(torch.float64)
tensors = {}


def keep(name, value):
    tensors[name] = value.detach().contiguous()


def random(*shape, scale=1.0):
    # Values that float32 holds exactly, so that both sides compute from the same numbers.
    return (torch.randn(*shape) * scale).float().double()


def operator(name, make, inputs):
    """Output of make(*inputs), and its vector-Jacobian products with a random vector."""
    inputs = [x.requires_grad_(True) for x in inputs]
    output = make(*inputs)
    cotangent = random(*output.shape)
    gradients = torch.autograd.grad(output, inputs, cotangent)
    for i, (x, g) in enumerate(zip(inputs, gradients)):
        keep(f"{name}.input{i}", x)
        keep(f"{name}.gradient{i}", g)
    keep(f"{name}.output", output)
    keep(f"{name}.cotangent", cotangent)


def operators():
    for kernel, stride, padding, height in ((3, 1, 1, 7), (3, 2, 1, 8), (1, 2, 0, 7), (5, 1, 2, 6)):
        operator(f"conv_k{kernel}_s{stride}",
                 lambda x, w, b: F.conv2d(x, w, b, stride=stride, padding=padding),
                 [random(2, 3, height, height), random(5, 3, kernel, kernel), random(5)])
    operator("linear", F.linear, [random(4, 6), random(3, 6), random(3)])
    operator("max_pool", lambda x: F.max_pool2d(x, 2, 2), [random(2, 3, 6, 6)])
    operator("average_pool", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
             [random(2, 3, 7, 7)])
    operator("global_pool", lambda x: x.mean((2, 3), keepdim=True), [random(2, 3, 5, 5)])
    operator("elu", F.elu, [random(2, 3, 4, 4)])
    operator("relu", F.relu, [random(2, 3, 4, 4)])


def batch_norm():
    mean, variance = torch.zeros(3), torch.ones(3)
    operator("batch_norm",
             lambda x, w, b: F.batch_norm(x, mean, variance, w, b, training=True, momentum=0.1,
                                          eps=1e-5),
             [random(6, 3, 4, 4), random(3), random(3)])
    keep("batch_norm.running_mean", mean)
    keep("batch_norm.running_var", variance)


def losses():
    logits = random(6, 5, scale=2).requires_grad_(True)
    teacher = random(6, 5, scale=2)
    labels = torch.tensor([0, 3, 1, 4, 2, 2])
    loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
    keep("loss.logits", logits)
    keep("loss.teacher", teacher)
    keep("loss.labels", labels.double())
    keep("loss.cross_entropy", loss.reshape(1))
    keep("loss.cross_entropy_gradient", torch.autograd.grad(loss, logits)[0])
    temperature = 2.0
    loss = temperature ** 2 * F.kl_div(F.log_softmax(logits / temperature, 1),
                                       F.softmax(teacher / temperature, 1), reduction="batchmean")
    keep("loss.distillation", loss.reshape(1))
    keep("loss.distillation_gradient", torch.autograd.grad(loss, logits)[0])


def optimizers():
    start, gradients = random(7), random(4, 7)
    settings = {
        "sgd": lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
        "adamw": lambda p: torch.optim.AdamW([p], lr=0.01, betas=(0.9, 0.999), eps=1e-8,
                                             weight_decay=0.1),
    }
    keep("optimizer.start", start)
    keep("optimizer.gradients", gradients)
    for name, make in settings.items():
        parameter = torch.nn.Parameter(start.clone())
        optimizer = make(parameter)
        path = []
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
            path.append(parameter.detach().clone())
        keep(f"optimizer.{name}", torch.stack(path))


def inr():
    """One INR of arXiv 2410.11878 at clean coordinates: a 3 x 3 convolution of 5 x 4 channels that is
    tensor 1 of 4, then its bias, with M = 8."""
    hidden, layers, octaves, outputs, scale = 12, 3, 4, 9, 8.0
    width = 6 + 12 * octaves
    shapes = [("0.weight", (hidden, width)), ("0.bias", (hidden,))]
    for m in range(1, layers):
        shapes += [(f"{m}.weight", (hidden, hidden)), (f"{m}.bias", (hidden,)), (f"{m}.scalar", (1,))]
    shapes += [("out.weight", (outputs, hidden)), ("out.bias", (outputs,))]
    parameters = {}
    for name, shape in shapes:
        fan_in = shape[1] if len(shape) == 2 else width
        parameters[name] = random(*shape, scale=1 / math.sqrt(fan_in)).requires_grad_(True)
        keep(f"inr.{name}", parameters[name])

    def emit(index, count, out_channels, in_channels, bias):
        rows = []
        for o in range(out_channels):
            for i in range(1 if bias else in_channels):
                rows.append((index, o, 0 if bias else i, count, out_channels,
                             1 if bias else in_channels))
        q = torch.tensor(rows, dtype=torch.float64)
        x = torch.cat([q[:, :3] / q[:, 3:], q[:, 3:] / scale], 1)
        # The library's order of features: coordinates, all sines, all cosines, octaves outermost.
        angles = torch.cat([2 ** k * math.pi * x for k in range(octaves)], 1)
        return torch.cat([x, torch.sin(angles), torch.cos(angles)], 1)

    for activation, phi in (("relu", F.relu), ("elu", F.elu)):
        for name, index, bias in (("weight", 1, False), ("bias", 2, True)):
            a = phi(F.linear(emit(index, 4, 5, 4, bias), parameters["0.weight"], parameters["0.bias"]))
            for m in range(1, layers):
                a = a + parameters[f"{m}.scalar"] * phi(
                    F.linear(a, parameters[f"{m}.weight"], parameters[f"{m}.bias"]))
            out = F.linear(a, parameters["out.weight"], parameters["out.bias"])
            value = out[:, 4] if bias else out.reshape(5, 4, 3, 3) / 4
            cotangent = random(*value.shape)
            gradients = torch.autograd.grad(value, list(parameters.values()), cotangent)
            key = f"inr.{activation}.{name}"
            keep(f"{key}.output", value)
            keep(f"{key}.cotangent", cotangent)
            for (parameter, _), gradient in zip(shapes, gradients):
                keep(f"{key}.gradient.{parameter}", gradient)


class Block(nn.Module):
    """ReLU(x' + norm(conv(ReLU(norm(conv(x)))))), with a shortcut where the shape changes."""

    def __init__(self, inputs, outputs, stride, project):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.added = outputs - inputs
        if self.added and project:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                                          nn.BatchNorm2d(outputs))
        elif self.added:
            # Option A of arXiv 1512.03385: every other pixel, and zeros for the missing channels.
            self.shortcut = lambda x: F.pad(x[:, :, ::2, ::2],
                                            (0, 0, 0, 0, self.added // 2, self.added // 2))
        else:
            self.shortcut = nn.Identity()

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """A CIFAR ResNet of 2, 4 and 8 channels with 1, 2 and 1 blocks, for images of one channel."""

    def __init__(self, project):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(2)
        self.layer1 = nn.Sequential(Block(2, 2, 1, project))
        self.layer2 = nn.Sequential(Block(2, 4, 2, project), Block(4, 4, 1, project))
        self.layer3 = nn.Sequential(Block(4, 8, 2, project))
        self.linear = nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def randomize(model):
    """Norms too, so that no scale is one and no statistic at its start."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.dim() == 4:
                value.copy_(random(*value.shape, scale=value[0].numel() ** -0.5))
            elif name.endswith("running_var") or (value.dim() == 1 and name.endswith("weight")):
                value.copy_((1 + torch.rand(*value.shape)).float().double() / 2)
            elif value.dim() > 0:
                value.copy_(random(*value.shape, scale=0.3))


def keep_state(prefix, model, suffixes=("weight", "bias", "running_mean", "running_var")):
    for name, value in model.state_dict().items():
        if name.endswith(suffixes):
            keep(f"{prefix}.{name}", value.clone())


def network(key, project):
    """Logits; loss, gradients and running statistics of one training pass; three steps of SGD."""
    model = ResNet(project)
    randomize(model)
    inputs, labels = random(6, 1, 8, 8), torch.tensor([0, 3, 1, 2, 2, 0])
    keep(f"{key}.inputs", inputs)
    keep(f"{key}.labels", labels.double())
    keep_state(f"{key}.start", model)
    keep(f"{key}.logits", model.eval()(inputs))
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01,
                                nesterov=True)
    for step in range(3):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        if step == 0:
            keep(f"{key}.loss", loss.reshape(1))
            keep_state(f"{key}.pass", model, ("running_mean", "running_var"))
            for name, parameter in model.named_parameters():
                keep(f"{key}.gradient.{name}", parameter.grad.clone())
        optimizer.step()
    keep_state(f"{key}.trained", model)


def write(name):
    """Puts everything kept so far into a file, and starts anew."""
    header, offset, blobs = {}, 0, []
    for key, value in tensors.items():
        data = struct.pack(f"<{value.numel()}f", *value.reshape(-1).tolist())
        header[key] = {"dtype": "F32", "shape": list(value.shape),
                        "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
        blobs.append(data)
    header["__metadata__"] = {"made_by": f"make_fixtures.py, torch {torch.__version__}"}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    tensors.clear()


operators()
batch_norm()
losses()
optimizers()
inr()
write("fixtures.safetensors")
network("option-a", project=False)
network("projection", project=True)
write("network.safetensors")
