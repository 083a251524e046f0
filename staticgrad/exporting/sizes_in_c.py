"""Write sizes as C expressions, and buffers whose offsets depend on the sizes of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from staticgrad.analysis.liveness import Flow
from staticgrad.compiler.runtime.places import Place
from staticgrad.language.ir.plan import Placement, Plan
from staticgrad.language.ir.schedule import Buffer
from staticgrad.language.types.arrays import ALIGNMENT
from staticgrad.language.types.dim import (
    Atom,
    FloorDiv,
    MaxSize,
    Named,
    Size,
    evaluate,
    floordiv,
    named_sizes,
)
from staticgrad.support.records import dataclass

#: A number, or the text of one.
Number = int | str


class SizesInC:
    """A writer of sizes: numbers if ``fixed`` contains all their names, else C expressions.

    ``free``: the variables of the other names.
    """

    def __init__(self, fixed: Mapping[str, int], free: Mapping[str, str]) -> None:
        self.fixed, self.free = fixed, free

    def __call__(self, size: Size) -> Number:
        if isinstance(size, int) or all(n.name in self.fixed for n in named_sizes(size)):
            return evaluate(size, self.fixed)
        terms = [
            " * ".join([*([] if c == 1 and m else [str(c)]), *map(self._atom, m)])
            for m, c in size.terms
        ]
        return terms[0] if len(terms) == 1 else f"({' + '.join(terms)})"

    def _atom(self, atom: Atom) -> str:
        """Return a named size, quotient or maximum as a C expression."""
        match atom:
            case Named():
                return self.free.get(atom.name) or str(self.fixed[atom.name])
            case FloorDiv():
                return f"floor_div({self(atom.numerator)}, {self(atom.denominator)})"
            case MaxSize():
                return f"larger({self(atom.left)}, {self(atom.right)})"


@dataclass
class LiveRange:
    """A buffer of the arena: its bytes, and the first and last time at which it is used."""

    name: str
    nbytes: Number
    first: int
    last: int


class LiveRanges:
    """The live ranges of all buffers of a plan and its bodies, in the order of steps."""

    def __init__(self) -> None:
        self.rows: list[LiveRange] = []
        self.clock = 0


class FreePlaces:
    """The locations of a plan's buffers with free sizes (``BufferPlaces``: with fixed sizes).

    A location is a C expression: ``o_[3]`` bytes into the arena.

    ``begin`` and ``end`` are called around each step, in the order of the plan. A result that was
    planned over an operand of the same number of bytes shares its live range.
    """

    def __init__(
        self,
        plan: Plan,
        sizes: SizesInC,
        ranges: LiveRanges,
        bound: Mapping[str, Place] | None = None,
        checks: Mapping[str, Sequence[Number]] | None = None,
    ) -> None:
        self.plan, self._sizes, self._ranges = plan, sizes, ranges
        self._bound, self._checks = bound or {}, checks or {}
        self._flow = Flow(plan.schedule)
        self._current: dict[str, tuple[Placement, int]] = {}
        for placement in plan.placements:
            if self._buffer(placement).role == "check" and placement.first == 0:
                self._add_range(placement)

    def _buffer(self, placement: Placement) -> Buffer:
        return self.plan.schedule.buffer(placement.buffer)

    def begin(self, position: int) -> None:
        """Record the buffers that are first used at a position."""
        self._ranges.clock += 1
        for placement in self.plan.placements:
            current, _ = self._current.get(placement.buffer, (None, 0))
            if placement.first == position and current is not placement:
                self._add_range(placement)

    def end(self, position: int) -> None:
        """Extend the live ranges of the buffers that are used at a position."""
        for placement, number in self._current.values():
            if placement.first <= position <= placement.last:
                self._ranges.rows[number].last = self._ranges.clock

    def _add_range(self, placement: Placement) -> None:
        """Add the live range of a buffer to the layout that C code computes from sizes."""
        buffer, clock = self._buffer(placement), self._ranges.clock
        overwritten = self._overwritten_range(placement)
        if overwritten is None:
            nbytes = self._sizes(self._nbytes(buffer))
            self._ranges.rows.append(LiveRange(buffer.name, nbytes, clock, clock))
        number = len(self._ranges.rows) - 1 if overwritten is None else overwritten
        self._current[placement.buffer] = placement, number

    def _overwritten_range(self, placement: Placement) -> int | None:
        """Return the live range of the operand that a result overwrites in place."""
        if placement.first >= len(self.plan.steps) or self._buffer(placement).role != "temp":
            return None
        pairs = self._flow.in_place[self.plan.steps[placement.first].step]
        for pair in pairs:
            old, number = self._current.get(self._flow.names[pair.into], (None, -1))
            if (
                self._flow.names[pair.out] == placement.buffer
                and old is not None
                and old.last == placement.first
                and old.offset == placement.offset
                and self._buffer(old).nbytes == self._buffer(placement).nbytes
            ):
                return number
        return None

    def _nbytes(self, buffer: Buffer) -> Size:
        """Return the bytes of a buffer; scratch has a part for each worker."""
        if buffer.role not in ("scratch", "check"):
            return buffer.nbytes
        return self._stride(buffer) * self.plan.workers

    def _stride(self, buffer: Buffer) -> Size:
        if buffer.role == "check":
            return buffer.nbytes
        return floordiv(buffer.nbytes + (ALIGNMENT - 1), ALIGNMENT) * ALIGNMENT

    def find(self, buffer: str, position: int, offset: Number = 0) -> Place:
        """Return the C location of a buffer, ``offset`` bytes after its start."""
        entry = self._current.get(buffer)
        location = f"(arena + o_[{entry[1]}])" if entry else None
        if location is None:
            bound = self._bound[buffer]
            location = f"({bound[0]} + {bound[1]})" if bound[1] else str(bound[0])
        return (f"({location} + {offset})" if offset else location), 0

    def of_body(
        self, position: int, number: int, fixed: Mapping[str, int], bound: Mapping[str, Place]
    ) -> Self:
        """Return the C locations in a body of the step at a position, by the body's number."""
        planned = self.plan.steps[position]
        step = self.plan.schedule.steps[planned.step]
        accesses = step.accesses()
        checks = {
            name: self.parts(accesses[access].buffer, position, self._sizes(accesses[access].begin))
            for name, access in step.bodies()[number].outside
            if accesses[access].mode == "check"
        }
        return type(self)(planned.bodies[number], self._sizes, self._ranges, bound, checks)

    def parts(self, buffer: str, position: int, offset: Number = 0) -> Sequence[Number]:
        """Return the arena offsets of each worker's part of a buffer, as C expressions."""
        if buffer in self._checks:
            return [f"{part} + {offset}" if offset else part for part in self._checks[buffer]]
        _, number = self._current[buffer]
        stride = self._sizes(self._stride(self.plan.schedule.buffer(buffer)))
        workers = range(self.plan.workers)
        offsets = [f"o_[{number}]" + (f" + {n} * {stride}" if n else "") for n in workers]
        return [f"{part} + {offset}" if offset else part for part in offsets]
