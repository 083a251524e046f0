"""Thin compositions under NumPy's names: values of NumPy over ranks, sizes and dtypes.

Each call runs by NumPy's dispatch (``np.fmax(x, y)`` of values), and must give what NumPy gives of
the arrays, or refuse where NumPy refuses.
"""

import warnings

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor

SHAPES = ((), (0,), (1,), (2,), (5,), (0, 3), (3, 0), (1, 1), (2, 3), (5, 2), (2, 0, 3), (3, 1, 5))
DTYPES = ("float64", "float32", "int64", "bool")
SPECIAL = np.array([np.nan, 0.5, -0.0, np.inf, 2.0, -np.inf, -1.75, 0.0, 3.0, -2.0])


def array(shape, dtype, shift=0):
    """An array with numbers of each kind that a dtype has."""
    size = int(np.prod(shape))
    numbers = np.roll(np.resize(SPECIAL, max(size, 10)), shift)[:size].reshape(shape)
    if dtype == "bool":
        return numbers > 0
    return np.nan_to_num(numbers, posinf=7, neginf=-5).astype(dtype) if dtype == "int64" else (
        numbers.astype(dtype)
    )  # fmt: skip


def windows(m):
    """NumPy has this one in a module of a module."""
    return getattr(m, "sliding_window_view", np.lib.stride_tricks.sliding_window_view)


def along(function, *others):
    """A call for no axis, and for the first and last one."""
    return [lambda m, x, a=axis: getattr(m, function)(x, *others, axis=a) for axis in (None, 0, -1)]


ONE = "degrees radians fix fabs isposinf isneginf isreal iscomplex copy"
TWO = "mod heaviside logaddexp2 float_power fmax fmin"
REDUCED = "amax amin nanprod nancumsum nancumprod nanargmax nanargmin"
#: Name -> calls of a module's function of the name with one array, or two.
CALLS = {
    **{name: [lambda m, x, n=name: getattr(m, n)(x)] for name in ONE.split()},
    **{name: [lambda m, x, y, n=name: getattr(m, n)(x, y),
              lambda m, x, n=name: getattr(m, n)(x, 2)] for name in TWO.split()},
    **{name: along(name) for name in REDUCED.split()},
    "bincount": [lambda m, x: m.bincount(abs(x).ravel(), minlength=8),
                 lambda m, x: m.bincount(abs(x).ravel(), x.ravel() * 0.5, 9)],
    "choose": [lambda m, x: m.choose(x > 0, [x, x + 1]), lambda m, x, y: m.choose(x > 0, [3, y]),
               lambda m, x: m.choose(x, [x + 1, 2, x], mode="clip"),
               lambda m, x: m.choose(x, [x + 1, 2, x], mode="wrap")],
    "piecewise": [lambda m, x: m.piecewise(x, [x < 0, x > 1], [lambda v: v, 3, lambda v: v * v]),
                  lambda m, x: m.piecewise(x, [x > 0], [lambda v, c, d: v * c + d], 2, d=1)],
    "partition": [lambda m, x: m.partition(x, x.shape[-1] - 1)[..., -1:]],
    "argpartition": [lambda m, x: m.take_along_axis(
        x, m.argpartition(x, x.shape[-1] - 1, axis=-1), -1)[..., -1:]],
    "lexsort": [lambda m, x, y: m.lexsort((x, y)), lambda m, x: m.lexsort(x),
                lambda m, x, y: m.lexsort((x > 0, y, x), axis=0)],
    "array_equiv": [lambda m, x, y: m.array_equiv(x, y), lambda m, x: m.array_equiv(x, x),
                    lambda m, x: m.array_equiv(x, np.ones((7, 7, 7, 7)))],
    "array_split": [lambda m, x: m.array_split(x, 3), lambda m, x: m.array_split(x, 2, -1),
                    lambda m, x: m.array_split(x, [1, 4])],
    **{name: [lambda m, x, n=name: getattr(m, n)(x, 1), lambda m, x, n=name: getattr(m, n)(x, [2])]
       for name in ("hsplit", "vsplit", "dsplit")},
    "rot90": [lambda m, x, k=k: m.rot90(x, k) for k in (0, 1, 2, 3, -1)]
    + [lambda m, x: m.rot90(x, 1, (2, 0)), lambda m, x: m.rot90(x, axes=(1, 1))],
    "diagflat": [lambda m, x: m.diagflat(x), lambda m, x: m.diagflat(x, -2)],
    "atleast_3d": [lambda m, x: m.atleast_3d(x), lambda m, x, y: m.atleast_3d(x, y)],
    "dstack": [lambda m, x, y: m.dstack([x, y])],
    "insert": [lambda m, x: m.insert(x, 0, 7), lambda m, x: m.insert(x, [0, 0], [1, 0], -1),
               lambda m, x: m.insert(x, 1, 1, 0),
               lambda m, x, y: m.insert(x.ravel(), 0, y.ravel())],
    "ediff1d": [lambda m, x: m.ediff1d(x), lambda m, x: m.ediff1d(x, 3, [1, 2])],
    "vander": [lambda m, x: m.vander(x), lambda m, x: m.vander(x, 2),
               lambda m, x: m.vander(x, 4, True), lambda m, x: m.vander(x, 0)],
    "sliding_window_view": [lambda m, x: windows(m)(x, (1,) * x.ndim),
                            lambda m, x: windows(m)(x, 2, -1), lambda m, x: windows(m)(x, 2)],
    "resize": [lambda m, x: m.resize(x, (2, 3)), lambda m, x: m.resize(x, 0),
               lambda m, x: m.resize(x, ())],
    "digitize": [lambda m, x: m.digitize(x, [-1.0, 0.0, 2.0]),
                 lambda m, x: m.digitize(x, [2.0, 0.0, 0.0, -1.0], True),
                 lambda m, x, y: m.digitize(x, m.sort(y.ravel())),
                 lambda m, x, y: m.digitize(x, m.sort(y.ravel())[::-1], True)],
    **{name: [lambda m, x, n=name: getattr(m, n)(x + 1, 8.0, 4),
              lambda m, x, n=name: getattr(m, n)(2.0, x + 4, 3, False, axis=-1),
              lambda m, x, n=name: getattr(m, n)(x + 1, x + 3, 1)]
       for name in ("logspace", "geomspace")},
}  # fmt: skip
#: Name -> texts of errors where NumPy computes.
REFUSED = {
    "piecewise": ["multiply: takes integer and floating"],
    "mod": ["takes integer and floating elements, got bool"],
}
NO_AXIS = "a 0-d value has none"  # NumPy takes axis 0 of a number

