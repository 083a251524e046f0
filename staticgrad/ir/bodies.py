"""Graphs inside of graphs: the bodies of ops that repeat or choose.

A body is closed: its inputs are the op's operands (and what the op itself gives it, such as the
number of the iteration), and it reads nothing else but constants. Its names say places and nothing
more, so that equal bodies have equal digests, whatever their functions were called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from staticgrad.ir.graph import (
    Constant,
    Graph,
    Input,
    Node,
    Symbolic,
    ancestors,
)
from staticgrad.ir.op import Op
from staticgrad.ir.roots import BODY_INPUTS
from staticgrad.source import Location
from staticgrad.types.tensor import TensorType

NAME = "body"


def walk_bodies(graph: Graph) -> Iterator[Graph]:
    """Every body of a node of ``graph``, and those inside of them, outer ones first."""
    waiting = [body for node in graph.nodes for body in node.op.bodies]
    while waiting:
        body = waiting.pop(0)
        yield body
        waiting[:0] = [inner for node in body.nodes for inner in node.op.bodies]


def map_bodies(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """``graph`` with ``change`` applied to every body, inner ones first; itself if none changed."""
    known: dict[Graph, Graph] = {}

    def changed(body: Graph) -> Graph:
        if body not in known:
            known[body] = change(map_bodies(body, change))
        return known[body]

    def rewritten(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        before = node.op.bodies
        if not before:
            return None
        after = tuple([changed(body) for body in before])
        if all(one is other for one, other in zip(before, after, strict=True)):
            return None
        return Node(node.op.with_bodies(after), args, node.types, node.origin, node.order).values

    if not any(node.op.bodies for node in graph.nodes):
        return graph
    return graph.replace_nodes(rewritten)


def body_input(label: str, type: TensorType, origin: Location, order: int = 0) -> Symbolic:
    """A new input of a body that is being made."""
    node = Node(Input(label, type), (), (type,), origin, order)
    node.verified = True
    BODY_INPUTS.add(node)
    return Symbolic(node)


def is_body_input(node: Node) -> bool:
    """Whether the node is an input of a body."""
    return node in BODY_INPUTS


def role_of(label: str) -> str:
    """What an input of a body stands for, by its label, as messages say it."""
    return {"i": "the number of the iteration", "c": "a carry", "x": "a slice"}.get(
        label[:1], "a value from outside"
    )


def body_of(inputs: Iterable[Symbolic], outputs: Mapping[str, Symbolic]) -> Graph:
    """The closed graph from ``inputs`` to ``outputs``; every input is listed, read or not."""
    given = list(inputs)
    roots = [*outputs.values(), *given]
    nodes = sorted(ancestors(roots), key=lambda node: node.serial)
    return Graph.of_parts(nodes=nodes, inputs=given, parameters=(), outputs=outputs, name=NAME)


def inlined(body: Graph, operands: Sequence[Symbolic], order: int | None = None) -> list[Symbolic]:
    """The outputs of ``body`` over other operands, as new nodes at their own lines.

    Args:
        body: a closed graph.
        operands: one for each input, of its type.
        order: the derivative order of the new nodes; by default that of the nodes of the body.
    """
    known = {value.key: operand for value, operand in zip(body.inputs, operands, strict=True)}
    return [*rebuilt(body, known, order).values()]


def rebuilt(
    body: Graph,
    known: Mapping[tuple[Node, int], Symbolic],
    order: int | None = None,
    changed: Mapping[Node, Op] = MappingProxyType({}),
) -> dict[str, Symbolic]:
    """The outputs of ``body``, by name, as new nodes over other values at their own lines.

    Args:
        body: a closed graph.
        known: what stands for its inputs, and for other values that need not be built again.
        order: the derivative order of the new nodes; by default that of the nodes of the body.
        changed: nodes that are built with another op, whose results are of the same types.
    """
    new = dict(known)
    for node in body.nodes:
        if isinstance(node.op, Input) or (node, 0) in known:
            continue
        if isinstance(node.op, Constant) and (order is None or order == node.order):
            new[node, 0] = Symbolic(node)
            continue
        args = tuple([new[arg.key] for arg in node.args])
        op = changed.get(node, node.op)
        copy = Node(op, args, node.types, node.origin, node.order if order is None else order)
        copy.verified = node.verified and op is node.op
        new.update(((node, value.index), Symbolic(copy, value.index)) for value in node.values)
    return {name: new[value.key] for name, value in body.outputs.items()}
