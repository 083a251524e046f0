"""Sums of exponentials, least squares, clusters, mixtures, differential equations."""

from __future__ import annotations

from math import log, pi
from typing import Any

import numpy as np
from scipy.special import multigammaln

import staticgrad as sg

Input = dict[str, Any]


def square(x: Any) -> Any:
    return x * x


def log_sum_exp(x: Any) -> Any:
    most = x.max()
    return most + np.log(np.exp(x - most).sum())


def least_squares(x: Any, t: Any) -> Any:
    """Half the squared distance of a polynomial from the sign, at points t."""
    powers = np.cumprod(np.broadcast_to(t[:, None], (t.shape[0], x.shape[0] - 1)), axis=1)
    away = np.sign(t) - x[0] - powers @ x[1:]
    return 0.5 * (away * away).sum()


def cost(centroids: Any, points: Any) -> Any:
    """The sum of the squared distances of points from their nearest centroid."""
    squares = (points * points).sum(axis=1)[:, None] + (centroids * centroids).sum(axis=1)
    return (squares - 2.0 * points @ centroids.T).min(axis=1).sum()


def newton_direction(centroids: Any, points: Any) -> Any:
    """The gradient over the Hessian, which is diagonal: its product with ones."""
    slope, curvature = sg.jvp(
        lambda c: sg.grad(cost)(c, points), centroids, np.ones(centroids.shape)
    )
    return slope / curvature


def log_posterior(v: Any, x: Any, gamma: Any, m: Any, constant: Any) -> Any:
    """The log posterior of a Gaussian mixture with a Wishart prior on the precisions."""
    alpha, mu, q, factors = v["alpha"], v["mu"], v["q"], v["l"]
    d = mu.shape[1]
    places = np.zeros((d, d), "int64")  # of the strict lower triangle, column after column
    columns, rows = np.triu_indices(d, 1)
    places[rows, columns] = 1 + np.arange(len(rows))
    padded = np.concatenate([np.zeros((alpha.shape[0], 1)), factors], axis=1)
    diagonal, lower = np.exp(q), np.take(padded, places, axis=1)
    away = x[None] - mu[:, None]
    scaled = diagonal[:, None] * away + away @ np.swapaxes(lower, 1, 2)
    sums = q.sum(axis=1)
    inner = (alpha + sums)[:, None] - 0.5 * (scaled * scaled).sum(axis=2)
    fit = sg.nn.logsumexp(inner, axis=0).sum() - x.shape[0] * sg.nn.logsumexp(alpha)
    squares = (diagonal * diagonal).sum() + (factors * factors).sum()
    return constant + fit - 0.5 * gamma**2 * squares + m * sums.sum()


def ode_solution(x: Any, steps: int) -> Any:
    """y(2) for y' = x * (1, y[:-1]) and y(0) = 0, by the classical Runge-Kutta method."""
    h = 2.0 / steps

    def slope(y: Any) -> Any:
        return x * np.concatenate([np.ones(1), y[:-1]])

    def step(_: Any, y: Any) -> Any:
        first = slope(y)
        second = slope(y + h / 2 * first)
        third = slope(y + h / 2 * second)
        return y + h / 6 * (first + 2.0 * second + 2.0 * third + slope(y + h * third))

    return sg.fori_loop(0, steps, step, x * 0.0)


def array(value: Any) -> Any:
    return np.array(value, "float64")


def of_llsq(inputs: Input) -> tuple[Any, ...]:
    return array(inputs["x"]), np.linspace(-1.0, 1.0, inputs["n"])


def of_kmeans(inputs: Input) -> tuple[Any, ...]:
    return array(inputs["centroids"]), array(inputs["points"])


def of_gmm(inputs: Input) -> tuple[Any, ...]:
    d, k, n, m, gamma = (inputs[name] for name in ("d", "k", "n", "m", "gamma"))
    v = {name: array(inputs[name]) for name in ("alpha", "mu", "q", "l")}
    v["l"] = v["l"].reshape(k, d * (d - 1) // 2)
    freedom = d + m + 1
    prior = freedom * d * log(gamma / 2**0.5) - float(multigammaln(freedom / 2, d))
    return v, array(inputs["x"]), array(gamma), array(m), array(k * prior - n * d / 2 * log(2 * pi))


def of_ode(inputs: Input) -> tuple[Any, ...]:
    return array(inputs["x"]), int(inputs["s"])
