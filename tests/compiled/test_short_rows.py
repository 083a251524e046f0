"""Rows shorter than two vectors, each in a lane: equal bytes at every length, in every layout."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import IndexOutOfRange
from staticgrad.ir.forms import COMBINERS
from staticgrad.ir.kernels.stages import Map
from staticgrad.lowering.fuse import fuse
from staticgrad.types.dtype import as_dtype
from tests.diagonals import diagonals
from tests.limits import NUMPY_DTYPES

Array = np.ndarray
#: How rows of a length lie in memory, made of x [n, 3, length], or of transposed [length, 3, n].
LAYOUTS: dict[str, Callable[[sg.Value, sg.Value], sg.Value]] = {
    "one behind the other": lambda x, _: x,
    "reversed": lambda x, _: x[:, :, ::-1],
    "rows in reverse": lambda x, _: x[::-1, :, :],
    "every second element": lambda x, _: x[:, :, ::2],
    "part of longer rows": lambda x, _: x[:, :, -3:],
    "rows in turn": lambda x, _: sg.transpose(x, (1, 0, 2)),
    "across memory": lambda _, transposed: sg.transpose(transposed, (2, 1, 0)),
    "in two directions": lambda _, transposed: sg.transpose(transposed, (1, 2, 0)),
    "the same rows again": lambda x, _: sg.broadcast_to(x[:, :1, :], x.shape),
    "one element again": lambda x, _: sg.broadcast_to(x[:, :, :1], x.shape),
}
EXACT = ("sum", "max", "min")


def numbers(shape: tuple[int, ...], dtype: np.dtype, seed: int = 0) -> Array:
    """Of every sign and size, with NaN, infinities and zeros of both signs among floats."""
    random = np.random.default_rng(seed)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    found = random.integers(-99, 99, shape) * random.choice([0.25, 1.0, 37.5], shape)
    if dtype.kind not in "iu":
        strange = random.choice([np.nan, np.inf, -0.0, 0.0, 1e-3], shape)
        found = np.where(random.integers(0, 9, shape) == 0, strange, found)
    with np.errstate(all="ignore"):
        return found.astype(dtype)


def agree(graph: sg.Graph, feeds: dict[str, Array], **how: bool) -> None:
    found, wanted = sg.compile(graph, **how).run(feeds), sg.evaluate(graph, feeds)
    for name, array in wanted.items():
        assert same_bytes(np.asarray(found[name]), np.asarray(array)), name


def reduced(x: sg.Value, kind: str) -> sg.Value:
    """Over the last axis; of bools the sum is that of their numbers."""
    if kind == "sum" and x.dtype.is_bool:
        x = x.astype("int32")
    return {"sum": sg.sum, "max": sg.max, "min": sg.min}[kind](x, axis=-1)


@pytest.mark.thinned
@diagonals(2, ("length", [1, 4, 10, 17, 31]), ("layout", LAYOUTS))
def test_every_length_in_every_layout(length: int, layout: str) -> None:
    x = sg.input("x", ("n", 3, length), "float32")
    transposed = sg.input("transposed", (length, 3, "n"), "float32")
    rows = LAYOUTS[layout](x, transposed)
    outputs = {kind: reduced(rows, kind) for kind in EXACT}
    doubled = rows * 2.0
    graph = sg.Graph({**outputs, "doubled": doubled, "of doubled": reduced(doubled, "sum")})
    for n in (0, 1, 8, 33):
        array = numbers((n, 3, length), np.dtype("f4"))
        feeds = {"x": array, "transposed": np.ascontiguousarray(array.T)}
        agree(graph, {value.node.op.label: feeds[value.node.op.label] for value in graph.inputs})


@pytest.mark.slow
@pytest.mark.parametrize("dtype", NUMPY_DTYPES, ids=str)
def test_every_dtype(dtype: np.dtype) -> None:
    for length in (2, 3, 8, 9, 16, 31):
        x = sg.input("x", ("n", length), dtype)
        graph = sg.Graph({kind: reduced(x, kind) for kind in EXACT if kind in COMBINERS})
        agree(graph, {"x": numbers((45, length), as_dtype(dtype).numpy)})


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(
    shape=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    order=st.randoms(use_true_random=False),
    row=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_rows_of_several_axes_in_any_order(shape: list[int], order, row: int, seed: int) -> None:
    axes = list(range(len(shape)))
    order.shuffle(axes)
    x, y = sg.input("x", (12, *shape), "float64"), sg.input("y", (shape[-1],), "float64")
    transposed = sg.transpose(x * y, (0, *(1 + axis for axis in axes)))
    trailing = tuple(range(transposed.ndim)[-min(row, len(shape)) :])
    positive = sg.abs(transposed)
    graph = sg.Graph(
        {
            "sum": sg.sum(transposed, axis=trailing),
            "max": sg.max(positive - 1.0, axis=trailing),
            "positive": positive,
            "gradient": sg.grad((sg.sum(transposed * transposed, axis=trailing) ** 2).sum(), x),
        }
    )
    feeds = {
        "x": numbers((12, *shape), np.dtype("f8"), seed),
        "y": numbers((shape[-1],), np.dtype("f8"), seed + 1),
    }
    agree(graph, feeds)
    agree(graph, feeds, fuse=False)


def normalised(x: sg.Value, axes: tuple[int, ...]) -> dict[str, sg.Value]:
    """What takes several turns along a row: each reads what the one before found."""
    largest = sg.max(x, axis=axes, keepdims=True)
    shares = sg.abs(x - largest) / (sg.sum(sg.abs(x - largest), axis=axes, keepdims=True) + 1.0)
    centred = shares - sg.mean(shares, axis=axes, keepdims=True)
    spread = sg.sqrt(sg.sum(centred * centred, axis=axes, keepdims=True) + 0.5)
    return {"out": centred / spread, "spread": spread, "largest": sg.max(x, axis=axes) * 2.0}


@pytest.mark.slow
@diagonals(2, ("length", [2, 5, 11]), ("dtype", ["float32", "float64", "float16"]))
def test_rows_of_several_stages_are_one_map(length: int, dtype: str) -> None:
    x = sg.input("x", ("n", 3, length), dtype)
    graph = sg.Graph(normalised(x, (2,)))
    (step,) = fuse(pipeline("O1")(graph)).steps
    (stage,) = step.kernel.stages
    assert isinstance(stage, Map)
    for n in (0, 1, 33):
        array = np.nan_to_num(numbers((n, 3, length), np.dtype(dtype)), posinf=3, neginf=-3)
        agree(graph, {"x": array})
        agree(graph, {"x": array}, fuse=False)


@pytest.mark.slow
@pytest.mark.parametrize(("length", "dtype"), [(24, "float32"), (31, "float32"), (13, "float64")])
def test_rows_that_outgrow_registers_are_taken_one_by_one(length: int, dtype: str) -> None:
    x = sg.input("x", (40, length), dtype)
    array = np.nan_to_num(numbers((40, length), np.dtype(dtype)), posinf=3, neginf=-3)
    along = sg.Graph(normalised(x, (1,)))
    (step,) = fuse(pipeline("O1")(along)).steps
    assert len(step.kernel.stages) > 1
    agree(along, {"x": array})
    numbers_alone = sg.Graph({k: v for k, v in normalised(x, (1,)).items() if k != "out"})
    (step,) = fuse(pipeline("O1")(numbers_alone)).steps  # nothing waits in registers
    assert [type(stage) for stage in step.kernel.stages] == [Map]
    agree(numbers_alone, {"x": array})
    transposed = sg.input("x", (length, 40), dtype)
    across = sg.Graph(normalised(transposed.T, (1,)))
    (step,) = fuse(pipeline("O1")(across)).steps
    assert [type(stage) for stage in step.kernel.stages] == [Map]
    agree(across, {"x": np.ascontiguousarray(array.T)})


@pytest.mark.slow
@pytest.mark.parametrize(("length", "dtype"), [(4, "float32"), (10, "float32"), (4, "float64")])
def test_cross_entropy_of_few_classes_is_one_map_and_a_total(length: int, dtype: str) -> None:
    x, y = sg.input("x", (5000, length), dtype), sg.input("y", (5000,), "int64")
    loss = sg.nn.cross_entropy(x, y)
    graph = sg.Graph({"loss": loss, "slope": sg.grad(loss, x)})
    (step,) = [
        step
        for step in fuse(pipeline("O1")(graph)).steps
        if any(operand.mode == "check" for operand in step.kernel.operands)
    ]
    assert [type(stage) for stage in step.kernel.stages] == [Map]
    feeds = {
        "x": np.random.default_rng(0).normal(size=(5000, length)).astype(dtype),
        "y": np.random.default_rng(1).integers(0, length, 5000),
    }
    found, apart = sg.compile(graph).run(feeds), sg.compile(graph, fuse=False).run(feeds)
    for name, array in sg.evaluate(graph, feeds).items():
        assert same_bytes(np.asarray(found[name]), np.asarray(apart[name])), name
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-9)
    feeds["y"][[4321, 4567]] = length, -1
    with pytest.raises(IndexOutOfRange, match=f"label {length} is out of range"):
        sg.compile(graph).run(feeds)


def looked_up(x: sg.Value, other: sg.Value, at: sg.Value) -> dict[str, sg.Value]:
    """Elements picked of what rows compute and of what lies in memory, and elements that are set,
    at places that are fed and at such as the row finds."""
    largest = sg.max(x, axis=-1, keepdims=True)
    below = sg.where(x < largest, x, largest * 2.0)
    first = sg.argmin(below, axis=-1, keepdims=True)
    picked = sg.take_along_axis(below, at, axis=-1)
    return {
        "below": below - picked,
        "at first": sg.take_along_axis(x, first, axis=-1),
        "of memory": sg.take_along_axis(other, at, axis=-1) * largest,
        "set": sg.grad((sg.take_along_axis(x, at, axis=-1) * 3.0).sum(), x) * below,
    }


@pytest.mark.thinned
@diagonals(2, ("length", [2, 7, 15]), ("layout", LAYOUTS))
def test_look_ups_in_every_layout(length: int, layout: str) -> None:
    x = sg.input("x", ("n", 3, length), "float32")
    transposed = sg.input("transposed", (length, 3, "n"), "float32")
    rows = LAYOUTS[layout](x, transposed)
    places = sg.input("places", (*rows.shape[:2], 1), "int32")
    other = sg.input("other", (*rows.shape[:2], 5), "float32")
    graph = sg.Graph(looked_up(rows, other, places))
    names = {value.node.op.label for value in graph.inputs}
    random = np.random.default_rng(length)
    for n in (1, 8, 33):
        array = np.nan_to_num(numbers((n, 3, length), np.dtype("f4")), posinf=3, neginf=-3)
        feeds = {"x": array, "transposed": np.ascontiguousarray(array.T)}
        shape = LAYOUTS[layout](array, feeds["transposed"]).shape[:2]
        least = min(5, graph.outputs["below"].type.shape[-1])
        feeds["places"] = random.integers(-least, least, (*shape, 1)).astype("int32")
        feeds["other"] = random.normal(size=(*shape, 5)).astype("float32")
        agree(graph, {name: feeds[name] for name in names})


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    ("length", "dtype", "joined"),
    [(8, "float32", False), (16, "float32", True), (4, "float64", False), (8, "float64", True)],
)
def test_rows_that_fill_vectors_leave_lanes_for_sums_of_columns(
    length: int, dtype: str, joined: bool
) -> None:
    x = sg.input("x", (5000, length), dtype)
    slope = x / (sg.sum(sg.abs(x), axis=1, keepdims=True) + 1.0)
    graph = sg.Graph({"slope": slope, "columns": sg.sum(slope * x, axis=0)})
    steps = fuse(pipeline("O1")(graph)).steps
    maps = [stage for stage in steps[0].kernel.stages if isinstance(stage, Map)]
    assert (len(maps) > 1) is joined
    feeds = {"x": np.random.default_rng(0).normal(size=(5000, length)).astype(dtype)}
    agree(graph, feeds)
    agree(graph, feeds, fuse=False)


def test_several_stages_of_rows_in_two_runs() -> None:
    x, y = sg.input("x", (40, 3, 4), "float32"), sg.input("y", (40, 1, 4), "float32")
    graph = sg.Graph(normalised(sg.transpose(x * y, (0, 2, 1)), (1, 2)))
    agree(graph, {"x": numbers((40, 3, 4), np.dtype("f4")), "y": np.ones((40, 1, 4), "f4")})


def test_what_would_be_written_out_too_long_stays_apart() -> None:
    x = sg.input("x", ("n", 31), "float32")
    y = x
    for k in range(12):
        y = sg.tanh(y - sg.max(y, axis=1, keepdims=True)) + 0.1 * k
    assert 1 < len(fuse(pipeline("O1")(sg.Graph(y))).steps) <= 12


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    ("length", "dtype"), [(5, "float32"), (10, "float32"), (31, "float32"), (15, "float64")]
)
def test_positions_of_rows_in_lanes(length: int, dtype: str) -> None:
    x = sg.input("x", ("n", length), dtype)
    (step,) = fuse(pipeline("O1")(sg.Graph(sg.argmax(x, axis=1)))).steps
    assert [type(stage) for stage in step.kernel.stages] == [Map]
    graph = sg.Graph({"first": sg.argmax(x, axis=1), "last": sg.argmin(x[:, ::-1], axis=1)})
    array = np.random.default_rng(0).integers(0, 4, (50, length)).astype(dtype)
    found = sg.compile(graph).run({"x": array})
    np.testing.assert_array_equal(found["first"], array.argmax(1))
    np.testing.assert_array_equal(found["last"], array[:, ::-1].argmin(1))


@pytest.mark.parametrize("layout", ["reversed", "rows in reverse", "rows in turn", "across memory"])
def test_one_stage_and_no_copy(layout: str) -> None:
    x, transposed = sg.input("x", (40, 3, 12), "float32"), sg.input("t", (12, 3, 40), "float32")
    rows = LAYOUTS[layout](x, transposed)
    (step,) = fuse(pipeline("O1")(sg.Graph(sg.sum(sg.sqrt(rows), axis=2)))).steps
    (stage,) = step.kernel.stages
    assert isinstance(stage, Map)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("length", [17, 31])
def test_whether_any_or_all_of_a_row_hold_is_one_map(length: int) -> None:
    x = sg.input("x", (40, length), "float32")
    graph = sg.Graph({"any": sg.any(x > 0.0, axis=1), "all": sg.all(x > 0.0, axis=1)})
    (step,) = fuse(pipeline("O1")(graph)).steps
    assert [type(stage) for stage in step.kernel.stages] == [Map]
    agree(graph, {"x": numbers((40, length), np.dtype("f4"))})


def test_rows_of_two_axes_need_no_copy() -> None:
    x = sg.input("x", (40, 3, 4), "float32")
    graph = sg.Graph(sg.sum(sg.sqrt(sg.transpose(x, (0, 2, 1))), axis=(1, 2)))
    assert len(fuse(pipeline("O1")(graph)).steps) == 1


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((7, 10), "float32"), ((99, 33), "float32"), ((99, 17), "float64"), ((99, 17), "int32")],
)
def test_few_or_longer_rows_are_taken_one_by_one(shape: tuple[int, ...], dtype: str) -> None:
    x = sg.input("x", shape, dtype)
    (step,) = fuse(sg.Graph(sg.max(x, axis=1))).steps
    assert len(step.kernel.stages) == 2


@pytest.mark.parametrize("batch", [0, 3])
def test_axes_of_no_elements_around_short_rows_are_loops(batch: int) -> None:
    """Beside a named size, around which vectors lie: loops of literal extents are written out."""
    x = sg.input("x", ("m", 0, 4), "float64")
    by = sg.input("by", ("m", 1, 4), "float64")
    f = sg.compile({"sums": (x * by).sum(-1) + 1.0, "total": (x * by).sum((1, 2)) + 1.0})
    found = f.run({"x": np.ones((batch, 0, 4)), "by": np.ones((batch, 1, 4))})
    assert found["sums"].shape == (batch, 0)
    np.testing.assert_array_equal(found["total"], np.ones(batch))


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("length", "dtype"), [(12, "float32"), (27, "float32"), (15, "float64")])
def test_rows_whose_positions_are_found_stay_in_lanes_with_elements(
    length: int, dtype: str
) -> None:
    x = sg.input("x", ("n", length), dtype)
    below = sg.max(x, axis=1, keepdims=True) - x
    shares = below / (sg.sum(below, axis=1, keepdims=True) + 1.0)
    graph = sg.Graph({"shares": shares, "first": sg.argmax(x, axis=1)})
    (step,) = fuse(pipeline("O1")(graph)).steps
    assert [type(stage) for stage in step.kernel.stages] == [Map]
    for n in (1, 8, 33):
        agree(graph, {"x": np.random.default_rng(n).integers(-3, 4, (n, length)).astype(dtype)})


@pytest.mark.thinned(3)
@pytest.mark.parametrize("shape", [("n", 5), ("n", 100), (3, "n", 4), ("n", 2, 5)])
def test_one_place_in_each_row_is_looked_up_for_a_vector_of_rows(
    shape: tuple[int | str, ...],
) -> None:
    x, at = sg.input("x", shape, "float32"), sg.input("at", (*shape[:-1], 1), "int64")
    graph = sg.Graph({"picked": sg.take_along_axis(x, at, axis=-1) * 2.0})
    (step,) = fuse(pipeline("O1")(graph)).steps
    assert len(step.kernel.axes) == len(shape) - 2
    random = np.random.default_rng(0)
    for n in (0, 1, 45):
        lengths = tuple(n if size == "n" else size for size in shape)
        feeds = {
            "x": random.normal(size=lengths).astype("float32"),
            "at": random.integers(-4, 4, (*lengths[:-1], 1)),
        }
        agree(graph, feeds)
    feeds["at"].flat[[40, 44]] = lengths[-1], -1000
    with pytest.raises(IndexOutOfRange, match=f"index {lengths[-1]} is out of range") as error:
        sg.compile(graph).run(feeds)
    assert "element 40" in str(error.value)
