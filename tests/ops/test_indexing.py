"""Indexing against NumPy: ``x[...]``, ``x.at[key]``, take, scatter_add, one_hot; refusals."""

import pickle

import numpy as np
import pytest
from hypothesis import given, strategies as st

import staticgrad as sg
from staticgrad.autodiff.reverse import grad
from staticgrad.eager import Tensor
from staticgrad.errors import (
    ArgumentError,
    AxisError,
    DTypeError,
    IndexOutOfRange,
    RankError,
    ShapeError,
    SizeGuardError,
)
from staticgrad.language.ops.indexing import ScatterIntoAlong, Take, TakeAlong
from staticgrad.language.ops.positions import Iota
from staticgrad.language.types.dtype import I64
from tests.ops.graphs import op_names, run, run_all
from tests.ops.messages import assert_each_refused, assert_refused


def test_duplicates_are_added_in_index_order(rng):
    x = (rng.normal(size=(50, 3)) * 10.0 ** rng.integers(-4, 5, (50, 1))).astype(np.float32)
    places = rng.integers(0, 4, 50)
    expected = np.zeros((4, 3), np.float32)
    for place, row in zip(places, x, strict=True):
        expected[place] += row
    actual = run(sg.scatter_add(x, places, 4))
    assert actual.tobytes() == expected.tobytes()
    reordered = run(sg.scatter_add(x[::-1].copy(), places[::-1].copy(), 4))
    assert reordered.tobytes() != expected.tobytes(), "the order could not be seen"


def test_take_along_axis_broadcasts_and_adds_duplicates(rng):
    array, places = rng.normal(size=(3, 4, 5)), rng.integers(-4, 4, (3, 2, 1))
    x, rows = sg.input("x", ("n", 4, 5), "float64"), sg.input("rows", ("n", 2, 1), "int64")
    y = sg.take_along_axis(x, rows, axis=1)
    feeds = {"x": array, "rows": places}
    np.testing.assert_array_equal(run(y, feeds), np.take_along_axis(array, places, 1))
    counts = (places % 4 == np.arange(4)).sum(axis=1)  # how often each row is read
    slopes = run(sg.grad(y.sum(), x), feeds)
    np.testing.assert_array_equal(slopes, np.repeat(counts[:, :, None], 5, axis=2))
    flat = run(np.take_along_axis(x, np.array([7, -1]), axis=None), {"x": array})
    np.testing.assert_array_equal(flat, np.take_along_axis(array, np.array([7, -1]), None))
    few = run(sg.take_along_axis(array[:1], places, axis=1))
    np.testing.assert_array_equal(few, np.take_along_axis(array[:1], places, 1))
    x = sg.input("x", (2, 3), "float64")
    part = sg.take_along_axis(x, np.array([[0, 0, 2], [1, -2, 1]]))
    derivative = grad((part * part).sum(), x)
    actual = run(derivative, {"x": [[1.0, 2, 3], [4, 5, 6]]})
    np.testing.assert_array_equal(actual, [[4, 0, 6], [0, 30, 0]])


@pytest.mark.parametrize(("index", "fits"), [(3, False), (-4, False), (2, True), (-3, True)])
def test_the_ends_of_an_axis(index, fits):
    array = np.array([1.0, 2.0, 3.0])
    values = [
        sg.take(sg.constant(array), index),
        sg.scatter_add(sg.constant([1.0]), np.array([index]), 3),
        sg.take_along_axis(sg.constant(array), np.array([index])),
        ScatterIntoAlong(0, 3)(np.array([1.0]), np.array([index])),
    ]
    for value in values:
        if fits:
            assert run(value).size
        else:
            with assert_refused(
                IndexOutOfRange, f"index {index} is out of range for an axis of size 3"
            ):
                run(value)


def test_the_first_index_outside_is_named():
    places = np.array([[0, 1], [9, -7], [8, 0]])
    with assert_refused(
        IndexOutOfRange, "index 9", "element 2 of the indices", "from -3 to 2", line="part = "
    ):
        part = sg.take(np.arange(3.0), places)
        run(part)
    with assert_refused(IndexOutOfRange, "index 18446744073709551615"):
        run(sg.take(np.arange(3.0), np.array([2**64 - 1], np.uint64)))
    with assert_refused(IndexOutOfRange, "size 0", "empty"):
        run(sg.take(np.zeros((0, 2)), np.array([0]), 0))


