"""Loops that end by a test, some trips at a time, beside the driver's trips and the evaluator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from passes.loops import tested_trips
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import IndexOutOfRange
from staticgrad.ir.body_step import BodyStep
from staticgrad.ir.kernel_stages import Loop

Program = tuple[dict[str, sg.Value], dict[str, Any]]


def root() -> Program:
    """Newton's method, the number of steps, and the gradient by a number that it ends with."""
    a = sg.input("a", (), "float64")
    last, trips = sg.while_loop(
        lambda c: abs(c[0] * c[0] - a) > 1e-12,
        lambda c: ((c[0] + a / c[0]) * 0.5, c[1] + 1),
        (sg.asarray(3.0), 0),
    )
    return {"last": last, "trips": trips}, {"a": np.array(2.0)}


def bounded() -> Program:
    """No more trips than ``most``; a derivative of as many; integers and truths."""
    x = sg.input("x", (3,), "float64")
    v, odd, k = sg.while_loop(
        lambda c: c[0].sum() < 100.0,
        lambda c: (c[0] * 1.5 + x, ~c[1], c[2] * 3 % 7),
        (x, True, 1),
        most=11,
    )
    return {"v": v, "odd": odd, "k": k, "dx": sg.grad(v.sum(), x)}, {"x": np.full(3, 0.01)}


def undefined_behind_the_end() -> Program:
    """A root of a number below 0, and a division by zero, in the trip that is not made."""
    x = sg.input("x", (), "float64")
    v, k = sg.while_loop(
        lambda c: c[0] > 0.5, lambda c: (sg.sqrt(c[0] - 0.5), 12 // (c[1] - 1)), (x, 4)
    )
    return {"v": v, "k": k}, {"x": np.array(0.9)}


def by_number() -> Program:
    """Nested loops, and the number of the trip that ``fori_loop`` counts inside."""
    x = sg.input("x", (2,), "float32")

    def body(carry: Any) -> Any:
        inner = sg.fori_loop(0, 3, lambda i, s: s * 0.5 + x * i, carry[0])
        return inner, carry[1] + 1

    v, k = sg.while_loop(lambda c: c[1] < 21, body, (x, 0))
    return {"v": v, "k": k}, {"x": np.array([0.3, 0.7], np.float32)}


def never() -> Program:
    """No trip at all."""
    x = sg.input("x", (), "float64")
    v = sg.while_loop(lambda v: v > 5.0, lambda v: v - 1.0, x)
    return {"v": v}, {"x": np.array(3.0)}


PROGRAMS: dict[str, Callable[[], Program]] = {
    each.__name__: each for each in (root, bounded, undefined_behind_the_end, by_number, never)
}


def is_stretched(f: sg.CompiledFunction) -> bool:
    """Whether the body of some ``while`` is a loop in one kernel."""
    loops = [s for s in f.schedule.steps if isinstance(s, BodyStep) and s.kind == "while"]
    return any(
        isinstance(stage, Loop)
        for loop in loops
        for kernel in loop.schedules[1].kernels
        for stage in kernel.stages
    )


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("count", [1, 8])
def test_some_trips_have_the_bytes_of_single_ones(
    name: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, feeds = PROGRAMS[name]()
    graph = sg.Graph(outputs)
    monkeypatch.setattr(tested_trips, "_TRIPS", count)
    monkeypatch.setattr(tested_trips, "_LONGEST", 1.0)
    f = sg.compile(graph)
    assert is_stretched(f)
    found, wanted = f.run(feeds), sg.evaluate(graph, feeds)
    for key, array in found.items():
        np.testing.assert_allclose(array, wanted[key], rtol=1e-6, err_msg=key)
        assert np.isfinite(array).all()
    for way in ({"fuse": False}, {"debug": True}, {"debug": "nan"}, {"threads": 2}):
        other = sg.compile(graph, **way).run(feeds)
        assert all(same_bytes(other[key], array) for key, array in found.items())
    with sg.options(jit=False):
        other = sg.compile(graph).run(feeds)
        assert all(same_bytes(other[key], array) for key, array in found.items())


def test_a_body_that_checks_an_index_makes_single_trips() -> None:
    x, n = sg.input("x", (5,), "float64"), sg.input("n", (), "int64")
    _, total = sg.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] + x[c[0]]), (0, 0.0))
    f = sg.compile({"total": total})
    assert not is_stretched(f)
    assert f.run({"x": np.arange(5.0), "n": np.array(5)})["total"] == 10.0
    with pytest.raises(IndexOutOfRange):
        f.run({"x": np.arange(5.0), "n": np.array(6)})


def test_long_trips_are_single() -> None:
    x = sg.input("x", (40,), "float64")
    f = sg.compile(sg.while_loop(lambda v: v.max() < 50.0, lambda v: v * 1.5 + 1.0, x))
    assert not is_stretched(f)
    np.testing.assert_array_equal(f.run({"x": np.full(40, 40.0)}), np.full(40, 61.0))
