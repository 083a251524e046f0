"""A perceptron with dropout."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
x = draw.normal(size=(64, 100)).astype("float32")
net = sg.nn.Sequential(
    sg.nn.Linear(100, 256), sg.nn.ReLU(), sg.nn.Dropout(0.3), sg.nn.Linear(256, 10)
)
example = net, x, draw.integers(0, 10, 64)


def jax():
    import jax
    from jax import nn, numpy as np, random

    def loss(p, key, x, y):
        h = nn.relu(x @ p["0.weight"].T + p["0.bias"])
        h = np.where(random.bernoulli(key, 0.7, h.shape), h / 0.7, 0.0)
        h = h @ p["3.weight"].T + p["3.bias"]
        return -np.take_along_axis(nn.log_softmax(h, axis=1), y[:, None], 1).mean()

    def step(state, x, y):
        p, key = state
        key, now = random.split(key)
        value, slopes = jax.value_and_grad(loss)(p, now, x, y)
        return value, (jax.tree.map(lambda a, g: a - 0.05 * g, p, slopes), key)

    return step, (example[0].torch_state(), random.PRNGKey(0))
