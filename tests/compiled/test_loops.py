"""Loops and branches as compiled programs run them: by the driver, or in one kernel.

Each program is run in every way, beside the evaluator: fused or not, guarded, on several threads,
by workers in any order, in plain Python, and by the native entry, which takes over the third run.
"""

import signal
import threading
import time

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.cost import plan_seconds
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.compiler.lowering.loops import time_loops
from staticgrad.compiler.memory.planner import Planner
from staticgrad.errors import IndexOutOfRange, NonFiniteError
from staticgrad.language.ir.bodies import BodyStep
from staticgrad.language.ir.kernels.stages import Loop, nested_stages
from tests.compiled.agreement import assert_same
from tests.helpers.diagonals import diagonals
from tests.runtime.several_workers import with_workers


def values(*shape, dtype="f8"):
    """Numbers that do not repeat, around 0."""
    return np.asarray(np.sin(np.arange(1, 1 + np.prod(shape, dtype=int)) * 1.7), dtype).reshape(
        shape
    )


def with_gradients(outputs, wrt):
    floats = [v for v in outputs.values() if v.dtype.is_float]
    loss = sum((sg.sin(v).sum() for v in floats), sg.asarray(0.0, floats[0].dtype))
    return outputs | {
        f"d{name}": slope for name, slope in zip(wrt, sg.grad(loss, [*wrt.values()]), strict=True)
    }


# -- by the driver ---------------------------------------------------------------------------------


def _points(*shape):
    return np.linspace(-1, 1, int(np.prod(shape)), dtype="f4").reshape(shape)


def scan_program(iterations, reverse):
    """Two carries, of which one takes the other's place; slices, outputs, an invariant."""
    x, w = sg.input("x", ("t", 4, 8), "float32"), sg.input("w", (8, 8), "float32")
    a, b = sg.input("a", (4, 8), "float32"), sg.input("b", (4, 8), "float32")

    def body(carry, row):
        first, second = carry
        new = sg.tanh(first @ w + row)
        return (second, new), (new.sum(1), second)

    last, (sums, seen) = sg.scan(body, (a, b), x, reverse=reverse)
    outputs = {"one": last[0], "two": last[1], "sums": sums, "seen": seen}
    feeds = {"x": _points(iterations, 4, 8), "w": _points(8, 8) / 3, "a": _points(4, 8)}
    return outputs, {**feeds, "b": -_points(4, 8)}


def loop_in_loop(outer, inner):
    """A loop in a loop, over rows of rows, whose number both bodies use."""
    x, c = sg.input("x", ("m", "n", 5), "float32"), sg.input("c", (5,), "float32")

    def body(i, carry, rows):
        def within(carry, row):
            new = carry * 0.5 + row * sg.astype(i + 1, "float32")
            return new, new + carry

        last, all_ = sg.scan(within, carry, rows)
        return last, (all_, sg.astype(i, "float32"))

    number = sg.arange(x.shape[0])
    last, (seen, numbers) = sg.scan(
        lambda carry, carries: body(carries[0], carry, carries[1]), c, (number, x)
    )
    feeds = {"x": _points(outer, inner, 5), "c": _points(5)}
    return {"last": last, "seen": seen, "numbers": numbers}, feeds


def counting_scan(iterations):
    """A loop whose number of iterations is a named size; the number is read."""
    x = sg.input("x", ("n",), "float32")
    total = sg.fori_loop(
        0, x.shape[0], lambda i, c: c * 0.75 + sg.astype(i, "float32"), sg.input("c", (3,))
    )
    return {"y": total, "z": x * 2.0}, {"x": _points(iterations), "c": _points(3)}


def until(limit):
    """A loop that ends by a test, with a second one inside."""
    c = sg.input("c", (6,), "float32")

    def body(carry):
        value, count = carry
        less = sg.while_loop(lambda v: v.sum() > 3.0, lambda v: v * 0.5, value + 1.0)
        return less + value, count + 1

    value, count = sg.while_loop(lambda carry: carry[1] < limit, body, (c, sg.asarray(np.int64(0))))
    return {"value": value, "count": count}, {"c": _points(6)}


# -- in one kernel ---------------------------------------------------------------------------------


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


