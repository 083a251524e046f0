"""Long scatters in parts, which several threads add up at the same time.

A scatter adds one element after the other, since two may go to one place. Where there are many more
elements than places, equal parts of them have places of their own, and a sum across the parts
follows. The number of parts depends on the sizes alone, so no bit depends on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from staticgrad.language.ir.graph import Graph, Node, Symbolic
from staticgrad.language.ops.indexing import ScatterIntoAxis
from staticgrad.language.ops.movement import Reshape
from staticgrad.language.ops.reduce import Sum
from staticgrad.language.types.arrays import hint_product

#: Parts at most: places are cleared and added up once for each.
_PARTS: Final = 16
#: Elements that each place of a part gets on average, at least: then clearing and adding places
#: takes about a tenth of the time.
_PER_PLACE: Final = 8
#: Elements from which on a scatter takes long enough to be cut, some 10 us.
_LEAST: Final = 1 << 14


def with_scatter_parts(graph: Graph) -> Graph:
    """Return the graph with long scatters into few places as sums of parts."""

    def rewritten(
        node: Node, op: ScatterIntoAxis, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        x, indices = args
        parts = _parts(op, x, indices)
        if parts == 1:
            return None
        count, after = hint_product(indices.shape), x.shape[indices.ndim :]
        several = ScatterIntoAxis(0, op.size, parts)
        sums = several(Reshape((count, *after))(x), Reshape((count,))(indices))
        return (cast(Symbolic, Sum((0,))(sums)),)

    return graph.replace_ops(ScatterIntoAxis, rewritten)


def _parts(op: ScatterIntoAxis, x: Symbolic, indices: Symbolic) -> int:
    """Return the number of parts of a scatter: a power of two."""
    sizes = (*indices.shape, op.size)
    if op.axis or op.parts > 1 or not all(isinstance(size, int) for size in sizes):
        return 1
    if hint_product(x.shape) < _LEAST:
        return 1
    parts, most = 1, hint_product(indices.shape) // (_PER_PLACE * max(1, hint_product((op.size,))))
    while 2 * parts <= min(most, _PARTS):
        parts *= 2
    return parts
