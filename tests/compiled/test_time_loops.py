"""Loops as one kernel, beside the driver's loops of kernels and the evaluator."""

import signal
import threading

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import IndexOutOfRange
from staticgrad.ir.bodies import BodyStep
from staticgrad.lowering.loops import time_loops
from tests.loops.random_loops import random_step
from tests.ops.graphs import variable


def values(*shape, dtype="f8"):
    """Numbers that do not repeat, around 0."""
    return np.asarray(np.sin(np.arange(1, 1 + np.prod(shape, dtype=int)) * 1.7), dtype).reshape(
        shape
    )


def with_gradients(outputs, wanted):
    floats = [v for v in outputs.values() if v.dtype.is_float]
    loss = sum((sg.sin(v).sum() for v in floats), sg.asarray(0.0, floats[0].dtype))
    return outputs | {
        f"d{name}": slope
        for name, slope in zip(wanted, sg.grad(loss, [*wanted.values()]), strict=True)
    }


def vector_field(rows, iterations):
    """Runge-Kutta over a state of three rows of points; time is carried, too."""
    q = sg.input("q", (3, rows), "float64")

    def slope(time, state):
        x, y, z = state[0], state[1], state[2]
        return sg.stack([3.0 * (y - x), x * (sg.cos(time) - z) - y, x * y - z])

    def body(_, carry):
        time, state = carry
        k1 = slope(time, state)
        k2 = slope(time + 0.1, state + 0.1 * k1)
        return time + 0.1, state + 0.05 * (k1 + k2)

    time, last = sg.fori_loop(0, iterations, body, (sg.asarray(0.5), q))
    outputs = {"last": last} if isinstance(rows, str) else {"last": last, "time": time}
    count = rows if isinstance(rows, int) else 21
    return with_gradients(outputs, {"q": q}), {"q": values(3, count)}


def single(iterations):
    """A state of three numbers, a product with a small matrix, sums and a maximum of the state."""
    q, m = sg.input("q", (3,), "float64"), sg.input("m", (3, 3), "float64")
    x = sg.input("x", (iterations, 3), "float64")

    def body(state, row):
        new = sg.tanh(m @ state + row) * state.sum() + sg.where(state > 0, 0.1, row[::-1])
        return new, (new.max(), state[1:])

    last, (tops, tails) = sg.scan(body, q, x, reverse=True)
    outputs = {"last": last, "tops": tops, "tails": tails}
    return with_gradients(outputs, {"q": q, "m": m, "x": x}), {
        "q": values(3), "m": values(3, 3), "x": values(iterations, 3),
    }  # fmt: skip


def rows_of_three(rows, iterations):
    """Each row of a state of three columns by a small matrix; rows of float32."""
    h, w = sg.input("h", (rows, 3), "float32"), sg.input("w", (3, 3), "float32")
    x = sg.input("x", ("t", rows, 3), "float32")

    def body(state, row):
        new = sg.tanh(state @ w + row)
        norm = sg.sqrt((new * new).sum(1, keepdims=True) + 0.5)
        return new / norm, (norm[:, 0], new > 0.25)

    last, (norms, signs) = sg.scan(body, h, x)
    count = rows if isinstance(rows, int) else 21
    feeds = {"h": values(count, 3, dtype="f4"), "w": values(3, 3, dtype="f4")}
    outputs = with_gradients({"last": last, "norms": norms}, {"h": h})  # w's is a product of rows
    return outputs | {"signs": signs}, {**feeds, "x": values(iterations, count, 3, dtype="f4")}


def counters(iterations):
    """Integers and truths that change places, the number of the iteration, and constants."""
    n, table = sg.input("n", (5,), "int64"), np.array([3, 1, 4, 1, 5])

    def body(i, carry):
        a, b, flag = carry
        return b, sg.where(flag, a + b * table, a - i), (a + b) % 3 == 0

    a, b, flag = sg.fori_loop(0, iterations, body, (n, n * 2, n > 0))
    return {"a": a, "b": b, "flag": flag}, {"n": np.arange(-2, 3)}


def looked_up(rows, iterations):
    """Places that are known in a run only: one of all rows, and one of each row."""
    v, scale = sg.input("v", (rows,), "float64"), sg.input("scale", (4,), "float64")
    k, table = sg.input("k", (iterations, rows), "int64"), sg.input("table", (5, 2), "float64")

    def body(i, state):
        return state * scale[i % 4] + table[k[i], 1]

    feeds = {"v": values(rows), "scale": values(4), "table": values(5, 2)}
    feeds["k"] = np.arange(iterations * rows).reshape(iterations, rows) % 7 % 5 - 1
    return {"last": sg.fori_loop(0, iterations, body, v)}, feeds


