"""where= and initial= of reductions: named sizes down to 0, all dtypes, and no gradient leaks."""

from contextlib import nullcontext as nothing

import numpy as np
import pytest

import staticgrad as sg
from tests.diagonals import diagonals

STARTS = {"sum": 3, "prod": 2, "max": 1, "min": 1}


@diagonals(2, ("dtype", ["float32", "float64", "int32", "uint8"]), ("name", STARTS))
def test_named_sizes_down_to_none(name, dtype):
    x = sg.input("x", ("n", 3), dtype)
    mask = sg.input("mask", ("n", 3), "bool")
    options = {"initial": STARTS[name], "where": mask}
    out = {str(axis): getattr(sg, name)(x, axis, **options) for axis in (None, 0, 1, (0, 1))}
    f = sg.compile(sg.Graph({**out, "kept": getattr(sg, name)(x, 0, keepdims=True, **options)}))
    random = np.random.default_rng(5)
    for n in (0, 1, 5):
        array = random.integers(0, 9, (n, 3)).astype(dtype)
        which = random.random((n, 3)) < 0.5
        found = f.run({"x": array, "mask": which})
        for axis in (None, 0, 1, (0, 1)):
            wanted = getattr(np, name)(array, axis, initial=STARTS[name], where=which)
            np.testing.assert_array_equal(found[str(axis)], wanted)
            assert found[str(axis)].dtype == wanted.dtype
        assert found["kept"].shape == (1, 3)


@pytest.mark.parametrize("name", ["mean", "var", "std", "any", "all", "nansum", "nanvar"])
def test_what_does_not_count_at_named_sizes(name):
    x, mask = sg.input("x", ("n", 3), "float64"), sg.input("mask", ("n", 3), "bool")
    f = sg.compile(sg.Graph({"y": getattr(sg, name)(x, 0, where=mask)}))
    for n in (2, 5):
        array = np.random.default_rng(n).normal(size=(n, 3))
        which = np.arange(3 * n).reshape(n, 3) % 4 != 1
        wanted = getattr(np, name)(array, 0, where=which)
        np.testing.assert_allclose(f.run({"x": array, "mask": which})["y"], wanted, rtol=1e-13)


def test_what_does_not_count_takes_no_gradient_whatever_it_is():
    array = np.array([1.0, np.nan, 3.0, -np.inf])
    mask = np.isfinite(array)
    x = sg.input("x", (4,), "float64")
    for name, slope in (("sum", [1, 0, 1, 0]), ("mean", [0.5, 0, 0.5, 0]), ("prod", [3, 0, 1, 0]),
                        ("var", [-1, 0, 1, 0])):  # fmt: skip
        slopes = sg.Graph({"slope": sg.grad(getattr(sg, name)(x, where=mask), x)}, inputs=[x])
        np.testing.assert_allclose(sg.compile(slopes).run({"x": array})["slope"], slope)


def test_a_start_takes_its_share_of_the_gradient():
    x, start = sg.input("x", (3,), "float64"), sg.input("start", (), "float64")
    feeds = {"x": np.array([1.0, 2.0, 0.5]), "start": 4.0}
    by_max = sg.grad(sg.max(x, initial=start), [x, start])
    by_prod = sg.grad(sg.prod(x, initial=start), [x, start])
    slopes = dict(zip("abcd", [*by_max, *by_prod], strict=True))
    found = sg.compile(sg.Graph(slopes, inputs=[x, start])).run(feeds)
    wanted = {"a": [0.0, 0.0, 0.0], "b": 1.0, "c": [4.0, 2.0, 8.0], "d": 1.0}
    assert {name: array.tolist() for name, array in found.items()} == wanted


@pytest.mark.parametrize("less", [0, 2, 0.5])
def test_no_freedom_is_numpys(less):
    x = sg.input("x", ("n",), "float64")
    f = sg.compile(sg.var(x, correction=less))
    for n in (1, 2, 4):
        array = np.arange(n, dtype=float)
        with np.errstate(all="ignore"), pytest.warns(RuntimeWarning) if n <= less else nothing():
            wanted = np.var(array, ddof=less)
        np.testing.assert_allclose(f.run({"x": array}), wanted)
