"""Rows shorter than two vectors, each in a lane: equal bytes at every length, in every layout."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.errors import IndexOutOfRange
from staticgrad.language.ir.forms import COMBINERS
from staticgrad.language.ir.kernels.stages import Store
from tests.compiled.ways import check, drawn, kernels, numbers, stages
from tests.helpers.diagonals import diagonals
from tests.helpers.limits import NUMPY_DTYPES

#: How rows of a length lie in memory, made of x [n, 3, length], or of transposed [length, 3, n].
LAYOUTS = {
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
ALONE = ()


def reduce_rows(x, kind):
    """Over the last axis; of bools the sum is that of their numbers."""
    if kind == "sum" and x.dtype.is_bool:
        x = x.astype("int32")
    return {"sum": sg.sum, "max": sg.max, "min": sg.min}[kind](x, axis=-1)


def looked_up(x, table, at):
    """Elements picked of what rows compute and of what lies in memory, and elements that are set,
    at places that are fed and at such as the row finds."""
    largest = sg.max(x, axis=-1, keepdims=True)
    below = sg.where(x < largest, x, largest * 2.0)
    first = sg.argmin(below, axis=-1, keepdims=True)
    return {
        "below": below - sg.take_along_axis(below, at, axis=-1),
        "at first": sg.take_along_axis(x, first, axis=-1),
        "of memory": sg.take_along_axis(table, at, axis=-1) * largest,
        "set": sg.grad((sg.take_along_axis(x, at, axis=-1) * 3.0).sum(), x) * below,
    }


def laid_out(layout, length, *sizes):
    """Rows in a layout, and feeds for so many of them."""
    x = sg.input("x", ("n", 3, length), "float32")
    transposed = sg.input("transposed", (length, 3, "n"), "float32")
    rows = LAYOUTS[layout](x, transposed)
    arrays = [numbers((n, 3, length), "f4") for n in sizes]
    (name,) = (leaf.node.op.label for leaf in sg.Graph(rows).inputs)
    return rows, [{name: a if name == "x" else np.ascontiguousarray(a.T)} for a in arrays]


@pytest.mark.thinned
@diagonals(2, ("length", [1, 4, 10, 17, 31]), ("layout", LAYOUTS))
def test_every_length_in_every_layout(length, layout):
    rows, feeds = laid_out(layout, length, 0, 1, 8, 33)
    outputs = {kind: reduce_rows(rows, kind) for kind in EXACT}
    doubled = rows * 2.0
    check(
        {**outputs, "doubled": doubled, "of doubled": reduce_rows(doubled, "sum")},
        *feeds,
        ways=ALONE,
    )


@pytest.mark.thinned
@diagonals(2, ("length", [2, 7, 15]), ("layout", LAYOUTS))
def test_look_ups_in_every_layout(length, layout):
    rows, feeds = laid_out(layout, length, 1, 8, 33)
    places = sg.input("places", (*rows.shape[:2], 1), "int32")
    table = sg.input("table", (*rows.shape[:2], 5), "float32")
    graph = sg.Graph(looked_up(rows, table, places))
    random, least = np.random.default_rng(length), min(5, int(rows.shape[2]))
    for arrays in feeds:
        ((name, array),) = arrays.items()
        arrays[name] = np.nan_to_num(array, posinf=3, neginf=-3)
        shape = LAYOUTS[layout](arrays[name], arrays[name]).shape[:2]
        arrays["places"] = random.integers(-least, least, (*shape, 1)).astype("int32")
        arrays["table"] = random.normal(size=(*shape, 5)).astype("float32")
    check(graph, *feeds, ways=ALONE)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", NUMPY_DTYPES, ids=str)
def test_every_dtype(dtype):
    for length in (2, 3, 8, 9, 16, 31):
        x = sg.input("x", ("n", length), dtype)
        outputs = {kind: reduce_rows(x, kind) for kind in EXACT if kind in COMBINERS}
        check(outputs, {"x": numbers((45, length), x.dtype.numpy)}, ways=ALONE)


# -- which rows stand in lanes ---------------------------------------------------------------------


def normalize(x, axes=(-1,)):
    """Take several passes along a row: each reads the result of the previous one."""
    largest = sg.max(x, axis=axes, keepdims=True)
    shares = sg.abs(x - largest) / (sg.sum(sg.abs(x - largest), axis=axes, keepdims=True) + 1.0)
    centred = shares - sg.mean(shares, axis=axes, keepdims=True)
    spread = sg.sqrt(sg.sum(centred * centred, axis=axes, keepdims=True) + 0.5)
    return {"out": centred / spread, "spread": spread, "largest": sg.max(x, axis=axes) * 2.0}


def with_positions(x):
    below = sg.max(x, axis=1, keepdims=True) - x
    shares = below / (sg.sum(below, axis=1, keepdims=True) + 1.0)
    return {"shares": shares, "first": sg.argmax(x, axis=1)}


def with_columns(x):
    slope = x / (sg.sum(sg.abs(x), axis=1, keepdims=True) + 1.0)
    return {"slope": slope, "columns": sg.sum(slope * x, axis=0)}


def extremes(x):
    return {"first": sg.argmax(x, axis=1), "last": sg.argmin(x[:, ::-1], axis=1)}


def numbers_alone(x):
    """Nothing of a row waits in registers."""
    return {name: value for name, value in normalize(x).items() if name != "out"}


PROGRAMS = {
    "normalised": normalize,
    "normalised across memory": lambda x: normalize(x.T),
    "numbers of rows": numbers_alone,
    "positions beside elements": with_positions,
    "positions": extremes,
    "sums of columns": with_columns,
    "any": lambda x: sg.any(x > 0.0, axis=1),
    "all": lambda x: sg.all(x > 0.0, axis=1),
    "two axes transposed": lambda x: sg.sum(sg.abs(sg.transpose(x, (0, 2, 1))), (1, 2)),
    "largest": lambda x: sg.max(x, axis=1),
    **{
        way: lambda x, layout=layout: layout(sg.abs(x), sg.abs(x.T)).sum(2)
        for way, layout in LAYOUTS.items()
    },
}
#: Program, dtype, shapes whose rows stand in lanes, and shapes whose rows do not.
ROWS = [
    ("normalised", "float32", [("n", 3, 2), ("n", 3, 5), ("n", 3, 11)], [(40, 24), (40, 31)]),
    ("normalised", "float64", [("n", 3, 2), ("n", 3, 5), ("n", 3, 11)], [(40, 13)]),
    ("normalised", "float16", [("n", 3, 2), ("n", 3, 5), ("n", 3, 11)], []),
    ("normalised across memory", "float32", [(24, 40), (31, 40)], []),
    ("normalised across memory", "float64", [(13, 40)], []),
    ("numbers of rows", "float32", [(40, 24), (40, 31)], []),
    ("numbers of rows", "float64", [(40, 13)], []),
    ("positions beside elements", "float32", [("n", 12), ("n", 27)], []),
    ("positions beside elements", "float64", [("n", 15)], []),
    ("positions", "float32", [("n", 5), ("n", 10), ("n", 31)], []),
    ("positions", "float64", [("n", 15)], []),
    ("any", "float32", [("n", 17), ("n", 31)], []),
    ("all", "float32", [("n", 17), ("n", 31)], []),
    ("two axes transposed", "float32", [(40, 3, 4)], []),
    *(
        (way, "float32", [(40, 3, 12)], [])
        for way in ("reversed", "rows in reverse", "rows in turn", "across memory")
    ),
    ("largest", "float32", [], [(7, 10), (99, 33)]),  # few rows, and longer ones
    ("largest", "float64", [], [(99, 17)]),
    ("largest", "int32", [], [(99, 17)]),
    ("sums of columns", "float32", [(5000, 8)], [(5000, 16)]),  # whose rows fill vectors
    ("sums of columns", "float64", [(5000, 4)], [(5000, 8)]),
]


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    ("name", "dtype", "shape", "in_lanes"),
    [
        (name, dtype, shape, shape in inside)
        for name, dtype, inside, others in ROWS
        for shape in (*inside, *others)
    ],
    ids=str,
)
def test_rows_stand_in_lanes(name, dtype, shape, in_lanes):
    graph = sg.Graph(PROGRAMS[name](sg.input("x", shape, dtype)))
    feeds = [drawn(graph, n, n=n) for n in ((0, 1, 8, 33) if "n" in shape else (1,))]
    for arrays in feeds:
        arrays["x"] = (np.round(arrays["x"] * 2) / 2).astype(dtype)  # many are equal
    check(graph, *feeds, ways=({"fuse": False},))
    assert (stages(graph)[0] == "Map") == in_lanes


@pytest.mark.parametrize("batch", [0, 3])
def test_axes_of_no_elements_around_short_rows_are_loops(batch):
    """Beside a named size, around which vectors lie: loops of literal extents are written out."""
    x, by = sg.input("x", ("m", 0, 4), "float64"), sg.input("by", ("m", 1, 4), "float64")
    f = sg.compile({"sums": (x * by).sum(-1) + 1.0, "total": (x * by).sum((1, 2)) + 1.0})
    actual = f.run({"x": np.ones((batch, 0, 4)), "by": np.ones((batch, 1, 4))})
    assert actual["sums"].shape == (batch, 0)
    np.testing.assert_array_equal(actual["total"], np.ones(batch))


@pytest.mark.thinned(3)
@pytest.mark.parametrize("shape", [("n", 5), ("n", 100), (3, "n", 4), ("n", 2, 5)])
def test_one_place_in_each_row_is_looked_up_for_a_vector_of_rows(shape):
    x, at = sg.input("x", shape, "float32"), sg.input("at", (*shape[:-1], 1), "int64")
    graph = sg.Graph({"picked": sg.take_along_axis(x, at, axis=-1) * 2.0})
    (kernel,) = kernels(graph)
    assert len(kernel.axes) == len(shape) - 2
    feeds = [drawn(graph, n=n) for n in (0, 1, 45)]
    for arrays in feeds:
        arrays["at"] -= 2
    f = check(graph, *feeds, ways=ALONE)
    feeds[-1]["at"].flat[[40, 44]] = shape[-1], -1000
    with pytest.raises(IndexOutOfRange, match=rf"(?s)index {shape[-1]} is out.*element 40"):
        f.run(feeds[-1])


# -- maps and copies whose last axes are short -----------------------------------------------------


def place_at(value, place, count):
    """Zeros, and a value at one place of a new last axis."""
    return sg.pad(value[..., None], [(0, 0)] * value.ndim + [(place, count - place - 1)])


#: Values of the shape of x [..., n]; ``last`` has its last axis alone, ``row`` all others.
MAPS = {
    "scaled rows": lambda x, row, last: x * row[..., None],
    "scaled columns": lambda x, row, last: x * last + row[..., None],
    "repeated": lambda x, row, last: sg.broadcast_to(row[..., None], x.shape),
    "outer": lambda x, row, last: row[..., None] * last,
    "parts": lambda x, row, last: reduce(
        sg.add, [place_at(x[..., k] * row, k, x.shape[-1]) for k in range(x.shape[-1])]
    ),
    "two parts": lambda x, row, last: (
        place_at(row, 0, x.shape[-1]) + place_at(x[..., 0], x.shape[-1] - 1, x.shape[-1])
    ),
    "shifted": lambda x, row, last: (
        sg.pad(x[..., 1:], [(0, 0)] * (x.ndim - 1) + [(1, 0)]) + row[..., None]
    ),
    "reversed": lambda x, row, last: x[..., ::-1] * row[..., None],
    "marked": lambda x, row, last: sg.where(sg.arange(x.shape[-1]) == 1, x, row[..., None]),
    "transposed": lambda x, row, last: sg.swapaxes(x, 0, 1).reshape(x.shape) + row[..., None],
}  # fmt: skip


@pytest.mark.thinned
@diagonals(2, ("name", MAPS), ("length", [2, 3, 5, 8, 9]), ("dtype", ["float32", "float64"]))
def test_every_length_in_every_map(name, length, dtype):
    x = sg.input("x", ("m", "k", length), dtype)
    row, last = sg.input("row", ("m", "k"), dtype), sg.input("last", (length,), dtype)
    graph = sg.Graph({"y": MAPS[name](x, row, last)})
    names, feeds = [value.node.op.label for value in graph.inputs], []
    for m, k in ((1, 1), (3, 7), (2, 16), (5, 33)):
        shapes = {"x": (m, k, length), "row": (m, k), "last": (length,)}
        feeds.append({name: numbers(shapes[name], dtype, m) for name in names})
    check(graph, *feeds, ways=ALONE)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([dtype for dtype in NUMPY_DTYPES if dtype != np.bool_]),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.integers(1, 40),
    st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_any_short_axes(dtype, short, n, are_full):
    """Axes of an operand that are broadcast are one long; all others are those of the whole."""
    shape = (n, *short)
    part = tuple(size if keep else 1 for size, keep in zip(shape, are_full, strict=False))
    x, y = sg.input("x", shape, dtype.name), sg.input("y", part, dtype.name)
    outputs = {"sum": x + y, "copy": sg.broadcast_to(y, shape).reshape(-1)}
    check(outputs, {"x": numbers(shape, dtype, n), "y": numbers(part, dtype, n + 1)}, ways=ALONE)


def stores(outputs):
    """The most stores of a kernel of one map."""
    return max(
        sum(isinstance(statement, Store) for statement in stage.body)
        for kernel in kernels(outputs)
        for stage in kernel.stages
    )


# -- rows that fill half of a vector at most -------------------------------------------------------


@pytest.mark.thinned(3)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
def test_half_vectors_have_the_bytes_of_the_evaluator(dtype):
    sources = ""
    for width in (3, 7, 8):
        x = sg.input("x", (2, 3, 4, width + 1), dtype)
        y = sg.nn.max_pool(x, (3, 2), stride=1, padding=((1, 1), (0, 0)))
        f = check({"y": y}, {"x": np.nan_to_num(numbers(x.shape, dtype))}, ways=({"threads": 2},))
        sources += "".join(kernel.source for kernel in f.kernels)
