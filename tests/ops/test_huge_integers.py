"""Integers that no memory counts to, in the place of every integer that a function takes.

They are refused with a code, or clipped as in NumPy: no result has an axis of 2**63 or more, and
nothing takes long.
"""

import signal
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, ShapeError, StaticgradError
from tests.numpy_names import covered
from tests.ops import keyword_calls as table
from tests.ops.messages import assert_refused

#: 10**9000 has more digits than Python writes.
HUGE = (2**63, 10**9000, -(10**9000))


@contextmanager
def soon(what):
    """Fail where the block takes longer than any of these calls may."""

    def late(*_):
        pytest.fail(f"{what} does not come back")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def with_integer(data, number):
    """``data`` with each integer in it replaced, one after the other."""
    if type(data) is int:
        yield number
    elif isinstance(data, tuple | list):
        for place, each in enumerate(data):
            for other in with_integer(each, number):
                yield type(data)([*data[:place], other, *data[place + 1 :]])


def with_integers(sample, number):
    for args in with_integer(sample.args, number):
        yield replace(sample, args=args)
    for name, given in sample.kwargs.items():
        for other in with_integer(given, number):
            yield replace(sample, kwargs={**sample.kwargs, name: other})


def value(array):
    return sg.input("x", array.shape, array.dtype)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", covered())
def test_a_huge_integer_is_refused_or_clipped(name):
    for sample in table.samples(name):
        for number in HUGE:
            for huge in with_integers(sample, number):
                what = f"{name}, {sample.parameter}, {number.bit_length()} bits"
                try:
                    with soon(what):
                        found = table.called(huge, value, "sg")
                except StaticgradError:
                    continue
                for each in table.results(found):
                    if isinstance(each, sg.Value):
                        sizes = [size for size in each.shape if isinstance(size, int)]
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
    wide = sg.zeros((2**40, 2**40))
    with assert_refused(ShapeError, "below 2", line="wide.reshape(2**80)"):
        wide.reshape(2**80)
    with assert_refused(ShapeError, "below 2", line="sg.repeat(wide, 2**30, 0)"):
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
