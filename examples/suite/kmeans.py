"""Lloyd's algorithm: centres are updated without a gradient."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
points = draw.normal(size=(256, 4)).astype("float32")
centres = sg.parameter("centres", points[:8].copy())


def step(x):
    apart = ((x[:, None] - centres) ** 2).sum(2)
    near = (apart <= apart.min(1, keepdims=True)).astype("float32")
    centres.update((near.T @ x) / (near.sum(0)[:, None] + 1e-6))
    return apart.min(1).mean()


example = step, points


def torch():
    import torch

    now = torch.tensor(centres.value)

    def step(x):
        apart = ((x[:, None] - now) ** 2).sum(2)
        near = (apart <= apart.amin(1, keepdim=True)).float()
        now.copy_((near.T @ x) / (near.sum(0)[:, None] + 1e-6))
        return apart.amin(1).mean()

    return step


def jax():
    def step(now, x):
        apart = ((x[:, None] - now) ** 2).sum(2)
        near = (apart <= apart.min(1, keepdims=True)).astype("float32")
        return apart.min(1).mean(), (near.T @ x) / (near.sum(0)[:, None] + 1e-6)

    return step, centres.value
