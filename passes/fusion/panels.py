"""Matrices that every trip of a loop multiplies by, in panels, as the tiles of its products read.

Where a matrix lies row by row, a tile reads a few columns of each row: lines far apart, of which
rows of a multiple of some hundred bytes take the same few places of the nearest cache, so that each
tile fetches them again. In panels they lie one behind the other. What stays the same for all trips
is brought into that order once, before the first one; each element of a product is the chain that
it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, cast

from staticgrad.building import within
from staticgrad.ir.bodies import body_input, body_of, rebuilt
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ir.kernel_stages import STREAMED, panel_columns
from staticgrad.ir.known import EVEN
from staticgrad.ops.contract import MatMul
from staticgrad.ops.loops import Loop
from staticgrad.ops.movement import reshape, transpose
from staticgrad.ops.panels import PanelMatMul
from staticgrad.types.tensor import hint_value

#: Trips for which that pays: copying the matrix takes the time that some of them gain.
FEWEST_TRIPS: Final = 16
#: Rows of a trip's product up to which it pays: tiles of more rows read a panel that is near.
MOST_ROWS: Final = 64
#: Elements of a matrix: fewer lie in the nearest cache whatever their order, of more the copy is
#: no longer small beside what else a program keeps.
ELEMENTS: Final = range(1 << 14, (1 << 17) + 1)
#: Panels of a matrix, at least.
FEWEST_PANELS: Final = 4
#: The copy takes no more elements than the results of all trips, divided by this.
PART: Final = 4


def with_panels(graph: Graph) -> Graph:
    """The graph whose loops take such matrices in panels; each element is what it was."""

    def packed(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if not isinstance(node.op, Loop) or hint_value(node.op.trips) < FEWEST_TRIPS:
            return None
        places = _places(node.op)
        if not places:
            return None
        operands = list(args)
        with within(node.origin, node.order):
            for place in places:
                inner, panels, columns = _split(args[place])
                apart = reshape(args[place], (inner, panels, columns))
                operands[place] = cast(Symbolic, transpose(apart, (1, 0, 2)))
        op = replace(node.op, body=_body(node.op.body, {1 + place for place in places}))
        return Node(op, tuple(operands), node.types, node.origin, node.order).values

    if not any(isinstance(node.op, Loop) for node in graph.nodes):
        return graph
    return graph.replace_nodes(packed)


def _places(op: Loop) -> list[int]:
    """The places of the operands that trips read as second factors of such products alone."""
    body = op.body
    places = range(op.carries + op.slices, len(body.inputs) - 1)
    readers: dict[Symbolic, list[Node]] = {body.inputs[1 + place]: [] for place in places}
    by_key = {value.key: value for value in readers}
    for node in body.nodes:
        for arg in node.args:
            if arg.key in by_key:
                readers[by_key[arg.key]].append(node)
    results = {value.key for value in body.outputs.values()}
    trips = hint_value(op.trips)
    return [
        place
        for place, (value, nodes) in zip(places, readers.items(), strict=True)
        if value.key not in results and nodes and _pays(value, nodes, trips)
    ]


def _pays(value: Symbolic, nodes: Iterable[Node], trips: int) -> bool:
    sizes = [size for size in value.shape if isinstance(size, int)]
    if value.ndim != 2 or value.dtype.is_storage or len(sizes) < 2:
        return False
    inner, columns = sizes
    width = panel_columns(value.dtype)
    whole = columns % width == 0 and columns >= FEWEST_PANELS * width and inner % EVEN != 0
    pays = whole and inner * columns in ELEMENTS
    return pays and all(_is_product(value, node, trips) for node in nodes)


def _is_product(value: Symbolic, node: Node, trips: int) -> bool:
    """Whether a node multiplies rows by a matrix as it lies: not so few that they stream it."""
    op = node.op
    if not isinstance(op, MatMul) or op.transpose_a or op.transpose_b or node.args[0].ndim != 2:
        return False
    rows = hint_value(node.types[0].shape[0])
    whole = STREAMED < rows <= MOST_ROWS and hint_value(value.shape[0]) * PART <= rows * trips
    return whole and node.args[1].key == value.key != node.args[0].key


def _split(value: Symbolic) -> tuple[int, int, int]:
    """Inner indices, panels, columns of a panel."""
    inner, columns = map(hint_value, value.shape)
    width = panel_columns(value.dtype)
    return inner, columns // width, width


def _body(body: Graph, packed: set[int]) -> Graph:
    """The body that takes these inputs in panels."""
    new: dict[tuple[Node, int], Symbolic] = {}
    for place, value in enumerate(body.inputs):
        kind, node = value.type, value.node
        if place in packed:
            inner, panels, columns = _split(value)
            kind = kind.with_shape((panels, inner, columns))
        new[value.key] = body_input(node.label, kind, node.origin, node.order)
    keys = {body.inputs[place].key for place in packed}
    products = {
        node: PanelMatMul()
        for node in body.nodes
        if isinstance(node.op, MatMul) and node.args[1].key in keys
    }
    return body_of(new.values(), rebuilt(body, new, changed=products))
