"""Functions of integers at the extremes of every dtype, evaluated and compiled, against NumPy."""

import warnings

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import StaticgradError
from staticgrad.exports import FUNCTIONS
from staticgrad.types.dtype import ALL_DTYPES
from tests.ops.elementwise_samples import special

INTEGERS = [dtype.numpy.name for dtype in ALL_DTYPES if dtype.is_integer]
NAMES = sorted({part.partition("=")[0] for text in FUNCTIONS.values() for part in text.split()})
#: Functions that differ by design, or are not called with whole arrays, and why.
LEFT_OUT = {
    "reciprocal": "1 / x is floating here",
    "rint": "an integer is rounded already, and stays an integer",
    "trapezoid": "NumPy adds neighbours before it converts, and wraps",
    "unwrap": "NumPy takes differences before it converts, and unsigned ones wrap",
    "ones_like": "the operand is not an input of the graph",
    "zeros_like": "the operand is not an input of the graph",
    "searchsorted": "the first operand must be sorted",
}


def samples(dtype):
    """Extremes and ordinary integers, and all pairs of them."""
    (kind,) = (each for each in ALL_DTYPES if each.numpy.name == dtype)
    values = np.concatenate([special(kind), np.array([6, 12, 93], dtype)])
    x, y = (grid.ravel() for grid in np.meshgrid(values, values))
    return values, x, y


def calls(dtype):
    """Every function that takes one integer array, or two: values, NumPy's results, the inputs."""
    single, x, y = samples(dtype)
    feeds = {"single": single, "x": x, "y": y}
    inputs = {name: sg.input(name, array.shape, dtype) for name, array in feeds.items()}
    values = {}
    wanted = {}
    for name in NAMES:
        function = getattr(np, name, None)
        is_binary = isinstance(function, np.ufunc) and function.nin == 2
        if function is None or name in LEFT_OUT:
            continue
        operands = ("x", "y") if is_binary or name in ("isclose", "divmod") else ("single",)
        true = in_numpy(function, [feeds[each] for each in operands])
        if true is None:
            continue
        try:
            found = getattr(sg, name)(*(inputs[each] for each in operands))
        except StaticgradError:
            continue
        if isinstance(found, bool):  # of dtypes, not of elements
            continue
        found = found if isinstance(found, tuple | list) else [found]
        for place, (value, array) in enumerate(zip(found, true, strict=True)):
            values[f"{name} {place}"], wanted[f"{name} {place}"] = value, array
    return values, wanted, feeds


def in_numpy(function, operands):
    """NumPy's results as arrays; None if it refuses the operands."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = function(*(array.copy() for array in operands))
    except (TypeError, ValueError, np.linalg.LinAlgError):
        return None
    arrays = [np.asarray(a) for a in (found if isinstance(found, tuple | list) else [found])]
    return arrays if all(a.dtype.kind in "biuf" for a in arrays) else None


@pytest.mark.slow
@pytest.mark.parametrize("dtype", INTEGERS)
def test_functions_of_integers_at_the_extremes_are_numpys(dtype):
    values, wanted, feeds = calls(dtype)
    assert {name.partition(" ")[0] for name in values} >= {
        "abs", "cumsum", "diff", "divmod", "floor_divide", "fmod", "isclose",
        "left_shift", "matmul", "maximum", "multiply", "ptp", "remainder", "sign", "sort", "sum",
    }  # fmt: skip
    for results in (sg.evaluate(values, feeds), sg.compile(values).run(feeds)):
        for name, true in wanted.items():
            assert_agrees(name, results[name], true)


def assert_agrees(name, found, true):
    """Equal integers; floating results are NumPy's as far as its narrower dtype holds them."""
    if true.dtype.kind != "f":
        assert found.dtype == true.dtype, name
        np.testing.assert_array_equal(found, true, err_msg=name)
        return
    with np.errstate(over="ignore"):
        found = found.astype(true.dtype)
    eps = float(np.finfo(true.dtype).eps)
    np.testing.assert_allclose(found, true, rtol=8 * eps, atol=8 * eps, err_msg=name)
