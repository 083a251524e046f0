"""Integers: at the extremes of every dtype against NumPy, and too large to count to.

They are refused with a code, or clipped as in NumPy: no result has an axis of 2**63 or more, and
nothing takes long.
"""

import signal
import warnings
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, ShapeError, StaticgradError
from staticgrad.exports import FUNCTIONS
from staticgrad.language.types.dtype import ALL_DTYPES
from tests.laws.elementwise_samples import special
from tests.numpy_names import covered_functions
from tests.ops import keyword_calls as table
from tests.ops.messages import assert_refused

INTEGERS = [dtype.numpy.name for dtype in ALL_DTYPES if dtype.is_integer]
NAMES = sorted({part.partition("=")[0] for text in FUNCTIONS.values() for part in text.split()})
#: Functions that differ by design, or are not called with whole arrays, and why.
LEFT_OUT = {
    "bincount": "it has as many results as the largest integer",
    "histogramdd": "its second result is a tuple of edges",
    "reciprocal": "1 / x is floating here",
    "rint": "an integer is rounded already, and stays an integer",
    "spacing": "of the narrower dtype of NumPy",
    "trapezoid": "NumPy adds neighbours before it converts, and wraps",
    "unwrap": "NumPy takes differences before it converts, and unsigned ones wrap",
    "ones_like": "the operand is not an input of the graph",
    "zeros_like": "the operand is not an input of the graph",
    "searchsorted": "the first operand must be sorted",
}


def samples(dtype):
    """Extremes and ordinary integers, and all pairs of them."""
    (kind,) = (candidate for candidate in ALL_DTYPES if candidate.numpy.name == dtype)
    values = np.concatenate([special(kind), np.array([6, 12, 93], dtype)])
    x, y = (grid.ravel() for grid in np.meshgrid(values, values))
    return values, x, y


def calls(dtype):
    """Every function that takes one integer array, or two: values, NumPy's results, the inputs."""
    single, x, y = samples(dtype)
    feeds = {"single": single, "x": x, "y": y}
    inputs = {name: sg.input(name, array.shape, dtype) for name, array in feeds.items()}
    values = {}
    expected = {}
    for name in NAMES:
        function = getattr(np, name, None)
        is_binary = isinstance(function, np.ufunc) and function.nin == 2
        if function is None or name in LEFT_OUT:
            continue
        operands = ("x", "y") if is_binary or name in ("isclose", "divmod") else ("single",)
        true = in_numpy(function, [feeds[key] for key in operands])
        if true is None:
            continue
        try:
            actual = getattr(sg, name)(*(inputs[key] for key in operands))
        except StaticgradError:
            continue
        if isinstance(actual, bool):  # of dtypes, not of elements
            continue
        actual = actual if isinstance(actual, tuple | list) else [actual]
        for place, (value, array) in enumerate(zip(actual, true, strict=True)):
            values[f"{name} {place}"], expected[f"{name} {place}"] = value, array
    return values, expected, feeds


def in_numpy(function, operands):
    """NumPy's results as arrays; None if it refuses the operands."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = function(*(array.copy() for array in operands))
    except (TypeError, ValueError, np.linalg.LinAlgError):
        return None
    arrays = [np.asarray(a) for a in (results if isinstance(results, tuple | list) else [results])]
    return arrays if all(a.dtype.kind in "biuf" for a in arrays) else None


@pytest.mark.slow
@pytest.mark.parametrize("dtype", INTEGERS)
def test_functions_of_integers_at_the_extremes_are_numpys(dtype):
    values, expected, feeds = calls(dtype)
    assert {name.partition(" ")[0] for name in values} >= {
        "abs", "cumsum", "diff", "divmod", "floor_divide", "fmod", "isclose",
        "left_shift", "matmul", "maximum", "multiply", "ptp", "remainder", "sign", "sort", "sum",
    }  # fmt: skip
    for results in (sg.evaluate(values, feeds), sg.compile(values).run(feeds)):
        for name, true in expected.items():
            assert_agrees(name, results[name], true)


def assert_agrees(name, actual, true):
    """Equal integers; floating results are NumPy's as far as its narrower dtype holds them."""
    if true.dtype.kind != "f":
        assert actual.dtype == true.dtype, name
        np.testing.assert_array_equal(actual, true, err_msg=name)
        return
    with np.errstate(over="ignore"):
        actual = actual.astype(true.dtype)
    eps = float(np.finfo(true.dtype).eps)
    np.testing.assert_allclose(actual, true, rtol=8 * eps, atol=8 * eps, err_msg=name)


