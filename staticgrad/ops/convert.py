"""Conversions: between element types, from sizes to values, and out of the reach of gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.errors import DTypeError
from staticgrad.ir.dim import Dim, Size
from staticgrad.ir.dtype import F64, DType, as_dtype
from staticgrad.ir.expr import Expr
from staticgrad.ir.forms import Form, Pointwise
from staticgrad.ir.op import Array, Op, lift_all
from staticgrad.ir.types import TensorType
from staticgrad.ir.value import FUNCTIONS, Value
from staticgrad.ops.cotangent import ONE, Partial
from staticgrad.ops.elementwise import Elementwise, Operand, quiet


class Cast(Elementwise, name="cast"):
    """x converted to ``dtype``, as NumPy converts on x86-64.

    Float to integer truncates; NaN and what does not fit become the smallest int32 (for integers of
    8 and 16 bits and int32) or int64, narrowed. To bool: x != 0.
    """

    exact = True
    dtype: DType

    def prepare(self, *args: Any) -> tuple[Value, ...]:
        """The operand as it is: a conversion does not promote."""
        return lift_all(args)

    def result_dtype(self, operand: DType) -> DType:
        return self.dtype

    @quiet
    def reference(self, x: Array) -> Any:
        if x.dtype.kind == "f" and self.dtype.is_integer:
            return _whole(np.asarray(x), self.dtype)
        return x.astype(self.dtype.numpy)

    def scalar(self, x: Expr) -> Expr:
        return x.cast(self.dtype)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (ONE,)


def _whole(x: Array, dtype: DType) -> Array:
    """Float to integer with every result defined: never the C compiler's choice of the day."""
    if dtype.name == "u64":
        large = x >= 2.0**63
        low = _truncated(np.where(large, x - x.dtype.type(2.0**63), x), 64)
        return np.where(large, low ^ np.int64(-(2**63)), low).astype(dtype.numpy)
    return _truncated(x, 64 if dtype.name in ("i64", "u32") else 32).astype(dtype.numpy)


def _truncated(x: Array, bits: int) -> Array:
    """x without its fraction as a signed integer; the smallest one where it does not fit."""
    whole = np.trunc(x)
    fits = (whole >= -(2.0 ** (bits - 1))) & (whole < 2.0 ** (bits - 1))
    inside = np.where(fits, whole, 0).astype(f"int{bits}")
    return np.where(fits, inside, inside.dtype.type(-(2 ** (bits - 1))))


class StopGradient(Elementwise, name="stop_gradient"):
    """x itself; carries no gradient."""

    exact = True
    differentiable = False
    flops = 0

    def reference(self, x: Array) -> Any:
        return x

    def scalar(self, x: Expr) -> Expr:
        return x


class SizeValue(Op, name="size"):
    """A size as a 0-d value of ``dtype``, known when the feeds are. Carries no gradient."""

    exact = True
    differentiable = False
    flops = 0
    dim: Size
    dtype: DType

    def infer(self) -> TensorType:
        """A 0-d value of the dtype."""
        return TensorType(self.dtype)

    def reference(self) -> Any:
        return np.asarray(int(self.dim), np.int64).astype(self.dtype.numpy)

    def vjp(self, ct: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        """No operands, no cotangents."""
        return ()

    def form(self, out: TensorType, *types: TensorType) -> Form:
        """Pointwise over one size."""
        return Pointwise(lambda size: size.cast(self.dtype), sizes=(self.dim,))


# -- public functions -----------------------------------------------------------------------------


def astype(x: Operand, dtype: Any) -> Value:
    """x converted to ``dtype``; x itself if it has that dtype. Carries gradients between floats.

    Raises:
        DTypeError: ``dtype`` names no element type.
    """
    try:
        target = as_dtype(dtype)
    except TypeError as error:
        raise DTypeError(f"astype: {error}") from None
    (value,) = lift_all((x,))
    return value if value.dtype == target else Cast(target)(value)


def stop_gradient(x: Operand) -> Value:
    """x itself, through which no gradient flows."""
    return StopGradient()(x)  # type: ignore[no-any-return]


def size_value(size: Size, dtype: Any = F64) -> Any:
    """A size as a 0-d value of ``dtype``; of a literal size, a NumPy scalar (an operand like any).

    Raises:
        TypeError: ``dtype`` names no element type.
    """
    target = as_dtype(dtype)
    return (
        SizeValue(size, target)() if isinstance(size, Dim) else np.int64(size).astype(target.numpy)
    )


FUNCTIONS.update(astype=astype, cast=astype, stop_gradient=stop_gradient, size_value=size_value)
