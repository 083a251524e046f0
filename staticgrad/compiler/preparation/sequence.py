"""The sequence of rewrites of a graph before its nodes are grouped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from staticgrad.compiler.preparation.columns import copy_formulas_of_sums, shift_formulas
from staticgrad.compiler.preparation.loops import (
    select_branches,
    share_stacks_with_carries,
    strip_mine_loops,
    transpose_invariants,
)
from staticgrad.compiler.preparation.marks import remove_marks
from staticgrad.compiler.preparation.products import (
    expand_vector_products,
    pack_panels,
    split_long_products,
    widen_accumulation,
)
from staticgrad.compiler.preparation.regions import join_disjoint_pads
from staticgrad.compiler.preparation.scatters import split_long_scatters
from staticgrad.compiler.preparation.slices import slice_pads
from staticgrad.compiler.preparation.windows import (
    materialize_broadcast_windows,
    split_filter_gradients,
    use_patch_matrices,
    use_stride_remainders,
    use_winograd_tiles,
)
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.schedule import Schedule

#: At every level: these rewrites determine the bits of the results.
_ALWAYS: Final = (
    *(
        remove_marks,
        use_patch_matrices,
        use_stride_remainders,
        expand_vector_products,
        widen_accumulation,
    ),
    *(
        materialize_broadcast_windows,
        use_winograd_tiles,
        split_filter_gradients,
        split_long_products,
        split_long_scatters,
    ),
)
#: With fusion only: the same bits with fewer passes over memory.
_MERGED: Final = (
    *(transpose_invariants, join_disjoint_pads, slice_pads, shift_formulas),
    *(copy_formulas_of_sums, share_stacks_with_carries, pack_panels),
)


def prepare_graph(graph: Graph, fuse: Callable[[Graph], Schedule] | None) -> Graph:
    """Return the graph from which kernels are made.

    ``fuse`` makes schedules of chunks of loops. Without it every node is a separate kernel, and
    rewrites that help only fused kernels are skipped.
    """
    for rewrite in _ALWAYS:
        graph = rewrite(graph)
    if fuse is None:
        return graph
    graph = strip_mine_loops(select_branches(graph), fuse)
    for rewrite in _MERGED:
        graph = rewrite(graph)
    return graph
