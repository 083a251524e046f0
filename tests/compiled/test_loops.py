"""Loops and branches as compiled programs run them, beside the evaluator."""

import pickle
import signal
import threading
import time

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.cost import plan_seconds
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.errors import IndexOutOfRange
from staticgrad.ir.schedule_text import parse_plan, parse_schedule
from staticgrad.memory.planner import Planner
from tests.diagonals import diagonals
from tests.runtime.several_workers import with_workers


def _points(*shape):
    return np.linspace(-1, 1, int(np.prod(shape)), dtype="f4").reshape(shape)


def scanned(iterations, reverse):
    """Two carries, of which one takes the other's place; slices, outputs, an invariant."""
    x, w = sg.input("x", ("t", 4, 8), "float32"), sg.input("w", (8, 8), "float32")
    a, b = sg.input("a", (4, 8), "float32"), sg.input("b", (4, 8), "float32")

    def body(carry, each):
        one, two = carry
        new = sg.tanh(one @ w + each)
        return (two, new), (new.sum(1), two)

    last, (sums, seen) = sg.scan(body, (a, b), x, reverse=reverse)
    outputs = {"one": last[0], "two": last[1], "sums": sums, "seen": seen}
    feeds = {"x": _points(iterations, 4, 8), "w": _points(8, 8) / 3, "a": _points(4, 8)}
    return outputs, {**feeds, "b": -_points(4, 8)}


def differentiated(iterations):
    """A recurrence and its gradients, whose first carries are zeros of two shapes."""
    x, w = sg.input("x", ("t", 4, 8), "float32"), sg.input("w", (8, 8), "float32")

    def body(h, each):
        new = sg.tanh(each + h @ w)
        return new, new

    last, seen = sg.scan(body, sg.zeros((4, 8), "float32"), x)
    loss = (seen * seen).mean() + last.sum()
    dx, dw = sg.grad(loss, [x, w])
    return {"loss": loss, "dx": dx, "dw": dw}, {
        "x": _points(iterations, 4, 8),
        "w": _points(8, 8) / 3,
    }


def nested(outer, inner):
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
        lambda carry, given: body(given[0], carry, given[1]), c, (number, x)
    )
    feeds = {"x": _points(outer, inner, 5), "c": _points(5)}
    return {"last": last, "seen": seen, "numbers": numbers}, feeds


def counted(iterations):
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


def branched(case):
    """A branch in a loop, and a branch by an index out of range, which is brought into it."""
    x, k = sg.input("x", (7, 4), "float32"), sg.input("k", (), "int64")

    def body(carry, row):
        new = sg.cond(
            carry.sum() > 0.0, lambda c, r: c - r, lambda c, r: sg.exp(c) + 2.0 * r, carry, row
        )
        return new, new * 2.0

    last, rows = sg.scan(body, sg.zeros((4,), "float32"), x)
    cases = [lambda a: a + 1.0, lambda a: a * 2.0, lambda a: a - last]
    return {"last": last, "rows": rows, "case": sg.switch(k, cases, last)}, {
        "x": _points(7, 4),
        "k": np.int64(case),
    }


PROGRAMS = {
    **{f"scan {t} {way}": (lambda t=t, w=way: scanned(t, w == "back")) for t, way in
       [(0, "on"), (1, "on"), (2, "back"), (5, "on"), (6, "on"), (5, "back")]},
    **{f"differentiated {t}": (lambda t=t: differentiated(t)) for t in (0, 1, 6)},
    **{f"nested {m} {n}": (lambda m=m, n=n: nested(m, n)) for m, n in
       [(0, 3), (3, 0), (1, 1), (2, 3), (3, 2)]},
    **{f"counted {t}": (lambda t=t: counted(t)) for t in (0, 1, 4)},
    **{f"until {t}": (lambda t=t: until(t)) for t in (0, 1, 5)},
    **{f"branched {k}": (lambda k=k: branched(k)) for k in (-3, 0, 1, 2, 9)},
}  # fmt: skip


def check(f, wanted, feeds):
    """Results beside those of the evaluator; their bytes."""
    found = f(feeds)
    for name, array in found.items():
        np.testing.assert_allclose(array, wanted[name], rtol=2e-6, atol=1e-6, err_msg=name)
        assert array.shape == wanted[name].shape
    return {name: array.tobytes() for name, array in found.items()}


