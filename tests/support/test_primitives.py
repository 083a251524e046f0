"""Scalar primitives over arrays, against Python's numbers one element at a time."""

import itertools
import math
import operator
from fractions import Fraction

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.language.ir.expr import PRIMITIVES
from staticgrad.support.options import options
from staticgrad.support.primitives import MEANING, float_to_integer, scale, window
from tests.helpers.limits import finfo
from tests.native.support import assert_same

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64")


def quotient(a, b):
    if b == 0:
        return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1, b)
    return a / b


def apply_rounding(function):
    """Apply a rounding to a whole number; zeros keep the sign, infinities and NaN stay."""
    return lambda a: math.copysign(function(a), a) if math.isfinite(a) else a


def exact_fma(a, b, c):
    """Return a * b + c of small finite numbers, rounded once to float64."""
    return float(Fraction(a) * Fraction(b) + Fraction(c))


def larger(a, b):
    if a != a or b != b:
        return math.nan
    return max((a, math.copysign(1, a)), (b, math.copysign(1, b)))[0]


def smaller(a, b):
    if a != a or b != b:
        return math.nan
    return min((a, math.copysign(1, a)), (b, math.copysign(1, b)))[0]


#: Primitive -> its value of Python's integers (then wrapped) or floats (then rounded).
ORACLES = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": quotient,
    "neg": operator.neg, "abs": abs,
    "sqrt": lambda a: math.sqrt(a) if a >= 0 else math.copysign(0, a) if a == 0 else math.nan,
    "floor": apply_rounding(math.floor), "ceil": apply_rounding(math.ceil),
    "trunc": apply_rounding(math.trunc),
    "rint": apply_rounding(round),
    "fma": exact_fma,
    "c_fmod": lambda a, b: math.fmod(a, b) if math.isfinite(a) and b and b == b else math.nan,
    "floor_divide": lambda a, b: a // b if b else 0, "remainder": lambda a, b: a % b if b else 0,
    "maximum": larger, "minimum": smaller,
    "and": operator.and_, "or": operator.or_, "xor": operator.xor, "not": operator.invert,
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le,
    "gt": operator.gt, "ge": operator.ge,
    "select": lambda test, a, b: a if test else b, "rarely": lambda test, a, b: a if test else b,
}  # fmt: skip


def shift(name, a, count, bits):
    """Return a shift by any count, as if numbers had all bits."""
    count = count if 0 <= count < bits else bits
    return a << count if name == "shl" else a >> count


def specials(dtype):
    """Return numbers at the edges of a dtype."""
    if dtype == "bool":
        return [False, True]
    if dtype in INTEGERS:
        limits = np.iinfo(dtype)
        near = [0, 1, 2, 3, 7, 8, 31, 32, 63, 64, 100, -1, -2, -7, limits.min, limits.min + 1]
        near += [limits.max, limits.max - 1]
        return [value for value in near if limits.min <= value <= limits.max]
    info = finfo(np.dtype(dtype))
    values = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.7, -3.7, 255.5, 1e30, -1e30]
    values += [math.inf, -math.inf, math.nan, float(info.max), float(info.smallest_subnormal)]
    return [float(np.dtype(dtype).type(value)) for value in values]


def as_array(values, dtype):
    """Round or wrap Python's numbers to a dtype."""
    if dtype in INTEGERS:
        bits = 8 * np.dtype(dtype).itemsize
        return np.array([int(v) % 2**bits for v in values], f"u{bits // 8}").view(dtype)
    return np.array(values).astype(dtype)


def dtypes_of(name):
    """Return the dtypes that a primitive takes."""
    kinds = {"b": ("bool",), "i": INTEGERS, "f": FLOATS, "u": ()}
    return [dtype for kind in PRIMITIVES[name].takes for dtype in kinds[kind]]


CASES = [(name, dtype) for name in MEANING for dtype in dtypes_of(name) if name != "fma"]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_primitives_equal_python(name, dtype):
    count = PRIMITIVES[name].operands
    choice = name in ("select", "rarely")
    columns = [specials("bool" if choice and k == 0 else dtype) for k in range(count)]
    cases = [*itertools.product(*columns)]
    arrays = [
        np.array([case[k] for case in cases], "bool" if choice and k == 0 else dtype)
        for k in range(count)
    ]
    if name in ("shl", "shr"):
        bits = 8 * np.dtype(dtype).itemsize
        expected = [shift(name, a, by, bits) for a, by in cases]
    elif name == "not" and dtype == "bool":
        expected = [not a for (a,) in cases]
    else:
        expected = [ORACLES[name](*case) for case in cases]
    of_comparison = name in ("eq", "ne", "lt", "le", "gt", "ge")
    with np.errstate(all="ignore"):
        expected = as_array(expected, "bool" if of_comparison else dtype)
        actual = np.asarray(MEANING[name](*arrays))
    assert actual.dtype == expected.dtype
    assert_same(actual, expected, f"{name} of {dtype}")