#: 10**9000 has more digits than Python writes.
HUGE = (2**63, 10**9000, -(10**9000))


@contextmanager
def soon(what):
    """Fail where the block takes longer than any of these calls may."""

    def late(*_):
        pytest.fail(f"{what} does not come back")

    old_handler = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old_handler)


def with_integer(data, number):
    """``data`` with each integer in it replaced, one after the other."""
    if type(data) is int:
        yield number
    elif isinstance(data, tuple | list):
        for place, element in enumerate(data):
            for replacement in with_integer(element, number):
                yield type(data)([*data[:place], replacement, *data[place + 1 :]])


def with_integers(sample, number):
    for args in with_integer(sample.args, number):
        yield replace(sample, args=args)
    for name, option in sample.kwargs.items():
        for replacement in with_integer(option, number):
            yield replace(sample, kwargs={**sample.kwargs, name: replacement})


def value(array):
    return sg.input("x", array.shape, array.dtype)


@pytest.mark.skipif(not table.IS_READABLE, reason="older NumPy")
@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", covered_functions())
def test_a_huge_integer_is_refused_or_clipped(name):
    for sample in table.samples(name):
        for number in HUGE:
            for huge in with_integers(sample, number):
                what = f"{name}, {sample.parameter}, {number.bit_length()} bits"
                try:
                    with soon(what):
                        outputs = table.make_call(huge, value, "sg")
                except StaticgradError:
                    continue
                for output in table.results(outputs):
                    if isinstance(output, sg.Value):
                        sizes = [size for size in output.shape if isinstance(size, int)]
                        assert max(sizes, default=0) < 2**63, what


X = np.zeros((2, 3), "float32")


@pytest.mark.parametrize("bits", [63, 1329, 29898])
@pytest.mark.parametrize(
    ("call", "of", "says"),
    [
        (lambda x, n: sg.repeat(x, n), ShapeError, "below 2"),
        (lambda x, n: sg.one_hot([1, 2], n), ShapeError, "below 2"),
        (lambda x, n: sg.input("x", (n,)), ShapeError, "below 2"),
        (lambda x, n: sg.split(x, n), ArgumentError, "parts|64 bits"),
        (lambda x, n: sg.scan(lambda c, x: (c, c), x, None, length=n), ArgumentError, "iterations"),
        (lambda x, n: sg.nn.Linear(n, 2), ArgumentError, "no memory has room"),
    ],
)
@pytest.mark.parametrize("make", [sg.constant, table.tensor])
def test_how_it_is_refused(make, call, of, says, bits):
    with pytest.raises(of, match=says):
        call(make(X), 1 << bits)


def test_products_of_sizes_are_no_longer_axes():
    wide = sg.zeros((2**40, 2**20))
    with assert_refused(ShapeError, "below 2", line="wide.reshape(2**80)"):
        wide.reshape(2**80)
    with assert_refused(ShapeError, "less than 2", line="sg.repeat(wide, 2**30, 0)"):
        sg.repeat(wide, 2**30, 0)
    text = str(sg.Graph({"y": sg.zeros((2**62,))})).replace(str(2**62), str(2**63))
    with pytest.raises(sg.errors.ParseError, match="below 2"):
        sg.parse(text)


@pytest.mark.parametrize("bits", [63, 29898])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_slice_clips_any_integer(bits, sign):
    huge = sign << bits
    numbers = np.arange(5.0)
    for key in (slice(huge), slice(huge, None), slice(None, None, huge)):
        for x in (sg.constant(numbers), sg.input("x", ("n",), "float64")):
            graph = sg.Graph({"y": x[key]})
            feeds = dict.fromkeys(graph.inputs, numbers)
            np.testing.assert_array_equal(sg.evaluate(graph, feeds)["y"], numbers[key])
