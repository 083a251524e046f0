"""A function being translated: kinds of values, calls, the frame of its text, joins of variables.

:mod:`frontend` walks the statements; this base finds the kinds on the way (every variable has one
kind, no promotion) and writes LLVM IR through the operations. No exceptions, no reference counts.

A name stands for a value. Where paths meet that give it several, these are joined (LLVM's ``phi``).
At the head of a loop a join is made for each name that the loop assigns, before it is known what
the loop gives it. A join that is never read is not written.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from staticgrad.native.constants import OUTLINED, SHARED
from staticgrad.native.language import (
    lane_operations,
    memory_operations,
    operations,
    streamed_memory,
    strided_memory,
)
from staticgrad.native.language.emitter import Emitter, External, word
from staticgrad.native.language.kinds import (
    NOTHING,
    Kind,
    Pointer,
    Vector,
)
from staticgrad.native.language.operations import FUNCTIONS, Operation
from staticgrad.records import NamedTuple, dataclass

ALIGNED = '"stackrealign"'
"""Has registers that a kernel keeps on its stack lie within lines of the cache.

Callers promise 16 bytes, and LLVM takes no more for what registers have no room for: a vector on
two lines is stored and loaded in twice the time, in some threads and not in others.
"""

REGISTERED = (
    operations,
    lane_operations,
    memory_operations,
    streamed_memory,
    strided_memory,
)
"""The modules whose import fills FUNCTIONS."""


class KernelSourceError(TypeError):
    """A kernel's source uses the language wrongly; the message names the kinds."""


class Bound(NamedTuple):
    """The meaning of a variable: its kind and its operand (or the parts of a range)."""

    kind: Kind
    value: Any


@dataclass(frozen=True)
class Translated:
    """A function's text, the kind it returns, and the other parts that its module needs."""

    symbol: str
    result: Kind
    body: str
    externals: dict[str, External]
    callees: tuple[tuple[str, str], ...]


class Helper:
    """A helper function of the source, compiled per argument kinds on first use.

    ``digest`` identifies its text and those of the helpers that it calls.
    """

    def __init__(self, lower: Callable[[tuple[Kind, ...]], Translated], digest: str) -> None:
        self.lower, self.digest = lower, digest


class FunctionTranslation:
    """One function being translated."""

    def __init__(self, kinds: tuple[Kind, ...], names: tuple[str, ...]) -> None:
        self.out = Emitter()
        self.arguments = [
            Bound(kind, f"%a.{name}") for kind, name in zip(kinds, names, strict=True)
        ]
        self.result: Kind | None = None

    def framed(self, symbol: str, linkage: str) -> Translated:
        """The function around the lines written so far, which begin in its block ``entry``."""
        result = self.result or NOTHING
        inline = "noinline" if symbol.startswith((OUTLINED, SHARED)) else "alwaysinline"
        attributes = f"{inline} #0" if linkage else f"#0 {ALIGNED}"
        arguments = ", ".join(f"{bound.kind.llvm} {bound.value}" for bound in self.arguments)
        head = f"define {linkage}{result.llvm} @{symbol}({arguments}) {attributes} {{"
        lines = [head, "entry:", *self.out.scratch, *self.out.lines, "}"]
        return Translated(
            symbol,
            result,
            "\n".join(lines),
            dict(self.out.externals),
            tuple(self.out.callees.items()),
        )

    def failure(self, message: str) -> KernelSourceError:
        """The error of an operation."""
        return KernelSourceError(f"a kernel's source: {message}")

    def give(self, value: Bound) -> None:
        """Ends the function with a result."""
        if self.result is not None and self.result != value.kind:
            raise self.failure(f"returns both {self.result.name} and {value.kind.name}")
        self.result = value.kind
        if value.kind is NOTHING:
            self.out.effect("ret void")
        else:
            self.out.effect(f"ret {value.kind.llvm} {text_of(value)}")

    def truth(self, value: Bound) -> str:
        """An i1 operand."""
        return text_of(self.call(FUNCTIONS["bool"], [value]))

    def call(self, operation: Operation, arguments: Sequence[Bound]) -> Bound:
        """An operation of the language over values."""
        kinds, values = zip(*arguments, strict=True) if arguments else ((), ())
        result = operation.of(kinds)
        if result is None:
            raise self.failure(operation.refusal(kinds))
        try:
            value = operation.emit(self.out, kinds, values)
        except TypeError as error:
            raise self.failure(str(error)) from error
        return tuple.__new__(Bound, (result, value))  # as ``Bound`` makes it, in half of the time

    def _helper_call(self, helper: Helper, arguments: Sequence[Bound]) -> Bound:
        kinds = tuple(argument.kind for argument in arguments)
        lowered = helper.lower(kinds)
        self.out.externals.update(lowered.externals)
        self.out.callees.update(lowered.callees)
        self.out.callees[lowered.symbol] = lowered.body
        passed = ", ".join(f"{item.kind.llvm} {text_of(item)}" for item in arguments)
        call = f"call {lowered.result.llvm} @{lowered.symbol}({passed})"
        if lowered.result is NOTHING:
            self.out.effect(call)
            return Bound(NOTHING, "")
        return Bound(lowered.result, self.out.read(call))


def text_of(value: Bound) -> str:
    """The LLVM text of an operand; literals of the source become constants."""
    if isinstance(value.value, bool):
        return str(value.value).lower()
    if isinstance(value.value, float):
        return f"0x{struct.unpack('<Q', struct.pack('<d', value.value))[0]:016X}"
    return word(value.value)


def argument_name(kind: Kind, index: int) -> str:
    """A parameter's name in the text."""
    stem = "v" if isinstance(kind, Vector) else "p" if isinstance(kind, Pointer) else "w"
    return f"{stem}{index}"


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
        found = self._values.get(name)
        if found is not None and found.value in self._joins:
            self._read.append(found.value)
        return found

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
        """Restore the meanings of names at a mark."""
        for name, before in reversed(self._changes[mark:]):
            if before is None:
                del self._values[name]
            else:
                self._values[name] = before
        del self._changes[mark:]

    def head(self, entry: str, assigned: Iterable[str]) -> list[tuple[str, Join]]:
        """Joins, at the head of a loop, of the names that it assigns and that have values before.

        ``entry`` is the block before the loop.
        """
        joins, line = [], self._free_line()
        for name in assigned:
            before = self._values.get(name)
            if before is not None:
                join = self.join(name, before.kind, line)
                join.edges.append(Arrival(before, entry))
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
        """Set names, at the beginning of a block, to their meanings on all paths into it.

        A name without a value on one of them gets no value.
        """
        changed = dict.fromkeys(name for path in paths for name in path.changes)
        line = self._free_line() if len(paths) > 1 else 0
        for name in changed:
            found = [path.changes.get(name, self._values.get(name)) for path in paths]
            values = [value for value in found if value is not None]
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
        """The joins that are read, by instructions or by joins that are, into their blocks."""
        waiting, lines = list(dict.fromkeys(self._read)), self._out.lines
        known = set(waiting)
        for name in waiting:
            join = self._joins[name]
            edges = ", ".join(f"[ {text_of(e.value)}, %{e.label} ]" for e in join.edges)
            lines[join.line] += f"  {name} = phi {join.kind.llvm} {edges}\n"
            for edge in join.edges:
                text = edge.value.value
                if isinstance(text, str) and text in self._joins and text not in known:
                    known.add(text)
                    waiting.append(text)
        lines[:] = [line.rstrip("\n") for line in lines if line]
