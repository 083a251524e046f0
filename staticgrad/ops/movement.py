"""Ops that move elements without computing: another shape, order of axes, part, or place.

Each is one canonical op with the transpose of another as its derivative: reshape, transpose,
broadcast and sum, slice and pad. NumPy's many spellings (squeeze, flip, moveaxis, ...) are functions
over them; indexing with ``[]`` stands in ``getitem.py``, concatenation in ``assemble.py``.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError, AxisError, RankError, ShapeError
from staticgrad.ir import dim as dims
from staticgrad.ir.dim import Dim, Size
from staticgrad.ir.forms import AxisMap, Form, View
from staticgrad.ir.forms import Reshape as ReshapeForm
from staticgrad.ir.op import Array
from staticgrad.ir.types import Shape, TensorType
from staticgrad.ir.value import FUNCTIONS, Value
from staticgrad.ops.cotangent import unbroadcast
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import (
    Axes,
    Linear,
    as_value,
    axes_of,
    axis_of,
    distinct_axes,
    integer,
    related,
    shape_of,
    shape_text,
    size_of,
)


class Reshape(Linear, name="reshape"):
    """The elements of x, in C order, under another shape."""

    exact = True
    flops = 0
    shape: tuple[Size, ...]

    def infer(self, x: TensorType) -> TensorType:
        """The dtype of x under the new shape; a guard where the counts agree only for some sizes.

        Raises:
            ShapeError: another number of elements.
        """
        count = prod(self.shape)
        text = f"reshape: {x.size} elements do not fill the shape {shape_text(self.shape)}"
        if not dims.equal(x.size, count, text):
            raise ShapeError(text, details=[f"that takes {count}"] if self.shape else [])
        return x.with_shape(self.shape)

    def reference(self, x: Array) -> Any:
        return x.reshape(self.shape)

    def transposed(self, ct: Any, x: Any, *indices: Any) -> Any:
        return reshape(ct, x.shape)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return ReshapeForm()


class Transpose(Linear, name="transpose"):
    """Axis i of the result is axis ``perm[i]`` of x."""

    exact = True
    flops = 0
    perm: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        """The dtype of x, its sizes permuted.

        Raises:
            AxisError: ``perm`` is no permutation of the axes of x.
        """
        if sorted(self.perm) != list(range(x.rank)):
            raise AxisError(f"transpose: {self.perm} is no permutation of the axes of {x}")
        return x.with_shape(tuple(x.shape[axis] for axis in self.perm))

    def reference(self, x: Array) -> Any:
        return x.transpose(self.perm)

    def transposed(self, ct: Any, x: Any, *indices: Any) -> Any:
        return Transpose(self.inverse)(ct)

    @property
    def inverse(self) -> tuple[int, ...]:
        """The permutation that undoes this one."""
        return tuple(self.perm.index(axis) for axis in range(len(self.perm)))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return View(tuple(AxisMap(axis) for axis in self.inverse))


class Broadcast(Linear, name="broadcast"):
    """x repeated to ``shape``: its axis i becomes axis ``axes[i]``, the other axes are new.

    ``axes`` ascends. An axis of literal size 1 stretches to any size; others keep theirs.
    """

    exact = True
    flops = 0
    shape: tuple[Size, ...]
    axes: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        """The dtype of x under the new shape; a guard where sizes agree only for some names.

        Raises:
            ShapeError: a size that cannot stretch to the one wanted.
            AxisError: ``axes`` does not place every axis of x, in ascending order.
        """
        ascending = list(self.axes) == sorted(set(self.axes))
        inside = all(0 <= axis < len(self.shape) for axis in self.axes)
        if len(self.axes) != x.rank or not ascending or not inside:
            raise AxisError(f"broadcast: {self.axes} does not place the axes of {x} in order")
        for axis, own in zip(self.axes, x.shape, strict=True):
            text = f"broadcast: {shape_text(x.shape)} does not fit {shape_text(self.shape)}"
            if own != 1 and not dims.equal(own, self.shape[axis], text):
                raise ShapeError(
                    text,
                    details=[f"axis {axis} has size {self.shape[axis]}, the operand's is {own}"],
                    hint="only an axis of literal size 1 stretches",
                )
        return x.with_shape(self.shape)

    def reference(self, x: Array) -> Any:
        between = [1] * len(self.shape)
        for axis, own in zip(self.axes, x.shape, strict=True):
            between[axis] = own
        return np.broadcast_to(x.reshape(between), self.shape)  # type: ignore[arg-type]

    def transposed(self, ct: Any, x: Any, *indices: Any) -> Any:
        new = tuple(axis for axis in range(len(self.shape)) if axis not in self.axes)
        return unbroadcast(FUNCTIONS["sum"](ct, new), x.type)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        (x,) = types
        placed = zip(self.axes, x.shape, strict=True)
        return View(
            tuple(
                AxisMap(None if own == 1 and self.shape[axis] != 1 else axis)
                for axis, own in placed
            )
        )


class Slice(Linear, name="slice"):
    """Index i along axis k of the result is index ``starts[k] + steps[k] * i`` along that of x.

    ``lengths`` is the result's shape. Every index must lie inside x; an axis of length 0 may start
    anywhere. Steps may be negative, never 0.
    """

    exact = True
    flops = 0
    starts: tuple[Size, ...]
    lengths: tuple[Size, ...]
    steps: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        """The dtype of x with shape ``lengths``; a guard where a named size may be too small.

        Raises:
            ShapeError: an index outside x.
            RankError: not one start, length and step per axis.
            ArgumentError: a step of 0.
        """
        if not len(self.starts) == len(self.lengths) == len(self.steps) == x.rank:
            raise RankError(f"slice: one start, length and step per axis of {x} are needed")
        if 0 in self.steps:
            raise ArgumentError("slice: a step of 0 leads nowhere")
        parts = zip(self.starts, self.lengths, self.steps, strict=True)
        for axis, (start, length, step) in enumerate(parts):
            _check_range(axis, x.shape[axis], start, length, step)
        return x.with_shape(self.lengths)

    def reference(self, x: Array) -> Any:
        parts = zip(self.starts, self.lengths, self.steps, strict=True)
        indices = [start + step * np.arange(length) for start, length, step in parts]  # type: ignore[arg-type]
        return x[np.ix_(*indices)] if indices else x

    def transposed(self, ct: Any, x: Any, *indices: Any) -> Any:
        return Pad(x.shape, self.starts, self.steps)(ct)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        parts = zip(self.starts, self.steps, strict=True)
        return View(tuple(AxisMap(axis, start, step) for axis, (start, step) in enumerate(parts)))


def _check_range(axis: int, size: Size, start: Size, length: Size, step: int) -> None:
    """Refuse a slice that leaves its axis, or note the guard under which it does not."""
    if length == 0:
        return
    inner = _if_any(length)
    first, last = (start, start + step * (inner - 1))[:: 1 if step > 0 else -1]
    for low, high in ((0, first), (last + 1, size)):
        below = dims.bounds(high - low)[0]
        if below is not None and below >= 0:
            continue
        # Multiplied by the length: an empty part may start anywhere.
        if not dims.at_least(high * length, low * length, _range_text(axis, size, start, length)):
            raise ShapeError(
                _range_text(axis, size, start, length),
                hint=f"its indices go from 0 to {size - 1}" if size != 0 else "it has no elements",
            )


def _if_any(length: Size) -> Size:
    """``length`` where it is not 0: e for max(e, 0)."""
    if isinstance(length, Dim) and len(length.terms) == 1:
        (monomial, coefficient) = length.terms[0]
        atom = monomial[0]
        if coefficient == 1 and len(monomial) == 1 and isinstance(atom, dims.Max):
            return atom.left if atom.right == 0 else atom.right if atom.left == 0 else length
    return length


def _range_text(axis: int, size: Size, start: Size, length: Size) -> str:
    from_end = start - size
    shown = from_end if isinstance(start, Dim) and isinstance(from_end, int) else start
    if length == 1:
        return f"index {shown} is outside axis {axis} of size {size}"
    return f"{length} elements from index {shown} are not inside axis {axis} of size {size}"


class Pad(Linear, name="pad"):
    """Zeros of ``shape`` with x placed at ``starts[k] + steps[k] * i`` along axis k: slice transposed.

    Every element must land inside; an axis of length 0 may start anywhere.
    """

    exact = True
    flops = 0
    shape: tuple[Size, ...]
    starts: tuple[Size, ...]
    steps: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        """The dtype of x under the new shape.

        Raises:
            ShapeError: an element that lands outside.
            RankError: not one size, start and step per axis.
        """
        if not len(self.shape) == len(self.starts) == len(self.steps) == x.rank:
            raise RankError(f"pad: one size, start and step per axis of {x} are needed")
        Slice(self.starts, x.shape, self.steps).infer(x.with_shape(self.shape))
        return x.with_shape(self.shape)

    def reference(self, x: Array) -> Any:
        out = np.zeros(self.shape, x.dtype)  # type: ignore[arg-type]
        parts = zip(self.starts, x.shape, self.steps, strict=True)
        indices = [start + step * np.arange(length) for start, length, step in parts]
        out[np.ix_(*indices) if indices else ()] = x
        return out

    def transposed(self, ct: Any, x: Any, *indices: Any) -> Any:
        return Slice(self.starts, x.shape, self.steps)(ct)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Assemble((Region(self.starts, self.steps),), fill=0)
