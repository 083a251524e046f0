"""Scalar expressions evaluated on whole arrays: the tests' own reading of ``Expr``.

Primitive by primitive in NumPy, conversions in Python integers, blocks by NumPy and scipy. It stays
independent of the references it is compared with.
"""

import math
from fractions import Fraction
from math import inf
from typing import Any

import numpy as np
from scipy import special

from staticgrad.language.ir.expr import postorder, ref
from tests.laws.spelling import betainc, betaln, cap_operand, gammaln, halve_tiny, polygamma, zeta

Array = np.ndarray[Any, Any]


def on_arrays(scalar, arrays, dtypes):
    """``scalar`` applied to every element of ``arrays``, broadcast."""
    leaves = [ref(str(i), dtype) for i, dtype in enumerate(dtypes)]
    root = scalar(*leaves)
    arrays_by_id = {id(leaf): array for leaf, array in zip(leaves, arrays, strict=True)}
    with np.errstate(all="ignore"):
        for node in postorder([root]):
            if id(node) in arrays_by_id:
                continue
            value = np.asarray(_apply(node, [arrays_by_id[id(arg)] for arg in node.args]))
            assert value.dtype == node.dtype.numpy, (node, value.dtype)
            arrays_by_id[id(node)] = value
    return np.broadcast_to(arrays_by_id[id(root)], np.broadcast_shapes(*(a.shape for a in arrays)))


def _apply(node, args):
    if node.op == "literal":
        return np.asarray(node.attribute, node.dtype.numpy)
    if node.op == "cast":
        return _convert(args[0], node.dtype)
    if node.op == "bitcast":
        return args[0].view(node.dtype.numpy)
    if node.op in ("maximum", "minimum"):
        return _extremum(node.op, *args)
    return _PRIMITIVES[node.op](*args)


def _convert(x, dtype):
    """Element by element; a float that does not fit gives the x86 pattern."""
    if dtype.is_bool:
        return x != 0
    if dtype.is_float or x.dtype.kind != "f":
        return x.astype(dtype.numpy)
    truncations = [_truncate(float(element), dtype) for element in x.ravel()]
    wrapped = [
        (n + 2 ** (dtype.bits - 1)) % 2**dtype.bits - 2 ** (dtype.bits - 1) for n in truncations
    ]
    unsigned = [n % 2**dtype.bits for n in truncations]
    return np.array(unsigned if dtype.kind == "u" else wrapped, dtype.numpy).reshape(x.shape)


def _truncate(x, dtype):
    bits = 64 if dtype.code in ("i64", "u32", "u64") else 32
    limit = 2 ** (bits - 1)
    if dtype.code == "u64" and x >= limit:
        return math.trunc(x) if x < 2 * limit else 0
    if math.isfinite(x) and -limit <= math.trunc(x) < limit:
        return math.trunc(x)
    return -limit


def _extremum(op, x, y):
    """NaN wins, -0 < +0: by order of the sign bit where the operands are equal."""
    if x.dtype.kind != "f":
        return np.where((x > y) == (op == "maximum"), x, y)
    x_first = (
        (x > y) | ((x == y) & ~np.signbit(x))
        if op == "maximum"
        else (x < y) | ((x == y) & np.signbit(x))
    )
    return np.where(np.isnan(x), x, np.where(np.isnan(y), y, np.where(x_first, x, y)))


def _zeta(s, q):
    """The block has values between the poles below 0 for whole s, as polygamma needs them."""
    between = (s > 1) & (s < 1100) & (np.rint(s) == s) & (q < 0) & (np.floor(q) != q)
    values = special.zeta(*(np.where(between, v, 2).astype(float) for v in (s, q)))
    return np.where(between, values, zeta(s, q)).astype(q.dtype)


def _i1e(x):
    return halve_tiny(x, special.i1e(x))


def _multiply_add(x, y, z):
    """x * y + z of finite numbers as a fraction, which is rounded once."""
    terms = np.broadcast_arrays(x, y, z)
    rounded = [_round_once(*numbers) for numbers in zip(*map(np.ravel, terms), strict=True)]
    return np.array(rounded, x.dtype).reshape(terms[0].shape)


def _round_once(x, y, z):
    if not np.isfinite([x, y, z]).all():
        return x * y + z
    exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
    if exact == 0:
        return x * y + z  # with the sign that rules give it
    try:
        near = x.dtype.type(float(exact))
    except OverflowError:
        near = x.dtype.type(inf if exact > 0 else -inf)
    below, above = (np.nextafter(near, x.dtype.type(end)) for end in (-inf, inf))

    def miss(number):
        is_odd = int(number.view(f"u{number.itemsize}")) % 2  # of two as near, the even one
        return abs(Fraction(float(number)) - exact), is_odd

    finite = [number for number in (near, below, above) if np.isfinite(number)]
    return min(finite, key=miss) if np.isfinite(near) else near


_PRIMITIVES = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide,
    "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt, "floor": np.floor, "ceil": np.ceil,
    "trunc": np.trunc, "rint": np.rint, "and": np.bitwise_and, "or": np.bitwise_or,
    "xor": np.bitwise_xor, "not": np.invert, "eq": np.equal, "ne": np.not_equal, "lt": np.less,
    "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "select": np.where,
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sin": np.sin,
    "cos": np.cos, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "pow": np.power, "erf": special.erf,
    "int_pow": lambda x, y: np.power(x, np.maximum(y, 0)),
    "exp2": np.exp2, "log2": np.log2, "log10": np.log10, "cbrt": np.cbrt, "atan": np.arctan,
    "atan2": np.arctan2, "logit": special.logit,
    "asin": np.arcsin, "acos": np.arccos, "erfc": special.erfc, "fmod": np.fmod,
    "fma": _multiply_add,
    "tan": np.tan, "floor_quotient": np.floor_divide, "ndtri": special.ndtri,
    "erfinv": special.erfinv, "erfcx": special.erfcx, "ndtr": special.ndtr,
    "gamma": lambda x: special.gamma(x.astype(float)).astype(x.dtype),
    "gammaln": gammaln, "digamma": special.digamma, "i0e": special.i0e,
    "i1e": _i1e, "zeta": _zeta,
    "gammainc": lambda a, x: special.gammainc(cap_operand(a, x), x).astype(x.dtype),
    "gammaincc": lambda a, x: special.gammaincc(cap_operand(a, x), x).astype(x.dtype),
    "betaln": betaln, "betainc": betainc,
    "trigamma": lambda x: polygamma(x, 1),
    "floor_divide": np.floor_divide, "remainder": np.remainder, "shl": np.left_shift,
    "shr": np.right_shift,
}  # fmt: skip
