"""A network that learns to learn (MAML, arXiv 1703.03400): waves from five points each.

A module is a tree, so a gradient by it is a module of gradients, and a step of it a module, too:
what it gives is differentiated through that step, for all tasks at once by ``vmap``.
"""

import numpy as np
from ways import Array, Found, Way, show

import staticgrad as sg

TOLERANCE = 1e-3
nn = sg.nn


def fit(model: nn.Sequential, x: sg.Value, y: sg.Value) -> sg.Value:
    return nn.mse(model(x), y)


def adapted(model: nn.Sequential, x: sg.Value, y: sg.Value, rate: float = 0.05) -> nn.Sequential:
    """The model after a step on a task."""

    def stepped(p: sg.Value, slope: sg.Value) -> sg.Value:
        return p - rate * slope

    slopes = sg.grad(fit)(model, x, y)
    return sg.tree.map(stepped, model, slopes)


def run(way: Way, steps: int = 400) -> Found:
    nn.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 32), sg.tanh, nn.Linear(32, 32), sg.tanh, nn.Linear(32, 1))
    opt = sg.optim.Adam(5e-3)

    def after(x: sg.Value, y: sg.Value, new_x: sg.Value, new_y: sg.Value) -> sg.Value:
        """The loss on new points of a task, after a step on its first ones."""
        return fit(adapted(model, x, y), new_x, new_y)

    def step(x: sg.Value, y: sg.Value, new_x: sg.Value, new_y: sg.Value) -> sg.Value:
        loss = sg.vmap(after)(x, y, new_x, new_y).mean()
        opt.minimize(loss)
        return loss

    rng = np.random.default_rng(0)

    def tasks(count: int, points: int = 10) -> tuple[Array, Array, Array, Array]:
        """Waves of other heights and places: [task, point, 1]."""
        x = rng.uniform(-3, 3, size=(count, 2 * points, 1)).astype("float32")
        height, place = rng.uniform([[[0.5]], [[0.0]]], [[[2.0]], [[3.0]]], size=(2, count, 1))
        y = height[..., None] * np.sin(x + place[..., None])
        both = np.stack([x, y.astype("float32")])  # half of each task is for after the step
        return both[0, :, :points], both[1, :, :points], both[0, :, points:], both[1, :, points:]

    moved = way(step)
    losses = [moved(*tasks(16)) for _ in range(steps)]
    return {"losses": np.array(losses)}


def check(found: Found) -> None:
    assert found["losses"][-50:].mean() < 0.5 * found["losses"][:10].mean()


def main(**sizes: int) -> None:
    show(run, check, TOLERANCE, **sizes)


if __name__ == "__main__":
    main()
