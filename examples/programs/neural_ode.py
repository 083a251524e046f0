"""A neural ordinary differential equation (arXiv 1806.07366): a spiral from samples of its course.

The right side is a module; the steps of Runge and Kutta are the iterations of a loop of the graph.
"""

import numpy as np
from ways import Array, Found, Way, show

import staticgrad as sg

TOLERANCE = 1e-6
nn = sg.nn


def spiral(times: Array) -> Array:
    """Points at these times of y' = A y**3, whose course is known from fine steps."""
    turn = np.array([[-0.1, 2.0], [-2.0, -0.1]])
    y, found, fine = np.array([2.0, 0.0]), [], np.linspace(0, times[-1], 4001)
    for _ in fine:
        found.append(y)
        for _ in range(2):
            y = y + 0.5 * (fine[1] - fine[0]) * (turn @ y**3)
    return np.stack([np.interp(times, fine, course) for course in np.array(found).T], 1)


def run(way: Way, steps: int = 300) -> Found:
    nn.manual_seed(0)
    slope = nn.Sequential(
        nn.Linear(2, 24, dtype="float64"), sg.tanh, nn.Linear(24, 2, dtype="float64")
    )
    opt = sg.optim.Adam(1e-2)
    times = np.linspace(0.0, 1.5, 16)
    course = spiral(times)

    def right(_: sg.Value, y: sg.Value) -> sg.Value:
        return slope(y**3)

    def step(y0: sg.Value, times: sg.Value, course: sg.Value) -> sg.Value:
        found = sg.ode.rk4(right, y0, times)
        loss = sg.nn.l1_loss(found, course)
        opt.minimize(loss)
        return loss

    stepped = way(step)
    return {"losses": np.array([stepped(course[0], times, course) for _ in range(steps)])}


def check(found: Found) -> None:
    assert found["losses"][-1] < 0.1 < found["losses"][0]


def main(**sizes: int) -> None:
    show(run, check, TOLERANCE, **sizes)


if __name__ == "__main__":
    main()
