"""Source text: lines at an indentation, names of element types, literals, places, one primitive.

The target language is the kernel vocabulary of ``staticgrad.native``.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticgrad.ir.expr import Expr, Position, words_of
from staticgrad.types.dtype import BOOL, DType

_OPERATORS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/",
    "and": "&", "or": "|", "xor": "^", "shl": "<<", "shr": ">>",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip
_FUNCTIONS = {"abs": "absolute", "rarely": "select", "c_fmod": "fmod"}


def element(dtype: DType) -> str:
    """The vocabulary's name of an element type (a bool is a byte)."""
    return "b8" if dtype is BOOL else dtype.code


def number(value: bool | int | float | str | None) -> str:
    """A literal in source; ``inf`` and ``nan`` are names of the vocabulary."""
    return repr(value)


class Lines:
    """Source lines under construction, at one indentation.

    ``counted``: they need to know how many lanes are on, as ``left``.
    """

    def __init__(self, indent: int = 0) -> None:
        self.indent = indent
        self.lines: list[str] = []
        self.counted = False

    def add(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    def extend(self, other: Lines, deeper: int = 0) -> None:
        """Append another block, shifted by ``deeper`` levels."""
        shift = "    " * (self.indent + deeper)
        self.lines += [shift + line for line in other.lines]


def write_iterations(
    out: Lines, name: str, span: tuple[str, str, int | str], body: Lines, once: bool
) -> None:
    """``body`` for ``name`` from the first of ``span`` up to the second, by the third, or once."""
    start, stop, step = span
    if once:
        out.add(f"{name} = {start}")
    else:
        out.add(f"for {name} in range({start}, {stop}, {step}):")
    out.extend(body, int(not once))


def primitive(expr: Expr, args: list[str]) -> str:
    """One primitive over operand texts (blocks excluded)."""
    if expr.op in ("cast", "bitcast"):
        return f"{expr.op}_{element(expr.dtype)}({args[0]})"
    if expr.op == "window":
        return f"window({', '.join([*args, *map(hex, words_of(str(expr.attribute)))])})"
    return operation(expr.op, args)


def operation(op: str, args: Sequence[str]) -> str:
    """A primitive without a dtype or words of its own, over operand texts."""
    if op in _OPERATORS:
        return f"{args[0]} {_OPERATORS[op]} {args[1]}"
    if op == "neg":
        return f"-{args[0]}"
    if op == "not":
        return f"~{args[0]}"
    return f"{_FUNCTIONS.get(op, op)}({', '.join(args)})"


def scaled(position: str, stride: str | int) -> str:
    """position * stride, as source."""
    return "0" if stride == 0 else position if stride == 1 else f"{position} * {stride}"


def total(*terms: str) -> str:
    """The sum of int64 terms, as source."""
    return " + ".join(term for term in terms if term != "0") or "0"


def position_source(position: Position, skip: frozenset[str] = frozenset()) -> str:
    """A position as source, without what the loops of ``skip`` add."""
    steps = (scaled(axis, step) for axis, step in position.terms if axis not in skip)
    return total(*steps, str(position.start))
