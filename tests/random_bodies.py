"""Loops and branches of random programs: their bodies are the next steps of the description.

A step that is left out of a description makes a body shorter, and a body that is left empty still
moves its carry. Every carry stays within 1 in magnitude, so that any number of iterations is tame.
What a body reads is the carry, the slice, the iteration's number, and whatever the program had
before.
"""

import staticgrad as sg
from tests.random_graphs import Entry

MOST_STEPS = 3  # of one body
MOST_DEPTH = 2  # of loops within loops


def _floating(b, least=0):
    return b.any_of(
        lambda value: value.dtype.is_float and value.ndim >= least and value.ndim < b.max_rank
    )


def _first_carry(b):
    entry = _floating(b)
    return None if entry is None else sg.tanh(entry.value)


def _within(b, given, end):
    """What ``end`` makes of the latest value of a body that is given these values."""
    chooser, pool, numbers = b.chooser, b.pool, b.numbers
    b.pool, b.depth = [*pool, *given], b.depth + 1
    try:
        b.next_steps(chooser.integer(0, MOST_STEPS))
        made = b.pool[-1]
        b.chooser = chooser
        return end(made)
    finally:
        b.chooser, b.pool, b.numbers, b.depth = chooser, pool, numbers, b.depth - 1


def _moved(carry, made):
    """The next carry: of the type of the carry, within 1, and of the made value."""
    number = made if made.dtype.is_float else made.astype("float32")
    if number.shape != carry.shape:
        number = sg.tanh(number).sum() * 0.125  # a mean of no elements would be NaN
    return sg.tanh(carry * 0.5 + number.astype(carry.dtype.name) * 0.75)


def _iterations(b):
    named = [n for value in b.inputs for n in value.shape if n in (sg.dim("batch"), sg.dim("n"))]
    return b.chooser.choice((2, 3, 1, 0, 5, *dict.fromkeys(named)))


def _scanned(b):
    rows = b.any_of(lambda value: value.ndim > 0 and not value.dtype.is_bool)
    first = _first_carry(b)
    if rows is None or first is None:
        return None
    reverse, wanted = bool(b.chooser.integer(0, 1)), b.chooser.integer(0, 3)
    xs = rows.value[0:0] if b.chooser.integer(0, 9) == 9 else rows.value

    def iteration(carry, row):
        def end(made):
            state = _moved(carry[0], made.value)
            return (state, carry[1] + 1), (sg.tanh(made.value * 1.0), state * carry[0])

        return _within(b, [Entry(carry[0], 1.0), Entry(carry[1], 99.0), Entry(row, 50.0)], end)

    (last, count), (outs, states) = sg.scan(iteration, (first, 0), xs, reverse=reverse)
    return (Entry(last, 1.0), Entry(outs, 1.0), Entry(states, 1.0), Entry(count, 99.0))[wanted]


def _repeated(b):
    first, iterations = _first_carry(b), _iterations(b)
    if first is None:
        return None

    def iteration(i, carry):
        given = [Entry(i, 99.0), Entry(carry, 1.0)]
        return _within(b, given, lambda made: _moved(carry, made.value))

    return Entry(sg.fori_loop(b.chooser.choice((0, 1)), iterations, iteration, first), 1.0)


def _whole_number(b, below):
    """A number in [0, below) that only a run knows."""
    entry = b.any_of(lambda value: value.dtype.is_integer)
    if entry is None:
        return sg.constant(b.chooser.integer(0, below - 1))
    return sg.remainder(entry.value.astype("int64").sum(), below)


def _while(b):
    first, iterations = _first_carry(b), _whole_number(b, 5)
    if first is None:
        return None

    def iteration(state):
        given = [Entry(state[0], 9.0), Entry(state[1], 1.0)]
        return state[0] + 1, _within(b, given, lambda made: _moved(state[1], made.value))

    most = b.chooser.choice((4, 3, 1, 6))
    found = sg.while_loop(
        lambda state: state[0] < iterations, iteration, (0, first), max_steps=most
    )
    return Entry(found[1], 1.0)


def _branched(b):
    like, cases = _first_carry(b), b.chooser.choice((2, 3))
    if like is None:
        return None
    chosen = _whole_number(b, cases + 1)

    def case():
        return _within(b, [Entry(like, 1.0)], lambda made: _moved(like, made.value))

    if cases == 2:
        return Entry(sg.cond(chosen > 0, case, lambda: like), 1.0)
    return Entry(sg.switch(chosen, [case, lambda: like * 0.5, case]), 1.0)


def _mapped(b):
    rows = b.any_of(lambda value: value.ndim > 0 and value.dtype.is_float)
    if rows is None:
        return None

    def each(row):
        return _within(b, [Entry(row, rows.bound)], lambda made: sg.tanh(made.value * 0.5))

    return Entry(sg.map(each, rows.value), 1.0)


def _associative(b):
    entry = b.any_of(lambda v: v.dtype.is_float and v.ndim > 0 and isinstance(v.shape[0], int))
    if entry is None or not entry.value.shape[0]:
        return None
    x = sg.tanh(entry.value) * 0.5
    found = sg.associative_scan(lambda p, q: (p[0] * q[0], p[1] * q[0] + q[1]), (x, x * x))
    return Entry(found[1], 2.0)


def _shallow(step):
    return lambda b: step(b) if b.depth < MOST_DEPTH else None


#: As ``random_steps.STEPS``.
BODIES = {
    "scan": (_shallow(_scanned), 2, True),
    "fori_loop": (_shallow(_repeated), 1, True),
    "while_loop": (_shallow(_while), 1, True),
    "branch": (_shallow(_branched), 1, True),
    "map": (_shallow(_mapped), 1, True),
    "associative_scan": (_associative, 1, True),
}
