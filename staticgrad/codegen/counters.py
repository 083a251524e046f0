"""Binary counters of partial results to source: the counter rule of ``ir/summation.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from staticgrad.codegen.expressions import Lines, operation, total
from staticgrad.ir.combiners import Combiner
from staticgrad.records import dataclass

#: Levels of a counter: enough for 2**40 blocks.
LEVELS: Final = 40


def combine(combiner: Combiner, a: str, b: str) -> str:
    """a and b combined, as source."""
    return operation(combiner.combine, [a, b])


@dataclass(frozen=True)
class Counter:
    """A binary counter of partial results: ``pushed`` of them so far, a vector a level.

    Levels are ``step`` elements apart in ``stack``, from the element ``first`` on (source text).
    """

    combiner: Combiner
    stack: str
    pushed: str
    lanes: int
    step: int | str
    first: str = "0"

    def load(self) -> str:
        """The partial result at ``level``."""
        return f"load{self.lanes}({self.stack}, {self.place})"

    @property
    def place(self) -> str:
        return total(f"level * {self.step}", self.first)


def write_push(out: Lines, counters: Mapping[str, Counter], last: str = "") -> None:
    """Add block results to binary counters: merge neighbours of equal height as they arrive.

    ``counters`` are those of the results by name; as many were pushed into each so far. ``last`` is
    a word, 1 with the last results: they become those of all, from the most recent to the oldest.
    """
    first = next(iter(counters.values()))
    merged = [
        f"    {value} = {combine(counter.combiner, counter.load(), value)}"
        for value, counter in counters.items()
    ]
    out.add("level = 0")
    out.add(f"bits = {first.pushed}")
    if last:
        out.add(f"while bits % 2 + bits * {last} > 0:")
        out.add("    if bits % 2 == 1:")
    else:
        out.add("while bits % 2 == 1:")
    out.lines += [f"    {line}" if last else line for line in merged]
    out.add("    bits = bits // 2")
    out.add("    level = level + 1")
    for value, counter in counters.items():
        out.add(f"store{counter.lanes}({counter.stack}, {counter.place}, {value})")


def write_fold(out: Lines, counters: Mapping[str, Counter]) -> None:
    """What is left in counters, combined from the most recent to the oldest, by name.

    A name that has a value before keeps it where nothing was pushed.
    """
    first = next(iter(counters.values()))
    out.add("level = 0")
    out.add("found = 0")
    out.add(f"bits = {first.pushed}")
    out.add("while bits > 0:")
    out.add("    if bits % 2 == 1:")
    out.add("        if found == 0:")
    for result, counter in counters.items():
        out.add(f"            {result} = {counter.load()}")
    out.add("            found = 1")
    out.add("        else:")
    for result, counter in counters.items():
        out.add(f"            {result} = {combine(counter.combiner, counter.load(), result)}")
    out.add("    bits = bits // 2")
    out.add("    level = level + 1")
