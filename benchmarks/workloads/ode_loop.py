"""A Runge-Kutta solution of Lorenz's equations by a loop, and its gradient.

x' = s (y - x), y' = x (r - z) - y, z' = x y - b z (E. N. Lorenz, J. Atmos. Sci. 20, 1963), a
thousand steps of the classical fourth-order method up to t = 1: a loop of tiny bodies, over one
state or over many. The gradient is that by the first state and by s, r and b.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload

_END = 1.0


def states(shape: tuple[int, ...], steps: int) -> Make:
    """States near the attractor, and the usual constants."""

    def make(random: np.random.Generator) -> Data:
        first = np.array([1.0, 1.5, 20.0]).reshape(3, *(1 for _ in shape))
        variables = {
            "state": first + random.uniform(-1, 1, (3, *shape)),
            "constants": np.array([10.0, 28.0, 8 / 3]),
        }
        return Data(variables, sizes={"steps": steps})

    return make


def loss(ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """The mean square of the last state, which is an output."""
    h = _END / sizes["steps"]

    def body(state: Any, constants: Sequence[Any]) -> Any:
        (c,) = constants

        def slope(at: Any) -> Any:
            x, y, z = at[0], at[1], at[2]
            return ops.stack([c[0] * (y - x), x * (c[1] - z) - y, x * y - c[2] * z])

        k1 = slope(state)
        k2 = slope(state + (h / 2) * k1)
        k3 = slope(state + (h / 2) * k2)
        k4 = slope(state + h * k3)
        return state + (h / 6) * (k1 + 2.0 * k2 + 2.0 * k3 + k4)

    last = ops.loop(body, v["state"], sizes["steps"], [v["constants"]])
    return ops.mean(last * last), {"last": last}


WORKLOADS = (
    Workload(
        "ode_loop", "gradient", loss, states((), 1000), states((), 3), 1e-9,
        "Runge-Kutta by a loop, 3 components, 1,000 steps, gradient", "float64",
    ),
    Workload(
        "ode_loop_rows", "gradient", loss, states((1000,), 1000), states((5,), 3), 1e-9,
        "The same of 1,000 states side by side", "float64",
    ),
)  # fmt: skip