def test_every_primitive_of_the_table_has_an_oracle():
    assert {*ORACLES, "shl", "shr"} == {*MEANING}


@pytest.mark.parametrize("dtype", FLOATS)
def test_fma_equals_fractions(dtype, rng):
    a, b, c = (rng.integers(-(2**20), 2**20, 300).astype(dtype) / 1024 for _ in range(3))
    c[::2] = -(a * b)[::2]  # what is left is what the product lost
    expected = [exact_fma(*map(float, case)) for case in zip(a, b, c, strict=True)]
    assert_same(MEANING["fma"](a, b, c), np.array(expected).astype(dtype), dtype)


@pytest.mark.parametrize("source", FLOATS)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_floats_become_integers_as_x86_converts_them(source, dtype):
    values = [*specials(source), 127.9, 2.0**31, -(2.0**31) - 1, 2.0**63, 2.0**63 + 2.0**40]
    values += [-(2.0**63), 2.0**64, 2.0**62]
    array = np.array(values).astype(source)
    bits = 64 if dtype in ("int64", "uint32", "uint64") else 32

    def convert(value):
        above = dtype == "uint64" and value >= 2.0**63
        value = value - 2.0**63 if above else value
        fits = value == value and -(2.0 ** (bits - 1)) - 1 < value < 2.0 ** (bits - 1)
        return (math.trunc(value) if fits else -(2 ** (bits - 1))) + (2**63 if above else 0)

    with np.errstate(all="ignore"):
        actual = float_to_integer(array, np.dtype(dtype))
    assert_same(actual, as_array([convert(float(v)) for v in array], dtype), f"{source} {dtype}")


@pytest.mark.parametrize("dtype", FLOATS)
def test_scale_equals_ldexp(dtype):
    numbers = [1.0, -3.0, 0.1, 0.0, math.inf, 1e-30]
    exponents = [0.0, 1.0, -1.0, 20.0, -140.0, 100.0]
    cases = [*itertools.product(numbers, exponents)]
    a, n = (np.array(column).astype(dtype) for column in zip(*cases, strict=True))
    expected = [math.ldexp(float(x), int(k)) for x, k in zip(a, n, strict=True)]
    with np.errstate(all="ignore"):
        assert_same(scale(a, n), np.array(expected).astype(dtype), dtype)
        assert scale(a[:2], np.array([math.inf, math.nan]).astype(dtype)).tolist() == [1.0, 1.0]


def test_windows_are_52_bits_of_one_long_number(rng):
    words = [int(word) for word in rng.integers(0, 2**63, 5)]
    number = sum(word << 64 * (4 - k) for k, word in enumerate(words))
    positions = np.arange(0, 320 - 64 + 1, 5, dtype=np.uint64)
    expected = [number >> (320 - 52 - int(p)) & (1 << 52) - 1 for p in positions]
    np.testing.assert_array_equal(window(positions, words), np.array(expected, np.uint64))


#: Formulas of primitives; their gradients have others of them.
FORMULAS = {
    "maximum": lambda x, y: sg.maximum(x, y),
    "minimum": lambda x, y: sg.minimum(x, y),
    "floor_divide": lambda x, y: x // y + x,
    "remainder": lambda x, y: x % y,
    "rounding": lambda x, y: x * (sg.floor(y) + sg.ceil(x) + sg.trunc(y) + sg.rint(x)),
    "fma and scale": lambda x, y: sg.exp(x) * y,
    "cast": lambda x, y: x * sg.clip(y, -100.0, 100.0).astype("int32").astype(x.dtype),
    "shifts": lambda x, y: x * ((sg.constant(np.int32(37)) << (y > 0.0).astype("int32")) >> 1),
    "choice": lambda x, y: sg.where(x < y, x * y, sg.sqrt(abs(x)) + abs(y)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
def test_values_and_slopes_are_bitwise_those_of_kernels(dtype):
    """In plain Python, which computes by this module; at ties, zeros of both signs, and between."""
    numbers = [0.0, -0.0, 1.0, -2.5, 3.7, 40.0]
    feeds = np.array([*itertools.product(numbers, repeat=2)]).astype(dtype)
    x, y = (sg.input(n, (len(feeds),), dtype) for n in "xy")
    weights = np.linspace(0.5, 2.0, len(feeds)).astype(dtype)
    values = {name: formula(x, y) for name, formula in FORMULAS.items()}
    outputs = dict(values)
    for name, value in values.items():
        slopes = sg.grad((value * weights).sum(), [x, y], allow_disconnected=True)
        outputs |= {f"{name} by {k}": slope for k, slope in zip("xy", slopes, strict=True)}
    graph = sg.Graph(outputs)
    arrays = dict(zip("xy", feeds.T.copy(), strict=True))
    compiled = sg.compile(graph).run(arrays)
    with options(jit=False):
        plain = sg.compile(graph).run(arrays)
    for name, array in compiled.items():
        assert_same(plain[name], array, name)
