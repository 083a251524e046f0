"""Convolutions and pooling on small images."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
images = draw.normal(size=(16, 1, 16, 16)).astype("float32")
net = sg.nn.Sequential(
    sg.nn.Conv2d(1, 8, 3, padding=1), sg.nn.ReLU(), sg.nn.MaxPool2d(2),
    sg.nn.Conv2d(8, 16, 3, padding=1), sg.nn.ReLU(), sg.nn.MaxPool2d(2),
    sg.nn.Flatten(), sg.nn.Linear(256, 10),
)  # fmt: skip
example = net, images, draw.integers(0, 10, 16)
