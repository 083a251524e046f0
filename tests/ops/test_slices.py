"""Flip, pad in every mode, concatenate and stack against NumPy; what slice and pad refuse."""

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
from staticgrad.language.ops.indexing import Concat, Pad, Slice
from tests.ops.graphs import run
from tests.ops.messages import assert_each_refused, assert_refused


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
    for operand in (x[0, 0], 3.0, "xy"):
        with (
            assert_refused(ArgumentError, "a list or tuple")
            if operand != "xy"
            else assert_refused(DTypeError)
        ):
            sg.concatenate(operand)
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


@pytest.mark.parametrize("number", [0, 0.0, -0.0, np.float32(-0.0)])
def test_zeros_around_an_array_have_the_sign_that_was_given(number):
    expected = np.pad(np.ones((2, 3)), 1, constant_values=number)
    for actual in (
        sg.evaluate(sg.pad(np.ones((2, 3)), 1, constant_values=number)),
        sg.function(lambda x: sg.pad(x, 1, constant_values=number))(np.ones((2, 3))),
    ):
        np.testing.assert_array_equal(np.signbit(actual), np.signbit(expected))


def test_widths_may_be_named():
    x, n = sg.input("x", ("n",), "float64"), sg.dim("n")
    array = np.array([1.0, 2.0, 3.0])
    for mode in ("edge", "wrap"):
        actual = sg.compile(sg.pad(x, (n, 1), mode=mode)).run({"x": array})
        np.testing.assert_array_equal(actual, np.pad(array, (3, 1), mode=mode))


def test_refusals_of_pads():
    x = sg.input("x", (3, 4))
    assert_each_refused(
        (ArgumentError, "mode='empty'", lambda: sg.pad(x, 1, "empty")),
        (ArgumentError, "constant_values=2.0 says nothing", "mode='constant'",
         lambda: sg.pad(x, 1, "edge", constant_values=2.0)),
        (ShapeError, "no elements to repeat", lambda: sg.pad(np.zeros((0, 2)), 1, "edge")),
        (ArgumentError, "constant_values", lambda: sg.pad(x, 1, constant_values=[1.0, 2.0, 3.0])),
    )  # fmt: skip
