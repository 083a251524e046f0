"""``debug=True``: every kernel runs in a guarded copy, and its reads and writes are checked.

The guarded copy holds the arena in its planned layout and every feed, parameter, constant and
output, with red zones between them. A kernel sees the bytes of its operands; all else, and what
nothing has written since a buffer's life began, is poison. Each step runs twice, over two different
poisons: whatever changes outside the buffers that it writes was written wrongly, and wherever its
results differ they depend on bytes that it may not read. The plan says where each buffer is.

It passes on a row's data: the buffers that its record points into, and the one
kernel to run. ``runtime.guard`` describes the checks and the poison.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from staticgrad.analysis.plan_check import verify_plan
from staticgrad.compiler.runtime.arena import Arena, address_of
from staticgrad.compiler.runtime.places import ARENA, BufferPlaces, MovingPlace
from staticgrad.compiler.runtime.step import Program, Table, fixed_addresses, nothing
from staticgrad.errors import KernelAccessError
from staticgrad.language.ir.plan import Placement, Plan
from staticgrad.language.ir.schedule import CallStep
from staticgrad.language.storage.parameter import write_together
from staticgrad.language.types.arrays import ALIGNMENT, aligned_bytes
from staticgrad.support.records import NamedTuple, dataclass
from staticgrad.support.source import lines_of

Bytes = npt.NDArray[np.uint8]
#: Bytes of a red zone: more than any vector or tile reaches past an end.
ZONE: Final = 4096
#: What stands in bytes that a kernel may not read, in its first and second run: NaN in every
#: floating dtype, -1 in every integer; then small numbers that are none of those.
POISON: Final = (0xFF, 0xA5)
#: Content of results before they are written, so that copied poison differs from unwritten.
UNWRITTEN: Final = (0x7B, 0x3C)


class ByteSpan(NamedTuple):
    """Bytes [begin, end) of a guarded copy."""

    begin: int
    end: int

    @property
    def slice(self) -> slice:
        return slice(self.begin, self.end)


class GuardedCopy:
    """One block: a red zone, the arena as planned, and behind it each other buffer, zones between.

    ``outside`` maps buffers to Spans. Each is aligned as the original is, up to 64 bytes. Nothing
    is copied here: ``original`` is the memory that a buffer outside the arena really has.
    """

    def __init__(self, plan: Plan, originals: Mapping[str, int]) -> None:
        self._plan, self._originals = plan, originals
        self._sizes = dict(plan.buffer_bytes)
        self.outside: dict[str, ByteSpan] = {}
        self.in_arena = ByteSpan(ZONE, ZONE + -(-plan.peak_bytes // ALIGNMENT) * ALIGNMENT)
        end = self.in_arena.end + ZONE
        for name, address in originals.items():
            end += (address - end) % ALIGNMENT
            self.outside[name] = ByteSpan(end, end + self._sizes[name])
            end += self._sizes[name] + ZONE
        self.block = aligned_bytes(-(-end // ALIGNMENT) * ALIGNMENT)
        self.base = address_of(self.block)
        self.arena = Arena.over(self.block[self.in_arena.slice])

    def original(self, buffer: str) -> Bytes:
        """The caller's memory of a buffer outside the arena."""
        return bytes_at(self._originals[buffer], self._sizes[buffer])

    def begin(self, memory: str, at: int) -> int:
        """The byte of the copy that is ``at`` bytes into the arena, or into another buffer."""
        return at + (self.in_arena if memory == ARENA else self.outside[memory]).begin

    def describe(self, byte: int, row: int) -> str:
        """Describe a byte of the guarded arena by the buffers that are live while a row runs."""
        places = sorted(self._places(row))
        preceding = places[: bisect_right(places, byte, key=lambda place: place[0].begin)]
        for span, name in reversed(preceding):
            if byte < span.end:
                return f"byte {byte - span.begin} of {name!r}"
        inside = self.in_arena.begin <= byte < self.in_arena.end
        zone = f"byte {byte - ZONE} of the arena" if inside else "a red zone"
        if not preceding:
            return f"{zone}, {self.in_arena.begin - byte} bytes before the arena"
        span, name = max(preceding, key=lambda place: place[0].end)
        return f"{zone}, {byte - span.end} bytes behind the end of {name!r}"

    def _places(self, row: int) -> Iterator[tuple[ByteSpan, str]]:
        for place in self._plan.placements:
            if place.first <= row <= place.last:
                yield span_of(place), place.buffer
        for name, span in self.outside.items():
            yield span, name


