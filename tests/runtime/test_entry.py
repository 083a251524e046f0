"""Runs that begin and end in native code: what they take, bind, and leave to the checked path."""

import gc
import math
import os
import sys
import threading

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.compiler.runtime import executor
from staticgrad.errors import (
    FeedDTypeError,
    FeedError,
    FeedShapeError,
    IndexOutOfRange,
    MaskedArrayError,
    OutputArrayError,
    StaticgradError,
)
from staticgrad.language.storage.reservation import SETTLED
from staticgrad.native.entry import callables as native_entry
from staticgrad.native.entry.words import SMALL
from staticgrad.support import config
from tests.helpers.cases import set_in_place
from tests.safety.control_words import STATES, only_with_control_words, state

needs_entry = pytest.mark.skipif(
    not config.current().jit or native_entry.unused_references() is None,
    reason="there is no native entry",
)


class Program:
    """A step of one parameter, at any number of rows, and what it computes, by hand."""

    def __init__(self, columns=5):
        self.w = sg.parameter("w", np.zeros(columns, np.float32))
        self.x = sg.input("x", ("n", columns), "float32")
        self.bias = sg.input("bias", (), "float32")
        y = self.x * 2.0 + self.w + self.bias
        graph = sg.Graph({"y": y, "total": self.x.sum()}, {self.w: self.w + 1.0})
        self.f = sg.compile(graph)
        self.columns, self.steps = columns, 0
        self.settle()

    def feeds(self, rows=3):
        x = np.arange(rows * self.columns, dtype=np.float32).reshape(rows, self.columns)
        return {"x": x.copy(), "bias": np.array(0.5, np.float32)}

    def settle(self):
        """Run until the locks are reserved."""
        for _ in range(SETTLED):
            self.run(self.feeds())

    def run(self, feeds):
        results = self.f.run(feeds)
        x, bias = np.asarray(feeds["x"]), np.asarray(feeds["bias"])
        np.testing.assert_array_equal(results["y"], x * 2 + self.steps + bias)
        np.testing.assert_array_equal(results["total"], x.sum())
        assert [*results] == ["y", "total"]
        self.steps += 1
        assert self.f.stats.runs == self.steps
        return results


def natively(f):
    """Count the native runs."""
    entry = f._executor._entry
    return 0 if entry is None else int(entry.runs)


def error_of(call, *arguments):
    """Return the error of a call, raised at one line of this file for all callers."""
    with pytest.raises(StaticgradError) as caught:
        call(*arguments)
    return caught.value


def reshape(feeds):
    set_in_place(feeds["x"], "shape", (1, 15) if feeds["x"].shape == (3, 5) else (3, 5))


def resize(feeds):
    feeds["x"].resize((7, 5), refcheck=False)


def reread(feeds):
    set_in_place(feeds["x"], "dtype", np.dtype(">f4"))


OTHER_FEEDS = {
    "another array": lambda feeds: feeds.update(x=feeds["x"].copy()),
    "a list": lambda feeds: feeds.update(x=feeds["x"].tolist()),
    "a number": lambda feeds: feeds.update(bias=0.25),
    "float64": lambda feeds: feeds.update(x=feeds["x"].astype("f8")),
    "the other byte order": lambda feeds: feeds.update(x=feeds["x"].astype(">f4")),
    "integers": lambda feeds: feeds.update(x=feeds["x"].astype("i4")),
    "strided": lambda feeds: feeds.update(x=np.repeat(feeds["x"], 2, 0)[::2]),
    "in Fortran's order": lambda feeds: feeds.update(x=np.asfortranarray(feeds["x"])),
    "misaligned": lambda feeds: feeds.update(
        x=np.frombuffer(b"0" + feeds["x"].tobytes(), "f4", offset=1).reshape(3, 5)
    ),
    "a subclass": lambda feeds: feeds.update(x=feeds["x"].view(type("Mine", (np.ndarray,), {}))),
    "read-only": lambda feeds: feeds["x"].setflags(write=False),
    "resized": resize,
    "read in the other byte order": reread,
    "of no rows": lambda feeds: feeds.update(x=feeds["x"][:0]),
}


