"""A perceptron on two classes."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
x = draw.normal(size=(64, 100)).astype("float32")
net = sg.nn.Sequential(
    sg.nn.Linear(100, 128), sg.nn.ReLU(), sg.nn.Linear(128, 64), sg.nn.ReLU(), sg.nn.Linear(64, 2)
)
example = net, x, (x.sum(1) > 0).astype("int64")


def jax():
    from jax import nn, numpy as np

    def loss(p, x, y):
        h = x
        for k in (0, 2, 4):
            h = h @ p[f"{k}.weight"].T + p[f"{k}.bias"]
            h = nn.relu(h) if k < 4 else h
        return -np.take_along_axis(nn.log_softmax(h, axis=1), y[:, None], 1).mean()

    return loss, net.torch_state()
