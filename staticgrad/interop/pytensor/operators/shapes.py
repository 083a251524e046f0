"""Rows of Ops that arrange elements: shapes, copies, joins, diagonals."""

from __future__ import annotations

from typing import Any

import numpy as np

import staticgrad.language.functions as sg
from staticgrad.extend import Size
from staticgrad.interop.engine.tables import unsupported_variant
from staticgrad.interop.pytensor.operators.registry import (
    PyTensorType,
    operator,
    shape_of,
    size,
    sizes,
    value,
)
from staticgrad.support.errors import ShapeError


@operator("DimShuffle", batched=False)
def _dimshuffle(x: Any, *, new_order: Any) -> Any:
    x = value(x)
    axes = tuple([axis for axis in new_order if axis != "x"])
    dropped = tuple(axis for axis in range(x.ndim) if axis not in axes)
    if dropped:
        x = sg.transpose(x, (*axes, *dropped))
        x = sg.squeeze(x, tuple(range(len(axes), x.ndim)))
    elif axes != tuple(range(x.ndim)):
        x = sg.transpose(x, axes)
    added = tuple(k for k, axis in enumerate(new_order) if axis == "x")
    return sg.expand_dims(x, added) if added else x


@operator("Shape")
def _shape(x: Any) -> Any:
    return _known_sizes(shape_of(x))


@operator("Shape_i")
def _one_size(x: Any, *, i: int) -> Any:
    return _known_sizes(shape_of(x)[i])


def _known_sizes(sizes: Any) -> Any:
    """Return sizes as an array that is known."""
    array = np.empty(np.shape(sizes), object)
    array[...] = sizes
    is_plain = all(isinstance(n, int) for n in array.ravel().tolist())
    return array.astype("int64") if is_plain else array


@operator("Reshape")
def _reshape(x: Any, shape: Any, *, ndim: int = 0) -> Any:
    return sg.reshape(value(x), sizes(shape, "the shape of reshape"))


@operator("SplitDims")
def _split_axis(x: Any, shape: Any, *, axis: int) -> Any:
    x = value(x)
    new = sizes(shape, "the shape of an axis that is split")
    return sg.reshape(x, (*x.shape[:axis], *new, *x.shape[axis + 1 :]))


@operator("JoinDims")
def _join_axes(x: Any, *, start_axis: int, n_axes: int) -> Any:
    x = value(x)
    end = start_axis + n_axes
    joined: Any = 1
    for n in x.shape[start_axis:end]:
        joined = joined * n
    return sg.reshape(x, (*x.shape[:start_axis], joined, *x.shape[end:]))


@operator("SpecifyShape")
def _specify_shape(x: Any, *shape: Any) -> Any:
    x = value(x)
    expected = [
        n if expected_size is None else size(expected_size, "a size of SpecifyShape")
        for n, expected_size in zip(x.shape, shape, strict=True)
    ]
    return sg.broadcast_to(x, tuple(expected))  # a named size must be equal


@operator("Unbroadcast", "DeepCopyOp", "TensorFromScalar", "ScalarFromTensor", "TypeCastingOp",
          "ViewOp", "CpuContiguous")  # fmt: skip
def _same(x: Any, **_attributes: Any) -> Any:
    return x


@operator("Alloc")
def _alloc(x: Any, *shape: Any) -> Any:
    return sg.broadcast_to(value(x), tuple([size(n, "a size of Alloc") for n in shape]))


@operator("AllocEmpty")
def _alloc_empty(*shape: Any, dtype: str) -> Any:
    return sg.zeros(tuple([size(n, "a size of AllocEmpty") for n in shape]), dtype)


@operator("MakeVector")
def _make_vector(*xs: Any, dtype: str) -> Any:
    if not xs:
        return np.zeros(0, dtype)
    return sg.stack([value(x, dtype) for x in xs])


@operator("Join")
def _join(*xs: Any, out: PyTensorType, axis: int | None = None) -> Any:
    if axis is None:
        first, *xs = xs  # type: ignore[assignment]
        axis = int(first)
    return sg.concatenate([value(x, out.dtype) for x in xs], axis)


@operator("Split")
def _split(x: Any, *operands: Any, len_splits: int, axis: int | None = None) -> Any:
    x = value(x)
    if axis is None:
        axis = int(operands[0])
    parts = sizes(operands[-1], "the sizes of split")
    if len(parts) != len_splits or any(isinstance(n, int) and n < 0 for n in parts):
        raise ShapeError(f"split: {len_splits} sizes, none below 0, are expected, got {parts}")
    axis %= x.ndim
    total: Size = sum(parts)
    x = sg.broadcast_to(x, (*x.shape[:axis], total, *x.shape[axis + 1 :]))  # or it is an error
    results = []
    begin: Size = 0
    for n in parts:
        results.append(x[(*(slice(None),) * axis, slice(begin, begin + n))])
        begin = begin + n
    return tuple(results)


@operator("ARange")
def _arange(start: Any, stop: Any, step: Any, *, dtype: str) -> Any:
    if np.dtype(dtype).kind not in "iu":
        raise unsupported_variant(f"arange of {dtype}")
    first, last, by = (size(n, "a bound of arange") for n in (start, stop, step))
    if first == 0 and by == 1:
        return sg.arange(last, dtype=dtype)
    if by == 1:
        return sg.arange(last - first, dtype=dtype) + first
    return sg.arange(first, last, by, dtype=dtype)


@operator("Eye")
def _eye(n: Any, m: Any, k: Any, *, dtype: str) -> Any:
    rows, columns = size(n, "a size of eye"), size(m, "a size of eye")
    diagonal: Any = size(k, "the diagonal of eye")
    return sg.eye(rows, columns, diagonal, dtype=dtype)


@operator("ExtractDiag")
def _diagonal(x: Any, *, offset: int, axis1: int, axis2: int) -> Any:
    return sg.diagonal(value(x), offset, axis1, axis2)


@operator("AllocDiag")
def _matrix_of_diagonal(x: Any, *, offset: int, axis1: int, axis2: int, fgraph: Any) -> Any:
    x = value(x)
    if x.ndim != 1:
        return fgraph.run([x])[0]
    matrix = sg.diag(x, offset)
    return matrix if axis1 < axis2 else sg.transpose(matrix)


@operator("Repeat")
def _repeat(x: Any, repeats: Any, *, axis: int | None) -> Any:
    counts = sizes(repeats, "the repeats")
    return sg.repeat(value(x), counts[0] if np.ndim(repeats) == 0 else np.array(counts), axis)
