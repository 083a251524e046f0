"""Whole models of published families and sizes for ``python -m benchmarks zoo``.

Every module has ``WORKLOADS``; a new module is found without being listed. Models are those of
torchvision and transformers unless they say otherwise, without dropout; batches, images and texts
are small, as a processor without an accelerator has them. Where a model has fewer layers or rows of
a table than were published, its line says so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from benchmarks.harness.layers import Layers, Model, declare
from benchmarks.harness.registry import read_lists
from benchmarks.harness.workload import Arrays, Data, Kind, Make, Workload

Values = Mapping[str, Any]
Feeds = Callable[[np.random.Generator, Mapping[str, Any]], Arrays]
#: Largest norm of a gradient's error over that of the gradient: rounding decides some ReLUs and
#: maxima. Of ResNet-50 PyTorch in float32 is off by 0.015 from itself in float64.
TOLERANCE: Final = 5e-2


def model(
    name: str, about: str, call: Model, feeds: Feeds, sizes: Mapping[str, Any],
    small: Mapping[str, Any], kind: Kind = "adamw", rate: float = 1e-3,
) -> Workload:  # fmt: skip
    """Return the workload of a model, a function of layers and feeds, and ``feeds`` of sizes.

    ``small`` replaces some of the sizes.
    """

    def loss(ops: Any, values: Values, sizes: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        return call(Layers(ops, values, sizes), values), {}

    def make_at(chosen: Mapping[str, Any]) -> Make:
        def make(random: np.random.Generator) -> Data:
            arrays = feeds(random, chosen)
            declared = declare(call, arrays, chosen)
            variables = {name: parameter.draw(random) for name, parameter in declared.items()}
            return Data(variables, arrays, sizes=chosen)

        return make

    makers = make_at(sizes), make_at({**sizes, **small})
    return Workload(name, kind, loss, *makers, TOLERANCE, about, rate=rate, group="zoo")


def zoo() -> dict[str, Workload]:
    """Return every model by name."""
    return {workload.name: workload for workload in read_lists(sys.modules[__name__], "WORKLOADS")}