def test_without_wrapping_a_negative_index_is_outside():
    array, places = np.array([[1.0, 2.0]]), np.array([[-1]])
    assert run(TakeAlong(1)(array, places)) == 2
    with assert_refused(IndexOutOfRange, "label -1", "2 classes", "from 0 to 1"):
        run(TakeAlong(1, wrap=False)(array, places))
    with assert_refused(IndexOutOfRange, "label -1"):
        run(ScatterIntoAlong(1, 2, wrap=False)(np.array([[1.0]]), places))


def test_refusals():
    x = sg.input("x", (3, 4))
    assert_each_refused(
        (DTypeError, "take", "not float64", "x f32[3, 4]", lambda: sg.take(x, [0.5])),
        (DTypeError, "not bool", lambda: sg.take(x, [True], 0)),
        (AxisError, "no axis 2", lambda: sg.take(x, [0], 2)),
        (RankError, "no axis 5", lambda: Take(5)(x, np.array([0]))),
        (DTypeError, "indices are integers", lambda: sg.take_along_axis(x, np.ones((3, 1)))),
        (RankError, "different numbers of axes", lambda: sg.take_along_axis(x, [0])),
        (ShapeError, "axis 0 has size 3", "2 in the indices",
         lambda: sg.take_along_axis(x, np.zeros((2, 1), int))),
    )  # fmt: skip
    named = sg.take_along_axis(sg.input("n", ("n", 2), "float64"), np.zeros((2, 1), int))
    with assert_refused(SizeGuardError, "axis 0 has size n", "n = 3"):
        run(named, {"n": np.ones((3, 2))})
    assert_each_refused(
        (ShapeError, "has size 3 where the indices", lambda: sg.scatter_add(x, [0, 1], 5)),
        (DTypeError, "bools", lambda: sg.scatter_add(np.array([True]), [0], 1)),
        (AxisError, "no axis", lambda: sg.scatter_add(x, [0, 1, 2], 5, axis=2)),
        (ShapeError, "negative", lambda: sg.scatter_add(x, [0, 1, 2], -5)),
        (ShapeError, lambda: ScatterIntoAlong(0, 3)(np.ones((2, 1)), np.zeros((1, 1), int))),
    )


def test_iota_counts_along_its_axis():
    np.testing.assert_array_equal(run(sg.iota((2, 3), 0)), [[0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(run(sg.iota((2, 3))), [[0, 1, 2], [0, 1, 2]])
    assert run(sg.iota(3, dtype="float32")).dtype == np.float32
    np.testing.assert_array_equal(run(sg.iota(260, dtype="uint8"))[-4:], [0, 1, 2, 3])
    x = sg.input("x", ("n",), "float64")
    np.testing.assert_array_equal(run(x + sg.iota(x.shape), {"x": np.zeros(3)}), [0, 1, 2])
    assert_each_refused(
        (RankError, "no axis", lambda: sg.iota((2, 3), 2)),
        (RankError, "no axis -1", lambda: Iota((), -1, I64)()),
    )


def test_one_hot():
    actual = run(sg.one_hot(np.array([[0, 2], [1, -1]]), 3))
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual, [[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 0, 0]]])
    labels = sg.input("labels", ("n",), "uint8")
    wide = sg.one_hot(labels, sg.dim("classes", min=1), dtype="int32")
    assert wide.shape == (sg.dim("n"), sg.dim("classes", min=1))
    assert run(sg.one_hot(np.array([250], np.uint8), 300, "bool"))[0, 250]
    with assert_refused(DTypeError, "one_hot", "float64", line="sg.one_hot([0.5], 3)"):
        sg.one_hot([0.5], 3)
    with assert_refused(ArgumentError, "not an integer"):
        sg.one_hot([1], 3.5)


bounds = st.none() | st.integers(-8, 8)
steps = st.none() | st.integers(-4, 4).filter(bool)
slices = st.builds(slice, bounds, bounds, steps)


@st.composite
def keys(draw, shape):
    """An index of an array of ``shape``: integers, slices, None, ..., index arrays that meet."""
    items = []
    rank = draw(st.integers(0, len(shape)))
    count = draw(st.integers(1, 3))
    for size in shape[:rank]:
        kinds = [slices]
        if size:
            kinds.append(st.integers(-size, size - 1))
        if size:
            kinds.append(st.lists(st.integers(-size, size - 1), min_size=count, max_size=count))
            kinds.append(st.just(np.array([[0], [-1]])))
        items.append(draw(st.one_of(kinds)))
    if draw(st.booleans()):  # the end of the axes, counted from the back
        items.append(Ellipsis)
        if draw(st.booleans()) and rank < len(shape):
            items.append(draw(slices))
    for _ in range(draw(st.integers(0, 2))):
        items.insert(draw(st.integers(0, len(items))), None)
    return tuple(items)


@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple), data=st.data())
def test_as_numpy(shape, data):
    key = data.draw(keys(shape))
    array = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    expected = array[key]
    actual = run(sg.constant(array)[key])
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual, expected)


