"""Backward groups that need nothing but a forward group's elements are one kernel with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.ir.schedule import Schedule
from staticgrad.lowering.fuse import fuse


def scheduled(outputs: dict[str, Any], updates: Any = None) -> Schedule:
    return fuse(pipeline("O1")(sg.Graph(outputs, updates=updates or {})))


def x_and_y(*shape: Any) -> tuple[sg.Value, sg.Value]:
    return sg.input("x", shape, "float64"), sg.input("y", shape, "float64")


def test_a_sum_of_elements_and_its_gradients_are_one_kernel() -> None:
    x, y = x_and_y("n")
    loss = (sg.exp(x * y) * sg.sin(x)).sum()
    dx, dy = sg.grad(loss, [x, y])
    schedule = scheduled({"loss": loss, "dx": dx, "dy": dy})
    assert len(schedule.steps) == 1
    assert not [buffer for buffer in schedule.buffers if buffer.in_arena]


def test_second_derivatives_join_as_well() -> None:
    x, y = x_and_y("n")
    loss = (sg.exp(x) * x).sum()
    schedule = scheduled({"loss": loss, "dx": sg.grad(loss, x), "hvp": sg.hvp(loss, x, y)})
    assert len(schedule.steps) == 1


def test_what_waits_for_the_total_stays_apart() -> None:
    x, _ = x_and_y("n")
    loss = sg.log(sg.exp(x).sum())
    schedule = scheduled({"loss": loss, "dx": sg.grad(loss, x)})
    assert [step.phase for step in schedule.steps if len(step.kernel.stages) == 1][-1] == 1
    assert len(schedule.steps) > 1


def test_what_is_read_elsewhere_is_stored_as_before() -> None:
    """The slope of tanh waits for a product of tanh: one array crosses, and two would be worse."""
    x, y = x_and_y("n", 8)
    h = sg.tanh(x)
    loss = sg.square(h @ y[:8]).sum()
    schedule = scheduled({"loss": loss, "dx": sg.grad(loss, x)})
    forward = next(step for step in schedule.steps if "tanh" in step.label)
    assert sum(operand.mode == "out" for operand in forward.kernel.operands) == 1


def test_neighbours_are_no_elements() -> None:
    """Elements at other places than the reader's must lie in memory."""
    x, _ = x_and_y("n")
    h = sg.tanh(x)
    loss = (h * h[::-1]).sum()
    outputs = {"loss": loss, "dx": sg.grad(loss, x)}
    feeds = {"x": np.linspace(-1, 1, 37)}
    found = sg.compile(outputs).run(feeds)
    wanted = sg.compile(outputs, fuse=False).run(feeds)
    assert len(scheduled(outputs).steps) > 1
    assert all(same_bytes(found[name], array) for name, array in wanted.items())


def test_updates_keep_their_place_behind_all_readers() -> None:
    w = sg.parameter("w", np.linspace(-1, 1, 40))
    loss = (sg.tanh(w) * w).sum()
    step = sg.Graph({"loss": loss}, updates={w: w - 0.1 * sg.grad(loss, w)})
    start, found = w.value, []
    for options in ({}, {"fuse": False}):
        w.value = start
        f = sg.compile(step, **options)  # type: ignore[arg-type]
        found.append([f.run()["loss"] for _ in range(3)] + [w.value])
    assert all(same_bytes(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("shape", [("n",), ("n", 3), (4, "n", 2)])
def test_the_bytes_are_those_of_single_kernels(shape: tuple[Any, ...]) -> None:
    x, y = x_and_y(*shape)
    loss = (sg.tanh(x * y) + sg.where(x > y, sg.exp(x), y * y)).mean()
    outputs = {"loss": loss, "dx": sg.grad(loss, x), "dy": sg.grad(loss, y), "h": x * y}
    rng = np.random.default_rng(0)
    array = [17 if extent == "n" else extent for extent in shape]
    feeds = {"x": rng.normal(size=array), "y": rng.normal(size=array)}
    found = sg.compile(outputs).run(feeds)
    wanted = sg.compile(outputs, fuse=False).run(feeds)
    assert all(same_bytes(found[name], value) for name, value in wanted.items())
