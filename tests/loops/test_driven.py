"""Loops that are not one kernel: ``explain`` says why, by what the body does."""

from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

import staticgrad as sg
from staticgrad.compiler.lowering.loops import time_loops
from staticgrad.compiler.lowering.loops.refusals import LoopRefusal

X, W = sg.input("x", (300,), "float32"), sg.input("w", (300, 300), "float32")
ROWS = sg.input("rows", (50, 300), "float32")
FEW, SHORT = sg.input("few", (4,), "float32"), sg.input("short", (50, 4), "float32")
NAMED, LONG_ROWS = (sg.input("rows", ("n", size), "float32") for size in (300, 30000))
AT = sg.input("at", ("n", 4), "int64")
TABLE = sg.input("table", ("rows", "columns"), "float32")
LONG, EMPTY, ONE = (sg.input("x", (size,), "float32") for size in (30000, 0, 1))
SQUARE = sg.input("square", (4, 4), "float64")

#: Iterations where the number is a named size.
COUNT = 7


def draw_feed(value, rng):
    """Return numbers for an input: no loop overflows, each test ends."""
    sizes = {"n": COUNT, "rows": 5, "columns": 3}
    shape = tuple(sizes.get(str(size), size) for size in value.shape)
    shape = tuple(map(int, shape))
    if value.dtype.name == "int64":
        return rng.integers(0, 4, shape)
    if value.name == "square":
        return np.eye(4) * 0.5 + rng.uniform(0.0, 0.05, shape)
    if value.name.startswith("w"):
        return (rng.uniform(0.5, 1.0, shape) / shape[0]).astype(value.dtype.numpy)
    return rng.uniform(1.1, 1.9, shape).astype(value.dtype.numpy)


class Driven(NamedTuple):
    """A loop that has a reason, and the same loop over arrays, by the names of the inputs."""

    make: Callable[[], Any]
    loop: Callable[..., Any]
    tolerance: float = 2e-4


def scan(step, start, rows):
    return sg.scan(lambda c, row: (step(c) + row,) * 2, start, rows)[0]


def each_row(step):
    """Return the loop of ``scan`` over arrays, which are given by the names of its inputs."""

    def loop(**arrays):
        (rows,) = (arrays.pop(name) for name in ("rows", "short") if name in arrays)
        (c,) = (arrays.pop(name) for name in ("c", "x", "few") if name in arrays)
        for row in rows:
            c = step(c, **arrays) + row
        return c

    return loop


def looked_up(step, start):
    return sg.scan(lambda c, at: (step(c, at),) * 2, start, AT)[0]


def each_index(step):
    def loop(at, few):
        for indices in at:
            few = step(few, indices)
        return few

    return loop


def doubled_until(**most):
    return sg.while_loop(lambda c: (c < 100.0).any(), lambda c: c * c, X, **most)


def double_until_large(x):
    while (x < 100.0).any():
        x = x * x
    return x


def branch(c):
    return sg.cond(c.sum() > 0.0, lambda c: c * 0.5, sg.cumsum, c)


def branch_in_numpy(c):
    return c * np.float32(0.5) if c.sum() > 0.0 else np.cumsum(c)


def grow(c):
    for _ in range(9):
        if not (c < 5.0).any():
            break
        c = c * np.float32(1.5) + 1
    return c


def chain(c, functions=sg):
    """Many rows that read their neighbours, the first one beyond the end."""
    for _ in range(60):
        c = functions.sin(c) * functions.asarray(1.1, "float32") + functions.roll(c, 1)
        c = c * functions.asarray(0.5, "float32")
    return c


def add_at(c, at):
    c = c.copy()
    np.add.at(c, at, np.float32(1.0))
    return c


def add_one(c, at):
    c = c.copy()
    c[at[0]] += 1.0
    return c


def solve_rows(c, rows, square):
    for row in rows:
        c = np.tanh(np.linalg.solve(square + 0.1 * c, c)) * np.sin(c) + row
    return c


def logged_program():
    start, rows = sg.input("c", (4,), "float64"), sg.input("rows", (9, 4), "float64")

    def step(c, row):
        return sg.tanh(sg.linalg.solve(SQUARE + 0.1 * c, c)) * sg.sin(c) + row, None

    last = sg.scan(step, start, rows)[0]
    return {"y": last, "slope": sg.grad((last * last).sum(), start)}


