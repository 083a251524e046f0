"""A kernel on its way to a nest: its words, places and results, which the writers of loops share.

``lower`` writes the loops of stages. The writers below it (values, sums, products, sorting) take
a ``NestWriter``, and have it write vectors, rows and stages inside of their loops.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from staticgrad.compiler.nest.division import rounded_quotients
from staticgrad.compiler.nest.interior import Interior
from staticgrad.compiler.nest.records import (
    Builder,
    Function,
    Name,
    Offset,
    PerCopy,
    UnsupportedError,
    Value,
    Word,
    Words,
)
from staticgrad.language.ir.expr import Expr, Stride
from staticgrad.language.ir.kernels.directives import Directives, streamed_operands
from staticgrad.language.ir.kernels.kernel import Kernel, number_of
from staticgrad.language.ir.kernels.known import Known, known_of
from staticgrad.language.ir.kernels.stages import Axis, Extent, Map, Stage, nested_stages
from staticgrad.native.machine import Machine
from staticgrad.support.caches import cached_property

#: A function, for it hardly ever runs.
_NOTE: Final = "outlined_note"
_NOTE_TEXT: Final = f"""\
def {_NOTE}(words, position, index):
    if words[0] < 0 or position < words[0]:
        store1(words, 0, i64x1(position))
        store1(words, 1, i64x1(index))"""


class NestWriter(ABC):
    """One kernel on its way to a nest.

    ``words``: the arguments; ``at``: the positions along loops; ``pointers``: the operands;
    ``refs``: the results of statements, of which ``vector_refs`` are vectors. ``copies``: the rows
    side by side. ``table``: the addresses of arguments.
    """

    table: Name

    def __init__(self, kernel: Kernel, machine: Machine, directives: Directives) -> None:
        self.kernel, self.machine, self.directives = kernel, machine, directives
        self.b = Builder()
        self.words: dict[str, Word] = {}
        self.at: dict[str, Words] = {}
        self.pointers: dict[str, Name | PerCopy] = {}
        self.refs: dict[str, Value] = {}
        self.vector_refs: set[str] = set()
        self.functions: dict[str, str | Function] = {}
        self.copies = 1
        self.on: Sequence[Value] | None = None
        self.facts = {fact.name: fact for fact in kernel.facts}
        self.streamed = streamed_operands(directives)
        self.numbers = {id(stage): n for n, (stage, _) in enumerate(nested_stages(kernel.stages))}

    @cached_property
    def rounded_quotients(self) -> frozenset[Expr]:
        """The divisions of which nothing but the nearest integer is read."""
        return rounded_quotients(self.kernel.distinct_exprs, self.kernel.expressions)

    # -- words

    def pointer(self, operand: str) -> Name:
        """The pointer of an operand that is the same for all copies."""
        pointer = self.pointers[operand]
        assert isinstance(pointer, Name)
        return pointer

    def index(self, axis: str) -> Word:
        """The position along a loop that is the same for all copies."""
        position = self.at[axis]
        assert not isinstance(position, PerCopy)
        return position

    def number(self, extent: Extent) -> Word:
        """An argument or a literal."""
        return extent if isinstance(extent, int) else self.words[extent]

    def positions(self, axes: Iterable[Axis]) -> Word:
        """The number of positions of loops."""
        count: Word = 1
        for axis in axes:
            count = count * self.number(axis.extent)
        return count

    def not_before(self, start: Word, stop: Word, facts: Known) -> Word:
        """The end of a loop, or its start: differences of sizes may be negative extents."""
        if facts.short or facts.many:
            return stop
        if type(start) is int and type(stop) is int:
            return max(start, stop)
        return self.b.word("choose_lt", stop, start, start, stop)

    def place_word(self, place: Offset) -> Word:
        """A place as a word."""
        word: Word = 0
        for a, b in place.terms:
            word = word + a * b
        return word + place.constant

    def place_of(self, word: Word) -> Offset:
        """A word as a place."""
        return Offset((), word) if isinstance(word, int) else Offset(((word, 1),))

    def shift_place(self, place: Offset, far: Word, first: int) -> Offset:
        """A place so far on."""
        if isinstance(far, int):
            return Offset(place.terms, place.constant + far + first)
        return Offset((*place.terms, (far, 1)), place.constant + first)

    def facts_of(self, extent: Extent) -> Known:
        """Return the facts about an extent."""
        if isinstance(extent, int):
            return known_of(str(extent), [extent])
        return self.facts.get(extent, Known(extent))

    def note(self) -> str:
        """The function that notes an index that does not fit, if it is the first."""
        self.functions[_NOTE] = _NOTE_TEXT
        return _NOTE

    def decode(self, axes: Sequence[Axis], flat: Words) -> None:
        """Compute the index along each axis from a flat iteration number, in C order."""
        quotient = flat
        for axis in reversed(axes[1:]):
            extent = self.number(axis.extent)
            self.at[axis.name] = quotient % extent
            quotient = quotient // extent
        if axes:
            self.at[axes[0].name] = quotient

    def limit(self, axis: Axis, name: str) -> Word:
        """Return the bound of a loop that depends on the row."""
        bound = self.refs[name]
        if isinstance(bound, PerCopy):
            raise UnsupportedError("rows side by side that end apart")
        return self.b.least(self.b.word("word", bound), self.number(axis.extent))

    def span(self, axis: Axis) -> tuple[Word, Word]:
        """Return the first index and the end of a kernel's loop, in words of the nest."""
        start: Word = 0
        stop = self.limit(axis, axis.past) if axis.past else self.number(axis.extent)
        if axis.first:
            start = self.limit(axis, axis.first)
            start = self.b.op("choose_lt", start, 0, 0, start)
        return start, stop

    def number_of(self, stride: Stride) -> Word:
        """A stride as a word."""
        words: Any = self.words
        word: Word = number_of(stride, words)
        return word

    def directive_value(
        self, kind: Any, field: str, default: Any, stage: Stage | None = None, axis: str = ""
    ) -> Any:
        """Return the value of a directive for a stage, or for all stages, or the default."""
        setting, number = default, self.numbers.get(id(stage), -1)
        for d in self.directives:
            if isinstance(d, kind) and getattr(d, "axis", "") == axis:
                if getattr(d, "stage", -1) == number:
                    return getattr(d, field)
                if getattr(d, "stage", -1) == -1:
                    setting = getattr(d, field)
        return setting

    # -- what the writer of stages writes for the others

    @abstractmethod
    def is_written_out(self, stage: Map) -> bool:
        """Return whether the vectors of a map are written one after the other: a row has a fixed
        number of them, and the body is short."""

    @abstractmethod
    def rows(self, axes: Sequence[Axis], start: Word, stop: Word) -> None:
        """All stages, for the rows along ``axes`` from one number to another."""

    @abstractmethod
    def stage(self, stage: Stage, start: Word = 0, stop: Word | None = None) -> None:
        """One stage, for the rows that are there; its loop from ``start`` to ``stop``."""

    @abstractmethod
    def vectors(
        self,
        start: Word,
        stop: Word,
        lanes: int,
        count: int,
        facts: Known,
        masked: bool,
        written: frozenset[str],
        body: Callable[[Any], Word | None],
        narrower: bool = False,
        middle: Interior | None = None,
    ) -> None:
        """Write a vector loop: ``count`` whole vectors at a time, then the remainder.

        With ``narrower`` the remainder runs in vectors of half the lanes, a quarter and so on
        instead of under a mask.
        """

    @abstractmethod
    def prefetch_next(self, stage: Map, values: Any) -> None:
        """Prefetch the next vectors of rows that run a vector each before any runs the next."""
