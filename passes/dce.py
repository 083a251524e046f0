"""Dead-node elimination: drop what no output and no update depends on."""

from __future__ import annotations

from passes.base import Pass
from staticgrad.ir.graph import Graph, ancestors


class DeadNodes(Pass, name="dce"):
    """Drop every node that no output, update, input or parameter needs.

    Inputs and parameters stay: they are the graph's signature, read or not. One that nothing reads
    costs nothing: ``passes.fuse`` gives it no buffer, so that it is not copied, bound or locked.
    """

    def __call__(self, graph: Graph) -> Graph:
        """The graph without its dead nodes, in the same order."""
        kept = [*graph.roots, *graph.inputs, *graph.parameters]
        live = set(ancestors(kept))
        if len(live) == len(graph.nodes):
            return graph
        return graph.with_nodes((node for node in graph.nodes if node in live), {})
