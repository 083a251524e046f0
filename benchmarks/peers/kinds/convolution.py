"""Convolutions with the gradients by the image and by the filter."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

from benchmarks.harness.workload import Workload
from benchmarks.peers.kinds import Values, normal, program


def convolution(sizes: Any, how: Any, ops: Any, v: Values) -> Any:
    """The mean square of a convolution that keeps or divides the image's size."""
    return ops.mean(ops.conv(v["x"], v["w"], sizes, **how) ** 2)


def convolve_transposed(stride: int, ops: Any, v: Values) -> Any:
    """The mean square of a transposed convolution."""
    return ops.mean(ops.conv_transpose(v["x"], v["w"], stride) ** 2)


def row(
    name: str, batch: int, channels: tuple[int, int], image: Sequence[int], taps: Sequence[int],
    **how: int,
) -> Workload:  # fmt: skip
    """Return the program of one convolution."""
    inputs, outputs = channels
    filters = (outputs, inputs // how.get("groups", 1), *taps)
    data = normal({"x": (batch, inputs, *image), "w": filters}, scale=prod(filters[1:]) ** -0.25)
    sizes = {"image": image, "taps": taps, "channels": channels}
    extents = "x".join(map(str, image))
    text = ", ".join(f"{key} {number}" for key, number in how.items())
    about = f"{batch} of {inputs} to {outputs} channels at {extents}{', ' * bool(text)}{text}"
    return program(name, about, partial(convolution, sizes, how), data)


_TRANSPOSED = normal({"x": (8, 64, 16, 16), "w": (64, 32, 4, 4)}, scale=0.2)
WORKLOADS = (
    row("conv1d_9", 8, (32, 32), (4000,), (9,)),
    row("conv1x1", 8, (256, 64), (28, 28), (1, 1)),
    row("conv3x3_b1", 1, (32, 32), (56, 56), (3, 3)),
    row("conv3x3_b32", 32, (64, 64), (16, 16), (3, 3)),
    row("conv5x5_2", 8, (32, 64), (32, 32), (5, 5), stride=2),
    row("conv7x7_2", 4, (3, 64), (112, 112), (7, 7), stride=2),
    row("conv_dilated", 8, (64, 64), (28, 28), (3, 3), dilation=2),
    row("conv_depthwise", 8, (96, 96), (56, 56), (3, 3), groups=96),
    row("conv3d", 2, (16, 32), (16, 16, 16), (3, 3, 3)),
    program("conv_transposed", "8 of 64 to 32 channels at 16x16, 4x4 taps, stride 2",
            partial(convolve_transposed, 2), _TRANSPOSED),
)  # fmt: skip