def span_of(place: Placement) -> ByteSpan:
    """Return the bytes of an arena buffer in a copy."""
    return ByteSpan(ZONE + place.offset, ZONE + place.offset + place.nbytes)


def bytes_at(address: int, nbytes: int) -> Bytes:
    """The memory at an address, as it is."""
    memory = (ctypes.c_ubyte * nbytes).from_address(address)
    return np.ndarray((nbytes,), np.uint8, memoryview(memory).cast("B"))


class Touched(NamedTuple):
    """An operand of one row: its buffer, where all of that buffer lies, and how it is touched."""

    buffer: str
    span: ByteSpan
    mode: Literal["in", "out", "inout", "scratch", "check"]

    @property
    def is_read(self) -> bool:
        return self.mode in ("in", "inout", "check")

    @property
    def is_written(self) -> bool:
        return self.mode != "in"


@dataclass(frozen=True)
class _Outcome:
    """One run of a row: the poison under it, and what it left in each span that it writes."""

    poison: Bytes
    results: dict[ByteSpan, Bytes]

    def left(self, span: ByteSpan) -> npt.NDArray[np.bool_]:
        """Return where a span of results still holds the poison from before."""
        same: npt.NDArray[np.bool_] = self.results[span] == self.poison[span.slice]
        return same


