"""Loops that stack what they carry, in one array with the carried value itself.

The gradient of a loop reads what each iteration began with, and often what it ended with: the same
values, an iteration later. As two stacks they took twice the bytes, and a copy each in every
iteration, beside the two places of the carried value. Here one array has a row for what each
iteration begins with, which the iteration reads there, and one for what the last iteration ends
with. Each iteration writes the row of the next one; what was a stack is all rows of it but the last
one, or but the first one.

This happens just before kernels are made. Loops that may become one kernel, whose carries are in
registers, stay as they are.
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

#: Multiplications for a row from which on a body is not written out as one kernel: with additions
#: about as many expressions as ``staticgrad.lowering.loops.written_out.MOST``.
HEAVY: Final = 3000


def with_logged_carries(graph: Graph) -> Graph:
    """The graph whose loops over several kernels keep what they carry where it is stacked."""
    roots = {value.key for value in graph.roots}

    def logged(node: Node, op: Loop, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if not _is_driven(op.body):
            return None
        stacks = _stacks(node, op, roots)
        return _logged(node, op, args, stacks) if stacks else None

    return graph.replace_ops(Loop, logged)


def _is_driven(body: Graph) -> bool:
    """Whether it is plain that a body is several kernels: it has a large product, or a routine."""
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
    """The results of the loop that logs the carries of these stacks."""
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
    """Some rows of a log."""
    starts = (begin, *(0 for _ in log.shape[1:]))
    return Slice(starts, (count, *log.shape[1:]), (1,) * log.ndim)(log)
