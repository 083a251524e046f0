"""Entries put between those of an array, at positions that are known when the graph is built."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError, IndexOutOfRange
from staticgrad.errors.wording import kind_of, shown
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue, binding_kind
from staticgrad.ir.value import Value
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.movement import reshape
from staticgrad.ops.operands import as_value, axis_of, integer
from staticgrad.types.dim import Dim


def insert(
    x: Operand[AnyValue], obj: Any, values: Operand[AnyValue], axis: int | None = None
) -> AnyValue:
    """x with ``values`` before the positions ``obj`` along ``axis``, in the dtype of x.

    Args:
        x: a value.
        obj: a position in x; or a slice, a list of positions or a mask, in an axis of a literal
            size. Known when the graph is built.
        values: what is put there. They broadcast to the shape of x with as many entries along
            ``axis`` as there are positions; before one position there may be several.
        axis: along which; None flattens x.

    Returns:
        x with more entries along ``axis``.

    Raises:
        ArgumentError: ``obj`` is a value, or no position; several ones in an axis of a named size.
        IndexOutOfRange: a position that x does not have.

    >>> sg.evaluate(sg.insert([1, 2, 3], [1, 3], [7, 8]))
    array([1, 7, 2, 3, 8])
    """
    kind = binding_kind((x, values))
    value = as_value("insert", x, kind)
    if axis is None:
        value, axis = reshape(value, (-1,)), 0
    place = axis_of("insert", axis, value)
    new = functions.astype(as_value("insert", values, kind), value.dtype)
    new = reshape(new, (*(1,) * (value.ndim - new.ndim), *new.shape))
    size = value.shape[place]
    is_one = not isinstance(obj, Value | slice) and np.ndim(obj) == 0
    if is_one:  # NumPy has their entries along the first axis then
        new = functions.moveaxis(new, 0, place)
    found: Any = integer("insert", "obj", obj) if is_one else _positions(obj, size)
    count = new.shape[place] if is_one or len(found) == 1 else len(found)
    new = functions.broadcast_to(new, (*value.shape[:place], count, *value.shape[place + 1 :]))
    if isinstance(size, Dim) or isinstance(count, Dim):
        before = (slice(None),) * place
        parts = [value[(*before, slice(found))], new, value[(*before, slice(found, None))]]
        return functions.concatenate(parts, place)
    try:
        where = found if is_one or len(found) != 1 else int(found[0])
        order = np.insert(np.arange(size), where, size + np.arange(count))
    except IndexError as error:
        raise IndexOutOfRange(f"insert: {error}") from None
    return functions.take(functions.concatenate([value, new], place), order, axis=place)


def _positions(obj: Any, size: Any) -> Any:
    """The positions that a slice, a list or a mask names."""
    if isinstance(obj, Value):
        raise ArgumentError(
            "insert: obj is a value, whose numbers only a run knows",
            hint="positions are known when the graph is built: a number, a slice, a list",
        )
    if isinstance(size, Dim):
        raise ArgumentError(
            f"insert: obj is {shown(obj)}, and the axis has the named size {size}",
            hint="one position: sg.insert(x, 2, row, axis=0)",
        )
    if isinstance(obj, slice):
        return np.arange(*obj.indices(size))
    found = np.asarray(obj)
    if found.dtype.kind == "b" and found.ndim == 1:
        return np.flatnonzero(found)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise ArgumentError(f"insert: obj is {shown(obj)}, {kind_of(obj)}, no list of positions")
    return found.astype(np.int64)