def bent(iterations):
    """A second derivative: loops over what loops stack."""
    q, k = sg.input("q", (2,), "float64"), sg.input("k", (), "float64")
    last = sg.fori_loop(0, iterations, lambda _, s: s + 0.1 * sg.sin(k * s[::-1]), q)
    slope = sg.grad((last * last).sum(), k)
    return {"slope": slope, "bend": sg.grad(slope * slope, k), "dq": sg.grad(slope, q)}, {
        "q": values(2),
        "k": np.float64(1.25),
    }


def branched(rows, iterations):
    """Cases by a number that is out of their range, too, and a branch in one of them, which is not
    defined where it is not taken."""
    v, k = sg.input("v", (rows,), "float64"), sg.input("k", (iterations,), "int64")

    def rooted(state, i):
        low = sg.cond(i < 2, lambda s: sg.sqrt(s - 2.0) / (s - s), lambda s: s * 0.25, state)
        return low, i * 2

    def body(state, i):
        new, number = sg.switch(
            i,
            [lambda s, i: (s * 1.5, i), rooted, lambda s, i: (s * s + 0.5, sg.asarray(7))],
            state,
            i + 2,
        )
        return new, (number, new > 0.5)

    last, (numbers, signs) = sg.scan(body, v, k)
    count = rows if isinstance(rows, int) else 21
    feeds = {"v": values(count), "k": np.resize(np.array([1, 0, 2, -3, 9]), iterations)}
    return with_gradients({"last": last}, {"v": v}) | {"numbers": numbers, "signs": signs}, feeds


def mixing(rows, iterations, reverse):
    """Rows that read each other, of two dtypes, with slices, stacks and the number of the
    iteration."""
    x, y = sg.input("x", (rows,), "float64"), sg.input("y", (3, rows), "float32")
    w = sg.input("w", (iterations, rows), "float64")

    def body(carry, each):
        i, x, y = carry
        tops = sg.astype((y - y.max(axis=1, keepdims=True)).sum(axis=0), "float64")
        new = x[::-1] * 0.5 + sg.tanh(each + 0.1 * tops) / (1.0 + (x * x).sum())
        return (i + 1, new * each, y * 0.5 + sg.astype(x * sg.astype(i, "float64"), "float32")), (
            new,
            new.max(),
            sg.cumsum(x),
        )

    (i, last, y_last), (all_, tops, sums) = sg.scan(body, (0, x, y), w, reverse=reverse)
    count = rows if isinstance(rows, int) else 21
    outputs = {"last": last, "y": y_last, "tops": tops, "sums": sums}
    wanted = {"x": x, "w": w}
    feeds = {"x": values(count), "y": values(3, count, dtype="f4")}
    feeds["w"] = values(iterations, count)
    return with_gradients(outputs, wanted) | {"all": all_, "i": i}, feeds


PROGRAMS = {
    "field 1 4": lambda: vector_field(1, 4),
    "field 70 3": lambda: vector_field(70, 3),
    "field n 5": lambda: vector_field("n", 5),
    "single 0": lambda: single(0),
    "single 1": lambda: single(1),
    "single 6": lambda: single(6),
    "rows 40 3": lambda: rows_of_three(40, 3),
    "rows n 0": lambda: rows_of_three("n", 0),
    "rows n 4": lambda: rows_of_three("n", 4),
    "counters 0": lambda: counters(0),
    "counters 7": lambda: counters(7),
    "looked up 1 3": lambda: looked_up(1, 3),
    "looked up 40 6": lambda: looked_up(40, 6),
    "bent 5": lambda: bent(5),
    "branched 1 0": lambda: branched(1, 0),
    "branched 1 7": lambda: branched(1, 7),
    "branched 40 5": lambda: branched(40, 5),
    "branched n 6": lambda: branched("n", 6),
    "mixing n 3": lambda: mixing("n", 3, reverse=True),
}


def loops_left(f):
    """The loops that the driver runs, those over stretches of iterations aside."""
    loops = [step for step in f.schedule.steps if isinstance(step, BodyStep)]
    return sum([body.name for body in step.schedules] != ["stretch"] for step in loops)


