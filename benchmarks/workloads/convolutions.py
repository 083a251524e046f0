"""Convolutions: a residual block, a separable one, and one along time; with all gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Loss, Make, Workload

Shapes = Mapping[str, tuple[int, ...]]


def arrays(batch: int, image: tuple[int, ...], channels: int, shapes: Shapes) -> Make:
    """A batch of images that is differentiated, too, and filters after He et al. (1502.01852)."""

    def make(random: np.random.Generator) -> Data:
        variables = {"x": random.normal(size=(batch, channels, *image))}
        for name, shape in shapes.items():
            if len(shape) == 1:
                variables[name] = random.normal(1.0, 0.1, shape)
            else:
                variables[name] = random.normal(size=shape) * np.sqrt(2 / prod(shape[1:]))
        return Data(variables, sizes={"batch": batch, "channels": channels, "side": image[0]})

    return make


def geometry(image: Sequence[int], taps: Sequence[int], *channels: int) -> dict[str, Sequence[int]]:
    """Return the sizes that ``Operations.conv`` reads."""
    return {"image": image, "taps": taps, "channels": channels}


def block(ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """mean(relu(x + norm(conv(relu(norm(conv(x))))))^2): He et al., arXiv 1512.03385."""
    channels, side = sizes["channels"], sizes["side"]
    count = sizes["batch"] * side * side
    shape = geometry((side, side), (3, 3), channels, channels)
    h = ops.batch_norm(ops.conv(v["x"], v["k0"], shape), v["g0"], v["b0"], count)
    h = ops.batch_norm(ops.conv(ops.relu(h), v["k1"], shape), v["g1"], v["b1"], count)
    out = ops.relu(h + v["x"])
    return ops.mean(out * out), {}


def separable(
    ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]
) -> tuple[Any, dict[str, Any]]:
    """mean(relu(pointwise(relu(depthwise(x))))^2): Howard et al., arXiv 1704.04861."""
    channels, side = sizes["channels"], sizes["side"]
    apart = geometry((side, side), (3, 3), channels, channels)
    h = ops.relu(ops.conv(v["x"], v["k0"], apart, groups=channels))
    out = ops.relu(ops.conv(h, v["k1"], geometry((side, side), (1, 1), channels, channels)))
    return ops.mean(out * out), {}


def along_time(
    ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]
) -> tuple[Any, dict[str, Any]]:
    """mean(relu(conv(relu(conv(x))))^2) with five taps along one axis."""
    channels, side = sizes["channels"], sizes["side"]
    shape = geometry((side,), (5,), channels, channels)
    h = ops.relu(ops.conv(v["x"], v["k0"], shape))
    out = ops.relu(ops.conv(h, v["k1"], shape))
    return ops.mean(out * out), {}


def _workload(
    name: str, loss: Loss, shapes: Any, large: tuple[Any, ...], small: tuple[Any, ...], text: str
) -> Workload:
    def make(batch: int, image: tuple[int, ...], channels: int) -> Make:
        return arrays(batch, image, channels, shapes(channels))

    return Workload(name, "gradient", loss, make(*large), make(*small), 1e-4, text)


def _residual(c: int) -> Shapes:
    rows = {f"{kind}{n}": (c,) for n in (0, 1) for kind in "gb"}
    return {"k0": (c, c, 3, 3), "k1": (c, c, 3, 3), **rows}


WORKLOADS = (
    _workload(
        "resnet_block", block, _residual, (16, (32, 32), 64), (2, (5, 5), 3),
        "residual block of 64 channels with batch norm, 16 images of 32x32, and all gradients",
    ),
    _workload(
        "separable", separable, lambda c: {"k0": (c, 1, 3, 3), "k1": (c, c, 1, 1)},
        (16, (32, 32), 64), (2, (5, 5), 3),
        "depthwise 3x3 and pointwise convolution of 64 channels, 16 images of 32x32, all gradients",
    ),
    _workload(
        "conv1d", along_time, lambda c: {"k0": (c, c, 5), "k1": (c, c, 5)},
        (16, (4096,), 32), (2, (9,), 3),
        "two convolutions of 32 channels and 5 taps along 4096 places, batch 16, all gradients",
    ),
)  # fmt: skip
