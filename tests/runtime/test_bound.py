"""Feeds, and arrays for results, that are bound once."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import FeedError, OutputArrayError
from tests.runtime.native_runs import (
    OTHER_FEEDS,
    WRONG_FEEDS,
    Program,
    error_of,
    natively,
    needs_entry,
)

pytestmark = needs_entry


@pytest.fixture
def program():
    return Program()


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


def test_bound_arrays_are_written(program):
    feeds, out = program.feeds(), {"y": np.zeros((3, 5), np.float32)}
    call = program.f.bind(feeds, out)
    before = natively(program.f)
    for step in range(6):
        feeds["x"][:] = step
        results = call()
        assert results["y"] is out["y"]
        assert (out["y"] == 2 * step + program.steps + 0.5).all()
        assert results["total"] == 15 * step
        program.steps += 1
    assert natively(program.f) >= before + 5


BAD_OUT = {
    "read-only": lambda out: out["y"].setflags(write=False),
    "of another shape": lambda out: setattr(out["y"], "shape", (5, 3)),
    "of another dtype": lambda out: setattr(out["y"], "dtype", np.dtype("i4")),
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


def test_bound_arrays_that_come_to_meet_are_refused():
    x = sg.input("x", ("n",), "float32")
    f = sg.compile({"y": x * 2.0})
    memory = np.zeros(100, np.float32)
    feed, out = memory[:10], {"y": memory[10:20]}
    call = f.bind({"x": feed}, out)
    for _ in range(4):
        call()
    feed.data  # noqa: B018 - it is a buffer
    moved = memory[5:15]
    with pytest.raises(OutputArrayError, match="shares memory"):
        f.bind({"x": moved}, out)
    assert (call()["y"] == 0).all()


def test_binding_checks_what_a_run_checks(program):
    feeds = program.feeds()
    for change, error in WRONG_FEEDS.values():
        wrong = program.feeds()
        change(wrong)
        found = error_of(program.f.bind, wrong)
        assert isinstance(found, error)
        assert str(found) == str(error_of(program.f.run, wrong))
    with pytest.raises(OutputArrayError):
        program.f.bind(feeds, np.zeros(3))
    with pytest.raises(FeedError):
        program.f.bind({**feeds, "bias": program.w.store.array[:1].reshape(())})
    with pytest.raises(FeedError):
        program.f.bind(x=feeds["x"])


def test_one_array_is_bound_to_the_only_result():
    x = sg.input("x", ("n",), "float32")
    f = sg.compile(x * 2.0)
    out = np.zeros(4, np.float32)
    call = f.bind({x: np.ones(4, np.float32)}, out)
    for _ in range(4):
        assert call() is out
        assert (out == 2).all()
        out[:] = 0
    free = f.bind({"x": [1.0, 2.0]})
    for _ in range(3):
        assert free().tolist() == [2.0, 4.0]
