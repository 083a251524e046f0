"""Descent until the loss is small: a while of Python with updates, on the tape alone."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
x = draw.normal(size=(256, 64)).astype("float32")
w = sg.parameter("w", np.zeros((64, 8), "float32"))
rule = sg.optim.SGD(1.0)


def step(x, y):
    loss = ((x @ w - y) ** 2).mean()
    while loss > 0.1:
        rule.minimize(loss)
        loss = ((x @ w - y) ** 2).mean()
    return loss


example = step, x, x @ (draw.normal(size=(64, 8)) / 8).astype("float32")


def torch():
    import torch

    weight = torch.tensor(w.value, requires_grad=True)
    rule = torch.optim.SGD([weight], 1.0)

    def step(x, y):
        loss = ((x @ weight - y) ** 2).mean()
        while loss > 0.1:
            rule.zero_grad()
            loss.backward()
            rule.step()
            loss = ((x @ weight - y) ** 2).mean()
        return loss

    return step
