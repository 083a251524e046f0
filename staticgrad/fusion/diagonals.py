"""Masks that forbid all columns behind some diagonal of a square, and what they make of values.

A condition that never holds where the column is more than ``reach`` behind the row, as that of
causal attention, leaves literals there: ``where(condition, x, 0.0)`` is 0.0. What would only be
thrown away need not be computed. Conditions are read as the expressions of their elements, or, of a
constant, from its elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgrad.fusion.groups import Groups, Source
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Expr
from staticgrad.ir.forms import Pointwise
from staticgrad.ir.graph import Constant, Node
from staticgrad.types.dtype import I64

#: Loops of a square in the expressions of this module.
_ROW, _COLUMN = "i", "j"


def reach_of(groups: Groups, condition: Source) -> int | None:
    """How far behind its row a condition may hold; None if anywhere, or if nobody knows."""
    if condition.type.rank < 2:
        return None
    node = condition.base.node
    if isinstance(node.op, Constant) and not condition.inline:
        return _of_constant(condition, np.asarray(node.op.data.array))
    if not condition.direct:
        return None
    made = _expression(groups, condition)
    return None if made is None else _reach(made)


def chosen(groups: Groups, node: Node) -> tuple[int, bool | int | float] | None:
    """Of a choice by a condition between a value and a literal: the reach, and the literal."""
    form = node.form
    if not isinstance(form, Pointwise) or len(node.args) != 3 or form.sizes or form.indexed:
        return None
    condition, _, other = map(groups.source, node.args)
    literal = other.base.node.op
    if not (isinstance(literal, Constant) and other.inline and other.uniform):
        return None
    refs = [ex.ref(str(k), arg.type.dtype.compute) for k, arg in enumerate(node.args)]
    made = form.scalar(*refs)
    if made.op != "select" or made.args != tuple(refs):
        return None
    reach = reach_of(groups, condition)
    if reach is None:
        return None
    number = literal.data.array[()].item()
    return reach, number


def _of_constant(condition: Source, array: Any) -> int | None:
    """That of a constant matrix, or of one that is stretched over others."""
    if not condition.direct or array.ndim < 2 or any(size != 1 for size in array.shape[:-2]):
        return None
    rows, columns = np.nonzero(array.reshape(array.shape[-2:]))
    return int((columns - rows).max()) if len(rows) else None


def _expression(groups: Groups, source: Source) -> Expr | None:
    """The element of a value at a position, if nothing but the position decides it."""
    known: dict[Node, Expr] = {}
    waiting = [source.base.node]
    while waiting:
        node = waiting[-1]
        if node in known:
            waiting.pop()
            continue
        args = [groups.source(arg) for arg in node.args]
        open_ = [arg.base.node for arg in args if arg.base.node not in known]
        if not open_:
            made = _element(node, [known[arg.base.node] for arg in args])
            if made is None:
                return None
            known[node] = made
        elif not all(arg.inline or arg.direct for arg in args) or len(waiting) > 16:
            return None
        else:
            waiting += open_
    return known[source.base.node]


def _element(node: Node, args: Sequence[Expr]) -> Expr | None:
    if isinstance(node.op, Constant) and node.types[0].rank == 0:
        return ex.literal(node.op.data.array[()].item(), node.types[0].dtype)
    form = node.form
    if not isinstance(form, Pointwise) or not all(isinstance(size, int) for size in form.sizes):
        return None
    sizes = [ex.literal(size, I64) for size in form.sizes if isinstance(size, int)]
    shape = node.types[0].shape
    names = [*"b" * len(shape), _ROW, _COLUMN][2:]
    places = [
        ex.literal(0, I64) if size == 1 else ex.index(name)
        for size, name in zip(shape, names, strict=True)
    ]
    return form.scalar(*args, *sizes, *(places if form.indexed else []))


def _reach(condition: Expr) -> int | None:
    if condition.op == "and":
        known = [each for each in map(_reach, condition.args) if each is not None]
        return min(known, default=None)
    strict = {"le": 0, "lt": 1, "ge": 0, "gt": 1}
    if condition.op not in strict:
        return None
    less, more = condition.args if condition.op in ("le", "lt") else condition.args[::-1]
    left, right = _affine(less), _affine(more)
    if left is None or right is None:
        return None
    row, column, more_by = (b - a for a, b in zip(left, right, strict=True))
    return more_by - strict[condition.op] if (row, column) == (1, -1) else None


def _affine(number: Expr) -> tuple[int, int, int] | None:
    """Multiples of the row and of the column, and a number, of which an i64 is the sum."""
    if number.dtype is not I64:
        return None
    if number.op == "literal":
        return 0, 0, int(number.attribute)  # type: ignore[arg-type]
    if number.op == "index" and number.attribute in (_ROW, _COLUMN):
        return int(number.attribute == _ROW), int(number.attribute == _COLUMN), 0
    if number.op in ("add", "sub"):
        a, b = map(_affine, number.args)
        if a is None or b is None:
            return None
        sign = 1 if number.op == "add" else -1
        return a[0] + sign * b[0], a[1] + sign * b[1], a[2] + sign * b[2]
    return None
