"""The choice of values of a loop's iterations that its gradient reads from a stack instead of
recomputing them.

The backward loop recomputes the forward body from stacked carries. Values that need a product, a
scan or a sort are not recomputed. Between those and the values that the gradient reads, the forward
loop stacks the vertex cut of the fewest bytes; among equal cuts the one nearest to the gradient.
Elementwise results of stacked values, and concatenations of their parts, are recomputed.
"""

from __future__ import annotations

from dataclasses import replace

from passes.loops.merging import Numbering, ValueKey, is_cheap
from staticgrad.analysis.vertex_cut import vertex_cut
from staticgrad.language.ir.bodies import body_input, body_of, rebuilt
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.forms import View
from staticgrad.language.ir.graph import Constant, Graph, Input, Node, Symbolic, bodies_of
from staticgrad.language.ops.loops import Loop
from staticgrad.language.types.arrays import hint_bytes


def stack_expensive_values(graph: Graph) -> tuple[Graph, int]:
    """Rewrite forward loops to stack expensive values, which backward loops read; count them."""
    count = 0
    done: set[tuple[object, object]] = set()
    while True:
        change = _stack_for_first_pair(graph, done)
        if change is None:
            return graph, count
        graph, more = change
        count += more


def _stack_for_first_pair(
    graph: Graph, done: set[tuple[object, object]]
) -> tuple[Graph, int] | None:
    """Stack values for the first forward and backward loop that need it, or return None."""
    for back in graph.nodes:
        if not isinstance(back.op, Loop):
            continue
        ends = back.op.carries, back.op.carries + back.op.slices
        for arg in back.args[ends[0] : ends[1]]:
            ahead = arg.node
            if not isinstance(ahead.op, Loop) or arg.index < ahead.op.carries:
                continue
            if (ahead.op.key, back.op.key) in done:
                continue
            done.add((ahead.op.key, back.op.key))
            chosen = _choose_values(ahead, back)
            if chosen:
                return _stack_values(graph, ahead, back, chosen), len(chosen)
    return None


def _choose_values(ahead: Node, back: Node) -> list[tuple[Symbolic, Symbolic]]:
    """Choose the values that a backward loop recomputes and could read from a stack.

    Pairs of a value of the backward body to read, and the equal forward value.
    """
    numbers, theirs = _number_values(ahead, back)
    by_number: dict[int, Symbolic] = {}
    for node in bodies_of(ahead)[0].nodes:
        for value in node.values:
            by_number.setdefault(numbers[value.key], value)
    nodes = [
        node
        for node in bodies_of(back)[0].nodes
        if not isinstance(node.op, Input | Constant) and theirs[node, 0] in by_number
    ]
    again = {node: place for place, node in enumerate(nodes)}
    body = bodies_of(back)[0]
    heavy = [place for node, place in again.items() if not is_cheap(node)]
    if not heavy:
        return []
    read = {arg.node for node in body.nodes if node not in again for arg in node.args}
    read |= {value.node for value in body.outputs.values()}
    assert isinstance(ahead.op, Loop)
    stacks = [*ahead.op.body.outputs.values()][ahead.op.carries :]
    stacked_numbers = {numbers[value.key] for value in stacks}
    # For equal bytes, values that a kernel writes are preferred to views, which need copies.
    weights = [
        0
        if theirs[node, 0] in stacked_numbers
        else len(nodes) * _nbytes(node) + isinstance(node.form, View)
        for node in nodes
    ]
    edges = [(again[a.node], again[node]) for node in nodes for a in node.args if a.node in again]
    cut = vertex_cut(weights, edges, heavy, [again[node] for node in nodes if node in read])
    values = [value for place in sorted(cut or ()) for value in nodes[place].values]
    return [(value, by_number[theirs[value.key]]) for value in values]


def _nbytes(node: Node) -> int:
    return sum(hint_bytes(kind) for kind in node.types)


def _number_values(ahead: Node, back: Node) -> tuple[dict[ValueKey, int], dict[ValueKey, int]]:
    """Number the values of a forward and a backward body; a slice as the stacked value."""
    numbering = Numbering()
    forward, backward = ahead.op, back.op
    assert isinstance(forward, Loop)
    assert isinstance(backward, Loop)
    inputs = [numbering.of("i")]
    ends = forward.carries, forward.carries + forward.slices
    for k, arg in enumerate(ahead.args):
        role = "c" if k < ends[0] else "x" if k < ends[1] else "p"
        inputs.append(numbering.of((role, k) if role == "c" else (role, arg.key)))
    numbers = numbering.values(forward.body, inputs)
    outs = [*forward.body.outputs.values()]
    theirs = [numbering.of("i")]
    ends = backward.carries, backward.carries + backward.slices
    for k, arg in enumerate(back.args):
        role = "t" if k < ends[0] else "x" if k < ends[1] else "p"
        if role == "x" and arg.node is ahead and arg.index >= forward.carries:
            theirs.append(numbers[outs[arg.index].key])
        else:
            theirs.append(numbering.of((role, k) if role == "t" else (role, arg.key)))
    return numbers, numbering.values(backward.body, theirs)


def _stack_values(
    graph: Graph, ahead: Node, back: Node, chosen: list[tuple[Symbolic, Symbolic]]
) -> Graph:
    """Return the graph in which loop ``ahead`` stacks the values that loop ``back`` reads."""
    forward, backward = ahead.op, back.op
    assert isinstance(forward, Loop)
    assert isinstance(backward, Loop)
    outs = dict(forward.body.outputs)
    old_count = len(outs)
    place = {value.key: k for k, value in enumerate(outs.values()) if k >= forward.carries}
    for _, value in chosen:
        if value.key not in place:
            place[value.key] = len(outs)
            outs[f"y{len(outs) - forward.carries}"] = value
    wider = replace(forward, body=body_of(forward.body.inputs, outs))
    added = [*outs.values()][old_count:]
    types = [value.type.with_shape((forward.iterations, *value.shape)) for value in added]
    node = rebuild(ahead, ahead.args, op=wider, types=(*ahead.types, *types))

    def rewrite_node(loop: Node, args: tuple[Symbolic, ...]) -> list[Symbolic] | None:
        if loop is ahead:
            return [Symbolic(node, k) for k in range(old_count)]
        if loop is back:
            more = [Symbolic(node, place[value.key]) for _, value in chosen]
            values = [value for value, _ in chosen]
            op = loop.op
            assert isinstance(op, Loop)
            at = 1 + op.carries + op.slices
            inputs = [_like(value, value.node.label) for value in op.body.inputs]
            slices = [_like(value, f"x{op.slices + k}") for k, value in enumerate(values)]
            replacements = {value.key: new for value, new in zip(values, slices, strict=True)}
            old_inputs = {v.key: new for v, new in zip(op.body.inputs, inputs, strict=True)}
            body = body_of(
                [*inputs[:at], *slices, *inputs[at:]], rebuilt(op.body, old_inputs | replacements)
            )
            operands = (*args[: at - 1], *more, *args[at - 1 :])
            wider_reader = replace(op, body=body, slices=op.slices + len(more))
            return [*rebuild(loop, operands, op=wider_reader).values]
        return None

    return graph.replace_nodes(rewrite_node)


def _like(value: Symbolic, label: str) -> Symbolic:
    return body_input(label, value.type, value.node.origin, value.node.order)
