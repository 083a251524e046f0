"""Groups of one signature are lowered once, and to the kernel that each would have got alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings

import passes.lowering.signatures
import staticgrad as sg
from passes.fuse import fuse
from passes.fusion.copies import with_copies
from passes.fusion.merging import fused
from passes.lowering.operands import Lowered
from passes.lowering.signatures import Lowerings
from passes.lowering.stages import lower_group
from passes.pipelines import pipeline
from tests.passes.golden_models import MODELS
from tests.random_graphs import graphs


def trained(loss: sg.Value, weights: list[sg.Parameter]) -> sg.Graph:
    updates = {w: w - 0.1 * d for w, d in zip(weights, sg.grad(loss, weights), strict=True)}
    return sg.Graph({"loss": loss}, updates)


def residual_blocks(count: int) -> sg.Graph:
    """x + gelu(layer_norm(x) @ w), ``count`` times, each with weights of its own."""
    x = sg.input("x", ("batch", 8))
    weights = [sg.parameter(f"w{n}", np.eye(8, dtype="f4")) for n in range(count)]
    value: sg.Value = x
    for w in weights:
        value = value + sg.nn.gelu(sg.nn.layer_norm(value) @ w)
    return trained(sg.square(value).mean(), weights)


def recurrence(count: int) -> sg.Graph:
    """tanh(x[t] @ w + h @ u) at ``count`` times; every time reads x from another offset."""
    x = sg.input("x", (count, "batch", 4))
    w, u = sg.parameter("w", np.ones((4, 8), "f4")), sg.parameter("u", np.eye(8, dtype="f4"))
    h = sg.tanh(x[0] @ w)
    for time in range(1, count):
        h = sg.tanh(x[time] @ w + h @ u)
    return trained(sg.square(h).mean(), [w, u])


def check_groups(graph: sg.Graph, merge: bool = True) -> None:
    groups = with_copies(fused(graph, merge)).groups
    lowerings = Lowerings()
    for _ in range(2):  # the second time all is known
        for group in groups.all:
            assert lowerings.lower(groups, group) == lower_group(groups, group)


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_shared_is_what_each_group_would_get(name: str, merge: bool) -> None:
    check_groups(pipeline("O1")(MODELS[name]()), merge)


@given(graphs())
@settings(max_examples=60)
def test_what_is_shared_is_what_each_group_of_a_random_graph_would_get(drawn: object) -> None:
    graph, _ = drawn  # type: ignore[misc]
    for merge in (True, False):
        check_groups(graph, merge)


def lowered_groups(graph: sg.Graph, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many groups were lowered while the graph was fused."""
    count = 0

    def counting(*given: object) -> Lowered:
        nonlocal count
        count += 1
        return lower_group(*given)  # type: ignore[arg-type]

    shorter = pipeline("O1")(graph)
    with monkeypatch.context() as patch:
        patch.setattr(passes.lowering.signatures, "lower_group", counting)
        schedule = fuse(shorter)
    assert len({id(step.kernels()[0]) for step in schedule.steps}) == len(schedule.kernels)
    return count


@pytest.mark.parametrize("make", [residual_blocks, recurrence])
def test_repeated_parts_are_lowered_once(
    make: Callable[[int], sg.Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = (lowered_groups(make(n), monkeypatch) for n in (4, 12))
    assert many == few


def test_what_differs_in_one_size_one_constant_or_one_operand_is_lowered_by_itself() -> None:
    x, y = sg.input("x", ("n", 4), "float64"), sg.input("y", ("n", 5), "float64")
    values = {
        "a": sg.tanh(x) + 1.0,
        "b": sg.tanh(x) + 2.0,
        "c": sg.tanh(y) + 1.0,
        "d": sg.tanh(x) + x,
        "e": sg.tanh(x) + x[::-1],
        "zero": x * 0.0,
        "minus zero": x * -0.0,
    }
    graph = sg.Graph(values)
    check_groups(graph, merge=True)
    feeds = {"x": np.arange(12.0).reshape(3, 4), "y": np.arange(15.0).reshape(3, 5)}
    found, wanted = sg.compile(graph, pipeline="").run(feeds), sg.evaluate(graph, feeds)
    for name in values:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-14)
    assert not np.signbit(found["zero"]).any()
    assert np.signbit(found["minus zero"]).all()
