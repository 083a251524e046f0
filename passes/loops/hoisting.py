"""Movement of expensive values out of loops in which every iteration computes them alike.

A value is invariant if it depends on invariant operands and constants alone, as the factors of a
matrix with which each time step solves. Products, factorizations, sorts and scans move in front of
the loop, with what they read; elementwise values stay, where they need no memory. A loop that may
have no iterations keeps them: it would not have computed them, nor found a singular matrix.
"""

from __future__ import annotations

from dataclasses import replace

from passes.loops.merging import is_cheap
from staticgrad.language.ir.bodies import body_input, body_of, inlined, map_bodies, rebuilt
from staticgrad.language.ir.graph import Graph, Input, Node, Symbolic
from staticgrad.language.ops.loops import Loop


def hoisted(graph: Graph) -> tuple[Graph, int]:
    """Return the graph with invariant values in front of its loops, and their number."""
    count = 0

    def rewritten(node: Node, args: tuple[Symbolic, ...]) -> list[Symbolic] | None:
        nonlocal count
        values = _invariant_values(node.op) if isinstance(node.op, Loop) else []
        if not values:
            return None
        count += len(values)
        return _without(node, args, values)

    graph = map_bodies(graph, lambda body: body.replace_nodes(rewritten))
    return graph.replace_nodes(rewritten), count


def _invariant_values(op: Loop) -> list[Symbolic]:
    """Return the expensive values of the body that do not depend on the iteration."""
    if not isinstance(op.iterations, int) or op.iterations < 2:
        return []
    changing = {value.node for value in op.body.inputs[: 1 + op.carries + op.slices]}
    found: list[Symbolic] = []
    for node in op.body.nodes:
        if isinstance(node.op, Input):
            continue
        if changing.isdisjoint(arg.node for arg in node.args):
            found += [] if is_cheap(node) or not node.args else node.values
        else:
            changing.add(node)
    return found


def _without(node: Node, args: tuple[Symbolic, ...], values: list[Symbolic]) -> list[Symbolic]:
    """Return the results of a loop that reads these values of its body as operands."""
    op = node.op
    assert isinstance(op, Loop)
    given = op.body.inputs
    ahead = body_of(given, {str(k): value for k, value in enumerate(values)})
    before = len(given) - (1 + op.carries + op.slices)
    inputs = [
        body_input(f"p{before + k}", value.type, value.node.origin, value.node.order)
        for k, value in enumerate(values)
    ]
    known = {value.key: value for value in given}
    known |= {value.key: new for value, new in zip(values, inputs, strict=True)}
    body = body_of([*given, *inputs], rebuilt(op.body, known))
    operands = (*args, *inlined(ahead, [given[0], *args]))
    return [*Node(replace(op, body=body), operands, node.types, node.origin, node.order).values]
