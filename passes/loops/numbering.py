"""Value numbers of bodies: two values of equal numbers are equal, whichever body computes them.

A number stands for an op over numbers (J. Cocke and J. T. Schwartz 1970). Inputs are numbered by
what the caller says they are, so that values of two bodies can be compared.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from staticgrad.ir.graph import Graph, Input, Node, Symbolic

ValueKey = tuple[Node, int]


class Numbering:
    """Numbers of the values of several bodies."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}

    def of(self, what: Hashable) -> int:
        """The number of something that is no result of a node."""
        return self._known.setdefault(what, len(self._known))

    def values(self, body: Graph, inputs: Sequence[int]) -> dict[ValueKey, int]:
        """The number of every value of a body, given those of its inputs."""
        found = {value.key: number for value, number in zip(body.inputs, inputs, strict=True)}
        for node in body.nodes:
            if not isinstance(node.op, Input):
                number = self.of(self._key(node, found))
                found.update(((node, i), self.of((number, i))) for i in range(len(node.types)))
        return found

    def _key(self, node: Node, found: dict[ValueKey, int]) -> Hashable:
        args = [found[arg.key] for arg in node.args]
        if node.op.commutative:
            args.sort()
        key: tuple[Any, ...] = (node.op.key, *args)
        return key


class Copier:
    """Copies values of bodies into one body, each number once."""

    def __init__(self, given: dict[int, Symbolic]) -> None:
        self._made = dict(given)

    def copies(
        self, values: Sequence[Symbolic], numbers: dict[ValueKey, int], body: Graph
    ) -> list[Symbolic]:
        """``values`` of ``body`` over what was copied before."""
        wanted = self._missing(values, numbers)
        for node in body.nodes:
            if node not in wanted:
                continue
            args = tuple([self._made[numbers[arg.key]] for arg in node.args])
            copy = Node(node.op, args, node.types, node.origin, node.order)
            copy.verified = node.verified
            for value in copy.values:
                self._made[numbers[node, value.index]] = value
        return [self._made[numbers[value.key]] for value in values]

    def _missing(self, values: Sequence[Symbolic], numbers: dict[ValueKey, int]) -> set[Node]:
        waiting = [v.node for v in values if numbers[v.key] not in self._made]
        found = set(waiting)
        while waiting:
            for arg in waiting.pop().args:
                if numbers[arg.key] not in self._made and arg.node not in found:
                    found.add(arg.node)
                    waiting.append(arg.node)
        return found
