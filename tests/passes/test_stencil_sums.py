"""Sums of shifted slices and their gradients are one kernel, which reads the array once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.fusion.merging import LONG_ROW, PIECE
from staticgrad.lowering.fuse import fuse
from tests.diagonals import diagonals

LENGTH = sg.dim("length", hint=LONG_ROW)
FORMS: dict[str, Callable[[Any], Any]] = {
    "difference": lambda x: ((x[1:] - x[:-1]) ** 2).sum(),
    "second difference": lambda x: ((x[2:] - 2.0 * x[1:-1] + x[:-2]) ** 2).mean(),
    "valley": lambda x: (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum(),
    "absolute": lambda x: sg.abs(x[3:] - x[:-3]).sum(),
}


def both(form: Callable[[Any], Any], x: Any) -> sg.Graph:
    value = form(x)
    return sg.Graph({"value": value, "slope": sg.grad(value, x)})


def totals(graph: sg.Graph) -> list[str]:
    return [str(step.total) for step in fuse(pipeline("O1")(graph)).steps]


@pytest.mark.parametrize("form", FORMS)
def test_value_and_gradient_are_one_kernel(form: str) -> None:
    short = totals(both(FORMS[form], sg.input("x", (5000,))))
    assert len([total for total in short if total != "1"]) == 0
    long = totals(both(FORMS[form], sg.input("x", (4 * LONG_ROW,))))
    assert long[0] == str(4 * LONG_ROW // PIECE), "pieces, which workers share"
    assert set(long[1:]) <= {"1"}


def test_two_axes_are_one_kernel_and_one_that_adds_up_rows() -> None:
    x = sg.input("x", (60, 50))
    value = ((x[1:] - x[:-1]) ** 2).sum() + ((x[:, 1:] - x[:, :-1]) ** 2).sum()
    assert len(totals(sg.Graph({"value": value, "slope": sg.grad(value, x)}))) == 2


def test_a_gradient_that_needs_the_sum_waits_for_it() -> None:
    """Then the sum goes over its own elements: going over more would spare nothing."""
    x = sg.input("x", (5000,))
    found = both(lambda x: sg.log(FORMS["difference"](x) + 1.0), x)
    sums = [n for n in pipeline("O1")(found).nodes if n.op.name == "sum"]
    assert [node.args[0].shape for node in sums] == [(4999,)]
    kernels = [step.kernel for step in fuse(pipeline("O1")(found)).steps]
    assert not any("-0.0" in str(kernel) for kernel in kernels)


@pytest.mark.thinned
@diagonals(2, ("form", FORMS), ("dtype", ["float32", "float64", "float16"]))
def test_bytes_are_those_of_single_kernels(form: str, dtype: str) -> None:
    """Ends of vectors, blocks and pieces, in front of the last term and behind it; no term."""
    graph = both(FORMS[form], sg.input("x", (LENGTH,), dtype))
    ways = [sg.compile(graph, threads=n) for n in (1, 3)]
    alone = sg.compile(graph, fuse=False)
    for length in (3, 4, 17, 4097, 4098, PIECE + 1, PIECE + 3, 3 * PIECE + 40):
        array = np.random.default_rng(length).normal(size=length).astype(dtype)
        array[: length // 4] = -0.0
        wanted = alone.run({"x": array})
        for f in ways:
            found = f.run({"x": array})
            assert all(same_bytes(found[name], each) for name, each in wanted.items()), length


def test_a_sum_of_no_terms_is_zero() -> None:
    graph = both(FORMS["difference"], sg.input("x", (LENGTH,)))
    found = sg.compile(graph).run({"x": np.ones(1, "f4")})
    assert same_bytes(found["value"], np.zeros((), "f4"))
    assert same_bytes(found["slope"], np.zeros(1, "f4"))


@pytest.mark.thinned(3)
@diagonals(2, ("along", [0, 1, 2]), ("axes", [None, (1, 2), (0, 2), 0, -1]))
def test_sums_have_their_bytes_whichever_axis_is_cut(along: int, axes: Any) -> None:
    """Terms that are added within a row of several axes would move those behind them."""
    x = sg.input("x", (5, 9, 33), "float64")
    rest: tuple[slice, ...] = (slice(None),) * along
    total = ((x[*rest, 1:] - x[*rest, :-1]) ** 2).sum(axis=axes)
    graph = sg.Graph({"total": total, "slope": sg.grad(total.sum(), x)})
    feeds = {"x": np.random.default_rng(along).normal(size=(5, 9, 33))}
    found, wanted = sg.compile(graph).run(feeds), sg.evaluate(graph, feeds)
    assert [name for name in wanted if not same_bytes(found[name], wanted[name])] == []


def test_differences_show_that_the_values_are_right() -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(1.0, 0.3, 300)
    for form in ("difference", "second difference", "valley"):
        f = sg.compile(both(FORMS[form], sg.input("x", (300,), "float64")))
        found, along = f.run({"x": array}), rng.normal(size=300)
        ends = [f.run({"x": array + h * along})["value"] for h in (1e-5, -1e-5)]
        slope = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(np.dot(found["slope"], along), slope, rtol=1e-6)
        np.testing.assert_allclose(found["value"], FORMS[form](array).astype("f8"), rtol=1e-12)


@pytest.mark.parametrize(("taps", "again"), [(3, True), (7, False)])
def test_long_formulas_are_not_computed_for_many_pads(taps: int, again: bool) -> None:
    """The gradient of a filter of seven taps would read 49 elements for each of its own."""
    x = sg.input("x", (64, 64), "float32")
    filtered = sum(x[:, k : k + 65 - taps] * (0.1 * (k + 1)) for k in range(taps))
    loss = (filtered**2).sum()
    graph = pipeline("O1")(sg.Graph({"loss": loss, "slope": sg.grad(loss, x)}))
    loads = [str(step.kernel).count("load") for step in fuse(graph).steps]
    assert (max(loads) >= taps * taps) == again
    feeds = {"x": np.random.default_rng(0).normal(size=(64, 64)).astype("float32")}
    found, wanted = sg.compile(graph).run(feeds), sg.evaluate(graph, feeds)
    assert all(same_bytes(found[name], wanted[name]) for name in wanted)
