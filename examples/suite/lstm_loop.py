"""A recurrent cell in a loop of Python."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
wx = sg.parameter("wx", draw.normal(0, 0.2, (8, 96)).astype("float32"))
wh = sg.parameter("wh", draw.normal(0, 0.2, (24, 96)).astype("float32"))


def loss(x, y):
    h = c = x[:, 0, :1] * np.zeros(24, "float32")
    for t in range(x.shape[1]):
        i, f, o, g = sg.split(x[:, t] @ wx + h @ wh, 4, axis=1)
        c = sg.sigmoid(f) * c + sg.sigmoid(i) * sg.tanh(g)
        h = sg.sigmoid(o) * sg.tanh(c)
    return ((h.sum(1) - y) ** 2).mean()


example = loss, draw.normal(size=(16, 10, 8)).astype("float32"), np.ones(16, "float32")