@given(first=slices, second=slices, sizes=st.lists(st.integers(0, 9), min_size=2, max_size=2))
def test_slices_of_named_sizes(first, second, sizes):
    x = sg.input("x", ("n", "m"), "float64")
    array = np.arange(np.prod(sizes), dtype=np.float64).reshape(sizes)
    part, expected = x[first, second], array[first, second]
    alone = [
        count == 0 for size, count in zip(part.shape, expected.shape, strict=True) if size == 1
    ]
    if any(alone):  # the one place is not there
        with pytest.raises(SizeGuardError):
            run(part, {"x": array})
    else:
        np.testing.assert_array_equal(run(part, {"x": array}), expected)


#: A slice -> the place that it holds alone, and the smallest size that has it.
ALONE = [
    (slice(1), 0, 1), (slice(-1, None), -1, 1), (slice(0, 1), 0, 1), (slice(0, 1, 1), 0, 1),
    (slice(2, 3), 2, 3), (slice(-3, -2), -3, 3), (slice(-1, None, 2), -1, 1),
    (slice(2, 4, 2), 2, 3), (slice(0, None, -1), 0, 1), (slice(None, -2, -1), -1, 1),
    (slice(3, 2, -1), 3, 4),
    (slice(-1, -3, -2), -1, 1), (slice(None, 3, 5), 0, 1),
]  # fmt: skip


@pytest.mark.parametrize(("key", "place", "least"), ALONE, ids=lambda item: str(item))
def test_a_slice_of_one_place_of_a_named_size_has_the_literal_size_1(key, place, least, rng):
    x = sg.input("x", ("b", "t"), "float64")
    part = x[:, key]
    assert part.shape == (x.shape[0], 1)
    loss = ((x - part) ** 2).sum()
    graph = sg.Graph({"part": part, "loss": loss, "dx": sg.grad(loss, x)})
    assert sg.same_graph(sg.parse(str(graph)), graph)
    assert sg.same_graph(pickle.loads(pickle.dumps(graph)), graph)
    f = sg.compile(graph)
    for sizes in ((2, least), (0, least), (1, least + 1), (3, least + 4)):
        array = rng.normal(size=sizes)
        actual = f.run({"x": array})
        np.testing.assert_array_equal(actual["part"], array[:, key])
        away = array - array[:, [place]]
        expected = 2 * away
        expected[:, place] -= 2 * away.sum(1)
        np.testing.assert_allclose(actual["dx"], expected, atol=1e-12)
        tape = Tensor(array, requires_grad=True, dtype="float64")
        ((tape - tape[:, key]) ** 2).sum().backward()
        np.testing.assert_allclose(tape.grad, actual["dx"], atol=1e-12)
    with assert_refused(
        SizeGuardError, "out of range for axis 1 of size t", f"t = {least - 1}", "x[:1]",
        line="part = x[:, key]",
    ):  # fmt: skip
        f.run({"x": np.ones((2, least - 1))})


