"""Scope of the names of a function that is being translated, and joins of its variables.

A name stands for a value. Where paths meet that give it several, these are joined (LLVM's ``phi``).
At the head of a loop a join is made for each name that the loop assigns, before it is known what
the loop gives it. A join that is never read is not written.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from staticgrad.native.language import (
    byte_products,
    flushing,
    lane_operations,
    memory_operations,
    operations,
)
from staticgrad.native.language.emitter import Emitter, word
from staticgrad.native.language.kinds import Kind
from staticgrad.native.language.parts import ModulePart
from staticgrad.support.records import NamedTuple, dataclass

if TYPE_CHECKING:
    from staticgrad.native.target import Target

REGISTERED = (operations, lane_operations, memory_operations, flushing, byte_products)
"""The modules whose import fills FUNCTIONS."""


class KernelSourceError(TypeError):
    """A kernel's source uses the language wrongly; the message names the kinds."""


class Bound(NamedTuple):
    """The meaning of a variable: its kind and its operand (or the parts of a range)."""

    kind: Kind
    value: Any


@dataclass(frozen=True)
class Translated:
    """A function, the kind it returns, and the other parts that its module needs, by name."""

    part: ModulePart
    result: Kind
    parts: Mapping[str, ModulePart]


class Helper:
    """A helper function of the source, compiled per argument kinds on first use.

    ``digest`` identifies its content and that of the helpers that it calls.
    """

    def __init__(
        self, lower: Callable[[tuple[Kind, ...], Target], Translated], digest: str
    ) -> None:
        self.lower, self.digest = lower, digest


def text_of(value: Bound) -> str:
    """The LLVM text of an operand; literals of the source become constants."""
    if isinstance(value.value, bool):
        return str(value.value).lower()
    if isinstance(value.value, float):
        return f"0x{struct.unpack('<Q', struct.pack('<d', value.value))[0]:016X}"
    return word(value.value)


class Path(NamedTuple):
    """A way into a block: the block it comes from, and the changes of names since the split."""

    label: str
    changes: Mapping[str, Bound]


class Arrival(NamedTuple):
    """The value of a join if control comes from a block."""

    value: Bound
    label: str


class Join:
    """One value of several: by the block from which control comes."""

    __slots__ = ("edges", "kind", "line")

    def __init__(self, kind: Kind, line: int) -> None:
        self.kind = kind
        self.line = line  # which of the function's lines is left free for the block's joins
        self.edges: list[Arrival] = []


class Names:
    """The meanings of names at the place that is being read."""

    def __init__(self, out: Emitter) -> None:
        self._out = out
        self._values: dict[str, Bound] = {}
        self._changes: list[tuple[str, Bound | None]] = []
        self._joins: dict[str, Join] = {}
        self._read: Final[list[str]] = []  # joins that instructions read

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def value(self, name: str) -> Bound | None:
        """Return the meaning of a name here, to be read by an instruction."""
        bound = self._values.get(name)
        if bound is not None and bound.value in self._joins:
            self._read.append(bound.value)
        return bound

    def set(self, name: str, value: Bound) -> None:
        """A name stands for another value from here on."""
        self._changes.append((name, self._values.get(name)))
        self._values[name] = value

    def mark(self) -> int:
        """A place to go back to."""
        return len(self._changes)

    def since(self, mark: int) -> dict[str, Bound]:
        """Return the meanings of the names that were set since a mark."""
        return {name: self._values[name] for name, _ in self._changes[mark:]}

    def undo(self, mark: int) -> None:
        """Restore the variables of a function to their values at a mark."""
        for name, previous in reversed(self._changes[mark:]):
            if previous is None:
                del self._values[name]
            else:
                self._values[name] = previous
        del self._changes[mark:]

    def head(self, entry: str, assigned: Iterable[str]) -> list[tuple[str, Join]]:
        """Create phis at a loop's head for variables that it assigns and that have values before.

        ``entry`` is the block before the loop.
        """
        joins, line = [], self._free_line()
        for name in assigned:
            initial = self._values.get(name)
            if initial is not None:
                join = self.join(name, initial.kind, line)
                join.edges.append(Arrival(initial, entry))
                joins.append((name, join))
        return joins

    def again(self, label: str, joins: Iterable[tuple[str, Join]]) -> None:
        """A block from which control goes back to a loop's head."""
        for name, join in joins:
            join.edges.append(Arrival(self._values[name], label))

    def counter(self, kind: Kind) -> tuple[str, Join]:
        """A join without a name that is always read, at the beginning of a block."""
        value, join = self._out.fresh(), Join(kind, self._free_line())
        self._joins[value] = join
        self._read.append(value)
        return value, join

    def meet(self, paths: Sequence[Path]) -> None:
        """Merge variables at a join: one value, or a phi of those on all paths.

        A name without a value on one of them gets no value.
        """
        changed = dict.fromkeys(name for path in paths for name in path.changes)
        line = self._free_line() if len(paths) > 1 else 0
        for name in changed:
            arriving = [path.changes.get(name, self._values.get(name)) for path in paths]
            values = [value for value in arriving if value is not None]
            if len(values) < len(paths):
                continue
            if len({text_of(value) for value in values}) == 1:
                self.set(name, values[0])
                continue
            join = self.join(name, values[0].kind, line)
            join.edges += [Arrival(v, path.label) for v, path in zip(values, paths, strict=True)]

    def join(self, name: str, kind: Kind, line: int) -> Join:
        """A name stands for a join from here on."""
        value, join = self._out.fresh(), Join(kind, line)
        self._joins[value] = join
        self.set(name, Bound(kind, value))
        return join

    def _free_line(self) -> int:
        self._out.lines.append("")
        return len(self._out.lines) - 1

    def write(self) -> None:
        """Write the phis that are used into their basic blocks."""
        waiting, lines = list(dict.fromkeys(self._read)), self._out.lines
        reached = set(waiting)
        for name in waiting:
            join = self._joins[name]
            edges = ", ".join(f"[ {text_of(e.value)}, %{e.label} ]" for e in join.edges)
            lines[join.line] += f"  {name} = phi {join.kind.llvm} {edges}\n"
            for edge in join.edges:
                text = edge.value.value
                if isinstance(text, str) and text in self._joins and text not in reached:
                    reached.add(text)
                    waiting.append(text)
        lines[:] = [line.rstrip("\n") for line in lines if line]