def logged_slopes(c, rows, square):
    def slope(way):
        up, down = (solve_rows(c + step * way, rows, square) for step in (1e-6, -1e-6))
        return ((up * up).sum() - (down * down).sum()) / 2e-6

    return {"y": solve_rows(c, rows, square), "slope": np.array([slope(way) for way in np.eye(4)])}


def solved_until():
    most = sg.input("rows", ("n",), "float64").shape[0]
    start = sg.input("c", (4,), "float64") + 0.0 * sg.input("rows", ("n",), "float64").sum()
    return sg.while_loop(
        lambda c: (c < 10.0).any(), lambda c: sg.linalg.solve(SQUARE, c), start, max_steps=most
    )


def solved_few(c, rows, square):
    for _ in rows:
        if not (c < 10.0).any():
            break
        c = np.linalg.solve(square, c)
    return c


def in_bfloat16(c, rows, w):
    for row in rows:
        c = (c.astype("float32") @ w.astype("float32")).astype(ml_dtypes.bfloat16) + row
    return c


def swapping_program():
    a, b, rows = (sg.input(name, shape, "float32") for name, shape in SWAPPED.items())
    first, second = sg.fori_loop(0, rows.shape[0], lambda i, c: (c[1], c[0]), (a, b))
    return {"first": first + 0.0 * rows.sum(), "second": second}


SWAPPED = {"a": (4,), "b": (4,), "rows": ("n",)}


def joined_rows():
    start, rows = sg.input("c", (600,), "float32"), sg.input("rows", ("n", 600), "float32")
    return sg.scan(lambda c, row: (c * 0.5, sg.concat([c, row[:7]])), start, rows)[1]


def joined_arrays(c, rows):
    return np.stack([np.concatenate([c * 0.5**n, row[:7]]) for n, row in enumerate(rows)])


def two_lookups():
    table, start = sg.input("table", (900, 600), "float32"), sg.input("c", (600,), "float32")
    at = sg.input("at", (50, 600), "int64")

    def step(c, indices):
        return (sg.cumsum(c)[0] * c * 0.05 + table[indices, sg.arange(600)],) * 2

    return sg.scan(step, start, at)[0]


def two_lookups_of_arrays(at, c, table):
    for indices in at:
        c = c[0] * c * np.float32(0.05) + table[indices, np.arange(600)]
        c = c.astype("float32")
    return c


def pad_constant(functions):
    return functions.pad(functions.asarray(np.full(1, 2.5, "float32")), (3, 596))


def over(*shape, count="n", dtype="float32"):
    """Return a carry, and rows for it."""
    return sg.input("c", shape, dtype), sg.input("rows", (count, *shape), dtype)


def reduce_deep(c):
    return c.sum(axis=(1, 3, 5, 7), keepdims=True) * np.float32(0.02) + c * np.float32(0.1)


