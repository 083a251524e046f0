"""Lints of broadcasting: a missing or surplus axis that makes all pairs of two operands."""

from __future__ import annotations

from typing import Final

from staticgrad import functions as sg
from staticgrad.extend import Elementwise, Node, Shape, Symbolic, registered_ops, shape_text
from staticgrad.tools.lints.program import LintedGraph
from staticgrad.tools.lints.table import Seen, hazard

_SEVERAL_OPERANDS: Final = tuple(
    name
    for name, kind in registered_ops().items()
    if issubclass(kind, Elementwise) and kind.arity > 1
)


@hazard(
    "outer-broadcast",
    "a column beside a row of the same size: all pairs instead of element by element",
    _SEVERAL_OPERANDS,
    bad=(
        lambda x: sg.mean((x @ sg.ones((3, 1)) - sg.sum(x, axis=1)) ** 2.0),
        lambda x: sg.sum(x, axis=1, keepdims=True) * sg.sum(x, axis=1),
        lambda x, y: sg.where(x @ sg.ones((3, 1)) > 0.0, sg.sum(y, axis=1), 0.0),
    ),
    good=(
        lambda x: x - sg.mean(x, axis=1, keepdims=True),
        lambda x: sg.sum(x, axis=1)[:, None] - sg.sum(x, axis=1),
        lambda x: sg.sum(x, axis=1)[:, None] - sg.sum(x, axis=1)[None, :],
        lambda x: (x @ sg.ones((3, 1)))[:, 0] - sg.sum(x, axis=1),
        lambda x: x @ sg.ones((3, 1)) * sg.sum(x, axis=0),
    ),
)
def _lint_outer(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding if ``[n, 1]`` meets ``[n]`` and the result is [n, n]."""
    rank = len(node.types[0].shape)
    for column in node.args:
        if column.ndim != rank or _is_asked_for(column):
            continue
        for row in node.args:
            if _crosses(column.shape, row.shape):
                shapes = f"{shape_text(column.shape)} and {shape_text(row.shape)}"
                result = shape_text(node.types[0].shape)
                return Seen(
                    f"{node.op.name} of {shapes} gives {result}: all pairs, not element by element",
                    "element by element: y[:, None] gives the second an axis, x[:, 0] takes one"
                    " from the first; all pairs: x[:, None] - y[None, :]",
                )
    return None


def _crosses(column: Shape, row: Shape) -> bool:
    """Test whether ``column`` and ``row`` broadcast to all pairs of their elements."""
    missing = len(column) - len(row)
    for j, size in enumerate(row, missing):
        if size == 1 or column[j] != 1:
            continue
        if any(column[i] == size for i in range(missing)):
            return True
    return False


def _is_asked_for(value: Symbolic) -> bool:
    """Return whether ``x[:, None]`` or a reshape inserted the axis of size 1 on purpose."""
    node = value.node
    return node.op.name == "reshape" and node.args[0].node.origin != node.origin
