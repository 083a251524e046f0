"""Merging of loops with equal iterations over equal data: each value is computed once.

The gradient of a loop stacks the carries at the beginning of each iteration with a second loop,
which differs from the original only in its outputs. A loop with tangents has the carries of the
original, too. If all carries of one loop are carries of another, the other loop can compute the
results of both. Loops without common carries are merged if their iterations have work in common.

::

    loop c -> f(c), stack c                 loop c -> f(c), stack c and g(c)
    loop c -> f(c), stack g(c)      ->

Values of bodies are compared by value numbers: values with equal numbers are equal in all bodies. A
number stands for an op over numbers (J. Cocke and J. T. Schwartz 1970). The caller numbers the
inputs, so that values of two bodies can be compared.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from passes.residuals import CHEAP
from staticgrad.errors import StaticgradError
from staticgrad.language.ir.bodies import body_input, body_of
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.forms import Assemble, Identity, Pointwise, ReshapeForm, View
from staticgrad.language.ir.graph import Graph, Input, Node, Symbolic, ancestors, bodies_of
from staticgrad.language.ops.loops import Loop
from staticgrad.support.source import merge_locations as merged_lines
from staticgrad.support.traversal import reach

ValueKey = tuple[Node, int]

#: Forms that are recomputed rather than stacked.
_CHEAP = Pointwise | View | Identity | ReshapeForm | Assemble


def is_cheap(node: Node) -> bool:
    """Return whether a value is computed again rather than stored."""
    try:
        return isinstance(node.form, _CHEAP)
    except StaticgradError:  # an op without kernels
        return False


class Numbering:
    """Numbers of the values of several bodies."""

    def __init__(self) -> None:
        self._number_of: dict[Hashable, int] = {}

    def of(self, what: Hashable) -> int:
        """Return the number of a key: an input, or an op over numbers."""
        return self._number_of.setdefault(what, len(self._number_of))

    def values(self, body: Graph, inputs: Sequence[int]) -> dict[ValueKey, int]:
        """Number all values of a loop's body, equal ones alike, given the inputs' numbers."""
        numbers = {value.key: number for value, number in zip(body.inputs, inputs, strict=True)}
        for node in body.nodes:
            if not isinstance(node.op, Input):
                number = self.of(self._key(node, numbers))
                numbers.update(((node, i), self.of((number, i))) for i in range(len(node.types)))
        return numbers

    def _key(self, node: Node, numbers: dict[ValueKey, int]) -> Hashable:
        args = [numbers[arg.key] for arg in node.args]
        types = None
        if node.op.commutative:
            args.sort()
            types = node.types  # a size has the name that it has in the first operand
        key: tuple[Any, ...] = (node.op.key, types, *args)
        return key


class Copier:
    """Copies values of bodies into one body, each number once."""

    def __init__(self, existing: dict[int, Symbolic]) -> None:
        self._copies = dict(existing)

    def copies(
        self, values: Sequence[Symbolic], numbers: dict[ValueKey, int], body: Graph
    ) -> list[Symbolic]:
        """Copy nodes of a loop's body into the merged body; copied ones are reused."""
        missing = self._missing(values, numbers)
        for node in body.nodes:
            if node not in missing:
                continue
            args = tuple([self._copies[numbers[arg.key]] for arg in node.args])
            for value in rebuild(node, args).values:
                self._copies[numbers[node, value.index]] = value
        return [self._copies[numbers[value.key]] for value in values]

    def _missing(self, values: Sequence[Symbolic], numbers: dict[ValueKey, int]) -> set[Node]:
        """Return the nodes of a loop's body that are still to be copied for these values."""

        def select_missing(values: Sequence[Symbolic]) -> list[Node]:
            return [v.node for v in values if numbers[v.key] not in self._copies]

        return {*reach(select_missing(values), lambda node: select_missing(node.args))}


Place = tuple[Node, int]


