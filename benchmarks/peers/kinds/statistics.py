"""Likelihoods, prices and samplers."""

from __future__ import annotations

from math import log, pi, sqrt
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data
from benchmarks.peers.kinds import Values, normal, program


def phi(ops: Any, x: Any) -> Any:
    """The normal distribution function."""
    return 0.5 * (1.0 + ops.erf(x * (1.0 / sqrt(2.0))))


def black_scholes(ops: Any, v: Values) -> Any:
    """The mean price of calls, and its sensitivities."""
    spot, strike, time = v["spot"], v["strike"], v["time"]
    spread = v["volatility"] * ops.sqrt(time)
    high = (ops.log(spot / strike) + v["rate"] * time) / spread + 0.5 * spread
    discount = ops.exp(-v["rate"] * time)
    return ops.mean(spot * phi(ops, high) - strike * discount * phi(ops, high - spread))


def options(random: np.random.Generator) -> Data:
    """200,000 options."""
    count = 200_000
    variables = {name: random.uniform(low, high, count) for name, low, high in (
        ("spot", 50, 150), ("volatility", 0.1, 0.5))}  # fmt: skip
    feeds = {"strike": random.uniform(50, 150, count), "time": random.uniform(0.1, 2, count)}
    return Data({**variables, "rate": np.asarray(0.02)}, feeds)


def mixture(ops: Any, v: Values) -> Any:
    """The likelihood of 10,000 points under 20 Gaussians with diagonal spreads."""
    away = (v["x"][:, None, :] - v["means"]) * ops.exp(v["widths"])
    logs = ops.sum(v["widths"], axis=1) - 0.5 * ops.sum(away * away, axis=2) + v["weights"]
    return -ops.mean(ops.logsumexp(logs, 1)) + ops.logsumexp(v["weights"], 0)


def logistic(ops: Any, v: Values) -> Any:
    """The likelihood of a logistic regression, with a normal prior."""
    logits = v["x"] @ v["w"]
    return ops.mean(ops.softplus(logits) - v["y"] * logits) + 0.01 * ops.sum(v["w"] ** 2)


def poisson(ops: Any, v: Values) -> Any:
    """The likelihood of counts with a linear predictor."""
    linear = v["x"] @ v["w"] + v["b"]
    return ops.mean(ops.exp(linear) - v["y"] * linear)


def draw_counts(random: np.random.Generator) -> Data:
    """20,000 rows of 30, and counts or classes."""
    feeds = {"x": random.normal(size=(20_000, 30)), "y": random.integers(0, 2, 20_000) * 1.0}
    return Data({"w": 0.1 * random.normal(size=30), "b": np.asarray(0.1)}, feeds)


def draw_classes(random: np.random.Generator) -> Data:
    """The same without an offset."""
    data = draw_counts(random)
    return Data({"w": data.variables["w"]}, data.feeds)


def student(ops: Any, v: Values) -> Any:
    """A robust regression with errors of Student's distribution."""
    away = (v["y"] - v["x"] @ v["w"]) * ops.exp(-v["scale"])
    return ops.mean(0.5 * (4.0 + 1.0) * ops.log1p(away * away / 4.0)) + v["scale"]


def robust(random: np.random.Generator) -> Data:
    """20,000 rows of 30 with long tails."""
    feeds = {"x": random.normal(size=(20_000, 30)), "y": random.standard_t(4, 20_000)}
    return Data({"w": 0.1 * random.normal(size=30), "scale": np.asarray(0.1)}, feeds)


def leapfrog(ops: Any, v: Values) -> Any:
    """The energy after 50 leapfrog steps in the posterior of a logistic regression."""
    x, y = v["x"], v["y"]

    def force(w: Any) -> Any:
        return (ops.sigmoid(x @ w) - y) @ x + w

    def step(state: Any, c: Any) -> Any:
        w, p = state
        p = p - 0.5 * c[0] * force(w)
        w = w + c[0] * p
        return w, p - 0.5 * c[0] * force(w)

    w, p = ops.loop(step, (v["w"], v["p"]), 50, (0.01 * v["rate"],))
    logits = x @ w
    energy = ops.sum(ops.softplus(logits) - y * logits) + 0.5 * ops.sum(w * w)
    return energy + 0.5 * ops.sum(p * p)


def trajectory(random: np.random.Generator) -> Data:
    """A start, and 500 rows of 20."""
    feeds = {"x": random.normal(size=(500, 20)), "y": random.integers(0, 2, 500) * 1.0}
    start = {"w": 0.1 * random.normal(size=20), "p": random.normal(size=20)}
    return Data({**start, "rate": np.asarray(1.0)}, feeds)