def branching_loop(rows, iterations):
    """Cases by a number that is out of their range, too, and a branch in one of them, which is not
    defined where it is not taken."""
    v, k = sg.input("v", (rows,), "float64"), sg.input("k", (iterations,), "int64")

    def take_root(state, i):
        low = sg.cond(i < 2, lambda s: sg.sqrt(s - 2.0) / (s - s), lambda s: s * 0.25, state)
        return low, i * 2

    def body(state, i):
        new, number = sg.switch(
            i,
            [lambda s, i: (s * 1.5, i), take_root, lambda s, i: (s * s + 0.5, sg.asarray(7))],
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

    def body(carry, row):
        i, x, y = carry
        tops = sg.astype((y - y.max(axis=1, keepdims=True)).sum(axis=0), "float64")
        new = x[::-1] * 0.5 + sg.tanh(row + 0.1 * tops) / (1.0 + (x * x).sum())
        return (i + 1, new * row, y * 0.5 + sg.astype(x * sg.astype(i, "float64"), "float32")), (
            new,
            new.max(),
            sg.cumsum(x),
        )

    (i, last, y_last), (all_, tops, sums) = sg.scan(body, (0, x, y), w, reverse=reverse)
    count = rows if isinstance(rows, int) else 21
    outputs = {"last": last, "y": y_last, "tops": tops, "sums": sums}
    expected = {"x": x, "w": w}
    feeds = {"x": values(count), "y": values(3, count, dtype="f4")}
    feeds["w"] = values(iterations, count)
    return with_gradients(outputs, expected) | {"all": all_, "i": i}, feeds


# -- that end by a test ----------------------------------------------------------------------------


def root():
    """Newton's method, the number of steps, and the gradient by a number that it ends with."""
    a = sg.input("a", (), "float64")
    last, iterations = sg.while_loop(
        lambda c: abs(c[0] * c[0] - a) > 1e-12,
        lambda c: ((c[0] + a / c[0]) * 0.5, c[1] + 1),
        (sg.asarray(3.0), 0),
    )
    return {"last": last, "iterations": iterations}, {"a": np.array(2.0)}


def bounded_loop():
    """No more iterations than ``most``; a derivative of as many; integers and truths."""
    x = sg.input("x", (3,), "float64")
    v, odd, k = sg.while_loop(
        lambda c: c[0].sum() < 100.0,
        lambda c: (c[0] * 1.5 + x, ~c[1], c[2] * 3 % 7),
        (x, True, 1),
        max_steps=11,
    )
    return {"v": v, "odd": odd, "k": k, "dx": sg.grad(v.sum(), x)}, {"x": np.full(3, 0.01)}


def undefined_behind_the_end():
    """A root of a number below 0, and a division by zero, in the iteration that is not made."""
    x = sg.input("x", (), "float64")
    v, k = sg.while_loop(
        lambda c: c[0] > 0.5, lambda c: (sg.sqrt(c[0] - 0.5), 12 // (c[1] - 1)), (x, 4)
    )
    return {"v": v, "k": k}, {"x": np.array(0.9)}


def by_number():
    """Nested loops, and the number of the iteration that ``fori_loop`` counts inside."""
    x = sg.input("x", (2,), "float32")

    def body(carry):
        inner = sg.fori_loop(0, 3, lambda i, s: s * 0.5 + x * i, carry[0])
        return inner, carry[1] + 1

    v, k = sg.while_loop(lambda c: c[1] < 21, body, (x, 0))
    return {"v": v, "k": k}, {"x": np.array([0.3, 0.7], np.float32)}


def never():
    """No iteration at all."""
    x = sg.input("x", (), "float64")
    v = sg.while_loop(lambda v: v > 5.0, lambda v: v - 1.0, x)
    return {"v": v}, {"x": np.array(3.0)}


def vectors():
    """Carries of several lanes, a test of all of them, and an invariant that iterations read."""
    a, b = sg.input("a", (5, 5), "float32"), sg.input("b", (5,), "float32")

    def body(carry):
        x, r, p, rs = carry
        ap = a @ p
        step = rs / (p * ap).sum()
        r2 = r - step * ap
        rs2 = (r2 * r2).sum()
        return x + step * p, r2, r2 + (rs2 / rs) * p, rs2

    first = (b * 0.0, b, b, (b * b).sum())
    x, *_ = sg.while_loop(lambda c: c[3] > 1e-3, body, first, max_steps=30)
    rng = np.random.default_rng(3)
    m = rng.normal(size=(5, 5)).astype(np.float32)
    return {"x": x}, {"a": m @ m.T + np.eye(5, dtype=np.float32), "b": m[0].copy()}


def rows():
    """Rows that stay vectors: of two lengths and dtypes, some exchanged, some read backwards."""
    x, y = sg.input("x", ("n",), "float32"), sg.input("y", (3, "n"), "float64")
    w = sg.input("w", ("n",), "float32")

    def body(carry):
        k, x, y, old = carry
        tops = sg.astype((y - y.max(axis=1, keepdims=True)).sum(axis=0), "float32")
        new = x[::-1] * 0.5 + sg.tanh(w + 0.1 * tops) / (1.0 + (x * x).sum())
        return k + 1, sg.where(new > 0, new, old), y * 0.5 + sg.astype(k, "float64"), x

    first = (0, x, y, sg.zeros((x.shape[0],), "float32"))
    k, last, *others = sg.while_loop(
        lambda c: sg.logical_and(c[0] < 17, abs(c[2]).max() < 20.0), body, first
    )
    rng = np.random.default_rng(5)
    feeds = {"x": rng.normal(size=70), "y": rng.normal(size=(3, 70)), "w": rng.normal(size=70)}
    feeds = {name: array if name == "y" else array.astype("f4") for name, array in feeds.items()}
    return {"k": k, "last": last, "y": others[0], "old": others[1]}, feeds


DRIVEN = {
    **{f"scan {t} {way}": (lambda t=t, w=way: scan_program(t, w == "back")) for t, way in
       [(0, "on"), (1, "on"), (2, "back"), (5, "on"), (6, "on"), (5, "back")]},
    **{f"nested {m} {n}": (lambda m=m, n=n: loop_in_loop(m, n)) for m, n in
       [(0, 3), (3, 0), (1, 1), (2, 3), (3, 2)]},
    **{f"counted {t}": (lambda t=t: counting_scan(t)) for t in (0, 1, 4)},
    **{f"until {t}": (lambda t=t: until(t)) for t in (0, 1, 5)},
}  # fmt: skip


JOINED = {
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
    "branched 1 0": lambda: branching_loop(1, 0),
    "branched 1 7": lambda: branching_loop(1, 7),
    "branched 40 5": lambda: branching_loop(40, 5),
    "branched n 6": lambda: branching_loop("n", 6),
    "mixing n 3": lambda: mixing("n", 3, reverse=True),
}


TESTED = {
    "root": root,
    "bounded": bounded_loop,
    "undefined_behind_the_end": undefined_behind_the_end,
    "by_number": by_number,
    "never": never,
    "vectors": vectors,
    "rows": rows,
}
PROGRAMS = {**DRIVEN, **JOINED, **TESTED}


def loops_left(f):
    """The loops that the driver runs, those over stretches of iterations aside."""
    loops = [step for step in f.schedule.steps if isinstance(step, BodyStep)]
    return sum([body.name for body in step.schedules] != ["stretch"] for step in loops)


def in_one_kernel(f):
    """Return whether a kernel has a loop that ends by a test."""
    every = (stage for kernel in f.schedule.kernels for stage, _ in nested_stages(kernel.stages))
    return any(isinstance(stage, Loop) and stage.going for stage in every)


def check(name, most=4096):
    """The bytes of every way; numbers near the evaluator's."""
    outputs, feeds = PROGRAMS[name]()
    graph = sg.Graph(outputs)
    f = sg.compile(graph)
    assert name not in JOINED or loops_left(f) == 0
    assert name not in TESTED or in_one_kernel(f)
    actual = {key: array.copy() for key, array in f.run(feeds).items()}
    for key, expected in sg.evaluate(graph, feeds).items():
        assert actual[key].shape == expected.shape
        np.testing.assert_allclose(actual[key], expected, rtol=3e-5, atol=1e-6, err_msg=key)
    for _ in range(4):  # from the third on by the native entry
        assert_same(f.run(feeds), actual)
    assert_same(f.bind(feeds)(), actual)
    for options in ({"debug": True}, {"fuse": False}, {"threads": 2}, {"checkpoint": "recompute"}):
        variant = sg.compile(graph, **options)
        assert_same(variant.run(feeds), actual, options)
        assert variant.highest_touched in (None, variant._current_plan().peak_bytes)
        assert "fuse" not in options or name not in JOINED or loops_left(variant) > 0
    with sg.options(jit=False):
        assert_same(sg.compile(graph).run(feeds), actual, "python")
    assert_same(with_workers(f, 3, 0).run(feeds), actual, "workers")


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_results_are_the_same_in_every_way(name):
    check(name)


STRETCHED = ["field 70 3", "single 6", "rows n 4", "looked up 40 6", "bent 5", "branched 40 5"]


@pytest.mark.slow
@pytest.mark.parametrize("name", STRETCHED)
def test_stretches_of_iterations_have_the_same_bytes(name, monkeypatch):
    outputs, feeds = PROGRAMS[name]()
    graph = sg.Graph(outputs)
    expected = sg.compile(graph, fuse=False).run(feeds)
    monkeypatch.setattr(time_loops, "_MOST_SECONDS", 0.0)
    for length in (1, 2, 4, 50):
        monkeypatch.setattr(time_loops, "_FEWEST_ITERATIONS", length)
        f = sg.compile(graph, debug=True)
        assert loops_left(f) == 0
        assert any(isinstance(step, BodyStep) for step in f.schedule.steps)
        for _ in range(2):
            assert_same(f.run(feeds), expected)
        assert f.highest_touched == f._current_plan().peak_bytes
    with sg.options(jit=False):
        assert_same(sg.compile(graph).run(feeds), expected)


def test_an_index_that_fails_in_an_iteration_is_raised_before_a_parameter_changes():
    w = sg.parameter("w", np.arange(5, dtype="f4"))
    k = sg.input("k", ("t", 3), "int64")
    last, _ = sg.scan(lambda c, row: (c + w[row], c[0]), sg.zeros((3,), "float32"), k)
    for jit in (True, False):
        with sg.options(jit=jit):
            f = sg.compile(sg.Graph({"y": last}, updates={w: w + 1.0}))
            good, bad = np.ones((4, 3), "i8"), np.ones((4, 3), "i8")
            bad[2, 1] = 7
            value_before = w.value
            f.run({"k": good})
            np.testing.assert_array_equal(w.value, value_before + 1)
            for _ in range(3):
                with pytest.raises(IndexOutOfRange, match="7"):
                    f.run({"k": bad})
            np.testing.assert_array_equal(w.value, value_before + 1)


def test_parameters_change_by_what_loops_compute():
    w = sg.parameter("w", np.arange(5, dtype="f4"))
    new = sg.fori_loop(0, 7, lambda i, v: v * 0.5 + 1.0, w)
    f = sg.compile(sg.Graph({"old": w * 1.0}, updates={w: new}))
    for _ in range(4):
        value = w.value
        np.testing.assert_array_equal(f.run({})["old"], value)
        for _ in range(7):
            value = value * np.float32(0.5) + np.float32(1)
        np.testing.assert_array_equal(w.value, value)


def test_plans_are_trees_whose_peak_is_what_runs_touch():
    outputs, feeds = loop_in_loop(3, 4)
    f = sg.compile(sg.Graph(outputs), debug=True)
    f.run(feeds)
    plan = f._current_plan()
    verify_plan(plan)
    assert f.highest_touched == plan.peak_bytes
    for workers in (1, 3):
        verify_plan(Planner(f.schedule, workers=workers).plan({"m": 3, "n": 4}))
    longer = f.plan(m=30, n=4)
    assert plan_seconds(longer) > 5 * plan_seconds(plan)


@pytest.mark.parametrize("joined", [False, True])
def test_a_long_loop_is_interrupted(joined, interrupts):
    """By the driver between steps, and between stretches of a kernel's iterations."""
    if joined:
        q, feeds = sg.input("q", (2,), "float64"), {"q": values(2)}
        y = sg.fori_loop(0, 10**10, lambda i, s: sg.sin(s[::-1]) * 0.5 + 1.0, q)
    else:
        c, feeds = sg.input("c", (100_000,), "float32"), {"c": np.ones(100_000, "f4")}
        y, _ = sg.while_loop(lambda v: v[1] >= 0, lambda v: (sg.sin(v[0]), v[1] * 0), (c, c[0] * 0))
    f = sg.compile(y)
    sent = threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,))
    begun = time.perf_counter()
    sent.start()
    with pytest.raises(KeyboardInterrupt):
        f.run(feeds)
    assert time.perf_counter() - begun < 30
    sent.join()


