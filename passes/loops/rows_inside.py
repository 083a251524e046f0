"""Move products in front of a loop, or behind it, into the loop, row by row.

A recurrent layer multiplies the inputs of all steps by a matrix in front of its loop: one large
product takes less time than a small one in each iteration. But its result is stored for all steps,
and if the loop runs in segments, until the last of these has been recomputed. With the product
inside, an iteration reads a slice of the first factor. A row of a product depends on no other row,
so results stay bitwise identical.

The gradient of those inputs is a product behind the loop that runs back, of a stack of that loop.
With the product inside, only sums over blocks of iterations read the larger stack, and they need
one segment of it at a time (``segments.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from passes.late.base import late_pass
from passes.loops.loop_pairs import loop_of, pairs_of
from staticgrad.analysis.liveness import ValueKey, users_of
from staticgrad.language.ir.bodies import body_input, body_of, inline_body
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.forms import BodyForm, Contract, Pointwise, ReshapeForm, View
from staticgrad.language.ir.graph import Graph, Node, Symbolic, ancestors
from staticgrad.language.ops.movement import reshape
from staticgrad.language.types.arrays import TensorType, hint_bytes
from staticgrad.support.building import here, within
from staticgrad.support.records import NamedTuple
from staticgrad.support.traversal import reach


class _ProductRows(NamedTuple):
    """A slice operand computed from a product: ``nodes`` in order, the product of ``source`` first.

    ``source`` has rows for each iteration, along an axis of their own or not.
    """

    nodes: tuple[Node, ...]
    source: Symbolic
    value: Symbolic

    @property
    def slice_type(self) -> TensorType:
        """The type of the rows of ``source`` that an iteration reads."""
        return self.source.type.with_shape((self.value.shape[1], self.source.shape[-1]))


@late_pass("products-in-loops")
def move_products_into_loops(graph: Graph) -> Graph:
    """Rewrite loops to multiply row by row what products around them multiply as stacks.

    Return the graph itself if there is no product that only such a loop reads.
    """
    pairs = pairs_of(graph)
    second = {pair.first: pair.second for pair in pairs}
    users = users_of(graph)
    read = {value.key for value in graph.roots}
    products_of_loop = {
        pair.second: _find_products_behind(pair.second, users, read) for pair in pairs
    }
    stacks_of_products: dict[Node, Symbolic] = {}
    stacked: dict[ValueKey, Symbolic] = {}

    def rewrite(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Rewrite a loop with the products before or behind it, and their readers."""
        if node in stacks_of_products:
            rows_by_slice: Any = reshape(stacks_of_products[node], node.types[0].shape)
            return [rows_by_slice]
        if node in products_of_loop:
            args = tuple(stacked.get(o.key, new) for o, new in zip(node.args, args, strict=True))
            if not products_of_loop[node] and stacked.keys().isdisjoint(
                old.key for old in node.args
            ):
                return None
            results, products = _compute_behind(node, args, products_of_loop[node])
            stacks_of_products.update(products)
            return results
        if node not in second:
            return None
        op = loop_of(node)
        places = range(op.carries, op.carries + op.slices)
        readers = (node, second[node])
        rows_by_slice = {
            place: rows
            for place in places
            if _is_read_by(readers, node.args[place], users, read)
            and (rows := _rows_of(args[place]))
        }
        if not rows_by_slice:
            return None
        again = [place for place in rows_by_slice if len(users[node.args[place].key]) > 1]
        results, stacks = _compute_inside(node, args, rows_by_slice, again)
        stacked.update((node.args[place].key, stack) for place, stack in stacks.items())
        return results

    changed = graph.replace_nodes(rewrite)
    return graph if changed is graph else changed.without_dead_nodes()


def _find_products_behind(
    loop: Node, users: Mapping[ValueKey, Sequence[Node]], read: set[ValueKey]
) -> dict[Node, int]:
    """Find the products of a loop's stack and a matrix that are smaller than the stack.

    Besides these products, only loops and views read the stack.
    """

    def is_unread_view(node: Node) -> bool:
        return isinstance(node.form, ReshapeForm) and node.values[0].key not in read

    def readers_of_view(node: Node) -> Sequence[Node]:
        return users[node, 0] if is_unread_view(node) else ()

    place_of_product: dict[Node, int] = {}
    for place in range(loop_of(loop).carries, len(loop.types)):
        stack = Symbolic(loop, place)
        if stack.ndim != 3 or stack.key in read:
            continue
        readers = [*reach(users[stack.key], readers_of_view)]
        products = [node for node in readers if _is_product_of_rows(node, stack)]
        others = {*readers}.difference(products)
        if all(isinstance(n.form, BodyForm | View) or is_unread_view(n) for n in others):
            place_of_product |= dict.fromkeys(products, place)
    return place_of_product


def _is_product_of_rows(node: Node, stack: Symbolic) -> bool:
    """Return True if a node multiplies a stack's rows by a matrix to a smaller result."""
    form = node.form
    if not isinstance(form, Contract) or form.transpose_a or form.panels:
        return False
    rows, matrix = node.args
    return (
        rows.shape[-1] == stack.shape[-1]
        and matrix.ndim == 2
        and stack.node not in set(ancestors([matrix]))
        and hint_bytes(node.types[0]) < hint_bytes(stack.type)
    )


