"""Conversions: between element types, and from sizes to values."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.errors.wording import quote
from staticgrad.language.ir.expr import Expr
from staticgrad.language.ir.forms import Form, Pointwise
from staticgrad.language.ir.graph import Symbolic
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.op import Array, Op, lift_all
from staticgrad.language.ir.ranges import Range, RangeOf, Zero
from staticgrad.language.ops import basic
from staticgrad.language.ops.cotangent import ONE, Partial
from staticgrad.language.ops.elementwise import ArrayLike, Elementwise
from staticgrad.language.ops.operands import as_value, dtype_of
from staticgrad.language.types.arrays import BEYOND, MOST_SIZE, TensorType, convert_array
from staticgrad.language.types.dim import Dim, Size, bounds
from staticgrad.language.types.dtype import F64, DType


class Cast(Elementwise, name="cast"):
    """x converted to ``dtype``, as NumPy does it; ``types/arrays.py`` says what does not fit.

    Carries gradients between floating dtypes only.
    """

    exact = True
    rounds_once = True
    dtype: DType

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        """The operand as it is: a conversion does not promote."""
        return lift_all(args)

    def result_dtype(self, operand: DType) -> DType:
        return self.dtype

    def reference(self, x: Array) -> Any:
        return convert_array(np.asarray(x), self.dtype)

    def scalar(self, x: Expr) -> Expr:
        return x.cast(self.dtype)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (ONE,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        """Bound a conversion: the operand's range; infinite where it exceeds the dtype."""
        operand_range = of(x)
        if not self.dtype.is_float:
            return operand_range
        low = operand_range.low if operand_range.low >= -self.dtype.largest else -inf
        high = operand_range.high if operand_range.high <= self.dtype.largest else inf
        return Range(low, high, operand_range.zero)


class Bitcast(Elementwise, name="bitcast"):
    """The bits of x read as ``dtype``, which has as many: ``x.view(dtype)`` of NumPy.

    Takes and gives integers, float32 and float64.
    """

    exact = True
    differentiable = False
    dtype: DType

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        """The operand as it is: it is not promoted."""
        return lift_all(args)

    def result_dtype(self, operand: DType) -> DType:
        """Return the dtype of a bitcast; the widths of elements must agree."""
        for dtype in (operand, self.dtype):
            if dtype.is_bool or dtype.is_complex or (dtype.is_float and dtype.bits == 16):
                raise DTypeError(f"{self.name}: takes integers, float32 and float64, got {dtype}")
        if operand.bits != self.dtype.bits:
            raise DTypeError(
                f"{self.name}: {operand} has {operand.bits} bits, {self.dtype} {self.dtype.bits}"
            )
        return self.dtype

    def reference(self, x: Array) -> Any:
        return np.asarray(x).view(self.dtype.numpy)[()]

    def scalar(self, x: Expr) -> Expr:
        return x.bitcast(self.dtype)


class SizeValue(Op, name="size"):
    """A size as a 0-d value of ``dtype``, known when the feeds are. Carries no gradient."""

    exact = True
    differentiable = False
    flops = 0
    dim: Size
    dtype: DType

    def infer(self) -> TensorType:
        return TensorType(self.dtype)

    def reference(self) -> Any:
        return convert_array(np.asarray(int(self.dim), np.int64), self.dtype)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Pointwise(lambda size: size.cast(self.dtype), sizes=(self.dim,))

    def value_range(self, of: RangeOf) -> Range | None:
        """A size counts as at least 1: of no elements nothing is asked here."""
        low, high = bounds(self.dim)
        return Range(max(1.0, float(low or 1)), inf if high is None else float(high), Zero.NEVER)


def astype(x: ArrayLike[AnyValue], dtype: Any) -> AnyValue:
    """x converted to ``dtype``; x itself if it has that dtype. Carries gradients between floats.

    Args:
        dtype: an element type, as NumPy spells it.

    >>> sg.astype([1.5, -1.5], "int64")
    array([ 1, -1])
    """
    target = dtype if dtype.__class__ is DType else dtype_of(dtype)
    return basic.astype(as_value(x), target)


def apart(x: AnyValue) -> AnyValue:
    """Return the elements of x as a new value, to differentiate with respect to it."""
    return Cast(x.dtype)(x)


def without_apart(x: Symbolic) -> Symbolic:
    """Return the value that :func:`apart` was given where x is its result, else x."""
    while isinstance(x.node.op, Cast) and x.node.args[0].type == x.type:
        x = x.node.args[0]
    return x


def size_value(size: Size, dtype: Any = F64) -> Any:
    """Make a symbolic size a 0-d value, to compute with.

    Args:
        size: a size of a shape, as ``x.shape[0]``.
        dtype: of the result.

    >>> x = sg.input("x", ("batch", 3))
    >>> mean = sg.sum(x) / sg.size_value(x.shape[0])
    >>> sg.evaluate(mean, {x: np.ones((4, 3))})
    array(3.)
    """
    target = dtype_of(dtype).real
    if isinstance(size, Dim):
        return SizeValue(size, target)()
    if not -MOST_SIZE <= size <= MOST_SIZE:
        raise ArgumentError(f"size_value: the size {quote(size)} is too large: {BEYOND}")
    return convert_array(np.asarray(size, np.int64), target)[()]
