"""Loops that read parts of one array, or stack parts of one: they take rows of the whole array.

The parts of a complex array lie between each other in memory. Read by a loop, each part would be
copied in front of it; stacked by one, all parts would be joined behind it. So the loop reads the
array itself, and its body takes the parts of a row, and joins those of a row that it stacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import cast

from passes.loops.merging import is_cheap
from staticgrad.language.ir.bodies import body_input, body_of, rebuilt
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.forms import Pointwise
from staticgrad.language.ir.graph import BodyOp, Graph, Node, Symbolic
from staticgrad.language.ir.op import Op
from staticgrad.language.ops.indexing import Concat, Slice
from staticgrad.language.ops.loops import Loop
from staticgrad.language.ops.movement import Reshape
from staticgrad.language.types.dim import Size
from staticgrad.support.building import within

ValueKey = tuple[Node, int]


def take_rows(graph: Graph) -> tuple[Graph, int]:
    """Rewrite loops that read parts of arrays to read whole rows; return the graph and count."""
    count = 0

    def read_parts(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        nonlocal count
        parts = _parts_read(node.op, args) if isinstance(node.op, Loop) else {}
        if not parts:
            return None
        count += 1
        return _read_whole_arrays(node, args, parts).values

    def inside(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Rewrite the loops in the bodies of a loop or branch."""
        nonlocal count
        if not isinstance(node.op, BodyOp):
            return None
        pairs = [take_rows(body) for body in node.op.bodies]
        count += sum(changes for _, changes in pairs)
        if not any(changes for _, changes in pairs):
            return None
        op = node.op.with_bodies([body for body, _ in pairs])
        return rebuild(node, args, op=op).values

    if not graph.has(BodyOp):
        return graph, 0
    graph = graph.replace_nodes(read_parts)
    while (next_graph := _move_first_join(graph)) is not None:
        count += 1
        graph = next_graph
    return graph.replace_nodes(inside), count  # outer loops first: inner ones read their rows


# -- what is read ---------------------------------------------------------------------------------


def _parts_read(op: Loop, args: Sequence[Symbolic]) -> dict[int, tuple[Symbolic, list[Op]]]:
    """Find a loop's operands that are parts of rows: the array, and the views of a row.

    By place; the views lead from the row to the part.
    """
    views_by_place: dict[int, tuple[Symbolic, list[Op]]] = {}
    for place in range(op.carries, op.carries + op.slices):
        source, views = _rows_of(args[place])
        if any(isinstance(view, Slice) for view in views):
            views_by_place[place] = source, views
    sizes_read: dict[ValueKey, Size] = {}
    for key, parts in {(source.key, tuple(views)) for source, views in views_by_place.values()}:
        cut = next(view for view in reversed(parts) if isinstance(view, Slice))
        sizes_read[key] = sizes_read.get(key, 0) + prod(cut.lengths)
    return {
        place: (source, views)
        for place, (source, views) in views_by_place.items()
        if not source.node.args
        or (not is_cheap(source.node) and sizes_read[source.key] == prod(source.shape[1:]))
    }


def _rows_of(value: Symbolic) -> tuple[Symbolic, list[Op]]:
    """Return the array that a value views row by row, and the views of a row in order."""
    views: list[Op] = []
    while True:
        node = value.node
        view = _row_view(node)
        if view is None:
            return value, views[::-1]
        views.append(view)
        (value,) = node.args


def _row_view(node: Node) -> Op | None:
    """Return the view of one row that a view of an array row by row makes, or None."""
    op = node.op
    if isinstance(op, Slice) and op.lengths:
        takes_all_rows = (
            op.starts[0] == 0 and op.steps[0] == 1 and op.lengths[0] == node.args[0].shape[0]
        )
        return Slice(op.starts[1:], op.lengths[1:], op.steps[1:]) if takes_all_rows else None
    if isinstance(op, Reshape) and _keeps_rows(node.args[0].shape, op.shape):
        return Reshape(op.shape[1:])
    return None


def _keeps_rows(old_shape: Sequence[Size], new_shape: Sequence[Size]) -> bool:
    """Return whether shapes differ by axes of size 1 behind the first axis."""
    sizes = [[size for size in shape[1:] if size != 1] for shape in (old_shape, new_shape)]
    return old_shape[:1] == new_shape[:1] != () and sizes[0] == sizes[1]


