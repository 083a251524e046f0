"""A generator against a discriminator, two optimizers in one step."""

import numpy as np

import staticgrad as sg

draw, noise = np.random.default_rng(0), sg.random.Generator(0)
maker = sg.nn.Sequential(sg.nn.Linear(4, 32), sg.nn.ReLU(), sg.nn.Linear(32, 2))
judge = sg.nn.Sequential(sg.nn.Linear(2, 32), sg.nn.ReLU(), sg.nn.Linear(32, 1))
first, second = sg.optim.SGD(1e-2), sg.optim.SGD(1e-2)


def step(x):
    made = maker(noise.normal(shape=(64, 4)))
    wrong = sg.nn.softplus(judge(made)).mean()
    first.minimize(wrong + sg.nn.softplus(-judge(x)).mean(), judge.parameters())
    fooled = sg.nn.softplus(-judge(made)).mean()
    second.minimize(fooled, maker.parameters())
    return wrong


example = step, draw.normal(size=(64, 2)).astype("float32")