#: Names whose result NumPy has no number for, and ours does.
ACCEPTED = ("ediff1d", "geomspace", "nanargmax", "nanargmin")

#: Names whose dtype differs from NumPy's for some dtype of operands.
OTHER_DTYPES = ("bincount", "geomspace", "vander")


def outcome(call, *arrays):
    """Return NumPy's result or error; overflow is ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call(*arrays)
        except (sg.StaticgradError, TypeError, ValueError, IndexError) as error:
            return error


def parts(results):
    return list(results) if isinstance(results, list | tuple) else [results]


@pytest.mark.parametrize("name", CALLS)
def test_values_are_those_of_numpy(name):
    checked = 0
    for call in CALLS[name]:
        for shape in SHAPES:
            for dtype in DTYPES:
                arrays = [array(shape, dtype), array(shape, dtype, 3)][: call.__code__.co_argcount
                          - 1 - len(call.__defaults__ or ())]  # fmt: skip
                checked += check(name, call, arrays)
    assert checked > 10


def check(name, call, arrays):
    """Compare one call; 0 where NumPy refuses, too."""
    expected = outcome(lambda *operands: call(np, *operands), *arrays)
    where = f"{name} of {[(a.dtype.name, a.shape) for a in arrays]}"
    actual = outcome(
        lambda *operands: sg.evaluate(parts(call(np, *operands))), *map(sg.constant, arrays)
    )
    if isinstance(actual, sg.StaticgradError):
        excused = any(words in str(actual) for words in (NO_AXIS, *REFUSED.get(name, ())))
        assert excused or isinstance(expected, Exception), f"{where}: {actual}"
        return 0
    if isinstance(actual, Exception):
        assert type(actual) is type(expected), f"{where}: {actual}"
        return 0
    if isinstance(expected, Exception):
        assert name in ACCEPTED, f"{where}: {expected}"
        return 0
    expected = parts(expected)
    assert len(actual) == len(expected), where
    for ours, theirs in zip(actual, expected, strict=True):
        theirs = np.asarray(theirs)
        assert ours.shape == theirs.shape, where
        if theirs.dtype == "float16":  # NumPy's float of bools
            assert ours.dtype == "float64", where
            ours = ours.astype("float16")
        assert ours.dtype == theirs.dtype or name in OTHER_DTYPES, (where, ours.dtype, theirs.dtype)
        tolerance = {"float16": 2e-3, "float32": 3e-6}.get(ours.dtype.name, 1e-14)
        np.testing.assert_allclose(ours, theirs, tolerance, 1e-300, err_msg=where)
    return 1


@pytest.mark.parametrize("name", CALLS)
def test_names_of_the_package_and_tensors_are_the_same_functions(name):
    for call in CALLS[name]:
        for dtype in ("float64", "bool"):
            arrays = [array((3, 1, 5), dtype), array((3, 1, 5), dtype, 3)]
            count = call.__code__.co_argcount - 1 - len(call.__defaults__ or ())
            arrays = arrays[:count]
            try:
                expected = sg.evaluate(parts(call(np, *map(sg.constant, arrays))))
            except sg.StaticgradError:
                continue
            for m in (sg, np):
                tensors = parts(call(m, *map(Tensor, arrays)))
                for ours, theirs in zip(tensors, expected, strict=True):
                    assert isinstance(ours, Tensor)
                    np.testing.assert_array_equal(ours.numpy(), theirs)
            values = sg.evaluate(parts(call(sg, *map(sg.constant, arrays))))
            for ours, theirs in zip(values, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("number", [-1, 3])
def test_bincount_counts_no_number_beyond_its_bins(number):
    x = sg.input("x", (2,), "int64")
    with pytest.raises(sg.errors.IndexOutOfRange):
        sg.evaluate(sg.bincount(x, minlength=3), {"x": np.array([0, number])})
    with pytest.raises(sg.errors.ArgumentError, match="size of the result must be known"):
        np.bincount(x)