@pytest.mark.slow
@diagonals(2, ("name", PROGRAMS), ("half", [0, 1]))
def test_results_are_those_of_the_evaluator_in_every_way(name, half):
    outputs, feeds = PROGRAMS[name]()
    graph = sg.Graph(outputs)
    f = sg.compile(graph)
    wanted = sg.evaluate(graph, feeds)
    plain = check(f.run, wanted, feeds)
    for _ in range(4):  # from the third on by the native entry
        assert check(f.run, wanted, feeds) == plain
    assert check(lambda given: f.bind(given)(), wanted, feeds) == plain
    ways = [{"debug": True}, {"fuse": False}]
    ways += [{"threads": 2}, {"checkpoint": "recompute"}]
    for options in ways[half::2]:
        assert check(sg.compile(graph, **options).run, wanted, feeds) == plain
    with sg.options(jit=False):
        assert check(sg.compile(graph).run, wanted, feeds) == plain
    for seed in range(2):
        assert check(with_workers(f, 3, seed).run, wanted, feeds) == plain


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scan 5 on", "nested 2 3", "until 5", "branched 1"])
def test_texts_and_pickles_read_back(name):
    outputs, feeds = PROGRAMS[name]()
    f = sg.compile(sg.Graph(outputs))
    f.run(feeds)
    text = str(f.schedule)
    assert str(parse_schedule(text)) == text
    sizes = dict(f._current_plan().sizes)
    plan = f.plan(**sizes)
    assert parse_plan(str(plan)) == plan
    again = pickle.loads(pickle.dumps(f)).run(feeds)
    for key, array in f.run(feeds).items():
        assert again[key].tobytes() == array.tobytes()


def test_a_body_is_one_kernel_however_many_iterations():
    x = sg.input("x", ("t", 64), "float32")
    last, _ = sg.scan(lambda c, row: (sg.tanh(c * 0.5 + row), c), sg.zeros((64,), "float32"), x)
    f = sg.compile(last)
    assert len(f.kernels) <= 3
    for iterations in (3, 1000):
        f.run({"x": _points(iterations, 64)})
    stats = f.stats
    assert stats.compiles + stats.disk_hits + stats.memory_hits == len(f.kernels)


def test_an_index_that_fails_in_an_iteration_is_raised_before_a_parameter_changes():
    w = sg.parameter("w", np.arange(5, dtype="f4"))
    k = sg.input("k", ("t", 3), "int64")
    last, _ = sg.scan(lambda c, row: (c + w[row], c[0]), sg.zeros((3,), "float32"), k)
    for jit in (True, False):
        with sg.options(jit=jit):
            f = sg.compile(sg.Graph({"y": last}, updates={w: w + 1.0}))
            good, bad = np.ones((4, 3), "i8"), np.ones((4, 3), "i8")
            bad[2, 1] = 7
            before = w.value
            f.run({"k": good})
            np.testing.assert_array_equal(w.value, before + 1)
            for _ in range(3):
                with pytest.raises(IndexOutOfRange, match="7"):
                    f.run({"k": bad})
            np.testing.assert_array_equal(w.value, before + 1)


def test_parameters_change_by_what_loops_compute():
    w = sg.parameter("w", np.arange(5, dtype="f4"))
    new = sg.fori_loop(0, 7, lambda i, v: v * 0.5 + 1.0, w)
    f = sg.compile(sg.Graph({"old": w * 1.0}, updates={w: new}))
    for _ in range(4):
        before = w.value
        np.testing.assert_array_equal(f.run({})["old"], before)
        for _ in range(7):
            before = before * np.float32(0.5) + np.float32(1)
        np.testing.assert_array_equal(w.value, before)


def test_plans_are_trees_whose_peak_is_what_runs_touch():
    outputs, feeds = nested(3, 4)
    f = sg.compile(sg.Graph(outputs), debug=True)
    f.run(feeds)
    plan = f._current_plan()
    verify_plan(plan)
    assert f.highest_touched == plan.peak_bytes
    for workers in (1, 3):
        verify_plan(Planner(f.schedule, workers=workers).plan({"m": 3, "n": 4}))
    longer = f.plan(m=30, n=4)
    assert plan_seconds(longer) > 5 * plan_seconds(plan)


def test_a_long_loop_is_interrupted():
    c = sg.input("c", (100_000,), "float32")
    y, _ = sg.while_loop(lambda v: v[1] >= 0, lambda v: (sg.sin(v[0]), v[1] * 0), (c, c[0] * 0))
    f = sg.compile(y)
    sent = threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,))
    begun = time.perf_counter()
    sent.start()
    with pytest.raises(KeyboardInterrupt):
        f.run({"c": np.ones(100_000, "f4")})
    assert time.perf_counter() - begun < 30
    sent.join()


@pytest.mark.slow
def test_explain_and_profile_say_iterations():
    outputs, feeds = scanned(5, False)
    f = sg.compile(sg.Graph(outputs))
    f.run(feeds)
    assert "loop" in f.explain()
    assert "loop" in str(f.profile(feeds, runs=1))
