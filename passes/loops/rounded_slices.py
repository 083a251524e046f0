"""Loops that read and stack narrow values: their bodies convert a slice at a time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import cast

from staticgrad.language.ir.bodies import body_input, body_of, rebuilt
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.graph import Graph, Node, Symbolic
from staticgrad.language.ops.convert import Cast
from staticgrad.language.ops.loops import Loop
from staticgrad.language.types.dtype import F32, DType
from staticgrad.support.building import within


def is_slice(node: Node, place: int) -> bool:
    """Return whether an operand is an array of which a loop reads a slice in each iteration."""
    op = node.op
    return isinstance(op, Loop) and op.carries <= place < op.carries + op.slices


def is_stack(node: Node, index: int) -> bool:
    """Return whether a result of a node is a stack of a loop."""
    return isinstance(node.op, Loop) and index >= node.op.carries


def widen_slices(node: Node, args: tuple[Symbolic, ...], narrow: Collection[int]) -> Node:
    """Rewrite a loop over narrow-float slices: its body widens a slice at a time."""
    loop = node.op
    assert isinstance(loop, Loop)
    inputs: list[Symbolic] = []
    replacements: dict[tuple[Node, int], Symbolic] = {}
    for place, old in enumerate(
        loop.body.inputs, -1
    ):  # the number of the iteration is not an operand
        kind = old.type.with_dtype(args[place].dtype) if place in narrow else old.type
        new = body_input(old.node.label, kind, old.node.origin, old.node.order)
        inputs.append(new)
        replacements[old.key] = _cast(new, F32) if place in narrow else new
    body = body_of(inputs, rebuilt(loop.body, replacements)) if narrow else loop.body
    return rebuild(node, args, op=replace(loop, body=body), types=node.types)


def round_stacks(node: Node, narrow: Collection[int], dtype: DType) -> Node:
    """Rewrite a loop to round its ``narrow`` results to a narrow float before stacking."""
    loop = node.op
    assert isinstance(loop, Loop)
    if not narrow:
        return node
    named = enumerate(loop.body.outputs.items())
    outputs = {name: _cast(v, dtype) if k in narrow else v for k, (name, v) in named}
    body: Graph = body_of(loop.body.inputs, outputs)
    kinds = tuple(t.with_dtype(dtype) if k in narrow else t for k, t in enumerate(node.types))
    return rebuild(node, node.args, op=replace(loop, body=body), types=kinds)


def _cast(value: Symbolic, dtype: DType) -> Symbolic:
    with within(value.node.origin, value.node.order):
        return cast(Symbolic, Cast(dtype)(value))
