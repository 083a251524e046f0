"""Spheroidal and Mathieu functions beyond the arrays of SciPy's library: NaN, and alive."""

import numpy as np
import pytest
import scipy.special

import staticgrad as sg
from staticgrad.errors import ArgumentError
from staticgrad.support.buffer_bounds import BOUNDS
from tests.helpers.processes import python
from tests.ops.messages import assert_refused

NAN, INFINITE = float("nan"), float("inf")
#: m, n, c beyond all bounds; the orders of the last ones become negative as integers of C.
SPHEROIDAL = [
    (0, 180, 1e4), (0, 0, 291.0), (0, 0, 1e10), (0, 1, NAN), (0, 1, INFINITE), (2, 198, 193.0),
    (3e9, 3e9, 1.0), (INFINITE, INFINITE, 1.0), (NAN, 1.0, 1.0),
]  # fmt: skip
#: Beyond the bounds of one kind.
ANGULAR = [*SPHEROIDAL, (0, 180, 500.0), (0, 0, 175.0), (5, 7, 174.0)]
RADIAL = [*ANGULAR, (0, 0, 101.0), (0, 198, 4.0), (0, 0, -25.0), (0, 0, -1e10), (199, 203, 1.0)]
MATHIEU = [
    (0, 1e8), (1, 1e8), (1e8, 1e8), (1, -1e9), (2, NAN), (1, INFINITE), (3e9, 1.0), (502, 0.0),
    (INFINITE, 1.0), (NAN, 1.0), (1, 2200.0), (474, 0.5),
]  # fmt: skip
#: m, n, c or m, q below them, the last ones next to the bounds.
WITHIN = {
    "ang1": [(1, 2, 0.5), (0, 1, 174.4), (0, 180, 84.9), (0, 0, -1e10), (3, 1, 1.0)],
    "rad": [(1, 2, 0.5), (0, 0, 100.9), (0, 198, 1.0), (40, 150, 20.0), (3, 1, 1.0)],
    "mathieu": [(1, 0.5), (2, -30.0), (450, 0.5), (4, 2000.0), (7, 1e-9), (2.5, 1.0)],
    "cv": [(1, 2, 0.5), (0, 180, 200.9), (0, 0, 290.9), (0, 0, -1e10), (3, 1, 1.0), (1, 2.5, 1.0)],
}
X = {"ang1": 0.3, "rad": 1.3, "mathieu": 0.4}

CHILD = """
import warnings
import numpy as np
import staticgrad as sg
from tests.ops.test_buffer_bounds import operands_beyond
from staticgrad.support.buffer_bounds import BOUNDS

warnings.simplefilter("error")
for name in sorted(BOUNDS):
    operands = operands_beyond(name)
    function = getattr(sg.special, name)
    of_arrays = function(*operands)
    inputs = [sg.input(f"x{k}", column.shape, "float64") for k, column in enumerate(operands)]
    values = function(*inputs)
    values = values if isinstance(values, tuple) else (values,)
    feeds = {f"x{k}": column for k, column in enumerate(operands)}
    named = {f"y{k}": value for k, value in enumerate(values)}
    compiled = sg.compile(named).run(feeds).values()
    evaluated = sg.evaluate([*values], feeds)
    mapped = sg.vmap(function)(*operands)
    mapped = mapped if isinstance(mapped, tuple) else (mapped,)
    with sg.eager_mode():
        eager = function(*(sg.constant(column) for column in operands))
    eager = eager if isinstance(eager, tuple) else (eager,)
    of_arrays = of_arrays if isinstance(of_arrays, tuple) else (of_arrays,)
    for results in (of_arrays, compiled, evaluated, mapped, [np.asarray(value) for value in eager]):
        for result in results:
            assert np.isnan(result).all(), (name, result)
print("alive")
"""


def kind_of(name):
    """Return the key of ``WITHIN`` of a function."""
    return next(kind for kind in WITHIN if kind in name)


def operands_of(name, rows):
    """Return rows of orders and parameters as columns, with a characteristic value and x."""
    kind = kind_of(name)
    columns = [np.array(column, "float64") for column in zip(*rows, strict=True)]
    if kind in X:
        extra = [6.1, X[kind]] if name.endswith("_cv") else [X[kind]]
        columns += [np.full(len(rows), value) for value in extra]
    return columns


def operands_beyond(name):
    """Return operands beyond the bounds of a function."""
    rows = {"cv": SPHEROIDAL, "ang1": ANGULAR, "rad": RADIAL, "mathieu": MATHIEU}[kind_of(name)]
    return operands_of(name, rows)


@pytest.mark.parametrize("jit", ["0", "1"])
def test_arguments_beyond_the_arrays_are_nan_and_the_process_lives(jit):
    done = python("-c", CHILD, env={"STATICGRAD_JIT": jit, "MALLOC_CHECK_": "3"})
    assert done.stdout.strip() == "alive"


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_arguments_within_the_arrays_have_scipys_values(name):
    operands = operands_of(name, WITHIN[kind_of(name)])
    with np.errstate(all="ignore"):
        expected = getattr(scipy.special, name)(*operands)
    mixed = [
        np.concatenate(columns) for columns in zip(operands, operands_beyond(name), strict=True)
    ]
    for actual, reference in zip(
        np.atleast_2d(getattr(sg.special, name)(*mixed)), np.atleast_2d(expected), strict=True
    ):
        np.testing.assert_array_equal(actual[: len(reference)], reference)
        assert np.isnan(actual[len(reference) :]).all()
        assert np.isfinite(reference[0])


@pytest.mark.parametrize("name", ["pro_cv_seq", "obl_cv_seq"])
def test_sequences_beyond_the_arrays_are_nan(name):
    function = getattr(sg.special, name)
    for m, n, c in [(0, 180, 1e4), (0, 3, 1e6), (0, 3, NAN), (2, 2, INFINITE)]:
        np.testing.assert_array_equal(function(m, n, c), np.full(n - m + 1, NAN))
    assert np.isfinite(function(0, 3, 288.0)).all()
    for m, n in [(3, 1), (-3, 1), (0, 200), (NAN, 1)]:
        with assert_refused(ArgumentError, f"{name}: SciPy refuses", line="function("):
            function(m, n, 1e6)


@pytest.mark.parametrize("name", ["mathieu_even_coef", "mathieu_odd_coef"])
def test_fourier_coefficients_beyond_the_arrays_are_nan(name):
    function = getattr(sg.special, name)
    for m, q in [(1, 1e9), (2, 2500), (500, 1.0), (10**10, 0.5)]:
        np.testing.assert_array_equal(function(m, q), np.full(251, NAN))
    for m, q in [(1, 2000.0), (450, 0.5)]:
        expected = getattr(scipy.special, name)(m, q)
        np.testing.assert_array_equal(function(m, q), expected)
    for m, q in [(1, NAN), (1, INFINITE), (INFINITE, 1.0), (1, -1.0)]:
        with assert_refused(ArgumentError, f"{name}: SciPy refuses", line="function("):
            function(m, q)
