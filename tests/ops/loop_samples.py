"""Samples of the ops that run bodies: recurrences in a few dtypes, both ways, no iterations too."""

import numpy as np

import staticgrad as sg
from staticgrad.types.dtype import F32, F64, I32
from tests.ops.array_samples import apart, counted, extraordinary
from tests.ops.graphs import variable
from tests.ops.samples import Sample, declare, provides

DTYPES = (F32, F64, I32)
#: Iterations, elements of a carry.
LOOPS = ((3, 4), (1, 1), (0, 3), (2, 0), (5, 2))


def recurrence(iterations, n, dtype, reverse):
    """c becomes c * p + x; the outputs are c - x * i, and c."""
    c, x, p = (
        variable(name, dtype, shape)
        for name, shape in (("c", (n,)), ("x", (iterations, n)), ("p", (n,)))
    )

    def iteration(i, carry, each):
        return carry * p + each, (carry - each * sg.astype(i, dtype), carry)

    numbers = sg.constant(np.arange(iterations))
    last, _ = sg.scan(lambda carry, each: iteration(each[0], carry, each[1]), c, (numbers, x))
    op = last.node.op
    return type(op)(op.body, op.iterations, op.carries, op.slices, reverse)


def recurrence_arrays(op, c, i, x, p):
    """The same, by a loop of Python."""
    outs, carries = np.empty_like(x), np.empty_like(x)
    for t in reversed(range(len(x))) if op.reverse else range(len(x)):
        outs[t], carries[t] = c - x[t] * i[t].astype(x.dtype), c
        c = c * p + x[t]
    return c, outs, carries


def _loop(iterations, arrays, reverse, smooth=False):
    c, x, p = arrays
    dtype = {a.numpy: a for a in DTYPES}[c.dtype]
    op = recurrence(iterations, len(c), dtype, reverse)
    return Sample(op, (c, np.arange(iterations), x, p), smooth=smooth)


@provides("loop")
def _loops(rng):
    for iterations, n in LOOPS:
        for reverse in (False, True):
            for dtype in DTYPES:
                shapes = ((n,), (iterations, n), (n,))
                yield _loop(iterations, [counted(shape, dtype) for shape in shapes], reverse)
            smooth = [apart(rng, shape) for shape in ((n,), (iterations, n), (n,))]
            yield _loop(iterations, smooth, reverse, smooth=True)
    for dtype in (F32, F64):
        every = [extraordinary(rng, shape, dtype) for shape in ((40,), (2, 40), (40,))]
        yield _loop(2, every, False)


@provides("while")
def _whiles(rng):
    for start in (0, 2, 3):
        for dtype in DTYPES:
            yield _while(start, counted((4,), dtype), counted((4,), dtype), None)
        yield _while(start, apart(rng, (3,)), apart(rng, (3,)), 3, smooth=True)
    yield _while(0, apart(rng, (3,)), apart(rng, (3,)), 2, smooth=True)
    for dtype in (F32, F64):
        yield _while(1, extraordinary(rng, (40,), dtype), extraordinary(rng, (40,), dtype), None)


def _while(start, c, p, most, smooth=False):
    dtype = {a.numpy: a for a in DTYPES}[c.dtype]
    number = variable("k", sg.int64, ())
    carry, factor = (variable(name, dtype, c.shape) for name in "cp")
    _, last = sg.while_loop(
        lambda state: state[0] < 3,
        lambda state: (state[0] + 1, state[1] * factor + 1),
        (number, carry),
        max_steps=most,
    )
    return Sample(last.node.op, (np.asarray(start), c, p), smooth=smooth)


def while_arrays(op, start, c, p):
    """The same, by a loop of Python."""
    done = 0
    while start + done < 3 and done != op.most:
        c, done = c * p + c.dtype.type(1), done + 1
    return np.asarray(start + done), c, np.asarray(done)


@provides("branch")
def _branches(rng):
    for index in (0, 1, 2, -1, 7):
        for dtype in DTYPES:
            yield _branch(index, counted((2, 3), dtype), counted((2, 3), dtype))
        yield _branch(index, apart(rng, (3,)), apart(rng, (3,)), smooth=True)
    for dtype in (F32, F64):
        for index in range(3):
            every = [extraordinary(rng, (40,), dtype) for _ in range(2)]
            yield _branch(index, *every)


def _branch(index, x, y, smooth=False):
    dtype = {a.numpy: a for a in DTYPES}[x.dtype]
    i, a, b = variable("i", sg.int64, ()), *(variable(n, dtype, x.shape) for n in "ab")
    value = sg.switch(i, [lambda: a * b, lambda: a + b * b, lambda: b - a])
    operands = [arg.node.label for arg in value.node.args]
    arrays = {"i": np.asarray(index), "a": x, "b": y}
    assert operands == ["i", "a", "b"]
    return Sample(value.node.op, tuple(arrays[name] for name in operands), smooth=smooth)


def branch_arrays(index, x, y):
    """The same, by a list."""
    return [x * y, x + y * y, y - x][min(max(int(index), 0), 2)]


def _rows(n, dtype, count):
    return [(np.arange(n) % 7 - 3 + k).astype(dtype.numpy) for k in range(count)]


def _loop_at(n):
    for dtype in (F32, F64):
        c, x, p = _rows(n, dtype, 3)
        yield _loop(2, (c, np.stack([x, p]), p), False)


def _while_at(n):
    yield _while(1, *_rows(n, F32, 2), None)


def _branch_at(n):
    yield _branch(1, *_rows(n, F32, 2))


declare("loop", "recurrence_arrays(op, *operands)", ("biuf",), _loop_at)
declare("while", "while_arrays(op, *operands)", ("biuf",), _while_at)
declare("branch", "branch_arrays(*operands)", ("i", "biuf"), _branch_at)
