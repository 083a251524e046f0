"""First results of five models of published sizes, written with ``sg.nn``: where the time goes.

    python -m benchmarks first_models [--only vit unet] [--repeat 2] [--stages]

Each row is a process: ``cold`` with an empty cache of compiled code, ``warm`` with the cache of the
cold process before it. Seconds of processor time of all threads, the least of the repeats, from the
start of the interpreter to the first result. Drawing parameters and feeds is taken off. ``step`` is
a later step. ``--stages`` counts a further cold and warm process by stage
(``benchmarks.compile_time.stages``). Two threads; the step is one of AdamW.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.compile_time.stages import STAGES, Stages
from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe
from staticgrad import nn

#: A model, the inputs of its loss as values, and the arrays that are fed.
Model = tuple[Any, Callable[[Any], Any], dict[str, Any]]


def _make_inputs(arrays: dict[str, Any]) -> list[Any]:
    return [sg.input(name, array.shape, array.dtype.name) for name, array in arrays.items()]


def _draw_images(count: int, side: int, classes: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    x = random.normal(size=(count, 3, side, side)).astype("float32")
    return {"x": x, "y": random.integers(0, classes, count)}


# -- ResNet-18 (He et al., arXiv 1512.03385) ------------------------------------------------------


class BasicBlock(nn.Module):
    """Two convolutions of 3 x 3 beside a shortcut."""

    def __init__(self, c: int, d: int, stride: int) -> None:
        self.conv1 = nn.Conv2d(c, d, 3, stride=stride, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(d), nn.BatchNorm2d(d)
        self.conv2 = nn.Conv2d(d, d, 3, padding=1, bias=False)
        self.shortcut = None
        if stride > 1 or c != d:
            short = nn.Conv2d(c, d, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(short, nn.BatchNorm2d(d))

    def forward(self, x: Any) -> Any:
        h = self.bn2(self.conv2(nn.relu(self.bn1(self.conv1(x)))))
        return nn.relu(h + (x if self.shortcut is None else self.shortcut(x)))


class ResNet18(nn.Module):
    """11.7 million parameters, 1,000 classes."""

    def __init__(self) -> None:
        self.conv = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn, self.pool = nn.BatchNorm2d(64), nn.MaxPool2d(3, 2, 1)
        sizes = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
        pairs = [(BasicBlock(c, d, s), BasicBlock(d, d, 1)) for c, d, s in sizes]
        self.blocks = nn.Sequential(*[block for pair in pairs for block in pair])
        self.head = nn.Linear(512, 1000)

    def forward(self, x: Any) -> Any:
        h = self.blocks(self.pool(nn.relu(self.bn(self.conv(x)))))
        return self.head(h.mean(axis=(2, 3)))


def resnet18() -> Model:
    """Eight images of 64 x 64."""
    net = ResNet18()
    return net, lambda v: nn.cross_entropy(net(v[0]), v[1]), _draw_images(8, 64, 1000)


# -- transformers: DeiT-Ti (arXiv 2012.12877), GPT-2 (Radford et al. 2019) ------------------------


class VisionTransformer(nn.Module):
    """12 layers of 192, 3 heads, patches of 16: 5.7 million parameters."""

    def __init__(self, side: int = 224) -> None:
        tokens = (side // 16) ** 2
        self.patch = nn.Conv2d(3, 192, 16, stride=16)
        self.place = sg.parameter("place", np.zeros((tokens + 1, 192), "float32"))
        self.token = sg.parameter("token", np.zeros((1, 1, 192), "float32"))
        self.blocks = nn.Sequential(*[nn.TransformerBlock(192, 3) for _ in range(12)])
        self.norm, self.head = nn.LayerNorm(192), nn.Linear(192, 1000)

    def forward(self, x: Any) -> Any:
        h = self.patch(x)
        h = sg.swapaxes(sg.reshape(h, (x.shape[0], 192, -1)), 1, 2)
        first = sg.broadcast_to(self.token, (x.shape[0], 1, 192))
        h = self.blocks(sg.concatenate([first, h], axis=1) + self.place)
        return self.head(self.norm(h)[:, 0])


def vit() -> Model:
    """Two images of 224 x 224."""
    net = VisionTransformer()
    return net, lambda v: nn.cross_entropy(net(v[0]), v[1]), _draw_images(2, 224, 1000)


class GPT2(nn.Module):
    """12 layers of 768, 12 heads, 50,257 tokens: 124 million parameters; the head is tied."""

    def __init__(self) -> None:
        self.tokens, self.places = nn.Embedding(50_257, 768), nn.Embedding(1024, 768)
        blocks = [nn.TransformerBlock(768, 12, causal=True) for _ in range(12)]
        self.blocks, self.norm = nn.Sequential(*blocks), nn.LayerNorm(768)

    def forward(self, x: Any) -> Any:
        h = self.tokens(x) + self.places(sg.arange(x.shape[1]))
        return self.norm(self.blocks(h)) @ self.tokens.weight.T


def gpt2() -> Model:
    """One text of 64 tokens."""
    net, ids = GPT2(), np.random.default_rng(0).integers(0, 50_257, (1, 65))
    loss = lambda v: nn.cross_entropy(net(v[0])[0], v[1][0])  # noqa: E731 - as the others
    return net, loss, {"x": ids[:, :-1], "y": ids[:, 1:]}


# -- U-Nets: of diffusion (Ho et al., arXiv 2006.11239), of images (arXiv 1505.04597) -------------


class ResidualBlock(nn.Module):
    """Two convolutions with group norms and an embedding of the time between them."""

    def __init__(self, c: int, d: int) -> None:
        self.norm1, self.norm2 = nn.GroupNorm(32, c), nn.GroupNorm(32, d)
        self.conv1, self.conv2 = nn.Conv2d(c, d, 3, padding=1), nn.Conv2d(d, d, 3, padding=1)
        self.time = nn.Linear(512, d)
        self.shortcut = nn.Conv2d(c, d, 1) if c != d else None

    def forward(self, x: Any, time: Any) -> Any:
        h = self.conv1(nn.silu(self.norm1(x))) + self.time(nn.silu(time))[:, :, None, None]
        h = self.conv2(nn.silu(self.norm2(h)))
        return h + (x if self.shortcut is None else self.shortcut(x))


class AttentionBlock(nn.Module):
    """Attention of one head over the pixels."""

    def __init__(self, c: int) -> None:
        self.norm, self.qkv, self.out = nn.GroupNorm(32, c), nn.Linear(c, 3 * c), nn.Linear(c, c)

    def forward(self, x: Any) -> Any:
        n, c, side, _ = x.shape
        h = sg.swapaxes(sg.reshape(self.norm(x), (n, c, side * side)), 1, 2)
        h = self.out(nn.attention(*sg.split(self.qkv(h), 3, axis=2)))
        return x + sg.reshape(sg.swapaxes(h, 1, 2), x.shape)


class Diffusion(nn.Module):
    """DDPM for CIFAR-10: 128 channels times 1, 2, 2, 2, attention at 16: 36 million parameters."""

    def __init__(self) -> None:
        self.time1, self.time2 = nn.Linear(128, 512), nn.Linear(512, 512)
        self.first = nn.Conv2d(3, 128, 3, padding=1)
        widths, c, past = [128, 256, 256, 256], 128, [128]
        self.down, self.up = nn.ModuleList([]), nn.ModuleList([])
        for k, d in enumerate(widths):
            for _ in range(2):
                self.down.append(self._unit(c, d, k == 1))
                c = d
                past.append(c)
            if k < 3:
                self.down.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
                past.append(c)
        self.middle = nn.ModuleList([ResidualBlock(c, c), AttentionBlock(c), ResidualBlock(c, c)])
        for k, d in reversed([*enumerate(widths)]):
            for _ in range(3):
                self.up.append(self._unit(c + past.pop(), d, k == 1))
                c = d
            if k > 0:
                self.up.append(nn.Conv2d(c, c, 3, padding=1))
        self.norm, self.last = nn.GroupNorm(32, c), nn.Conv2d(c, 3, 3, padding=1)

    @staticmethod
    def _unit(c: int, d: int, attends: bool) -> Any:
        return nn.ModuleList([ResidualBlock(c, d), *([AttentionBlock(d)] if attends else [])])

    def forward(self, x: Any, time: Any) -> Any:
        scales = np.exp(-math.log(10_000) * np.arange(64) / 63).astype("float32")
        angles = time[:, None] * sg.constant(scales)
        embedded = self.time1(sg.concatenate([sg.sin(angles), sg.cos(angles)], axis=1))
        embedded = self.time2(nn.silu(embedded))

        def apply(unit: Any, h: Any) -> Any:
            for part in unit:
                h = part(h, embedded) if isinstance(part, ResidualBlock) else part(h)
            return h

        h = self.first(x)
        past = [h]
        for unit in self.down:
            h = unit(h) if isinstance(unit, nn.Conv2d) else apply(unit, h)
            past.append(h)
        h = apply(self.middle, h)
        for unit in self.up:
            if isinstance(unit, nn.Conv2d):
                h = unit(nn.resize(h, scale=(2, 2)))
            else:
                h = apply(unit, sg.concatenate([h, past.pop()], axis=1))
        return self.last(nn.silu(self.norm(h)))


def diffusion() -> Model:
    """Two images of 32 x 32."""
    net, random = Diffusion(), np.random.default_rng(0)
    shape = 2, 3, 32, 32
    feeds = {name: random.normal(size=shape).astype("float32") for name in ("x", "noise")}
    feeds["time"] = np.array([10, 700], "float32")
    return net, lambda v: sg.mean((net(v[0], v[2]) - v[1]) ** 2), feeds


class UNet(nn.Module):
    """64 to 1,024 channels with batch normalization: 31 million parameters."""

    def __init__(self) -> None:
        widths = [64, 128, 256, 512, 1024]
        self.down = nn.ModuleList([self._twice(c, d) for c, d in pairwise([3, *widths])])
        pairs = [*pairwise(widths)][::-1]
        self.double = nn.ModuleList([nn.ConvTranspose2d(d, c, 2, stride=2) for c, d in pairs])
        self.up = nn.ModuleList([self._twice(d, c) for c, d in pairs])
        self.last = nn.Conv2d(64, 2, 1)

    @staticmethod
    def _twice(c: int, d: int) -> Any:
        parts: list[Any] = []
        for size in (c, d):
            parts += [nn.Conv2d(size, d, 3, padding=1, bias=False), nn.BatchNorm2d(d), nn.ReLU()]
        return nn.Sequential(*parts)

    def forward(self, x: Any) -> Any:
        past = []
        for k, unit in enumerate(self.down):
            x = unit(x if k == 0 else nn.max_pool(x, 2))
            past.append(x)
        past.pop()
        for double, unit in zip(self.double, self.up, strict=True):
            x = unit(sg.concatenate([past.pop(), double(x)], axis=1))
        return self.last(x)


def unet() -> Model:
    """One image of 64 x 64, two classes of pixels."""
    net, feeds = UNet(), _draw_images(1, 64, 2)
    feeds["y"] = np.random.default_rng(1).integers(0, 2, (1, 64, 64))
    return net, lambda v: nn.cross_entropy(net(v[0]), v[1], axis=1), feeds


MODELS: Final[dict[str, Callable[[], Model]]] = {
    "resnet18": resnet18, "vit": vit, "gpt2": gpt2, "diffusion": diffusion, "unet": unet,
}  # fmt: skip


def _build_step(net: Any, loss_of: Callable[[Any], Any], feeds: dict[str, Any]) -> sg.Graph:
    """Return the graph of a training step."""
    loss = loss_of(_make_inputs(feeds))
    graph: sg.Graph = sg.optim.AdamW(1e-3).minimize(loss, net.parameters())
    return graph


def builders() -> Builders:
    """Return what builds a training step of each model."""

    def build(make: Callable[[], Model]) -> sg.Graph:
        return _build_step(*make())

    return {name: partial(build, make) for name, make in MODELS.items()}


def _measure_model(name: str, by_stage: bool) -> dict[str, Any]:
    """Return the seconds of one first result, in this process."""
    loaded = time.process_time()  # from the start of the interpreter
    stages = Stages()
    if by_stage:
        for stage, places in STAGES.items():
            for place in places:
                stages.watch(stage, place)
    drawing = time.process_time()
    net, loss_of, feeds = MODELS[name]()
    start = time.process_time()

    graph = stages.time_stage("trace", _build_step)(net, loss_of, feeds)
    built = time.process_time()
    step = stages.time_stage("others", sg.compile)(graph, threads=2)
    compiled = time.process_time()
    result = stages.time_stage("first call", step.run)(feeds)
    done = time.process_time()
    row = {
        "whole": loaded + done - start, "import": loaded, "build": built - start,
        "compile": compiled - built, "call": done - compiled, "draw": start - drawing,
        "nodes": len(graph.nodes), "kernels": len(step.kernels),
        "loss": float(next(iter(result.values()))), "stages": dict(stages.spent),
    }  # fmt: skip
    least = math.inf
    for _ in range(3):
        start = time.process_time()
        step.run(feeds)
        least = min(least, time.process_time() - start)
    return {**row, "step": least}


def _run_apart(name: str, folder: str, by_stage: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks", "first_models", "--here", name]
    done = subprocess.run(
        [*command, *(["--stages"] if by_stage else [])], capture_output=True, text=True,
        env={**os.environ, "STATICGRAD_CACHE_DIR": folder}, check=True,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> int:
    """Print the table of first results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks first_models", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--only", nargs="*", choices=[*MODELS])
    add("--repeat", type=int, default=2)
    add("--stages", action="store_true", help="count by stage")
    add("--here", choices=[*MODELS], help="print the seconds of one process as JSON")
    options = parser.parse_args()
    if options.here:
        sys.stdout.write(json.dumps(_measure_model(options.here, options.stages)) + "\n")
        return 0
    machine = describe()
    sys.stdout.write(
        f"`python -m benchmarks first_models`: {machine.processor}, {machine.cores} cores.\n\n"
    )
    columns = ["whole", "import", "build", "compile", "call", "step"]
    heads = ["model", "caches", "nodes", "kernels", *(f"{name} s" for name in columns)]
    sys.stdout.write(f"| {' | '.join(heads)} | by stage, ms |\n|---|---|{'--:|' * 8}---|\n")
    for name in options.only or MODELS:
        rows: dict[str, list[dict[str, Any]]] = {"cold": [], "warm": []}
        for _ in range(options.repeat):
            with tempfile.TemporaryDirectory() as folder:
                for kind in rows:
                    rows[kind].append(_run_apart(name, folder, False))
        by_stage: dict[str, str] = dict.fromkeys(rows, "")
        if options.stages:
            with tempfile.TemporaryDirectory() as folder:
                for kind in rows:
                    spent = _run_apart(name, folder, True)["stages"]
                    order = sorted(spent.items(), key=lambda item: -item[1])
                    by_stage[kind] = ", ".join(f"{k} {v * 1e3:.0f}" for k, v in order if v > 3e-3)
        for kind, measured in rows.items():
            least = min(measured, key=lambda row: row["whole"])
            cells = [f"{least[column]:.2f}" for column in columns]
            about = f"{name} | {kind} | {least['nodes']} | {least['kernels']}"
            sys.stdout.write(f"| {about} | {' | '.join(cells)} | {by_stage[kind]} |\n")
            sys.stdout.flush()
    return 0
