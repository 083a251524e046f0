"""A Runge-Kutta method over twenty steps of a learned field."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
w = sg.parameter("w", draw.normal(0, 0.3, (2, 2)).astype("float32"))


def loss(x, y):
    def slope(at):
        return sg.tanh(at @ w)

    for _ in range(20):
        k1 = slope(x)
        k2 = slope(x + 0.05 * k1)
        k3 = slope(x + 0.05 * k2)
        x = x + (k1 + 2.0 * k2 + 2.0 * k3 + slope(x + 0.1 * k3)) * (0.1 / 6.0)
    return ((x - y) ** 2).mean()


x = draw.normal(size=(32, 2)).astype("float32")
example = loss, x, x[:, ::-1].copy()


def torch():
    import torch

    weight = torch.tensor(w.value, requires_grad=True)

    def loss(x, y):
        for _ in range(20):
            k1 = torch.tanh(x @ weight)
            k2 = torch.tanh((x + 0.05 * k1) @ weight)
            k3 = torch.tanh((x + 0.05 * k2) @ weight)
            k4 = torch.tanh((x + 0.1 * k3) @ weight)
            x = x + (k1 + 2.0 * k2 + 2.0 * k3 + k4) * (0.1 / 6.0)
        return ((x - y) ** 2).mean()

    return loss


def jax():
    from jax import numpy as np

    def loss(weight, x, y):
        for _ in range(20):
            k1 = np.tanh(x @ weight)
            k2 = np.tanh((x + 0.05 * k1) @ weight)
            k3 = np.tanh((x + 0.05 * k2) @ weight)
            k4 = np.tanh((x + 0.1 * k3) @ weight)
            x = x + (k1 + 2.0 * k2 + 2.0 * k3 + k4) * (0.1 / 6.0)
        return ((x - y) ** 2).mean()

    return loss, w.value
