"""Messages along edges, summed at nodes."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
w = sg.parameter("w", draw.normal(0, 0.3, (8, 8)).astype("float32"))


def loss(nodes, source, target):
    for _ in range(2):
        messages = sg.take(nodes @ w, source, 0)
        nodes = sg.tanh(sg.scatter_add(messages, target, nodes.shape[0]))
    return ((nodes - 0.1) ** 2).mean()


nodes = draw.normal(size=(50, 8)).astype("float32")
example = loss, nodes, draw.integers(0, 50, 200), draw.integers(0, 50, 200)


def torch():
    import torch

    weight = torch.tensor(w.value, requires_grad=True)

    def loss(nodes, source, target):
        for _ in range(2):
            messages = (nodes @ weight)[source]
            nodes = torch.tanh(torch.zeros_like(nodes).index_add(0, target, messages))
        return ((nodes - 0.1) ** 2).mean()

    return loss


def jax():
    from jax import numpy as np

    def loss(weight, nodes, source, target):
        for _ in range(2):
            messages = (nodes @ weight)[source]
            nodes = np.tanh(np.zeros_like(nodes).at[target].add(messages))
        return ((nodes - 0.1) ** 2).mean()

    return loss, w.value