def same(found, wanted):
    return all(same_bytes(found[name], array) for name, array in wanted.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_loop_is_one_kernel_with_the_bytes_of_the_drivers(name):
    outputs, feeds = PROGRAMS[name]()
    graph = sg.Graph(outputs)
    f = sg.compile(graph)
    assert loops_left(f) == 0
    found = f.run(feeds)
    wanted = sg.evaluate(graph, feeds)
    for key, array in found.items():
        np.testing.assert_allclose(array, wanted[key], rtol=3e-5, atol=1e-6, err_msg=key)
    driven = sg.compile(graph, fuse=False)
    assert loops_left(driven) > 0
    assert same(driven.run(feeds), found)
    guarded = sg.compile(graph, debug=True)
    assert same(guarded.run(feeds), found)
    assert guarded.highest_touched == guarded._current_plan().peak_bytes
    assert same(sg.compile(graph, threads=2).run(feeds), found)
    with sg.options(jit=False):
        assert same(sg.compile(graph).run(feeds), found)


STRETCHED = ["field 70 3", "single 6", "rows n 4", "looked up 40 6", "bent 5", "branched 40 5"]


@pytest.mark.slow
@pytest.mark.parametrize("name", STRETCHED)
def test_stretches_of_iterations_have_the_same_bytes(name, monkeypatch):
    outputs, feeds = PROGRAMS[name]()
    graph = sg.Graph(outputs)
    wanted = sg.compile(graph, fuse=False).run(feeds)
    monkeypatch.setattr(time_loops, "_LONGEST", 0.0)
    for length in (1, 2, 4, 50):
        monkeypatch.setattr(time_loops, "_SHORTEST", length)
        f = sg.compile(graph, debug=True)
        assert loops_left(f) == 0
        assert any(isinstance(step, BodyStep) for step in f.schedule.steps)
        for _ in range(2):
            assert same(f.run(feeds), wanted)
        assert f.highest_touched == f._current_plan().peak_bytes
    with sg.options(jit=False):
        assert same(sg.compile(graph).run(feeds), wanted)


def test_a_long_time_loop_is_interrupted():
    q = sg.input("q", (2,), "float64")
    f = sg.compile(sg.fori_loop(0, 10**10, lambda i, s: sg.sin(s[::-1]) * 0.5 + 1.0, q))
    assert loops_left(f) == 0
    sent = threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,))
    sent.start()
    with pytest.raises(KeyboardInterrupt):
        f.run({"q": values(2)})
    sent.join()