class WatchedRun:
    """One watched run.

    ``truth`` holds what each byte of the copy is worth, ``is_defined`` whether it was written in
    this life of its buffer; kernels run in the copy's ``block``, where the records point.
    ``highest`` is where the highest arena byte ends that was written, or given to a kernel as
    scratch or to note a failing index, on the next border of 64: the planner aligns to it, and
    counts it in the peak.
    """

    def __init__(self, table: GuardedTable, arena: Arena, copy: GuardedCopy) -> None:
        self._table, self._plan, self._copy = table, table.plan, copy
        self.block = copy.block
        self.truth = np.full(self.block.size, POISON[0], np.uint8)
        self.is_defined = np.zeros(self.block.size, np.bool_)
        self.highest = 0
        self._lives: dict[str, list[Placement]] = {}
        self._ending: dict[int, list[Placement]] = {}
        for place in table.plan.placements:
            self._lives.setdefault(place.buffer, []).append(place)
            self._ending.setdefault(place.last, []).append(place)
        self._fill_arena(arena)
        self.block[:] = self.truth

    def _fill_arena(self, arena: Arena) -> None:
        """Write the arena's contents before the first step: feeds, parameters, constants, ..."""
        roles = self._plan.schedule.by_name
        for name, span in self._copy.outside.items():
            if roles[name].role != "output":
                self.truth[span.slice] = self._copy.original(name)
                self.is_defined[span.slice] = True
        for place in self._plan.placements:
            role, span = roles[place.buffer].role, span_of(place)
            if role == "input":
                self.truth[span.slice] = bytes_at(arena.base + place.offset, place.nbytes)
            if role == "input" or (role == "check" and place.first < self._plan.commit):
                self.is_defined[span.slice] = True
                self._note(span.end)

    def _note(self, end: int) -> None:
        """The arena bytes below ``end`` (in the copy) count as touched."""
        begin, end_of_arena = self._copy.in_arena
        if end <= end_of_arena:
            self.highest = max(self.highest, -(-(end - begin) // ALIGNMENT) * ALIGNMENT)

    def run(self, first: int, last: int) -> None:
        """Rows ``first`` to ``last`` (exclusive); ``block`` holds the truth before and after."""
        self.truth[:] = self.block
        for row in range(first, last):
            self._run_guarded(row)
        self.block[:] = self.truth

    def _results(self) -> list[str]:
        roles = self._plan.schedule.by_name
        return [n for n in self._copy.outside if roles[n].role in ("output", "parameter")]

    def check_written(self) -> None:
        """Check that kernels have written all bytes of outputs and parameters.

        Raises:
            KernelAccessError: an output with bytes that no kernel wrote.
        """
        for name in self._results():
            span = self._copy.outside[name]
            missing = np.flatnonzero(~self.is_defined[span.slice])
            if missing.size:
                text = f"leaves byte {missing[0]} of {name!r} unwritten"
                steps = self._plan.schedule.steps
                rows = (r for r, p in enumerate(self._plan.steps) if name in steps[p.step].writes())
                row, size = max(rows, default=len(self._plan.steps) - 1), span.end - span.begin
                raise self._table.error(row, text, [f"{missing.size} of {size} bytes are missing"])

    def publish(self) -> None:
        """Write outputs and parameters where they really are, all together."""
        names = self._results()
        values = [self.truth[self._copy.outside[name].slice] for name in names]
        write_together([self._copy.original(name) for name in names], values)

    # -- one step ---------------------------------------------------------------------------------

    def _run_guarded(self, row: int) -> None:
        """Run a kernel over two poison patterns, compare, and copy what it wrote."""
        touched = self._table.touched_buffers(row, self._copy.base)
        first, second = (self._execute(row, touched, self._poison(touched, k)) for k in (0, 1))
        # scratch has no value behind the step: lanes without a row may compute from what is there;
        # a check that runs again after the commit notes failures in words that nobody looks at
        compared = [
            t.span
            for t in touched
            if t.mode in ("out", "inout") or (t.mode == "check" and row < self._plan.commit)
        ]
        if self._differ(first, second, compared):
            raise self._stray_read(row, touched, first, second, compared)
        fresh = []
        for operand in (t for t in touched if t.is_written):
            span = operand.span
            known_bytes = self.is_defined[span.slice] | ~(first.left(span) & second.left(span))
            known_bytes |= self._table.is_skipped(
                row
            )  # a failing check is raised when all have run
            self.truth[span.slice] = second.results[span]
            fresh.append((operand, known_bytes))
        for place in self._ending.get(row, ()):
            self.is_defined[span_of(place).slice] = False
        for operand, known_bytes in fresh:
            last = np.flatnonzero(known_bytes)[-1:]
            if last.size:
                self._note(operand.span.begin + int(last[0]) + 1)
            if operand.mode in ("scratch", "check"):  # a kernel's own room, which it need not fill
                self._note(operand.span.end)
            lives = self._lives.get(operand.buffer)
            is_live = lives is None or any(place.first <= row < place.last for place in lives)
            self.is_defined[operand.span.slice] = known_bytes if is_live else False

    def _differ(self, first: _Outcome, second: _Outcome, spans: Sequence[ByteSpan]) -> bool:
        """Return True if two guarded runs differ, other than by poison that both left."""
        for span in spans:
            different = first.results[span] != second.results[span]
            unwritten = first.left(span) & second.left(span) & ~self.is_defined[span.slice]
            if np.any(different & ~unwritten):
                return True
        return False

    def _poison(self, touched: list[Touched], which: int) -> Bytes:
        """Return poison for the guarded arena; another pattern where only results are written."""
        poison = np.full(self.block.size, POISON[which], np.uint8)
        for operand in touched:
            if operand.is_written and not operand.is_read:
                poison[operand.span.slice] = UNWRITTEN[which]
        for operand in touched:
            if operand.is_read:
                poison[operand.span.slice] = POISON[which]
        return poison

    def _execute(self, row: int, touched: list[Touched], poison: Bytes) -> _Outcome:
        """Run a kernel in the guarded arena with poison in all bytes but its known operands.

        Raises:
            KernelAccessError: a byte has changed outside the buffers that the row writes.
        """
        input_bytes = poison.copy()
        for span in dict.fromkeys(operand.span for operand in touched):
            np.copyto(
                input_bytes[span.slice], self.truth[span.slice], where=self.is_defined[span.slice]
            )
        self.block[:] = input_bytes
        self._table.run_row(row)
        results = {t.span: self.block[t.span.slice].copy() for t in touched if t.is_written}
        for span in results:
            self.block[span.slice] = input_bytes[span.slice]
        if not np.array_equal(self.block.view(np.int64), input_bytes.view(np.int64)):
            raise self._stray_write(row, touched, np.flatnonzero(self.block != input_bytes))
        return _Outcome(poison, results)

    # -- what went wrong --------------------------------------------------------------------------

    def _stray_write(
        self, row: int, touched: list[Touched], changed: npt.NDArray[np.intp]
    ) -> KernelAccessError:
        """Return the error for a kernel that wrote outside of its result buffers."""
        begin, last = int(changed[0]), int(changed[-1])
        return self._table.error(
            row,
            f"writes {self._copy.describe(begin, row)}",
            [f"{changed.size} bytes changed there that it may not write, the last {last - begin} "
             "further", self._may("write", [t for t in touched if t.is_written])],
        )  # fmt: skip

    def _stray_read(
        self, row: int, touched: list[Touched], first: _Outcome, second: _Outcome,
        compared: Sequence[ByteSpan],
    ) -> KernelAccessError:  # fmt: skip
        """Find an undefined byte that a kernel read, by bisection of the poison."""
        low, high = 0, self.block.size
        while high - low > 1:
            middle = (low + high) // 2
            mixed = first.poison.copy()
            mixed[:middle] = second.poison[:middle]
            if self._differ(first, self._execute(row, touched, mixed), compared):
                high = middle
            else:
                low = middle
        reads = [t for t in touched if t.is_read]
        inside = any(t.span.begin <= low < t.span.end for t in touched)
        why = "which is not written yet" if inside else "which is not one of its operands"
        return self._table.error(
            row, f"depends on {self._copy.describe(low, row)}, {why}", [self._may("read", reads)]
        )

    def _may(self, what: str, operands: list[Touched]) -> str:
        spans = [f"{t.buffer} ({t.span.end - t.span.begin} bytes)" for t in operands]
        return f"it may {what} {', '.join(dict.fromkeys(spans)) or 'nothing'}"


class GuardedTable(Table):
    """A table whose every run is watched. Results and parameters have the bytes of a plain run.

    The caller's arrays and the parameters are written when all steps have passed, so that an error
    leaves them as they were. Costs a copy of all that the step touches, and about ten passes over
    it per step.
    """

    rows_of_steps = "single"

    def __init__(self, program: Program, plan: Plan) -> None:
        """Check the plan too, which the guard believes: who may touch what, and for how long.

        Raises:
            VerifyError: the plan breaks a promise of plans.
        """
        verify_plan(plan)
        super().__init__(program, plan)
        self._program = program
        self._nbytes = dict(plan.buffer_bytes)
        self._guard: WatchedRun | None = None
        self._copy: GuardedCopy | None = None
        self._places = BufferPlaces(plan, {})

    def _fixed_addresses(self, program: Program) -> Mapping[str, int]:
        """None: parameters and constants are reached through their guarded copies."""
        return {}

    def _pool_address(self) -> int:
        """None: in which worker's scratch a group works would differ from run to run."""
        return 0

    def _make_shadows(self, program: Program) -> None:
        """None: all is copied anyway."""

    def bind(self, buffer: str, address: int) -> None:
        """Note where a feed or output really is."""
        self._bound[self._outside[buffer]] = address

    def bind_arena(self, arena: Arena) -> None:
        """Nothing: the records point into the guarded copy."""

    def run(self, arena: Arena, begin_writing: Callable[[], object] = nothing) -> None:
        """Run a plan as ``Table.run`` does, one guarded kernel at a time.

        Raises:
            KernelAccessError: a kernel touched what it may not; nothing was written outside the
                guarded copy.
        """
        fixed = fixed_addresses(self._program)
        steps = {row.step: self._schedule.steps[row.step] for row in self.plan.steps if row.bodies}
        control_buffers = [access.buffer for step in steps.values() for access in step.accesses()]
        staged = {place.buffer for place in self.plan.placements}  # feeds copied into the arena
        outside = [
            n for n in control_buffers if n in fixed or (n in self._outside and n not in staged)
        ]
        names = dict.fromkeys([*self._slots, *outside])  # bodies of no iterations leave no slot
        real = {n: fixed[n] if n in fixed else self._bound[self._outside[n]] for n in names}
        copy = self._copy = GuardedCopy(self.plan, real)
        self._point(copy)
        guard = self._guard = WatchedRun(self, arena, copy)
        try:
            super().run(copy.arena)
            guard.check_written()
            begin_writing()
            guard.publish()
        finally:
            self._guard = self._copy = None
        self.highest_touched = guard.highest

    def _call(self, first: int, last: int) -> None:
        if self._guard is not None:
            self._guard.run(first, last)

    def _point(self, copy: GuardedCopy) -> None:
        """Let the records point into a copy."""
        self._words.array[self._words.arena_words] = self._words.arena_offsets + copy.arena.base
        for buffer, span in copy.outside.items():
            for word, inside in self._slots.get(buffer, ()):
                self._words.array[word] = copy.base + span.begin + inside

    # -- what the guard asks ----------------------------------------------------------------------

    def run_row(self, row: int) -> None:
        """One step, on what the records point to."""
        super()._call(row, row + 1)

    def is_skipped(self, row: int) -> bool:
        """Return whether a row has no iterations because an index in it is sure to fail."""
        return bool(self.plan.steps[row].fails)

    def touched_buffers(self, row: int, base: int) -> list[Touched]:
        """Return the buffers that a row's record points to, in bytes from ``base``."""
        planned = self.plan.steps[row]
        step = self._schedule.steps[planned.step]
        operands = []
        for begin, access in zip(self._begins(row, base), step.accesses(), strict=True):
            span = ByteSpan(begin, begin + self._nbytes[access.buffer])
            operands.append(Touched(access.buffer, span, access.mode))
        return operands

    def _begins(self, row: int, base: int) -> Sequence[int]:
        """Return the address of each access's buffer, by the record or, for bodies, the plan."""
        planned = self.plan.steps[row]
        accesses = self._schedule.steps[planned.step].accesses()
        if planned.bodies and self._copy is not None:
            places = [self._places.find(access.buffer, row) for access in accesses]
            return [self._copy.begin(*p) for p in places if not isinstance(p, MovingPlace)]
        words = self._words.of_row(self._words.first_rows[row], accesses)
        begins = (int(self._words.array[word]) - base for word in words)
        return [begin - inside for begin, inside in zip(begins, planned.offsets, strict=True)]

    def error(self, row: int, what: str, details: list[str]) -> KernelAccessError:
        """Return the error of a faulty kernel at a row, with the lines that it computes."""
        number = self.plan.steps[row].step
        step = self._schedule.steps[number]
        names = self._program.names
        name = ", ".join(names.get(kernel, "its kernel") for kernel in step.kernels())
        name = step.routine.name if isinstance(step, CallStep) else name
        return KernelAccessError(
            f"step {number}, {name} ({step.label}), {what}",
            details=[*details, f"it computes {lines_of(step.origins) or 'no line of yours'}"],
            hint="staticgrad, or an op or pass that you added, is wrong here, not your program",
            at=step.origins[0] if step.origins else None,
        )
