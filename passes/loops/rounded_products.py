"""Products in the bodies of loops: their factors are rounded as those of others.

A recurrent layer multiplies its state by the same matrix in each step. The matrix is rounded once,
in front of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, cast

from staticgrad.language.ir.bodies import body_input, body_of
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.forms import Identity, ReshapeForm, View
from staticgrad.language.ir.graph import Node, Symbolic
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.ops.convert import Cast
from staticgrad.language.ops.loops import Loop
from staticgrad.language.ops.movement import swapaxes
from staticgrad.language.types.arrays import hint_value
from staticgrad.language.types.dtype import F32, DType
from staticgrad.support.building import within

#: Elements of a factor, at least: smaller ones may be in registers, where loops are unrolled.
LEAST_ELEMENTS: Final = 1 << 12


def find_rounded_products(op: Loop, takes: Callable[[Node], bool]) -> dict[Node, int | None]:
    """Return the products of a loop's body to round, and the operand that is one of their factors.

    It is a matrix that every iteration reads, with an even number of terms, or None: then both
    factors are rounded in each iteration. ``takes`` chooses products by their op and scope.
    """
    first = op.carries + op.slices
    places = {value.key: place for place, value in enumerate(op.body.inputs, -1) if place >= first}
    products: dict[Node, int | None] = {}
    for node in op.body.nodes:
        if not isinstance(node.op, MatMul) or node.op.factors is not None:
            continue
        a, b = node.args
        if b.dtype is not F32 or not takes(node):
            continue
        if (place := _place_of_left(node, places)) is not None:
            products[node] = place
            continue
        if hint_value(b.type.size) < LEAST_ELEMENTS:
            continue
        place = places.get(b.key)
        terms = b.shape[-1 if node.op.transpose_b else -2]
        has_pairs = isinstance(terms, int) and terms % 2 == 0 and not node.op.transpose_a
        if place is not None and a.key not in places and has_pairs and b.ndim == 2:
            products[node] = place
        elif hint_value(a.type.size) >= LEAST_ELEMENTS:
            products[node] = None
    return products


def _place_of_left(node: Node, places: Mapping[Any, int]) -> int | None:
    """Return the operand that is the first factor of a product, if it is such a matrix."""
    (a, b), op = node.args, node.op
    assert isinstance(op, MatMul)
    terms = a.shape[-2 if op.transpose_a else -1]
    has_pairs = isinstance(terms, int) and terms % 2 == 0 and not op.down
    plain = has_pairs and a.ndim == b.ndim == 2 and b.key not in places
    if not plain or hint_value(a.type.size) < LEAST_ELEMENTS:
        return None
    return places.get(a.key)


def round_products(
    node: Node, products: Mapping[Node, int | None], matrices: Mapping[int, Symbolic], dtype: DType
) -> Node:
    """Return a loop whose ``products`` multiply factors rounded to ``dtype``.

    ``matrices``: the rounded operands. A product with such a matrix as its first factor is computed
    transposed, so that the matrix is the second one.
    """
    loop = node.op
    assert isinstance(loop, Loop)
    count = len(loop.body.inputs) - (1 + loop.carries + loop.slices)
    inputs = {
        place: body_input(f"p{count + number}", matrix.type, node.origin, node.order)
        for number, (place, matrix) in enumerate(matrices.items())
    }

    def multiply(old: Node, args: tuple[Symbolic, ...]) -> tuple[Symbolic, ...] | None:
        if old not in products:
            return None
        place = products[old]
        if place is not None and old.args[0].key == loop.body.inputs[1 + place].key:
            assert isinstance(old.op, MatMul)
            with within(old.origin, old.order):
                columns = args[1] if old.op.transpose_b else swapaxes(args[1], 0, 1)
                rows = _round_value(cast(Symbolic, columns), dtype, old)
                product = MatMul(transpose_b=not old.op.transpose_a)
                result: Any = product(rows, _cast(inputs[place], F32, old))
                return (swapaxes(result, 0, 1),)
        matrix = (
            _round_value(args[1], dtype, old) if place is None else _cast(inputs[place], F32, old)
        )
        return rebuild(old, (_round_value(args[0], dtype, old), matrix)).values

    changed = loop.body.replace_nodes(multiply)
    body = body_of([*loop.body.inputs, *inputs.values()], changed.outputs)
    return rebuild(node, (*node.args, *matrices.values()), op=replace(loop, body=body))


def _round_value(value: Symbolic, dtype: DType, at: Node) -> Symbolic:
    """Return a value rounded to ``dtype``, as a float32 number; or the value if it is one."""
    node = value.node
    while isinstance(node.form, View | ReshapeForm | Identity) and len(node.args) == 1:
        node = node.args[0].node
    if isinstance(node.op, Cast) and node.args[0].dtype is dtype:
        return value
    return _cast(_cast(value, dtype, at), F32, at)


def _cast(value: Symbolic, dtype: DType, at: Node) -> Symbolic:
    with within(at.origin, at.order):
        result: Any = Cast(dtype)(value)
    return result  # type: ignore[no-any-return]
