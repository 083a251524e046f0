"""The names inside a kernel: a letter for what it is, and a number.

Renderers derive names of their own from these, and have words that no kernel may take. So every
role has its letters, and nothing else is a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import (
    LANES,
    Accumulate,
    Carry,
    Check,
    Columns,
    Gemm,
    Keep,
    Loop,
    Map,
    Order,
    Search,
    Sort,
    Statement,
    nested,
    statements,
)

#: The result of a Gemm's product.
PRODUCT: Final = "acc"
_NUMBERED: Final = re.compile("([a-z])(0|[1-9][0-9]*)")
_LETTERS: Final[dict[str, str]] = {
    "operand": "p",
    "argument": "n",
    "loop": "i",
    "result": "r",
    "check": "c",
    "carry": "s",
}


def misnamed(kernel: Kernel) -> str:
    """What the first name says that its bearer is not; empty if all names fit."""
    for role, name in _roles(kernel):
        letter = _LETTERS.get(role, role)
        found = _NUMBERED.fullmatch(name)
        fits = found is not None and found[1] == letter if role in _LETTERS else name == role
        if not fits:
            wanted = f"{letter}0, {letter}1, ..." if role in _LETTERS else role
            return f"{name!r} is no name for {_article(role)}: {wanted}"
    return ""


def _article(role: str) -> str:
    if role not in _LETTERS:
        return "an order" if role == "at" else "this loop of the stage"
    return f"a{'n' * (role[0] in 'aeiou')} {role}"


def _roles(kernel: Kernel) -> Iterator[tuple[str, str]]:
    """Every role (of what has one name only: that name) with the name in it."""
    yield from (("operand", operand.name) for operand in kernel.operands)
    yield from (("argument", name) for name in kernel.arguments)
    outer = LANES if kernel.in_lanes else "loop"
    yield from ((outer, axis.name) for axis in kernel.axes)
    for stage, _ in nested(kernel.stages):
        match stage:
            case Map(axis=axis, rows=rows) | Columns(axis=axis, rows=rows):
                yield LANES, axis.name
                yield from (("loop", row.name) for row in rows)
            case Gemm(i=i, j=j, k=k):
                for letter, axes in (("i", i), (LANES, j), ("k", k)):
                    yield from (("loop", axis.name) for axis in axes[:-1])
                    yield letter, axes[-1].name
            case Loop(axis=axis):
                yield "loop", axis.name
            case Sort(axis=axis, kept=kept):
                yield from ((LANES, axis.name), (LANES, kept.name))
        for statement in statements(stage):
            yield from _roles_of(statement)


def _roles_of(statement: Statement) -> Iterator[tuple[str, str]]:
    match statement:
        case Accumulate(name=name) | Keep(name=name):
            yield "result", name
        case Carry(name=name):
            yield "carry", name
        case Check(name=name) | Search(name=name):
            yield "check", name
        case Order(name=name):
            yield "at", name
