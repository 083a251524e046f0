"""Sizes as expressions of C, and buffers whose places follow from the sizes of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from staticgrad.analysis.liveness import Flow
from staticgrad.compiler.runtime.places import Place
from staticgrad.language.ir.plan import Placement, Plan
from staticgrad.language.ir.schedule import Buffer
from staticgrad.language.storage.parameter import ALIGNMENT
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
    """Sizes as numbers where ``fixed`` has all their names, else as expressions of C.

    ``free`` has the variables of the other names.
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
        match atom:
            case Named():
                return self.free.get(atom.name) or str(self.fixed[atom.name])
            case FloorDiv():
                return f"floor_div({self(atom.numerator)}, {self(atom.denominator)})"
            case MaxSize():
                return f"larger({self(atom.left)}, {self(atom.right)})"


@dataclass
class LiveRange:
    """A buffer of the arena: its bytes, and the first and last moment at which it is used."""

    name: str
    nbytes: Number
    first: int
    last: int


class LiveRanges:
    """The live ranges of all buffers of a plan, in the order of its steps, those of bodies too."""

    def __init__(self) -> None:
        self.rows: list[LiveRange] = []
        self.clock = 0


class FreePlaces:
    """The locations of a plan's buffers where sizes are free, as ``BufferPlaces`` has them where
    they are fixed: each is an expression of C, ``o_[3]`` bytes into the arena.

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
        for placed in plan.placements:
            if self._buffer(placed).role == "check" and placed.first == 0:
                self._begin(placed)

    def _buffer(self, placed: Placement) -> Buffer:
        return self.plan.schedule.buffer(placed.buffer)

    def begin(self, position: int) -> None:
        """Note which buffers are first used at a position."""
        self._ranges.clock += 1
        for placed in self.plan.placements:
            before, _ = self._current.get(placed.buffer, (None, 0))
            if placed.first == position and before is not placed:
                self._begin(placed)

    def end(self, position: int) -> None:
        """Note which buffers are used then, until behind the step."""
        for placed, number in self._current.values():
            if placed.first <= position <= placed.last:
                self._ranges.rows[number].last = self._ranges.clock

    def _begin(self, placed: Placement) -> None:
        buffer, clock = self._buffer(placed), self._ranges.clock
        over = self._over(placed)
        if over is None:
            nbytes = self._sizes(self._nbytes(buffer))
            self._ranges.rows.append(LiveRange(buffer.name, nbytes, clock, clock))
        number = len(self._ranges.rows) - 1 if over is None else over
        self._current[placed.buffer] = placed, number

    def _over(self, placed: Placement) -> int | None:
        """The live range of the operand over which a result is written."""
        if placed.first >= len(self.plan.steps) or self._buffer(placed).role != "temp":
            return None
        pairs = self._flow.in_place[self.plan.steps[placed.first].step]
        for pair in pairs:
            old, number = self._current.get(self._flow.names[pair.into], (None, -1))
            if (
                self._flow.names[pair.out] == placed.buffer
                and old is not None
                and old.last == placed.first
                and old.offset == placed.offset
                and self._buffer(old).nbytes == self._buffer(placed).nbytes
            ):
                return number
        return None

    def _nbytes(self, buffer: Buffer) -> Size:
        """The bytes of a buffer, or of the parts of it that each worker has."""
        if buffer.role not in ("scratch", "check"):
            return buffer.nbytes
        return self._stride(buffer) * self.plan.workers

    def _stride(self, buffer: Buffer) -> Size:
        if buffer.role == "check":
            return buffer.nbytes
        return floordiv(buffer.nbytes + (ALIGNMENT - 1), ALIGNMENT) * ALIGNMENT

    def find(self, buffer: str, position: int, inside: Number = 0) -> Place:
        """Return the location of a buffer, from so many bytes on."""
        found = self._current.get(buffer)
        place = f"(arena + o_[{found[1]}])" if found else None
        if place is None:
            bound = self._bound[buffer]
            place = f"({bound[0]} + {bound[1]})" if bound[1] else str(bound[0])
        return (f"({place} + {inside})" if inside else place), 0

    def of_body(
        self, position: int, number: int, fixed: Mapping[str, int], bound: Mapping[str, Place]
    ) -> Self:
        """Return the locations in a body of the step at a position, by the number of the body."""
        planned = self.plan.steps[position]
        step = self.plan.schedule.steps[planned.step]
        accesses = step.accesses()
        checks = {
            name: self.parts(accesses[access].buffer, position, self._sizes(accesses[access].begin))
            for name, access in step.bodies()[number].outside
            if accesses[access].mode == "check"
        }
        return type(self)(planned.bodies[number], self._sizes, self._ranges, bound, checks)

    def parts(self, buffer: str, position: int, inside: Number = 0) -> Sequence[Number]:
        """Return the arena offsets of each worker's part of a buffer."""
        if buffer in self._checks:
            return [f"{part} + {inside}" if inside else part for part in self._checks[buffer]]
        _, number = self._current[buffer]
        stride = self._sizes(self._stride(self.plan.schedule.buffer(buffer)))
        workers = range(self.plan.workers)
        found = [f"o_[{number}]" + (f" + {n} * {stride}" if n else "") for n in workers]
        return [f"{part} + {inside}" if inside else part for part in found]