WRONG_FEEDS = {
    "one axis": (lambda feeds: feeds.update(x=feeds["x"][0]), FeedShapeError),
    "other columns": (reshape, FeedShapeError),
    "complex": (lambda feeds: feeds.update(x=feeds["x"] + 1j), FeedDTypeError),
    "text": (lambda feeds: feeds.update(x="text"), FeedDTypeError),
    "masked": (lambda feeds: feeds.update(x=np.ma.masked_array(feeds["x"])), MaskedArrayError),
    "missing": (lambda feeds: feeds.pop("x"), FeedError),
    "unknown": (lambda feeds: feeds.update(z=1), FeedError),
    "another name": (lambda feeds: feeds.update(z=feeds.pop("x")), FeedError),
}


pytestmark = needs_entry


@pytest.fixture
def program():
    return Program()


def test_a_run_of_what_ran_before_is_native(program):
    runs_before = natively(program.f)
    for _ in range(5):
        program.run(program.feeds())
    assert natively(program.f) == runs_before + 5
    assert (program.w.value == program.steps).all()


def test_a_program_that_runs_a_few_times_loads_no_entry(monkeypatch):
    monkeypatch.setattr(executor, "_OFTEN", 4)
    f = sg.compile(sg.input("x", (3,), "float32") * 2.0)
    for run in range(8):
        f.run({"x": np.ones(3, np.float32)})
        assert (f._executor._entry is None) == (run < 3)
    assert natively(f) == 4


@pytest.mark.parametrize("change", OTHER_FEEDS.values(), ids=OTHER_FEEDS)
def test_other_feeds_have_the_results_that_they_should(program, change):
    feeds = program.feeds()
    program.run(feeds)
    change(feeds)
    for feeds_of_run in (feeds, feeds, program.feeds()):
        program.run(feeds_of_run)
    assert (program.w.value == program.steps).all()


@pytest.mark.parametrize(("change", "error"), WRONG_FEEDS.values(), ids=WRONG_FEEDS)
def test_wrong_feeds_are_refused_as_ever(program, change, error):
    """The message is that of a program that has never run natively."""
    feeds = program.feeds()
    program.run(feeds)
    change(feeds)
    actual = error_of(program.f.run, feeds)
    assert isinstance(actual, error)
    assert str(actual) == str(error_of(sg.compile(program.f.program_graph).run, feeds))
    assert (program.w.value == program.steps).all()


def test_a_feed_in_a_parameters_memory_is_refused():
    w = sg.parameter("w", np.ones((4, 3), np.float32))
    x = sg.input("x", ("n", 3), "float32")
    f = sg.compile(sg.Graph({"y": x + 1.0}, {w: w + 1.0}))
    for _ in range(SETTLED + 2):
        f.run({"x": np.ones((2, 3), np.float32)})
    assert natively(f) > 0
    for rows in (slice(0, 2), slice(2, 4), slice(1, 3)):
        with pytest.raises(FeedError, match="shares memory with a parameter"):
            f.run({"x": w.store.array[rows]})
    f.run({"x": w.store.array[4:4]})  # no element, no memory
    assert (w.value == 1 + f.stats.runs).all()


def test_an_index_out_of_range_changes_nothing():
    w = sg.parameter("w", np.zeros(3, np.float32))
    i = sg.input("i", ("n",), "int64")
    f = sg.compile(sg.Graph({"taken": sg.take(w, i, 0)}, {w: w + 1.0}))
    good, bad = {"i": np.array([0, 2])}, {"i": np.array([0, 3])}
    expected = error_of(sg.compile(f.program_graph).run, bad)
    assert isinstance(expected, IndexOutOfRange)
    for _ in range(SETTLED + 4):
        f.run(good)
    assert natively(f) > 0
    for _ in range(3):
        value_before, runs = w.value, natively(f)
        assert str(error_of(f.run, bad)) == str(expected)
        assert (w.value == value_before).all()
        for _ in range(SETTLED + 1):
            f.run(good)
        assert natively(f) > runs


@pytest.mark.parametrize("columns", [5, SMALL])
def test_results_that_the_caller_keeps_stay_as_they_are(columns):
    program = Program(columns)
    feeds = program.feeds()
    results = [program.run(feeds)["y"] for _ in range(20)]
    for number, array in enumerate(results):
        first = program.steps - len(results) + number
        np.testing.assert_array_equal(array, feeds["x"] * 2 + first + 0.5)
    assert len({array.__array_interface__["data"] for array in results}) == len(results)
    view = results[-1][1:, ::2]
    expected = view.copy()
    del results, array
    for _ in range(5):
        program.run(feeds)
    np.testing.assert_array_equal(view, expected)


