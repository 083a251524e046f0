"""Clones of nodes: the same ops once more, for readers of a later derivative order.

A clone is the same op over the same operands, so no byte changes. What clones read beside clones
stands behind a mark of its own (``ops.marks.Again``), so that no pass merges them with what was
computed first, and those of one order are merged among themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.graph import Node, Symbolic
from staticgrad.language.ir.op import Constant
from staticgrad.language.ops.marks import is_for_regions, read_again
from staticgrad.support.traversal import operands_first


class Clones:
    """Clones of nodes in one derivative order, which a pass adds to recompute values there."""

    def __init__(
        self,
        order: int,
        runs_again: Callable[[Symbolic], bool],
        outside: Callable[[Symbolic], Symbolic],
    ) -> None:
        self.order, self.runs_again, self.outside = order, runs_again, outside
        self.nodes: dict[Node, Node] = {}
        self._marks: dict[tuple[Node, int], Symbolic] = {}

    def clone_of(self, value: Symbolic) -> Symbolic:
        """Return the clone of a value for the backward pass, or its replacement without one.

        All operands that run again are cloned, too.
        """
        value = self.behind_marks(value)
        if not self.runs_again(value):
            return self.outside(value)

        def select_missing(values: Iterable[Symbolic]) -> list[Node]:
            repeated = [value.node for value in values if self.runs_again(value)]
            return [node for node in repeated if node not in self.nodes]

        def operands(node: Node) -> list[Symbolic]:
            return [self.behind_marks(arg) for arg in node.args]

        for node in operands_first(
            select_missing([value]), lambda node: select_missing(operands(node)[::-1])
        ):
            args = tuple(map(self._operand, operands(node)))
            self.nodes[node] = rebuild(node, args, order=self.order)
        return Symbolic(self.nodes[value.node], value.index)

    def behind_marks(self, value: Symbolic) -> Symbolic:
        """Return a value below the marks of values that have run, if it runs again."""
        while self.runs_again(value) and is_for_regions(value.node.op):
            value = value.node.args[0]
        return value

    def _operand(self, value: Symbolic) -> Symbolic:
        """Return the value that a clone reads as operand."""
        if self.runs_again(value):
            return Symbolic(self.nodes[value.node], value.index)
        return self.mark(self.outside(value))

    def mark(self, value: Symbolic) -> Symbolic:
        """Return a mark on a value that is read, not recomputed, by clones.

        What reads it is not merged with equal nodes that ran first.
        """
        if isinstance(value.node.op, Constant):
            return value
        if value.key not in self._marks:
            origin = value.node.origin
            mark = Node(read_again(self.order), (value,), (value.type,), origin, self.order)
            self._marks[value.key] = Symbolic(mark)
        return self._marks[value.key]
