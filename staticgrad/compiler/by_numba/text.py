"""Pieces of Python source that keep their precedence, so that each piece is put together right.

A piece knows how tightly its outermost operator binds. In an f-string it is an operand: it is in
parentheses unless it is a name, a number, a call or an element. ``alone`` is its text where nothing
beside it can take its parts: between commas or brackets, and on a line of its own.

    >>> i, n = Text("i"), Text("n")
    >>> (i + 1) * n
    Text('(i + 1) * n')
    >>> f"{choose(i < n, i, n)} // 2", f"f({choose(i < n, i, n).alone})"
    ('(i if i < n else n) // 2', 'f(i if i < n else n)')
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from staticgrad.support.records import dataclass

#: How tightly pieces bind, tightest first: names and numbers, which a text may repeat; calls and
#: elements; then operators as in Python's grammar.
NAME, ATOM, SIGN, PRODUCT, SUM, DIFFERENCE, SHIFT, BIT_AND, BIT_XOR, BIT_OR = range(10)
COMPARISON, NOT, AND, CHOICE = range(10, 14)
_LEVELS: Final = {
    "*": PRODUCT, "/": PRODUCT, "//": PRODUCT, "%": PRODUCT, "+": SUM, "-": DIFFERENCE,
    "<<": SHIFT, ">>": SHIFT, "&": BIT_AND, "^": BIT_XOR, "|": BIT_OR,
    "==": COMPARISON, "!=": COMPARISON, "<": COMPARISON, "<=": COMPARISON, ">": COMPARISON,
    ">=": COMPARISON,
}  # fmt: skip
_SIMPLE: Final = re.compile("-?[\\w.\ue000\ue001]+")  # marks of names, too (``NameMarks``)


@dataclass(frozen=True)
class Text:
    """A piece of source, with arithmetic. ``level``: how tightly its outermost operator binds."""

    alone: str
    level: int = NAME

    def within(self, level: int) -> str:
        """Return the piece as an operand that binds at least as tightly as ``level``."""
        return self.alone if self.level <= level else f"({self.alone})"

    def __str__(self) -> str:
        return self.within(ATOM)

    def __repr__(self) -> str:
        return f"Text({self.alone!r})"

    @property
    def is_simple(self) -> bool:
        """True for a name or a number."""
        return self.level == NAME

    @property
    def is_zero(self) -> bool:
        """True for the number 0."""
        return self.alone == "0"

    def __add__(self, other: Text | str | int) -> Text:
        return add(self, other)

    def __radd__(self, other: Text | str | int) -> Text:
        return add(other, self)

    def __sub__(self, other: Text | str | int) -> Text:
        return self if _source(other) == "0" else operate("-", self, other)

    def __rsub__(self, other: Text | str | int) -> Text:
        return operate("-", other, self)

    def __mul__(self, other: Text | str | int) -> Text:
        return multiply(self, other)

    def __rmul__(self, other: Text | str | int) -> Text:
        return multiply(other, self)

    def __floordiv__(self, other: Text | str | int) -> Text:
        return self if _source(other) == "1" else operate("//", self, other)

    def __mod__(self, other: Text | str | int) -> Text:
        return operate("%", self, other)

    def __lt__(self, other: Text | str | int) -> Text:
        return operate("<", self, other)


def text(piece: Text | str | int) -> Text:
    """Return a piece of source; a string that is no name and no number binds least."""
    if isinstance(piece, Text):
        return piece
    source = str(piece)
    return Text(source, NAME if _SIMPLE.fullmatch(source) else CHOICE)


def _source(piece: Text | str | int) -> str:
    return piece.alone if isinstance(piece, Text) else str(piece)


def operate(sign: str, left: Text | str | int, right: Text | str | int) -> Text:
    """Return the source of a binary operation, which Python's operators group from the left."""
    level = _LEVELS[sign]
    tighter = PRODUCT if level == DIFFERENCE else level - 1
    grouped = {SUM: DIFFERENCE, COMPARISON: tighter}.get(level, level)  # what may be on the left
    return Text(f"{text(left).within(grouped)} {sign} {text(right).within(tighter)}", level)


def sign(operator: str, operand: Text | str | int) -> Text:
    """Return the source of a unary operation: ``-``, ``~`` or ``not``."""
    if operator == "not":
        return Text(f"not {text(operand).within(NOT)}", NOT)
    return Text(f"{operator}{text(operand).within(SIGN)}", SIGN)


def add(*terms: Text | str | int) -> Text:
    """Return the source of a sum of integers, without zeros; sums in it need no parentheses."""
    first, *others = [term for term in map(text, terms) if not term.is_zero] or [Text("0")]
    if not others:
        return first
    return Text(" + ".join([first.within(DIFFERENCE), *(t.within(SUM) for t in others)]), SUM)


def multiply(*factors: Text | str | int) -> Text:
    """Return the source of a product of integers, without ones."""
    product: Text | None = None
    for factor in map(text, factors):
        if factor.alone == "0":
            return factor
        if factor.alone != "1":
            product = factor if product is None else operate("*", product, factor)
    return Text("1") if product is None else product


def call(function: str, *arguments: Text | str | int) -> Text:
    """Return the source of a call."""
    return Text(f"{function}({', '.join(map(_source, arguments))})", ATOM)


def element(array: str, *indices: Text | str | int) -> Text:
    """Return the source of an element of an array."""
    return Text(f"{array}[{', '.join(map(_source, indices))}]", ATOM)


def choose(test: Text, if_true: Text, if_false: Text) -> Text:
    """Return the source of a conditional expression."""
    return Text(
        f"{if_true.within(AND)} if {test.within(AND)} else {if_false.within(CHOICE)}", CHOICE
    )


def every(conditions: Iterable[Text]) -> Text | None:
    """Return the source of a conjunction; None of no conditions."""
    texts = [condition.within(NOT) for condition in conditions]
    return Text(" and ".join(texts), AND if len(texts) > 1 else COMPARISON) if texts else None


def is_between(position: Text, extent: Text | str | int) -> Text:
    """Return the condition that a position is from 0 on and below an extent."""
    return Text(
        f"0 <= {position.within(DIFFERENCE)} < {text(extent).within(DIFFERENCE)}", COMPARISON
    )
