"""A Runge-Kutta solution of an ODE, and the gradient of its last component.

The ``an_ode`` of B. Bell's cmpad, also the ``ode`` of GradBench: y_0' = x_0, y_i' = x_i y_{i-1},
y(0) = 0, to t = 2 in s steps of the classical fourth-order method. Many tiny operations in a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload

_END = 2.0


def rates(count: int, steps: int) -> Make:
    """Coefficients x in (1, 2)."""

    def make(random: np.random.Generator) -> Data:
        feeds = {"one": np.ones(1), "start": np.zeros(count)}
        return Data({"x": random.uniform(1, 2, count)}, feeds, sizes={"steps": steps})

    return make


def loss(ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """The last component at t = 2; the whole solution is an output."""
    h = _END / sizes["steps"]

    def body(y: Any, constants: Sequence[Any]) -> Any:
        x, first = constants

        def slope(at: Any) -> Any:
            return x * ops.concatenate([first, at[:-1]], axis=0)

        k1 = slope(y)
        k2 = slope(y + (h / 2) * k1)
        k3 = slope(y + (h / 2) * k2)
        k4 = slope(y + h * k3)
        return y + (h / 6) * (k1 + 2.0 * k2 + 2.0 * k3 + k4)

    y = ops.repeat(body, v["start"], sizes["steps"], [v["x"], v["one"]])
    return y[-1], {"y": y}


WORKLOADS = (
    Workload(
        "ode", "gradient", loss, rates(10, 50), rates(3, 2), 2e-5,
        "Runge-Kutta, 10 components, 50 steps, gradient",
    ),
)  # fmt: skip
