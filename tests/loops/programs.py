"""Programs with loops and branches, each beside the same written out in Python.

``unroll`` has nothing of loops, so that values and derivatives of any order of the one
can be compared with those of the other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import staticgrad as sg


@dataclass(frozen=True)
class Twins:
    """Two functions of the same values that give one number each; arrays for the values."""

    run_loop: Callable[..., Any]
    unroll: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]


def _cell(h, x, w):
    return sg.tanh(h @ w + x)


def _rnn(reverse):
    def run_loop(x, w, h):
        def iteration(carry, row):
            new = _cell(carry, row, w)
            return new, (new * row).sum()

        last, outs = sg.scan(iteration, h, x, reverse=reverse)
        return (last * last).sum() + (outs * np.arange(1.0, 4.0)).sum()

    def unroll(x, w, h):
        total = 0.0
        for t in (2, 1, 0) if reverse else (0, 1, 2):
            h = _cell(h, x[t], w)
            total = total + (t + 1.0) * (h * x[t]).sum()
        return (h * h).sum() + total

    return Twins(run_loop, unroll, _arrays((3, 2), (2, 2), (2,)))


def _powers():
    """A counter, which has no gradient, and two carries, one of which never comes back."""

    def run_loop(x):
        def iteration(i, carry):
            done, y, unread = carry
            return done + 1, y * x + sg.sin(y) * sg.astype(i + done, "float64"), unread + y.sum()

        return sg.fori_loop(1, 4, iteration, (0, x, 0.0))[1].sum()

    def unroll(x):
        y = x
        for i, done in ((1, 0), (2, 1), (3, 2)):
            y = y * x + sg.sin(y) * float(i + done)
        return y.sum()

    return Twins(run_loop, unroll, _arrays((2,)))


def _nested_scans():
    def run_loop(x, w):
        def row(carry, row):
            inner, outs = sg.scan(lambda c, e: (c * w[0] + sg.exp(-e * e), c * e), carry, row)
            return inner, outs.sum() * w[1]

        last, outs = sg.scan(row, w[1], x)
        return last + (outs * outs).sum()

    def unroll(x, w):
        carry, total = w[1], 0.0
        for row in range(2):
            outs = 0.0
            for place in range(3):
                e = x[row, place]
                carry, outs = carry * w[0] + sg.exp(-e * e), outs + carry * e
            total = total + (outs * w[1]) ** 2
        return carry + total

    return Twins(run_loop, unroll, _arrays((2, 3), (2,)))


def _map():
    def run_loop(x, w):
        return (sg.map(lambda row: sg.sin(row * w).sum() * row[0], x) ** 2).sum()

    def unroll(x, w):
        return sum((sg.sin(x[i] * w).sum() * x[i, 0]) ** 2 for i in range(3))

    return Twins(run_loop, unroll, _arrays((3, 2), (2,)))


def _branching(is_true):
    threshold = -100.0 if is_true else 100.0

    def run_loop(x, w):
        value = sg.cond(
            x.sum() > threshold,
            lambda y: (sg.sin(y * w), y[0]),
            lambda y: (y * y * y, w.sum()),
            x,
        )
        return (value[0] * x).sum() + value[1] ** 2

    def unroll(x, w):
        value = (sg.sin(x * w), x[0]) if is_true else (x * x * x, w.sum())
        return (value[0] * x).sum() + value[1] ** 2

    return Twins(run_loop, unroll, _arrays((2,), (2,)))


def _branch_in_loop():
    def run_loop(x, w):
        def iteration(i, y):
            steps = [lambda: y * w, lambda: sg.sin(y), lambda: y + w * w]
            return sg.switch(i % 4, steps)

        return sg.fori_loop(0, 5, iteration, x).sum()

    def unroll(x, w):
        y = x
        for i in range(5):
            y = (y * w, sg.sin(y), y + w * w, y + w * w)[i % 4]
        return y.sum()

    return Twins(run_loop, unroll, _arrays((2,), (2,)))


def _bounded_while(most):
    """Stops by its test after three iterations, or by its bound."""

    def run_loop(x, w):
        def iteration(state):
            done, y = state
            return done + 1.0, y * w + sg.sin(y)

        return sg.while_loop(lambda state: state[0] < 2.5, iteration, (0.0, x), max_steps=most)[
            1
        ].sum()

    def unroll(x, w):
        for _ in range(min(most, 3)):
            x = x * w + sg.sin(x)
        return x.sum()

    return Twins(run_loop, unroll, _arrays((2,), (2,)))


def _while_in_scan():
    def run_loop(x, w):
        def iteration(carry, x):
            y = sg.while_loop(lambda y: y < 2.0, lambda y: y * y + w, sg.exp(x), max_steps=4)
            return carry * y, None

        return sg.scan(iteration, w, x)[0]

    def unroll(x, w):
        carry = w
        for t, iterations in enumerate((2, 1)):
            y = sg.exp(x[t])
            for _ in range(iterations):
                y = y * y + w
            carry = carry * y
        return carry

    return Twins(run_loop, unroll, (np.array([0.1, 0.5]), np.array(0.3)))


def _associative():
    def run_loop(x):
        def combine(left, right):
            return left[0] * right[0], left[1] * right[0] + right[1]

        first, second = sg.associative_scan(combine, (x, x * x))
        return (first * second).sum()

    def unroll(x):
        a, b, total = x[0], x[0] ** 2, 0.0
        for t in range(5):
            if t:
                a, b = a * x[t], b * x[t] + x[t] ** 2
            total = total + a * b
        return total

    return Twins(run_loop, unroll, _arrays((5,)))


def _stable():
    """Its derivative overflows unless the formula inside is made stable first."""

    def run_loop(x):
        return sg.map(lambda element: sg.log(1.0 + sg.exp(element)), x).sum()

    def unroll(x):
        return sg.log(1.0 + sg.exp(x)).sum()

    return Twins(run_loop, unroll, (np.array([800.0, -800.0, 1.0]),))


def _arrays(*shapes):
    rng = np.random.default_rng(7)
    return tuple(np.asarray(rng.normal(size=shape) * 0.7) for shape in shapes)


def _terms():
    """An invariant with several terms: sums over rows, also of a part of it, and others."""

    def iteration(c, d, w):
        rows = sg.tanh(c * w[:2] + w[1:3].reshape(1, 2))
        return rows * d, sg.sin(d * w[:2]) + rows.sum(0)

    def run_loop(x, w):
        c, d = sg.fori_loop(0, 3, lambda _, carry: iteration(*carry, w), (x, x[0]))
        return c.sum() + (d * d).sum()

    def unroll(x, w):
        c, d = x, x[0]
        for _ in range(3):
            c, d = iteration(c, d, w)
        return c.sum() + (d * d).sum()

    return Twins(run_loop, unroll, _arrays((3, 2), (4,)))


def _product_and_more():
    """A weight in a product of matrices and beside it, and a bias that adds to the product."""

    def iteration(c, w, b):
        return sg.tanh(c @ w + b) + w * c

    def run_loop(x, w, b):
        return (sg.fori_loop(0, 3, lambda _, c: iteration(c, w, b), x) ** 2).sum()

    def unroll(x, w, b):
        for _ in range(3):
            x = iteration(x, w, b)
        return (x * x).sum()

    return Twins(run_loop, unroll, _arrays((2, 2), (2, 2), (2,)))


def _later_ones():
    """The gradient reads the second carry and the second of the stacked values alone."""

    def run_loop(x, w):
        def iteration(carry, row):
            total, y = carry
            y = sg.sin(y * w + row)
            return (total + y, y), (y * total, y * y * row)

        (total, _), outs = sg.scan(iteration, (w, x[0]), x)
        return total.sum() + (outs[1] * [[1.0], [2.0], [3.0]]).sum()

    def unroll(x, w):
        total, y, outs = w, x[0], 0.0
        for t in range(3):
            y = sg.sin(y * w + x[t])
            total, outs = total + y, outs + (t + 1.0) * y * y * x[t]
        return total.sum() + outs.sum()

    return Twins(run_loop, unroll, _arrays((3, 2), (2,)))


TWINS = {
    "terms": _terms(),
    "product and more": _product_and_more(),
    "later ones": _later_ones(),
    "rnn": _rnn(False),
    "rnn, reversed": _rnn(True),
    "powers": _powers(),
    "nested": _nested_scans(),
    "map": _map(),
    "branch, taken": _branching(True),
    "branch, not taken": _branching(False),
    "branch in a loop": _branch_in_loop(),
    "while, by its test": _bounded_while(6),
    "while, by its bound": _bounded_while(2),
    "while in a scan": _while_in_scan(),
    "associative": _associative(),
    "stable": _stable(),
}
