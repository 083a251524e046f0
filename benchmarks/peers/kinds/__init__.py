"""Programs of many kinds for ``python -m benchmarks programs``.

Every module has ``WORKLOADS``, written in the vocabulary of ``benchmarks/harness/operations.py``; a
new module is found without being listed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from benchmarks.harness.registry import read_lists
from benchmarks.harness.workload import Data, Kind, Make, Workload

Values = Mapping[str, Any]
Shapes = Mapping[str, tuple[int, ...]]
#: Largest error of a result relative to the largest magnitude in its truth, by dtype.
TOLERANCES: Final = {"float32": 5e-4, "float64": 1e-8}


def program(
    name: str, about: str, loss: Callable[[Any, Values], Any], data: Make, dtype: str = "float32",
    kind: Kind = "gradient",
) -> Workload:  # fmt: skip
    """Return the workload of ``loss``, a function of operations and values, and its gradient."""

    def both(ops: Any, values: Values, _: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
        return loss(ops, values), {}

    tolerance = TOLERANCES[dtype]
    return Workload(name, kind, both, data, data, tolerance, about, dtype, group="programs")


def normal(variables: Shapes, feeds: Shapes | None = None, scale: float = 1.0) -> Make:
    """Return a maker of normal arrays; variables are multiplied by ``scale``."""

    def make(random: np.random.Generator) -> Data:
        return Data(
            {name: scale * random.normal(size=shape) for name, shape in variables.items()},
            {name: random.normal(size=shape) for name, shape in (feeds or {}).items()},
        )

    return make


def programs() -> dict[str, Workload]:
    """Return every program by name."""
    return {workload.name: workload for workload in read_lists(sys.modules[__name__], "WORKLOADS")}
