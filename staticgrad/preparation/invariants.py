"""Matrices that every iteration of a loop multiplies by, in the order in which its products read
them.

A product packs a transposed factor as it reads it. In a loop that would be done in every iteration;
what stays the same for all of them is transposed once, before the first one, and read where it
lies. ``panels`` has another order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Final, cast

from staticgrad.ir.bodies import body_input, body_of, rebuilt
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ir.op import Op
from staticgrad.ops.contract import MatMul
from staticgrad.ops.loops import Loop
from staticgrad.ops.movement import swapaxes
from staticgrad.types.tensor import TensorType, hint_value

#: Iterations for which that pays: transposing takes the time of packing in some of them.
FEWEST_ITERATIONS: Final = 8
#: Rows of an iteration's product up to which packing takes a noticeable part of it.
MOST_ROWS: Final = 64
#: Elements that stay in the second-level cache, from where a product reads them.
MOST_ELEMENTS: Final = 1 << 17


class Arrangement(ABC):
    """An order of a matrix's elements in which products read it in iterations that do not change
    it."""

    #: Iterations for which that pays: bringing the matrix into the order takes time that some gain.
    fewest_iterations: ClassVar[int]

    @abstractmethod
    def pays(self, value: Symbolic, readers: Sequence[Node], iterations: int) -> bool:
        """Whether all that read a body's input are products that gain."""

    @abstractmethod
    def arranged(self, value: Symbolic) -> Symbolic:
        """The matrix in the order, before the first iteration."""

    @abstractmethod
    def stored(self, kind: TensorType) -> TensorType:
        """Its type in the body."""

    @abstractmethod
    def product(self, op: MatMul) -> Op:
        """What multiplies by it there."""


def with_arranged(graph: Graph, order: Arrangement) -> Graph:
    """The graph whose loops take such matrices in an order; each element is what it was."""

    def rewritten(node: Node, op: Loop, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if hint_value(op.iterations) < order.fewest_iterations:
            return None
        places = _places(op, order)
        if not places:
            return None
        operands = list(args)
        for place in places:
            operands[place] = order.arranged(args[place])
        arranged = replace(op, body=_body(op.body, {1 + place for place in places}, order))
        return Node(arranged, tuple(operands), node.types, node.origin, node.order).values

    return graph.replace_ops(Loop, rewritten)


def _places(op: Loop, order: Arrangement) -> list[int]:
    """The places of the operands that an iteration reads as factors in the order, and not
    otherwise."""
    body = op.body
    places = range(op.carries + op.slices, len(body.inputs) - 1)
    readers: dict[Symbolic, list[Node]] = {body.inputs[1 + place]: [] for place in places}
    by_key = {value.key: value for value in readers}
    for node in body.nodes:
        for arg in node.args:
            if arg.key in by_key:
                readers[by_key[arg.key]].append(node)
    results = {value.key for value in body.outputs.values()}
    iterations = hint_value(op.iterations)
    return [
        place
        for place, (value, nodes) in zip(places, readers.items(), strict=True)
        if value.key not in results and nodes and order.pays(value, nodes, iterations)
    ]


def _body(body: Graph, arranged: set[int], order: Arrangement) -> Graph:
    """The body that takes these inputs in the order."""
    new: dict[tuple[Node, int], Symbolic] = {}
    for place, value in enumerate(body.inputs):
        kind, node = value.type, value.node
        kind = order.stored(kind) if place in arranged else kind
        new[value.key] = body_input(node.label, kind, node.origin, node.order)
    keys = {body.inputs[place].key for place in arranged}
    products = {
        node: order.product(node.op)
        for node in body.nodes
        if isinstance(node.op, MatMul) and node.args[1].key in keys
    }
    return body_of(new.values(), rebuilt(body, new, changed=products))


class _Transposed(Arrangement):
    """Transposed: products that would pack a transposed factor in every iteration read it as it
    lies."""

    fewest_iterations = FEWEST_ITERATIONS

    def pays(self, value: Symbolic, readers: Sequence[Node], iterations: int) -> bool:
        small = value.ndim == 2 and hint_value(value.type.size) <= MOST_ELEMENTS
        return small and all(
            isinstance(node.op, MatMul)
            and node.op.transpose_b
            and node.args[1].key == value.key != node.args[0].key
            and hint_value(node.types[0].shape[-2]) <= MOST_ROWS
            for node in readers
        )

    def arranged(self, value: Symbolic) -> Symbolic:
        return cast(Symbolic, swapaxes(value, -1, -2))

    def stored(self, kind: TensorType) -> TensorType:
        return kind.with_shape(kind.shape[::-1])

    def product(self, op: MatMul) -> Op:
        return replace(op, transpose_b=False)


def with_transposed_invariants(graph: Graph) -> Graph:
    """The graph whose loops take such matrices transposed; each element is what it was."""
    return with_arranged(graph, _Transposed())
