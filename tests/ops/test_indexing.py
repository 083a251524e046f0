"""take, scatter_add, take_along_axis, iota and one_hot: against NumPy; indices that are outside."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.autodiff.reverse import grad
from staticgrad.errors import (
    ArgumentError,
    AxisError,
    DTypeError,
    IndexOutOfRange,
    RankError,
    ShapeError,
    SizeGuardError,
)
from staticgrad.ops.indexing import ScatterIntoAlong, Take, TakeAlong
from staticgrad.ops.positions import Iota
from staticgrad.types.dtype import I64
from tests.ops.graphs import run
from tests.ops.messages import assert_each_refused, assert_refused


def test_duplicates_are_added_in_index_order(rng):
    x = (rng.normal(size=(50, 3)) * 10.0 ** rng.integers(-4, 5, (50, 1))).astype(np.float32)
    places = rng.integers(0, 4, 50)
    expected = np.zeros((4, 3), np.float32)
    for place, row in zip(places, x, strict=True):
        expected[place] += row
    found = run(sg.scatter_add(x, places, 4))
    assert found.tobytes() == expected.tobytes()
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
    taken = sg.take_along_axis(x, np.array([[0, 0, 2], [1, -2, 1]]))
    derivative = grad((taken * taken).sum(), x)
    found = run(derivative, {"x": [[1.0, 2, 3], [4, 5, 6]]})
    np.testing.assert_array_equal(found, [[4, 0, 6], [0, 30, 0]])


@pytest.mark.parametrize(("index", "fits"), [(3, False), (-4, False), (2, True), (-3, True)])
def test_the_ends_of_an_axis(index, fits):
    array = np.array([1.0, 2.0, 3.0])
    values = [
        sg.take(array, index),
        sg.scatter_add(np.array([1.0]), np.array([index]), 3),
        sg.take_along_axis(array, np.array([index])),
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
        IndexOutOfRange, "index 9", "element 2 of the indices", "from -3 to 2", line="taken = "
    ):
        taken = sg.take(np.arange(3.0), places)
        run(taken)
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
    found = run(sg.one_hot(np.array([[0, 2], [1, -1]]), 3))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 0, 0]]])
    labels = sg.input("labels", ("n",), "uint8")
    wide = sg.one_hot(labels, sg.dim("classes", min=1), dtype="int32")
    assert wide.shape == (sg.dim("n"), sg.dim("classes", min=1))
    assert run(sg.one_hot(np.array([250], np.uint8), 300, "bool"))[0, 250]
    with assert_refused(DTypeError, "one_hot", "float64", line="sg.one_hot([0.5], 3)"):
        sg.one_hot([0.5], 3)
    with assert_refused(ArgumentError, "not an integer"):
        sg.one_hot([1], 3.5)
