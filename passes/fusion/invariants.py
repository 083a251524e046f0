"""Matrices that every trip of a loop multiplies by, in the order in which its products read them.

A product packs a transposed factor as it reads it. In a loop that would be done in every trip; what
stays the same for all of them is transposed once, before the first one, and read where it lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, cast

from staticgrad.building import within
from staticgrad.ir.bodies import body_input, body_of, rebuilt
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ops.contract import MatMul
from staticgrad.ops.loops import Loop
from staticgrad.ops.movement import swapaxes
from staticgrad.types.tensor import hint_value

#: Trips for which that pays: transposing takes the time of packing in some of them.
FEWEST_TRIPS: Final = 8
#: Rows of a trip's product up to which packing takes a noticeable part of it.
MOST_ROWS: Final = 64
#: Elements that stay in the second-level cache, from where a product reads them.
MOST_ELEMENTS: Final = 1 << 17


def with_turned_invariants(graph: Graph) -> Graph:
    """The graph whose loops take such matrices transposed; each element is what it was."""

    def turned(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if not isinstance(node.op, Loop) or hint_value(node.op.trips) < FEWEST_TRIPS:
            return None
        places = _turned_places(node.op)
        if not places:
            return None
        operands = list(args)
        with within(node.origin, node.order):
            for place in places:
                operands[place] = cast(Symbolic, swapaxes(args[place], -1, -2))
        op = replace(node.op, body=_body(node.op.body, {1 + place for place in places}))
        return Node(op, tuple(operands), node.types, node.origin, node.order).values

    if not any(isinstance(node.op, Loop) for node in graph.nodes):
        return graph
    return graph.replace_nodes(turned)


def _turned_places(op: Loop) -> list[int]:
    """The places of the operands that a trip reads as transposed factors, and not otherwise."""
    body = op.body
    places = range(op.carries + op.slices, len(body.inputs) - 1)
    readers: dict[Symbolic, list[Node]] = {body.inputs[1 + place]: [] for place in places}
    by_key = {value.key: value for value in readers}
    for node in body.nodes:
        for arg in node.args:
            if arg.key in by_key:
                readers[by_key[arg.key]].append(node)
    results = {value.key for value in body.outputs.values()}
    return [
        place
        for place, (value, nodes) in zip(places, readers.items(), strict=True)
        if value.key not in results and nodes and _are_products(value, nodes)
    ]


def _are_products(value: Symbolic, nodes: Iterable[Node]) -> bool:
    small = value.ndim == 2 and hint_value(value.type.size) <= MOST_ELEMENTS
    return small and all(
        isinstance(node.op, MatMul)
        and node.op.transpose_b
        and node.args[1].key == value.key != node.args[0].key
        and hint_value(node.types[0].shape[-2]) <= MOST_ROWS
        for node in nodes
    )


def _body(body: Graph, turned: set[int]) -> Graph:
    """The body that takes these inputs transposed."""
    new: dict[tuple[Node, int], Symbolic] = {}
    for place, value in enumerate(body.inputs):
        shape = value.shape[::-1] if place in turned else value.shape
        kind, node = value.type.with_shape(shape), value.node
        new[value.key] = body_input(node.label, kind, node.origin, node.order)
    keys = {body.inputs[place].key for place in turned}
    products = {
        node: replace(node.op, transpose_b=False)
        for node in body.nodes
        if isinstance(node.op, MatMul) and node.args[1].key in keys
    }
    return body_of(new.values(), rebuilt(body, new, changed=products))
