"""Ordinary differential equations, solved by steps in a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data
from benchmarks.peers.kinds import Values, normal, program

Field = Callable[[Any, Any], Any]


def rk4(field: Field, h: float, y: Any, c: Any) -> Any:
    """A step of the classical method of Runge and Kutta."""
    k1 = field(y, c)
    k2 = field(y + 0.5 * h * k1, c)
    k3 = field(y + 0.5 * h * k2, c)
    k4 = field(y + h * k3, c)
    return y + (h / 6.0) * (k1 + 2.0 * k2 + 2.0 * k3 + k4)


def neural(ops: Any, v: Values) -> Any:
    """The flow of a network of two layers."""

    def field(y: Any, c: Any) -> Any:
        return ops.tanh(y @ c[0] + c[1]) @ c[2]

    out = ops.loop(lambda y, c: rk4(field, 0.05, y, c), v["y"], 20, (v["w"], v["b"], v["u"]))
    return ops.mean(out * out)


def van_der_pol(ops: Any, v: Values) -> Any:
    """Many oscillators with their own damping."""

    def field(y: Any, c: Any) -> Any:
        return ops.stack([y[1], c[0] * (1.0 - y[0] * y[0]) * y[1] - y[0]])

    out = ops.loop(lambda y, c: rk4(field, 0.01, y, c), v["y"], 100, (1.0 + 0.1 * v["mu"],))
    return ops.mean(out * out)


def lotka_volterra(ops: Any, v: Values) -> Any:
    """One pair of species, all its states."""

    def field(y: Any, c: Any) -> Any:
        growth = ops.exp(c[0])
        prey, hunters = y[0], y[1]
        return ops.stack([prey * (growth[0] - growth[1] * hunters),
                          hunters * (growth[2] * prey - growth[3])])  # fmt: skip

    def step(y: Any, seen: Any) -> Any:
        y = rk4(field, 0.02, y, (v["rates"],))
        return y, ops.sum((y - seen) ** 2)

    return ops.mean(ops.scan(step, ops.exp(v["y"]), v["seen"])[1])


def bodies(ops: Any, v: Values) -> Any:
    """64 bodies under gravity, 50 steps that keep the energy."""
    mass = ops.exp(v["mass"])

    def pull(x: Any, mass: Any) -> Any:
        apart = x[None, :, :] - x[:, None, :]
        near = ops.sum(apart * apart, axis=2) + 0.1
        return ops.sum(apart * (mass / (near * ops.sqrt(near)))[:, :, None], axis=1)

    def step(state: Any, c: Any) -> Any:
        x, p = state
        p = p + 0.005 * pull(x, c[0])
        return x + 0.01 * p, p

    x, p = ops.loop(step, (v["x"], v["p"]), 50, (mass,))
    return ops.mean(x * x) + ops.mean(p * p)


def lorenz(ops: Any, v: Values) -> Any:
    """The equations of Lorenz (1963) from many starts, Euler's steps of three arrays."""

    def step(state: Any, c: Any) -> Any:
        x, y, z = state
        return (x + 0.005 * 10.0 * (y - x), y + 0.005 * (x * (c[0] - z) - y),
                z + 0.005 * (x * y - 8.0 / 3.0 * z))  # fmt: skip

    x, y, z = ops.loop(step, (v["x"], v["y"], v["z"]), 100, (28.0 + v["r"],))
    return ops.mean(x * x + y * y + z * z)


def springs(ops: Any, v: Values) -> Any:
    """A chain of masses with bending springs, written in slices, 200 steps."""

    def step(state: Any, c: Any) -> Any:
        x, p = state
        stretch = x[1:] - x[:-1]
        force = c[0] * stretch + 0.1 * stretch**3
        p = p + 0.01 * ops.concatenate([force[:1], force[1:] - force[:-1], -force[-1:]], 0)
        return x + 0.01 * p, p

    x, p = ops.loop(step, (v["x"], v["p"]), 200, (1.0 + 0.1 * v["k"],))
    return ops.mean(x * x) + ops.mean(p * p)


def rates(random: np.random.Generator) -> Data:
    """Rates of growth, a start, and 500 observations."""
    variables = {"rates": 0.1 * random.normal(size=4), "y": 0.1 * random.normal(size=2)}
    return Data(variables, {"seen": random.uniform(0.5, 1.5, (500, 2))})


_NEURAL = {"y": (64, 32), "w": (32, 64), "b": (64,), "u": (64, 32)}
WORKLOADS = (
    program("neural_ode", "20 steps of RK4, 64 x 32", neural, normal(_NEURAL, scale=0.3)),
    program("van_der_pol", "100 steps of RK4, 5,000 oscillators", van_der_pol,
            normal({"y": (2, 5000), "mu": (5000,)}), "float64"),
    program("lotka_volterra", "500 steps of RK4", lotka_volterra, rates, "float64"),
    program("bodies", "50 steps, 64 bodies", bodies,
            normal({"x": (64, 3), "p": (64, 3), "mass": (64,)}), "float64"),
    program("lorenz", "100 steps, 4,000 starts", lorenz,
            normal({"x": (4000,), "y": (4000,), "z": (4000,), "r": (4000,)}), "float64"),
    program("springs", "200 steps, 1,000 masses", springs,
            normal({"x": (1000,), "p": (1000,), "k": (999,)}, scale=0.5), "float64"),
)  # fmt: skip
