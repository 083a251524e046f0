"""Random programs with loops and branches, looped and written out.

A program is a tree of steps, each from a state (two vectors and a number) to the next: arithmetic,
a sequence of steps, a scan over rows (either way, of any number of iterations), a branch, a while.
It runs as loops of the graph, or as loops of Python.
"""

from collections.abc import Callable
from typing import Any

import staticgrad as sg

State = tuple[Any, Any, Any]
#: From a state, the rows that scans run over, and whether loops are those of the graph.
Step = Callable[[State, Any, bool], State]


def random_step(rng, depth):
    """A step whose loops are nested at most ``depth`` deep."""
    if depth == 0:
        return _arithmetic(rng)
    kinds = (_sequence, _scan, _scan, _branch, _while)
    return kinds[rng.integers(len(kinds))](rng, depth)


def _arithmetic(rng):
    a, b = (float(x) for x in rng.uniform(0.3, 0.9, 2))
    forms = (
        lambda u, v, s: (sg.tanh(u * a + v), v * b, s + (u * v).sum() * 0.1),
        lambda u, v, s: (v, sg.sin(u + s), s * a),
        lambda u, v, s: (u * b + a, u - v * b, sg.tanh(s)),
        lambda u, v, s: (sg.where(u > v, u, v * a), v, s),
        lambda u, v, s: (u[::-1], sg.exp(-v * v) + u, s + u[0]),
    )
    form = forms[rng.integers(len(forms))]
    return lambda state, rows, looped: form(*state)


def _sequence(rng, depth):
    first, second = random_step(rng, depth - 1), random_step(rng, depth - 1)
    return lambda state, rows, looped: second(first(state, rows, looped), rows, looped)


def _scan(rng, depth):
    inner, reverse = random_step(rng, depth - 1), bool(rng.integers(2))
    part = slice(None) if rng.integers(3) else slice(0, 0)  # every row, or none

    def iteration(state, row, rows, looped):
        u, v, s = inner((state[0] + row * 0.5, state[1], state[2]), rows, looped)
        return (u, v, s), v * s

    def run(state, rows, looped):
        if looped:
            (u, v, s), outs = sg.scan(
                lambda c, row: iteration(c, row, rows, True), state, rows[part], reverse=reverse
            )
            return u, v + outs.sum(0), s
        total = 0.0
        count = range(rows.shape[0])[part]
        u, v, s = state
        for t in reversed(count) if reverse else count:
            (u, v, s), out = iteration((u, v, s), rows[t], rows, False)
            total = total + out
        return u, v + total, s

    return run


def _branch(rng, depth):
    steps = [random_step(rng, depth - 1) for _ in range(3)]
    taken = int(rng.integers(3))

    def run(state, rows, looped):
        if not looped:
            return steps[taken](state, rows, False)
        # What is chosen is known here, and to the graph only in a run.
        index = sg.astype(sg.isfinite(state[2]), "int64") * taken
        cases = [lambda k=k: steps[k](state, rows, True) for k in range(3)]
        return sg.switch(index, cases)

    return run


def _while(rng, depth):
    inner, iterations = random_step(rng, depth - 1), int(rng.integers(4))

    def run(state, rows, looped):
        if looped:
            _, found = sg.while_loop(
                lambda c: c[0] < iterations,
                lambda c: (c[0] + 1, inner(c[1], rows, True)),
                (0, state),
                max_steps=4,
            )
            return found
        for _ in range(iterations):
            state = inner(state, rows, False)
        return state

    return run
