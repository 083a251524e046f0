"""Mark the gathers and scatters whose indices are constants inside of their axis.

Kernels check each index in each run: it may be outside of the axis, and a negative one counts from
the end. A constant is looked at once, here, and its negative elements are counted from the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import numpy as np

from passes.late.base import late_pass
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.ranges import skip_moves
from staticgrad.language.ops.indexing import (
    IndexCopy,
    ScatterIntoAlong,
    ScatterIntoAxis,
    Take,
    TakeAlong,
)
from staticgrad.language.types.arrays import ArrayData
from staticgrad.language.types.dim import Size
from staticgrad.support.records import replace

_LOOKUPS: Final = (Take, TakeAlong, ScatterIntoAxis, ScatterIntoAlong, IndexCopy)


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
