"""A loss that is another one where an error is large: an if of Python, on the tape alone."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
x = draw.normal(size=(256, 64)).astype("float32")
w = sg.parameter("w", np.zeros((64, 64), "float32"))


def loss(x, y):
    error = sg.tanh(x @ w) - y
    if abs(error).max() > 3.0:
        return abs(error).mean()
    return (error * error).mean()


example = loss, x, x @ (draw.normal(size=(64, 64)) / 64).astype("float32")


def torch():
    import torch

    weight = torch.tensor(w.value, requires_grad=True)

    def loss(x, y):
        error = torch.tanh(x @ weight) - y
        if abs(error).max() > 3.0:
            return abs(error).mean()
        return (error * error).mean()

    return loss
