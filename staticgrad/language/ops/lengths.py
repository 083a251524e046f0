"""Roots of sums of powers (lengths, deviations), and their derivatives where the sum is 0.

The gradient of a length at the origin is 0 although the true one depends on the direction, and the
derivative of that gradient does not exist, unless nothing moves. Whether something moves is not
seen behind the sum: the squares of what moves have no slope at 0. So a length is marked with what
it is the length of, and its gradient with where it has no derivative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from staticgrad.language.ir.expr import Expr, literal, select
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.pairs import parts_of
from staticgrad.language.ir.ranges import Range, RangeOf
from staticgrad.language.ops.arithmetic import FlatPower, flat_root
from staticgrad.language.ops.basic import full_like, where
from staticgrad.language.ops.batch_axis import in_front
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.cotangent import Cotangent
from staticgrad.language.ops.elementwise import Floating
from staticgrad.language.ops.marks import FirstOperand
from staticgrad.language.ops.movement import Broadcast, broadcast_to
from staticgrad.language.ops.operands import kept_axes
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Size
from staticgrad.support.errors import DTypeError


class UndefinedSlope(Floating, name="undefined_slope"):
    """A slope that does not exist, times x: 0 where x is 0, NaN elsewhere."""

    kink = "the derivative is NaN, and 0 along a tangent of 0"
    flops = 1

    def reference(self, x: Array) -> Any:
        return np.where(x == 0, x.dtype.type(0), x.dtype.type(math.nan))

    def scalar(self, x: Expr) -> Expr:
        return select(x.eq(0.0), literal(0.0, x.dtype), literal(math.nan, x.dtype))

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, *args: Any
    ) -> tuple[Cotangent | None, ...]:
        """The cotangent times the slope: the op is its own transpose."""
        return (self(ct),)

    def pushforward(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        return None if tangents[0] is None else self(tangents[0])


class _LengthMark(FirstOperand):
    """A value of lengths, or of what is summed in them, marked with sums and their terms."""

    axes: tuple[int, ...]  # of x, over which there is a sum

    def infer(self, first: TensorType, *types: TensorType) -> TensorType:
        if not all(t.dtype.is_float for t in (first, *types)):
            raise DTypeError(f"{self.name}: floating operands, got {first}, {types}")
        return first

    def spread(self, sums: Any, x: Any) -> Any:
        """Repeat what has the shape of the sums, with or without their axes, to the shape of x."""
        if sums.ndim == x.ndim:
            return broadcast_to(sums, x.shape)
        return Broadcast(x.shape, kept_axes(x.ndim, self.axes))(sums)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        batched_op = replace(self, axes=tuple(axis + 1 for axis in self.axes))
        return batched_op(*in_front(size, args, over))

    def value_range(self, of: RangeOf, first: Any, *others: Any) -> Range | None:
        return of(first)


class LengthMark(_LengthMark, name="length_mark"):
    """A length, ``sums`` to the power of ``exponent``, marked with the parts that are summed.

    Operands: the lengths, the sums over ``axes``, and the parts: x, or real and imaginary part.
    """

    exponent: float

    def vjp(self, ct: Any, out: Any, lengths: Any, sums: Any, *parts: Any) -> tuple[Any, ...]:
        """The cotangent of the sums, 0 where they are 0, and marks for the parts."""
        at_origin = sums == 0.0
        slope = self.exponent * FlatPower(self.exponent - 1.0)(where(at_origin, 1.0, sums))
        corner = CornerMark(self.axes)
        shares = (corner(full_like(x, -0.0), ct, sums, x) for x in parts)
        return (None, ct * where(at_origin, 0.0, slope), *shares)


class CornerMark(_LengthMark, name="corner_mark"):
    """A summand of the gradient of lengths by x; where they are 0 it has no derivative.

    Operands: the summand, the cotangent of the lengths, the sums, and x.
    """

    def vjp(self, ct: Any, out: Any, first: Any, scale: Any, sums: Any, x: Any) -> tuple[Any, ...]:
        undefined = UndefinedSlope()(ct * astype(self.spread(scale, x), x.dtype))
        return (ct, None, None, where(self.spread(sums == 0.0, x), undefined, 0.0))


def root_of_sum(sums: AnyValue, of: AnyValue, axes: tuple[int, ...], p: float = 2.0) -> AnyValue:
    """Return sums ** (1 / p), the lengths of ``of`` along axes: sums of p-th powers.

    For p > 1 the gradient where the sum is 0 is 0.
    """
    lengths = flat_root(sums, p)
    if p <= 1:
        return lengths
    parts = [part for part in parts_of(of) if part is not None]
    return LengthMark(axes, 1.0 / p)(lengths, sums, *parts)


def mark_corner(slope: Any, lengths: Any, x: Any) -> Any:
    """Mark the slope of lengths by x, element by element, with where it has no derivative."""
    return CornerMark(())(slope, full_like(slope, 1.0), lengths, broadcast_to(x, slope.shape))
