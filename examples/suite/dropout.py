"""A perceptron with dropout."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
x = draw.normal(size=(64, 100)).astype("float32")
net = sg.nn.Sequential(
    sg.nn.Linear(100, 256), sg.nn.ReLU(), sg.nn.Dropout(0.3), sg.nn.Linear(256, 10)
)
example = net, x, draw.integers(0, 10, 64)