def markov(ops: Any, v: Values) -> Any:
    """The likelihood of 200 observations of 16 hidden states, by the forward recursion."""
    steps = v["a"] - ops.logsumexp(v["a"], 1)[:, None]

    def step(alpha: Any, seen: Any) -> Any:
        alpha = ops.logsumexp(alpha[:, None] + steps, 0) + seen
        return alpha, alpha[0]

    return -ops.logsumexp(ops.scan(step, v["start"], v["seen"])[0], 0)


def garch(ops: Any, v: Values) -> Any:
    """The likelihood of returns whose variance follows from the last one."""
    omega, a, b = (ops.exp(v[name]) for name in ("omega", "a", "b"))

    def step(h: Any, r: Any) -> Any:
        h = omega + a * r * r + b * h
        return h, ops.log(h) + r * r / h

    return 0.5 * ops.mean(ops.scan(step, v["h"], v["r"])[1])


def returns(random: np.random.Generator) -> Data:
    """1,000 days of eight series."""
    values = {"omega": -3.0, "a": -2.0, "b": -0.2}
    variables = {name: value + 0.1 * random.normal(size=8) for name, value in values.items()}
    return Data(variables, {"h": np.ones(8), "r": random.normal(size=(1000, 8))})


def particles(ops: Any, v: Values) -> Any:
    """A filter of 1,000 particles over 50 steps, reweighted by each observation."""

    def step(state: Any, at: Any) -> Any:
        x, weights = state
        noise, y = at
        x = v["a"] * ops.sin(x) + ops.exp(v["spread"]) * noise
        weights = weights - 0.5 * (y - x) ** 2
        total = ops.logsumexp(weights, 0)
        return (x, weights - total), total

    start = (v["x"], v["x"] * 0.0 - log(1000.0))
    return -ops.sum(ops.scan(step, start, (v["noise"], v["y"]))[1])


def draw_filter_inputs(random: np.random.Generator) -> Data:
    """Noise and observations of 50 steps."""
    feeds = {"x": random.normal(size=1000), "noise": random.normal(size=(50, 1000)),
             "y": random.normal(size=50)}  # fmt: skip
    return Data({"a": np.asarray(1.5), "spread": np.asarray(-0.5)}, feeds)


def density(ops: Any, v: Values) -> Any:
    """The likelihood of 500 points in a density of 2,000 kernels, by places and width."""
    away = (v["x"][:, None] - v["y"]) * ops.exp(v["width"])
    logs = -0.5 * away * away + v["width"] - 0.5 * log(2 * pi)
    return -ops.mean(ops.logsumexp(logs, 1))


def walk(ops: Any, v: Values) -> Any:
    """The mean payoff of an Asian option over 5,000 paths of 50 days."""
    steps = (0.02 - 0.5 * v["s"] ** 2) / 50 + v["s"] * sqrt(1 / 50) * v["z"]
    paths = v["spot"] * ops.exp(ops.cumsum(steps, 1))
    return ops.mean(ops.relu(ops.mean(paths, axis=1) - 100.0))


def paths(random: np.random.Generator) -> Data:
    """Normal steps."""
    variables = {"s": np.asarray(0.2), "spot": np.asarray(100.0)}
    return Data(variables, {"z": random.normal(size=(5000, 50))})


_MIXTURE = {"means": (20, 8), "widths": (20, 8), "weights": (20,)}
WORKLOADS = (
    program("black_scholes", "200,000 options", black_scholes, options),
    program("mixture", "10,000 points, 20 Gaussians, 8 dimensions", mixture,
            normal(_MIXTURE, {"x": (10_000, 8)}, 0.5)),
    program("logistic", "20,000 x 30", logistic, draw_classes, "float64"),
    program("poisson", "20,000 x 30", poisson, draw_counts, "float64"),
    program("student_t", "20,000 x 30", student, robust, "float64"),
    program("hmc", "50 leapfrog steps, 500 x 20", leapfrog, trajectory, "float64"),
    program("hidden_markov", "200 steps, 16 states", markov,
            normal({"a": (16, 16)}, {"start": (16,), "seen": (200, 16)}), "float64"),
    program("garch", "1,000 days of 8 series", garch, returns, "float64"),
    program("particle_filter", "50 steps, 1,000 particles", particles, draw_filter_inputs,
            "float64"),
    program("kernel_density", "500 points, 2,000 kernels", density,
            normal({"y": (2000,), "width": ()}, {"x": (500,)})),
    program("asian_option", "5,000 paths of 50 days", walk, paths),
)  # fmt: skip
