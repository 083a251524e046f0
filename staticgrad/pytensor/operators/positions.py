"""Rows of Ops that number elements, permute them, or choose some by their numbers."""

from __future__ import annotations

from typing import Any

import staticgrad.functions as sg
from staticgrad.extend import broadcast_shapes
from staticgrad.pytensor.operators.registry import (
    PyTensorType,
    operator,
    size,
    sizes,
    value,
)


@operator("Choose")
def _choose(a: Any, choices: Any, *, mode: str) -> Any:
    a, choices = value(a, "int64"), value(choices)
    count, *shape = choices.shape
    shape = broadcast_shapes([a.shape, tuple(shape)])
    last = sg.size_value(count, "int64") - 1
    if mode == "wrap":
        a = sg.mod(a, last + 1)
    elif mode == "clip":
        a = sg.clip(a, 0, last)
    else:
        a = sg.where(a < 0, last + 1, a)  # an error: negative indices are not from the end
    missing = len(shape) - (choices.ndim - 1)
    choices = sg.expand_dims(choices, tuple(range(1, 1 + missing)))
    choices = sg.broadcast_to(choices, (count, *shape))
    return sg.take_along_axis(choices, sg.broadcast_to(a, shape)[None], 0)[0]


@operator("PermuteRowElements")
def _permute_rows(x: Any, rows: Any, *, inverse: bool) -> Any:
    x, rows = value(x), value(rows)
    shape = broadcast_shapes([x.shape, rows.shape])
    x, rows = sg.broadcast_to(x, shape), sg.broadcast_to(rows, shape)
    return sg.take_along_axis(x, sg.argsort(rows, -1) if inverse else rows, -1)


@operator("RavelMultiIndex")
def _number_elements(*operands: Any, mode: Any, order: Any) -> Any:
    *indices, shape = operands
    extents: Any = sizes(shape, "the shape of ravel_multi_index")
    return sg.ravel_multi_index(tuple(map(value, indices)), extents, mode, order)


@operator("UnravelIndex")
def _index_elements(numbers: Any, shape: Any, *, order: Any) -> Any:
    extents: Any = sizes(shape, "the shape of unravel_index")
    return sg.unravel_index(value(numbers), extents, order)


@operator("FillDiagonal")
def _fill_diagonal(a: Any, fill: Any, *, out: PyTensorType) -> Any:
    a, fill = value(a), value(fill, out.dtype)
    is_diagonal: Any = True
    for axis in range(1, a.ndim):
        is_diagonal = is_diagonal & (sg.iota(a.shape, axis) == sg.iota(a.shape, 0))
    return sg.where(is_diagonal, fill, a)


@operator("FillDiagonalOffset")
def _fill_shifted_diagonal(a: Any, fill: Any, offset: Any, *, out: PyTensorType) -> Any:
    a, fill, offset = value(a), value(fill, out.dtype), value(offset, "int64")
    distance = sg.iota(a.shape, 1) - sg.iota(a.shape, 0)
    return sg.where(distance == offset, fill, a)


@operator("Bartlett")
def _triangular_window(count: Any) -> Any:
    points: Any = size(count, "the size of a window")
    return sg.bartlett(points)
