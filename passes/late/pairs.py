"""Pairs of bfloat16 numbers as float32 words, which products multiply without packing.

A loop that multiplies by the same matrix in each iteration would pack its pairs each time. They are
made once, in front of the loop, and stored as rows of half as many words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from passes.late.base import late_pass
from passes.late.products import narrowest
from passes.loops.rounded_products import LEAST_ELEMENTS
from staticgrad.language.ir.bodies import body_input, body_of
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.graph import Graph, Node, Symbolic
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.ops.convert import Bitcast, astype
from staticgrad.language.ops.indexing import slice_value
from staticgrad.language.ops.logic import Eq
from staticgrad.language.ops.loops import Loop
from staticgrad.language.ops.movement import swapaxes
from staticgrad.language.ops.selection import where
from staticgrad.language.types.arrays import hint_value
from staticgrad.language.types.dtype import BF16, F32, U32


def pair_elements(values: Any, axis: int) -> Any:
    """Return float32 numbers whose bits are two, half of an axis apart, rounded to bfloat16.

    Ties are rounded away from zero, as kernels do it.
    """
    half = values.shape[axis] // 2
    shape = (*values.shape[:axis], half, *values.shape[axis + 1 :])
    ones, rounded = (1,) * values.ndim, []
    for start in (0, half):
        starts = tuple(start if k == axis else 0 for k in range(values.ndim))
        part: Any = slice_value(values, starts, shape, ones)
        bits: Any = Bitcast(U32)(part)
        rounded.append(where(Eq()(part, part), bits + np.uint32(0x8000), bits))
    upper, lower = rounded
    return Bitcast(F32)((upper & np.uint32(0xFFFF0000)) | (lower >> np.uint32(16)))


@late_pass("paired-factors", keeps="close")
def pair_invariants(graph: Graph) -> Graph:
    """Rewrite loops to multiply by words of two bfloat16 numbers, which nodes in front make."""
    return graph.replace_ops(Loop, _pair_matrices)


def _pair_matrices(node: Node, op: Loop, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
    """Rewrite a loop whose products multiply by bfloat16 matrices of every iteration, or None."""
    first = op.carries + op.slices
    places = {
        value.key: place
        for place, value in enumerate(op.body.inputs, -1)
        if place >= first and narrowest(args[place]).dtype is BF16
    }
    products: dict[tuple[int, bool], list[Node]] = {}
    for inner in op.body.nodes:
        if (place := _place_of_matrix(inner, places)) is not None:
            assert isinstance(inner.op, MatMul)
            products.setdefault((place, inner.op.transpose_b), []).append(inner)
    if not products:
        return None
    words: list[Any] = []
    inputs: dict[Node, Symbolic] = {}
    for number, ((place, is_transposed), nodes) in enumerate(products.items()):
        wide: Any = astype(narrowest(args[place]), F32)
        words.append(pair_elements(swapaxes(wide, 0, 1) if is_transposed else wide, 0))
        label = f"p{len(op.body.inputs) - 1 - first + number}"
        inputs |= dict.fromkeys(nodes, body_input(label, words[-1].type, node.origin, node.order))

    def multiply(inner: Node, operands: tuple[Symbolic, ...]) -> tuple[Symbolic, ...] | None:
        if inner not in inputs:
            return None
        rows: Any = pair_elements(operands[0], operands[0].ndim - 1)
        return rebuild(
            inner, (rows, inputs[inner]), op=MatMul(factors=U32), types=inner.types
        ).values

    changed = op.body.replace_nodes(multiply)
    body = body_of([*op.body.inputs, *dict.fromkeys(inputs.values())], changed.outputs)
    return rebuild(node, (*args, *words), op=replace(op, body=body)).values


def _place_of_matrix(node: Node, places: dict[Any, int]) -> int | None:
    """Return the operand that a product multiplies bfloat16 numbers by, with an even depth."""
    if not isinstance(node.op, MatMul) or node.op.factors is not None or node.op.transpose_a:
        return None
    a, b = node.args
    matrix = narrowest(b)
    if narrowest(a).dtype is not BF16 or matrix.ndim != 2:
        return None
    if hint_value(b.type.size) < LEAST_ELEMENTS:
        return None
    terms = a.shape[-1]
    return places.get(matrix.key) if isinstance(terms, int) and terms % 2 == 0 else None