def _long_loop(new, iterations):
    return sg.fori_loop(0, iterations, lambda i, c: sg.tanh(c @ new + 0.1), sg.ones(8, "float64"))


def _reads_the_new_value(w, v, new, iterations):
    return _long_loop(new, iterations), {w: new}


def _reads_an_average_of_new_values(w, v, new, iterations):
    average = 0.9 * v + 0.1 * new
    return _long_loop(average, iterations), {w: new, v: average}


def _computes_the_new_value(w, v, new, iterations):
    last = sg.fori_loop(0, iterations, lambda i, c: sg.tanh(c * 0.5 + new), v)
    return last.sum(), {w: new, v: last}


def _two_loops(w, v, new, iterations):
    first = _long_loop(new, 3)
    newer = v + first
    return _long_loop(newer, iterations).sum() + (first @ new).sum(), {w: new, v: newer}


def _in_a_branch(w, v, new, iterations):
    y = sg.cond(v.sum() > 0, lambda: _long_loop(new, iterations), lambda: new[0])
    return y, {w: new, v: v + 1.0}


def _updating(build, iterations):
    """A step whose loop depends on new values of parameters."""
    w, v = (sg.parameter(name, np.eye(8) * 0.5) for name in "wv")
    x = sg.input("x", (8,), "float64")
    new = w - 0.1 * sg.grad(((x @ w) ** 2).mean(), w)
    y, updates = build(w, v, new, iterations)
    return sg.compile(sg.Graph({"y": y}, updates=updates)), (w, v)


