"""Arguments of draws: their element types, and the shapes they are drawn in."""

from __future__ import annotations

from typing import Any

from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.ops.elementwise import Operand, broadcast
from staticgrad.ops.operands import as_values, dtype_of, is_number, shape_of
from staticgrad.types.dim import dim
from staticgrad.types.dtype import DType
from staticgrad.types.tensor import Shape


def floating_dtype(op: str, dtype: Any) -> DType:
    """The dtype of a draw."""
    kind = dtype_of(op, dtype)
    if not kind.is_float:
        raise DTypeError(f"{op}: not of dtype {kind.numpy}", hint="float32 or float64")
    return kind


def drawn_shape(op: str, data: Any) -> Shape:
    """A shape as users write it: sizes, names of sizes, or one of them."""
    entries = data if isinstance(data, list | tuple) else (data,)
    return shape_of(op, tuple(dim(e) if isinstance(e, str) else e for e in entries))


def met_shape(op: str, shape: Any, *parameters: Operand) -> Shape:
    """The shape asked for, or that in which the parameters meet."""
    for given in parameters:
        if isinstance(given, tuple):
            raise ArgumentError(
                f"{op}: {given} is a tuple, and the shape comes after the parameters",
                hint=f"{op}(shape={given}); parameters by element are an array or a list",
            )
    if shape is not None:
        return drawn_shape(op, shape)
    return broadcast(op, [each.shape for each in as_values(op, *parameters)])


def not_from_0(given: Any) -> bool:
    """Whether a parameter is a number that is negative or NaN; arrays are not looked at."""
    return is_number(given) and not given >= 0.0
