"""Plain functions of arrays: traced at the first call, compiled, differentiated, mapped.

A classifier of two spirals by ``sg.function``: the optimizer steps at each call, dropout draws anew
at each, and another batch size compiles nothing. Its gradients and Hessian products are functions
again; an attack finds the direction in which each point is lost soonest.
"""

from itertools import pairwise

import numpy as np

import staticgrad as sg

rng = np.random.default_rng(0)
angle = rng.uniform(0.5, 3.5, size=(2, 200)) * np.pi
turned = angle + np.array([[0.0], [np.pi]])
x = np.stack([angle * np.cos(turned), angle * np.sin(turned)], -1).reshape(-1, 2) / 10
y = np.repeat([0.0, 1.0], 200)

sizes, noise, optimizer = (2, 64, 64, 1), sg.random.Generator(1), sg.optim.Adam(0.01)
layers = [
    (sg.parameter(f"w{k}", rng.normal(size=(m, n)) / m**0.5), sg.parameter(f"b{k}", np.zeros(n)))
    for k, (m, n) in enumerate(pairwise(sizes))
]


def score(x, dropped=0.0):
    """The log-odds of the second spiral."""
    for w, b in layers[:-1]:
        x = noise.dropout(sg.nn.silu(6.0 * x @ w + b), dropped)
    w, b = layers[-1]
    return (x @ w + b)[..., 0]


def loss(x, y, dropped=0.0):
    return sg.nn.binary_cross_entropy_with_logits(score(x, dropped), y)


@sg.function
def step(x, y):
    found = loss(x, y, dropped=0.02)
    optimizer.minimize(found)
    return found


@sg.function
def attacked(x, y):
    slopes = sg.vmap(sg.grad(loss))(x, y)  # of each point by itself
    return x + 0.1 * sg.sign(slopes), sg.vmap(score)(x) > 0


for turn in range(401):
    rows = rng.permutation(400)[: 100 + turn % 50]
    last = step(x[rows], y[rows])
    if turn % 200 == 0:
        print(f"step {turn}: loss {last:.3f}")
moved, said = attacked(x, y)
right, kept = np.mean(said == y), np.mean(attacked(moved, y)[1] == y)
print(f"accuracy {right:.2f}, attacked {kept:.2f}; traced {step.stats.traces} times")
along = sg.hvp(lambda x: loss(x, y), x, moved - x)
print(f"bent along the attack {np.sum(along * (moved - x)):.1e}")
assert right > 0.97 > kept
