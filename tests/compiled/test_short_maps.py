"""Maps and copies whose last axes are short: a row in each lane, to the bytes of the evaluator."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import Map, Store
from staticgrad.lowering.copies import MOST_DEALT
from staticgrad.lowering.fuse import fuse
from staticgrad.lowering.short_rows import MOST_PLACES
from staticgrad.types.dtype import as_dtype
from tests.compiled.test_short_rows import numbers
from tests.diagonals import diagonals
from tests.limits import NUMPY_DTYPES

Value = sg.Value


def picked(x: Value, count: int) -> list[Value]:
    """The elements of the last axis, each as a value."""
    return [x[..., k] for k in range(count)]


def placed(value: Value, place: int, count: int) -> Value:
    """Zeros, and a value at one place of a new last axis."""
    return sg.pad(value[..., None], [(0, 0)] * value.ndim + [(place, count - place - 1)])


#: Values of the shape of x [..., n]; ``last`` has its last axis alone, ``row`` all others.
PROGRAMS: dict[str, Callable[[Value, Value, Value], Value]] = {
    "scaled rows": lambda x, row, last: x * row[..., None],
    "scaled columns": lambda x, row, last: x * last + row[..., None],
    "repeated": lambda x, row, last: sg.broadcast_to(row[..., None], x.shape),
    "outer": lambda x, row, last: row[..., None] * last,
    "parts": lambda x, row, last: reduce(
        sg.add, [placed(v * row, k, x.shape[-1]) for k, v in enumerate(picked(x, x.shape[-1]))]
    ),
    "two parts": lambda x, row, last: (
        placed(row, 0, x.shape[-1]) + placed(x[..., 0], x.shape[-1] - 1, x.shape[-1])
    ),
    "shifted": lambda x, row, last: (
        sg.pad(x[..., 1:], [(0, 0)] * (x.ndim - 1) + [(1, 0)]) + row[..., None]
    ),
    "reversed": lambda x, row, last: x[..., ::-1] * row[..., None],
    "marked": lambda x, row, last: sg.where(sg.arange(x.shape[-1]) == 1, x, row[..., None]),
    "transposed": lambda x, row, last: sg.swapaxes(x, 0, 1).reshape(x.shape) + row[..., None],
}  # fmt: skip


def kernels(outputs: dict[str, Value]) -> list[Kernel]:
    graph = sg.Graph(outputs)
    return [step.kernel for step in fuse(pipeline("O1")(graph)).steps]  # type: ignore[union-attr]


def differing(graph: sg.Graph, feeds: dict[str, np.ndarray]) -> list[str]:
    """The results whose bytes are not the evaluator's."""
    found, wanted = sg.compile(graph).run(feeds), sg.evaluate(graph, feeds)
    return [name for name, array in wanted.items() if not same_bytes(found[name], array)]


def stores(kernel: Kernel) -> int:
    """The stores of a kernel of one map."""
    (stage,) = kernel.stages
    assert isinstance(stage, Map)
    return sum(isinstance(statement, Store) for statement in stage.body)


@pytest.mark.thinned
@diagonals(2, ("program", PROGRAMS), ("length", [2, 3, 5, 8, 9]), ("dtype", ["float32", "float64"]))
def test_every_length_in_every_program(program: str, length: int, dtype: str) -> None:
    x = sg.input("x", ("m", "k", length), dtype)
    row, last = sg.input("row", ("m", "k"), dtype), sg.input("last", (length,), dtype)
    graph = sg.Graph({"y": PROGRAMS[program](x, row, last)})
    names = [value.node.op.label for value in graph.inputs]
    for m, k in ((1, 1), (3, 7), (2, 16), (5, 33)):
        shapes = {"x": (m, k, length), "row": (m, k), "last": (length,)}
        feeds = {name: numbers(shape, np.dtype(dtype), m) for name, shape in shapes.items()}
        assert differing(graph, {name: feeds[name] for name in names}) == []


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([dtype for dtype in NUMPY_DTYPES if dtype != np.bool_]),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.integers(1, 40),
    st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_any_short_axes(dtype: np.dtype, short: list[int], n: int, kept: list[bool]) -> None:
    """Axes of an operand that are broadcast are one long; all others are those of the whole."""
    shape = (n, *short)
    part = tuple(size if keep else 1 for size, keep in zip(shape, kept, strict=False))
    x, y = sg.input("x", shape, dtype.name), sg.input("y", part, dtype.name)
    graph = sg.Graph({"sum": x + y, "copy": sg.broadcast_to(y, shape).reshape(-1)})
    feeds = {"x": numbers(shape, dtype, n), "y": numbers(part, dtype, n + 1)}
    assert differing(graph, feeds) == []


