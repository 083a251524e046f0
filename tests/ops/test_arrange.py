"""roll, split, repeat, tile, diagonals and grids against NumPy; gradients are their transposes."""

from __future__ import annotations

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.autodiff.reverse import grad
from staticgrad.errors import ArgumentError, RankError, ShapeError, SizeGuardError
from tests.ops.graphs import op_names, run, run_all
from tests.ops.messages import assert_refused

A = np.arange(24.0).reshape(2, 3, 4)

#: Function over (module, x): the same for NumPy and for ours.
CASES = {
    "roll": lambda m, x: m.roll(x, 5),
    "roll negative": lambda m, x: m.roll(x, -1, axis=1),
    "roll axes": lambda m, x: m.roll(x, (1, 2), axis=(0, 2)),
    "roll twice along one axis": lambda m, x: m.roll(x, (1, 1), axis=(2, 2)),
    "repeat": lambda m, x: m.repeat(x, 2),
    "repeat axis": lambda m, x: m.repeat(x, 3, axis=1),
    "repeat each": lambda m, x: m.repeat(x, [2, 0, 1], axis=1),
    "repeat none": lambda m, x: m.repeat(x, 0, axis=0),
    "tile": lambda m, x: m.tile(x, 2),
    "tile more": lambda m, x: m.tile(x, (2, 1, 3, 2)),
    "tile fewer": lambda m, x: m.tile(x, (2, 2)),
    "diagonal": lambda m, x: m.diagonal(x),
    "diagonal above": lambda m, x: m.diagonal(x, 2, 1, 2),
    "diagonal below": lambda m, x: m.diagonal(x, -1, axis1=2, axis2=1),
    "diagonal beyond": lambda m, x: m.diagonal(x, 7),
    "diag of a matrix": lambda m, x: m.diag(x[0], 1),
    "diag of a vector": lambda m, x: m.diag(x[0, 0]),
    "diag above": lambda m, x: m.diag(x[0, 0], 2),
    "diag below": lambda m, x: m.diag(x[0, 0], -3),
    "trace": lambda m, x: m.trace(x, 1, 1, 2),
    "rot90": lambda m, x: m.rot90(x),
    "rot90 by 3": lambda m, x: m.rot90(x, 3, axes=(2, 0)),
    "rot90 by -2": lambda m, x: m.rot90(x, -2),
}
SEVERAL = {
    "split": lambda m, x: m.split(x, 2, axis=2),
    "split at": lambda m, x: m.split(x, [1, 2], axis=1),
    "split beyond": lambda m, x: m.split(x, [1, 9], axis=1),
    "array_split": lambda m, x: m.array_split(x, 3, axis=2),
    "array_split of few": lambda m, x: m.array_split(x, 5, axis=0),
    "broadcast_arrays": lambda m, x: m.broadcast_arrays(x[0, 0], x[:, :1, :1]),
    "meshgrid": lambda m, x: m.meshgrid(x[0, 0], x[0, :, 0], x[:, 0, 0]),
    "meshgrid ij": lambda m, x: m.meshgrid(x[0, 0], x[0, :, 0], indexing="ij"),
    "meshgrid sparse": lambda m, x: m.meshgrid(x[0, 0], x[0, :, 0], sparse=True),
    "meshgrid of one": lambda m, x: m.meshgrid(x[0, 0]),
}


@pytest.mark.parametrize("name", CASES)
def test_as_numpy(name):
    expected = CASES[name](np, A)
    for shape in (A.shape, ("a", "b", "c"), ("a", 3, "c")):
        x = sg.input("x", shape, "float64")
        for module in (sg, np):
            found = run(CASES[name](module, x), {"x": A})
            assert found.shape == expected.shape
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", SEVERAL)
def test_several_as_numpy(name):
    x = sg.input("x", A.shape, "float64")
    expected = SEVERAL[name](np, A)
    values = SEVERAL[name](sg, x)
    assert len(values) == len(expected)
    for found, array in zip(run_all(values, {"x": A}), expected, strict=True):
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shape", [A.shape, ("a", "b", "c")])
def test_gradients_are_transposes(name, shape, rng):
    """<w, f(x)> = <gradient, x> for a linear f, and the gradient does not depend on x."""
    x = sg.input("x", shape, "float64")
    out = CASES[name](sg, x)
    weights = rng.normal(size=CASES[name](np, A).shape)
    total = (out * sg.input("w", out.shape, "float64")).sum()
    gradient = grad(total, x, allow_disconnected=True)
    found, _ = run_all([gradient, out], {"x": A, "w": weights})
    assert np.sum(found * A) == pytest.approx(np.sum(weights * CASES[name](np, A)), abs=1e-9)


def test_a_literal_roll_is_slices():
    assert set(op_names(sg.roll(sg.input("x", (5,)), 2))) == {"slice", "concat"}
    x = sg.input("x", (5,))
    assert sg.roll(x, 5, 0) is x


def test_parts_of_a_named_size():
    x = sg.input("x", ("n",), "float64")
    halves = sg.split(x, 2)
    assert [str(part.shape[0]) for part in halves] == ["n//2", "n//2"]
    for n in (0, 4):
        found = run_all(halves, {"x": np.arange(float(n))})
        np.testing.assert_array_equal(np.concatenate(found), np.arange(n))
    with assert_refused(SizeGuardError, "n = 5", line="sg.split"):
        again = sg.split(x, 2)[0]
        run(again, {"x": np.zeros(5)})
    for n in (0, 1, 5, 7):
        found = run_all(sg.array_split(x, 3), {"x": np.arange(float(n))})
        for part, expected in zip(found, np.array_split(np.arange(n), 3), strict=True):
            np.testing.assert_array_equal(part, expected)


def test_refusals():
    x = sg.input("x", (2, 5))
    with assert_refused(
        ShapeError, "axis of size 5 is not 2 equal parts", line="sg.split(x, 2, 1)"
    ):
        sg.split(x, 2, 1)
    with assert_refused(ArgumentError, "0 parts"):
        sg.split(x, 0)
    with assert_refused(ShapeError, "2 numbers for an axis of size 5", line="sg.repeat"):
        sg.repeat(x, [1, 2], 1)
    with assert_refused(ArgumentError, "2 shifts for 1 axes", line="sg.roll"):
        sg.roll(x, (1, 2), (0,))
    with assert_refused(RankError, "not a vector or matrix", line="sg.diag"):
        sg.diag(np.zeros((2, 2, 2)))
    with assert_refused(RankError, "no two axes", line="sg.diagonal"):
        sg.diagonal(np.zeros(2))
    with assert_refused(ArgumentError, "'xy' or 'ij'", line="sg.meshgrid"):
        sg.meshgrid([1.0], indexing="yx")
