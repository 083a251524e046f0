"""Axes of a 0-d value: every public function with NumPy's name and an axis does as NumPy does.

NumPy's reductions by a ufunc, running sums and ``argsort`` take axis 0 and -1 of a number;
``mean``, ``sort`` and others do not. Where NumPy raises there is a coded error.
"""

import warnings
from inspect import signature

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.exports import FUNCTIONS, homes

NUMBER = np.float64(2.0)
#: Operands after the first, by name.
FURTHER = {
    "quantile": (0.5,),
    "nanquantile": (0.5,),
    "percentile": (50.0,),
    "nanpercentile": (50.0,),
}
#: Functions whose operand is not one value.
OF_SEVERAL = {"concatenate", "stack", "concat", "append", "block", "unstack", "apply_along_axis"}


def takes_axis(function):
    try:
        return "axis" in signature(function).parameters
    except (TypeError, ValueError):
        return False


def count_required(function):
    """Return the number of parameters without a default."""
    parameters = signature(function).parameters.values()
    return sum(p.default is p.empty and p.kind in (0, 1) for p in parameters)


NAMES = sorted(
    name
    for name in homes(FUNCTIONS)
    if takes_axis(getattr(sg, name, None))
    and takes_axis(getattr(np, name, None))
    and name not in OF_SEVERAL
    and count_required(getattr(np, name)) <= 1 + len(FURTHER.get(name, ()))
)


def outcome(function, *args, **options):
    """The result, or None if the call raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = function(*args, **options)
        except sg.errors.StaticgradError:
            return None
        except (TypeError, ValueError, IndexError):
            if function.__module__.startswith("staticgrad"):
                raise
            return None
    return result if isinstance(result, tuple) else np.asarray(result)


@pytest.mark.parametrize("axis", [0, -1, 1, -2, (), None])
@pytest.mark.parametrize("name", NAMES)
def test_axes_of_a_number_are_numpys(name, axis):
    operands = (NUMBER, *FURTHER.get(name, ()))
    ours = outcome(getattr(sg, name), *operands, axis=axis)
    numpys = outcome(getattr(np, name), *operands, axis=axis)
    assert (ours is None) == (numpys is None), (ours, numpys)
    if ours is not None:
        np.testing.assert_array_equal(ours, numpys, strict=True)


def test_names_that_reduce_are_among_them():
    reductions = "all any sum prod max min argmax argmin mean var std nansum nanstd ptp cumsum sort"
    assert set(reductions.split()) <= set(NAMES)


@pytest.mark.parametrize("axis", [0, -1])
def test_kept_axes_of_a_number(axis):
    for name in ("sum", "prod", "max", "any", "argmax", "nansum", "nanvar", "ptp"):
        assert getattr(sg, name)(NUMBER, axis=axis, keepdims=True).shape == ()


@pytest.mark.parametrize("axis", [0, -1])
def test_functions_of_scipy_take_the_axis_of_a_number(axis):
    assert sg.special.logsumexp(2.0, axis=axis) == 2.0
    assert sg.special.logsumexp(2.0, axis=axis, b=3.0) == pytest.approx(2.0 + np.log(3.0))
    assert sg.special.softmax(2.0, axis=axis) == 1.0
    assert sg.special.log_softmax(2.0, axis=axis) == 0.0


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize(
    "name", ["sum", "max", "prod", "nansum", "cumsum", "cummax", "cumulative_sum"]
)
def test_the_gradient_of_a_number_over_its_axis_is_one(name, axis):
    assert sg.grad(lambda x: sg.sum(getattr(sg, name)(x, axis=axis)))(2.0) == 1.0
