"""A network that learns to learn (MAML, arXiv 1703.03400): waves from five points each.

A module is a tree, so a gradient by it is a module of gradients, and a step of it a module, too:
what it gives is differentiated through that step, for all tasks at once by ``vmap``.
"""

import numpy as np
from ways import show

import staticgrad as sg

TOLERANCE = 1e-3
nn = sg.nn


def fit(model, x, y):
    return nn.mse(model(x), y)


def adapted(model, x, y, rate=0.05):
    """The model after a step on a task."""
    slopes = sg.grad(fit)(model, x, y)
    return sg.tree.map(lambda p, slope: p - rate * slope, model, slopes)


def run(way, steps=400):
    nn.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 32), sg.tanh, nn.Linear(32, 32), sg.tanh, nn.Linear(32, 1))
    opt = sg.optim.Adam(5e-3)

    def after(x, y, new_x, new_y):
        """The loss on new points of a task, after a step on its first ones."""
        return fit(adapted(model, x, y), new_x, new_y)

    def step(x, y, new_x, new_y):
        loss = sg.vmap(after)(x, y, new_x, new_y).mean()
        opt.minimize(loss)
        return loss

    rng = np.random.default_rng(0)

    def tasks(count, points=10):
        """Waves of other heights and places: [task, point, 1]."""
        x = rng.uniform(-3, 3, size=(count, 2 * points, 1)).astype("float32")
        height, place = rng.uniform([[[0.5]], [[0.0]]], [[[2.0]], [[3.0]]], size=(2, count, 1))
        y = height[..., None] * np.sin(x + place[..., None])
        both = np.stack([x, y.astype("float32")])  # half of each task is for after the step
        return both[0, :, :points], both[1, :, :points], both[0, :, points:], both[1, :, points:]

    step = way(step)
    losses = [step(*tasks(16)) for _ in range(steps)]
    return {"losses": np.array(losses)}


def check(found):
    assert found["losses"][-50:].mean() < 0.5 * found["losses"][:10].mean()


if __name__ == "__main__":
    check(show(run, TOLERANCE))
