"""Finite differences in loops over time, with periodic ends."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.kinds import Values, normal, program


def around(ops: Any, u: Any) -> Any:
    """The sum of the neighbours along each axis, less the point as often."""
    axes = range(u.ndim)
    return sum(ops.roll(u, 1, k) + ops.roll(u, -1, k) - 2.0 * u for k in axes)


def heat(ops: Any, v: Values) -> Any:
    """Explicit steps of u' = k laplace u."""
    out = ops.loop(lambda u, c: u + c[0] * around(ops, u), v["u"], 50, (0.1 * v["k"],))
    return ops.mean(out * out)


def wave(steps: int, ops: Any, v: Values) -> Any:
    """Leapfrog steps of u'' = laplace u."""

    def step(state: Any, c: Any) -> Any:
        previous, u = state
        return u, 2.0 * u - previous + c[0] * around(ops, u)

    last = ops.loop(step, (v["u"], v["u"]), steps, (0.1 * v["k"],))[1]
    return ops.mean(last * last)


def gray_scott(ops: Any, v: Values) -> Any:
    """Two reacting substances."""

    def step(state: Any, c: Any) -> Any:
        a, b = state
        reaction = a * b * b
        a = a + 0.16 * around(ops, a) - reaction + c[0] * (1.0 - a)
        return a, b + 0.08 * around(ops, b) + reaction - (c[0] + c[1]) * b

    rates = 0.04 + 0.1 * v["f"], 0.06 + 0.1 * v["k"]
    a, b = ops.loop(step, (1.0 + v["a"], 0.25 + v["b"]), 50, rates)
    return ops.mean(a * a) + ops.mean(b * b)


def burgers(ops: Any, v: Values) -> Any:
    """Viscous flow in one dimension, central differences."""

    def step(u: Any, c: Any) -> Any:
        slope = ops.roll(u, -1, 0) - ops.roll(u, 1, 0)
        return u - 0.05 * u * slope + c[0] * around(ops, u)

    out = ops.loop(step, v["u"], 200, (0.1 + 0.01 * v["k"],))
    return ops.mean(out * out)


def advection(ops: Any, v: Values) -> Any:
    """Upwind transport in a field of velocities that is fed."""

    def step(u: Any, c: Any) -> Any:
        x, y = c
        left = ops.where(x > 0.0, u - ops.roll(u, 1, 1), ops.roll(u, -1, 1) - u)
        below = ops.where(y > 0.0, u - ops.roll(u, 1, 0), ops.roll(u, -1, 0) - u)
        return u - 0.1 * (x * left + y * below)

    out = ops.loop(step, v["u"], 40, (v["x"], v["y"]))
    return ops.mean(out * out)


def _wave2d(ops: Any, v: Values) -> Any:
    return wave(50, ops, v)


def _wave3d(ops: Any, v: Values) -> Any:
    return wave(20, ops, v)


_SQUARE = normal({"u": (128, 128), "k": ()})
WORKLOADS = (
    program("heat1d", "50 steps, 100,000 points", heat,
            normal({"u": (100_000,), "k": ()}), "float64"),
    program("heat2d", "50 steps, 128 x 128", heat, _SQUARE, "float64"),
    program("wave2d", "50 steps, 128 x 128", _wave2d, _SQUARE, "float64"),
    program("wave3d", "20 steps, 32 x 32 x 32", _wave3d,
            normal({"u": (32, 32, 32), "k": ()}), "float64"),
    program("gray_scott", "50 steps, 96 x 96, two substances", gray_scott,
            normal({"a": (96, 96), "b": (96, 96), "f": (), "k": ()}, scale=0.05), "float64"),
    program("burgers", "200 steps, 2,048 points", burgers,
            normal({"u": (2048,), "k": ()}, scale=0.3), "float64"),
    program("advection", "40 steps, 128 x 128, upwind", advection,
            normal({"u": (128, 128)}, {"x": (128, 128), "y": (128, 128)})),
)  # fmt: skip
