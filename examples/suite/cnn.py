"""Convolutions and pooling on small images."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
images = draw.normal(size=(16, 1, 16, 16)).astype("float32")
net = sg.nn.Sequential(
    sg.nn.Conv2d(1, 8, 3, padding=1), sg.nn.ReLU(), sg.nn.MaxPool2d(2),
    sg.nn.Conv2d(8, 16, 3, padding=1), sg.nn.ReLU(), sg.nn.MaxPool2d(2),
    sg.nn.Flatten(), sg.nn.Linear(256, 10),
)  # fmt: skip
example = net, images, draw.integers(0, 10, 16)


def jax():
    from jax import lax, nn, numpy as np

    def loss(p, x, y):
        for k in (0, 3):
            x = lax.conv_general_dilated(x, p[f"{k}.weight"], (1, 1), "SAME")
            x = nn.relu(x + p[f"{k}.bias"][:, None, None])
            n, c, h, w = x.shape
            x = x.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))
        h = x.reshape(len(x), -1) @ p["7.weight"].T + p["7.bias"]
        return -np.take_along_axis(nn.log_softmax(h, axis=1), y[:, None], 1).mean()

    return loss, net.torch_state()
