"""Embeddings of ten items, then a perceptron."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
net = sg.nn.Sequential(
    sg.nn.Embedding(2000, 16), sg.nn.Flatten(), sg.nn.Linear(160, 32), sg.nn.ReLU(),
    sg.nn.Linear(32, 2),
)  # fmt: skip
example = net, draw.integers(0, 2000, (64, 10)), draw.integers(0, 2, 64)