@pytest.mark.slow
@pytest.mark.usefixtures("collected_apart")
def test_nothing_is_held_and_nothing_is_lost(program):
    """References of the feeds, of None, of dtypes and dicts; native runs and refused ones."""
    feeds = program.feeds()
    bad = {**feeds, "x": feeds["x"].astype("f8")}
    watched = [*feeds.values(), *bad.values(), None, np.dtype("f4"), "y", feeds, bad]
    call = program.f.bind(feeds)
    out = {"y": np.empty((3, 5), np.float32)}
    bound = program.f.bind(feeds, out)
    for _ in range(5):
        program.f.run(feeds), program.f.run(bad), call(), bound()
    gc.collect()
    watched.append(out["y"])
    counts_before, objects = (
        [sys.getrefcount(watched_object) for watched_object in watched],
        len(gc.get_objects()),
    )
    for _ in range(50):
        program.f.run(feeds), program.f.run(bad), call(), bound()
    gc.collect()
    counts_after = [sys.getrefcount(watched_object) for watched_object in watched]
    assert max(abs(a - b) for a, b in zip(counts_after, counts_before, strict=True)) < 10
    assert len(gc.get_objects()) < objects + 10


# -- other threads --------------------------------------------------------------------------------


def test_who_reads_meanwhile_sees_whole_steps():
    """A step long enough to let others in: they find all of it written, or nothing."""
    w = sg.parameter("w", np.zeros(100_000, np.float32))
    x = sg.input("x", (100_000,), "float32")
    f = sg.compile(sg.Graph({"s": (sg.tanh(x) + w).sum()}, {w: w + 1.0}))
    feeds, done, seen = {"x": np.zeros(100_000, np.float32)}, threading.Event(), []

    def read():
        while not done.is_set():
            value = w.value
            seen.append((value == value[0]).all())
            done.wait(0.002)

    for _ in range(SETTLED):
        f.run(feeds)
    reader = threading.Thread(target=read)
    reader.start()
    while natively(f) < 200 and len(seen) < 500:
        f.run(feeds)
    done.set()
    reader.join()
    assert all(seen)
    assert (w.value == f.stats.runs).all()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_child_runs_on(program):
    """Forked while another thread runs natively: the child finds nothing under way."""
    stop = threading.Event()
    feeds = program.feeds(2000)

    def work():
        while not stop.is_set():
            program.f.run(feeds)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                value = program.w.value
                for step in range(SETTLED + 3):
                    y = program.f.run(program.feeds())["y"]
                    if (y[0, 0] != value[0] + step + 0.5) or (value != value[0]).any():
                        os._exit(1)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()


def test_a_loop_that_its_test_ends_is_native_while_it_is_short():
    """A long one is given up before any parameter is written, and runs where signals are seen."""
    w = sg.parameter("w", np.zeros(2))
    n, x = sg.input("n", (), "int64"), sg.input("x", (2,), "float64")
    last, iterations = sg.while_loop(
        lambda c: c[1] < n, lambda c: (c[0] * 0.5 + x, c[1] + 1), (x, 0)
    )
    f = sg.compile(sg.Graph({"last": last, "iterations": iterations}, {w: w + last}))
    total, feeds = np.zeros(2), {"x": np.array([1.0, 3.0]), "n": np.array(4)}

    def step(count):
        feeds["n"] = np.array(count)
        expected = feeds["x"] * (2.0 - 0.5**count)
        actual = f.run(feeds)
        assert actual["iterations"] == count
        np.testing.assert_array_equal(actual["last"], expected)
        total[:] = total + expected
        np.testing.assert_array_equal(w.value, total)

    for _ in range(SETTLED + 2):
        step(4)
    runs_before = natively(f)
    step(0)
    step(17)
    assert natively(f) == runs_before + 2
    for _ in range(3):
        step(10_000_000)
    assert natively(f) == runs_before + 2
    step(4)  # in Python, which lets the next ones be native
    step(5)
    assert natively(f) == runs_before + 3


