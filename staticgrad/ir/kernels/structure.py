"""Kernels as values that hash: what is equal has one text, and this is quicker to make.

It goes by the fields of dataclasses, so that a stage or statement that is added is covered.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, Final

from staticgrad.ir.expr import LEAVES, Access, Expr
from staticgrad.types.dtype import DType


def structure(kernel: object, statements: UnionType) -> Hashable:
    """A kernel as nested tuples; equal ones are those of kernels whose texts are equal.

    Expressions go by numbers, so that one that is shared is told from one that is computed twice.
    Numbers begin anew in every field of a stage, but ``statements`` of one field share theirs: as
    in the text, what is numbered in one field is not used in another.
    """
    return _Part(statements).of(kernel)


#: Types of fields that hold no expressions, and that most fields have.
_VALUES: Final = frozenset((str, int, bool, type(None)))


class _Part:
    """Expressions that are numbered together."""

    def __init__(self, statements: UnionType) -> None:
        self._statements = statements
        self._known: dict[int, Hashable] = {}  # by identity: a number, or a leaf by value
        self._count = 0

    def of(self, part: object) -> Hashable:
        """A field, an entry of one, or a whole stage."""
        if isinstance(part, Expr):
            return self._expression(part)
        if isinstance(part, tuple):
            return tuple([self.of(each) for each in part])
        if isinstance(part, DType):
            return part.code
        kind: Any = type(part)
        names = _names(kind)
        if names is None:
            value: Any = part
            return value  # type: ignore[no-any-return]
        own = isinstance(part, self._statements)
        inner = [
            each if type(each) in _VALUES else (self if own else _Part(self._statements)).of(each)
            for each in [getattr(part, name) for name in names]
        ]
        return (kind.__name__, *inner)

    def _expression(self, root: Expr) -> Hashable:
        known = self._known
        lines: list[Hashable] = []  # of what is met here first
        stack = [root]
        while stack:
            expr = stack[-1]
            waiting = [arg for arg in reversed(expr.args) if id(arg) not in known]
            if waiting:
                stack += waiting
                continue
            stack.pop()
            if id(expr) in known:
                continue
            line = _line(expr, [known[id(arg)] for arg in expr.args])
            if expr.op in LEAVES and expr.op != "load":
                known[id(expr)] = line
            else:
                lines.append(line)
                known[id(expr)] = self._count
                self._count += 1
        return (known[id(root)], *lines)


def _line(expr: Expr, args: Iterable[Hashable]) -> Hashable:
    value: Any = expr.attribute
    if expr.op == "literal":  # 0.0 is not -0.0, and NaN is NaN
        value = repr(float(value) if expr.dtype.is_float else int(value))
    return (expr.op, expr.dtype.code, value, *args)


@lru_cache
def _names(kind: type[Any]) -> tuple[str, ...] | None:
    """The fields of a part that goes by them; None for one that is a value itself."""
    if kind is Access or not is_dataclass(kind):
        return None
    return tuple(field.name for field in fields(kind))
