"""Gradient descent on functions that descend or differentiate themselves, in both modes of each.

J. M. Siskind and B. A. Pearlmutter, Using Programming Language Theory to Make Automatic
Differentiation Sound and Efficient, AD 2008.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

import staticgrad as sg

#: Iterations that a loop has at most: reverse mode stores each.
MOST_STEPS: Final = 1000
CLOSE: Final = 1e-5


def slope_by(mode: str) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """The gradient of a function of a vector, by forward (``f``) or reverse mode (``r``)."""
    if mode == "r":
        return sg.grad
    return lambda f: sg.jacobian(f, mode="forward")


def length(x: Any) -> Any:
    return np.sqrt((x * x).sum())


def argmin(f: Callable[[Any], Any], x: Any, mode: str) -> Any:
    """Descend with a rate that grows next_rate ten steps and halves where a step fails."""
    slope = slope_by(mode)(f)

    def goes_on(state: Any) -> Any:
        return state[-1]

    def step(state: Any) -> Any:
        x, y, gradient, rate, count, _ = state
        further = x - rate * gradient
        is_done = (length(gradient) <= CLOSE) | ((count < 10) & (length(x - further) <= CLOSE))
        lower = f(further)
        is_better = (count < 10) & (lower < y)
        next_rate = np.where(count == 10, 2.0 * rate, np.where(is_better, rate, rate / 2.0))
        return (
            np.where(is_better & ~is_done, further, x),
            np.where(is_better & ~is_done, lower, y),
            np.where(is_better & ~is_done, slope(further), gradient),
            next_rate,
            np.where(is_better, count + 1, 0),
            ~is_done,
        )

    first = (x, f(x), slope(x), np.array(1e-5), np.array(0), np.array(True))
    return sg.while_loop(goes_on, step, first, max_steps=MOST_STEPS)[0]


def path(mode: str) -> Callable[[Any], Any]:
    """The square of where a particle between two charges meets the axis, by Euler's method."""

    def meet(w: Any) -> Any:
        charges = np.stack([np.stack([10.0 + 0.0 * w[0], 10.0 - w[0]]), np.array([10.0, 0.0])])

        def potential(x: Any) -> Any:
            away = x - charges
            return (1.0 / np.sqrt((away * away).sum(axis=1))).sum()

        slope, h = slope_by(mode)(potential), 0.1

        def step(state: Any) -> Any:
            x, speed = state
            return x + h * speed, speed - h * slope(x)

        def is_above(state: Any) -> Any:
            x, speed = state
            return (x + h * speed)[1] > 0.0

        first = (np.array([0.0, 8.0]) + 0.0 * w[0], np.array([0.75, 0.0]) + 0.0 * w[0])
        x, speed = sg.while_loop(is_above, step, first, max_steps=MOST_STEPS)
        return (x - x[1] / speed[1] * speed)[0] ** 2

    return meet


def particle(modes: str) -> Callable[[Any], Any]:
    """The control that lets the particle meet the origin; modes of the descent and of the path."""
    return lambda w: argmin(path(modes[1]), w, modes[0])[0]


def height(x: Any, y: Any) -> Any:
    return (x * x).sum() - (y * y).sum()


def saddle(modes: str) -> Callable[[Any], Any]:
    """The least of the greatest values by y, over x; modes of the outer and the inner descent."""
    outer, inner = modes[0], modes[1]

    def find(start: Any) -> Any:
        def highest(x: Any) -> Any:
            return argmin(lambda y: -height(x, y), start, inner)

        x = argmin(lambda x: height(x, highest(x)), start, outer)
        return np.concatenate([x, argmin(lambda y: -height(x, y), start, outer)])

    return find


def read_particle(inputs: dict[str, Any]) -> tuple[Any, ...]:
    return (np.array([inputs["w"]], "float64"),)


def read_saddle(inputs: dict[str, Any]) -> tuple[Any, ...]:
    return (np.array(inputs["start"], "float64"),)
