"""Dead-node elimination: drop what no output and no update depends on."""

from __future__ import annotations

from passes.base import Pass
from staticgrad.language.ir.graph import Graph


class DeadNodes(Pass, name="dce"):
    """Drop every node that no output, update, input or parameter needs.

    Inputs and parameters stay: they are the graph's signature, read or not. One that nothing reads
    costs nothing: ``lowering.fuse`` gives it no buffer, so that it is not copied, bound or locked.
    """

    may_fail = True

    def __call__(self, graph: Graph) -> Graph:
        """Return the graph without its dead nodes, in the same order."""
        return graph.without_dead_nodes()
