"""Gathers, scatters and views."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.harness.workload import Data
from benchmarks.peers.kinds import Values, normal, program


def gather(ops: Any, v: Values) -> Any:
    """Differences of rows that are read by number."""
    return ops.mean((ops.take(v["x"], v["i"], 0) - ops.take(v["x"], v["j"], 0)) ** 2)


def ends(random: np.random.Generator) -> Data:
    """50,000 pairs of 10,000 rows."""
    pairs = {name: random.integers(0, 10_000, 50_000) for name in "ij"}
    return Data({"x": random.normal(size=(10_000, 16))}, pairs)


def scatter(ops: Any, v: Values) -> Any:
    """Rows summed by their numbers."""
    return ops.mean(ops.segment_sum(v["x"], v["i"], 2000) ** 2)


def segments(random: np.random.Generator) -> Data:
    """100,000 rows of 2,000 segments."""
    return Data({"x": random.normal(size=(100_000, 16))}, {"i": random.integers(0, 2000, 100_000)})


def compare_strided(ops: Any, v: Values) -> Any:
    """Every second row and column against its neighbours."""
    x = v["x"]
    return ops.mean((x[::2, ::2] * x[1::2, 1::2] - x[1::2, ::2] * x[::2, 1::2]) ** 2)


def symmetric(ops: Any, v: Values) -> Any:
    """A matrix and its transpose."""
    return ops.mean(ops.tanh(v["x"] + v["x"].T) * v["g"])


def permute_axes(ops: Any, v: Values) -> Any:
    """Axes of an array in another order, with something between."""
    h = ops.tanh(ops.transpose(v["x"], (2, 0, 3, 1)))
    return ops.mean(h * v["g"])


def windows(ops: Any, v: Values) -> Any:
    """Nine shifted slices of an image, weighted: a filter by hand."""
    x, total = v["x"], 0.0
    for i in range(3):
        for j in range(3):
            total = total + v["w"][i, j] * x[i : i + 510, j : j + 510]
    return ops.mean(ops.tanh(total))


def join_columns(ops: Any, v: Values) -> Any:
    """Parts of arrays joined, then a layer."""
    columns = ops.concatenate([v["x"][:, :64], v["y"][:, 32:], v["x"][:, 64:] * 2.0], 1)
    return ops.mean(ops.tanh(columns @ v["w"]))


def interpolate_table(ops: Any, v: Values) -> Any:
    """A table read between its places."""
    low, part = v["i"], v["part"]
    lower, upper = ops.take(v["table"], low, 0), ops.take(v["table"], low + 1, 0)
    return ops.mean((lower * (1.0 - part) + upper * part - v["y"]) ** 2)


def places(random: np.random.Generator) -> Data:
    """200,000 places in a table of 1,000."""
    count = 200_000
    feeds = {"i": random.integers(0, 999, count), "part": random.uniform(size=count),
             "y": random.normal(size=count)}  # fmt: skip
    return Data({"table": random.normal(size=1000)}, feeds)


def pairwise(ops: Any, v: Values) -> Any:
    """All distances of two sets of points, and a soft minimum."""
    apart = v["x"][:, None, :] - v["y"][None, :, :]
    return -ops.mean(ops.logsumexp(-ops.sqrt(ops.sum(apart * apart, axis=2) + 1e-6), 1))


WORKLOADS = (
    program("gather", "50,000 pairs of 10,000 rows of 16", gather, ends),
    program("scatter", "100,000 rows of 16 into 2,000", scatter, segments),
    program("strided", "every second of 1,000 x 1,000", compare_strided,
            normal({"x": (1000, 1000)})),
    program("symmetric", "1,000 x 1,000 and its transpose", symmetric,
            normal({"x": (1000, 1000)}, {"g": (1000, 1000)})),
    program("permuted", "16 x 32 x 32 x 64", permute_axes,
            normal({"x": (16, 32, 32, 64)}, {"g": (32, 16, 64, 32)})),
    program("windows", "3 x 3 of 512 x 512", windows, normal({"x": (512, 512), "w": (3, 3)})),
    program("joined", "4,000 rows of 64, 96 and 64", join_columns,
            normal({"x": (4000, 128), "y": (4000, 128), "w": (224, 32)}, scale=0.2)),
    program("interpolated", "200,000 places of 1,000", interpolate_table, places),
    program("pairwise", "800 x 800 points in 8 dimensions", pairwise,
            normal({"x": (800, 8), "y": (800, 8)})),
)  # fmt: skip
