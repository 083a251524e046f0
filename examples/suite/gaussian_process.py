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


def torch():
    import torch

    size = torch.tensor(scale.value, requires_grad=True)

    def loss(x, y):
        apart = (x[:, None] - x) ** 2
        covariance = torch.exp(-apart * torch.exp(size)) + 0.1 * torch.eye(60, dtype=x.dtype)
        factor = torch.linalg.cholesky(covariance)
        white = torch.linalg.solve(covariance, y)
        return (0.5 * (y * white).sum() + torch.log(torch.diagonal(factor)).sum()) / 60.0

    return loss


def jax():
    from jax import numpy as np

    def loss(size, x, y):
        covariance = np.exp(-((x[:, None] - x) ** 2) * np.exp(size)) + 0.1 * np.eye(60)
        factor, white = np.linalg.cholesky(covariance), np.linalg.solve(covariance, y)
        return (0.5 * (y * white).sum() + np.log(np.diagonal(factor)).sum()) / 60.0

    return loss, scale.value
