"""Where along a loop masks, places and conditions change that are one thing for most vectors.

A load has ends, a test asks on which side of one a position lies. Between two ends nothing of this
changes from vector to vector (``staticgrad.codegen.vectors``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Final, Literal

from staticgrad.ir.expr import Expr, postorder
from staticgrad.records import dataclass, replace

#: Comparisons with the same ones of exchanged operands.
MIRRORED: Final = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


@dataclass(frozen=True)
class Inside:
    """A mask, a place or a condition that is one of two for all lanes of most vectors.

    ``values``: what it is outside and inside. It changes at ``first`` and at ``end``, positions
    along the vector axis (None where nothing ends). ``holds``: whether a vector that crosses no end
    lies inside; ``usual``: whether most do. All as source.

    ``kind``: a mask is made of lanes, a place is chosen with care near the ends; what is told
    ``around`` has its value before the loop.
    """

    kind: Literal["mask", "place", "around"]
    values: tuple[str, str]
    holds: str
    first: str | None = None
    end: str | None = None
    usual: bool = True


@dataclass
class Ends:
    """Those of a loop by their names, and which of them a test or a load depends on."""

    found: dict[str, Inside] = field(default_factory=dict)
    read: dict[Expr, list[str]] = field(default_factory=dict)

    def add(self, name: str, inside: Inside) -> None:
        """A name that stands for one, unless it is known."""
        self.found.setdefault(name, inside)

    def reads(self, expr: Expr, names: Iterable[str]) -> None:
        """That an expression depends on those among these names that are windows."""
        self.read[expr] = [name for name in names if name in self.found]

    def take_sides(self, test: Expr, value: Expr, other: Expr) -> None:
        """Note that most elements are the ``other`` value: they lie outside of the windows that
        only the test and the first value depend on."""
        within, beyond = (
            {name for each in postorder(roots) for name in self.read.get(each, ())}
            for roots in ([test, value], [other])
        )
        for name in within - beyond:
            self.found[name] = replace(self.found[name], usual=False)


def is_place(expr: Expr) -> bool:
    """Whether sizes and positions make a number, so that words hold what is next to it."""
    made = ("literal", "index", "size", "add", "sub", "mul")
    return all(each.op in made for each in postorder([expr]))


def asks_where(test: Expr) -> bool:
    """Whether a condition asks on which side of ends positions lie."""
    if test.op == "and":
        return all(map(asks_where, test.args))
    return test.op in MIRRORED and all(map(is_place, test.args))