@needs_entry
def test_a_loop_inside_of_a_loop_counts_its_own_iterations():
    """Its predicted time is no part of an iteration around it, which would be long."""
    n, x = sg.input("n", (), "int64"), sg.input("x", (200,), "float64")

    def inner(carry):
        value, number = carry
        return sg.sin(value) + x, number + 1

    def outer(carry):
        value, number = carry
        return sg.while_loop(lambda c: c[1] < number, inner, (value, 0))[0], number + 1

    y, _ = sg.while_loop(lambda c: c[1] < n, outer, (x, 0))
    f = sg.compile(sg.Graph({"y": y}))
    feeds = {"x": np.linspace(-1, 1, 200), "n": np.array(5)}
    expected = feeds["x"]
    for _ in range(0 + 1 + 2 + 3 + 4):
        expected = np.sin(expected) + feeds["x"]
    for _ in range(SETTLED + 2):
        np.testing.assert_allclose(f.run(feeds)["y"], expected, rtol=1e-12)
    runs_before = natively(f)
    f.run(feeds)
    assert natively(f) == runs_before + 1
    table = f._executor._latest
    assert table.loop_nanoseconds < 10 * 20_000  # ten iterations, each of a microsecond or two
    feeds["n"] = np.array(300)  # 45,000 iterations: given up, and run where signals are seen
    f.run(feeds)
    assert natively(f) == runs_before + 1


@needs_entry
@pytest.mark.parametrize("looped", [False, True])
def test_a_branch_that_calls_python_is_native_where_it_is_not_taken(looped):
    """A native run that comes to the call is given up before it: it is made once, in order."""
    w, x = sg.parameter("w", np.zeros(())), sg.input("x", (), "float64")
    calls = []

    def square(value):
        calls.append(float(value))
        if value > 1e6:
            raise ZeroDivisionError("too large")
        return value * value

    def body(value):
        def call():
            return sg.host_call(square, value, types=((), "float64"), name=f"square.{looped}")

        return sg.cond(value > 10, call, lambda: value + 1)

    def again(carry):
        return body(carry[0]), carry[1] + 1

    y = sg.while_loop(lambda c: c[1] < 3, again, (x, 0))[0] if looped else body(x)
    f = sg.compile(sg.Graph({"y": y}, {w: w + 1}))
    steps = 0

    def step(value):
        nonlocal steps
        steps += 1
        expected, expected_calls = value, []
        for _ in range(3 if looped else 1):
            expected_calls += [expected] if expected > 10 else []
            expected = expected**2 if expected > 10 else expected + 1
        calls.clear()
        assert f.run({"x": np.array(value)})["y"] == expected
        assert calls == expected_calls
        assert w.value == steps

    for _ in range(SETTLED + 2):
        step(1.0)
    runs_before = natively(f)
    step(2.0)
    step(-3.0)
    assert natively(f) == runs_before + 2
    values = [9.5, 8.5] if looped else [11.0, 12.0]
    step(values[0])
    step(values[1])  # what has called Python is run from Python
    assert natively(f) == runs_before + 2
    step(1.0)  # and lets the next ones be native
    step(2.0)
    assert natively(f) == runs_before + 3
    calls.clear()
    with pytest.raises(ZeroDivisionError, match="too large"):
        f.run({"x": np.array(2e6)})
    assert calls == [2e6]
    assert w.value == steps
    step(3.0)
    step(4.0)
    assert natively(f) == runs_before + 5


@pytest.mark.parametrize("change", OTHER_FEEDS.values(), ids=OTHER_FEEDS)
def test_bound_feeds_may_change_as_others(program, change):
    feeds = program.feeds()
    call = program.f.bind(feeds)
    changed = dict(feeds)
    for step in range(4):
        if step == 2:
            change(changed)  # in place, or another array, which the call does not know
        now = {name: np.array(feed) for name, feed in feeds.items()}
        results = call()
        np.testing.assert_array_equal(results["y"], now["x"] * 2 + program.steps + 0.5)
        program.steps += 1
    assert program.f.stats.runs == program.steps


BAD_OUT = {
    "read-only": lambda out: out["y"].setflags(write=False),
    "of another shape": lambda out: set_in_place(out["y"], "shape", (5, 3)),
    "of another dtype": lambda out: set_in_place(out["y"], "dtype", np.dtype("i4")),
}


@pytest.mark.parametrize("change", BAD_OUT.values(), ids=BAD_OUT)
def test_bound_arrays_that_no_longer_fit_are_refused(program, change):
    out = {"y": np.zeros((3, 5), np.float32)}
    call = program.f.bind(program.feeds(), out)
    for _ in range(3):
        call()
    change(out)
    runs = program.f.stats.runs
    with pytest.raises(OutputArrayError):
        call()
    assert program.f.stats.runs == runs
    with pytest.raises(OutputArrayError):
        program.f.bind(program.feeds(), out)


