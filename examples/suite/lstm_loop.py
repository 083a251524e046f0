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


def torch():
    import torch

    one, two = (torch.tensor(p.value, requires_grad=True) for p in (wx, wh))

    def loss(x, y):
        h = c = torch.zeros(len(x), 24)
        for t in range(x.shape[1]):
            i, f, o, g = (x[:, t] @ one + h @ two).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return ((h.sum(1) - y) ** 2).mean()

    return loss


def jax():
    from jax import nn, numpy as np

    def loss(p, x, y):
        h = c = np.zeros((len(x), 24))
        for t in range(x.shape[1]):
            i, f, o, g = np.split(x[:, t] @ p[0] + h @ p[1], 4, 1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * np.tanh(g)
            h = nn.sigmoid(o) * np.tanh(c)
        return ((h.sum(1) - y) ** 2).mean()

    return loss, [wx.value, wh.value]
