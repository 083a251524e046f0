"""Convolutions of many kinds, each with its two gradients, beside PyTorch.

    python -m benchmarks convolutions --library staticgrad --threads 2 --into found.json
    python -m benchmarks convolutions --library torch --threads 2 --into found.json
    python -m benchmarks convolutions --library jax --threads 2 --into found.json
    python -m benchmarks convolutions --report found.json

The result, the gradient by the image and the gradient by the filter are programs of their own,
float32, and take the least of repeated calls, in milliseconds; a file that has a time already keeps
the lesser one. Some elements of each result are compared with direct sums in float64 first, and the
gradients by what holds of a bilinear function: its inner product with a cotangent is that of each
operand with its gradient. Libraries run in processes of their own: threads of others spin a while.
With ``--seconds`` a run stops then; the next one goes on with the kinds that the file lacks.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.harness.builders import Builders
from staticgrad.support.records import dataclass

LIBRARIES: Final = ("staticgrad", "torch", "jax")
#: What is computed: the convolution, and its gradients by the image and by the filter.
PARTS: Final = ("result", "image", "filter")
#: Calls before the first that is timed: threads wake, and programs try what pays.
EARLY: Final = 4
FEWEST: Final = 5
#: Elements that are compared, and how far they may be off, of the largest or of the sum's terms.
COMPARED: Final = 16
NEAR: Final = 1e-4


@dataclass(frozen=True)
class Kind:
    """A convolution: batch, channels in and out, extents of an image and of the filter."""

    batch: int
    channels: tuple[int, int]
    image: tuple[int, ...]
    taps: tuple[int, ...]
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    transposed: bool = False

    def __str__(self) -> str:
        taps = "x".join(map(str, self.taps)) + (f"/{self.stride}" if self.stride > 1 else "")
        what = f"transposed {taps}" if self.transposed else taps
        if self.dilation > 1:
            what += f", dilation {self.dilation}"
        if self.groups > 1:
            what += ", depthwise" if self.groups == self.channels[0] else f", {self.groups} groups"
        inner, outer = self.channels
        return f"{what} | {self.batch}, {inner} to {outer} at {'x'.join(map(str, self.image))}"

    @property
    def filters(self) -> tuple[int, ...]:
        """The shape of the filter."""
        inner, outer = self.channels
        lead = (inner, outer) if self.transposed else (outer, inner)
        return (lead[0], lead[1] // self.groups, *self.taps)


def _square(batch: int, channels: tuple[int, int], side: int, taps: int, **more: Any) -> Kind:
    """A convolution of square images."""
    return Kind(batch, channels, (side, side), (taps, taps), **more)


KINDS: Final = (
    _square(8, (3, 64), 112, 7, stride=2, padding=3),
    _square(4, (3, 64), 224, 7, stride=2, padding=3),
    _square(8, (3, 64), 112, 11, stride=4, padding=2),
    _square(8, (64, 128), 28, 3, stride=2, padding=1),
    _square(8, (128, 256), 14, 3, stride=2, padding=1),
    _square(4, (3, 32), 224, 3, stride=2, padding=1),
    _square(8, (32, 64), 28, 5, stride=3, padding=2),
    _square(8, (32, 64), 28, 5, padding=2),
    _square(8, (64, 64), 28, 3, padding=2, dilation=2),
    Kind(2, (16, 32), (16, 16, 16), (3, 3, 3), padding=1),
    Kind(2, (16, 32), (16, 16, 16), (3, 3, 3), stride=2, padding=1),
    _square(16, (512, 512), 4, 3, padding=1),
    _square(8, (512, 512), 7, 3, padding=1),
    _square(16, (256, 256), 8, 3, padding=1),
    _square(8, (256, 256), 14, 3, padding=1),
    _square(8, (128, 128), 28, 3, padding=1),
    _square(8, (64, 64), 56, 3, padding=1),
    _square(8, (256, 64), 28, 1),
    _square(8, (128, 256), 28, 1, stride=2),
    _square(8, (128, 128), 28, 3, padding=1, groups=32),
    _square(8, (128, 128), 28, 3, padding=1, groups=4),
    _square(8, (96, 96), 56, 3, padding=1, groups=96),
    _square(8, (96, 96), 56, 3, stride=2, padding=1, groups=96),
    _square(16, (768, 768), 7, 7, padding=3, groups=768),
    _square(8, (96, 96), 28, 7, padding=3, groups=96),
    Kind(8, (64, 64), (4096,), (9,), padding=4),
    Kind(8, (32, 64), (4096,), (25,), stride=4, padding=12),
    _square(16, (256, 128), 8, 4, stride=2, padding=1, transposed=True),
    _square(8, (64, 32), 16, 4, stride=2, padding=1, transposed=True),
    _square(8, (128, 64), 16, 2, stride=2, transposed=True),
)
Call = Callable[[], Any]


def draw_operands(kind: Kind) -> dict[str, Any]:
    """Return the image ``x`` and the filter ``w``."""
    random = np.random.default_rng(0)
    return {
        "x": random.normal(size=(kind.batch, kind.channels[0], *kind.image)).astype("float32"),
        "w": (random.normal(size=kind.filters) * 0.05).astype("float32"),
    }


def calls(library: str, kind: Kind, threads: int) -> tuple[dict[str, Any], dict[str, Call]]:
    """The operands ``x``, ``w`` and the cotangent ``g``, and a call for each of ``PARTS``."""
    operands = draw_operands(kind)
    make = {"staticgrad": _staticgrad, "torch": _torch, "jax": _jax}[library]
    return make(kind, operands, threads)


def parts(kind: Kind, operands: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Each of ``PARTS`` as a value of operands ``x``, ``w`` and ``g``, with a cotangent ``g``."""
    import staticgrad as sg

    x, w = (sg.input(name, operands[name].shape, "float32") for name in ("x", "w"))
    convolve: Any = sg.nn.conv_transpose if kind.transposed else sg.nn.conv
    how = {name: getattr(kind, name) for name in ("stride", "padding", "dilation", "groups")}
    y = convolve(x, w, **how)
    cotangent = np.random.default_rng(1).normal(size=y.shape).astype("float32")
    dx, dw = sg.grad((y * sg.input("g", y.shape, "float32")).sum(), [x, w])
    return {part: (value, cotangent) for part, value in zip(PARTS, (y, dx, dw), strict=True)}


