"""The pass over loops and branches as wholes."""

from __future__ import annotations

from collections.abc import Mapping

from passes.base import Pass, Watch
from staticgrad.ir.graph import Graph


class MergedLoops(Pass, name="loops"):
    """Make one loop of those over equal data, stack what gradients read, drop what nobody reads.

    A loop whose carries are those of another gives its results there: the loop that stacks carries
    for a gradient, or carries tangents, is then the one that was differentiated. What takes a
    product to build is stacked for the loop that runs backwards, which reads it instead. Results,
    carries, slices and invariants that nobody reads go; a carry that no iteration changes is an
    invariant. Every value stays what it was, to the byte.
    """

    def __call__(self, graph: Graph) -> Graph:
        """The graph with its loops merged and pruned."""
        return self.traced(graph)[0]

    def traced(self, program: Graph, watch: Watch | None = None) -> tuple[Graph, Mapping[str, int]]:
        """The same; how many loops were merged and pruned, and how many values stacked."""
        if not any(node.op.bodies for node in program.nodes):
            return program, {}
        from passes.loops.merging import merged  # few programs have loops
        from passes.loops.pruning import pruned
        from passes.loops.stacking import stacked

        graph, fewer = pruned(program)
        graph, merges = merged(graph)
        graph, stacks = stacked(graph)
        graph, more = pruned(graph)
        hits = {"pruned": fewer + more, "merged": merges, "stacked": stacks}
        return graph, {name: count for name, count in hits.items() if count}