def merge_loops(graph: Graph) -> tuple[Graph, int]:
    """Rewrite loops over equal data as one loop (loop fusion); return the graph and how many go."""
    count = 0
    while True:
        next_graph = _first_pair(graph)
        if next_graph is None:
            return graph, count
        graph, count = next_graph, count + 1


def _first_pair(graph: Graph) -> Graph | None:
    """Merge the first mergeable pair of loops of a graph, or return None."""
    place = {node: k for k, node in enumerate(graph.nodes)}
    groups: dict[object, list[Node]] = {}
    for node in graph.nodes:
        if isinstance(node.op, Loop):
            groups.setdefault((node.op.iterations, node.op.reverse), []).append(node)
    for nodes in groups.values():
        for k, later in enumerate(nodes):
            for first in nodes[:k]:
                pair = _Pair(first, later)
                if not pair.is_one:
                    continue
                ahead = _operands_ahead(graph, place, pair)
                if ahead is not None:
                    return pair.replace_both(ahead)
    return None


def _operands_ahead(graph: Graph, place: Mapping[Node, int], pair: _Pair) -> Graph | None:
    """Move the later loop's operands before the first loop; None if not possible."""
    first, later = pair.nodes
    preceding = dict.fromkeys(graph.nodes[: place[first]])
    needed = ancestors(later.args, stop=preceding)
    if first in needed:
        return None
    if not needed:
        return graph
    operands = dict.fromkeys(sorted(needed, key=place.__getitem__))
    remaining = [node for node in graph.nodes[place[first] :] if node not in operands]
    return graph.with_nodes([*preceding, *operands, *remaining], {})


