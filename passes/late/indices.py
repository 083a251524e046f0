"""Rewrite gathers and scatters by what is known of their indices and operands.

**Selected elements.** ``take_along(x - c, i)`` with one index for each row computes one element of
a row. If rows are too long for the kernel of the difference, it is ``take_along(x, i) - c``: no
array of differences is stored. Class labels select so in a cross entropy.

**Known indices.** Mark the gathers and scatters whose indices are constants inside of their axis.
Kernels check each index in each run: it may be outside of the axis, and a negative one counts from
the end. A constant is looked at once, here, and its negative elements are counted from the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import or_
from typing import Final, cast

import numpy as np

from passes.late.base import late_pass
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.ranges import skip_moves
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.ops.indexing import (
    IndexCopy,
    ScatterIntoAlong,
    ScatterIntoAxis,
    Take,
    TakeAlong,
)
from staticgrad.language.types.arrays import ArrayData, hint_value
from staticgrad.language.types.dim import Size
from staticgrad.support import fuses
from staticgrad.support.config import limits
from staticgrad.support.records import replace

_LOOKUPS: Final = (Take, TakeAlong, ScatterIntoAxis, ScatterIntoAlong, IndexCopy)


@late_pass("selected-elements")
def select_before_arithmetic(graph: Graph) -> Graph:
    """Rewrite gathers of one element of each long row so that arithmetic follows the gather."""

    def rewrite(node: Node, op: TakeAlong, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        x, indices = args
        is_long = hint_value(x.shape[op.axis]) >= limits().selected_row
        if indices.shape[op.axis] != 1 or not is_long or not isinstance(x.node.op, Elementwise):
            return None
        return (_gather(op, x, indices, [fuses.GATHERED_NODES]),)

    return graph.replace_ops(TakeAlong, rewrite).without_dead_nodes()


def _gather(op: TakeAlong, x: Symbolic, indices: Symbolic, left: list[int]) -> Symbolic:
    """Gather from the operands of elementwise nodes; ``left`` has how many may be recomputed."""
    node = x.node
    has_rows = [arg.shape == x.shape for arg in node.args]
    has_columns = [arg.ndim == 0 or _is_column_of(arg, x, op.axis) for arg in node.args]
    one_result = isinstance(node.op, Elementwise) and len(node.types) == 1
    if not (one_result and left[0] and any(has_rows) and all(map(or_, has_rows, has_columns))):
        return cast(Symbolic, op(x, indices))
    left[0] -= 1
    args = [
        _gather(op, arg, indices, left) if is_row else arg
        for arg, is_row in zip(node.args, has_rows, strict=True)
    ]
    return cast(Symbolic, node.op(*args))


def _is_column_of(value: Symbolic, x: Symbolic, axis: int) -> bool:
    return value.shape == (*x.shape[:axis], 1, *x.shape[axis + 1 :])


@late_pass("known-indices")
def mark_known_indices(graph: Graph) -> Graph:
    """Rewrite gathers and scatters by constants so that no run checks the indices."""

    def mark(node: Node, op: Op, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Rewrite a gather or scatter by constant indices, or return None."""
        assert isinstance(op, _LOOKUPS)
        data, indices, *base = args
        if isinstance(op, ScatterIntoAxis | ScatterIntoAlong):
            size = op.size
        else:
            size = (base or (data,))[0].shape[op.axis]
        wrap = op.wrap if isinstance(op, TakeAlong | ScatterIntoAlong) else True
        inside = None if op.inside else _count_from_start(indices, size, wrap)
        if inside is None:
            return None
        return (cast(Symbolic, replace(op, inside=True)(data, inside, *base)),)

    return graph.replace_ops(_LOOKUPS, mark)


def _count_from_start(indices: Symbolic, size: Size, wrap: bool) -> Symbolic | None:
    """Return constant indices inside of an axis as indices from 0 to below its size, or None."""
    constant = skip_moves(indices).node.op
    if not isinstance(constant, Constant) or not isinstance(size, int):
        return None
    places = constant.data.array
    low, high = (int(places.min()), int(places.max())) if places.size else (0, -1)
    if high >= size or low < (-size if wrap else 0):
        return None  # a run raises the error
    if low >= 0:
        return indices
    if not isinstance(indices.node.op, Constant):
        return None
    wide = places.astype(np.int64)
    return cast(Symbolic, Constant(ArrayData(np.where(wide < 0, wide + size, wide)))())