#: Reason -> a loop that has it.
DRIVEN = {
    LoopRefusal.Logged: Driven(logged_program, logged_slopes, 1e-5),
    LoopRefusal.Endless: Driven(doubled_until, double_until_large),
    LoopRefusal.SizedTest: Driven(solved_until, solved_few),
    LoopRefusal.Steps: Driven(lambda: scan(branch, FEW, SHORT), each_row(branch_in_numpy)),
    LoopRefusal.Grouped: Driven(
        lambda: scan(lambda c: sg.tanh(c.T), *over(16, 16, count=50)),
        each_row(lambda c: np.tanh(c.T)),
    ),
    LoopRefusal.Deep: Driven(
        lambda: scan(reduce_deep, *over(*[2] * 8, 3, count=50)), each_row(reduce_deep)
    ),
    LoopRefusal.Stage: Driven(lambda: scan(sg.sort, FEW, SHORT), each_row(np.sort)),
    LoopRefusal.InnerEnd: Driven(
        lambda: scan(
            lambda c: sg.while_loop(
                lambda a: (a < 5.0).any(), lambda a: a * 1.5 + 1, c * 0.1, max_steps=9
            ),
            FEW,
            SHORT,
        ),
        each_row(lambda c: grow(c * np.float32(0.1))),
    ),
    LoopRefusal.Limits: Driven(
        lambda: sg.scan(
            lambda c, row: (c + row.argmax(), c),
            sg.input("c", (), "int64"),
            sg.input("rows", ("n", 200000), "float32"),
        )[0],
        lambda c, rows: c + rows.argmax(1).sum(),
    ),
    LoopRefusal.Serial: Driven(
        lambda: looked_up(lambda c, at: c.at[at].add(1.0), FEW), each_index(add_at)
    ),
    LoopRefusal.NarrowProduct: Driven(
        lambda: scan(
            lambda c: c @ sg.input("w", (4, 4), "bfloat16"), *over(40, 4, dtype="bfloat16")
        ),
        in_bfloat16,
        0.03,
    ),
    LoopRefusal.OtherRow: Driven(
        lambda: scan(lambda c: c[:1] + 0.0 * c, LONG, LONG_ROWS),
        lambda rows, x: rows[:-1, :1].sum(0) + x[:1] + rows[-1],
    ),
    LoopRefusal.SharedElement: Driven(joined_rows, joined_arrays),
    LoopRefusal.AcrossRows: Driven(
        lambda: scan(lambda c: W @ c, X, NAMED),
        each_row(lambda c, w: w @ c),
    ),
    LoopRefusal.Border: Driven(
        lambda: scan(chain, *over(64)), each_row(lambda c: chain(c, np)), 1e-3
    ),
    LoopRefusal.Partial: Driven(
        lambda: sg.scan(lambda c, row: (c, c * 0.0), EMPTY, sg.input("rows", ("n", 0), "float32"))[
            1
        ],
        lambda rows, x: rows,
    ),
    LoopRefusal.Nothing: Driven(swapping_program, lambda a, b, rows: {"first": b, "second": a}),
    LoopRefusal.Lookup: Driven(
        lambda: looked_up(lambda c, at: c[at], FEW), each_index(lambda c, at: c[at])
    ),
    LoopRefusal.Lookups: Driven(two_lookups, two_lookups_of_arrays, 1e-3),
    LoopRefusal.Scatter: Driven(
        lambda: looked_up(lambda c, at: c.at[at[0]].add(1.0), FEW), each_index(add_one)
    ),
    LoopRefusal.EmptyLookup: Driven(
        lambda: looked_up(lambda c, at: c + TABLE[at[0] % 2][:1], ONE),
        lambda at, table, x: x + table[at[:, 0] % 2, 0].sum(),
    ),
    LoopRefusal.Constant: Driven(
        lambda: scan(lambda c: c.mean() * 0.05 * c * pad_constant(sg), *over(600, count=50)),
        each_row(lambda c: c.mean() * np.float32(0.05) * c * pad_constant(np)),
    ),
    LoopRefusal.SizedLoop: Driven(lambda: scan(branch, *over(4)), each_row(branch_in_numpy)),
    LoopRefusal.TooLong: Driven(
        lambda: scan(lambda c: c @ W, *over(600, 300)),
        each_row(lambda c, w: c @ w),
    ),
    LoopRefusal.Wide: Driven(
        lambda: scan(lambda c: c - c.mean(axis=1, keepdims=True), *over(60, 50)),
        each_row(lambda c: c - c.mean(axis=1, keepdims=True)),
    ),
    LoopRefusal.LongSum: Driven(
        lambda: scan(lambda c: c - c.mean(axis=0), *over(300, 600)),
        each_row(lambda c: c - c.mean(axis=0)),
    ),
    LoopRefusal.Shared: Driven(
        lambda: scan(lambda c: W @ c, X, ROWS),
        each_row(lambda c, w: w @ c),
    ),
    LoopRefusal.Slower: Driven(
        lambda: scan(lambda c: c - c.mean(), *over(3000, count=50)),
        each_row(lambda c: c - c.mean()),
    ),
}
ONE_KERNEL = {
    "an end": lambda: doubled_until(max_steps=9),
    "rows that read themselves": lambda: scan(lambda c: c * 0.5, X, ROWS),
    "rows of a few elements": lambda: scan(
        lambda c: c - c.mean(axis=1, keepdims=True), *over(60, 16, count=50)
    ),
    "a row of many elements": lambda: scan(lambda c: c[::-1] * 0.5, *over(40)),
}


def test_each_reason_has_a_loop():
    assert {*DRIVEN} == {*LoopRefusal}


