"""Embeddings of ten items, then a perceptron."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
net = sg.nn.Sequential(
    sg.nn.Embedding(2000, 16), sg.nn.Flatten(), sg.nn.Linear(160, 32), sg.nn.ReLU(),
    sg.nn.Linear(32, 2),
)  # fmt: skip
example = net, draw.integers(0, 2000, (64, 10)), draw.integers(0, 2, 64)


def jax():
    from jax import nn, numpy as np

    def loss(p, x, y):
        h = p["0.weight"][x].reshape(len(x), -1)
        h = nn.relu(h @ p["2.weight"].T + p["2.bias"]) @ p["4.weight"].T + p["4.bias"]
        return -np.take_along_axis(nn.log_softmax(h, axis=1), y[:, None], 1).mean()

    return loss, net.torch_state()
