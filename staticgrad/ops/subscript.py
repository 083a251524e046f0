"""NumPy's indexing syntax, ``x[...]``: which slice, reshape or take a key means.

Integers, slices with any step, ``...``, ``None``, and one array of integers in any combination. An
index beyond a literal size is an error where it is written; beyond a named size, in the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError, AxisError, IndexOutOfRange
from staticgrad.ir.dim import Dim, Size, bounds, floordiv, maximum
from staticgrad.ir.value import FUNCTIONS, Value
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.movement import moveaxis, reshape
from staticgrad.ops.operands import as_value, integer, related
from staticgrad.ops.slices import sliced


@dataclass
class _Plan:
    """A key being read: the slice per axis of x, then the shape that its result takes."""

    x: Value
    starts: list[Size]
    lengths: list[Size]
    steps: list[int]
    shape: list[Size]
    array: tuple[int, Any] | None = None  # the axis of ``shape`` that an index array reads
    advanced: list[int] | None = None  # positions in the key of integers and arrays


def getitem(x: Operand, key: Any) -> Value:
    """``x[key]`` as NumPy has it: integers, slices, ``...``, ``None``, and one array of integers.

    Slices clip; of a named size the result's size is an expression of it. An array or value of
    integers reads along its axis as ``take`` does.

    Raises:
        IndexOutOfRange: an integer outside a literal size (a named size is checked in the run).
        AxisError: more indices than axes.
        ArgumentError: a bool mask, two index arrays, or something that is no index.
    """
    value = as_value("getitem", x)
    items = _expanded(value, key if isinstance(key, tuple) else (key,))
    plan = _Plan(value, [], [], [], [], advanced=[])
    for position, item in enumerate(items):
        _read(plan, position, item)
    part = sliced(value, tuple(plan.starts), tuple(plan.lengths), tuple(plan.steps))
    part = reshape(part, tuple(plan.shape))
    if plan.array is None:
        return part
    axis, indices = plan.array
    taken = FUNCTIONS["take"](part, indices, axis)
    return _placed(taken, axis, taken.ndim - part.ndim + 1, plan.advanced or [])


def _expanded(x: Value, key: tuple[Any, ...]) -> list[Any]:
    """The key with one entry per axis of x (and ``None`` for each new one)."""
    dots = [i for i, item in enumerate(key) if item is Ellipsis]
    if len(dots) > 1:
        raise ArgumentError("an index takes one '...', not two", related=related(x))
    used = len([item for item in key if item is not None and item is not Ellipsis])
    if used > x.ndim:
        raise AxisError(
            f"{used} indices for {x.ndim} {'axis' if x.ndim == 1 else 'axes'}: {x.type}",
            related=related(x),
        )
    fill = [slice(None)] * (x.ndim - used)
    at = dots[0] if dots else len(key)
    return [*key[:at], *fill, *key[at + 1 :]]


def _read(plan: _Plan, position: int, item: Any) -> None:
    """Add one entry of the key to the plan."""
    advanced = plan.advanced if plan.advanced is not None else []
    if item is None:
        plan.shape.append(1)
        return
    axis = len(plan.starts)
    size = plan.x.shape[axis]
    if isinstance(item, slice):
        start, length, step = _slice_of(plan.x, item, size)
        plan.shape.append(length)
    elif isinstance(item, Dim) or _is_integer(item):
        start, length, step = _index_of(plan.x, item, axis), 1, 1
        advanced.append(position)
    else:
        start, length, step = 0, size, 1
        if plan.array is not None:
            raise ArgumentError(
                "two index arrays in one x[...]",
                hint="index one axis at a time: sg.take(x, indices, axis)",
                related=related(plan.x),
            )
        plan.array = len(plan.shape), _index_array(plan.x, item)
        plan.shape.append(size)
        advanced.append(position)
    plan.starts.append(start)
    plan.lengths.append(length)
    plan.steps.append(step)


def _placed(taken: Value, axis: int, count: int, advanced: list[int]) -> Value:
    """NumPy's place for the axes of an index array: first, where integers stand apart from it."""
    apart = advanced[-1] - advanced[0] >= len(advanced)
    if not apart or axis == 0:
        return taken
    return moveaxis(taken, list(range(axis, axis + count)), list(range(count)))


def _is_integer(item: Any) -> bool:
    if isinstance(item, bool | np.bool_ | Value):
        return False
    return isinstance(item, int | np.integer) or (
        isinstance(item, np.ndarray) and item.ndim == 0 and item.dtype.kind in "iu"
    )


def _index_of(x: Value, item: Any, axis: int) -> Size:
    """A single index, counted from the start."""
    size = x.shape[axis]
    found: Size = item if isinstance(item, Dim) else int(item)
    if isinstance(found, int) and found < 0:
        found = size + found
    above, below = bounds(found)[1], bounds(size - found)[1]
    if (above is not None and above < 0) or (below is not None and below < 1):
        raise IndexOutOfRange(
            f"index {item} is out of range for axis {axis} of size {size}",
            hint=f"its indices go from 0 to {size - 1}" if size != 0 else "it has no elements",
            related=related(x),
        )
    return found


def _slice_of(x: Value, item: slice, size: Size) -> tuple[Size, Size, int]:
    """A slice, clipped as Python does, as (start, length, step)."""
    step = 1 if item.step is None else integer("getitem", "step", item.step, x)
    if step == 0:
        raise ArgumentError("a slice takes no step of 0", related=related(x))
    start, stop = (
        None if bound is None else _bound(x, bound, size) for bound in (item.start, item.stop)
    )
    if step > 0:
        first: Size = 0 if start is None else maximum(start, 0)
        spans = [size - first] if stop is None else [size - first, stop - first]
    else:
        first = size - 1 if start is None else _minimum(start, size - 1)
        spans = [first + 1] if stop is None else [first + 1, first - stop]
    counts = [maximum(floordiv(span + (abs(step) - 1), abs(step)), 0) for span in spans]
    length = counts[0] if len(counts) == 1 else _minimum(*counts)
    return (0, 0, 1) if length == 0 else (first, length, step)


def _bound(x: Value, bound: Any, size: Size) -> Size:
    """An end of a slice; negative ones count from the end."""
    if isinstance(bound, Dim):
        return bound
    number = integer("getitem", "index", bound, x)
    return size + number if number < 0 else number


def _minimum(left: Size, right: Size) -> Size:
    return left + right - maximum(left, right)


def _index_array(x: Value, item: Any) -> Any:
    """An array or value of integers."""
    array = item if isinstance(item, Value) else np.asarray(item)
    if not isinstance(array, Value) and array.size == 0 and isinstance(item, list | tuple):
        array = array.astype(np.int64)
    kind = array.dtype.kind
    if kind == "b":
        raise ArgumentError(
            "a bool mask has a result whose size is only known in a run",
            hint="use sg.where(mask, x, 0) for a result of the same shape",
            related=related(x, array),
        )
    if kind not in "iu":
        raise ArgumentError(
            f"{item!r} is no index", hint="convert it: astype('int64')", related=related(x, array)
        )
    return array


FUNCTIONS["getitem"] = getitem
