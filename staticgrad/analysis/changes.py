"""The parts of a graph that a pass changed, before and after, as pairs of small graphs.

A pass that saves memory traffic pays where fusion makes fewer or shorter kernels of what it made.
This is known once both graphs are fused. Parts are enough for that: the nodes that changed, and the
nodes around them that may share their kernels, up to a distance and to the next part. Products,
calls of libraries, loops and branches around a change are in the part, and what is behind them is
not. An unrolled loop has a part for each iteration, and most of them are equal.

Nodes of both graphs that are equal but for what they read are one *unit*, and so is each node that
only one of the graphs has. ``replace_traced`` says which replaces which.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Final

from staticgrad.analysis.liveness import users_of
from staticgrad.language.ir.bodies import body_input, body_of
from staticgrad.language.ir.copies import NodeCopies
from staticgrad.language.ir.forms import CallForm, Contract, View
from staticgrad.language.ir.graph import (
    Constant,
    Graph,
    Input,
    Node,
    ParameterLeaf,
    Symbolic,
    bodies_of,
    replacements,
)
from staticgrad.support.records import dataclass

#: The distance of a node from the changed ones of its part, at most: kernels that a change reaches
#: are seldom longer. All schedules of the benchmarks' corpus are those of whole graphs.
_REACH: Final = 6


@dataclass(frozen=True)
class ChangedPart:
    """One part before a pass and after it, over the same inputs, and the number of equal parts.

    Both graphs have the outputs in common that the rest of the program reads.
    """

    original: Graph
    rewritten: Graph
    count: int = 1


def changed_parts(original: Graph, rewritten: Graph, most: float = 1.0) -> list[ChangedPart]:
    """Return the changed parts of a graph before a pass and after it; equal parts are one.

    The whole graphs are the only part if the parts have more than ``most`` of their nodes.
    """
    changes = _Changes(original, rewritten)
    parts = changes.distinct_parts()
    if sum(len(units) for units, _ in parts) > most * len(changes.units):
        return [ChangedPart(original, rewritten)]
    return [ChangedPart(*changes.build(units), count) for units, count in parts]


@dataclass(frozen=True, eq=False)
class _Unit:
    """A node of both graphs, or of one: ``nodes`` has it before and after the pass."""

    nodes: tuple[Node | None, Node | None]

    @property
    def is_changed(self) -> bool:
        """Return whether only one of the graphs has the node."""
        return None in self.nodes

    @property
    def any_node(self) -> Node:
        """The node of either graph."""
        (node, *_) = [node for node in self.nodes if node is not None]
        return node


class _Changes:
    """The units of two graphs, and the parts around those that differ."""

    def __init__(self, original: Graph, rewritten: Graph) -> None:
        self._graphs = original, rewritten
        self._users = users_of(original), users_of(rewritten)
        self._roots = [{value.key for value in graph.roots} for graph in self._graphs]
        shared = {*original.nodes} & {*rewritten.nodes}
        counterparts = _pair_nodes(original, rewritten, shared)
        self.units: list[_Unit] = []
        #: Of each graph: the unit of each node. Inputs and parts of them have none.
        self._unit_of: tuple[dict[Node, _Unit], dict[Node, _Unit]] = {}, {}
        for node in original.nodes:
            if not node.is_leaf and not (node in shared and _is_view_of_leaf(node)):
                self._add(node, node if node in shared else counterparts.get(node))
        for node in rewritten.nodes:
            if node not in shared and node not in self._unit_of[1] and not node.is_leaf:
                self._add(None, node)
        self._number = {unit: number for number, unit in enumerate(self.units)}
        self._parts = self._spread(self._seeds())

    def _add(self, old: Node | None, new: Node | None) -> None:
        unit = _Unit((old, new))
        self.units.append(unit)
        for units, node in zip(self._unit_of, unit.nodes, strict=True):
            if node is not None:
                units[node] = unit

    def _source(self, side: int, value: Symbolic) -> tuple[_Unit | Node, int]:
        """Return what computes a value of one of the graphs, with the number of its result."""
        return self._unit_of[side].get(value.node, value.node), value.index

    def _operands(self, unit: _Unit) -> Iterator[tuple[tuple[_Unit | Node, int], ...]]:
        """Yield what computes each operand of a unit, in each graph that has another node of it."""
        sources = [
            [self._source(side, arg) for arg in node.args]
            for side, node in enumerate(dict.fromkeys(unit.nodes))
            if node is not None
        ]
        yield from zip(*sources, strict=True)

    # -- which units are in a part ---------------------------------------------------------------

    def _seeds(self) -> dict[_Unit, _Unit]:
        """Return the units that changed, or read another value, each with one of its part."""
        parents: dict[_Unit, _Unit] = {}

        def find(unit: _Unit) -> _Unit:
            while parents.setdefault(unit, unit) is not unit:
                parents[unit] = parents[parents[unit]]
                unit = parents[unit]
            return unit

        def join(units: Sequence[_Unit]) -> None:
            for unit in units[1:]:
                parents[find(unit)] = find(units[0])

        def select_changed(sources: Sequence[tuple[_Unit | Node, int]]) -> list[_Unit]:
            return [u for u, _ in sources if isinstance(u, _Unit) and u.is_changed]

        reader_of: dict[tuple[_Unit | Node, int], _Unit] = {}
        for unit in self.units:
            if unit.is_changed:
                find(unit)
            for sources in self._operands(unit):
                if unit.is_changed or sources[0] != sources[-1]:
                    find(unit)
                    # Formulas that are computed once or several times are in one part.
                    together = [reader_of.setdefault(s, unit) for s in sources if _is_computed(s)]
                    join([unit, *together, *select_changed(sources)])
        for values in zip(*[graph.roots for graph in self._graphs], strict=True):
            join(select_changed([self._source(side, value) for side, value in enumerate(values)]))
        return {unit: find(unit) for unit in self.units if unit in parents}

    def _spread(self, seeds: Mapping[_Unit, _Unit]) -> dict[_Unit, _Unit]:
        """Return the nearest part of each unit that may share a kernel with changed ones."""
        part_of, readers = {**seeds}, {*seeds}
        pending = deque((unit, 0) for unit in seeds)
        while pending:
            unit, distance = pending.popleft()
            if distance == _REACH:
                continue
            part = part_of[unit]
            is_border = not unit.is_changed and _is_border(unit.any_node)
            if unit in readers and not is_border:
                for reader in self._readers(unit):
                    if part_of.setdefault(reader, part) is part and reader not in readers:
                        readers.add(reader)
                        pending.append((reader, distance + 1))
            if unit in readers or not is_border:
                for sources in self._operands(unit):
                    for source, _ in sources:
                        if isinstance(source, _Unit) and source not in part_of:
                            part_of[source] = part
                            pending.append((source, distance + 1))
        return part_of

    def _readers(self, unit: _Unit) -> Iterator[_Unit]:
        for node, users, units in zip(unit.nodes, self._users, self._unit_of, strict=True):
            if node is not None:
                yield from [units[user] for value in node.values for user in users[value.key]]

    def distinct_parts(self) -> list[tuple[list[_Unit], int]]:
        """Return one of each group of equal parts, in the order of the graph, and its number."""
        parts: dict[_Unit, list[_Unit]] = {}
        for unit in self.units:
            if unit in self._parts:
                parts.setdefault(self._parts[unit], []).append(unit)
        counts: dict[Hashable, tuple[list[_Unit], int]] = {}
        for units in parts.values():
            key = self._contents(units)
            first, count = counts.get(key, (units, 0))
            counts[key] = first, count + 1
        return [*counts.values()]

    def _contents(self, units: Sequence[_Unit]) -> Hashable:
        """Return the ops, types and connections of a part: equal for parts with equal kernels."""
        numbers: dict[object, int] = {unit: number for number, unit in enumerate(units)}
        contents: list[Hashable] = []
        for unit in units:
            for side, node in enumerate(unit.nodes):
                if node is None or (side and node is unit.nodes[0]):
                    contents.append(node is None)
                    continue
                operands = [
                    (arg.node.op, 0)
                    if isinstance(arg.node.op, Constant)
                    else (numbers.setdefault(source, len(numbers)), index, arg.type)
                    for arg, (source, index) in [(a, self._source(side, a)) for a in node.args]
                ]
                contents.append((node.op, node.order, node.types, tuple(operands)))
            contents.append(tuple(self._read_outside(unit)))
        return tuple(contents)

    def _read_outside(self, unit: _Unit) -> list[int]:
        """Return which values of a unit other parts read, or the rest of the program."""
        part = self._parts[unit]
        numbers = set()
        for node, roots, users, units in zip(
            unit.nodes, self._roots, self._users, self._unit_of, strict=True
        ):
            for value in () if node is None else node.values:
                is_inside = all(self._parts.get(units[user]) is part for user in users[value.key])
                if value.key in roots or not is_inside:
                    numbers.add(value.index)
        return sorted(numbers)

    # -- what is built ---------------------------------------------------------------------------

    def build(self, units: Sequence[_Unit]) -> tuple[Graph, Graph]:
        """Return a part before and after the pass: what it reads from outside are inputs."""
        inside = {*units}
        inputs: dict[Hashable, Symbolic] = {}
        sides: list[tuple[dict[tuple[Node, int], Symbolic], dict[str, Symbolic]]] = []
        for side in (0, 1):
            stand_ins: dict[tuple[Node, int], Symbolic] = {}
            outputs: dict[str, Symbolic] = {}
            for unit in units:
                if (node := unit.nodes[side]) is None:
                    continue
                for arg in node.args:
                    source = self._source(side, arg)
                    if source[0] in inside or isinstance(arg.node.op, Constant):
                        continue
                    if source not in inputs:
                        name, of_node = f"p{len(inputs)}", arg.node
                        inputs[source] = body_input(name, arg.type, of_node.origin, of_node.order)
                    stand_ins[arg.key] = inputs[source]
                for index in self._read_outside(unit):
                    outputs[f"y{self._number[unit]}.{index}"] = node.values[index]
            sides.append((stand_ins, outputs))
        original, rewritten = [_build(*of_side) for of_side in sides]
        return original, rewritten


def _build(
    stand_ins: Mapping[tuple[Node, int], Symbolic], outputs: Mapping[str, Symbolic]
) -> Graph:
    """Return the graph that computes values from inputs that stand for others."""
    copied = NodeCopies(stand_ins).apply([*outputs.values()])
    inputs = {value.key: value for value in stand_ins.values()}
    return body_of(inputs.values(), dict(zip(outputs, copied, strict=True)))


def _is_computed(source: tuple[_Unit | Node, int]) -> bool:
    """Return whether a kernel that reads a value may compute it, too."""
    return isinstance(source[0], _Unit) and not _is_border(source[0].any_node)


def _pair_nodes(original: Graph, rewritten: Graph, shared: set[Node]) -> dict[Node, Node]:
    """Pair the nodes of two graphs that are equal but for what they read."""
    counterparts: dict[Node, Node] = {}
    old_nodes, new_nodes = {*original.nodes} - shared, {*rewritten.nodes} - shared
    for old, values in replacements(rewritten).items():
        new = values[0].node
        is_equal = old.op == new.op and old.types == new.types and len(old.args) == len(new.args)
        is_copy = all(value.key == (new, index) for index, value in enumerate(values))
        if old in old_nodes and new in new_nodes and is_equal and is_copy:
            counterparts[old] = new
            new_nodes.remove(new)
    return counterparts


def _is_view_of_leaf(node: Node) -> bool:
    """Return whether a node is a part of an input, as iterations of an unrolled loop read."""
    return isinstance(node.form, View) and isinstance(node.args[0].node.op, Input | ParameterLeaf)


def _is_border(node: Node) -> bool:
    """Return whether no kernel reaches from the operands of a node to the readers of its result."""
    return bool(bodies_of(node)) or isinstance(node.form, CallForm | Contract)
