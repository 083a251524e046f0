"""Convolutions with batch normalization and running statistics."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
images = draw.normal(size=(16, 3, 12, 12)).astype("float32")
net = sg.nn.Sequential(
    sg.nn.Conv2d(3, 16, 3, padding=1), sg.nn.BatchNorm2d(16), sg.nn.ReLU(),
    sg.nn.Conv2d(16, 16, 3, padding=1), sg.nn.BatchNorm2d(16), sg.nn.ReLU(),
    sg.nn.Flatten(), sg.nn.Linear(2304, 10),
)  # fmt: skip
example = net, images, draw.integers(0, 10, 16)