def build_kind(kind: Kind) -> object:
    """Return the values of the parts of a convolution, of operands without contents."""
    shapes = {"x": (kind.batch, kind.channels[0], *kind.image), "w": kind.filters}
    return parts(kind, {name: np.broadcast_to(np.float32(0), s) for name, s in shapes.items()})


def builders() -> Builders:
    """Return what builds the convolutions with their gradients."""
    return {str(kind): partial(build_kind, kind) for kind in KINDS}


def _staticgrad(
    kind: Kind, operands: dict[str, Any], threads: int
) -> tuple[dict[str, Any], dict[str, Call]]:
    import staticgrad as sg

    runs: dict[str, Call] = {}
    for (part, (value, cotangent)), needs in zip(
        parts(kind, operands).items(), ("xw", "wg", "xg"), strict=True
    ):
        operands["g"] = cotangent
        program = sg.compile(sg.Graph({"o": value}), threads=threads)
        runs[part] = partial(_run, program, {name: operands[name] for name in needs})
    return operands, runs


def _run(program: Any, feeds: Mapping[str, Any]) -> Any:
    return program.run(feeds)["o"]


def _torch(
    kind: Kind, operands: dict[str, Any], threads: int
) -> tuple[dict[str, Any], dict[str, Call]]:
    import torch

    torch.set_num_threads(threads)
    x, w = (torch.from_numpy(array) for array in operands.values())
    strides, pads, dilations, zeros = (
        [number] * len(kind.taps) for number in (kind.stride, kind.padding, kind.dilation, 0)
    )
    how = (strides, pads, dilations, kind.transposed, zeros, kind.groups)
    shape = tuple(torch.convolution(x, w, None, *how).shape)
    operands["g"] = np.random.default_rng(1).normal(size=shape).astype("float32")
    g, backward = torch.from_numpy(operands["g"]), torch.ops.aten.convolution_backward

    def gradient(number: int) -> Any:
        mask = [place == number for place in range(3)]
        return backward(g, x, w, None, *how, mask)[number].numpy()

    return operands, {
        "result": lambda: torch.convolution(x, w, None, *how).numpy(),
        "image": lambda: gradient(0),
        "filter": lambda: gradient(1),
    }


def _jax(
    kind: Kind, operands: dict[str, Any], threads: int
) -> tuple[dict[str, Any], dict[str, Call]]:
    """JAX has one thread for each processor that the process may use."""
    jax = import_module("jax")
    x, w = map(jax.numpy.asarray, operands.values())
    count = len(kind.taps)
    ones, strides, dilations = ([n] * count for n in (1, kind.stride, kind.dilation))

    def convolve(x: Any, w: Any) -> Any:
        if not kind.transposed:
            pads = [(kind.padding, kind.padding)] * count
            return jax.lax.conv_general_dilated(
                x, w, strides, pads, ones, dilations, feature_group_count=kind.groups
            )
        if kind.groups > 1:
            raise NotImplementedError("transposed convolutions of groups")
        flipped = jax.numpy.flip(jax.numpy.swapaxes(w, 0, 1), range(2, 2 + count))
        pads = [(kind.dilation * (taps - 1) - kind.padding,) * 2 for taps in kind.taps]
        return jax.lax.conv_general_dilated(x, flipped, ones, pads, strides, dilations)

    shape = jax.eval_shape(convolve, x, w).shape
    operands["g"] = np.random.default_rng(1).normal(size=shape).astype("float32")
    g = jax.numpy.asarray(operands["g"])
    by_image = jax.jit(lambda g, x, w: jax.vjp(lambda x: convolve(x, w), x)[1](g)[0])
    by_filter = jax.jit(lambda g, x, w: jax.vjp(lambda w: convolve(x, w), w)[1](g)[0])
    result = jax.jit(convolve)
    return operands, {
        "result": lambda: result(x, w).block_until_ready(),
        "image": lambda: by_image(g, x, w).block_until_ready(),
        "filter": lambda: by_filter(g, x, w).block_until_ready(),
    }