@pytest.mark.thinned(2)
@pytest.mark.parametrize("reason", DRIVEN, ids=lambda reason: reason.name)
def test_the_reason_is_explained_and_the_loop_is_right(reason, rng):
    row = DRIVEN[reason]
    outputs = row.make()
    graph = sg.Graph(outputs if isinstance(outputs, dict) else {"y": outputs})
    program = sg.compile(graph)
    explanation = program.explanation()
    reasons = [step.driven for step in explanation.steps if step.inside]
    assert str(reason) in reasons
    assert f"not one kernel: {reason}" in str(explanation)
    assert str(reason) in {step["driven"] for step in explanation.as_json()["steps"]}

    feeds = {value.name: draw_feed(value, rng) for value in graph.inputs}
    actual, expected = program.run(feeds), row.loop(**feeds)
    for name, array in (expected if isinstance(expected, dict) else {"y": expected}).items():
        scale = np.abs(np.asarray(array, "float64")).max(initial=0.0)
        assert actual[name].shape == np.shape(array)
        np.testing.assert_allclose(
            actual[name].astype("float64"),
            np.asarray(array, "float64"),
            row.tolerance,
            row.tolerance * scale,
        )


@pytest.mark.parametrize("make", ONE_KERNEL.values(), ids=ONE_KERNEL)
def test_one_kernel_has_no_reason(make):
    explanation = sg.compile({"y": make()}).explanation()
    assert [step.driven for step in explanation.steps] == [""] * len(explanation.steps)
    assert "not one kernel" not in str(explanation)


@pytest.mark.parametrize("count", ["n", 50])
def test_rows_have_the_same_bytes_on_both_sides_of_the_bound(count, rng, monkeypatch):
    c, rows = over(9, 5, count=count)
    graph = sg.Graph({"y": scan(lambda c: c - c.mean(axis=1, keepdims=True), c, rows)})
    feeds = {value.name: draw_feed(value, rng) for value in graph.inputs}
    actual, kernels = [], []
    for most in (15, 14):  # a carry is loaded and stored, a slice is loaded
        monkeypatch.setattr(time_loops, "MOST_ACCESSED", most)
        program = sg.compile(graph)
        actual.append(program.run(feeds)["y"].tobytes())
        kernels.append([step.kernels() for step in program.schedule.steps])
    assert actual[0] == actual[1]
    assert kernels[0] != kernels[1]
    assert count != "n" or str(LoopRefusal.Wide) in str(program.explanation())


def test_sums_over_rows_of_a_constant_read_twice_follow_the_loop(rng):
    """Two formulas of an element are differentiated once, and the loop back is one kernel."""
    c, first = rng.uniform(0.5, 1.5, 2), rng.uniform(0.1, 0.4, 1000)

    def final(constants, x, sin):
        for _ in range(2):
            x = x + constants[0] * (0.01 * sin(constants[1] * x))
        return x

    constants, start = sg.input("c", (2,), "float64"), sg.input("x", (1000,), "float64")
    last, _ = sg.scan(lambda x, _: (final(constants, x, sg.sin), None), start, length=60)
    loss = last.sum()
    f = sg.compile({"slope": sg.grad(loss, constants)})
    assert "not one kernel" not in str(f.explain())

    def total(at):
        x = first
        for _ in range(60):
            x = final(at, x, np.sin)
        return x.sum()

    steps = np.eye(2) * 1e-6
    expected = [(total(c + step) - total(c - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(f.run({"c": c, "x": first})["slope"], expected, rtol=1e-7)


@pytest.mark.parametrize("reverse", [False, True])
def test_stacks_shared_with_carries_have_the_gradient_of_either_direction(reverse):
    """Backpropagation through time by hand, with a product that the driver runs."""
    n, m, random = 5, 160, np.random.default_rng(0)
    shapes = {"w": (m, m), "x": (n, m), "c": (m,)}
    w, x, c = (sg.input(name, shape, "float64") for name, shape in shapes.items())
    last, _ = sg.scan(lambda c, row: (sg.tanh(c @ w + row), None), c, x, reverse=reverse)
    slopes = sg.grad((last * last).sum(), [w, x, c])
    feeds = {name: random.normal(size=shape) for name, shape in shapes.items()}
    feeds["w"] /= 20
    order = range(n)[::-1] if reverse else range(n)
    carries = [feeds["c"]]
    for k in order:
        carries.append(np.tanh(carries[-1] @ feeds["w"] + feeds["x"][k]))
    ct, dw, dx = 2 * carries[-1], np.zeros((m, m)), np.zeros((n, m))
    for step, k in reversed([*enumerate(order)]):
        dx[k] = ct * (1 - carries[step + 1] ** 2)
        dw += np.outer(carries[step], dx[k])
        ct = feeds["w"] @ dx[k]
    actual = sg.compile(dict(zip("wxc", slopes, strict=True))).run(feeds)
    for name, expected in (("w", dw), ("x", dx), ("c", ct)):
        np.testing.assert_allclose(actual[name], expected, rtol=1e-10, atol=1e-11)
