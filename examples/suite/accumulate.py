"""Four steps whose gradients are added up before an update."""

import numpy as np

import staticgrad as sg

draw, adam = np.random.default_rng(0), sg.optim.Adam(1e-2, accumulate=4)
net = sg.nn.Sequential(sg.nn.Linear(32, 64), sg.nn.ReLU(), sg.nn.Linear(64, 1))


def step(x, y):
    loss = ((net(x) - y) ** 2).mean()
    adam.minimize(loss)
    return loss


x = draw.normal(size=(32, 32)).astype("float32")
example = step, x, x.sum(1, keepdims=True)