UPDATING = (
    _reads_the_new_value, _reads_an_average_of_new_values, _computes_the_new_value, _two_loops,
    _in_a_branch,
)  # fmt: skip


@pytest.mark.parametrize("build", UPDATING)
def test_an_interrupt_in_a_loop_behind_updates_leaves_all_parameters_old(build, interrupts):
    f, parameters = _updating(build, 10**10)
    old = [parameter.value for parameter in parameters]
    sent = threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,))
    sent.start()
    with pytest.raises(KeyboardInterrupt):
        f.run({"x": np.ones(8)})
    sent.join()
    for parameter, value in zip(parameters, old, strict=True):
        np.testing.assert_array_equal(parameter.value, value)


@pytest.mark.parametrize("build", UPDATING)
def test_loops_that_depend_on_new_values_compute_what_numpy_does(build):
    f, parameters = _updating(build, 3)
    w, v = (parameter.value for parameter in parameters)
    x = np.ones(8)
    new = w - 0.1 * np.outer(x, 2.0 * (x @ w) / 8.0)

    def long_loop(matrix):
        c = np.ones(8)
        for _ in range(3):
            c = np.tanh(c @ matrix + 0.1)
        return c

    y, expected_w, expected_v = long_loop(new), new, v
    if build is _reads_an_average_of_new_values:
        expected_v = 0.9 * v + 0.1 * new
        y = long_loop(expected_v)
    elif build is _computes_the_new_value:
        for _ in range(3):
            expected_v = np.tanh(expected_v * 0.5 + new)
        y = expected_v.sum()
    elif build is _two_loops:
        expected_v = v + y
        y = long_loop(expected_v).sum() + (y @ new).sum()
    elif build is _in_a_branch:
        expected_v = v + 1.0
    np.testing.assert_allclose(f.run({"x": x})["y"], y, rtol=1e-12)
    for parameter, value in zip(parameters, (expected_w, expected_v), strict=True):
        np.testing.assert_allclose(parameter.value, value, rtol=1e-12)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("rows", [1, 40])
