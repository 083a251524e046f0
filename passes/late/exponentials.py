"""Sum exponentials of long rows in parts, each beside its own maximum: rows are read once.

The statistics of a softmax, ``m = max(x)`` and ``sum(exp(x - m))``, read each row twice, and a row
that is longer than a cache comes from memory twice. A part of a row stays in L1
between its maximum ``m_p`` and its sum ``s_p``, and the row's sum is made of these::

    sum(exp(x - m))     ->     sum(s_p * exp(m_p - m))

Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018), with parts in the place
of single elements, so that there is one more exponential for each part. The maximum keeps its
bits; the sum differs in the last digits. Rows with infinities or NaN have the values that they had:
the shift of a part is 0 where its maximum is not finite, and a part of -inf alone is one element.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from math import inf
from typing import Any, cast

from passes.late.base import late_pass
from staticgrad.analysis.liveness import ValueKey, users_of
from staticgrad.language.ir.forms import Contract
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic
from staticgrad.language.ops.arithmetic import Sub, absolute
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.ops.indexing import TakeAlong, concatenate, part
from staticgrad.language.ops.movement import expand_dims, reshape
from staticgrad.language.ops.reduce import Max, Sum
from staticgrad.language.ops.selection import where
from staticgrad.language.ops.transcendental import Exp, exp
from staticgrad.language.types.arrays import hint_bytes, hint_value
from staticgrad.support import fuses
from staticgrad.support.config import limits
from staticgrad.support.records import NamedTuple
from staticgrad.support.traversal import reach


@late_pass("sums-of-exponentials", keeps="close")
def sum_in_parts(graph: Graph) -> Graph:
    """Rewrite long sums of exponentials less their maximum as sums of parts."""
    if not graph.has(Exp) or not graph.has(Max):
        return graph
    users = users_of(graph)
    parts_of: dict[tuple[Node, int], tuple[Symbolic, Symbolic]] = {}
    long_sums: dict[Node, ShiftedSum] = {}
    for node in graph.nodes:
        long_sum = _find_long_sum(node)
        if long_sum is not None and _pays(node, users):
            long_sums[node] = long_sum
    if not long_sums:
        return graph
    maxima = {long_sum.maximum for long_sum in long_sums.values()}

    def statistics(x: Symbolic) -> tuple[Symbolic, Symbolic]:
        """Return the maximum and the shifted sum of each part of the rows of x."""
        if x.key not in parts_of:
            parts_of[x.key] = _part_statistics(x)
        return parts_of[x.key]

    def rewrite(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if node in maxima:
            return (cast(Symbolic, Max((args[0].ndim - 1,))(statistics(args[0])[0])),)
        if node not in long_sums:
            return None
        x, shift = args[0].node.args[0].node.args
        terms = shift_again(*statistics(x), shift)
        return (cast(Symbolic, Sum((x.ndim - 1,))(terms)),)

    return graph.replace_nodes(rewrite).without_dead_nodes()


class ShiftedSum(NamedTuple):
    """A sum of ``exp(x - shift)``, where the shift is made of the maximum over the same axes."""

    x: Symbolic
    shift: Symbolic
    maximum: Node


def find_shifted_sum(total: Node) -> ShiftedSum | None:
    """Return of what a node is a sum of exponentials less their maximum; None if it is not one."""
    if not isinstance(total.op, Sum) or not isinstance(total.args[0].node.op, Exp):
        return None
    shifted = total.args[0].node.args[0].node
    if not isinstance(shifted.op, Sub) or total.types[0].dtype.is_storage:
        return None
    x, shift = shifted.args
    axes = total.op.axes
    sizes = (*[1] * (x.ndim - shift.ndim), *shift.shape)
    if x.shape != shifted.types[0].shape or any(sizes[axis] != 1 for axis in axes):
        return None
    for node in islice(_elementwise_sources(shift), fuses.FORMULA_NODES):
        if isinstance(node.op, Max):
            is_of_x = node.args[0].key == x.key and node.op.axes == axes
            return ShiftedSum(x, shift, node) if is_of_x else None
    return None


def shift_again(largest: Any, sums: Any, shift: Any) -> Symbolic:
    """Return sums of exponentials less a shift, of those less the (finite) largest."""
    others = sums * exp(finite_or_zero(largest) - shift)
    return cast(Symbolic, where(largest == -inf, exp(largest - shift), others))


def sum_less_maximum(x: Any, largest: Any, axes: tuple[int, ...]) -> Symbolic:
    """Return the sums of exponentials over some axes, less the (finite) largest over these."""
    return cast(Symbolic, Sum(axes)(exp(x - expand_dims(finite_or_zero(largest), axes))))


def finite_or_zero(maximum: Any) -> Symbolic:
    """Return a maximum, or 0 where it is infinite or not a number."""
    return cast(Symbolic, where(absolute(maximum) < inf, maximum, 0.0))


def _find_long_sum(total: Node) -> ShiftedSum | None:
    """Return a sum along long rows that are no product; None of another node."""
    shifted = find_shifted_sum(total)
    if shifted is None or cast(Sum, total.op).axes != (shifted.x.ndim - 1,):
        return None
    x = shifted.x
    size = x.shape[-1]
    is_long = isinstance(size, int) and size >= limits().long_exponentials
    is_long = is_long and hint_bytes(x.type) >= limits().exponential_bytes
    is_of_rows = shifted.shift.shape == (*x.shape[:-1], 1) or x.ndim == 1 > shifted.shift.ndim
    return shifted if is_long and is_of_rows and not _is_of_product(x) else None


def _pays(total: Node, users: Mapping[ValueKey, Sequence[Node]]) -> bool:
    """Return whether the rows of a sum of exponentials are read only there, or are very long."""
    powers = total.args[0]
    shifted = powers.node.args[0]
    x = shifted.node.args[0]
    if hint_value(x.shape[-1]) * x.dtype.itemsize >= limits().exponential_row_bytes:
        return True
    readers = [*users[powers.key], *users[shifted.key], *users[x.key]]
    return all(
        isinstance(reader.op, Max | TakeAlong) or reader in (total, powers.node, shifted.node)
        for reader in readers
    )


def _is_of_product(x: Symbolic) -> bool:
    """Return whether x is elementwise of a product, whose rows are made block by block."""
    return any(isinstance(node.form, Contract) for node in _elementwise_sources(x))


def _elementwise_sources(value: Symbolic) -> Iterator[Node]:
    """Yield the nodes that a value is elementwise of, with its own and reshapes, no constants."""

    def operands(node: Node) -> list[Node]:
        if not isinstance(node.op, Elementwise) and node.op.name != "reshape":
            return []
        return [arg.node for arg in node.args if not isinstance(arg.node.op, Constant)]

    return reach([value.node], operands)


def _part_statistics(x: Symbolic) -> tuple[Symbolic, Symbolic]:
    """Return the maximum of each part of the rows of x, and the sum of exponentials less it."""
    last, size = x.ndim - 1, x.shape[-1]
    assert isinstance(size, int)
    length = min(limits().exponential_part, size)
    count = size // length
    pieces = [(part(x, last, 0, count * length), count)]
    if size % length:
        pieces.append((part(x, last, count * length, size % length), 1))
    largest, sums = [], []
    for piece, parts in pieces:
        rows = reshape(piece, (*x.shape[:-1], parts, piece.shape[-1] // parts))
        maximum = Max((last + 1,))(rows)
        largest.append(maximum)
        sums.append(sum_less_maximum(rows, maximum, (last + 1,)))
    return cast("tuple[Symbolic, Symbolic]", (concatenate(largest, last), concatenate(sums, last)))
