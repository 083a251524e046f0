"""Scalar expressions over NumPy arrays: the exact meaning of every primitive.

``interpret`` is the oracle that renderers are compared with, bit for bit (any NaN equals any NaN).
It evaluates a DAG once, operands before users, and drops each array after its last reader. Blocks
are evaluated by their definitions. The caller says what a load, an index, a size or a ref holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from staticgrad.language.ir.expr import BLOCKS, LEAVES, Expr, postorder, ref, words_of
from staticgrad.language.ir.scalar_loop import Iterated, ScalarLoop
from staticgrad.language.types.arrays import convert_array
from staticgrad.language.types.dtype import F32, F64, DType, as_dtype
from staticgrad.language.vecmath.blocks import expand

Array = NDArray[Any]


def interpret(roots: Iterable[Expr], leaf: Callable[..., Array]) -> list[Array]:
    """The values of ``roots``, in their dtypes, of the common broadcast shape of their leaves."""
    return _interpret_order(list(roots), leaf, {})


def _interpret_order(
    roots: list[Expr], leaf: Callable[..., Array], arrays_by_id: Mapping[int, Array]
) -> list[Array]:
    """Evaluate scalar expressions over NumPy arrays, operands first."""
    order = list(postorder(roots, arrays_by_id))
    readers = Counter(id(arg) for node in order for arg in node.args)
    readers.update(id(root) for root in roots)
    readers.update(list(arrays_by_id))
    values = dict(arrays_by_id)
    ended: dict[ScalarLoop, list[Array]] = {}
    with np.errstate(all="ignore"):
        for node in order:
            operands = [values[id(arg)] for arg in node.args]
            if isinstance(node, Iterated):
                if node.loop not in ended:
                    ended[node.loop] = _run_loop(node.loop, operands, leaf)
                values[id(node)] = ended[node.loop][node.place]
            else:
                values[id(node)] = _evaluate(node, operands, leaf)
            for arg in node.args:
                readers[id(arg)] -= 1
                if not readers[id(arg)]:
                    del values[id(arg)]
    return [values[id(root)] for root in roots]


def _run_loop(loop: ScalarLoop, operands: list[Array], leaf: Callable[..., Array]) -> list[Array]:
    """Run a scalar loop over arrays until all elements have ended; return its carries."""
    count = len(loop.carried)
    outside = {id(e): v for e, v in zip(loop.outside, operands[count:], strict=True)}
    carries = list(operands[:count])
    for _ in range(loop.iterations):
        names = {id(e): v for e, v in zip(loop.carried, carries, strict=True)}
        (going,) = _interpret_order([loop.going], leaf, outside | names)
        if not np.any(going):
            break
        next_carries = _interpret_order(list(loop.following), leaf, outside | names)
        carries = [
            np.where(going, new, old) for new, old in zip(next_carries, carries, strict=True)
        ]
    return carries


def _evaluate(node: Expr, operands: list[Array], leaf: Callable[..., Array]) -> Array:
    """Evaluate one primitive of a scalar expression over NumPy arrays."""
    if node.op == "literal":
        return np.asarray(node.attribute, node.dtype.numpy)
    if node.op in LEAVES:
        value = np.asarray(leaf(node, *operands))
        if value.dtype != node.dtype.numpy:
            raise TypeError(f"the leaf {node!r} got an array of {value.dtype}")
        return value
    if node.op in BLOCKS:
        return _block(node.op, node.dtype, operands)
    if node.op == "cast":
        return convert_array(operands[0], node.dtype)
    if node.op == "bitcast":
        return operands[0].view(node.dtype.numpy)
    if node.op == "window":
        return _window(operands[0], words_of(str(node.attribute)))
    return np.asarray(_MEANING[node.op](*operands))


@lru_cache(maxsize=64)
def _definition(op: str, dtype: DType) -> Expr:
    """The expansion of a block over refs named by operand position."""
    return expand(op, *(ref(str(position), dtype) for position in range(BLOCKS[op].operands)))


def _block(op: str, dtype: DType, operands: Sequence[Array]) -> Array:
    named = {str(position): operand for position, operand in enumerate(operands)}
    return interpret([_definition(op, dtype)], lambda node: named[node.attribute])[0]


def _window(position: Array, words: Sequence[int]) -> Array:
    """52 bits from a bit position on; see ``ir.expr.window``."""
    content = b"".join(word.to_bytes(8, "big") for word in words)
    # Eight bytes from the byte of the first bit on contain the 52 bits: at most 7 + 52 of 64.
    starts = np.minimum(position >> 3, len(content) - 8).astype(np.int64)
    around = np.frombuffer(content, np.uint8)[starts[..., None] + np.arange(8)]
    bits = np.ascontiguousarray(around).view(">u8")[..., 0].astype(np.uint64)
    # the first bit to the top, then 52 bits to the bottom
    return np.asarray(bits << (position & 7) >> 12)


def _maximum(a: Array, b: Array) -> Array:
    """NaN wins; -0 < +0."""
    larger: Array = np.maximum(a, b)
    if a.dtype.kind != "f":
        return larger
    # NumPy gives either of two zeros that compare equal: here the positive one is larger.
    return np.where(a == b, np.where(np.signbit(a), b, a), larger)


def _minimum(a: Array, b: Array) -> Array:
    """NaN wins; -0 < +0."""
    smaller: Array = np.minimum(a, b)
    if a.dtype.kind != "f":
        return smaller
    return np.where(a == b, np.where(np.signbit(a), a, b), smaller)


def _shift_left(a: Array, count: Array) -> Array:
    """Counts of the width or more, and negative ones, shift everything out."""
    inside = _within_width(count)
    return np.where(inside, a << np.where(inside, count, count.dtype.type(0)), a.dtype.type(0))


def _shift_right(a: Array, count: Array) -> Array:
    """Arithmetic if signed. Counts of the width or more, and negative ones, leave only the sign."""
    inside = _within_width(count)
    if a.dtype.kind == "i":
        # C and LLVM leave a shift by the width or more undefined.
        last = count.dtype.type(8 * a.dtype.itemsize - 1)
        return np.asarray(a >> np.where(inside, count, last))
    return np.where(inside, a >> np.where(inside, count, count.dtype.type(0)), a.dtype.type(0))


def _within_width(count: Array) -> Array:
    return np.asarray((count >= 0) & (count < 8 * count.dtype.itemsize))


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
        return _FMA[as_dtype(a.dtype)](a.ravel(), b.ravel(), c.ravel()).reshape(a.shape)


def _fma32(a: Array, b: Array, c: Array) -> Array:
    # A product of two float32 is exact in float64: 48 of 53 bits. A sum that is rounded to odd with
    # more than two spare bits can be rounded again as if once (Boldo and Melquiond 2008).
    total, lost = _two_sum(a.astype(np.float64) * b, c.astype(np.float64))
    return _round_to_odd(total, lost).astype(np.float32)


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


_FMA: Final = {F32: _fma32, F64: _fma64}


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


def _scale(a: Array, low_bits: Array) -> Array:
    """a * 2**n rounded once, of a float whose low bits hold n and twice the bias."""
    dtype = as_dtype(a.dtype)
    n = low_bits - dtype.numpy.type(1.5 * 2.0 ** (dtype.digits - 1) + 2 * dtype.bias)
    return np.asarray(np.ldexp(a, np.where(np.isfinite(n), n, 0).astype(np.int32)))


_MEANING: Final[dict[str, Callable[..., Any]]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "neg": np.negative, "abs": np.abs,
    "sqrt": np.sqrt, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint,
    "fma": fma, "scale": _scale, "c_fmod": np.fmod,
    "floor_divide": np.floor_divide, "remainder": np.remainder,
    "maximum": _maximum, "minimum": _minimum,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert,
    "shl": _shift_left, "shr": _shift_right,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal, "select": np.where, "rarely": np.where,
}  # fmt: skip