def test_an_index_out_of_range_is_the_drivers(rows, monkeypatch):
    outputs, feeds = looked_up(rows, 6)
    feeds["k"][4, rows // 2], feeds["k"][5, 0] = 9, -8
    graph = sg.Graph(outputs)
    messages = set()
    for way in ({}, {"threads": 2}, {"fuse": False}, {"debug": True}):
        with pytest.raises(IndexOutOfRange) as raised:
            sg.compile(graph, **way).run(feeds)
        messages.add(str(raised.value).splitlines()[0])
    monkeypatch.setattr(time_loops, "_MOST_SECONDS", 0.0)
    monkeypatch.setattr(time_loops, "_FEWEST_ITERATIONS", 4)
    for _ in range(3):
        with pytest.raises(IndexOutOfRange) as raised:
            sg.compile(graph).run(feeds)
        messages.add(str(raised.value).splitlines()[0])
        assert "table[k[i], 1]" in str(raised.value)
    assert messages == {
        f"[SG407] index {9 if rows == 1 else -8} is out of range for an axis of size 5"
    }


def _far(v):
    """Many operations whose results are those of any evaluation."""
    for number in range(40):
        v = sg.sqrt(v * v + number)
    return v


#: Of the bodies below, those whose rows stay vectors in one kernel, and those of the driver.
IN_ONE = ["flipped", "summed", "shifted", "column of a table", "looked up"]
APART = ["sorted", "looked up in a case", "long cases"]


def _mixing_program(kind):
    """Bodies whose rows read each other, or places that are known in a run only; cases of which it
    is better to compute one."""
    x, k = sg.input("x", (600,), "float64"), sg.input("k", (4,), "int64")
    table, read = sg.input("table", (600, 80), "float64"), kind == "column of a table"
    bodies = {
        "flipped": lambda v, _: v[::-1] * 0.5 + 1.0,
        "summed": lambda v, _: v * 0.5 + v.mean(),
        "shifted": lambda v, _: sg.concatenate([v[1:], v[:1]]) * 0.5,
        "column of a table": lambda v, i: v[::-1] * 0.5 + table[:, i // 8],
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
    feeds = {"x": values(600), "k": np.array([3, 599, 0, -77])}
    return {"last": last}, feeds | ({"table": values(600, 80)} if read else {})


@pytest.mark.thinned(3)
@pytest.mark.parametrize("kind", IN_ONE + APART)
def test_rows_that_read_each_other(kind):
    outputs, feeds = _mixing_program(kind)
    graph = sg.Graph(outputs)
    f = sg.compile(graph)
    assert loops_left(f) == (kind in APART)
    assert_same(f.run(feeds), sg.evaluate(graph, feeds))
    if "table" in feeds:
        with pytest.raises(IndexOutOfRange, match="index 80 is out of range"):
            f.run({**feeds, "k": np.array([3, 599, 640, 0])})


@pytest.mark.thinned(2)
@pytest.mark.parametrize("rows", [5, 7])
def test_the_row_of_an_iterations_number_is_a_slice(rows):
    """The row equals the slice that ``scan`` passes, bitwise; longer arrays are indexed."""
    x, a = sg.input("x", (rows, 3), "float64"), sg.input("a", (5, 3), "float64")
    zeros = sg.zeros((3,), "float64")
    by_number = sg.fori_loop(0, 5, lambda i, c: sg.sin(c * a[i]) + x[i] + i, zeros)
    by_slice, _ = sg.scan(
        lambda c, row: (sg.sin(c * row[0]) + row[1] + row[2], None),
        zeros,
        (a, x[:5], sg.arange(5)),
    )
    actual = []
    for last in (by_number, by_slice):
        da, dx = sg.grad((last * last).sum(), [a, x])
        f = sg.compile(sg.Graph({"last": last, "da": da, "dx": dx}))
        actual.append(f.run({"x": values(rows, 3), "a": values(5, 3)}))
        assert loops_left(f) == 0 or rows == 7
    assert_same(*actual)


def add_reversed(i, v, functions=sg):
    """Rows that read each other, and the number of the iteration."""
    return v[::-1] * 0.5 + (i + 1.0) * functions.sin(v)


def test_the_loop_back_of_rows_reads_the_numbers_from_the_last_one_on():
    x, feed = sg.input("x", (90,), "float64"), values(90)
    y = sg.fori_loop(0, 4, add_reversed, x)
    slope = sg.compile({"slope": sg.grad(y.sum(), x)}).run({"x": feed})["slope"]

    def total(v):
        for i in range(4):
            v = add_reversed(i, v, np)
        return v.sum()

    way = np.cos(np.arange(90.0))
    difference = (total(feed + 1e-6 * way) - total(feed - 1e-6 * way)) / 2e-6
    np.testing.assert_allclose(slope @ way, difference, rtol=1e-6)


def test_rows_that_end_by_a_test_of_their_sum_count_their_iterations():
    """The derivative goes through as many; none where the test is false at once."""
    x, feed = sg.input("x", (90,), "float64"), np.abs(values(90))
    y = sg.while_loop(lambda v: v.sum() < 300.0, lambda v: v[::-1] * 1.5 + 0.1, x, max_steps=20)
    f = sg.compile({"y": y, "slope": sg.grad(y.sum(), x)})
    assert in_one_kernel(f)
    actual, expected, count = f.run({"x": feed}), feed, 0
    while expected.sum() < 300.0:
        expected, count = expected[::-1] * 1.5 + 0.1, count + 1
    np.testing.assert_allclose(actual["y"], expected, rtol=1e-14)
    np.testing.assert_allclose(actual["slope"], np.full(90, 1.5**count), rtol=1e-14)
    unchanged = f.run({"x": feed + 100.0})
    np.testing.assert_array_equal(unchanged["y"], feed + 100.0)
    np.testing.assert_array_equal(unchanged["slope"], np.ones(90))


def test_iterations_that_are_not_made_check_no_index():
    x, n = sg.input("x", (5,), "float64"), sg.input("n", (), "int64")
    _, total = sg.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] + x[c[0]]), (0, 0.0))
    f = sg.compile({"total": total})
    assert in_one_kernel(f)
    for count in (0, 3, 5):
        actual = f.run({"x": np.arange(5.0), "n": np.array(count)})
        assert actual["total"] == sum(range(count))
    with pytest.raises(IndexOutOfRange, match="index 5"):
        f.run({"x": np.arange(5.0), "n": np.array(6)})