def test_slices_of_one_place_and_sizes_of_others():
    x = sg.input("x", ("t",), "float64")
    assert x[::-1][:1].shape == x[1:][:1].shape == (1,)
    np.testing.assert_array_equal(run(x[::-1][:1], {"x": [1.0, 2.0]}), [2.0])
    k = sg.dim("k")
    assert x[k : k + 1].shape == (1,)
    y = sg.input("y", (sg.dim("n", min=3),), "float64")
    for part in (y[:1], y[-1:], y[2:3], y[-3:-2]):
        assert sg.Graph(part).guards == ()
    assert np.squeeze(y[:1]).shape == ()
    np.testing.assert_array_equal(run(x.at[:1].set(5.0), {"x": [1.0, 2.0]}), [5.0, 2.0])
    n = sg.dim("n", min=1)
    x = sg.input("x", (n, 6))
    assert x[1:].shape == x[:-1].shape == (n - 1, 6)
    assert x[::-1].shape == (n, 6)
    assert x[:, 2:4].shape == (n, 2)
    assert x[::2].shape == ((n + 1) // 2, 6)
    assert sg.input("y", (sg.dim("m", min=5),))[:5].shape == (5,)
    for part in (x[1:] - x[:-1], x[::-1], x[0], x[-1]):
        assert sg.Graph(part).guards == ()
    x = sg.input("x", ("n",), "float64")
    step = x[1:] - x[:-1]
    for size in (0, 1, 2, 7):
        array = np.arange(size, dtype=np.float64) ** 2
        np.testing.assert_array_equal(run(step, {"x": array}), np.diff(array))
    n = sg.dim("n", min=2)
    x = sg.input("x", (n,), "float64")
    array = np.arange(6.0)
    assert run(x[n - 2], {"x": array}) == 4
    np.testing.assert_array_equal(run(x[: n // 2], {"x": array}), array[:3])
    np.testing.assert_array_equal(run(x[n // 2 :], {"x": array}), array[3:])
    x = sg.input("x", ("n", 3))
    assert x[:] is x
    assert x[...] is x
    assert x[:, 0:] is x
    assert x[()] is x


@pytest.mark.parametrize(
    "key", [slice(3), slice(-2, None), slice(2), slice(-1, 5), slice(-2, None, 2)]
)
def test_longer_slices_clip(key):
    x = sg.input("x", ("t",), "float64")
    for size in (0, 1, 2, 5, 9):
        array = np.arange(float(size))
        np.testing.assert_array_equal(run(x[key], {"x": array}), array[key])


@given(key=slices, bound=st.integers(0, 3), more=st.integers(0, 4))
def test_a_promise_about_a_size_is_used_and_kept(key, bound, more):
    x = sg.input("x", (sg.dim("n", min=bound),), "float64")
    array = np.arange(bound + more, dtype=np.float64)
    if x[key].shape == (1,) and not array[key].size:
        with pytest.raises(SizeGuardError):
            run(x[key], {"x": array})
    else:
        np.testing.assert_array_equal(run(x[key], {"x": array}), array[key])


def test_indices_known_in_the_run():
    x = sg.input("x", ("n", 3), "float64")
    at = sg.input("at", ("k",), "int64")
    scalar = sg.input("one", (), "int32")
    array = np.arange(12.0).reshape(4, 3)
    feeds = {"x": array, "at": [3, -1, 0], "one": -2}
    np.testing.assert_array_equal(run(x[at], feeds), array[[3, -1, 0]])
    np.testing.assert_array_equal(run(x[1:, at - at], feeds), array[1:, [0, 0, 0]])
    np.testing.assert_array_equal(run(x[scalar], feeds), array[-2])
    np.testing.assert_array_equal(run(x[at, ..., 1], feeds), array[[3, -1, 0], 1])
    with assert_refused(IndexOutOfRange, "index 4", "size 4", line="part = x[at]"):
        part = x[at]
        run(part, feeds | {"at": [0, 4, 9]})


def test_the_gradient_lands_where_the_elements_came_from():
    x = sg.input("x", (5, 4), "float64")
    part = x[-1:0:-2, 1]
    array = np.arange(20.0).reshape(5, 4)
    expected = np.zeros((5, 4))
    expected[[4, 2], 1] = 2 * array[[4, 2], 1]
    derivative = grad((part * part).sum(), x)
    np.testing.assert_array_equal(run(derivative, {"x": array}), expected)
    assert "pad" in op_names(derivative)
    named = sg.input("n", ("n",), "float64")
    second = grad(grad((named[1:] ** 2 * named[:-1]).sum(), named).sum(), named)
    np.testing.assert_array_equal(run(second, {"n": np.ones(4)}), [2, 6, 6, 4])


def test_refusals_of_subscripts():
    x = sg.input("x", (3, 4))
    assert_each_refused(
        (IndexOutOfRange, "index 3", "axis 0 of size 3", "0 to 2", lambda: x[3]),
        (IndexOutOfRange, "index -5", "axis 1 of size 4", "x f32[3, 4]", lambda: x[:, -5]),
        (IndexOutOfRange, "no elements", lambda: sg.input("e", (0,))[0]),
    )
    with pytest.raises(IndexError):
        x[7]
    assert_each_refused(
        (ArgumentError, "mask", "sg.where", lambda: x[x > 0]),
        (ShapeError, "a mask of size 2 for axis 0 of size 3", lambda: x[np.array([True, False])]),
        (ArgumentError, "sg.where", lambda: x[True]),
        (AxisError, "3 indices for 2 axes: f32[3, 4]", lambda: x[0, 0, 0]),
        (ShapeError, "do not broadcast", lambda: x[[0, 1], [0, 1, 2]]),
        (IndexOutOfRange, "index 4", "size 4", lambda: x[[0, 1], [0, 4]]),
        (ArgumentError, "'...'", lambda: x[..., ...]),
        (ArgumentError, "not an index", "whole numbers: 1", lambda: x[1.0]),
        (ArgumentError, "not an index", lambda: x[x]),
        (ArgumentError, "not an index", lambda: x["row"]),
        (ArgumentError, "step of 0", lambda: x[::0]),
        (ArgumentError, "not an integer", lambda: x[0.5:]),
    )


@pytest.mark.parametrize("index", [3, -4])
def test_indices_outside_a_named_size_are_found_in_the_run(index):
    x = sg.input("x", ("n", 2), "float64")
    row = x[index]
    array = np.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(run(row, {"x": array}), array[index])
    with assert_refused(
        SizeGuardError,
        f"index {index} is out of range for axis 0 of size n",
        "n = 3",
        line="row = x[index]",
    ):
        run(row, {"x": array[:3]})
    never = sg.input("m", (sg.dim("m", max=3),))
    with assert_refused(IndexOutOfRange, "axis 0 of size m"):
        never[index]


A = np.arange(60.0).reshape(3, 4, 5)
ROWS, COLUMNS, APART = np.array([0, 2, -1, 0]), np.array([3, 0, -4, 3]), np.array([[1], [-2]])

#: Keys of an array of shape (3, 4, 5).
KEYS = {
    "integer": 1,
    "slice": slice(1, None),
    "steps": (slice(None, None, -2), slice(1, 4, 2)),
    "integer and slice": (2, slice(None), slice(None, None, 2)),
    "new axis": (None, slice(0, 2)),
    "ellipsis": (Ellipsis, -1),
    "array": ROWS,
    "array of an inner axis": (slice(None), COLUMNS),
    "array and integer apart": (ROWS, slice(1, 3), 2),
    "two arrays": (ROWS, COLUMNS),
    "two arrays apart": (ROWS, slice(None), COLUMNS % 5),
    "two arrays inside": (slice(1, 3), COLUMNS, ROWS),
    "arrays that broadcast": (ROWS, APART),
    "three arrays": (ROWS, COLUMNS, APART),
    "arrays, slices, integers": (slice(None, None, -1), [0, 1], 2),
    "no places": (np.zeros(0, int), slice(None)),
    "mask": A[..., 0] > 30,
    "mask of an axis": (slice(None), np.array([True, False, True, True])),
    "mask of everything": A % 7 == 0,
    "mask and array": (np.array([True, False, True]), [0, 3]),
}


@pytest.mark.parametrize("shape", [A.shape, ("a", "b", "c")], ids=["literal", "named"])
@pytest.mark.parametrize("name", KEYS)
def test_reading_as_numpy(name, shape):
    if "mask" in name and shape != A.shape:
        return
    x = sg.input("x", shape, "float64")
    actual = run(x[KEYS[name]], {"x": A})
    np.testing.assert_array_equal(actual, A[KEYS[name]])
    np.testing.assert_array_equal(run(x.at[KEYS[name]].get(), {"x": A}), A[KEYS[name]])


@pytest.mark.parametrize("shape", [A.shape, ("a", "b", "c")], ids=["literal", "named"])
@pytest.mark.parametrize("name", KEYS)
def test_setting_and_adding_as_numpy(name, shape, rng):
    if "mask" in name and shape != A.shape:
        return
    key = KEYS[name]
    x = sg.input("x", shape, "float64")
    values = rng.normal(size=A[key].shape)
    v = sg.input("v", x[key].shape, "float64")
    feeds = {"x": A, "v": values}
    expected = A.copy()
    expected[key] = values
    actual = run(x.at[key].set(v), feeds)
    np.testing.assert_array_equal(actual, expected)
    expected = A.copy()
    np.add.at(expected, key, values)
    np.testing.assert_allclose(run(x.at[key].add(v), feeds), expected, rtol=1e-14)


@pytest.mark.parametrize("name", KEYS)
def test_gradients_of_setting_and_adding(name, rng):
    """By x what was kept, by the values what arrived: of duplicates only the last."""
    key = KEYS[name]
    x, v = sg.input("x", A.shape, "float64"), sg.input("v", A[key].shape, "float64")
    weights, values = rng.normal(size=A.shape), rng.normal(size=A[key].shape)
    feeds = {"x": A, "v": values}
    by_x, by_v = (run(g, feeds) for g in grad((x.at[key].set(v) * weights).sum(), [x, v]))
    expected = weights.copy()
    expected[key] = 0.0
    np.testing.assert_array_equal(by_x, expected)
    order = np.zeros(A.shape)
    numbers = np.arange(1.0, values.size + 1).reshape(values.shape)
    order[key] = numbers
    np.testing.assert_array_equal(by_v, np.where(order[key] == numbers, weights[key], 0.0))
    by_x, by_v = (run(g, feeds) for g in grad((x.at[key].add(v) * weights).sum(), [x, v]))
    np.testing.assert_array_equal(by_x, weights)
    np.testing.assert_array_equal(by_v, weights[key])


@pytest.mark.thinned(8)
@pytest.mark.parametrize("shape", [A.shape, ("a", "b", "c")], ids=["literal", "named"])
@pytest.mark.parametrize("name", KEYS)
def test_extremes_as_numpy(name, shape, rng):
    """Values that several times meet in one place, with NaN among them; by x what it kept."""
    if "mask" in name and shape != A.shape:
        return
    key = KEYS[name]
    x = sg.input("x", shape, "float64")
    values = rng.permutation(np.linspace(-60.3, 120.3, max(A[key].size, 1)))[: A[key].size]
    values = np.where(values > 110.0, np.nan, values).reshape(A[key].shape)
    v = sg.input("v", x[key].shape, "float64")
    for extreme, ufunc in (("max", np.maximum), ("min", np.minimum)):
        expected = A.copy()
        ufunc.at(expected, key, values)
        actual = getattr(x.at[key], extreme)(v)
        feeds = {"x": A, "v": values}
        np.testing.assert_array_equal(run(actual, feeds), expected)
        clean = {"x": A, "v": np.nan_to_num(values, nan=130.5)}
        by_x, by_v = (run(g, clean) for g in grad(actual.sum(), [x, v]))
        is_kept = run(actual, clean) == A
        np.testing.assert_array_equal(by_x[is_kept], 1.0)
        assert by_v.sum() == (~is_kept).sum()


def multiply_at(array, key, values):
    """By NumPy: each element and the product of its values, as JAX defines duplicates."""
    product = np.ones_like(array)
    np.multiply.at(product, key, values)
    return array * product


@pytest.mark.thinned
@pytest.mark.parametrize("shape", [A.shape, ("a", "b", "c")], ids=["literal", "named"])
@pytest.mark.parametrize("name", KEYS)
def test_factors_as_numpy(name, shape, rng):
    """Factors of one element multiply; gradients are those of central differences."""
    if "mask" in name and shape != A.shape:
        return
    key = KEYS[name]
    array, values = rng.uniform(0.5, 2.0, A.shape), rng.uniform(0.5, 2.0, A[key].shape)
    x = sg.input("x", shape, "float64")
    v = sg.input("v", x[key].shape, "float64")
    feeds, step = {"x": array, "v": values}, 1e-6
    actual = x.at[key].multiply(v)
    np.testing.assert_allclose(run(actual, feeds), multiply_at(array, key, values), rtol=1e-13)
    weights, along = (
        rng.normal(size=A.shape),
        (rng.normal(size=f.shape) for f in feeds.values()),
    )
    dx, dv = along
    by_x, by_v = run_all(grad((actual * weights).sum(), [x, v]), feeds)
    shifted_ahead = multiply_at(array + step * dx, key, values + step * dv)
    shifted_back = multiply_at(array - step * dx, key, values - step * dv)
    slope = ((shifted_ahead - shifted_back) * weights).sum() / (2 * step)
    np.testing.assert_allclose((by_x * dx).sum() + (by_v * dv).sum(), slope, rtol=1e-6)
    eager = Tensor(array, dtype="float64").at[key].multiply(values)
    np.testing.assert_allclose(eager.numpy(), multiply_at(array, key, values), rtol=1e-13)
    subtracted = array.copy()
    np.subtract.at(subtracted, key, values)
    np.testing.assert_allclose(run(x.at[key].subtract(v), feeds), subtracted, rtol=1e-13)


def test_derivatives_of_factors_at_zeros():
    """The others' product, also where a factor is 0, and of any order."""
    x, v = sg.input("x", (2,), "float64"), sg.input("v", (3,), "float64")
    y = x.at[np.array([0, 0, 0])].multiply(v)[0]
    by_v = grad(y, v)
    feeds = {"x": [2.0, 1.0], "v": [0.0, 3.0, 0.0]}
    np.testing.assert_array_equal(run(by_v, feeds), [0.0, 0.0, 0.0])
    mixed = grad(by_v[0], v)
    np.testing.assert_array_equal(run(mixed, feeds), [0.0, 0.0, 6.0])


@pytest.mark.thinned(3)
@pytest.mark.parametrize("count", [0, 1, 256, 257, 3000, "n"])
def test_the_last_of_equal_places_stays_however_many_there_are(count, rng):
    """Whatever their number, also none; an error names the entry as it was given."""
    x, p = sg.input("x", (50, 2), "float32"), sg.input("p", (count,), "int64")
    v = sg.input("v", (count, 2), "float32")
    y = x.at[p].set(v)
    f = sg.compile({"y": y, "slope": grad((y * sg.arange(100).reshape(50, 2)).sum(), [v])[0]})
    for rows in (0, 700) if count == "n" else (count,):
        feeds = {
            "x": rng.normal(size=(50, 2)).astype("f4"),
            "p": rng.integers(-50, 50, rows),
            "v": rng.normal(size=(rows, 2)).astype("f4"),
        }
        expected, winner = feeds["x"].copy(), np.full(50, -1)
        expected[feeds["p"]], winner[feeds["p"]] = feeds["v"], np.arange(rows)
        wins = (winner[feeds["p"]] == np.arange(rows))[:, None]
        actual = f.run(feeds)
        np.testing.assert_array_equal(actual["y"], expected)
        np.testing.assert_array_equal(
            actual["slope"], np.where(wins, np.arange(100).reshape(50, 2)[feeds["p"]], 0)
        )
        if rows > 7:
            feeds["p"][[7, rows - 1]] = 50, -51
            with pytest.raises(IndexOutOfRange, match="element 7"):
                f.run(feeds)


def test_indices_of_the_run():
    x = sg.input("x", ("n", "m"), "float64")
    i, j = sg.input("i", ("k",), "int64"), sg.input("j", ("k",), "int32")
    array = A[0]
    feeds = {"x": array, "i": [0, -1, 0], "j": [4, 2, -1]}
    f = sg.compile({"get": x[i, j], "set": x.at[i, j].set(7.0), "add": x.at[i, j].add(1.0)})
    actual = f.run(feeds)
    np.testing.assert_array_equal(actual["get"], array[[0, -1, 0], [4, 2, -1]])
    expected = array.copy()
    expected[[0, -1], [4, 2]] = 7.0
    np.testing.assert_array_equal(actual["set"], expected)
    expected = array.copy()
    np.add.at(expected, ([0, -1, 0], [4, 2, -1]), 1.0)
    np.testing.assert_array_equal(actual["add"], expected)
    with assert_refused(IndexOutOfRange, "index 5", "size 5", line="x[i, j]"):
        f.run(feeds | {"j": np.array([0, 5, 0], np.int32)})


@pytest.mark.thinned
@pytest.mark.parametrize("shape", [(3, 4, 5), ("a", 4, "c")], ids=["literal", "named"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_masks_of_the_run(rank, shape, rng):
    """One value for all places, -0.0 and NaN kept elsewhere, as NumPy's assignment by the mask."""
    x, mask = sg.input("x", shape, "float64"), sg.input("mask", shape[:rank], "bool")
    array, chosen = rng.normal(size=A.shape), rng.random(A.shape[:rank]) < 0.5
    array[0, 0, 0], array[0, 0, 1], chosen[0] = -0.0, np.nan, False
    values = rng.normal(size=A.shape[2:] if rank < 3 else ())
    values = np.abs(values) + 0.5
    of = {
        "multiply": lambda old: old * values,
        "subtract": lambda old: old - values,
        "set": lambda old: np.broadcast_to(values, old.shape),
        "add": lambda old: old + values,
        "max": lambda old: np.maximum(old, values),
        "min": lambda old: np.minimum(old, values),
    }
    outputs = {name: getattr(x.at[mask], name)(values) for name in of}
    actual = sg.compile(outputs).run({"x": array, "mask": chosen})
    for name, update in of.items():
        expected = array.copy()
        expected[chosen] = update(array[chosen])
        np.testing.assert_array_equal(actual[name], expected, err_msg=name)
        assert np.signbit(actual[name][0, 0, 0])
    by_x = run(grad((x.at[(mask,)].set(7.0) * x).sum(), x), {"x": array, "mask": chosen})
    expected = 2.0 * array
    expected[chosen] = 7.0
    np.testing.assert_array_equal(by_x, expected)


@pytest.mark.parametrize(
    ("key", "axes"),
    [
        (lambda m: (slice(None, 2), m), (1,)),
        (lambda m: (..., m), (2,)),
        (lambda m: (..., m, slice(1, 3)), (1,)),
        (lambda m: (slice(None, None, 2), m), (1, 2)),
        (lambda m: (m, 1), (0, 1)),
        (lambda m: (-1, m), (1,)),
        (lambda m: (m, slice(None), 0), (0,)),
    ],
)
def test_a_mask_of_the_run_stands_among_slices_and_integers(key, axes, rng):
    array, chosen = rng.normal(size=(3, 4, 5)), rng.random([(3, 4, 5)[k] for k in axes]) < 0.5
    x, mask = sg.input("x", array.shape, "float64"), sg.input("mask", chosen.shape, "bool")
    place = x.at[key(mask)]
    outputs = {"set": place.set(7.0), "add": place.add(2.0), "max": place.max(0.0)}
    actual = sg.evaluate(sg.Graph(outputs), {"x": array, "mask": chosen})
    for name, update in {
        "set": lambda old: 7.0, "add": lambda old: old + 2.0, "max": lambda old: np.maximum(old, 0),
    }.items():  # fmt: skip
        expected = array.copy()
        expected[key(chosen)] = update(expected[key(chosen)])
        np.testing.assert_array_equal(actual[name], expected, err_msg=name)


def test_an_index_beyond_its_own_axis_is_found_though_the_place_exists():
    x = sg.input("x", (3, 4), "float64")
    with assert_refused(IndexOutOfRange, "index 4", "axis of size 4", line="x[[0], [4]]"):
        x[[0], [4]]
    j = sg.input("j", (1,), "int64")
    with assert_refused(IndexOutOfRange, "index 4", "axis of size 4", line="part = x[[0], j]"):
        part = x[[0], j]
        run(part, {"x": np.zeros((3, 4)), "j": [4]})


def test_dtypes_of_values_and_keys_without_index_arrays():
    x = sg.input("x", (3,), "int32")
    feeds = {"x": np.array([1, 2, 3], np.int32)}
    actual = run(x.at[1].set(7.9), feeds)
    assert actual.dtype == np.int32
    np.testing.assert_array_equal(actual, [1, 7, 3])
    mask = sg.input("m", (3,), "bool")
    np.testing.assert_array_equal(run(mask.at[:2].set(True), {"m": np.zeros(3, bool)}), [1, 1, 0])
    x = sg.input("x", (4, 5))
    assert not {"take", "scatter_add"} & set(op_names(x.at[1:3, ::2].set(0.0)))
    assert op_names(x.at[1:3].add(1.0)) == ["constant", "broadcast", "pad", "add"][1:]


def test_refusals_of_at():
    x = sg.input("x", (3, 4))
    with assert_refused(ShapeError, "[3]", line="x.at[0].set"):
        x.at[0].set(np.zeros(3))
    with assert_refused(ShapeError, "a mask of size 3 for axis 0 of size n", line="named["):
        named = sg.input("y", ("n",))
        named[np.array([True, False, True])]
    assert_each_refused(
        (ArgumentError, "only known in a run", lambda: x.at[x[:, 0] > 0, [1, 2, 3]].set(0.0)),
        (ArgumentError, "only known in a run", lambda: x.at[x > 0].get()),
        (ShapeError, "a mask [4] for axes [3]", lambda: x.at[x[0] > 0].set(0.0)),
        (ShapeError, "values [3, 4] for the true elements", lambda: x.at[x > 0].set(x)),
        (ShapeError, "[3] does not fit [4]", lambda: x.at[x[:, 0] > 0].add(np.zeros(3))),
    )
    with assert_refused(ArgumentError, "is only known in a run", line="x[i : 2 * i]"):
        i = sg.input("i", (), "int64")
        x[i : 2 * i]