class _Pair:
    """Two loop nodes, their common carries, and the merged loop that replaces them."""

    def __init__(self, first: Node, later: Node) -> None:
        self.nodes = (first, later)
        self.numbering = Numbering()
        self.paired = self._candidates()
        while True:
            self.inputs = [self._numbers(0), self._numbers(1)]
            self.values = [
                self.numbering.values(_op(node).body, inputs)
                for node, inputs in zip(self.nodes, self.inputs, strict=True)
            ]
            wrong = [pair for pair in self.paired.items() if not self._agree(*pair)]
            if not wrong:
                break
            for later_place, _ in wrong:
                del self.paired[later_place]
        counts = [_op(node).carries for node in self.nodes]
        same = self.paired or self._have_common_work()
        self.is_one = len(self.paired) == min(counts) and bool(same)

    def _candidates(self) -> dict[int, int]:
        """Return the second loop's carries with equal initial values in the first loop."""
        first, later = self.nodes
        left = dict(enumerate(first.args[: _op(first).carries]))
        pairs: dict[int, int] = {}
        for k, arg in enumerate(later.args[: _op(later).carries]):
            same = next((j for j, carry in left.items() if carry.key == arg.key), None)
            if same is not None:
                pairs[k] = same
                del left[same]
        return pairs

    def _numbers(self, which: int) -> list[int]:
        """Number the inputs of a loop's body, equal ones of both loops alike."""
        node = self.nodes[which]
        op, of = _op(node), self.numbering.of
        ends = op.carries, op.carries + op.slices
        numbers = [of("i")]
        for k, arg in enumerate(node.args):
            if k >= ends[0]:
                numbers.append(of(("x" if k < ends[1] else "p", arg.key)))
            elif which == 0 or k in self.paired:
                numbers.append(of(("c", k if which == 0 else self.paired[k])))
            else:
                numbers.append(of(("later", k)))
        return numbers

    def _agree(self, later: int, first: int) -> bool:
        values = [
            [*_op(node).body.outputs.values()][k].key
            for node, k in zip(self.nodes, (first, later), strict=True)
        ]
        return self.values[0][values[0]] == self.values[1][values[1]]

    def _have_common_work(self) -> bool:
        """Return True if both loops compute an equal value that costs more than a load.

        Without one a merged loop takes as long as both, and its stacks are all alive at once.
        """
        theirs = {*self.values[1].values()}
        body = _op(self.nodes[0]).body
        return any(
            self.values[0][node, 0] in theirs and (node.op.flops > CHEAP or not is_cheap(node))
            for node in body.nodes
            if node.args
        )

    def replace_both(self, graph: Graph) -> Graph:
        """Return the graph with one merged loop in place of two."""
        node, results = self.merge()
        first, later = self.nodes
        stands = {first: results[0], later: results[1]}

        def rewrite_node(loop: Node, _: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
            indices = stands.get(loop)
            return None if indices is None else [Symbolic(node, k) for k in indices]

        return graph.replace_nodes(rewrite_node)

    def merge(self) -> tuple[Node, tuple[list[int], list[int]]]:
        """Build the merged loop node; return it with the indices of each loop's results."""
        operands: list[dict[int, tuple[Symbolic, Symbolic]]] = [{}, {}, {}]  # by number, by role
        for node, numbers in zip(self.nodes, self.inputs, strict=True):
            op = _op(node)
            ends = op.carries, op.carries + op.slices
            for k, arg in enumerate(node.args):
                role = operands[(k >= ends[0]) + (k >= ends[1])]
                role.setdefault(numbers[1 + k], (arg, op.body.inputs[1 + k]))
        first, later = self.nodes
        number = bodies_of(first)[0].inputs[0]
        inputs = {self.numbering.of("i"): _copy_input("i", number)}
        for prefix, role in zip("cxp", operands, strict=True):
            for place, (key, (_, old)) in enumerate(role.items()):
                inputs[key] = _copy_input(f"{prefix}{place}", old)
        copier = Copier(inputs)
        first_outs, later_outs = self._outputs(0, copier), self._outputs(1, copier)
        carries = {**later_outs[0], **first_outs[0]}
        stacked = {**first_outs[1], **later_outs[1]}
        outs = {f"c{k}": carries[key] for k, key in enumerate(operands[0])}
        outs |= {f"y{k}": value for k, value in enumerate(stacked.values())}
        loop = _op(first)
        body = body_of(inputs.values(), outs)
        op = Loop(body, loop.iterations, len(operands[0]), len(operands[1]), loop.reverse)
        args = tuple([arg for role in operands for arg, _ in role.values()])
        inferred = op.infer(*[arg.type for arg in args])
        types = inferred if isinstance(inferred, tuple) else (inferred,)
        origin = merged_lines([first.origin, later.origin])
        node = Node(op, args, types, origin, min(first.order, later.order))
        where = {key: k for k, key in enumerate(operands[0])}
        by_value = {key: len(where) + k for k, key in enumerate(stacked)}
        return node, (self._places(0, where, by_value), self._places(1, where, by_value))

    def _outputs(
        self, which: int, copier: Copier
    ) -> tuple[dict[int, Symbolic], dict[int, Symbolic]]:
        """Return a loop's next carries and stacked outputs in the merged body, by number."""
        op, values = _op(self.nodes[which]), self.values[which]
        outs = [*op.body.outputs.values()]
        copies = copier.copies(outs, values, op.body)
        numbers = [values[value.key] for value in outs]
        inputs = self.inputs[which]
        return (
            dict(zip(inputs[1 : 1 + op.carries], copies[: op.carries], strict=True)),
            dict(zip(numbers[op.carries :], copies[op.carries :], strict=True)),
        )

    def _places(
        self, which: int, carries: Mapping[int, int], stacked: Mapping[int, int]
    ) -> list[int]:
        op, values = _op(self.nodes[which]), self.values[which]
        outs = [*op.body.outputs.values()]
        indices = [carries[key] for key in self.inputs[which][1 : 1 + op.carries]]
        return indices + [stacked[values[value.key]] for value in outs[op.carries :]]


def _copy_input(label: str, old: Symbolic) -> Symbolic:
    return body_input(label, old.type, old.node.origin, old.node.order)


def _op(node: Node) -> Loop:
    assert isinstance(node.op, Loop)
    return node.op
