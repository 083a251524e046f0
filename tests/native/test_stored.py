"""Elements for storage, to the bit: every pattern widened; what lies between patterns rounded."""

import functools

import numpy as np
import pytest

from staticgrad.language.types.dtype import ALL_DTYPES
from staticgrad.native.language.kinds import ELEMENTS, LANES
from tests.native.support import SOURCES, call

STORED = [dtype for dtype in ALL_DTYPES if dtype.is_storage]
EVERY_STORED = pytest.mark.parametrize("dtype", STORED, ids=str)
EVERY_MODE = pytest.mark.parametrize("mode", SOURCES)
SOME = 11  # plain Python takes one of so many


def values(dtype):
    """The number of every pattern without a sign, in float64: zero, denormals, ..., infinity.

    By the definition of IEEE 754's formats.
    """
    patterns = np.arange(infinity(dtype) + 1)
    fraction = dtype.digits - 1
    exponent, mantissa = patterns >> fraction, patterns & ((1 << fraction) - 1)
    normal = np.ldexp(
        (1 << fraction) + mantissa.astype(np.float64), exponent - dtype.bias - fraction
    )
    denormal = np.ldexp(mantissa.astype(np.float64), 1 - dtype.bias - fraction)
    numbers = np.where(exponent == 0, denormal, normal)
    numbers[-1] = np.inf
    return numbers


def infinity(dtype):
    """The pattern of infinity: all ones in the exponent's field, none in the fraction's."""
    fraction = dtype.digits - 1
    return (1 << (dtype.bits - 1)) - (1 << fraction)


@functools.cache
def halfway_points(dtype):
    """Numbers halfway between all neighbours, and the patterns below and above them.

    Beyond the largest number the next one would be a power of two: from halfway on it is infinity.
    """
    exact = values(dtype)
    exact[-1] = 2.0 ** (dtype.bias + 1)
    patterns = np.arange(len(exact) - 1)
    return (exact[:-1] + exact[1:]) / 2, patterns, patterns + 1


def convert(numbers, source, target, mode, lanes=16):
    """Return the bits that a kernel's cast gives."""
    text = f"""
def kernel(t, own, begin, end):
    p = ptr_{source}(t[0]); q = ptr_{target}(t[1])
    for i in range(begin, end, {lanes}):
        m = mask{lanes}(end - i)
        store(q, i, cast_{target}(load(p, i, m)), m)
"""
    out = np.zeros(len(numbers), ELEMENTS[target].numpy)
    call(text, [np.ascontiguousarray(numbers), out], [], 0, len(numbers), mode=mode)
    return out


def check(numbers, source, dtype, expected_bits, mode):
    step = SOME if mode == "python" else 1
    with np.errstate(over="ignore"):
        inputs = numbers.astype(ELEMENTS[source].numpy)
    sign = 1 << (dtype.bits - 1)
    for which, expected in ((inputs, expected_bits), (-inputs, expected_bits | sign)):
        actual = convert(which[::step], source, dtype.code, mode)
        wrong = np.flatnonzero(actual != expected[::step])
        assert not wrong.size, (which[::step][wrong[:5]], actual[wrong[:5]])


@pytest.mark.thinned(3)
@EVERY_MODE
@EVERY_STORED
@pytest.mark.parametrize("target", ["f32", "f64"])
def test_every_pattern_is_widened_exactly(dtype, target, mode):
    patterns = np.arange(1 << dtype.bits, dtype=np.uint16)
    exact = np.full(1 << (dtype.bits - 1), np.nan)
    exact[: infinity(dtype) + 1] = values(dtype)
    expected = np.concatenate([exact, -exact]).astype(ELEMENTS[target].numpy)
    step = SOME if mode == "python" else 1
    actual = convert(patterns[::step], dtype.code, target, mode)
    np.testing.assert_array_equal(actual, expected[::step])
    assert np.array_equal(np.signbit(actual[0]), False)


@pytest.mark.thinned(3)
@EVERY_MODE
@EVERY_STORED
@pytest.mark.parametrize("source", ["f32", "f64"])
def test_every_number_is_stored_as_itself(dtype, source, mode):
    check(values(dtype), source, dtype, np.arange(infinity(dtype) + 1), mode)


@pytest.mark.thinned(4)
@EVERY_MODE
@EVERY_STORED
@pytest.mark.parametrize("source", ["f32", "f64"])
def test_halfway_goes_to_even_and_next_to_it_to_the_nearest(dtype, source, mode):
    middle, below, above = halfway_points(dtype)
    number = ELEMENTS[source].numpy.type
    check(middle, source, dtype, np.where(below % 2 == 0, below, above), mode)
    near = middle.astype(number)
    check(np.nextafter(near, number(0)), source, dtype, below, mode)
    check(np.nextafter(near, number(np.inf)), source, dtype, above, mode)


@pytest.mark.thinned
@EVERY_MODE
@EVERY_STORED
@pytest.mark.parametrize("source", ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"])
def test_integers_are_rounded_once(dtype, source, mode):
    """Also those that no float between holds: each middle, and what is next to it."""
    middle, below, above = halfway_points(dtype)
    most = int(np.iinfo(ELEMENTS[source].numpy).max)
    inside = [i for i in np.flatnonzero(middle == np.rint(middle)) if 1 < int(middle[i]) < most - 1]
    if dtype.digits >= ELEMENTS[source].digits:
        assert not inside
        return
    even = np.where(below % 2 == 0, below, above)
    signed = ELEMENTS[source].is_signed
    for shift, patterns in ((0, even), (-1, below), (1, above)):
        exact = [int(middle[i]) + shift for i in inside]
        numbers, expected = np.array(exact, ELEMENTS[source].numpy), patterns[inside]
        actual = convert(numbers, source, dtype.code, mode)
        assert np.array_equal(actual, expected), f"{shift}: {numbers[actual != expected][:5]}"
        if signed:
            actual = convert(-numbers, source, dtype.code, mode)
            assert np.array_equal(actual, expected | (1 << (dtype.bits - 1)))


@pytest.mark.thinned(7)
@EVERY_MODE
@EVERY_STORED
@pytest.mark.parametrize("lanes", LANES)
def test_what_no_number_is_stays_one(dtype, lanes, mode):
    for source in ("f32", "f64"):
        inputs = np.array([np.nan, -np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-300, -0.0] * 3)
        with np.errstate(over="ignore"):
            inputs = inputs.astype(ELEMENTS[source].numpy)
        stored = convert(inputs, source, dtype.code, mode, lanes)
        actual = convert(stored, dtype.code, "f32", mode, lanes)
        expected = np.array([np.nan, np.nan, np.inf, -np.inf, np.inf, -np.inf, 0.0, -0.0] * 3)
        np.testing.assert_array_equal(actual, expected)
        np.testing.assert_array_equal(np.signbit(actual[2:8]), np.signbit(expected[2:8]))
