"""The pass over loops and branches as wholes."""

from __future__ import annotations

from collections.abc import Mapping

from passes.base import Pass, Watch
from staticgrad.language.ir.graph import BodyOp, Graph


class MergedLoops(Pass, name="loops"):
    """Make one loop of those over equal data, stack what gradients read, drop what nobody reads.

    A loop whose carries are carries of another loop is merged into it: then the loop that stacks
    carries for a gradient, or carries tangents, is the original loop. Values that need a product
    are stacked for the backward loop, which reads them instead; those that are equal in all
    iterations are computed once, in front of the loop. Parts of an array, as those of a complex
    one, are taken of its rows and joined to rows in the body. Unread results, carries, slices and
    invariants are removed; a carry that no iteration changes becomes an invariant. All values stay
    bitwise identical.
    """

    may_fail = True

    def apply(self, program: Graph, watch: Watch | None = None) -> tuple[Graph, Mapping[str, int]]:
        """Optimize loops and branches: return the graph, and counts of changes by each step."""
        if not program.has(BodyOp):
            return program, {}
        from passes.cse import CommonSubexpressions  # few programs have loops
        from passes.loops.hoisting import hoist_invariants
        from passes.loops.interleaved import take_rows
        from passes.loops.merging import merge_loops
        from passes.loops.pruning import prune_bodies
        from passes.loops.stacking import stack_expensive_values

        graph, fewer = prune_bodies(program)
        graph, hoists = hoist_invariants(graph)
        if hoists:
            graph = CommonSubexpressions()(graph)  # equal operands make loops of equal values
        graph, merges = merge_loops(graph)
        graph, stacks = stack_expensive_values(graph)
        graph, more = prune_bodies(graph)
        graph, rows = take_rows(graph)
        hits = {
            "pruned": fewer + more, "hoisted": hoists, "merged": merges, "stacked": stacks,
            "in rows": rows,
        }  # fmt: skip
        return graph, {name: count for name, count in hits.items() if count}