def _compute_behind(
    node: Node, args: Sequence[Symbolic], products: Mapping[Node, int]
) -> tuple[list[Symbolic], dict[Node, Symbolic]]:
    """Build the loop node that stacks rows of products instead of their operands' rows."""
    op = loop_of(node)
    inputs, outputs, more = [*op.body.inputs], dict(op.body.outputs), list[Symbolic]()
    values = [*outputs.values()]
    invariants = len(args) - op.carries - op.slices
    types = [*node.types]
    with within(node.origin, node.order):
        for product, place in products.items():
            matrix = product.args[1]
            inputs.append(body_input(f"p{invariants + len(more)}", matrix.type, *here()))
            more.append(matrix)
            rows: Any = product.op(values[place], inputs[-1])
            outputs[f"y{len(outputs) - op.carries}"] = rows
            types.append(rows.type.with_shape((op.iterations, *rows.shape)))
    results = _with_body(node, body_of(inputs, outputs), (*args, *more), types)
    new = results[len(node.types) :]
    return results[: len(node.types)], dict(zip(products, new, strict=True))


def _rows_of(value: Symbolic) -> _ProductRows | None:
    """Return how a stack of rows is computed from one matrix product, or None."""
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
    return _ProductRows((flat.node, *reversed(nodes)), flat.node.args[0], value)


def _is_read_by(
    loops: Sequence[Node],
    value: Symbolic,
    users: Mapping[ValueKey, Sequence[Node]],
    read: set[ValueKey],
) -> bool:
    """Return True if only slices of these loops read a product, so that it may move inside.

    Each value between it and its product must have one reader, and the rows of the product's factor
    must have fewer bytes or be stored anyway.
    """
    for loop in users[value.key]:
        if loop not in loops:
            return False
        op, keys = loop_of(loop), [arg.key for arg in loop.args]
        if keys.count(value.key) != 1 or value.key not in keys[op.carries : op.carries + op.slices]:
            return False
    while value.key not in read:
        if isinstance(value.node.form, Contract):
            rows = value.node.args[0]
            while isinstance(rows.node.form, ReshapeForm):
                (rows,) = rows.node.args
            is_stored = rows.node.is_leaf or rows.key in read or len(users[rows.key]) > 1
            return is_stored or hint_bytes(rows.type) < hint_bytes(value.type)
        wide = [arg for arg in value.node.args if arg.ndim > 1]
        if len(wide) != 1 or len(users[wide[0].key]) != 1:
            return False
        (value,) = wide
    return False


def _compute_inside(
    node: Node,
    args: tuple[Symbolic, ...],
    rows_by_slice: Mapping[int, _ProductRows],
    restacked: Sequence[int],
) -> tuple[list[Symbolic], dict[int, Symbolic]]:
    """Build the loop node that computes its slices by products, and stacks of ``restacked``."""
    op, body_inputs = loop_of(node), loop_of(node).body.inputs
    operands, inputs, more = [*args], [*body_inputs], list[Symbolic]()
    invariants = len(args) - op.carries - op.slices
    values = dict[int, Symbolic]()
    with within(node.origin, node.order):
        for place, rows in rows_by_slice.items():
            old = body_inputs[1 + place].node
            inside: Any = body_input(old.label, rows.slice_type, old.origin, old.order)
            operands[place] = _split_iterations(rows)
            inputs[1 + place] = inside
            for row_node in rows.nodes:
                operands_of_node = []
                for n, arg in enumerate(row_node.args):
                    is_rows = n == 0 if row_node is rows.nodes[0] else arg.ndim > 1
                    if is_rows:
                        operands_of_node.append(inside)
                        continue
                    label = f"p{invariants + len(more)}"
                    operands_of_node.append(body_input(label, arg.type, old.origin, old.order))
                    more.append(arg)
                    inputs.append(operands_of_node[-1])
                inside = row_node.op(*operands_of_node)
            values[1 + place] = inside
    values_of_inputs = [values.get(n, value) for n, value in enumerate(inputs[: len(body_inputs)])]
    outputs = dict(zip(op.body.outputs, inline_body(op.body, values_of_inputs), strict=True))
    outputs |= {f"y{len(outputs) - op.carries + n}": values[1 + k] for n, k in enumerate(restacked)}
    types = [*node.types, *(args[place].type for place in restacked)]
    results = _with_body(node, body_of(inputs, outputs), (*operands, *more), types)
    return results[: len(node.types)], dict(zip(restacked, results[len(node.types) :], strict=True))


def _with_body(
    node: Node, body: Graph, args: Sequence[Symbolic], types: Sequence[TensorType]
) -> list[Symbolic]:
    """Return the results of a loop with another body."""
    op = replace(loop_of(node), body=body)
    return [*rebuild(node, tuple(args), op=op, types=tuple(types)).values]


def _split_iterations(rows: _ProductRows) -> Symbolic:
    """Return the first factor of a product with an axis for a loop's iterations."""
    shape, node = (rows.value.shape[0], *rows.slice_type.shape), rows.source.node
    if rows.source.shape == shape:
        return rows.source
    if isinstance(node.form, ReshapeForm) and node.args[0].shape == shape:
        return node.args[0]
    source: Any = rows.source
    return source.reshape(shape)  # type: ignore[no-any-return]
