"""Adam over the parameters of a small GPT, by gradients that are fed: many small arrays at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload


def shapes(layers: int, width: int, context: int, vocabulary: int) -> list[tuple[int, ...]]:
    """The parameters of ``workloads/gpt.py``."""
    result: list[tuple[int, ...]] = [(vocabulary, width), (context, width)]
    for _ in range(layers):
        for rows, columns in (
            (width, 3 * width), (width, width), (width, 4 * width), (4 * width, width),
        ):  # fmt: skip
            result += [(rows, columns), (columns,)]
        result += [(width,)] * 4
    return [*result, (width,), (width,), (width, vocabulary)]


def state(layers: int, width: int, context: int, vocabulary: int) -> Make:
    """Normal values, gradients and means of gradients, positive means of their squares."""

    def make(random: np.random.Generator) -> Data:
        sizes = {f"w{k}": s for k, s in enumerate(shapes(layers, width, context, vocabulary))}
        variables = {name: random.normal(size=shape) for name, shape in sizes.items()}
        slopes = {f"slope:{name}": random.normal(size=shape) for name, shape in sizes.items()}
        moments = {
            name: (random.normal(size=shape) / 10, random.uniform(0.1, 1, shape))
            for name, shape in sizes.items()
        }
        return Data(variables, slopes, moments=moments)

    return make


def loss(ops: Any, v: Mapping[str, Any], _: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """The mean square of one small array: a number that tells whether it was updated."""
    return ops.mean(v["w3"] * v["w3"]), {}


WORKLOADS = (
    Workload(
        "adam", "adam", loss, state(2, 128, 64, 65), state(1, 4, 3, 2), 1e-5,
        "Adam step over the 29 arrays of a GPT of 2 layers of 128", rate=1e-3,
    ),
)  # fmt: skip
