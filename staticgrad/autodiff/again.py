"""What ``sg.checkpoint(f, policy=...)`` computes again: clones that a gradient reads in its place.

A mark behind each result of the function says where it begins and what is saved of it
(``ops.marks.Recomputed``). What lies in between is a region. The rule of a node in a region gets,
for operands and results that are not saved, clones of the nodes that computed them, of the order of
the gradient. What nobody reads after all is dropped with other dead nodes.

A region within another runs again twice: the outer one computes what the inner one begins at, and
of that the inner one computes what its gradient reads. So regions nest as recursive checkpoints do.
"""

from __future__ import annotations

from collections.abc import Iterable

from passes.clones import Clones
from staticgrad.building import current
from staticgrad.ir.graph import Node, Symbolic, ancestors
from staticgrad.ops.marks import region_behind

_Key = tuple[Node, int]
#: Where a region begins, and what is saved of it.
_Ends = tuple[frozenset[_Key], frozenset[_Key]]


class _Region:
    """What lies between the marks of one function and what it begins at."""

    def __init__(self, ends: _Ends, order: int) -> None:
        self.begins, self.saved = ends
        self.nodes: set[Node] = set()
        self.parent: _Region | None = None
        self.clones = Clones(order, self._runs_again, self._outside)

    def reach(self, result: Symbolic) -> None:
        """Take in all that a result was computed of."""
        waiting = [result]
        while waiting:
            value = waiting.pop()
            node = value.node
            if node not in self.nodes and not node.is_leaf and value.key not in self.begins:
                self.nodes.add(node)
                waiting += node.args

    def leave_begins(self) -> None:
        """Leave out what it begins at is computed of.

        Stable formulas may read that in the place of what the region begins at.
        """
        oldest = min((node.serial for node in self.nodes), default=0)
        before = [Symbolic(*key) for key in self.begins]
        self.nodes.difference_update(ancestors(before, oldest=oldest))

    def all_seen(self, values: Iterable[Symbolic]) -> tuple[Symbolic, ...]:
        """What stands for values in a gradient of the region."""
        return tuple(map(self.clones.seen, values))

    def _runs_again(self, value: Symbolic) -> bool:
        key = value.key
        return value.node in self.nodes and key not in self.begins and key not in self.saved

    def _outside(self, value: Symbolic) -> Symbolic:
        return value if self.parent is None else self.parent.clones.seen(value)


class Regions:
    """The regions among some nodes, as a gradient of the present order sees them."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        order = current().order
        self._home: dict[Node, _Region] = {}
        found: dict[_Ends, _Region] = {}
        marks: dict[Node, _Region] = {}
        for node in nodes:
            ends = region_behind(node)
            if ends is None or node.order >= order:
                continue  # what a rule builds anew, as bodies of loops, is there
            keys: _Ends = tuple(frozenset(arg.key for arg in each) for each in ends)  # type: ignore[assignment]
            if keys not in found:
                found[keys] = _Region(keys, order)
            marks[node] = found[keys]
            found[keys].reach(node.args[0])
        for region in found.values():
            region.leave_begins()
        for region in sorted(found.values(), key=lambda region: -len(region.nodes)):
            for node in region.nodes:
                inner = marks.get(node)
                if inner is not None and inner is not region:
                    inner.parent = region
                self._home[node] = region

    def around(self, node: Node) -> tuple[tuple[Symbolic, ...], tuple[Symbolic, ...]]:
        """The results and the operands of a node, for its derivative rule."""
        region = self._home.get(node)
        if region is None:
            return node.values, node.args
        return region.all_seen(node.values), region.all_seen(node.args)
