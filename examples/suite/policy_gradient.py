"""The gradient of returns by a policy over five actions."""

import numpy as np

import staticgrad as sg

draw, adam = np.random.default_rng(0), sg.optim.Adam(1e-2)
policy = sg.nn.Sequential(sg.nn.Linear(6, 32), sg.nn.Tanh(), sg.nn.Linear(32, 5))


def step(states, actions, returns):
    logits = sg.nn.log_softmax(policy(states), axis=1)
    chosen = sg.take_along_axis(logits, actions, axis=1)
    loss = -(chosen * (returns - returns.mean())).mean()
    adam.minimize(loss)
    return loss


states = draw.normal(size=(64, 6)).astype("float32")
example = step, states, draw.integers(0, 5, (64, 1)), states.sum(1, keepdims=True)
