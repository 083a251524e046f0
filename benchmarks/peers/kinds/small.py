"""Programs so small that a call's cost counts."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.kinds import Values, normal, program
from benchmarks.peers.kinds.networks import layers, mlp


def rosenbrock(ops: Any, v: Values) -> Any:
    """The function of Rosenbrock (1960)."""
    x = v["x"]
    return ops.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def ten_operations(ops: Any, v: Values) -> Any:
    """Ten elementwise operations of a short vector."""
    x, y = v["x"], v["y"]
    return ops.sum(ops.sin(x) * ops.exp(-y * y) + ops.tanh(x * y) / (1.0 + x * x))


def fit_curve(ops: Any, v: Values) -> Any:
    """A decaying oscillation fitted to 100 observations."""
    wave = v["a"] * ops.exp(-v["b"] * v["t"]) * ops.cos(v["w"] * v["t"] + v["p"])
    return ops.mean((wave - v["y"]) ** 2)


def many(ops: Any, v: Values) -> Any:
    """Forty small parameters, each in a term of its own."""
    return sum(ops.sum(ops.tanh(v[f"p{k}"]) ** 2) for k in range(40))


_FIT = {"a": (), "b": (), "w": (), "p": ()}
WORKLOADS = (
    program("rosenbrock", "100 unknowns", rosenbrock, normal({"x": (100,)}), "float64"),
    program("ten_operations", "two vectors of 10", ten_operations,
            normal({"x": (10,), "y": (10,)}), "float64"),
    program("tiny_mlp", "4, 8, 3, batch 16, a step of SGD", mlp, layers((4, 8, 3), 16),
            kind="sgd"),
    program("curve_fit", "four unknowns, 100 observations", fit_curve,
            normal(_FIT, {"t": (100,), "y": (100,)}), "float64"),
    program("many_parameters", "40 of 4 x 4", many,
            normal({f"p{k}": (4, 4) for k in range(40)})),
)  # fmt: skip
