"""Graphs whose numbers of nodes and edges change from step to step."""

import numpy as np

import staticgrad as sg

w = sg.parameter("w", np.eye(3, dtype="float32"))


def loss(nodes, source, target):
    rows = sg.take(nodes @ w, source, 0)
    return (sg.scatter_add(rows, target, nodes.shape[0]) ** 2).mean()


def draw(random):
    n, e = int(random.integers(8, 30)), int(random.integers(20, 60))
    nodes = random.normal(size=(n, 3)).astype("float32")
    return nodes, random.integers(0, n, e), random.integers(0, n, e)


example = loss, draw


def torch():
    import torch

    weight = torch.tensor(w.value, requires_grad=True)

    def loss(nodes, source, target):
        rows = (nodes @ weight)[source]
        return (torch.zeros_like(nodes).index_add(0, target, rows) ** 2).mean()

    return loss


def jax():
    from jax import numpy as np

    def loss(weight, nodes, source, target):
        rows = (nodes @ weight)[source]
        return (np.zeros_like(nodes).at[target].add(rows) ** 2).mean()

    return loss, w.value
