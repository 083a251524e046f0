"""The extreme of the elements that are sent to one place: of values, and of positions, which tell
the last entry of each place."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.ir.combiners import COMBINERS
from staticgrad.ir.forms import Form, Scatter
from staticgrad.ir.functional import functions
from staticgrad.ir.op import Array, Op
from staticgrad.ir.ranges import Range, RangeOf
from staticgrad.ops.batch_axis import in_front
from staticgrad.ops.indexing import Take, checked, lands, turns
from staticgrad.ops.operands import integer
from staticgrad.ops.positions import iota
from staticgrad.types.arrays import convert_array
from staticgrad.types.dim import Size
from staticgrad.types.dtype import I64, as_dtype
from staticgrad.types.tensor import TensorType

_UFUNCS: Final = {"max": np.maximum, "min": np.minimum}


class ScatterExtreme(Op, name="scatter_extreme"):
    """out[p, indices[i], q] is the largest of the x[p, i, q] sent there, or the smallest.

    The axes of the indices, from ``axis`` of x on, become one axis of size ``size``. Where none is
    sent stands what loses against all: -inf for ``kind`` max of floats. NaN wins, and -0 is below
    0. Negative indices count from the end; others outside the axis raise.
    """

    exact = True
    kink = "the last of the elements equal to a result has its cotangent; NaN equals NaN"
    kind: str
    axis: int
    size: Size

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        """The dtype of x."""
        if self.kind not in _UFUNCS:
            raise ArgumentError(f"{self.name}: {self.kind!r} is no kind", hint="'max' or 'min'")
        return lands(self.name, x, indices, self.axis, self.size)

    def reference(self, x: Array, indices: Array) -> Any:
        out, rows, places = self._begun(x, indices)
        for turn in turns(places):  # within a turn no place occurs twice
            out[places[turn]] = _of_two(self.kind, out[places[turn]], rows[turn])
        return np.moveaxis(out, 0, self.axis)

    def eager(self, x: Array, indices: Array) -> Any:
        """By NumPy's loop, where it decides which of two zeros wins."""
        out, rows, places = self._begun(x, indices)
        _UFUNCS[self.kind].at(out, places, rows)
        return np.moveaxis(out, 0, self.axis)

    def _begun(self, x: Array, indices: Array) -> tuple[Array, Array, Array]:
        """Places to which nothing was sent, the rows of x, and where each goes."""
        size = integer(self.name, "size", self.size)
        places = checked(indices, size).ravel()
        before, after = x.shape[: self.axis], x.shape[self.axis + indices.ndim :]
        rows = np.moveaxis(x.reshape(*before, places.size, *after), self.axis, 0)
        dtype = as_dtype(x.dtype)
        none = convert_array(np.asarray(COMBINERS[self.kind].empty(dtype)), dtype)
        return np.full((size, *before, *after), none, x.dtype), rows, places

    def batched(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """At one set of indices for all; else into as many places for each of the batch."""
        x, indices = args
        if not over[1]:
            return ScatterExtreme(self.kind, self.axis + 1, self.size)(x, indices)
        (x,) = in_front(size, [x], [over[0]])
        own = Take(0)(iota((self.size,), 0, like=indices), indices)  # none below 0, none outside
        first = iota(own.shape, 0, like=indices) * functions.size_value(self.size, I64)
        moved = functions.moveaxis(x, 0, self.axis)
        whole = ScatterExtreme(self.kind, self.axis, size * self.size)(moved, own + first)
        before, after = whole.shape[: self.axis], whole.shape[self.axis + 1 :]
        parted = functions.reshape(whole, (*before, size, self.size, *after))
        return functions.moveaxis(parted, self.axis, 0)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Scatter(self.axis, kind=self.kind)

    def last(self, out: Any, x: Any, indices: Any) -> Any:
        """Whether an element of x is the last of those that equal what its place has."""
        flat, entries = self._flat(x, indices)
        won = functions.equal(entries, Take(self.axis)(out, flat))
        won = functions.logical_or(won, entries != entries)
        number = iota(entries.shape, self.axis, like=x)
        numbers = functions.where(won, number, -1)
        latest = ScatterExtreme("max", self.axis, self.size)(numbers, flat)
        chosen = functions.equal(Take(self.axis)(latest, flat), number)
        return functions.reshape(chosen, x.shape)

    def vjp(self, ct: Any, out: Any, x: Any, indices: Any) -> tuple[Any, ...]:
        """The cotangent of a place for the last element that it equals."""
        if not out.dtype.is_float:
            return None, None
        share = Take(self.axis)(ct, indices)
        return functions.where(self.last(out, x, indices), share, 0.0), None

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any, indices: Any) -> Any:
        """The tangent of the last element that a place equals; 0 where none was sent."""
        if not out.dtype.is_float or tangents[0] is None:
            return None
        kept = functions.where(self.last(out, x, indices), tangents[0], 0.0)
        return functions.scatter_add(kept, indices, self.size, self.axis)

    def value_range(self, of: RangeOf, x: Any, indices: Any) -> Range | None:
        """Anything that its dtype holds, where nothing is sent."""
        return None

    def _flat(self, x: Any, indices: Any) -> tuple[Any, Any]:
        """The indices along one axis, and x with that axis in place of theirs."""
        before, after = x.shape[: self.axis], x.shape[self.axis + indices.ndim :]
        count = prod(indices.shape)
        flat = functions.reshape(indices, (count,))
        return flat, functions.reshape(x, (*before, count, *after))


def _of_two(kind: str, a: Array, b: Array) -> Array:
    """The extreme of two elements, also of two zeros."""
    found = np.asarray(_UFUNCS[kind](a, b))
    if found.dtype.kind != "f":
        return found
    join = np.logical_and if kind == "max" else np.logical_or
    negative = join(np.signbit(a), np.signbit(b))
    zero = np.where(negative, found.dtype.type(-0.0), found.dtype.type(0.0))
    return np.where((a == 0) & (b == 0), zero, found)


def last_entries(flat: Any, size: Size) -> Any:
    """For each of ``size`` places the last entry of ``flat`` that names it; negative where none.

    Args:
        flat: a vector of places, integers; negative ones count from the end.
        size: how many places there are.
    """
    numbers = iota(flat.shape, 0, like=flat)
    return ScatterExtreme("max", 0, size)(numbers, flat)