FLOATS = (0.1, -0.0, 1e300, -1e39, 1e-45, 7e-46, 1e-320, 3.4028235677973366e38, math.inf, math.nan)
INTEGERS = (0, 7, -3, 2**24 + 1, 2**53 + 1, 2**62 + 2**37 + 1, -(2**63))
SCALARS = (np.float32(0.1), np.float64(0.1), np.float64(1e300), np.float32(1e-45))


def two_numbers(dtype):
    """A two_numbers of two numbers, and the same one whose runs are all in Python."""
    a, b = sg.input("a", (), dtype), sg.input("b", (), dtype)
    graph = sg.Graph({"a": a * 1.0, "sum": a + b})
    native, checked = sg.compile(graph), sg.compile(graph)
    checked._executor._make_entry = lambda: None
    return native, checked


def same(actual, expected):
    return all(actual[name].tobytes() == expected[name].tobytes() for name in expected)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("number", [*FLOATS, *INTEGERS, *SCALARS], ids=repr)
def test_numbers_are_what_the_checked_path_makes_of_them(dtype, number):
    f, checked = two_numbers(dtype)
    feeds = {"a": number, "b": np.array(2.0, dtype)}
    for _ in range(2):
        assert same(f.run(feeds), checked.run(feeds))
    exact = type(number) is not np.float32 or dtype == "float32"
    assert natively(f) == exact  # a float32 for a float64 is left to the checked path
    assert natively(f) + f._executor._runs == f.stats.runs == 2


WHOLE = {
    "int64": (0, 7, -3, 2**53 + 1, 2**63 - 1, -(2**63), np.int64(-5)),
    "int32": (0, -1, 2**31 - 1, -(2**31), np.int32(-5)),
    "bool": (True, False, np.bool_(True), np.bool_(False)),
}


@pytest.mark.parametrize("dtype", WHOLE)
def test_integers_and_bools_begin_natively(dtype):
    a, x = sg.input("a", (), dtype), sg.input("x", (3,), dtype)
    graph = sg.Graph({"a": sg.where(x == a, x, a), "same": x == a})
    f, checked = sg.compile(graph), sg.compile(graph)
    checked._executor._make_entry = lambda: None
    for number in WHOLE[dtype]:
        feeds = {"a": number, "x": np.array([number, 0, 1], dtype)}
        for _ in range(2):
            assert same(f.run(feeds), checked.run(feeds))
    assert natively(f) == f.stats.runs - 1


@pytest.mark.parametrize(
    ("dtype", "wrong"),
    [("int32", 2**31), ("int32", -(2**31) - 1), ("int64", 2**63), ("int64", 0.5), ("bool", 1)],
)
def test_numbers_that_do_not_fit_are_refused_as_ever(dtype, wrong):
    a = sg.input("a", (), dtype)
    f = sg.compile(sg.where(a, 1.0, 2.0) if dtype == "bool" else a + 1)
    right = np.array(1, dtype).item()
    for _ in range(3):
        f.run({"a": right})
    with pytest.raises(sg.errors.FeedError):
        f.run({"a": wrong})
    f.run({"a": right})
    assert natively(f) == 3


def test_a_number_of_another_kind_is_refused_as_ever():
    f, _ = two_numbers("float32")
    for _ in range(3):
        f.run({"a": 1.0, "b": 2.0})
    runs = natively(f)
    assert runs == 2
    for wrong in (1j, "1", None, {}, np.complex64(1)):
        with pytest.raises(sg.errors.FeedError):
            f.run({"a": wrong, "b": 2.0})
    assert natively(f) == runs


@only_with_control_words
@pytest.mark.parametrize("name", STATES)
def test_conversions_do_not_go_by_the_callers_environment(name):
    f, checked = two_numbers("float32")
    feeds = {"a": 0.1, "b": 16777217}
    small = {"a": 1e-40, "b": -1e-40}
    expected, tiny = checked.run(feeds), checked.run(small)
    f.run(feeds)
    with state(STATES[name]):
        actual, least = f.run(feeds), f.run(small)
    assert same(actual, expected)
    assert same(least, tiny)
    assert natively(f) == 2 * (name == "flags raised")
