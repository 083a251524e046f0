"""Every primitive by hand or against exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st

from staticgrad.analysis.interpret import fma, interpret
from staticgrad.ir.expr import apply, literal, ref
from staticgrad.native.plain.lanes import fma as fma_of_lanes
from staticgrad.types.dtype import F32, F64, I8, I32, U32, U64
from tests.limits import finfo
from tests.native.support import assert_same


def evaluate(root, **named):
    return interpret([root], lambda node: named[str(node.attribute)])[0]


def binary(op, a, b, dtype):
    x, y = np.array(a, dtype.numpy), np.array(b, dtype.numpy)
    return evaluate(apply(op, ref("x", dtype), ref("y", dtype)), x=x, y=y)


def rounded(exact, dtype):
    """The nearest number of the format, ties to even; exact is not 0."""
    fraction, least = (23, -149) if dtype == F32 else (52, -1074)
    limit = float(finfo(dtype.numpy).max)
    size = abs(exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    unit = Fraction(2) ** max(exponent - fraction, least)
    nearest = round(size / unit) * unit
    value = float(nearest) if nearest <= limit else float("inf")
    return value if exact > 0 else -value


def exact_fma(a, b, c, dtype):
    if not np.isfinite([a, b, c]).all():
        with np.errstate(all="ignore"):
            finite = np.isfinite([a, b]).all()
            return float(c if finite else np.float64(a) * np.float64(b) + np.float64(c))
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact:
        return rounded(exact, dtype)
    product = np.copysign(1.0, a) * np.copysign(1.0, b)
    return -0.0 if product < 0 and np.copysign(1.0, c) < 0 and c == 0 else 0.0


def close_calls(width):
    """Random operands, few-bit ones that make ties, and summands that nearly cancel the product."""
    any_float = st.floats(width=width)
    few_bits = st.builds(
        lambda m, e: float(np.ldexp(m, e)),
        st.integers(-(2 ** (width // 2 - 3)), 2 ** (width // 2 - 3)),
        st.integers(-75, 20) if width == 32 else st.integers(-560, 60),
    )
    operand = any_float | few_bits
    power = st.builds(
        lambda s, e: s * 2.0**e,
        st.sampled_from([-1, 1]),
        st.integers(-149, 60) if width == 32 else st.integers(-1074, 200),
    )
    cancelling = st.tuples(few_bits, few_bits, st.integers(-2, 2)).map(
        lambda t: (t[0], t[1], _next_to(-t[0] * t[1], t[2], width))
    )
    return st.tuples(operand, operand, operand | power) | cancelling


def _next_to(value, steps, width):
    kind = np.float32 if width == 32 else np.float64
    x = kind(value)
    for _ in range(abs(steps)):
        x = np.nextafter(x, kind(np.inf if steps > 0 else -np.inf))
    return float(x)


def assert_fma(cases, dtype):
    a, b, c = (np.array(column, dtype.numpy) for column in zip(*cases, strict=True))
    expected = np.array([exact_fma(*case, dtype) for case in cases], dtype.numpy)
    with np.errstate(all="ignore"):
        assert_same(fma(a, b, c), expected, "of expressions")
        assert_same(fma_of_lanes(a, b, c), expected, "of lanes")


@given(st.lists(close_calls(32), min_size=1, max_size=20))
def test_fma_f32_rounds_once(cases):
    assert_fma(cases, F32)


@given(st.lists(close_calls(64), min_size=1, max_size=20))
def test_fma_f64_rounds_once(cases):
    assert_fma(cases, F64)


@pytest.mark.parametrize(("dtype", "step"), [(F32, 2.0**-12), (F64, 2.0**-27)])
def test_fma_breaks_ties_by_what_lies_far_below(dtype, step):
    """The product (1 + step)(1 + n step) ends in half a unit; the summand is far smaller."""
    scale = 1 if dtype == F32 else 2
    ties = [(s * (1 + step), 1 + n * scale * step) for s in (1, -1) for n in (1, 3)]
    assert_fma([(a, b, c) for a, b in ties for c in (-(2.0**-100), 0.0, 2.0**-100)], dtype)


def test_fma_f32_rounds_once_among_denormals():
    """A product just below half of the smallest number, added to odd and even multiples of it."""
    a, b = 2.0**-75 * (1 + 2.0**-23), 2.0**-75 * (1 - 2.0**-23)
    multiples = [n * 2.0**-149 for n in (2**22, 2**22 + 1, -(2**22), -(2**22) - 1)]
    assert_fma([(s * a, b, c) for s in (1, -1) for c in multiples], F32)
    assert fma(np.float64(2), np.array([3.0, 4.0]), np.float64(1)).tolist() == [7, 9]
    assert evaluate(literal(2.0, F32).fma(3.0, 4.0)).shape == ()
    rng = np.random.default_rng(5)
    a, b = rng.uniform(1, 2, 400), rng.uniform(0.5, 1, 400) * 2.0**-500
    exponents = rng.choice([2.0**-525, 2.0**-522, 2.0**-540], 400)
    c = rng.uniform(-1, 1, 400) * 2.0**-1022 * rng.choice([0, 1, 2.0**-30], 400)
    assert_fma(list(zip((a * exponents).tolist(), b.tolist(), c.tolist(), strict=True)), F64)


def test_shifts_beyond_the_width_fill():
    counts = [0, 1, 31, 32, 1000, -1]
    assert binary("shl", [3] * 6, counts, I32).tolist() == [3, 6, -(2**31), 0, 0, 0]
    assert binary("shr", [-8] * 6, counts, I32).tolist() == [-8, -4, -1, -1, -1, -1]
    assert binary("shr", [0x80000000] * 4, [0, 31, 32, 255], U32).tolist() == [2**31, 1, 0, 0]
    assert binary("shl", [1, 1], [63, 64], U64).tolist() == [2**63, 0]
    assert binary("shr", [-128, 127], [7, 9], I8).tolist() == [-1, 0]
