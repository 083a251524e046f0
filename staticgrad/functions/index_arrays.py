"""Several index arrays in one ``x[...]``: their axes as one, and the places in it.

Each array is checked and wrapped along its own axis; then they are one array of places among the
rows of x. This file knows no key syntax.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import binding_kind
from staticgrad.ir.value import Value
from staticgrad.ops.elementwise import broadcast
from staticgrad.ops.indexing import checked, iota
from staticgrad.ops.movement import moveaxis, reshape
from staticgrad.ops.operands import as_value
from staticgrad.types.arrays import array_of
from staticgrad.types.dim import Dim, Size
from staticgrad.types.dtype import I64


def rows_and_places(x: Value, arrays: Sequence[tuple[int, Any]]) -> tuple[Value, Value]:
    """x with the indexed axes first and as one, and the places (int64) that the arrays mean there.

    Args:
        x: what is indexed.
        arrays: an axis of x and an array or value of integers each, by ascending axes. Negative
            indices count from the end of their axis.

    Raises:
        ShapeError: the arrays do not broadcast.
        IndexOutOfRange: an index known now is outside a literal size; others are found in the run.
    """
    broadcast("getitem", [np.shape(a) if not isinstance(a, Value) else a.shape for _, a in arrays])
    axes = [axis for axis, _ in arrays]
    sizes = [x.shape[axis] for axis in axes]
    rest = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    rows = reshape(moveaxis(x, axes, list(range(len(axes)))), (prod(sizes), *rest))
    total: Any = None
    for (_, indices), size in zip(arrays, sizes, strict=True):
        own = _within(indices, size)
        if total is None:
            total = own
            continue
        by_row = np.int64(size) if isinstance(size, int) else functions.size_value(size, I64)
        total = total * by_row + own
    return rows, binding_kind((x,)).lift(total) if isinstance(total, np.ndarray) else total


def _within(indices: Any, size: Size) -> Any:
    """Positions in [0, size) as int64: now where both are known, else by looking them up."""
    if not isinstance(indices, Value) and not isinstance(size, Dim):
        return checked(array_of(indices, "getitem: a key"), size)
    value = as_value("getitem", indices)
    return functions.take(iota((size,), like=value), value, 0)
