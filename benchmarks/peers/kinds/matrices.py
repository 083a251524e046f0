"""Linear algebra: factors, systems, eigenvalues."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make
from benchmarks.peers.kinds import Values, normal, program


def positive(ops: Any, x: Any, size: int) -> Any:
    """x @ x.T / n + 1, a positive matrix."""
    return x @ x.T / size + ops.identity(size)


def cholesky(ops: Any, v: Values) -> Any:
    """The sum of a weighted factor."""
    return ops.sum(ops.cholesky(positive(ops, v["x"], 300)) * v["g"])


def solve(ops: Any, v: Values) -> Any:
    """The solutions of a system with 16 right sides."""
    return ops.mean(ops.linalg.solve(v["a"] + 30.0 * ops.identity(300), v["b"]) ** 2)


def eigh(ops: Any, v: Values) -> Any:
    """Eigenvalues and squares of eigenvectors of a symmetric matrix."""
    values, vectors = ops.linalg.eigh(v["x"] + v["x"].T)
    return ops.sum(values * v["g"]) + ops.sum(vectors * vectors * v["h"])


def svd(ops: Any, v: Values) -> Any:
    """The nuclear norm of a matrix, and its distance from another."""
    u, s, vt = ops.linalg.svd(v["x"], full_matrices=False)
    return ops.sum(s) + ops.sum(((u * v["g"]) @ vt) ** 2 * v["h"])


def log_determinant(ops: Any, v: Values) -> Any:
    """The logarithm of a determinant."""
    return ops.linalg.slogdet(positive(ops, v["x"], 300))[1]


def likelihood(ops: Any, v: Values) -> Any:
    """The likelihood of a Gaussian process with a kernel of squared distances."""
    scaled = v["x"] / ops.exp(v["scale"])
    squares = ops.sum(scaled * scaled, axis=1)
    distances = squares[:, None] + squares[None, :] - 2.0 * (scaled @ scaled.T)
    covariance = ops.exp(-0.5 * distances) + ops.exp(v["noise"]) * ops.identity(300)
    factor = ops.cholesky(covariance)
    solved = ops.solve_lower(factor, v["y"])
    return 0.5 * ops.sum(solved * solved) + ops.sum(ops.log(ops.diagonal(factor)))


def kalman(ops: Any, v: Values) -> Any:
    """The likelihood of 100 observations in a linear model with four states."""
    a, q = v["a"], v["q"] @ v["q"].T + ops.identity(4)

    def step(state: Any, y: Any) -> Any:
        mean, spread = state
        mean, spread = a @ mean, a @ spread @ a.T + q
        c = v["c"]
        seen = c @ spread @ c.T + ops.identity(2)
        gain = ops.linalg.solve(seen, c @ spread).T
        away = y - c @ mean
        cost = ops.sum(away * ops.linalg.solve(seen, away)) + ops.linalg.slogdet(seen)[1]
        return (mean + gain @ away, spread - gain @ c @ spread), cost

    return ops.sum(ops.scan(step, (v["m"], ops.identity(4)), v["y"])[1])


def expm(ops: Any, v: Values) -> Any:
    """The exponential of a matrix."""
    return ops.mean(ops.expm(v["x"]) ** 2)


def qr(ops: Any, v: Values) -> Any:
    """Both factors, weighted."""
    q, r = ops.linalg.qr(v["x"])
    return ops.sum(q * v["g"]) + ops.sum(r * r)


def ridge(ops: Any, v: Values) -> Any:
    """Squared residuals of a ridge regression, by its penalties and data."""
    x, y = v["x"], v["y"]
    weights = ops.linalg.solve(x.T @ x + ops.exp(v["penalty"]) * ops.identity(60), x.T @ y)
    return ops.mean((x @ weights - y) ** 2)


def small(ops: Any, v: Values) -> Any:
    """Logarithms of determinants of many small matrices."""
    x = v["x"]
    squares = ops.matmul(x, ops.transpose(x, (0, 2, 1))) + ops.identity(6)
    return ops.mean(ops.linalg.slogdet(squares)[1])


def draw_observations(random: np.random.Generator) -> Data:
    """A model of four states and two outputs, and 100 observations."""
    variables = {"a": 0.9 * np.eye(4) + 0.05 * random.normal(size=(4, 4)),
                 "c": random.normal(size=(2, 4)),
                 "q": 0.1 * random.normal(size=(4, 4))}  # fmt: skip
    return Data(variables, {"m": np.zeros(4), "y": random.normal(size=(100, 2))})


def points(random: np.random.Generator) -> Data:
    """300 points in five dimensions."""
    variables = {"scale": 0.1 * random.normal(size=5), "noise": np.asarray(-1.0)}
    return Data(variables, {"x": random.normal(size=(300, 5)), "y": random.normal(size=300)})


def _square(size: int, *feeds: str, scale: float = 1.0) -> Make:
    return normal({"x": (size, size)}, dict.fromkeys(feeds, (size, size)), scale)


WORKLOADS = (
    program("cholesky", "a matrix of 300", cholesky, _square(300, "g"), "float64"),
    program("solve", "300 unknowns, 16 right sides", solve,
            normal({"a": (300, 300), "b": (300, 16)}), "float64"),
    program("eigh", "a matrix of 150, with vectors", eigh,
            normal({"x": (150, 150)}, {"g": (150,), "h": (150, 150)}), "float64"),
    program("svd", "100 x 20", svd,
            normal({"x": (100, 20)}, {"g": (20,), "h": (100, 20)}), "float64"),
    program("log_determinant", "a matrix of 300", log_determinant, _square(300), "float64"),
    program("gp_likelihood", "300 points in 5 dimensions", likelihood, points, "float64"),
    program("kalman_filter", "100 steps, 4 states, 2 outputs", kalman, draw_observations,
            "float64"),
    program("expm", "a matrix of 60", expm, _square(60, scale=0.1), "float64"),
    program("qr", "200 x 50", qr, normal({"x": (200, 50)}, {"g": (200, 50)}), "float64"),
    program("ridge", "2,000 x 60, 4 outputs", ridge,
            normal({"x": (2000, 60), "penalty": ()}, {"y": (2000, 4)}), "float64"),
    program("determinants", "5,000 matrices of 6", small, normal({"x": (5000, 6, 6)}), "float64"),
)  # fmt: skip
