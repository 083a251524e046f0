"""Rows of Ops that reduce, accumulate, normalize and sort along axes, and of products."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

import staticgrad.functions as sg
from staticgrad import nn
from staticgrad.bridges.tables import unsupported_variant
from staticgrad.pytensor.operators.registry import (
    PyTensorOp,
    PyTensorType,
    cast,
    operator,
    size,
    value,
)

#: The name of a scalar Op -> the reduction of bits by it.
_BITS: Final[dict[str, Any]] = {"AND": sg.reduce_and, "OR": sg.reduce_or, "XOR": sg.reduce_xor}


@operator("CAReduce")
def _reduce(
    x: Any,
    *,
    out: PyTensorType,
    scalar_op: PyTensorOp,
    axis: Any = None,
    acc_dtype: str | None = None,
    initial: bool = False,
) -> Any:
    x = value(x)
    axes = tuple(range(x.ndim)) if axis is None else tuple(axis)
    if not axes:
        return value(x, out.dtype)
    kind = scalar_op.name
    if kind in ("Add", "Mul"):
        x = cast(x, acc_dtype or out.dtype)
        return sg.sum(x, axes) if kind == "Add" else sg.prod(x, axes)
    if kind in ("Maximum", "Minimum"):
        if x.dtype.name == "bool":
            return sg.any(x, axes) if kind == "Maximum" else sg.all(x, axes)
        reduce = sg.max if kind == "Maximum" else sg.min
        if not initial:
            return reduce(x, axes)
        return reduce(x, axes, initial=_lowest(x.dtype.name, kind == "Maximum"))
    if kind == "MulWithoutZeros":
        x = cast(x, acc_dtype or out.dtype)
        return sg.prod(sg.where(x == 0, 1, x), axes)
    if kind in _BITS:
        return _BITS[kind](x, axes)
    raise unsupported_variant(f"a reduction of {x.dtype.name} by {kind}")


def _lowest(dtype: str, is_maximum: bool) -> Any:
    """Return the maximum (or the minimum) of nothing, in an element type."""
    if np.dtype(dtype).kind != "f":
        bounds = np.iinfo(dtype)
        return bounds.min if is_maximum else bounds.max
    return -np.inf if is_maximum else np.inf


@operator("Argmax")
def _argmax(x: Any, *, axis: Any) -> Any:
    x = value(x)
    axes = tuple(range(x.ndim)) if axis is None else tuple(axis)
    others = tuple([k for k in range(x.ndim) if k not in axes])
    if len(axes) == 1:
        return cast(sg.argmax(x, axes[0]), "int64")
    x = sg.transpose(x, (*others, *axes)) if x.ndim > 1 else x
    return cast(sg.argmax(sg.reshape(x, (*x.shape[: len(others)], -1)), -1), "int64")


@operator("CumOp")
def _cumulate(x: Any, *, axis: int | None, mode: str) -> Any:
    return (sg.cumsum if mode == "add" else sg.cumprod)(value(x), axis)


def _normalize(function: Any, x: Any, axis: Any) -> Any:
    x = value(x)
    if axis is not None:
        return function(x, axis[0] if isinstance(axis, tuple) and len(axis) == 1 else axis)
    return sg.reshape(function(sg.ravel(x), 0), x.shape)


@operator("Softmax")
def _softmax(x: Any, *, axis: Any) -> Any:
    return _normalize(nn.softmax, x, axis)


@operator("LogSoftmax")
def _log_softmax(x: Any, *, axis: Any) -> Any:
    return _normalize(nn.log_softmax, x, axis)


@operator("SoftmaxGrad")
def _softmax_gradient(cotangent: Any, softmax: Any, *, axis: Any) -> Any:
    cotangent, softmax = value(cotangent), value(softmax)
    axes = tuple(range(softmax.ndim)) if axis is None else axis
    product = cotangent * softmax
    return product - sg.sum(product, axes, keepdims=True) * softmax


def _sorting_axis(x: Any, axis: Any, operands: tuple[Any, ...]) -> int | None:
    """Return the axis of a sort: the attribute, or the operand of earlier versions."""
    if operands and operands[0] is not None:
        axis = size(operands[0], "the axis of sort")
    return None if axis is None else int(axis)


@operator("SortOp")
def _sort(x: Any, *operands: Any, axis: Any = None, kind: str = "") -> Any:
    x = value(x)
    axis = _sorting_axis(x, axis, operands)
    return sg.sort(sg.ravel(x) if axis is None else x, -1 if axis is None else axis)


@operator("ArgSortOp")
def _argsort(x: Any, *operands: Any, axis: Any = None, kind: str = "") -> Any:
    x = value(x)
    axis = _sorting_axis(x, axis, operands)
    return sg.argsort(sg.ravel(x) if axis is None else x, -1 if axis is None else axis)


@operator("SearchsortedOp")
def _find_insertion_points(a: Any, v: Any, *operands: Any, side: Any) -> Any:
    a = value(a)
    a = a[value(operands[0])] if operands else a
    return sg.searchsorted(a, value(v), side)


@operator("Dot", "BatchedDot", "Dot22", batched=True)
def _dot(a: Any, b: Any, *, out: PyTensorType) -> Any:
    return sg.matmul(value(a, out.dtype), value(b, out.dtype))


@operator("Dot22Scalar")
def _scaled_dot(a: Any, b: Any, factor: Any, *, out: PyTensorType) -> Any:
    return value(factor, out.dtype) * sg.matmul(value(a, out.dtype), value(b, out.dtype))


@operator("Gemv")
def _gemv(y: Any, alpha: Any, a: Any, x: Any, beta: Any) -> Any:
    return value(beta) * value(y) + value(alpha) * sg.matmul(value(a), value(x))


@operator("Gemm")
def _gemm(z: Any, alpha: Any, x: Any, y: Any, beta: Any) -> Any:
    return value(beta) * value(z) + value(alpha) * sg.matmul(value(x), value(y))


@operator("Ger")
def _ger(a: Any, alpha: Any, x: Any, y: Any) -> Any:
    return value(a) + value(alpha) * sg.outer(value(x), value(y))
