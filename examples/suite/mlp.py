"""A perceptron on two classes."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
x = draw.normal(size=(64, 100)).astype("float32")
net = sg.nn.Sequential(
    sg.nn.Linear(100, 128), sg.nn.ReLU(), sg.nn.Linear(128, 64), sg.nn.ReLU(), sg.nn.Linear(64, 2)
)
example = net, x, (x.sum(1) > 0).astype("int64")
