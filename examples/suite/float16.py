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
