"""Twelve layers of tanh: activations are most of the memory."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
x = draw.normal(size=(128, 32)).astype("float32")
layers = [layer for _ in range(12) for layer in (sg.nn.Linear(32, 32), sg.nn.Tanh())]
example = sg.nn.Sequential(*layers, sg.nn.Linear(32, 1)), x, x.sum(1, keepdims=True)


def jax():
    from jax import numpy as np

    def loss(p, x, y):
        for k in range(0, 24, 2):
            x = np.tanh(x @ p[f"{k}.weight"].T + p[f"{k}.bias"])
        return ((x @ p["24.weight"].T + p["24.bias"] - y) ** 2).mean()

    return loss, example[0].torch_state()
