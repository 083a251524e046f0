"""Rows of Ops that arrange elements: shapes, copies, joins, diagonals."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, lcm
from typing import Any, Final

import numpy as np

import staticgrad.functions as sg
from staticgrad.bridges.operands import UncountedResultError
from staticgrad.bridges.tables import unsupported_variant
from staticgrad.errors import ShapeError
from staticgrad.extend import Dim, Size
from staticgrad.extend.sizes import maximum
from staticgrad.pytensor.operators.registry import (
    PyTensorType,
    dtype_of,
    is_known,
    operator,
    shape_of,
    size,
    sizes,
    value,
)

#: Parts of 1 in which the steps of arange up to a named size are counted; a quotient of sizes of
#: arrays by more parts is rounded by NumPy.
_MOST_PARTS: Final = 2**16


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
def _arange(
    start: Any, stop: Any, step: Any, *, dtype: str, out: PyTensorType, count: Size | None = None
) -> Any:
    limits = (start, stop, step)
    is_float = any(np.dtype(dtype_of(x)).kind not in "iub" for x in limits)
    if is_float and np.dtype(dtype).kind not in "f":
        raise unsupported_variant(f"arange of {dtype} between floats")
    if count is None:
        count = _count_steps(*limits, is_float)
    numbers = sg.arange(count, dtype=dtype)
    if is_known(start) and is_known(step) and np.all(start == 0) and np.all(step == 1):
        return numbers
    first = value(start, dtype)
    if not is_float:
        return first + numbers * value(step, dtype)
    second = value(value(start, "float64") + value(step, "float64"), dtype)  # as NumPy rounds it
    return first + numbers * (second - first)


def _count_steps(start: Any, stop: Any, step: Any, is_float: bool) -> Size:
    """Return how many elements arange has.

    Raises:
        UnknownSizeError: only a run computes the end.
        UncountedResultError: only a run computes the number, of the operands.
    """
    if is_known(start) and is_known(step) and not is_float:
        size(stop, "the end of arange")
    limits = [x if not is_known(x) else np.ravel(x)[0] for x in (start, stop, step)]
    if not all(map(is_known, limits)) or isinstance(limits[2], Dim):
        first, last, by = (value(x, "float64" if is_float else "int64") for x in limits)
        if is_float:
            counted = sg.astype(sg.ceil((last - first) / by), "int64")
        else:
            counted = -((first - last) // sg.where(by == 0, 1, by))
        is_valid = by != 0
        if is_float:
            is_valid = is_valid & sg.isfinite((last - first) / by)
        raise UncountedResultError(
            "how many elements arange has", sg.where(is_valid, sg.maximum(counted, 0), -1)
        )
    if limits[2] == 0:
        raise unsupported_variant("arange by 0")
    if not any(isinstance(x, Dim) for x in limits) and is_float:
        return max(ceil((float(limits[1]) - float(limits[0])) / float(limits[2])), 0)
    fractions = [x if isinstance(x, Dim) else Fraction(x.item()) for x in limits]
    scale = lcm(*[x.denominator for x in fractions if isinstance(x, Fraction)])
    if scale > _MOST_PARTS:
        raise unsupported_variant(f"arange by {limits[2]} up to a named size")
    begin, end, stride = (x * scale if isinstance(x, Dim) else int(x * scale) for x in fractions)
    if stride < 0:
        begin, end, stride = -begin, -end, -stride
    return maximum(-((begin - end) // stride), 0)


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
