"""Facts about a graph for lints: ranges, readers, gradient flow, guards by ``where``.

Each answer is computed once, or by a walk of bounded length, so that linting stays near-linear.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

from staticgrad.extend import Graph, Node, Symbolic, cached_property
from staticgrad.extend.building import Location, Origin
from staticgrad.extend.reports import Range, ValueKey, Zero, users_of
from staticgrad.tools.lints.ranges import ranges_of

#: Nodes that one walk looks at.
_WALK: Final = 64


class Shield(Enum):
    """The ``where`` nodes between a possibly infinite value and the results.

    ``NONE``: it reaches a result. ``WHOLE``: a ``where`` drops it, in the gradient too.
    ``FORWARD``: a ``where`` drops it, but between the two stands an op through which the
    gradient's mask does not pass.
    """

    NONE = "none"
    WHOLE = "whole"
    FORWARD = "forward"


class LintedGraph:
    """A graph with what lints ask about it; ``built`` is the graph before any pass."""

    def __init__(self, graph: Graph, built: Graph | None = None) -> None:
        self.graph = graph
        self.built = graph if built is None else built
        self.ranges = ranges_of(graph)
        self.users = users_of(graph)
        self.roots = frozenset(root.key for root in graph.roots)

    def range(self, value: Symbolic) -> Range:
        return self.ranges[value.key]

    def readers(self, node: Node) -> list[Node]:
        """Return the readers of the first result of ``node``, without gradients."""
        return [user for user in self.users[(node, 0)] if user.order == node.order]

    def is_internal(self, node: Node, operand: Symbolic) -> bool:
        """Return whether one call made both ``node`` and its operand's zeros.

        Then they are what a composite documents (``nanmean`` of a row of NaN), not what its caller
        wrote. Unknown, hence False, where origins are lines without columns.
        """
        pending, seen = [operand], 0
        while pending and seen < _WALK:
            value, seen = pending.pop(), seen + 1
            place = node.origin.places[0]
            if not isinstance(place, Origin) or value.node.origin.places[0] != place:
                return False
            pending += [arg for arg in value.node.args if self.range(arg).zero >= Zero.CHOSEN]
        return True

    # -- gradients --------------------------------------------------------------------------------

    @cached_property
    def has_gradients(self) -> bool:
        """Return whether the graph has gradients; if not, any node may be differentiated later."""
        return any(node.order for node in self.built.nodes)

    @cached_property
    def _lines_of_gradients(self) -> frozenset[Location]:
        nodes = (node for node in self.built.nodes if node.order)
        return frozenset(place for node in nodes for place in node.origin.places)

    @cached_property
    def moving(self) -> frozenset[ValueKey]:
        """Collect the values through which gradients flow to an input or parameter, for lints."""
        carriers: set[ValueKey] = set()
        for node in self.graph.nodes:
            if node.is_leaf:
                flows = node.op.name in ("input", "parameter")
            else:
                flows = node.op.differentiable and any(arg.key in carriers for arg in node.args)
            if flows:
                carriers.update(v.key for v in node.values if v.dtype.is_float)
        return frozenset(carriers)

    def takes_gradient(self, node: Node, operand: Symbolic) -> bool:
        """Return whether the gradient of ``operand`` through ``node`` is or may be needed."""
        if operand.key not in self.moving or node.order:
            return False
        return not self.has_gradients or not self._lines_of_gradients.isdisjoint(
            node.origin.places[:1]
        )

    # -- guards -----------------------------------------------------------------------------------

    def guard(self, node: Node, operand: Symbolic) -> Shield:
        """Return how ``where`` guards the results of a node that is infinite for some operand.

        A ``where`` counts if its condition is computed from the operand, or from what the operand
        is computed from.
        """
        ancestors = frozenset(_ancestors(operand, 8))
        shield = Shield.WHOLE
        pending: list[tuple[Node, bool]] = [(node, True)]
        seen: set[tuple[Node, bool]] = set()
        while pending:
            user, masked = pending.pop()
            if (user, masked) in seen:
                continue
            seen.add((user, masked))
            if len(seen) > _WALK or any(v.key in self.roots for v in user.values):
                return Shield.NONE
            for reader in self.readers(user):
                if not any(kind.dtype.is_float for kind in reader.types):
                    continue  # a comparison has no infinity to hand on
                alike = masked and reader.types[0].shape == user.types[0].shape
                is_choice = reader.op.name == "where" and reader.args[0].node is not user
                if is_choice and any(n in ancestors for n in _ancestors(reader.args[0], _WALK)):
                    shield = shield if alike else Shield.FORWARD
                else:
                    pending.append((reader, alike and reader.op.elementwise))
        return shield


def _ancestors(value: Symbolic, limit: int) -> Iterator[Node]:
    """Yield the producers of a value within a number of steps, for lints."""
    seen: dict[Node, None] = {}
    pending = [value.node]
    while pending and len(seen) < limit:
        node = pending.pop(0)
        if node in seen or node.op.name in ("constant", "size"):
            continue
        seen[node] = None
        pending += [arg.node for arg in node.args]
    return iter(seen)


def stabilize_program(program: LintedGraph) -> LintedGraph:
    """The program as every level compiles it: formulas that a rule mends are gone."""
    from passes.pipelines import pipeline

    graph = pipeline("stabilize")(program.graph)
    return program if graph is program.graph else LintedGraph(graph, program.graph)
