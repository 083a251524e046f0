"""Losses that are no mean over the rows of a rank, found in their graph.

The mean over the ranks of the gradients of sums is the gradient of the whole sum divided by the
number of ranks: a program would train otherwise with each number of them. A mean over the elements
of a mask has as many rows as the mask has, which may differ between the ranks.

A row sum is one over axis 0 of a value whose rows are those of the batch: each value on the way
from an array of the function has as many along axis 0. All other losses are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose
from typing import Any, NamedTuple

from staticgrad.errors import ArgumentError
from staticgrad.language.ir.forms import Contract, Reduce
from staticgrad.language.ir.graph import Constant, Node, Symbolic, ancestors
from staticgrad.language.ops.collective import arrays_behind
from staticgrad.language.ops.convert import SizeValue
from staticgrad.language.ops.movement import Transpose
from staticgrad.language.types.arrays import product
from staticgrad.language.types.dim import Size
from staticgrad.support import ranks
from staticgrad.support.traversal import reach

#: Ops of one element whose result has the rows of each operand.
_TERMS = frozenset({"add", "sub", "neg", "reshape", "cast"})


class _RowSum(NamedTuple):
    """A sum over the rows of a rank, how many elements it adds up, and what divides it."""

    value: Symbolic
    elements: Size
    divisors: tuple[Symbolic | float, ...]


def check_mean(loss: Any) -> None:
    """Refuse a loss of several ranks that has a sum over rows, or one divided by a mask's.

    Raises:
        ArgumentError: with what to write instead.
    """
    count = ranks.job().ranks
    if not isinstance(loss, Symbolic) or count == 1:
        return
    arrays = [x for x in arrays_behind(loss) if x.shape]
    sizes, batch = {x.shape[0] for x in arrays}, {x.node for x in arrays}
    if len(sizes) != 1:
        return
    (rows,) = sizes
    if isinstance(rows, int) and rows < 2:  # of no row or one the sum shows no division
        return
    for row_sum in _find_row_sums(loss, rows, batch):
        related = [("sums", str(row_sum.value.type), row_sum.value.node.origin)]
        if any(_is_computed(divisor, batch) for divisor in row_sum.divisors):
            raise ArgumentError(
                "minimize: the loss is a sum over rows divided by a computed number, as of the"
                " elements of a mask, which differs between the ranks",
                hint="minimize(loss, data_parallel=True, rows=mask.sum()) weighs the ranks by them;"
                " rows=1 takes the plain mean over the ranks",
                related=related,
            )
        if not any(_is_count(divisor, row_sum, rows, count) for divisor in row_sum.divisors):
            raise ArgumentError(
                "minimize: the loss is a sum over the rows of a rank, so the mean over the ranks is"
                " not that of one process",
                hint="divide by the rows, as .mean() does, and scale the learning rate;"
                " rows=1 takes the plain mean over the ranks",
                related=related,
            )


def _find_row_sums(loss: Symbolic, rows: Size, batch: set[Any]) -> Iterator[_RowSum]:
    """Yield the row sums that are terms of a loss, times and divided by numbers."""
    pending: list[tuple[Symbolic, tuple[Symbolic | float, ...]]] = [(loss, ())]
    while pending:
        value, divisors = pending.pop()
        node = value.node
        operands = node.args
        if isinstance(node.form, Reduce):
            is_over_rows = node.form.kind == "sum" and 0 in node.form.axes
            if is_over_rows and _has_rows(operands[0], rows, batch):
                count = product([operands[0].shape[axis] for axis in node.form.axes])
                yield _RowSum(value, count, divisors)
        elif any(operand.shape and operand.size != 1 for operand in operands):
            continue
        elif node.op.name in _TERMS:
            pending += [(operand, divisors) for operand in operands]
        elif node.op.name == "div":
            pending.append((operands[0], (*divisors, operands[1])))
        elif node.op.name == "mul":
            for operand, factor in (operands, reversed(operands)):
                number = _number_of(factor)
                if number:
                    pending.append((operand, (*divisors, 1.0 / number)))


def _has_rows(value: Symbolic, rows: Size, batch: set[Any]) -> bool:
    """Return whether axis 0 of a value has the rows of the batch: on the way all values have."""

    def operands_with_rows(node: Node) -> list[Node]:
        operands = node.args
        if isinstance(node.form, Contract):
            operands = () if node.form.transpose_a else operands[:1]
        if isinstance(node.op, Transpose) and node.op.perm[0] != 0:
            return []
        return [operand.node for operand in operands if operand.shape[:1] == (rows,)]

    return any(node in batch for node in reach([value.node], operands_with_rows))


def _number_of(value: Symbolic) -> float | None:
    """Return a number that is known; None of other values."""
    op = value.node.op
    return float(op.data.array.flat[0]) if isinstance(op, Constant) else None


def _is_computed(divisor: Symbolic | float, batch: set[Any]) -> bool:
    """Return whether a divisor is computed from the arrays of the batch."""
    if isinstance(divisor, float):
        return False
    return any(node in batch for node in ancestors([divisor]))


def _is_count(divisor: Symbolic | float, row_sum: _RowSum, rows: Size, count: int) -> bool:
    """Return whether a divisor is the number of rows, or of elements, that a sum adds up.

    ``count``: the number of ranks. So many times the rows are those of the whole batch.
    """
    if not isinstance(divisor, float):
        if any(isinstance(node.op, SizeValue) for node in ancestors([divisor])):
            return True
        divisor = _number_of(divisor) or 0.0
    number = round(divisor)
    if number < 1 or not isclose(divisor, number, rel_tol=1e-6) or not isinstance(rows, int):
        return False
    elements = row_sum.elements
    is_part = isinstance(elements, int) and elements % number == 0
    return number % rows == 0 and (is_part or number != rows * count)
