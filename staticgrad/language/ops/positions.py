"""Positions: every element is its place along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.errors import RankError
from staticgrad.language.ir.expr import Expr
from staticgrad.language.ir.forms import Form, Pointwise
from staticgrad.language.ir.kinds import AnyValue, binding_kind
from staticgrad.language.ir.op import Op
from staticgrad.language.ops.operands import (
    dtype_of,
    integer,
    shape_of,
)
from staticgrad.language.types.arrays import Shape, TensorType, convert_array
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import I64, DType


class Iota(Op, name="iota"):
    """The position along ``axis``, for every element of ``shape``, in ``dtype``."""

    exact = True
    differentiable = False
    flops = 0
    shape: tuple[Size, ...]
    axis: int
    dtype: DType

    def infer(self) -> TensorType:
        if not 0 <= self.axis < len(self.shape):
            raise RankError(f"iota: no axis {self.axis} in the shape {self.shape}")
        return TensorType(self.dtype, self.shape)

    def reference(self) -> Any:
        broadcast_shape = [size if k == self.axis else 1 for k, size in enumerate(self.shape)]
        positions = convert_array(np.arange(self.shape[self.axis]), self.dtype)  # type: ignore[arg-type]
        return np.broadcast_to(positions.reshape(broadcast_shape), self.shape)  # type: ignore[arg-type]

    def scalar(self, *positions: Expr) -> Expr:
        """The element at ``positions``, one i64 per axis."""
        return positions[self.axis].cast(self.dtype)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Pointwise(self.scalar, indexed=True)


def iota(shape: Any, axis: int = -1, dtype: Any = I64, like: AnyValue | None = None) -> AnyValue:
    """The position along ``axis`` for every element of a shape.

    Args:
        shape: sizes, named ones too.
        axis: one axis of it.
        dtype: of the positions.
        like: a value whose kind the result has: a tensor where that is one.

    >>> sg.evaluate(sg.iota((2, 3)))
    array([[0, 1, 2],
           [0, 1, 2]])
    """
    sizes: Shape = shape_of(shape)
    place = integer("axis", axis)
    op = Iota(sizes, place + len(sizes) if place < 0 else place, dtype_of(dtype))
    return binding_kind(() if like is None else (like,)).bind(op, ())
