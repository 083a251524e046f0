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
