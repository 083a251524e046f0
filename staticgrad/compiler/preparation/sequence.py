"""The sequence of rewrites of a graph before its nodes are grouped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from staticgrad.compiler.preparation.columns import with_formulas_of_sums, with_shifted_formulas
from staticgrad.compiler.preparation.loops import (
    with_logged_carries,
    with_selected_cases,
    with_tested_iterations,
    with_transposed_invariants,
)
from staticgrad.compiler.preparation.marks import without_marks
from staticgrad.compiler.preparation.products import (
    expand_vector_products,
    widen_accumulation,
    with_panels,
    with_product_parts,
)
from staticgrad.compiler.preparation.regions import with_joined_pads
from staticgrad.compiler.preparation.scatters import with_scatter_parts
from staticgrad.compiler.preparation.slices import with_sliced_pads
from staticgrad.compiler.preparation.windows import (
    with_parts,
    with_patches,
    with_remainders,
    with_tiles,
    without_stretched_windows,
)
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.schedule import Schedule

#: At every level: these formulas determine the bits of the results.
_ALWAYS: Final = (
    *(without_marks, with_patches, with_remainders, expand_vector_products, widen_accumulation),
    *(without_stretched_windows, with_tiles, with_parts, with_product_parts, with_scatter_parts),
)
#: If kernels have several nodes: the same bits with fewer passes over memory.
_MERGED: Final = (
    *(with_transposed_invariants, with_joined_pads, with_sliced_pads, with_shifted_formulas),
    *(with_formulas_of_sums, with_logged_carries, with_panels),
)


def prepared(graph: Graph, fuse: Callable[[Graph], Schedule] | None) -> Graph:
    """Return the graph from which kernels are made.

    ``fuse`` makes schedules of stretches of loops. Without it every node is a separate kernel, and
    rewrites that help only fused kernels are skipped.
    """
    for rewrite in _ALWAYS:
        graph = rewrite(graph)
    if fuse is None:
        return graph
    graph = with_tested_iterations(with_selected_cases(graph), fuse)
    for rewrite in _MERGED:
        graph = rewrite(graph)
    return graph