def _read_whole_arrays(
    node: Node, args: Sequence[Symbolic], parts: dict[int, tuple[Symbolic, list[Op]]]
) -> Node:
    """Build the loop node that reads whole arrays in place of ``parts`` of their rows."""
    op = node.op
    assert isinstance(op, Loop)
    ends = op.carries, op.carries + op.slices
    sources = {source.key: source for source, _ in parts.values()}
    others = [place for place in range(*ends) if place not in parts]
    order = [*range(ends[0]), *others, *range(ends[1], len(args))]
    inputs: dict[int, Symbolic] = {-1: _like(op.body.inputs[0], "i")}
    for place in order:
        prefix = "c" if place < ends[0] else "x" if place < ends[1] else "p"
        number = sum(p[0] == prefix for p in (v.node.label for v in inputs.values()))
        number += len(sources) if prefix == "x" else 0
        inputs[place] = _like(op.body.inputs[1 + place], f"{prefix}{number}")
    rows = {
        key: body_input(
            f"x{number}", source.type.with_shape(source.shape[1:]), node.origin, node.order
        )
        for number, (key, source) in enumerate(sources.items())
    }
    replacements = {op.body.inputs[1 + place].key: value for place, value in inputs.items()}
    for place, (source, views) in parts.items():
        old = op.body.inputs[1 + place]
        replacements[old.key] = _apply_ops(rows[source.key], views, old.node)
    listed = [
        inputs[-1],
        *(inputs[place] for place in range(ends[0])),
        *rows.values(),
        *(inputs[place] for place in others),
        *(inputs[place] for place in range(ends[1], len(args))),
    ]
    slices = [*sources.values(), *(args[place] for place in others)]
    operands = (*args[: ends[0]], *slices, *args[ends[1] :])
    body = body_of(listed, rebuilt(op.body, replacements))
    changed = replace(op, body=body, slices=len(slices))
    return rebuild(node, operands, op=changed)


def _like(value: Symbolic, label: str) -> Symbolic:
    return body_input(label, value.type, value.node.origin, value.node.order)


def _apply_ops(value: Symbolic, ops: Sequence[Op], line: Node) -> Symbolic:
    """Return ``ops`` applied to a value one after the other, at the line of a node."""
    with within(line.origin, line.order):
        for op in ops:
            value = cast(Symbolic, op(value))
    return value


# -- what is stacked ------------------------------------------------------------------------------


def _move_first_join(graph: Graph) -> Graph | None:
    """Move one concatenation of a loop's stacks into the loop; None if there is none."""
    readers: dict[ValueKey, int] = {}
    for key in (value.key for value in graph.roots):
        readers[key] = readers.get(key, 0) + 1
    for node in graph.nodes:
        for arg in node.args:
            readers[arg.key] = readers.get(arg.key, 0) + 1
    for node in graph.nodes:
        if isinstance(node.op, Concat) and node.op.axis > 0:
            chains = [_row_steps_from_stack(arg, readers) for arg in node.args]
            loops = {chain[0].node for chain in chains if chain}
            if len(loops) == 1 and all(chains) and len({c[0].key for c in chains if c}) > 1:
                return _join_in_loop(graph, node, [chain for chain in chains if chain])
    return None


def _row_steps_from_stack(
    value: Symbolic, readers: dict[ValueKey, int]
) -> tuple[Symbolic, list[Node]] | None:
    """Return a loop's stack and the row-by-row steps that compute a value from it, or None.

    Each step has one reader.
    """
    steps: list[Node] = []
    while readers[value.key] == 1:
        node = value.node
        if isinstance(node.op, Loop):
            return (value, steps[::-1]) if value.index >= node.op.carries else None
        if len(node.args) != 1 or _row_step(node) is None:
            return None
        steps.append(node)
        (value,) = node.args
    return None


def _row_step(node: Node) -> Op | None:
    """Return the op on a row; None for one that is not of rows."""
    if isinstance(node.op, Reshape):
        return _row_view(node)
    return node.op if len(node.types) == 1 and isinstance(node.form, Pointwise) else None


def _join_in_loop(graph: Graph, join: Node, chains: Sequence[tuple[Symbolic, list[Node]]]) -> Graph:
    """Rewrite a concatenation of a loop's stacks as one in the body of the loop."""
    loop, op = chains[0][0].node, chains[0][0].node.op
    assert isinstance(op, Loop)
    assert isinstance(join.op, Concat)
    values = [*op.body.outputs.values()]
    gone = {stack.index for stack, _ in chains}
    rows = [
        _apply_ops(values[stack.index], [cast(Op, _row_step(step)) for step in steps], join)
        for stack, steps in chains
    ]
    with within(join.origin, join.order):
        joined = cast(Symbolic, Concat(join.op.axis - 1)(*rows))
    remaining = [k for k in range(len(values)) if k not in gone]
    results = [*(values[k] for k in remaining), joined]
    names = [f"c{k}" if k < op.carries else f"y{k - op.carries}" for k in range(len(results))]
    body = body_of(op.body.inputs, dict(zip(names, results, strict=True)))
    types = (*(loop.types[k] for k in remaining), join.types[0])
    passing = {step for _, steps in chains for step in steps}
    new_results: list[Symbolic] = []

    def replace_node(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Replace the loop, the concatenation and the steps between them."""
        if node is loop:
            joined = rebuild(node, args, op=replace(op, body=body), types=types)
            new_results[:] = joined.values
            return [
                new_results[remaining.index(k)] if k in remaining else new_results[-1]
                for k in range(len(values))
            ]
        return [new_results[-1]] if node is join or node in passing else None

    return graph.replace_nodes(replace_node)
