"""Algebra: what holds for real numbers, but not to the last bit. Only at O2, or by name.

Each rule says how far a result may move, in units of the last place (ulp) of what is added up. None
of them makes a NaN or an infinity out of finite numbers that did not overflow before.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any, Final

import numpy as np

from passes.rewrite import Match, Rule, holes, number_of, rule, some
from passes.rules.identities import inverse_of
from staticgrad import functions as sg
from staticgrad.language.ir.graph import Symbolic
from staticgrad.language.ops.arithmetic import Div, Mul
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.ops.convert import size_value
from staticgrad.language.ops.movement import Broadcast
from staticgrad.language.ops.reduce import Sum
from staticgrad.language.types.arrays import hint_value
from staticgrad.language.types.dim import Size

x, y, z = holes("x y z")
value = partial(rule, kind="value", dtypes="f")
ROUNDINGS: Final = "one rounding of each step that is replaced"
ORDER: Final = "that of adding up in another order"


# -- numbers --------------------------------------------------------------------------------------


def _numbers(match: Match) -> tuple[Any, Any] | None:
    first, second = number_of(match.y), number_of(match.z)
    return None if first is None or second is None else (first, second)


def _combine_numbers(match: Match, combine: Any) -> Any:
    """Rewrite x * a * b to x * (a * b), x + a + b to x + (a + b), if nothing overflows."""
    numbers = _numbers(match)
    if numbers is None:
        return None
    with np.errstate(all="ignore"):
        number = combine(*numbers)
    return number if np.isfinite(number) and (number != 0 or 0 in numbers) else None


def _one_factor(match: Match) -> Any:
    number = _combine_numbers(match, np.multiply)
    return None if number is None else match.x * number


def _one_term(match: Match) -> Any:
    number = _combine_numbers(match, np.add)
    return None if number is None else match.x + number


def _by_inverse(match: Match) -> Any:
    divisor = number_of(match.y)
    if divisor is None or match.y.dtype is not match.root.dtype:
        return None
    inverse = inverse_of(divisor)
    return None if inverse is None else match.x * inverse


# -- sums -----------------------------------------------------------------------------------------


def _sum_of_repeated(match: Match) -> Any:
    """Rewrite the sum of a broadcast over its new axes to the operand times their size."""
    spread, axes = match.op("inner"), match.op("outer").axes
    if any(axis in spread.axes for axis in axes):
        return None
    remaining = [k for k in range(len(spread.shape)) if k not in axes]
    places = tuple(remaining.index(axis) for axis in spread.axes)
    count = size_value(prod(spread.shape[a] for a in axes), match.root.dtype)
    return Broadcast(match.root.shape, places)(match.x * count)


def _sum_of_sum(match: Match) -> Any:
    inner, outer = match.op("inner").axes, match.op("outer").axes
    remaining = [k for k in range(match.x.ndim) if k not in inner]
    return Sum(tuple(sorted({*inner, *(remaining[axis] for axis in outer)})))(match.x)


def _sum_of_multiple(match: Match) -> Any:
    """sum(x * c) as sum(x) * c for one number c."""
    number = number_of(match.y)
    if number is None or not np.isfinite(number) or match.x.shape != match.inner.shape:
        return None
    return match.op("outer")(match.x) * number


def _sum_of_negative(match: Match) -> Any:
    return -match.op("outer")(match.x)


def _sum_of_product(match: Match) -> Any:
    """Rewrite sum(a @ b) over rows (or columns) to sum(a) @ b (or a @ sum(b))."""
    flags, axes = match.op("inner"), match.op("outer").axes
    a, b = match.inner.node.args
    rank = match.inner.ndim
    if len(axes) != 1 or a.ndim != rank or b.ndim != rank or match.readers("inner") > 1:
        return None
    if axes == (rank - 2,):
        reduced = sg.sum(a, -1 if flags.transpose_a else -2, keepdims=True)
        product = MatMul(flags.transpose_a, flags.transpose_b)(reduced, b)
    elif axes == (rank - 1,):
        reduced = sg.sum(b, -2 if flags.transpose_b else -1, keepdims=True)
        product = MatMul(flags.transpose_a, flags.transpose_b)(a, reduced)
    else:
        return None
    return sg.reshape(product, match.root.shape)


# -- sums and chains of matrix products -----------------------------------------------------------


def _common_left(match: Match) -> Any:
    """a @ b + a @ c as a @ (b + c), where nobody else reads the two products."""
    left, right = match.op("one"), match.op("two")
    if left.transpose_a != right.transpose_a or not _joinable(match):
        return None
    addend = match.z if left.transpose_b == right.transpose_b else sg.swapaxes(match.z, -1, -2)
    return MatMul(left.transpose_a, left.transpose_b)(match.x, match.y + addend)


def _common_right(match: Match) -> Any:
    """b @ a + c @ a as (b + c) @ a, where nobody else reads the two products."""
    left, right = match.op("one"), match.op("two")
    if left.transpose_b != right.transpose_b or not _joinable(match):
        return None
    addend = match.z if left.transpose_a == right.transpose_a else sg.swapaxes(match.z, -1, -2)
    return MatMul(left.transpose_a, left.transpose_b)(match.y + addend, match.x)


def _joinable(match: Match) -> bool:
    """Return True if adding y and z costs less than multiplying with each of them."""
    if match.one.shape != match.two.shape or match.readers("one") > 1 or match.readers("two") > 1:
        return False
    same_batch = match.y.shape[:-2] == match.z.shape[:-2]
    return same_batch and _multiplications(match.one) > 2 * _typical(match.y.shape)


def _cost(*products: Symbolic) -> float:
    """Return the multiplications of matrix products, at typical sizes."""
    return sum(map(_multiplications, products))


def _multiplications(product: Symbolic) -> float:
    op, (a, _) = product.node.op, product.node.args
    assert isinstance(op, MatMul)
    return float(_typical((*product.shape, a.shape[-2 if op.transpose_a else -1])))


def _typical(sizes: tuple[Size, ...]) -> int:
    return prod(hint_value(size) for size in sizes)


def _right_first(match: Match) -> Any:
    """Rewrite (a @ b) @ c to a @ (b @ c) if that takes fewer multiplications."""
    inner, outer = match.op("inner"), match.op("outer")
    if outer.transpose_a or match.readers("inner") > 1 or _has_batch(match.x, match.y, match.z):
        return None
    right: Any = MatMul(inner.transpose_b, outer.transpose_b)(match.y, match.z)
    product: Any = MatMul(inner.transpose_a, False)(match.x, right)
    return product if _cost(right, product) < _cost(match.inner, match.root) else None


def _left_first(match: Match) -> Any:
    """Rewrite a @ (b @ c) to (a @ b) @ c if that takes fewer multiplications."""
    inner, outer = match.op("inner"), match.op("outer")
    if outer.transpose_b or match.readers("inner") > 1 or _has_batch(match.x, match.y, match.z):
        return None
    left: Any = MatMul(outer.transpose_a, inner.transpose_a)(match.x, match.y)
    product: Any = MatMul(False, inner.transpose_b)(left, match.z)
    return product if _cost(left, product) < _cost(match.inner, match.root) else None


def _square(x: Symbolic) -> Any:
    """A matrix of the elements of x, for an example."""
    return x.reshape(-1, 1) + 2.0 * x.reshape(1, -1)


def _outer(x: Symbolic) -> Any:
    """Another one."""
    return x.reshape(-1, 1) * x.reshape(1, -1)


def _has_batch(*values: Symbolic) -> bool:
    return any(operand.ndim != 2 for operand in values)


RULES: Final[tuple[Rule, ...]] = (
    value("add-zero-float", x + 0.0, x, error="the sign of a zero"),
    value("multiply-twice", (x * y) * z, _one_factor, error=ROUNDINGS,
          examples=(lambda x: x * 3.0 * 7.0,)),
    value("add-twice", (x + y) + z, _one_term, error=ROUNDINGS,
          examples=(lambda x: x + 3.0 + 0.1,)),
    value("divide-by-number", some(Div, x, y), _by_inverse, error=ROUNDINGS,
          examples=(lambda x: x / 3.0,)),
    value("exp-times-exp", sg.exp(x) * sg.exp(y), sg.exp(x + y),
          error="that of one exponential in the place of two"),
    value("root-squared", sg.sqrt(x) * sg.sqrt(x), sg.where(x >= 0.0, x, np.nan),
          error="two roundings"),
    value("common-factor", x * y + x * z, x * (y + z), error=ROUNDINGS,
          where=lambda m: m.root.shape == m.x.shape == m.y.shape == m.z.shape),
    value("sum-of-repeated", some(Sum, some(Broadcast, x, name="inner"), name="outer"),
          _sum_of_repeated, error=ORDER,
          examples=(lambda x: Broadcast((5, *x.shape), tuple(range(1, x.ndim + 1)))(x).sum(0),)),
    value("sum-of-sum", some(Sum, some(Sum, x, name="inner"), name="outer"), _sum_of_sum,
          error=ORDER, examples=(lambda x: Sum((0,))(Sum((1,))(x)),)),
    value("sum-of-multiple", some(Sum, some(Mul, x, y, name="inner"), name="outer"),
          _sum_of_multiple, error=ORDER, examples=(lambda x: (x * 3.0).sum(-1),)),
    value("sum-of-negative", some(Sum, -x, name="outer"), _sum_of_negative,
          error="the sign of a zero", examples=(lambda x: (-x).sum(0),)),
    value("sum-of-product", some(Sum, some(MatMul, ..., name="inner"), name="outer"),
          _sum_of_product, error=ORDER,
          examples=(lambda x: (x.reshape(-1, 1) @ x.reshape(1, -1)).sum(0),
                    lambda x: (x.reshape(-1, 1) @ x.reshape(1, -1)).sum(1))),
    value("common-left-of-products",
          some(MatMul, x, y, name="one") + some(MatMul, x, z, name="two"), _common_left,
          error=ORDER, examples=(lambda x: _square(x) @ _outer(x) + _square(x) @ _square(x).mT,)),
    value("common-right-of-products",
          some(MatMul, y, x, name="one") + some(MatMul, z, x, name="two"), _common_right,
          error=ORDER, examples=(lambda x: _outer(x) @ _square(x) + _square(x).mT @ _square(x),)),
    value("product-right-first", some(MatMul, some(MatMul, x, y, name="inner"), z, name="outer"),
          _right_first, error=ORDER,
          examples=(lambda x: (x.reshape(-1, 1) @ x.reshape(1, -1)) @ x.reshape(-1, 1),)),
    value("product-left-first", some(MatMul, x, some(MatMul, y, z, name="inner"), name="outer"),
          _left_first, error=ORDER,
          examples=(lambda x: x.reshape(1, -1) @ (x.reshape(-1, 1) @ x.reshape(1, -1)),)),
)  # fmt: skip
