"""NumPy's shorthands against NumPy, and the methods of values against the functions."""

from __future__ import annotations

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.autodiff.reverse import grad
from staticgrad.errors import ArgumentError, ShapeError
from tests.ops.graphs import run
from tests.ops.messages import assert_refused

A = np.array([[1.5, -2.0, 0.5], [0.25, 1.0, -1.0]])

CASES = {
    "atleast_1d": lambda m, x: m.atleast_1d(x[0, 0]),
    "atleast_2d": lambda m, x: m.atleast_2d(x[0]),
    "atleast_3d": lambda m, x: m.atleast_3d(x),
    "atleast_3d of a vector": lambda m, x: m.atleast_3d(x[0]),
    "vstack": lambda m, x: m.vstack([x[0], x]),
    "hstack": lambda m, x: m.hstack([x, x[:, :1]]),
    "hstack of vectors": lambda m, x: m.hstack([x[0], x[1]]),
    "dstack": lambda m, x: m.dstack([x, x]),
    "column_stack": lambda m, x: m.column_stack([x, x[:, 0]]),
    "flipud": lambda m, x: m.flipud(x),
    "fliplr": lambda m, x: m.fliplr(x),
    "matrix_transpose": lambda m, x: m.matrix_transpose(x),
    "vecdot": lambda m, x: m.vecdot(x, x[0]),
    "vecdot of columns": lambda m, x: m.vecdot(x, x, axis=0),
    "cross": lambda m, x: m.cross(x, x[::-1]),
    "allclose": lambda m, x: m.allclose(x, x + 1e-12),
    "linspace": lambda m, x: m.linspace(x[0, 0], x[0, 1], 7),
    "linspace without its end": lambda m, x: m.linspace(x[0, 0], x[0, 1], 4, endpoint=False),
    "append": lambda m, x: m.append(x, x[:1] * 2.0, axis=0),
    "append flat": lambda m, x: m.append(x, [1.0, 2.0]),
    "block": lambda m, x: m.block([[x, x * 2.0], [x[:1], x[1:]]]),
    "block of a list": lambda m, x: m.block([x[0], x[1], 3.0]),
    "matvec": lambda m, x: m.matvec(x, x[0]),
    "vecmat": lambda m, x: m.vecmat(x[:, 0], x),
    "logspace": lambda m, x: m.logspace(x[0, 0], x[0, 1], 5, base=2.0),
    "linspace of one": lambda m, x: m.linspace(x[0, 0], x[0, 1], 1),
}


@pytest.mark.parametrize("name", CASES)
def test_as_numpy(name):
    x = sg.input("x", A.shape, "float64")
    expected = CASES[name](np, A)
    found = run(CASES[name](sg, x), {"x": A})
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_functions_of_linalg_are_not_taken_for_their_namesakes():
    x = sg.input("x", (2, 3, 3), "float64")
    array = np.arange(18.0).reshape(2, 3, 3)
    for function in (np.linalg.matrix_transpose, np.linalg.norm):
        np.testing.assert_allclose(run(function(x), {"x": array}), function(array))
    np.testing.assert_allclose(run(np.linalg.matmul(x, x), {"x": array}), array @ array)
    for function in (np.linalg.trace, np.linalg.diagonal):
        np.testing.assert_allclose(run(function(x), {"x": array}), function(array))
    with pytest.raises(TypeError, match="takes arrays: there is no such function"):
        np.linalg.eig(x)


def test_arrays_from_nothing():
    np.testing.assert_array_equal(run(sg.identity(3)), np.identity(3))
    np.testing.assert_array_equal(run(sg.tri(3, 4, 1)), np.tri(3, 4, 1))
    np.testing.assert_allclose(run(sg.linspace(0, 1, 5)), np.linspace(0, 1, 5))
    assert run(sg.linspace(0, 1, 5)).dtype == np.float64
    assert run(sg.linspace(0, 10, 5, dtype="int32")).dtype == np.int32
    assert run(sg.linspace(0, 1, 0)).shape == (0,)


def test_unstack():
    x = sg.input("x", A.shape, "float64")
    for axis in (0, 1, -1):
        parts = sg.unstack(x, axis)
        assert len(parts) == A.shape[axis]
        for k, value in enumerate(parts):
            np.testing.assert_array_equal(run(value, {"x": A}), np.take(A, k, axis))
    with assert_refused(ArgumentError, "not an integer", line="sg.unstack"):
        sg.unstack(sg.input("y", ("n",)))


#: Method, arguments: the same on an ndarray.
METHODS = [
    ("prod", (1,)), ("var", (0,)), ("std", ()), ("any", (1,)), ("all", ()), ("argmax", (1,)),
    ("argmin", ()), ("cumsum", (0,)), ("cumprod", ()), ("clip", (-1.0, 1.0)), ("round", (1,)),
    ("ravel", ()), ("flatten", ()), ("squeeze", ()), ("swapaxes", (0, 1)), ("repeat", (2, 1)),
    ("take", ([0, 2], 1)), ("diagonal", (1,)), ("trace", ()), ("dot", (A.T,)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments"), METHODS)
def test_methods_as_of_an_array(name, arguments):
    x = sg.input("x", A.shape, "float64")
    expected = getattr(A, name)(*arguments)
    found = run(getattr(x, name)(*arguments), {"x": A})
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_gradients_flow_to_the_ends_of_a_line():
    start, stop = sg.input("a", (), "float64"), sg.input("b", (), "float64")
    total = (sg.linspace(start, stop, 5) * np.arange(5.0)).sum()
    found = [run(g, {"a": 0.0, "b": 1.0}) for g in grad(total, [start, stop])]
    np.testing.assert_allclose(found, [10 - 7.5, 7.5])


def test_refusals():
    with assert_refused(ArgumentError, "vectors of 3", line="sg.cross"):
        sg.cross(np.zeros(2), np.zeros(2))
    with assert_refused(ArgumentError, "-1 numbers", line="sg.linspace"):
        sg.linspace(0.0, 1.0, -1)
    for blocks in ([], [A, [A]]):
        with assert_refused(ArgumentError, "empty, or nested", line="sg.block"):
            sg.block(blocks)
    with assert_refused(ShapeError, "do not broadcast", line="sg.linspace"):
        sg.linspace(np.zeros(2), np.zeros(3))
