"""Loops that stack their carries: the stack and the carry share one array.

The gradient of a loop reads the carries at the beginning of each iteration, and often those at its
end: the same values, an iteration later. Two stacks would take twice the bytes, and a copy each in
every iteration, besides the two buffers of the carry. Here one array has a row for the carry at the
beginning of each iteration, which the iteration reads in place, and a row for the final carry. Each
iteration writes the row of the next one. A stack is all rows except the last one, or except the
first one.

This rewrite runs just before kernels are made. Loops that may become one kernel, whose carries are
in registers, are unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from staticgrad.ir.bodies import body_of
from staticgrad.ir.forms import CallForm
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ops.contract import MatMul
from staticgrad.ops.indexing import Slice
from staticgrad.ops.loops import Loop
from staticgrad.ops.movement import Reshape
from staticgrad.types.arrays import hint_value
from staticgrad.types.dim import Size

#: Multiplications per row from which a body is not written out as one kernel: with additions about
#: as many expressions as ``staticgrad.lowering.loops.driven.MOST``.
HEAVY: Final = 3000


def with_logged_carries(graph: Graph) -> Graph:
    """Return the graph whose loops over several kernels store their carries in the stacks."""
    roots = {value.key for value in graph.roots}

    def logged(node: Node, op: Loop, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if not _is_driven(op.body):
            return None
        stacks = _stacks(node, op, roots)
        return _logged(node, op, args, stacks) if stacks else None

    return graph.replace_ops(Loop, logged)


def _is_driven(body: Graph) -> bool:
    """Return whether a body surely has several kernels: it has a large product, or a routine."""
    carried = {value.node for value in body.inputs if value.node.label.startswith("c")}
    for node in body.nodes:
        if node.is_leaf:
            continue
        if any(arg.node in carried for arg in node.args):
            carried.add(node)
        if isinstance(node.form, CallForm) or any(map(_is_driven, node.op.bodies)):
            return True
        if isinstance(node.op, MatMul) and _multiplications(node, carried) >= HEAVY:
            return True
    return False


def _multiplications(node: Node, carried: set[Node]) -> int:
    """Those of a product for what may be a row of the loop: no other than one of its first factor,
    where that alone depends on what is carried."""
    assert isinstance(node.op, MatMul)
    *_, rows, columns = map(hint_value, node.types[0].shape)
    inner = hint_value(node.args[0].shape[-2 if node.op.transpose_a else -1])
    first, second = (arg.node in carried for arg in node.args)
    return (columns if first and not second else min(rows, columns)) * inner


def _stacks(node: Node, op: Loop, roots: set[tuple[Node, int]]) -> dict[int, tuple[int, bool]]:
    """Stacks of carried values: of each result its carry, and whether it is what iterations end
    with."""
    outs = [*op.body.outputs.values()]
    begun = {value.key: place for place, value in enumerate(op.body.inputs[1 : 1 + op.carries])}
    ended = {value.key: place for place, value in enumerate(outs[: op.carries])}
    found: dict[int, tuple[int, bool]] = {}
    for place, value in enumerate(outs[op.carries :], op.carries):
        if (node, place) in roots:
            continue
        if value.key in begun:
            found[place] = begun[value.key], False
        elif value.key in ended:
            found[place] = ended[value.key], True
    return found


def _logged(
    node: Node, op: Loop, args: tuple[Symbolic, ...], stacks: dict[int, tuple[int, bool]]
) -> list[Symbolic]:
    carries = tuple(sorted({carry for carry, _ in stacks.values()}))
    outs = [*op.body.outputs.values()]
    kept = [place for place in range(op.carries, len(outs)) if place not in stacks]
    named = {f"c{n}": value for n, value in enumerate(outs[: op.carries])}
    named |= {f"y{n}": outs[place] for n, place in enumerate(kept)}
    loop = replace(op, body=body_of(op.body.inputs, named), logged=carries)
    types = loop.infer(*[arg.type for arg in args])
    assert isinstance(types, tuple) or len(named) == 1
    types = types if isinstance(types, tuple) else (types,)
    made = Node(loop, args, types, node.origin, node.order).values
    results: list[Any] = [*made[: op.carries], *[made[0]] * (len(outs) - op.carries)]
    for n, place in enumerate(kept, op.carries):
        results[place] = made[n]
    for place, (carry, ends) in stacks.items():
        results[place] = _rows(made[carry], int(ends != op.reverse), op.iterations)
    for carry in carries:
        last = _rows(made[carry], 0 if op.reverse else op.iterations, 1)
        results[carry] = Reshape(last.shape[1:])(last)
    return results


def _rows(log: Symbolic, begin: Size, count: Size) -> Any:
    starts = (begin, *(0 for _ in log.shape[1:]))
    return Slice(starts, (count, *log.shape[1:]), (1,) * log.ndim)(log)
