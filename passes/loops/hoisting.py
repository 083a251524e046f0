"""Movement of expensive values out of loops in which every iteration computes them alike.

A value is invariant if it depends on invariant operands and constants alone, as the factors of a
matrix with which each time step solves. Products, factorizations, sorts and scans move in front of
the loop, with what they read; elementwise values stay, where they need no memory. A loop that may
have no iterations keeps them: it would not have computed them, nor found a singular matrix.

::

    for each row b of x:                    q, r = qr(a)
        q, r = qr(a)               ->       for each row b of x:
        y = q.T @ b                             y = q.T @ b
"""

from __future__ import annotations

from dataclasses import replace

from passes.loops.merging import is_cheap
from staticgrad.language.ir.bodies import body_input, body_of, inline_body, map_bodies, rebuilt
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.graph import Graph, Input, Node, Symbolic
from staticgrad.language.ops.loops import Loop


def hoist_invariants(graph: Graph) -> tuple[Graph, int]:
    """Rewrite loops to read invariant values computed in front; return graph and count."""
    count = 0

    def rewrite_node(node: Node, args: tuple[Symbolic, ...]) -> list[Symbolic] | None:
        nonlocal count
        values = _invariant_values(node.op) if isinstance(node.op, Loop) else []
        if not values:
            return None
        count += len(values)
        op = node.op
        assert isinstance(op, Loop)
        old_inputs = op.body.inputs
        ahead = body_of(old_inputs, {str(k): value for k, value in enumerate(values)})
        invariants = len(old_inputs) - (1 + op.carries + op.slices)
        inputs = [
            body_input(f"p{invariants + k}", value.type, value.node.origin, value.node.order)
            for k, value in enumerate(values)
        ]
        replacements = {value.key: value for value in old_inputs}
        replacements |= {value.key: new for value, new in zip(values, inputs, strict=True)}
        body = body_of([*old_inputs, *inputs], rebuilt(op.body, replacements))
        operands = (*args, *inline_body(ahead, [old_inputs[0], *args]))
        return [*rebuild(node, operands, op=replace(op, body=body)).values]

    graph = map_bodies(graph, lambda body: body.replace_nodes(rewrite_node))
    return graph.replace_nodes(rewrite_node), count


def _invariant_values(op: Loop) -> list[Symbolic]:
    """Find the expensive values of a loop's body that are loop-invariant."""
    if not isinstance(op.iterations, int) or op.iterations < 2:
        return []
    changing = {value.node for value in op.body.inputs[: 1 + op.carries + op.slices]}
    invariant: list[Symbolic] = []
    for node in op.body.nodes:
        if isinstance(node.op, Input):
            continue
        if changing.isdisjoint(arg.node for arg in node.args):
            invariant += [] if is_cheap(node) or not node.args else node.values
        else:
            changing.add(node)
    return invariant
