"""Numbers as feeds, and feeds by value, of runs in native code."""

import math

import numpy as np
import pytest

import staticgrad as sg
from tests.runtime.native_runs import natively, needs_entry
from tests.safety.mxcsr import STATES, only_x86, state

pytestmark = needs_entry
FLOATS = (0.1, -0.0, 1e300, -1e39, 1e-45, 7e-46, 1e-320, 3.4028235677973366e38, math.inf, math.nan)
INTEGERS = (0, 7, -3, 2**24 + 1, 2**53 + 1, 2**62 + 2**37 + 1, -(2**63))
SCALARS = (np.float32(0.1), np.float64(0.1), np.float64(1e300), np.float32(1e-45))


def program(dtype):
    """A program of two numbers, and the same one whose runs are all in Python."""
    a, b = sg.input("a", (), dtype), sg.input("b", (), dtype)
    graph = sg.Graph({"a": a * 1.0, "sum": a + b})
    native, checked = sg.compile(graph), sg.compile(graph)
    checked._executor._make_entry = lambda: None
    return native, checked


def same(found, wanted):
    return all(found[name].tobytes() == wanted[name].tobytes() for name in wanted)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("number", [*FLOATS, *INTEGERS, *SCALARS], ids=repr)
def test_numbers_are_what_the_checked_path_makes_of_them(dtype, number):
    f, checked = program(dtype)
    feeds = {"a": number, "b": np.array(2.0, dtype)}
    for _ in range(2):
        assert same(f.run(feeds), checked.run(feeds))
    exact = type(number) is not np.float32 or dtype == "float32"
    assert natively(f) == exact  # a float32 for a float64 is left to the checked path
    assert natively(f) + f._executor._runs == f.stats.runs == 2


BEYOND = (2**64, -(2**63) - 1)
OTHERS = (True, *BEYOND, np.int64(3), np.float16(0.5), np.bool_(True), np.array(0.1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_arrays_and_others_take_turns(dtype):
    f, checked = program(dtype)
    every = (*FLOATS, *OTHERS, *INTEGERS, *SCALARS, np.array(0.25, dtype), np.array(3))
    for turn in range(3):
        for number, b in zip(every, every[turn + 1 :] + every[: turn + 1], strict=True):
            feeds = {"a": number, "b": b}
            try:
                wanted = checked.run(feeds)
            except sg.errors.FeedError as error:
                with pytest.raises(type(error)):
                    f.run(feeds)
                continue
            assert same(f.run(feeds), wanted)
    assert natively(f) > 0


def test_a_number_of_another_kind_is_refused_as_ever():
    f, _ = program("float32")
    for _ in range(3):
        f.run({"a": 1.0, "b": 2.0})
    runs = natively(f)
    assert runs == 2
    for wrong in (1j, "1", None, {}, np.complex64(1)):
        with pytest.raises(sg.errors.FeedError):
            f.run({"a": wrong, "b": 2.0})
    assert natively(f) == runs


def test_a_loop_may_change_its_rate():
    w = sg.parameter("w", np.ones(3, np.float32))
    rate, step = sg.input("rate", (), "float32"), sg.input("step", (), "float32")
    f = sg.compile(sg.Graph({"w": w}, {w: w - rate * step}))
    wanted = np.ones(3, np.float32)
    for number in range(60):
        assert (f.run({"rate": 0.5, "step": number})["w"] == wanted).all()
        wanted -= np.float32(0.5 * number)
    assert natively(f) > 40


def test_numbers_are_bound():
    a, x = sg.input("a", (), "float32"), sg.input("x", ("n",), "float32")
    f = sg.compile(a * x)
    feed, out = np.ones(5, np.float32), np.zeros(5, np.float32)
    for call in (f.bind({"a": 0.1, "x": feed}), f.bind({"a": 0.1, "x": feed}, out)):
        before = natively(f) if f.stats.runs else 0
        for number in range(6):
            feed[:] = number
            assert (call() == np.float32(0.1) * np.float32(number)).all()
        assert natively(f) >= before + 5


def test_feeds_by_value_are_found():
    a, x = sg.input("a", (), "float32"), sg.input("x", ("n",), "float32")
    f = sg.compile(a * x)
    data = np.arange(5, dtype=np.float32)
    forms = [{a: 2.0, x: data}, {"a": 2.0, x: data}, {x: data, "a": 2.0}]
    for feeds in forms * 2:
        assert (f.run(feeds) == 2 * data).all()
    before = natively(f)
    for feeds in forms * 2:
        assert (f.run(feeds) == 2 * data).all()
    assert natively(f) == before + 6
    for wrong in ({a: 2.0, "a": 2.0, x: data}, {a: 2.0, sg.input("x", ("n",), "float32"): data}):
        with pytest.raises(sg.errors.FeedError):
            f.run(wrong)


@only_x86
@pytest.mark.parametrize("name", STATES)
def test_conversions_do_not_go_by_the_callers_environment(name):
    f, checked = program("float32")
    feeds = {"a": 0.1, "b": 16777217}
    small = {"a": 1e-40, "b": -1e-40}
    wanted, tiny = checked.run(feeds), checked.run(small)
    f.run(feeds)
    with state(STATES[name]):
        found, least = f.run(feeds), f.run(small)
    assert same(found, wanted)
    assert same(least, tiny)
    assert natively(f) == 2 * (name == "flags raised")
