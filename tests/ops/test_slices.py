"""Flip, pad, concatenate and stack against NumPy; what slice and pad refuse."""

import sys

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.autodiff.reverse import grad
from staticgrad.errors import (
    ArgumentError,
    AxisError,
    DTypeError,
    RankError,
    ShapeError,
    SizeGuardError,
)
from staticgrad.ops.indexing import Concat, Pad, Slice
from tests.ops.graphs import run
from tests.ops.messages import assert_each_refused, assert_refused


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2)])
def test_flip_as_numpy(axis):
    array = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(run(sg.flip(array, axis)), np.flip(array, axis))
    x = sg.input("x", ("a", "b", "c"), "float64")
    for some in (array, array[:0], array[:, :1]):
        np.testing.assert_array_equal(run(np.flip(x, axis), {"x": some}), np.flip(some, axis))


@pytest.mark.parametrize(
    "width", [1, (1, 2), ((1, 2),), ((0, 1), (2, 0)), np.array([[1, 0], [0, 1]])]
)
def test_pad_as_numpy(width):
    array = np.arange(1.0, 7.0).reshape(2, 3)
    np.testing.assert_array_equal(run(sg.pad(array, width)), np.pad(array, width))
    x = sg.input("x", ("n", 3), "float64")
    np.testing.assert_array_equal(run(np.pad(x, width), {"x": array}), np.pad(array, width))


def test_named_sizes_pad_join_and_promote():
    n = sg.dim("n")
    x = sg.input("x", (n, 2), "float64")
    padded = sg.pad(x, ((n, 0), (0, 0)))
    assert padded.shape == (2 * n, 2)
    array = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(run(padded, {"x": array})[3:], array)
    assert sg.pad(x, 0) is x
    x, y = sg.input("x", ("n", 2), "float64"), sg.input("y", ("m", 2), "float64")
    joined = np.concatenate([x, y, x])
    assert joined.shape == (2 * sg.dim("n") + sg.dim("m"), 2)
    feeds = {"x": np.ones((2, 2)), "y": np.zeros((1, 2))}
    np.testing.assert_array_equal(run(joined, feeds)[:, 0], [1, 1, 0, 1, 1])
    derivative = grad((joined * joined).sum(), x)
    np.testing.assert_array_equal(run(derivative, feeds), np.full((2, 2), 4.0))
    side = np.stack([x, y])
    np.testing.assert_array_equal(run(side, feeds | {"y": np.zeros((2, 2))}).shape, (2, 2, 2))
    with assert_refused(SizeGuardError, "concat", "n = 2", "m = 1", line="side = np.stack([x, y])"):
        run(side, feeds)
    x = sg.input("x", (2,))
    assert sg.concatenate([x, np.arange(3)]).dtype == "float32"
    assert sg.stack([1, 2.5]).dtype == "float64"
    assert run(sg.concatenate([np.array([1], np.int8), np.array([300], np.int16)]))[1] == 300
    assert sg.concatenate([x]) is x


@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_concatenate_as_numpy(axis):
    arrays = [np.ones((2, 3)), np.zeros((2, 3)), np.full((2, 3), 7.0)]
    found = run(sg.concatenate(arrays, axis))
    np.testing.assert_array_equal(found, np.concatenate(arrays, axis))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_stack_as_numpy(axis):
    arrays = [np.arange(6.0).reshape(2, 3), np.ones((2, 3))]
    np.testing.assert_array_equal(run(sg.stack(arrays, axis)), np.stack(arrays, axis))


def test_refusals():
    x, y, v = sg.input("x", (2, 3)), sg.input("y", (4, 5)), sg.input("v", (3,))
    assert_each_refused(
        (ShapeError, "sizes 3 and 5 of axis 1 differ", "y f32[4, 5]",
         lambda: sg.concatenate([x, y], 0)),
        (RankError, "f32[2, 3]", "f32[3]", lambda: sg.concatenate([x, v])),
        (ShapeError, "differ", lambda: sg.stack([x, y])),
        (RankError, "[2, 3]", "[3]", lambda: sg.stack([x, v])),
        (AxisError, "no axis 2", lambda: sg.concatenate([x, x], 2)),
        (ArgumentError, "no values", lambda: sg.concatenate([])),
    )  # fmt: skip
    for one in (x[0, 0], 3.0, "xy"):
        with (
            assert_refused(ArgumentError, "a list or tuple")
            if one != "xy"
            else assert_refused(DTypeError)
        ):
            sg.concatenate(one)
    with assert_refused(RankError, "sg.stack"):
        sg.concatenate([1.0, 2.0])
    with assert_refused(DTypeError, "dtypes"):
        Concat(0).infer(x.type, sg.input("i", (2, 3), "int32").type)
    x = sg.input("x", (2, 3))
    assert_each_refused(
        (ArgumentError, "for each of the 2 axes", lambda: sg.pad(x, ((1, 1), (1, 1), (1, 1)))),
        (ShapeError, "negative", lambda: sg.pad(x, -1)),
        (ArgumentError, "not an integer", lambda: sg.pad(x, 0.5)),
    )
    x = sg.input("x", (5,))
    for start, length, step in ((3, 3, 1), (-1, 2, 1), (0, 4, 2), (1, 3, -1), (5, 1, -1)):
        with assert_refused(ShapeError, "axis 0 of size 5", line="Slice("):
            Slice((start,), (length,), (step,))(x)
        with assert_refused(ShapeError, "axis 0 of size 5", line="Pad("):
            Pad((5,), (start,), (step,))(sg.input("y", (length,)))
    with assert_refused(RankError, "per axis"):
        Slice((0,), (1,), (1, 1))(x)
    with assert_refused(ArgumentError, "step of 0"):
        Slice((0,), (1,), (0,))(x)


@pytest.mark.parametrize("bound", [2**48, sys.maxsize, 2**70])
def test_slices_by_numbers_that_no_axis_reaches(bound):
    """Python clips them, whatever fits a word."""
    x, array = sg.input("x", ("n", 3), "float64"), np.arange(12.0).reshape(4, 3)
    f = sg.compile(
        {
            "behind": x[bound:],
            "before": x[-bound:],
            "up to": x[:bound],
            "steps": x[1::bound],
            "back": x[::-bound],
        }
    )
    found = f.run({"x": array})
    np.testing.assert_array_equal(found["behind"], array[bound:])
    np.testing.assert_array_equal(found["before"], array[-bound:])
    np.testing.assert_array_equal(found["up to"], array[:bound])
    np.testing.assert_array_equal(found["steps"], array[1::bound])
    np.testing.assert_array_equal(found["back"], array[::-bound])
