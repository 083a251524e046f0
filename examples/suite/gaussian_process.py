"""The likelihood of a Gaussian process by a Cholesky factor."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
scale = sg.parameter("scale", np.zeros(()))


def loss(x, y):
    apart = (x[:, None] - x) ** 2
    covariance = sg.exp(-apart * sg.exp(scale)) + 0.1 * np.eye(60)
    factor = sg.linalg.cholesky(covariance)
    white = sg.linalg.solve(covariance, y)
    return (0.5 * (y * white).sum() + sg.log(sg.diagonal(factor)).sum()) / 60.0


x = draw.uniform(0.0, 5.0, 60)
example = loss, x, np.sin(x)
