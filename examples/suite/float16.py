"""A perceptron in float16 with a constant loss scale."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
w = sg.parameter("w", draw.normal(0, 0.1, (64, 64)).astype("float32"))
v = sg.parameter("v", draw.normal(0, 0.1, (64, 1)).astype("float32"))
sgd = sg.optim.SGD(1e-2)


def step(x, y):
    hidden = sg.tanh(x @ w.astype("float16"))
    loss = (((hidden @ v.astype("float16")).astype("float32") - y) ** 2).mean()
    sgd.minimize(loss)
    return loss


x = draw.normal(size=(64, 64)).astype("float16")
example = step, x, x.sum(1, keepdims=True).astype("float32") / 8.0


def torch():
    import torch

    one, two = (torch.tensor(p.value, requires_grad=True) for p in (w, v))

    def loss(x, y):
        hidden = torch.tanh(x @ one.half())
        return (((hidden @ two.half()).float() - y) ** 2).mean()

    rule = torch.optim.SGD([one, two], 1e-2)

    def step(x, y):
        value = loss(x, y)
        rule.zero_grad()
        value.backward()
        rule.step()
        return value

    return step


def jax():
    import jax
    from jax import numpy as np

    def loss(p, x, y):
        hidden = np.tanh(x @ p[0].astype("float16"))
        return (((hidden @ p[1].astype("float16")).astype("float32") - y) ** 2).mean()

    def step(state, x, y):
        value, slopes = jax.value_and_grad(loss)(state, x, y)
        return value, [a - 1e-2 * g for a, g in zip(state, slopes, strict=True)]

    return step, [w.value, v.value]
