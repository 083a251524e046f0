"""Scalar primitives over NumPy arrays, each defined once.

The interpreter of expressions (``analysis.interpret``) and the kernel language in plain Python
(``native.plain``) both compute by them. Results have the bits of compiled kernels, except that any
NaN equals any NaN. Warnings of NumPy are the caller's to turn off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


# -- extrema, shifts -------------------------------------------------------------------------------


def maximum(a: Array, b: Array) -> Array:
    """Return the larger number; NaN wins; -0 < +0."""
    larger: Array = np.maximum(a, b)
    if a.dtype.kind != "f":
        return larger
    # NumPy gives either of two zeros that compare equal: here the positive one is larger.
    return np.where(a == b, np.where(np.signbit(a), b, a), larger)


def minimum(a: Array, b: Array) -> Array:
    """Return the smaller number; NaN wins; -0 < +0."""
    smaller: Array = np.minimum(a, b)
    if a.dtype.kind != "f":
        return smaller
    return np.where(a == b, np.where(np.signbit(a), a, b), smaller)


def shift_left(a: Array, count: Array) -> Array:
    """Shift bits left; counts of the width or more, and negative ones, shift everything out."""
    inside = _within_width(count)
    return np.where(inside, a << np.where(inside, count, count.dtype.type(0)), a.dtype.type(0))


def shift_right(a: Array, count: Array) -> Array:
    """Shift bits right, arithmetically if signed.

    Counts of the width or more, and negative ones, leave only the sign.
    """
    inside = _within_width(count)
    if a.dtype.kind == "i":
        # C and LLVM leave a shift by the width or more undefined.
        last = count.dtype.type(8 * a.dtype.itemsize - 1)
        return np.asarray(a >> np.where(inside, count, last))
    return np.where(inside, a >> np.where(inside, count, count.dtype.type(0)), a.dtype.type(0))


def _within_width(count: Array) -> Array:
    return np.asarray((count >= 0) & (count < 8 * count.dtype.itemsize))


# -- conversions, bits -----------------------------------------------------------------------------


def float_to_integer(x: Array, dtype: np.dtype[Any]) -> Array:
    """Truncate floats to integers as x86-64 does.

    NaN and what does not fit becomes the smallest int64 (for int64, uint32 and uint64) or int32
    (for the others), narrowed; uint64 takes floats up to 2**64 and wraps above.
    """
    if dtype == np.uint64:
        # x86-64 converts floats to signed integers alone before AVX-512: the upper half of the
        # range is converted less 2**63, and the top bit is set again.
        large = x >= 2.0**63
        low = _truncate(np.where(large, x - x.dtype.type(2.0**63), x), 64)
        return np.where(large, low ^ np.int64(-(2**63)), low).astype(dtype)
    return _truncate(x, 64 if dtype in (np.int64, np.uint32) else 32).astype(dtype)


def _truncate(x: Array, bits: int) -> Array:
    """Return x without its fraction as a signed integer; the smallest one where it does not fit."""
    truncated = np.trunc(x)
    fits = (truncated >= -(2.0 ** (bits - 1))) & (truncated < 2.0 ** (bits - 1))
    inside = np.where(fits, truncated, 0).astype(f"int{bits}")
    return np.where(fits, inside, inside.dtype.type(-(2 ** (bits - 1))))


def scale(a: Array, exponent: Array) -> Array:
    """Return a * 2**exponent rounded once, of a float that is whole; 1 for what is not finite."""
    finite = np.where(np.isfinite(exponent), exponent, 0)
    return np.asarray(np.ldexp(a, finite.astype(np.int32)))


def window(position: Array, words: Sequence[int]) -> Array:
    """Return 52 bits from a bit position on; see ``ir.expr.window``."""
    content = b"".join(word.to_bytes(8, "big") for word in words)
    # Eight bytes from the byte of the first bit on contain the 52 bits: at most 7 + 52 of 64.
    starts = np.minimum(position >> 3, len(content) - 8).astype(np.int64)
    around = np.frombuffer(content, np.uint8)[starts[..., None] + np.arange(8)]
    bits = np.ascontiguousarray(around).view(">u8")[..., 0].astype(np.uint64)
    # the first bit to the top, then 52 bits to the bottom
    return np.asarray(bits << (position & 7) >> 12)


# -- fused multiply-add ----------------------------------------------------------------------------


#: The bits that float64 has and float32 has not, and those of what is midway between two of these.
_SPARE_BITS, _MIDWAY = np.uint64((1 << 29) - 1), np.uint64(1 << 28)
_LEAST_NORMAL: Final = 2.0**-126  # of float32


def _round_to_odd(total: Array, lost: Array) -> Array:
    """Round a float64 sum to odd, given the rounding error that it lost.

    A value rounded so can be rounded again, to a format at least two bits shorter, as if only once
    (Boldo & Melquiond 2008).
    """
    pattern = np.atleast_1d(total).view(np.int64).copy()
    wrong = ((lost > 0) | (lost < 0)) & (pattern & 1 == 0)
    away = (lost > 0) == (total > 0)
    pattern += np.where(wrong, np.where(away, 1, -1), 0)
    return pattern.view(np.float64).reshape(np.shape(total))


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b rounded, and exactly what the rounding lost (Knuth)."""
    total = a + b
    b_rounded = total - a
    return total, (a - (total - b_rounded)) + (b - b_rounded)


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """a * b rounded, and exactly what the rounding lost (Dekker; Veltkamp's splitting)."""
    product = a * b
    # 2**27 + 1 splits 53 bits into two numbers of 26, whose products are exact.
    a_high, b_high = (v * 134217729.0 - (v * 134217729.0 - v) for v in (a, b))
    a_low, b_low = a - a_high, b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c rounded once, for float32 and float64 arrays of one dtype that broadcast."""
    a, b, c = np.broadcast_arrays(a, b, c)
    with np.errstate(all="ignore"):
        return _FMA[a.dtype.char](a.ravel(), b.ravel(), c.ravel()).reshape(a.shape)


def fma_float32(a: Array, b: Array, c: Array) -> Array:
    """Return a * b + c rounded once, for float32 arrays of one axis and one length.

    The product is exact in float64: 48 of 53 bits. A sum that is rounded there, and to float32
    after that, is as if it were rounded once, unless the first rounding gives what is midway
    between two float32 numbers, or the result is denormal. There the first rounding is to odd: with
    more than two spare bits it can be rounded again as if once (Boldo & Melquiond 2008).
    """
    product = a.astype(np.float64)
    product *= b
    total = product + c
    size = abs(total)
    is_open = (total.view(np.uint64) & _SPARE_BITS) == _MIDWAY
    is_open |= (size < _LEAST_NORMAL) & (size > 0)
    rounded = total.astype(np.float32)
    if np.count_nonzero(is_open):
        exact = _two_sum(product[is_open], c[is_open].astype(np.float64))
        rounded[is_open] = _round_to_odd(*exact).astype(np.float32)
    return rounded


def _fma64(a: Array, b: Array, c: Array) -> Array:
    """Compute float64 fma by error-free transformations, scaled if magnitudes are extreme."""
    # Then a * b is within 2**-800 and 2**800: neither it nor its rounding errors are subnormal.
    moderate = _is_moderate(a, 400) & _is_moderate(b, 400) & ((c == 0) | _is_moderate(c, 900))
    if moderate.all():
        return _fma_moderate(a, b, c)
    are_finite = np.isfinite(a) & np.isfinite(b)
    result = np.where(are_finite & ~np.isfinite(c), c, a * b + c)
    result[moderate] = _fma_moderate(a[moderate], b[moderate], c[moderate])
    needs_scaling = are_finite & np.isfinite(c) & (a != 0) & (b != 0) & ~moderate
    result[needs_scaling] = _fma_scaled(a[needs_scaling], b[needs_scaling], c[needs_scaling])
    return result


_FMA: Final = {"f": fma_float32, "d": _fma64}


def _is_moderate(x: Array, exponent: int) -> Array:
    size = np.abs(x)
    return (size >= 2.0**-exponent) & (size <= 2.0**exponent)


def _fma_moderate(a: Array, b: Array, c: Array) -> Array:
    """Compute fma where no step over- or underflows (Boldo & Melquiond 2008, figure 9)."""
    product, product_low = _two_product(a, b)
    middle, low = _two_sum(c, product_low)
    high, middle_low = _two_sum(product, middle)
    return np.asarray(high + _round_to_odd(*_two_sum(low, middle_low)))


def _fma_scaled(a: Array, b: Array, c: Array) -> Array:
    """Compute fma of finite numbers with separate exponents, so that nothing overflows.

    A summand more than 300 binades below the other acts by its sign alone and is kept at 300.
    Results that come out denormal must not be rounded twice; those go through exact fractions.
    """
    from fractions import Fraction  # takes longer to import than most programs need it

    # a = fa * 2**ea with 0.5 <= abs(fa) < 1. The larger summand is scaled by the exponent 0.
    (fa, ea), (fb, eb), (fc, ec) = np.frexp(a), np.frexp(b), np.frexp(c)
    ep = ea + eb
    top = np.where(c == 0, ep, np.maximum(ep, ec))
    fa = np.ldexp(fa, np.maximum(ep - top, -300))
    fc = np.ldexp(fc, np.maximum(ec - top, -300))
    scaled = _fma_moderate(fa, fb, fc)
    result = np.ldexp(scaled, top)
    for i in np.flatnonzero((np.frexp(scaled)[1] + top < -1020) & (scaled != 0)):
        result[i] = float(Fraction(float(a[i])) * Fraction(float(b[i])) + Fraction(float(c[i])))
    return result


# -- by name ---------------------------------------------------------------------------------------

MEANING: Final[dict[str, Callable[..., Any]]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "neg": np.negative, "abs": np.abs,
    "sqrt": np.sqrt, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint,
    "fma": fma, "c_fmod": np.fmod,
    "floor_divide": np.floor_divide, "remainder": np.remainder,
    "maximum": maximum, "minimum": minimum,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert,
    "shl": shift_left, "shr": shift_right,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal, "select": np.where, "rarely": np.where,
}  # fmt: skip
"""Name of a primitive (``ir.expr``) -> its function of arrays."""