@pytest.mark.thinned(2)
@pytest.mark.parametrize("rows", [1, 40])
def test_an_index_out_of_range_is_the_drivers(rows, monkeypatch):
    outputs, feeds = looked_up(rows, 6)
    feeds["k"][4, rows // 2], feeds["k"][5, 0] = 9, -8
    graph = sg.Graph(outputs)
    told = set()
    for way in ({}, {"threads": 2}, {"fuse": False}, {"debug": True}):
        with pytest.raises(IndexOutOfRange) as raised:
            sg.compile(graph, **way).run(feeds)
        told.add(str(raised.value).splitlines()[0])
    monkeypatch.setattr(time_loops, "_LONGEST", 0.0)
    monkeypatch.setattr(time_loops, "_SHORTEST", 4)
    for _ in range(3):
        with pytest.raises(IndexOutOfRange) as raised:
            sg.compile(graph).run(feeds)
        told.add(str(raised.value).splitlines()[0])
        assert "table[k[i], 1]" in str(raised.value)
    assert told == {f"[SG407] index {9 if rows == 1 else -8} is out of range for an axis of size 5"}


def test_rows_are_shared_among_workers_and_change_their_number():
    outputs, feeds = rows_of_three("n", 4)
    f, g = (sg.compile(sg.Graph(outputs), threads=n) for n in (1, 2))
    wanted = f.run(feeds)
    for rows in (1, 0, 1500):
        other = {"h": values(rows, 3, dtype="f4"), "w": feeds["w"]}
        other["x"] = values(2, rows, 3, dtype="f4")
        assert same(g.run(other), f.run(other))
    assert same(f.run(feeds), wanted)
    assert loops_left(f) == 0


def _far(v):
    """Many operations whose results are those of any evaluation."""
    for number in range(40):
        v = sg.sqrt(v * v + number)
    return v


#: Of the bodies below, those whose rows stay vectors in one kernel, and those of the driver.
JOINED = ["flipped", "summed", "shifted"]
DRIVEN = ["looked up", "sorted", "looked up in a case", "long cases"]


def _mixed(kind):
    """Bodies whose rows read each other, or places that are known in a run only; cases of which it
    is better to compute one."""
    x, k = sg.input("x", (600,), "float64"), sg.input("k", (4,), "int64")
    bodies = {
        "flipped": lambda v, _: v[::-1] * 0.5 + 1.0,
        "summed": lambda v, _: v * 0.5 + v.mean(),
        "shifted": lambda v, _: sg.concatenate([v[1:], v[:1]]) * 0.5,
        "looked up": lambda v, i: v * 0.5 + v[i],
        "sorted": lambda v, _: sg.sort(v) * 0.5,
        "looked up in a case": lambda v, i: sg.cond(
            i < 600, lambda v, i: v * 0.5 + v[i], lambda v, i: v, v, i
        ),
        "long cases": lambda v, i: sg.cond(
            i < 5, lambda v: _far(v * v), lambda v: _far(v + 2.0), v
        ),
    }
    last, _ = sg.scan(lambda v, i: (bodies[kind](v, i), None), x, k)
    return {"last": last}, {"x": values(600), "k": np.array([3, 599, 0, 77])}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("kind", JOINED + DRIVEN)
def test_rows_that_read_each_other(kind):
    outputs, feeds = _mixed(kind)
    graph = sg.Graph(outputs)
    f = sg.compile(graph)
    assert loops_left(f) == (kind in DRIVEN)
    assert same(f.run(feeds), sg.evaluate(graph, feeds))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_random_loops_are_the_drivers(seed):
    shapes = {"u": (3,), "v": (3,), "s": (), "rows": (2, 3)}
    inputs = [variable(name, sg.float64, shape) for name, shape in shapes.items()]
    u, v, s, rows = inputs
    end = random_step(np.random.default_rng(seed), 2)((u, v, s), rows, True)
    y = end[0].sum() + end[1].sum() * end[2]
    slopes = sg.grad(y, inputs, allow_disconnected=True)
    graph = sg.Graph({"y": y, **{f"d{n}": d for n, d in enumerate(slopes)}}, inputs=inputs)
    feeds = {name: values(*shape) for name, shape in shapes.items()}
    found = sg.compile(graph).run(feeds)
    assert same(sg.compile(graph, fuse=False).run(feeds), found)


def test_what_is_the_same_in_all_rows_is_there_without_any():
    q = sg.input("q", ("n",), "float64")

    def body(carry, _):
        scale, total = carry
        return (scale * 0.5, total + scale), scale

    (scale, last), scales = sg.scan(body, (sg.asarray(1.0), q), None, length=5)
    f = sg.compile(sg.Graph({"scale": scale, "last": last, "scales": scales}))
    assert loops_left(f) == 0
    for rows in (0, 1, 9):
        found = f.run({"q": values(rows)})
        np.testing.assert_array_equal(found["scales"], 0.5 ** np.arange(5))
        assert found["scale"] == 0.5**5
        np.testing.assert_allclose(found["last"], values(rows) + (2 - 0.5**4), rtol=1e-15)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("rows", [5, 7])
def test_the_row_of_an_iterations_number_is_a_slice(rows):
    """As ``scan`` hands it over, with its bytes; of longer arrays it is looked up."""
    x, a = sg.input("x", (rows, 3), "float64"), sg.input("a", (5, 3), "float64")
    zeros = sg.zeros((3,), "float64")
    by_number = sg.fori_loop(0, 5, lambda i, c: sg.sin(c * a[i]) + x[i] + i, zeros)
    by_slice, _ = sg.scan(
        lambda c, each: (sg.sin(c * each[0]) + each[1] + each[2], None),
        zeros,
        (a, x[:5], sg.arange(5)),
    )
    found = []
    for last in (by_number, by_slice):
        da, dx = sg.grad((last * last).sum(), [a, x])
        f = sg.compile(sg.Graph({"last": last, "da": da, "dx": dx}))
        found.append(f.run({"x": values(rows, 3), "a": values(5, 3)}))
        assert loops_left(f) == 0 or rows == 7
    assert same(*found)


@pytest.mark.parametrize(("rows", "stretches"), [(1000, [138]), (100, [])])
def test_iterations_of_rows_on_many_pages_are_made_in_stretches(rows, stretches):
    """Stacks of 8 MB and more are written a few iterations of all rows at a time, to the same
    bytes."""
    x = sg.input("x", (rows,), "float64")
    graph = sg.Graph({"y": sg.scan(lambda c, _: (c * 0.99 + x, c), x, None, length=1100)[1]})
    f = sg.compile(graph, threads=2)
    assert [s.iterations for s in f.schedule.steps if isinstance(s, BodyStep)] == stretches
    feeds = {"x": np.random.default_rng(0).normal(size=rows)}
    single = sg.compile(graph, threads=1, fuse=False)
    assert same_bytes(f.run(feeds)["y"], single.run(feeds)["y"])