def element(kind: Kind, x: Any, w: Any, place: tuple[int, ...]) -> float:
    """An element of the result as a direct sum in float64."""
    n, o, *at = place
    per = w.shape[1] if kind.transposed else w.shape[0] // kind.groups
    inner = kind.channels[0] // kind.groups
    group, channel = divmod(o, per)
    total = 0.0
    for tap in product(*map(range, kind.taps)):
        if kind.transposed:
            far = [q + kind.padding - t * kind.dilation for q, t in zip(at, tap, strict=True)]
            if any(f % kind.stride for f in far):
                continue
            index = [f // kind.stride for f in far]
        else:
            index = [
                p * kind.stride - kind.padding + t * kind.dilation
                for p, t in zip(at, tap, strict=True)
            ]
        if all(0 <= i < size for i, size in zip(index, kind.image, strict=True)):
            channels = slice(group * inner, (group + 1) * inner)
            read = x[(n, channels, *index)].astype("float64")
            taps = w[(channels, channel, *tap)] if kind.transposed else w[(o, slice(None), *tap)]
            total += float(read @ taps.astype("float64"))
    return total


def check(kind: Kind, operands: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Compare some elements of the result, and its gradients with it.

    Raises:
        RuntimeError: they differ.
    """
    y, random = results["result"], np.random.default_rng(2)
    for number in random.integers(0, y.size, COMPARED):
        place = tuple(int(p) for p in np.unravel_index(number, y.shape))
        expected = element(kind, operands["x"], operands["w"], place)
        if abs(expected - float(y[place])) > NEAR * float(np.abs(y).max()):
            raise RuntimeError(f"{kind}: {y[place]} at {place} instead of {expected}")
    terms = {"result": (operands["g"], y), "image": (operands["x"], results["image"])}
    terms["filter"] = (operands["w"], results["filter"])
    inner = {part: float(np.vdot(*(a.astype("float64") for a in ab))) for part, ab in terms.items()}
    size = float(np.linalg.norm(operands["g"]) * np.linalg.norm(y))
    for part, value in inner.items():
        if abs(value - inner["result"]) > NEAR * size:
            raise RuntimeError(f"{kind}: the gradient by the {part} is wrong")


def least(call: Call, seconds: float) -> float:
    """The least milliseconds of a call."""
    for _ in range(EARLY):
        call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < FEWEST:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def measure(
    library: str,
    threads: int,
    kinds: tuple[Kind, ...],
    call_seconds: float,
    seconds: float,
    file: Path,
) -> None:
    """Times of kinds into a file, those that it lacks first, as long as ``seconds`` last."""
    all_times = json.loads(file.read_text()) if file.exists() else {}
    start, name = time.perf_counter(), f"{library} {threads}"
    times = all_times.setdefault(name, {})
    for kind in sorted(kinds, key=lambda kind: str(kind) in times):
        if time.perf_counter() - start > seconds:
            break
        operands, runs = calls(library, kind, threads)
        check(kind, operands, {part: np.asarray(call()) for part, call in runs.items()})
        earlier = times.get(str(kind), {})
        times[str(kind)] = {
            part: round(min(least(call, call_seconds), earlier.get(part, float("inf"))), 4)
            for part, call in runs.items()
        }
    file.write_text(json.dumps(all_times, indent=1) + "\n")


def report(times: Mapping[str, Mapping[str, Mapping[str, float]]], threads: int) -> str:
    """A table in Markdown of the kinds that ours and PyTorch have on so many threads."""
    ours, theirs = (times.get(f"{library} {threads}", {}) for library in LIBRARIES[:2])
    head = " | ".join(f"{part} | PyTorch | ratio" for part in PARTS)
    lines = [f"| filter | batch, channels, image | {head} |", f"|---|---|{'--:|' * 9}"]
    for kind in ours:
        if kind in theirs:
            cells = (
                f"{ours_ms:.2f} | {peer_ms:.2f} | {ours_ms / peer_ms:.2f}"
                for ours_ms, peer_ms in ((ours[kind][p], theirs[kind][p]) for p in PARTS)
            )
            lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure, or print the tables of a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks convolutions", description=__doc__)
    parser.add_argument("--library", choices=LIBRARIES, default=LIBRARIES[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--each", type=float, default=0.1, help="seconds for each program")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--report", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.report:
        times = json.loads(chosen.report.read_text())
        for threads in sorted({int(name.split()[1]) for name in times}, reverse=True):
            print(f"\n{threads} thread{'s' * (threads > 1)}\n\n{report(times, threads)}")
    elif chosen.into:
        measure(chosen.library, chosen.threads, KINDS, chosen.each, chosen.seconds, chosen.into)
    else:
        parser.error("--into or --report says what to do")