def test_rows_in_lanes_have_a_store_for_each_element() -> None:
    x = sg.input("x", (100, 2, 3), "float32")
    (kernel,) = kernels({"y": x * x[:, :1, :1]})
    assert stores(kernel) == 6
    (kernel,) = kernels({"y": sg.broadcast_to(x[:, :, None, :], (100, 2, 4, 3)).reshape(-1)})
    assert stores(kernel) == 4 * 3
    for length, many in ((5, True), (MOST_PLACES, False), (100, False)):
        x, row = sg.input("x", (100, length), "float32"), sg.input("row", (100, 1), "float32")
        (kernel,) = kernels({"y": x * row})
        assert (kernel.stages[-1].body[-1].access.positions != ()) or not many  # type: ignore[union-attr]
    x = sg.input("x", (3, 2), "float32")  # few rows
    (kernel,) = kernels({"y": x * x[:, :1]})
    assert stores(kernel) == 1


def test_parts_are_chosen_when_kernels_are_made() -> None:
    """A gradient of elements that are picked compares no positions."""
    x = sg.input("x", (1000, 2, 2), "float64")
    loss = (x[:, 0, 0] * x[:, 1, 1] - x[:, 0, 1] * x[:, 1, 0]).sum()
    made = kernels({"slope": sg.grad(loss, x)})
    assert not any("lt" in str(kernel) or "ge" in str(kernel) for kernel in made)
    assert max(stores(kernel) for kernel in made) == math.prod((2, 2))
    assert as_dtype("float64").lanes >= 4


@pytest.mark.thinned(4)
@diagonals(
    2, ("side", [2, 3, 5, MOST_DEALT, MOST_DEALT + 1]), ("dtype", ["float32", "float64", "int8"])
)
def test_neighbours_are_dealt_out(side: int, dtype: str) -> None:
    """Images of blocks of channels and back, whatever the sizes around: pixels in, pixels out."""
    shape = ("n", 3, "h", side, "w", side)
    x = sg.input("x", shape, dtype)
    deep = sg.transpose(x, (0, 1, 3, 5, 2, 4))
    f = sg.compile(sg.Graph({"deep": deep, "wide": sg.transpose(deep, (0, 1, 4, 2, 5, 3)) + 0}))
    for n, h, w in ((2, 3, 16), (1, 5, 33), (0, 2, 2), (2, 1, 1), (1, 2, 7)):
        array = numbers((n, 3, h, side, w, side), np.dtype(dtype))
        found = f.run({"x": array})
        assert same_bytes(found["deep"], array.transpose(0, 1, 3, 5, 2, 4))
        assert same_bytes(found["wide"], array + np.zeros((), dtype))


def test_pairs_are_read_as_whole_vectors() -> None:
    x = sg.input("x", (4, 3, 16, 2, 16, 2), "float32")
    (kernel,) = sg.compile(sg.Graph({"y": sg.transpose(x, (0, 1, 3, 5, 2, 4))})).kernels
    assert "load_strided" not in kernel.source


@pytest.mark.parametrize("threads", [1, 3])
def test_short_rows_of_several_axes(threads: int) -> None:
    """They begin wherever a worker does."""
    shape = (7, 5, 11, 16)
    x, y = sg.input("x", ("n", *shape[1:]), "float32"), sg.input("y", (5, 1, 1, 16), "float32")
    f = sg.compile(sg.Graph({"z": sg.transpose(x, (1, 0, 2, 3)) * y}), threads=threads)
    for n in (0, 1, 7, 900):
        feeds = {
            "x": numbers((n, *shape[1:]), np.dtype("float32")),
            "y": numbers((5, 1, 1, 16), np.dtype("float32"), 1),
        }
        with np.errstate(invalid="ignore"):
            expected = feeds["x"].transpose(1, 0, 2, 3) * feeds["y"]
        assert same_bytes(f.run(feeds)["z"], expected)
