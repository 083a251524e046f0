"""Twelve layers of tanh: activations are most of the memory."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
x = draw.normal(size=(128, 32)).astype("float32")
layers = [layer for _ in range(12) for layer in (sg.nn.Linear(32, 32), sg.nn.Tanh())]
example = sg.nn.Sequential(*layers, sg.nn.Linear(32, 1)), x, x.sum(1, keepdims=True)
