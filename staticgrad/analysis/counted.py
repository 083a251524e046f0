"""Which elements of a graph's values count for its results, as far as ``where`` decides it.

An element that every ``where`` behind it throws away counts for nothing, whatever it holds; nor
does what is only asked whether it is finite. Everything else counts. Masks are built as values of
the graph; nothing runs here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from staticgrad.analysis.users import ValueKey
from staticgrad.ir.graph import Constant, Graph, Node
from staticgrad.ir.value import Value
from staticgrad.ops.compare import Eq, Ge, Gt, Le, Lt, Ne, logical_and, logical_not, logical_or
from staticgrad.ops.convert import astype
from staticgrad.ops.cotangent import resolve, unbroadcast
from staticgrad.ops.elementwise import Elementwise
from staticgrad.ops.movement import broadcast_to
from staticgrad.ops.operands import Linear
from staticgrad.ops.reduce import Sum
from staticgrad.ops.selection import Where
from staticgrad.types.dtype import F32
from staticgrad.types.tensor import TensorType

#: A bool value of the shape that it speaks of; True: every element.
Mask = Value | bool
_COMPARISONS: Final = (Eq, Ne, Lt, Le, Gt, Ge)


def counted(graph: Graph) -> dict[ValueKey, Mask]:
    """Per value, where its elements count for an output or update; a value without any is missing.

    Masks go backwards through ``where``, elementwise operations, and linear ones that move or add
    elements; before any other operation all elements count. Near-linear in the nodes.
    """
    masks: dict[ValueKey, Mask] = {value.key: True for value in graph.roots}
    for node in reversed(graph.nodes):
        if node.is_leaf or _asks_whether_finite(node):
            continue
        reached = [masks[value.key] for value in node.values if value.key in masks]
        if not reached:
            continue
        mask = reached[0] if len(node.types) == 1 else True
        for arg, share in zip(node.args, _shares(node, mask), strict=True):
            masks[arg.key] = _either(masks.get(arg.key, False), share)
    return masks


def _shares(node: Node, mask: Mask) -> Sequence[Mask]:
    """Which elements of each operand count, given which of the result do."""
    out = node.types[0]
    if isinstance(node.op, Where):
        chosen = broadcast_to(node.args[0], out.shape)
        branches = (_both(chosen, mask), _both(logical_not(chosen), mask))
        return (True, *(_narrowed(m, a.type) for m, a in zip(branches, node.args[1:], strict=True)))
    if isinstance(mask, bool):
        return [mask] * len(node.args)
    if isinstance(node.op, Elementwise):
        return [_narrowed(mask, arg.type) for arg in node.args]
    if isinstance(node.op, Linear | Sum) and out.dtype.is_float:
        back = node.op.vjp(astype(mask, out.dtype), node.values[0], *node.args)
        return [resolve(back[0]) != 0, *[True] * (len(node.args) - 1)]
    return [True] * len(node.args)


def _asks_whether_finite(node: Node) -> bool:
    """x == x, x != x, or a comparison with an infinity, as in ``isnan`` and ``isfinite``."""
    if not isinstance(node.op, _COMPARISONS):
        return False
    left, right = node.args
    return left.key == right.key or any(
        isinstance(op := arg.node.op, Constant)
        and op.data.array.ndim == 0
        and bool(np.isinf(op.data.array))
        for arg in node.args
    )


def _narrowed(mask: Value, kind: TensorType) -> Value:
    """A mask of a result as one of an operand that was broadcast to it."""
    if mask.shape == kind.shape:
        return mask
    shares = unbroadcast(astype(mask, F32), TensorType(F32, kind.shape))
    return resolve(shares) != 0


def _both(one: Value, two: Mask) -> Value:
    return one if isinstance(two, bool) else logical_and(one, two)


def _either(one: Mask, two: Mask) -> Mask:
    if isinstance(one, bool) or isinstance(two, bool):
        return True if one is True or two is True else (two if one is False else one)
    return logical_or(one, two)
