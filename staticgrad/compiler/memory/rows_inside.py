"""Products in front of a loop, of which each iteration computes its rows instead.

A recurrent layer multiplies the inputs of all steps by a matrix in front of its loop: one large
product takes less time than a small one in each iteration. But its result is stored for all steps,
and where the loop runs in segments, until the last of these has run again. With the rows inside, an
iteration reads a slice of the first factor. A row of a product depends on no other row, so results
stay bitwise identical.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from staticgrad.analysis.liveness import ValueKey, users_of
from staticgrad.compiler.memory.loop_pairs import loop_of, pairs_of
from staticgrad.language.ir.bodies import body_input, body_of, inlined
from staticgrad.language.ir.forms import Contract, Pointwise, ReshapeForm
from staticgrad.language.ir.graph import Graph, Node, Symbolic
from staticgrad.language.types.arrays import TensorType, hint_bytes
from staticgrad.support.building import within
from staticgrad.support.records import NamedTuple


class _Rows(NamedTuple):
    """A slice operand as functions of a product: ``nodes``, each of the one before, of ``source``.

    ``source`` has rows for each iteration, along an axis of their own or not.
    """

    nodes: tuple[Node, ...]
    source: Symbolic
    value: Symbolic

    @property
    def slice_type(self) -> TensorType:
        """The type of the rows of ``source`` that an iteration reads."""
        return self.source.type.with_shape((self.value.shape[1], self.source.shape[-1]))


def with_rows_inside(graph: Graph) -> Graph:
    """Return the graph whose loops that a budget may divide compute the rows of products.

    The graph itself if there is no product that only such a loop reads.
    """
    first = {pair.first for pair in pairs_of(graph)}
    users = users_of(graph)
    read = {value.key for value in graph.roots}

    def rewrite(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if node not in first:
            return None
        op = loop_of(node)
        places = range(op.carries, op.carries + op.slices)
        found = {
            place: rows
            for place in places
            if _is_read_once(node.args[place], users, read) and (rows := _rows_of(args[place]))
        }
        return _computed_inside(node, args, found) if found else None

    changed = graph.replace_nodes(rewrite)
    return graph if changed is graph else changed.without_dead_nodes()


def _rows_of(value: Symbolic) -> _Rows | None:
    """Return how a value of three axes is made of a product of matrices, or None."""
    if value.ndim != 3:
        return None
    flat = value
    if isinstance(value.node.form, ReshapeForm):
        (flat,) = value.node.args
        if flat.ndim != 2 or flat.shape[1] != value.shape[2]:
            return None
    nodes: list[Node] = []
    while not isinstance(form := flat.node.form, Contract):
        node = flat.node
        wide = [arg for arg in node.args if arg.shape == flat.shape]
        if not isinstance(form, Pointwise) or form.indexed or form.sizes or len(wide) != 1:
            return None
        if any(arg.ndim > 1 for arg in node.args if arg is not wide[0]):
            return None
        nodes.append(node)
        (flat,) = wide
    if form.transpose_a or len(flat.node.args) != 2 or flat.node.args[1].ndim != 2:
        return None
    found = _Rows((flat.node, *reversed(nodes)), flat.node.args[0], value)
    return found if hint_bytes(found.source.type) < hint_bytes(value.type) else None


def _is_read_once(
    value: Symbolic, users: Mapping[ValueKey, Sequence[Node]], read: set[ValueKey]
) -> bool:
    """Return whether one node reads a value, and each value between it and its product."""
    while value.key not in read and len(users[value.key]) == 1:
        if isinstance(value.node.form, Contract):
            return True
        wide = [arg for arg in value.node.args if arg.ndim > 1]
        if len(wide) != 1:
            return False
        (value,) = wide
    return False


def _computed_inside(
    node: Node, args: tuple[Symbolic, ...], found: Mapping[int, _Rows]
) -> list[Symbolic]:
    """Return the results of a loop that computes these of its slices."""
    op, given = loop_of(node), loop_of(node).body.inputs
    operands, inputs, more = [*args], [*given], list[Symbolic]()
    before = len(args) - op.carries - op.slices
    values = dict[int, Symbolic]()
    with within(node.origin, node.order):
        for place, rows in found.items():
            old = given[1 + place].node
            inside: Any = body_input(old.label, rows.slice_type, old.origin, old.order)
            operands[place] = _by_iteration(rows)
            inputs[1 + place] = inside
            for each in rows.nodes:
                wanted = []
                for n, arg in enumerate(each.args):
                    is_rows = n == 0 if each is rows.nodes[0] else arg.ndim > 1
                    if is_rows:
                        wanted.append(inside)
                        continue
                    label = f"p{before + len(more)}"
                    wanted.append(body_input(label, arg.type, old.origin, old.order))
                    more.append(arg)
                    inputs.append(wanted[-1])
                inside = each.op(*wanted)
            values[1 + place] = inside
    known = [values.get(n, value) for n, value in enumerate(inputs[: len(given)])]
    results = inlined(op.body, known)
    body = body_of(inputs, dict(zip(op.body.outputs, results, strict=True)))
    made = Node(replace(op, body=body), (*operands, *more), node.types, node.origin, node.order)
    return [*made.values]


def _by_iteration(rows: _Rows) -> Symbolic:
    """Return the source of a product with an axis for iterations."""
    shape, node = (rows.value.shape[0], *rows.slice_type.shape), rows.source.node
    if rows.source.shape == shape:
        return rows.source
    if isinstance(node.form, ReshapeForm) and node.args[0].shape == shape:
        return node.args[0]
    made: Any = rows.source
    return made.reshape(shape)  # type: ignore[no-any-return]
