"""Table from each op to its rule for complex values, which are pairs of real values.

A reading gets the op and its operands, real or complex, and builds real ops. A part that is None is
exactly zero, so that a real operand costs what it costs: ``x * z`` are two products. Linear ops act
on both parts; products are those of (a + ib)(c + id) = (ac - bd) + i(ad + bc), written out.

Elementary functions: W. Kahan, "Branch cuts for complex elementary functions, or much ado about
nothing's sign bit", 1987; division: R. L. Smith, "Algorithm 116", 1962, as NumPy has it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from staticgrad.errors import DTypeError
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.pairs import (
    Complex,
    Part,
    Reading,
    pair,
    parts_of,
    takes_real,
)
from staticgrad.language.ops import transcendental
from staticgrad.language.ops.arithmetic import (
    Abs,
    Add,
    Div,
    IntegerPow,
    Mul,
    Neg,
    Pow,
    Rint,
    Sign,
    Sub,
    absolute,
    integer_power,
    isinf,
    sign,
    signbit,
)
from staticgrad.language.ops.basic import full_like
from staticgrad.language.ops.convert import Cast, astype
from staticgrad.language.ops.indexing import Concat, IndexCopy, Take, concatenate
from staticgrad.language.ops.logic import Eq, Ne, logical_xor
from staticgrad.language.ops.marks import FirstOperand, Mark
from staticgrad.language.ops.movement import broadcast_to, moveaxis, reshape
from staticgrad.language.ops.operands import BilinearOp, LinearOp
from staticgrad.language.ops.reduce import Sum
from staticgrad.language.ops.scans import CumProd, CumSum, LinearScan
from staticgrad.language.ops.selection import Where, copysign, maximum, minimum, where
from staticgrad.language.ops.sparse import PatternOp
from staticgrad.language.ops.transcendental import (
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Cos,
    Cosh,
    Exp,
    Exp2,
    Expm1,
    Log,
    Log1p,
    Log2,
    Log10,
    Sigmoid,
    Sin,
    Sinh,
    Sqrt,
    Tan,
    Tanh,
    arcsin,
    arcsinh,
    arctan2,
    arctanh,
    cosh,
    exp,
    expm1,
    hypot,
    log,
    log1p,
    sqrt,
    tanh,
)
from staticgrad.language.types.arrays import broadcast_shapes
from staticgrad.language.types.dtype import DType

_LN2: Final = 0.6931471805599453
_LOG2_E, _LOG10_E = 1.4426950408889634, 0.4342944819032518


# -- arithmetic, with exact zeros -----------------------------------------------------------------


def _plus(a: Part, b: Part) -> Part:
    return b if a is None else a if b is None else a + b


def _minus(a: Part, b: Part) -> Part:
    return a if b is None else -b if a is None else a - b


def _times(a: Part, b: Part, product: Callable[[Any, Any], Any]) -> Part:
    return None if a is None or b is None else product(a, b)


def _bilinear(product: Callable[[Any, Any], Any], x: Any, y: Any) -> Any:
    """A product that is linear in both operands: two, or four, real ones."""
    (a, b), (c, d) = parts_of(x), parts_of(y)
    re = _minus(_times(a, c, product), _times(b, d, product))
    im = _plus(_times(a, d, product), _times(b, c, product))
    return pair(re, im)


def _linear(op: Op, x: Any, *others: Any) -> Any:
    """An op that is linear in its first operand alone: it acts on both parts."""
    for operand in others:
        if operand.dtype.is_complex:
            raise takes_real(op.name, operand)
    return pair(*[None if part is None else op(part, *others) for part in parts_of(x)])


def _take_rows(op: Any, x: Any, indices: Any) -> Any:
    """Read rows of a stored complex array at once: cheaper than copying its two parts."""
    if x.stored is None or indices.dtype.is_complex:
        return _linear(op, x, indices)
    trailing = x.shape[op.axis + 1 :]
    rows = reshape(x.stored, (*x.shape[: op.axis + 1], math.prod(trailing) * 2))
    taken_rows = op(rows, indices)
    pairs = reshape(taken_rows, (*taken_rows.shape[:-1], *trailing, 2))
    return pairs.kind.complex_kind.of(pairs)


def _add_parts(op: Op, x: Any, y: Any) -> Any:
    """Add or subtract complex values part by part, broadcast to one shape."""
    (a, b), (c, d) = parts_of(x), parts_of(y)
    combine = _plus if isinstance(op, Add) else _minus
    sums = [combine(a, c), combine(b, d)]
    if x.shape != y.shape:  # a part of one operand alone has its shape
        shape = broadcast_shapes([x.shape, y.shape])
        sums = [None if p is None else broadcast_to(p, shape) for p in sums]
    return pair(*sums)


def _divide(op: Op, x: Any, y: Any) -> Any:
    """Divide complex values, scaled so that intermediate products do not overflow."""
    (a, b), (c, d) = parts_of(x), parts_of(y)
    if d is None:
        return pair(*[None if part is None else op(part, c) for part in (a, b)])
    if c is None:  # by an imaginary number
        return pair(None if b is None else op(b, d), None if a is None else -op(a, d))
    # R. L. Smith, Algorithm 116: Complex division, CACM 5 (8), 1962
    large = absolute(c) >= absolute(d)
    big, small = where(large, c, d), where(large, d, c)
    ratio = small / where(big == 0.0, 1.0, big)
    scale = big + small * ratio
    # (a + ib)(c - id): with the larger part of the divisor taken out
    re_factor, im_factor = (where(large, 1.0, ratio), where(large, ratio, 1.0))
    re = _plus(_times(a, re_factor, _mul), _times(b, im_factor, _mul))
    im = _minus(_times(b, re_factor, _mul), _times(a, im_factor, _mul))
    return pair(re / scale, im / scale)


def _mul(a: Any, b: Any) -> Any:
    return a * b


def abs_squared(z: Any) -> Any:
    """The square of the magnitude: re * re + im * im, real."""
    return _plus(*[_times(part, part, _mul) for part in parts_of(z)])


def magnitude(z: Any) -> Any:
    """The magnitude, without overflow on the way; its derivative at 0 is 0."""
    a, b = parts_of(z)
    if a is None or b is None:
        return absolute(b if a is None else a)
    return hypot(a, b)


def angle(z: Any) -> Any:
    """Return a complex number's argument in [-pi, pi]; scaled, so that its derivative is finite."""
    a, b = z.real, z.imag
    most = maximum(absolute(a), absolute(b))
    exponent = np.finfo(a.dtype.numpy).maxexp  # 128 or 1024
    limit, scale = 2.0 ** (exponent * 15 // 32), 2.0 ** (exponent * 25 // 32)  # powers of 2: exact
    scaling = where(most < 1.0 / limit, scale, where(most > limit, 1.0 / scale, full_like(a, 1)))
    return arctan2(b * scaling, a * scaling)


def _sign(_: Op, z: Any) -> Any:
    """z / |z|; where one part alone is infinite that part's sign, as in NumPy."""
    length = magnitude(z)
    safe = where(length == 0.0, 1.0, length)
    infinite = [isinf(part) for part in parts_of(z) if part is not None]
    one_infinite = functools.reduce(logical_xor, infinite)

    def divide_part(part: Any) -> Any:
        direction = sign(where(isinf(part), part, 0.0))
        return where(one_infinite, direction, part / safe)

    return pair(*[None if part is None else divide_part(part) for part in parts_of(z)])


def _integer_power(op: Any, z: Any) -> Any:
    if op.exponent == 0:
        return pair(full_like(z.real, 1), None)
    power = integer_power(z, abs(op.exponent))
    return power if op.exponent > 0 else 1.0 / power


def _power(_: Op, z: Any, w: Any) -> Any:
    """exp(w log z); of z = 0 it is 1 for w = 0, else 0."""
    zero = (z.real == 0.0) & (z.imag == 0.0)
    base = where(zero, 1.0, z)
    powers = exp(w * log(base))
    is_zero = zero & ~((w.real == 0.0) & (w.imag == 0.0))
    return where(is_zero, 0.0, powers)


# -- elementary functions -------------------------------------------------------------------------


def _exp(_: Op, z: Any) -> Any:
    """Compute the exponential of a complex value: exp(re) * (cos(im), sin(im))."""
    a, b = parts_of(z)
    if b is None:
        return pair(exp(a), None)
    size = None if a is None else exp(a)
    cos, sin = transcendental.cos(b), transcendental.sin(b)
    if size is None:
        return pair(cos, sin)
    return pair(size * cos, _without_overflow(size, b, sin))


def _without_overflow(size: Any, b: Any, sin: Any) -> Any:
    """size * sin(b), and 0 where that is an infinity times 0."""
    return where((b == 0.0) & (size == math.inf), b, size * sin)


def _expm1(_: Op, z: Any) -> Any:
    a, b = z.real, z.imag
    # exp(a) cos(b) - 1 = expm1(a) cos(b) + cos(b) - 1, and cos(b) - 1 = -2 sin(b / 2)**2
    half = transcendental.sin(0.5 * b)
    im = _without_overflow(exp(a), b, transcendental.sin(b))
    return pair(expm1(a) * transcendental.cos(b) - 2.0 * half * half, im)


def _log_magnitude(a: Any, b: Any) -> Any:
    """Compute log(hypot(a, b)); near 1 from a**2 + b**2 - 1, which keeps all digits."""
    x, y = absolute(a), absolute(b)
    most, least = maximum(x, y), minimum(x, y)
    # Where the magnitude may be near 1, its logarithm is small and log of the rounded magnitude
    # would lose the digits.
    near = (most > 0.5) & (most < 1.5) & (least < 1.5)
    inside, beside = where(near, most, 1.0), where(near, least, 0.0)
    off = (inside - 1.0) * (inside + 1.0) + beside * beside
    return where(near, 0.5 * log1p(off), log(where(near, 1.0, hypot(a, b))))


def _log(_: Op, z: Any) -> Any:
    return pair(_log_magnitude(z.real, z.imag), angle(z))


def _log1p(_: Op, z: Any) -> Any:
    a, b = z.real, z.imag
    # |1 + z|**2 - 1, which keeps all digits of a small z
    off = a * (2.0 + a) + b * b
    near = absolute(off) < 0.5
    far = log(where(near, 1.0, hypot(1.0 + a, b)))
    size = where(near, 0.5 * log1p(where(near, off, 0.0)), far)
    return pair(size, angle(pair(1.0 + a, b)))


def _sqrt(_: Op, z: Any) -> Any:
    """Compute the principal square root of a complex value without overflow."""
    a, b = z.real, z.imag
    right, below = a >= 0.0, signbit(b)
    # halves, so that neither the sum nor the magnitude overflows
    root = sqrt(0.5 * where(right, a, -a) + hypot(0.5 * a, 0.5 * b))
    half = 0.5 * b / where(root == 0.0, 1.0, root)
    # a magnitude and a sign that are not lost where they change: by branches, not by abs
    signed = [where(below, -part, part) for part in (half, root)]
    return pair(where(right, root, signed[0]), where(right, half, signed[1]))


def _sin(_: Op, z: Any) -> Any:
    a, b = z.real, z.imag
    return pair(transcendental.sin(a) * cosh(b), transcendental.cos(a) * transcendental.sinh(b))


def _cos(_: Op, z: Any) -> Any:
    a, b = z.real, z.imag
    return pair(transcendental.cos(a) * cosh(b), -(transcendental.sin(a) * transcendental.sinh(b)))


def _sinh(_: Op, z: Any) -> Any:
    a, b = z.real, z.imag
    return pair(transcendental.sinh(a) * transcendental.cos(b), cosh(a) * transcendental.sin(b))


def _cosh(_: Op, z: Any) -> Any:
    a, b = z.real, z.imag
    return pair(cosh(a) * transcendental.cos(b), transcendental.sinh(a) * transcendental.sin(b))


#: From here on tanh is 1 to all digits.
_FLAT: Final = 22.0


def _tanh(_: Op, z: Any) -> Any:
    """Compute tanh of a complex value without overflow."""
    a, b = z.real, z.imag
    flat = absolute(a) > _FLAT
    x = where(flat, 1.0, a)
    # tanh(a + ib) = (sinh(a) cosh(a) + i sin(b) cos(b)) / (sinh(a)**2 + cos(b)**2)
    sinh, cos = transcendental.sinh(x), transcendental.cos(b)
    scale = sinh * sinh + cos * cos
    # Far out sinh(a)**2 is exp(2 |a|) / 4, which may overflow: its reciprocal is used.
    decay = exp(-2.0 * absolute(where(flat, a, _FLAT)))
    re = where(flat, sign(a), sinh * cosh(x) / scale)
    im = where(flat, 4.0 * transcendental.sin(b) * cos * decay, transcendental.sin(b) * cos / scale)
    return pair(re, im)


def _times_i(z: Any) -> Any:
    """The value times i."""
    return pair(-z.imag, z.real)


def _turned_back(z: Any) -> Any:
    """The value times -i."""
    return pair(z.imag, -z.real)


def _tan(_: Op, z: Any) -> Any:
    return _turned_back(tanh(_times_i(z)))


def _roots(z: Any) -> tuple[Any, Any]:
    """sqrt(1 - z) and sqrt(1 + z); signs of a zero imaginary part choose the side of a cut."""
    return sqrt(pair(1.0 - z.real, -z.imag)), sqrt(pair(1.0 + z.real, z.imag))


def _asin(_: Op, z: Any) -> Any:
    left, right = _roots(z)
    re = arctan2(z.real, left.real * right.real - left.imag * right.imag)
    return pair(re, arcsinh(left.real * right.imag - left.imag * right.real))


def _acos(_: Op, z: Any) -> Any:
    left, right = _roots(z)
    re = 2.0 * arctan2(left.real, right.real)
    return pair(re, arcsinh(right.real * left.imag - right.imag * left.real))


def _acosh(_: Op, z: Any) -> Any:
    less, more = sqrt(pair(z.real - 1.0, z.imag)), sqrt(pair(z.real + 1.0, z.imag))
    re = arcsinh(less.real * more.real + less.imag * more.imag)
    return pair(re, 2.0 * arctan2(less.imag, more.real))


def _asinh(_: Op, z: Any) -> Any:
    return _turned_back(arcsin(_times_i(z)))


def _atanh(_: Op, z: Any) -> Any:
    """Compute atanh of a complex value from logarithms of 1 + z and 1 - z."""
    limit = 2.0 ** (np.finfo(z.real.dtype.numpy).nmant // 2 + 4)  # 1 / limit**2 is below epsilon
    far = maximum(absolute(z.real), absolute(z.imag)) > limit
    a, b = (where(far, 0.5, part) for part in (z.real, z.imag))
    below = signbit(a)  # of a negative one the logarithm of almost 0 would lose digits
    size = where(below, -a, a)
    re = 0.25 * log1p(4.0 * size / ((1.0 - size) * (1.0 - size) + b * b))
    re = where(below, -re, re)
    im = 0.5 * arctan2(2.0 * b, (1.0 - a) * (1.0 + a) - b * b)
    # far away 1 / z and a quarter turn, to all digits; squares would overflow
    inverse = 1.0 / where(far, z, 1.0)
    quarter = copysign(0.5 * math.pi, z.imag)
    return pair(where(far, inverse.real, re), where(far, quarter + inverse.imag, im))


def _atan(_: Op, z: Any) -> Any:
    return _turned_back(arctanh(_times_i(z)))


# -- truth, conversions, several operands ---------------------------------------------------------


def _equal(op: Op, x: Any, y: Any) -> Any:
    same = [op(a, b) for a, b in ((x.real, y.real), (x.imag, y.imag))]
    return same[0] & same[1] if isinstance(op, Eq) else same[0] | same[1]


def _cast(op: Any, z: Any) -> Any:
    """Cast a complex value to another complex dtype, or to bool: nonzero in either part."""
    dtype: DType = op.dtype
    if dtype.is_bool:
        return (z.real != 0.0) | (z.imag != 0.0)
    if not dtype.is_complex:
        raise DTypeError(
            f"astype: {z.dtype} does not convert to {dtype}: the imaginary part would be lost",
            hint="z.real",
        )
    return pair(*[None if p is None else astype(p, dtype.real) for p in parts_of(z)])


def _concat(op: Op, *operands: Any) -> Any:
    is_absent = [all(parts_of(x)[k] is None for x in operands) for k in (0, 1)]
    re = None if is_absent[0] else op(*[x.real for x in operands])
    return pair(re, None if is_absent[1] else op(*[x.imag for x in operands]))


def _write_entries(op: IndexCopy, x: Any, indices: Any, base: Any) -> Any:
    (a, b), (c, d) = parts_of(x), parts_of(base)
    re = None if a is None and c is None else op(x.real, indices, base.real)
    return pair(re, None if b is None and d is None else op(x.imag, indices, base.imag))


def _where(op: Op, condition: Any, x: Any, y: Any) -> Any:
    (a, b), (c, d) = parts_of(x), parts_of(y)
    re = None if a is None and c is None else op(condition, x.real, y.real)
    return pair(re, None if b is None and d is None else op(condition, x.imag, y.imag))


def _cumulative_product(op: Any, z: Any) -> Any:
    """Compute cumulative products of complex values by doubling: log2(n) products each."""
    axis = op.axis
    size = z.shape[axis]
    if not isinstance(size, int):
        raise DTypeError(
            "cumprod: complex values along a named size have no running product here",
            hint="give the axis a literal size; or sg.associative_scan(sg.multiply, z)",
        )
    rows, step = moveaxis(z, axis, 0), 1
    while step < size:
        rows = concatenate([rows[:step], rows[step:] * rows[:-step]], 0)
        step *= 2
    return moveaxis(rows, 0, axis)


def _recurrence(op: Op, a: Any, b: Any) -> Any:
    if parts_of(a)[1] is not None:
        raise DTypeError(
            "linear_scan: the factors are real; the terms may be complex",
            hint="sg.scan takes any recurrence",
        )
    return pair(*[None if p is None else op(a.real, p) for p in parts_of(b)])


_TABLE: Final[dict[type[Op], Reading]] = {
    **dict.fromkeys((LinearOp, Sum, CumSum, Neg, Rint, Mark, FirstOperand), _linear),
    Take: _take_rows,
    BilinearOp: lambda op, x, y: _bilinear(op, x, y),
    PatternOp: lambda op, x, y, *pattern: _bilinear(lambda a, b: op(a, b, *pattern), x, y),
    Mul: lambda op, x, y: _bilinear(_mul, x, y),
    Add: _add_parts,
    Sub: _add_parts,
    Div: _divide,
    Abs: lambda op, z: magnitude(z),
    Sign: _sign,
    IntegerPow: _integer_power,
    Pow: _power,
    Exp: _exp,
    Exp2: lambda op, z: exp(z * _LN2),
    Expm1: _expm1,
    Log: _log,
    Log2: lambda op, z: log(z) * _LOG2_E,
    Log10: lambda op, z: log(z) * _LOG10_E,
    Log1p: _log1p,
    Sqrt: _sqrt,
    Sin: _sin,
    Cos: _cos,
    Tan: _tan,
    Sinh: _sinh,
    Cosh: _cosh,
    Tanh: _tanh,
    Asin: _asin,
    Acos: _acos,
    Atan: _atan,
    Asinh: _asinh,
    Acosh: _acosh,
    Atanh: _atanh,
    Sigmoid: lambda op, z: 1.0 / (1.0 + exp(-z)),
    Eq: _equal,
    Ne: _equal,
    Cast: _cast,
    Concat: _concat,
    IndexCopy: _write_entries,
    Where: _where,
    CumProd: _cumulative_product,
    LinearScan: _recurrence,
}

Complex.readings.update(_TABLE)
