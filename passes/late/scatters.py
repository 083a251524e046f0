"""Split long scatters into parts, and look up the sums of few rows in place of a large array.

**Long scatters.** A scatter adds one element after the other, since indices may be equal. If there
are many more elements than targets, equal parts of them get targets of their own, and a sum across
the parts follows. The number of parts depends on the sizes alone (``ScatterIntoAxis.parts_of``), so
results do not depend on the number of threads. Elements of a symbolic size are added in order.

**Compact scatters.** The gradient of a table of embeddings is zero but for the rows that were
looked up. An optimizer's step that reads it element by element reads the sums of these rows where
they are, and a row of zeros for all others, so the gradient is not stored::

    %1 = scatter_add{size=v}(%x, %i)     %1 = index_copy(1 + iota(t), %i, zeros(v))
    %2 = mul(%1, 0.1)                    %2 = scatter_add{size=t + 1}(%x, take(%1, %i))
                                  ->     %3 = take(%2, %1)
                                         %4 = mul(%3, 0.1)

A row's sum is at the last position that has its index (from 1 on), and row 0 is zero. Each sum has
the same terms in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from passes.late.base import late_pass
from staticgrad.analysis.liveness import ValueKey, users_of
from staticgrad.language.ir.forms import Pointwise
from staticgrad.language.ir.graph import Graph, Node, Symbolic
from staticgrad.language.ops.cotangent import zeros_like_type
from staticgrad.language.ops.indexing import IndexCopy, ScatterIntoAxis, Take
from staticgrad.language.ops.movement import Reshape
from staticgrad.language.ops.positions import iota
from staticgrad.language.ops.reduce import Sum
from staticgrad.language.types.arrays import TensorType, hint_product, hint_value, product
from staticgrad.language.types.dtype import I32
from staticgrad.support.config import limits
from staticgrad.support.records import replace
from staticgrad.support.traversal import reach

#: Rows of the result for each row that is added, at least. A step of AdamW for 30,522 rows of 768
#: takes .75 of the time if 1,024 are added, 1.10 if 15,000 are (Emerald Rapids, 2026-12).
_ROWS_PER_ADDED: Final = 4


@late_pass("split-scatters", keeps="close")
def split_long_scatters(graph: Graph) -> Graph:
    """Rewrite long scatter-adds into few targets as sums of parts, one per thread."""

    def split_scatter(
        node: Node, op: ScatterIntoAxis, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        """Rewrite a long scatter-add as a sum of partial ones, or return None."""
        x, indices = args
        parts = op.parts_of(x.shape, indices.shape, op.size) if op.parts == 1 else 1
        if parts == 1:
            return None
        count, trailing = hint_product(indices.shape), x.shape[indices.ndim :]
        sums = replace(op, parts=parts)(Reshape((count, *trailing))(x), Reshape((count,))(indices))
        return (cast(Symbolic, Sum((0,))(sums)),)

    return graph.replace_ops(ScatterIntoAxis, split_scatter)


@late_pass("compact-scatters", priced=True)
def look_up_scattered_rows(graph: Graph) -> Graph:
    """Rewrite scatter-adds of few rows into large arrays, read by element, as looked-up sums."""
    if not graph.has(ScatterIntoAxis):
        return graph
    users, roots = users_of(graph), {value.key for value in graph.roots}

    def compact_scatter(
        node: Node, op: ScatterIntoAxis, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        """Return the looked-up sums of a scatter-add's rows, or None."""
        x, indices = args
        (result,) = node.values
        rows, row = hint_product(indices.shape), hint_product(result.shape[1:])
        is_small = hint_product(result.shape) < limits().compact_elements
        few = _ROWS_PER_ADDED * rows <= hint_value(op.size)
        if op.axis or op.parts > 1 or not few or is_small or row < limits().compact_row:
            return None
        if result.key in roots or not _is_read_by_element(node, users):
            return None
        count = product(indices.shape)
        flat = Reshape((count,))(indices)
        number = iota((count,), 0, I32, indices) + 1
        zeros = zeros_like_type(TensorType(I32, (op.size,)), indices)
        slots = IndexCopy(0, op.inside)(number, flat, zeros)
        added = Reshape((count, *result.shape[1:]))(x)
        sums = ScatterIntoAxis(0, count + 1, inside=True)(added, Take(0, op.inside)(slots, flat))
        return (cast(Symbolic, Take(0, inside=True)(sums, slots)),)

    return graph.replace_ops(ScatterIntoAxis, compact_scatter)


def _is_read_by_element(scatter: Node, users: Mapping[ValueKey, Sequence[Node]]) -> bool:
    """Return whether only elementwise ops read a scatter-add's result and what they compute."""
    shape = scatter.types[0].shape

    def readers(node: Node) -> list[Node]:
        return [user for value in node.values for user in users[value.key]]

    nodes = reach([scatter], lambda node: readers(node) if node.types[0].shape == shape else [])
    return all(
        node is scatter or (isinstance(node.form, Pointwise) and node.types[0].shape == shape)
        for node in nodes
    )