def test_an_index_that_fails_ends_a_loop_without_an_end():
    x = sg.input("x", (5,), "float64")
    f = sg.compile({"n": sg.while_loop(lambda k: x[k] < 2.5, lambda k: k + 1, 0)})
    assert not in_one_kernel(f)
    assert f.run({"x": np.arange(5.0)})["n"] == 3
    with pytest.raises(IndexOutOfRange):
        f.run({"x": np.zeros(5)})


def test_a_not_a_number_is_told_by_its_iteration():
    x = sg.input("x", (), "float64")
    y = sg.while_loop(lambda c: c[1] < 9, lambda c: (sg.log(c[0]), c[1] + 1), (x, 0))[0]
    with pytest.raises(NonFiniteError, match="in iteration 3, log"):
        sg.compile(y, debug="nan").run({"x": np.array(5.0)})


@pytest.mark.thinned(3)
@diagonals(
    2, ("iterations,most", [(1, 6), (5, 2), (5, None), (3, 0)]), ("dtype", ["float32", "float64"])
)
def test_a_loop_inside_of_a_loop_ends_by_its_own_test(dtype, iterations, most):
    """Limits come from the outer iteration, so that inner loops make other numbers of iterations,
    or none."""
    x = sg.input("x", (3,), dtype)

    def outer(i, v):
        limit = (i + 1) % 3
        inner = sg.while_loop(
            lambda c: c[0] < limit,
            lambda c: (c[0] + 1, sg.tanh(c[1] * 0.7 + x)),
            (0, v),
            **({} if most is None else {"max_steps": most}),
        )
        return inner[1] * 1.5 + inner[0]

    graph = sg.Graph({"out": sg.fori_loop(0, iterations, outer, x * 0.3)})
    f = sg.compile(graph)
    feeds = {"x": np.array([0.3, -0.8, 1.1], dtype)}
    actual = f.run(feeds)["out"]
    np.testing.assert_allclose(actual, sg.evaluate(graph, feeds)["out"], rtol=1e-5)
    assert same_bytes(sg.compile(graph, fuse=False).run(feeds)["out"], actual)
