"""A sort of which a few elements are read is a selection: the same elements and gradients."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.late.orders import select_few
from passes.pipelines import pipeline
from staticgrad.language.ops.sorting import OrderStatistic, Sort, TopK
from tests.compiled.agreement import assert_same
from tests.compiled.ways import numbers

DTYPES = ["float32", "float64", "float16", "bfloat16", "int64", "uint8", "bool"]
WAYS = ({"threads": 1}, {"threads": 2}, {"fuse": False}, {"backend": "numba"})


def elements(shape, dtype):
    """Numbers of which some are equal, with NaN and both zeros among floats."""
    if dtype == "bfloat16":
        return np.asarray(sg.evaluate(sg.astype(sg.constant(elements(shape, "float32")), dtype)))
    return numbers(shape, dtype)


@st.composite
def reads(draw):
    """An array, an axis of it, and parts of that axis that are read of a sort."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    axis = draw(st.integers(0, len(shape) - 1))
    shape = (*shape[:axis], draw(st.sampled_from([1, 2, 7, 60, 300])), *shape[axis + 1 :])
    first = st.one_of(st.just(0), st.integers(0, shape[axis] - 1))
    pairs = draw(st.lists(st.tuples(first, st.integers(1, 6)), min_size=1, max_size=4))
    parts = [slice(k, min(k + count, shape[axis])) for k, count in pairs]
    return shape, axis, parts


@settings(max_examples=60, deadline=None)
@given(reads(), st.sampled_from(DTYPES))
def test_elements_positions_and_gradients_are_those_of_a_stable_sort(reads, dtype):
    shape, axis, parts = reads
    array = elements(shape, dtype)
    order = np.argsort(array.astype("float64"), axis, kind="stable")
    x, outputs, expected = sg.input("x", shape, dtype), {}, {}
    slope, loss = np.zeros(shape), 0.0
    for number, cut in enumerate(parts):
        key = (*(slice(None),) * axis, cut)
        outputs |= {f"x{number}": sg.sort(x, axis)[key], f"k{number}": sg.argsort(x, axis)[key]}
        positions = order[key]
        expected |= {
            f"x{number}": np.take_along_axis(array, positions, axis),
            f"k{number}": positions,
        }
        if x.dtype.is_float:
            loss = loss + (sg.sort(x, axis)[key] * (number + 1.0)).sum()
            more = np.take_along_axis(slope, positions, axis) + (number + 1.0)
            np.put_along_axis(slope, positions, more, axis)
    if x.dtype.is_float:
        outputs["slope"], expected["slope"] = sg.grad(loss, x), slope.astype(array.dtype)
    graph = pipeline("O1")(sg.Graph(outputs))
    assert_same(sg.evaluate(select_few(graph), {"x": array}), expected)


@pytest.mark.parametrize(
    ("read", "op"),
    [
        (lambda x: sg.sort(x)[:, 40], OrderStatistic),
        (lambda x: sg.partition(x, -1)[:, -9:], OrderStatistic),
        (lambda x: sg.partition(x, 20)[:, :20], TopK),
        (lambda x: (sg.sort(x)[:, 99] + sg.sort(x)[:, 100]) * 0.5, OrderStatistic),
    ],
)
def test_no_row_is_sorted_in_values_and_gradients(read, op):
    x = sg.input("x", (3, 200), "float32")
    value = read(x)
    graph = sg.Graph({"value": value, "slope": sg.grad((value * value).sum(), x)})
    selected = select_few(graph.without_dead_nodes())
    assert not selected.has(Sort)
    assert selected.has(op)
    array = numbers((3, 200), "float32")
    sorted_rows = sg.compile(graph, disable=["few-of-a-sort"]).run({"x": array})
    for way in WAYS:
        assert_same(sg.compile(graph, **way).run({"x": array}), sorted_rows, str(way))


@pytest.mark.parametrize(
    "read",
    [
        lambda x: sg.sort(x),
        lambda x: {"sorted": sg.sort(x), "few": sg.sort(x)[:, :2]},
        lambda x: sg.sort(x)[:, ::2],
        lambda x: sg.sort(x)[:, :60],
        lambda x: sg.sort(x)[:, 2] + sg.sort(x).sum(1),
        lambda x: sg.sort(x, descending=True)[:, 2],
        lambda x: sg.sort(x)[:, :0],
    ],
)
def test_other_reads_keep_the_sort(read):
    graph = pipeline("O1")(sg.Graph(read(sg.input("x", (3, 200), "float32"))))
    assert select_few(graph) is graph


def test_parts_of_a_long_row_of_which_only_one_begins_it():
    """The smallest elements are a prefix of the row; others that are read beside them are not."""
    array = np.random.default_rng(0).normal(size=(3, 400))
    order = np.argsort(array, 1)
    x = sg.input("x", (3, 400), "float64")
    parts = (slice(0, 3), slice(10, 12), slice(-1, None), slice(0, 1))
    values = [sg.sort(x)[:, part] for part in parts]
    loss = sum((value * value).sum() for value in values)
    graph = sg.Graph({"slope": sg.grad(loss, x), **{f"y{k}": y for k, y in enumerate(values)}})
    out, slope = sg.compile(graph).run({"x": array}), np.zeros((3, 400))
    for number, part in enumerate(parts):
        elements = np.sort(array)[:, part]
        np.testing.assert_array_equal(out[f"y{number}"], elements)
        for row in range(3):
            slope[row, order[row, part]] += 2.0 * elements[row]
    np.testing.assert_allclose(out["slope"], slope, rtol=1e-15)


def test_the_middle_of_rows_of_an_open_length():
    """Both indices of the middle are equal in odd rows: an element gets two cotangents."""
    n = sg.dim("n")
    x = sg.input("x", (2, n), "float64")
    middle = (sg.sort(x)[:, (n - 1) // 2] + sg.sort(x)[:, n // 2]) * 0.5
    graph = sg.Graph({"value": middle, "slope": sg.grad(middle.sum(), x)})
    assert not select_few(graph).has(Sort)
    program = sg.compile(graph)
    for size in (1, 2, 9, 10, 700):
        array = np.random.default_rng(size).normal(size=(2, size))
        actual = program.run({"x": array})
        np.testing.assert_array_equal(actual["value"], np.median(array, 1))
        slope = np.zeros_like(array)
        order = np.argsort(array, 1)
        for row in range(2):
            slope[row, order[row, (size - 1) // 2]] += 0.5
            slope[row, order[row, size // 2]] += 0.5
        np.testing.assert_array_equal(actual["slope"], slope)


@pytest.mark.parametrize(
    "key", [slice(0, 9, 4), slice(1, 8, 3), slice(9, 0, -4), slice(150, 160, 9)]
)
def test_elements_of_a_sort_with_steps_between_them(key):
    """Beside NumPy, values and gradients: the elements are not the adjacent ones."""
    x = sg.input("x", (3, 160), "float64")
    elements = sg.sort(x)[:, key]
    weights = np.arange(1.0, 1.0 + elements.shape[1])
    slope = sg.grad((elements * weights).sum(), x)
    array = np.random.default_rng(0).normal(size=(3, 160))
    results = sg.compile({"elements": elements, "slope": slope}).run({"x": array})
    np.testing.assert_array_equal(results["elements"], np.sort(array)[:, key])
    expected = np.zeros((3, 160))
    np.put_along_axis(expected, np.argsort(array)[:, key], weights, 1)
    np.testing.assert_array_equal(results["slope"], expected)
