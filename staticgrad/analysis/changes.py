"""The part of a graph that a pass changed, before and after, as two small graphs.

A pass that saves memory traffic pays where fusion makes fewer or shorter kernels of what it made.
This is known once both graphs are fused. A part is enough for that: the nodes that changed, and the
nodes around them that may share their kernels. Products, calls of libraries, loops and branches
around the change are in the part, and what is behind them is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from staticgrad.language.ir.bodies import body_input, body_of
from staticgrad.language.ir.copies import NodeCopies
from staticgrad.language.ir.forms import CallForm, Contract
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic, bodies_of
from staticgrad.support.traversal import reach


def changed_parts(original: Graph, rewritten: Graph, most: float = 1.0) -> tuple[Graph, Graph]:
    """Return the changed part of a graph before a pass and after it, over the same inputs.

    Both graphs have the outputs in common that the rest of the program reads. Both graphs are
    returned whole if the parts have more than ``most`` of their nodes.
    """
    shared = {*original.nodes} & {*rewritten.nodes}
    counterparts, changed = _pair_nodes(original, rewritten, shared)
    parts = (_Part(shared), _Part(shared))
    for values in changed:
        for part, value in zip(parts, values, strict=True):
            part.add_changed(value.node)
    _add_missing_counterparts(counterparts, parts)
    old, new = parts
    for node in _readers(original, old, new, counterparts):
        old.add(node)
        new.add(counterparts[node])
    for part in parts:
        part.add_producers()
    common = old.producers | new.producers
    for part in parts:
        part.nodes |= common
    nodes = len(original.nodes) + len(rewritten.nodes)
    if sum(len(part.nodes) for part in parts) > most * nodes:
        return original, rewritten
    pairs = _outputs(original, rewritten, counterparts, old, new)
    outputs = {(first.key, second.key): (first, second) for first, second in pairs}.values()
    return (
        old.build([value for value, _ in outputs if value.node in old.nodes]),
        new.build([value for _, value in outputs if value.node in new.nodes]),
    )


def _pair_nodes(
    original: Graph, rewritten: Graph, shared: set[Node]
) -> tuple[dict[Node, Node], list[tuple[Symbolic, Symbolic]]]:
    """Pair the nodes of two graphs that are equal but for what they read, from the roots down.

    The second result is the pairs of values whose nodes differ, or of which one is a further copy
    of a node that both graphs have.
    """
    counterparts: dict[Node, Node] = {}
    changed = []
    pending = [*zip(original.roots, rewritten.roots, strict=True)]
    visited = set()
    while pending:
        old, new = pending.pop()
        if old.key == new.key or (old.key, new.key) in visited:
            continue
        visited.add((old.key, new.key))
        a, b = old.node, new.node
        is_equal = old.index == new.index and a.op == b.op and a.types == b.types
        is_copy = a in shared or b in shared
        if (
            is_equal
            and not is_copy
            and len(a.args) == len(b.args)
            and counterparts.setdefault(a, b) is b
        ):
            pending += zip(a.args, b.args, strict=True)
        else:
            changed.append((old, new))
    return counterparts, changed


class _Part:
    """The nodes of a part of a graph; ``shared`` are in both graphs."""

    def __init__(self, shared: set[Node]) -> None:
        self.shared = shared
        self.nodes: set[Node] = set()
        self.producers: set[Node] = set()

    def add_changed(self, node: Node) -> None:
        """Add a node with all that it is computed by, but for what both graphs share."""

        def select(nodes: Iterable[Node]) -> list[Node]:
            return [n for n in nodes if n not in self.shared and n not in self.nodes]

        self.nodes |= {*reach(select([node]), lambda n: select(arg.node for arg in n.args))}

    def add(self, node: Node) -> None:
        """Add a node that reads the part."""
        self.nodes.add(node)

    def add_producers(self) -> None:
        """Find the shared nodes whose results the part reads and that may be in its kernels."""

        def select(node: Node) -> list[Node]:
            args = [] if node in self.producers and _is_border(node) else node.args
            shared_nodes = [a.node for a in args if a.node in self.shared and not a.node.is_leaf]
            self.producers.update(shared_nodes)
            return shared_nodes

        for _ in reach([*self.nodes], select):
            pass

    def build(self, outputs: Sequence[Symbolic]) -> Graph:
        """Return the part as a graph: what it reads from outside are inputs."""
        read = {arg.key: arg for node in self.nodes for arg in node.args}
        outside = {
            key: value
            for key, value in read.items()
            if value.node not in self.nodes and not isinstance(value.node.op, Constant)
        }
        ordered = sorted(outside.values(), key=lambda value: (value.node.serial, value.index))
        inputs = [
            body_input(f"p{number}", value.type, value.node.origin, value.node.order)
            for number, value in enumerate(ordered)
        ]
        stand_ins = dict(zip([value.key for value in ordered], inputs, strict=True))
        copied = NodeCopies(stand_ins).apply(outputs)
        return body_of(inputs, {f"y{number}": value for number, value in enumerate(copied)})


def _add_missing_counterparts(counterparts: dict[Node, Node], parts: tuple[_Part, _Part]) -> None:
    """Add the counterpart of each node that is in one part alone, with its operands."""
    pending = True
    while pending:
        pending = False
        for pair in counterparts.items():
            inside = [node in part.nodes for node, part in zip(pair, parts, strict=True)]
            if any(inside) and not all(inside):
                pending = True
                for node, part in zip(pair, parts, strict=True):
                    part.add_changed(node)


def _readers(original: Graph, old: _Part, new: _Part, counterparts: dict[Node, Node]) -> list[Node]:
    """Return the nodes behind the changed ones that may be in one kernel with them."""
    spreading = old.nodes | new.nodes
    readers = []
    for node in original.nodes:
        if node in old.nodes or node not in counterparts:
            continue
        counterpart = counterparts[node]
        if any(arg.node in spreading for arg in (*node.args, *counterpart.args)):
            readers.append(node)
            if not _is_border(node):
                spreading |= {node, counterpart}
    return readers


def _outputs(
    original: Graph, rewritten: Graph, counterparts: dict[Node, Node], old: _Part, new: _Part
) -> Iterable[tuple[Symbolic, Symbolic]]:
    """Yield the values of the parts that nodes outside of them, or roots, read, in pairs."""
    pairs = [*zip(original.roots, rewritten.roots, strict=True)]
    for node in original.nodes:
        if node not in old.nodes:
            partner = node if node in old.shared else counterparts.get(node)
            if partner is not None:
                pairs += zip(node.args, partner.args, strict=True)
    for pair in pairs:
        is_read = pair[0].node in old.nodes or pair[1].node in new.nodes
        if is_read and not isinstance(pair[0].node.op, Constant):
            yield pair


def _is_border(node: Node) -> bool:
    """Return whether no kernel reaches from the operands of a node to the readers of its result."""
    return bool(bodies_of(node)) or isinstance(node.form, CallForm | Contract)
