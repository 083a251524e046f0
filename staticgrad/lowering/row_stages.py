"""Which stage of a group of rows computes what, and what a row keeps from stage to stage.

Stage s is a loop over the row; between s and s + 1 stands what is computed once per row. A value of
an element belongs to the first stage behind all row results that it depends on. Where later stages
need it too they compute it again, or, where that takes longer than reading it, find it in memory
that the row keeps: in the place of a result of the row that is not written yet, if there is one of
its dtype, else in scratch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from staticgrad.analysis.kernel_costs import instructions
from staticgrad.fusion.groups import Group, Groups, Home, Key, Source
from staticgrad.fusion.row_values import is_per_row
from staticgrad.ir.forms import GatherAlong, ScatterAlong
from staticgrad.ir.graph import Node
from staticgrad.records import NamedTuple, dataclass

#: Instructions from which on it is quicker to read a value of an element again than to compute it.
_WORTH_KEEPING: Final = 5
_LOAD: Final = 1


class RowPoint(NamedTuple):
    """Where something is computed: in the loop of a stage, or once per row behind it.

    Points compare by their order. What needs no stage is computed per row behind stage -1.
    """

    stage: int
    per_row: bool

    @property
    def next(self) -> int:
        """The first stage that may read what is computed here."""
        return self.stage + self.per_row


#: Behind the first stage, which brings the row near.
_FIRST: Final = RowPoint(0, True)
#: Behind all stages.
_END: Final = RowPoint(1 << 30, True)


class _Stay(NamedTuple):
    """A value that lies in memory from the point that writes it to the last that reads it."""

    node: Node
    first: RowPoint
    last: RowPoint


@dataclass(frozen=True)
class RowPlan:
    """What each stage of a group of rows computes.

    ``nodes``: at each point those that are computed there, in the order of the graph. ``kept``:
    elements that the row keeps in memory, each with the result in whose place, or None: only the
    first point that needs one computes it. ``numbers``: nodes of one element per row that later
    points read. ``results``: of each stage the reductions; ``columns``: and the sums over
    rows; ``stores``: what is stored at each point; ``checks``: the look-ups whose places are
    checked there, and whose elements are read. Stages are counted from 0.
    """

    stages: int
    nodes: Mapping[RowPoint, Sequence[Node]]
    kept: Mapping[Node, Key | None]
    numbers: Sequence[Node]
    results: Mapping[int, Sequence[Key]]
    columns: Mapping[int, Sequence[Key]]
    stores: Mapping[RowPoint, Sequence[Key]]
    checks: Mapping[RowPoint, Sequence[Node]]


def row_plan(groups: Groups, group: Group) -> RowPlan:
    """The stages of a group of rows."""
    return _Planning(groups, group).plan()


class _Planning:
    """One walk forwards for when values are known, and one backwards for where they are needed."""

    def __init__(self, groups: Groups, group: Group) -> None:
        self._groups, self._group = groups, group
        self._own = {Home(node) for node in group.nodes}
        #: The point at which a value is known first: of an element its stage, else behind one.
        self._home: dict[Key, RowPoint] = {}
        self._waiting = dict(group.reductions)
        self._find_homes()
        self._checks = {
            node: self._picked_at(node) if picks else self._checked_at(node)
            for node in group.nodes
            if (picks := isinstance(node.form, GatherAlong)) or isinstance(node.form, ScatterAlong)
        }
        self._effort = self._efforts()
        self._needs: dict[Node, set[RowPoint]] = {node: set() for node in group.nodes}
        self._count = 1 + max([point.stage for point in self._home.values()], default=-1)
        #: Nodes and operands that each stage computes and reads so far.
        self._present: list[set[object]] = [set() for _ in range(self._count)]

    def plan(self) -> RowPlan:
        """The plan."""
        results: dict[int, list[Key]] = {}
        for key, reduction in self._group.reductions.items():
            stage = self._home[key].stage
            results.setdefault(stage, []).append(key)
            self._ask(reduction.source, stage)
        stores: dict[RowPoint, list[Key]] = {}
        self._stored = {key: self._store(key) for key in self._group.stored}
        for key, point in self._stored.items():
            stores.setdefault(point, []).append(key)
        columns: dict[int, list[Key]] = {}
        for key, reduction in self._group.columns.items():
            stage = self._cheapest(reduction.source)
            columns.setdefault(stage, []).append(key)
            self._ask(reduction.source, stage)
        nodes: dict[RowPoint, list[Node]] = {}
        kept: dict[Node, Key | None] = {}
        numbers: list[Node] = []
        for node in reversed(self._group.nodes):
            for point in self._computed_at(node, kept, numbers):
                nodes.setdefault(point, []).append(node)
                self._need_operands(node, point)
        ordered = {point: found[::-1] for point, found in nodes.items()}
        places = self._in_results(kept, ordered)
        checks: dict[RowPoint, list[Node]] = {}
        for node, point in self._checks.items():
            checks.setdefault(point, []).append(node)
        return RowPlan(self._count, ordered, places, numbers, results, columns, stores, checks)

    def _need_operands(self, node: Node, point: RowPoint) -> None:
        """Have everything there that a node is computed from at a point."""
        sources = [self._groups.source(arg) for arg in node.args]
        if node in self._checks:
            self._need(sources.pop(), self._checks[node])
        if not isinstance(node.form, GatherAlong):
            for source in sources:
                self._need(source, point)
            return
        seen = {source.base for source in sources}
        for source in sources:  # an element computed again
            if source.base in self._own and not self._is_per_row(source.base.node):
                below = [self._groups.source(arg) for arg in source.base.node.args]
                sources += [each for each in below if each.base not in seen]
                seen.update(each.base for each in below)
            else:
                self._need(source, point)

    # -- where what may wait is computed ----------------------------------------------------------

    def _ask(self, source: Source, stage: int) -> None:
        """Have a stage compute an element."""
        self._need(source, RowPoint(stage, False))
        self._present[stage] |= self._below(source).keys()

    def _store(self, key: Key) -> RowPoint:
        """The point at which a value is stored."""
        point = self._home[key]
        if key not in self._own:
            return point
        if not point.per_row:
            source = self._groups.sources[key.node, 0]
            point = RowPoint(self._cheapest(source), False)
            self._ask(source, point.stage)
        self._needs[key.node].add(point)
        return point

    def _cheapest(self, source: Source) -> int:
        """The stage that has the least to do to compute an element that no stage waits for."""
        known = self._known(source)
        first = 0 if known is None else known.next
        below = self._below(source)
        effort = [
            sum([cost for each, cost in below.items() if each not in present])
            for present in self._present[first:]
        ]
        return first + effort.index(min(effort))

    def _below(self, source: Source) -> dict[object, int]:
        """The nodes and operands from which an element is computed, with what each costs."""
        found: dict[object, int] = {}
        waiting = [source]
        while waiting:
            each = waiting.pop()
            node = each.base.node
            if each.inline or each.base in found:
                continue
            if each.base not in self._home:
                found[each.base] = _LOAD
            elif each.base in self._own and not self._is_per_row(node):
                found[each.base] = instructions(node)
                waiting += [self._groups.source(arg) for arg in node.args]
        return found

    # -- when values are known --------------------------------------------------------------------

    def _find_homes(self) -> None:
        for node in self._group.nodes:
            self._find_results_below(node)
            before = [self._known(self._groups.source(arg)) for arg in node.args]
            known = max([each for each in before if each is not None], default=RowPoint(-1, True))
            per_row = self._is_per_row(node)
            if per_row and not known.per_row:  # it picks an element, which is computed again
                known = RowPoint(known.stage - 1, True)
            self._home[Home(node)] = known if per_row else RowPoint(known.next, False)
        for key in [*self._waiting]:
            self._find_result(key)

    def _checked_at(self, node: Node) -> RowPoint:
        """Where the place that a node sets is known."""
        known = self._known(self._groups.source(node.args[1]))
        return RowPoint(-1, True) if known is None else known

    def _picked_at(self, node: Node) -> RowPoint:
        """Where an element is read of the row: as soon as its place is known and the row was read,
        so that a result may be written over the row from then on."""
        return min(self._home[Home(node)], max(self._checked_at(node), _FIRST))

    def _find_results_below(self, node: Node) -> None:
        for arg in node.args:
            base = self._groups.source(arg).base
            if base in self._waiting:
                self._find_result(base)

    def _find_result(self, key: Key) -> None:
        known = self._known(self._waiting.pop(key).source)
        self._home[key] = RowPoint(0 if known is None else known.next, True)

    def _known(self, source: Source) -> RowPoint | None:
        """The point in which a value is known; None where it is before all stages."""
        return None if source.inline else self._home.get(source.base)

    def _is_per_row(self, node: Node) -> bool:
        return is_per_row(node.types[0].shape, self._group.domain, self._group.row)

    # -- what is kept -----------------------------------------------------------------------------

    def _efforts(self) -> dict[Node, int]:
        """Instructions that it takes to compute a value of an element where nothing else is."""
        found: dict[Node, int] = {}
        for node in self._group.nodes:
            if self._is_per_row(node):
                continue
            effort = instructions(node)
            for arg in node.args:
                source = self._groups.source(arg)
                if source.base in self._own and source.base.node in found:
                    below = found[source.base.node]
                    effort += below if below < _WORTH_KEEPING else _LOAD
                elif not source.inline and source.base not in self._home:
                    effort += _LOAD
            found[node] = effort
        return found

    def _need(self, source: Source, point: RowPoint) -> None:
        if not source.inline and source.base in self._own:
            self._needs[source.base.node].add(point)

    def _computed_at(
        self, node: Node, kept: dict[Node, Key | None], numbers: list[Node]
    ) -> Iterator[RowPoint]:
        """The points that compute a node, given all that need it."""
        needs, home = self._needs[node], self._home[Home(node)]
        if self._is_per_row(node):
            if any(each > home for each in needs):
                numbers.append(node)
            if needs:
                yield home
            return
        first = min(needs, default=None)
        stored = self._stored.get(Home(node)) == first and first is not None
        worth = self._effort[node] >= (2 * _LOAD if stored else _WORTH_KEEPING)
        if first is not None and len(needs) > 1 and worth:
            again = Home(node) not in self._group.streamed  # what is streamed is not read again
            kept[node] = Home(node) if stored and again else None
            yield first
        else:
            yield from sorted(needs)

    def _in_results(
        self, kept: Mapping[Node, Key | None], nodes: Mapping[RowPoint, Sequence[Node]]
    ) -> dict[Node, Key | None]:
        """What is kept, in the places of results of its type while nothing else is there.

        Where one value is read for the last time the next one may be written, if it is computed
        from the first, so that no lane writes before it has read.
        """
        found = dict(kept)
        there = {
            key: [_Stay(key.node, point, _END)]
            for key, point in self._stored.items()
            if key in self._own and not point.per_row and key not in self._group.streamed
        }

        def apart(one: _Stay, other: _Stay) -> bool:
            """Whether one is read no more when the other is written."""
            if one.last == other.first:
                return self._reads_from(other.node, one.node, set(nodes[one.last]))
            return one.last < other.first

        for node in [node for node, place in kept.items() if place is None]:
            stay = _Stay(node, min(self._needs[node]), max(self._needs[node]))
            for key, others in there.items():
                same = key.node.types[0] == node.types[0]
                if same and all(apart(stay, each) or apart(each, stay) for each in others):
                    found[node] = key
                    others.append(stay)
                    break
        return found

    def _reads_from(self, reader: Node, node: Node, inside: set[Node]) -> bool:
        """Whether computing one node at a point reads another one, which the row keeps."""
        waiting, seen = [reader], {reader}
        while waiting:
            for arg in waiting.pop().args:
                below = self._groups.source(arg).base.node
                if below is node:
                    return True
                if below in inside and below not in seen:
                    seen.add(below)
                    waiting.append(below)
        return False
