"""The words of a driver's table: rows, records, and a block for each worker.

A row is ``native.Row``. Its record holds one pointer per access that workers share, then one word
per integer argument. Its words in a worker's block are one pointer for each access that is the
worker's own: scratch and check words. The block begins with a ``native.Head``. The rows of a step
that has bodies are those of their plans, as often as they run.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from staticgrad.analysis.barriers import barriers
from staticgrad.analysis.cost import FASTEST, call_seconds
from staticgrad.errors import VerifyError
from staticgrad.ir.kernel import Kernel
from staticgrad.ir.plan import Plan, PlannedStep, own_stride
from staticgrad.ir.routine import Routine
from staticgrad.ir.schedule import Call, Step, StepBody, Touch
from staticgrad.native import HEAD_WORDS, ROW_WORDS, Head, Row
from staticgrad.runtime.arena import address_of
from staticgrad.runtime.sections import PlannedRow, shared
from staticgrad.types.dim import evaluate

#: Where bytes are: so many behind the start of a memory. That is the arena (``ARENA``), a buffer
#: outside it by its name, or (``FIXED``) the addresses of the process.
Where = tuple[str, int]
ARENA, FIXED = "/arena", "/fixed"


class Codes(NamedTuple):
    """Where the code of each kernel and routine is; the words that records of routines end with."""

    addresses: Mapping[Kernel | Routine, int]
    tails: Mapping[Kernel | Routine, tuple[int, ...]]


class BufferPlaces:
    """Where the buffers of a plan are at a position: in the arena, a place for each of their lives.

    The arena of a body begins ``base`` bytes into the program's.
    """

    def __init__(
        self, plan: Plan, fixed: Mapping[str, int], bound: Mapping[str, Where], base: int = 0
    ) -> None:
        self.plan, self._fixed, self._bound = plan, fixed, bound
        self._lives: dict[str, list[tuple[int, int, int]]] = {}
        for p in plan.placements:
            self._lives.setdefault(p.buffer, []).append((p.first, p.last, base + p.offset))
        for lives in self._lives.values():
            lives.sort()

    def offset(self, buffer: str, position: int) -> int | None:
        """Bytes from the start of the arena; None for a buffer outside it."""
        lives = self._lives.get(buffer)
        if lives is None:
            return None
        if len(lives) == 1:
            first, last, offset = lives[0]
        else:
            first, last, offset = lives[bisect_right(lives, position, key=itemgetter(0)) - 1]
        if not first <= position <= last:
            raise VerifyError(f"position {position} uses {buffer!r}, which has no place then")
        return offset

    def find(self, buffer: str, position: int) -> Where:
        """Where a buffer begins."""
        offset = self.offset(buffer, position)
        if offset is not None:
            return ARENA, offset
        if buffer in self._fixed:
            return FIXED, self._fixed[buffer]
        return self._bound.get(buffer) or (buffer, 0)

    def parts(self, buffer: str, position: int, inside: int) -> Sequence[int]:
        """Where in the arena each worker's part of a buffer is."""
        place = self.offset(buffer, position)
        if place is None:
            raise VerifyError(f"{buffer!r} belongs to workers and is not in the arena")
        if self.plan.workers == 1:
            return (place + inside,)
        found = self.plan.schedule.buffer(buffer)
        stride = own_stride(found.role, evaluate(found.nbytes, dict(self.plan.sizes)))
        return [place + inside + worker * stride for worker in range(self.plan.workers)]


class Words:
    """The words of one plan. ``address`` is where the rows begin.

    Attributes:
        array: all words. Those that point into the arena, or into what a run binds, are 0.
        first_rows: the first row of each position of the plan, and behind the last one's.
        waits: for each row whether every earlier one must be finished before it begins.
        arena_words, arena_offsets: words that point into the arena, and the bytes from its start.
        slots: by buffer that a run binds, words that point into it, with the bytes from its start.
    """

    def __init__(self, places: BufferPlaces, codes: Codes) -> None:
        workers = places.plan.workers
        writer = _Writer(workers, codes)
        self.first_rows = (*writer.write(places), len(writer.drafts))
        self.waits = bytes(draft.waits for draft in writer.drafts)
        rows = shared(writer.drafts, workers)
        first = ROW_WORDS * len(rows)
        blocks = writer.blocks
        self._block_start, self._block_words = first + len(writer.records), len(blocks[0])
        words = [*chain.from_iterable(rows), *writer.records, *chain(*blocks)]
        self.array = np.array(words, np.int64)
        self.address = address_of(self.array)
        self.array[1:first:ROW_WORDS] *= 8
        self.array[1:first:ROW_WORDS] += self.address + 8 * first
        starts = range(self._block_start, len(self.array), self._block_words)
        for start in starts:
            head = Head(self.address, 0, 8 * self._block_words, workers, 1)
            self.array[start : start + len(head)] = head
        arena = [(first + word, at) for word, at in writer.in_arena]
        for start, block in zip(starts, blocks, strict=True):
            arena += enumerate(block[HEAD_WORDS:], start + HEAD_WORDS)
        self.arena_words, self.arena_offsets = np.array(arena, np.int64).reshape(-1, 2).T.copy()
        self.slots: dict[str, list[tuple[int, int]]] = {}
        for word, memory, at in writer.outside:
            self.slots.setdefault(memory, []).append((first + word, at))

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows."""
        words = self.array[: ROW_WORDS * self.first_rows[-1]].reshape(-1, ROW_WORDS)
        return tuple(Row(*row) for row in words.tolist())

    @property
    def has_sections(self) -> bool:
        """Whether there are rows that workers may share."""
        last = ROW_WORDS * self.first_rows[-1]
        return bool(self.array[Row._fields.index("section") : last : ROW_WORDS].any())

    def share(self, pool: int) -> None:
        """Let the driver share sections with the workers of the pool at an address."""
        self.array[self._block_start + Head._fields.index("pool")] = pool

    def block(self, worker: int) -> int:
        """The address of a worker's block, by its number."""
        return self.address + 8 * (self._block_start + worker * self._block_words)

    def of_row(self, row: int, accesses: Sequence[Touch]) -> Iterator[int]:
        """The word that points to each operand of a row, as the first worker has it."""
        at, own = (int(word) for word in self.array[ROW_WORDS * row + 1 : ROW_WORDS * row + 3])
        at, own = (at - self.address) // 8, self._block_start + own // 8
        for access in accesses:
            yield own if access.is_own else at
            at, own = at + (not access.is_own), own + access.is_own


class _Writer:
    """Rows, records and blocks as they are written.

    In a row, the record is the number of its first word among all records'. A block begins with the
    words of its head; its others are bytes from the start of the arena.
    """

    def __init__(self, workers: int, codes: Codes) -> None:
        self._addresses, self._tails = codes.addresses, codes.tails
        self.drafts: list[PlannedRow] = []
        self.records: list[int] = []
        self.blocks: list[list[int]] = [[0] * HEAD_WORDS for _ in range(workers)]
        self.in_arena: list[tuple[int, int]] = []
        self.outside: list[tuple[int, str, int]] = []
        self._known: dict[Call, float] = {}

    def write(self, places: BufferPlaces) -> list[int]:
        """The rows of a plan; the number of the first one of each position."""
        plan = places.plan
        waiting = frozenset(barriers(plan) if plan.workers > 1 else ())  # one waits for nobody
        first_rows = []
        for position, planned in enumerate(plan.steps):
            step = plan.schedule.steps[planned.step]
            first_rows.append(len(self.drafts))
            if planned.bodies:
                self._write_bodies(places, position, planned, step)
            else:
                self._write_row(places, position, planned, step, position in waiting)
        return first_rows

    def _write_row(
        self, places: BufferPlaces, position: int, planned: PlannedStep, step: Step, waits: bool
    ) -> None:
        (call,) = step.calls(planned.arguments)
        records, cut = self.records, (planned.total, planned.grain)
        own = 8 * len(self.blocks[0])
        seconds = 0.0
        if len(self.blocks) > 1 and planned.total:
            seconds = self._seconds(call)
        row = Row(self._addresses[call.kernel], len(records), own, *cut)
        alone = isinstance(call.kernel, Routine) and call.kernel.alone
        self.drafts.append(PlannedRow(row, waits or alone, seconds, alone))
        for access, inside in zip(step.accesses(), planned.offsets, strict=True):
            if access.mode in ("scratch", "check"):
                parts = places.parts(access.buffer, position, inside)
                for block, part in zip(self.blocks, parts, strict=True):
                    block.append(part)
                continue
            memory, at = places.find(access.buffer, position)
            if memory == ARENA:
                self.in_arena.append((len(records), at + inside))
            elif memory != FIXED:
                self.outside.append((len(records), memory, at + inside))
            records.append(at + inside if memory == FIXED else 0)
        records += (*call.arguments, *self._tails.get(call.kernel, ()))

    def _seconds(self, call: Call) -> float:
        """What one processor is predicted to take for a row at its best."""
        if call not in self._known:
            self._known[call] = call_seconds(call, FASTEST)
        return self._known[call]

    def _write_bodies(
        self, places: BufferPlaces, position: int, planned: PlannedStep, step: Step
    ) -> None:
        """All bodies in order, as often as the step has iterations; each begins with a barrier."""
        (room,) = (own.buffer for own in step.scratch() if own.per == "bodies")
        base, begin = places.offset(room, position) or 0, len(self.drafts)
        for plan, body in zip(planned.bodies, step.bodies(), strict=True):
            bound = _bound(body, step.accesses(), planned.offsets, places, position)
            first = len(self.drafts)
            self.write(BufferPlaces(plan, _constants(body), bound, base))
            if first < len(self.drafts):
                self.drafts[first] = self.drafts[first]._replace(waits=True)
        self.drafts[begin:] = self.drafts[begin:] * planned.total


def _bound(
    body: StepBody,
    accesses: Sequence[Touch],
    offsets: Sequence[int],
    places: BufferPlaces,
    position: int,
) -> dict[str, Where]:
    """Where the inputs and outputs of a body are."""
    found = {}
    for name, number in body.outside:
        memory, at = places.find(accesses[number].buffer, position)
        found[name] = memory, at + offsets[number]
    return found


def _constants(body: StepBody) -> dict[str, int]:
    """The addresses of a body's constants, by buffer."""
    buffers = body.schedule.buffers
    return {b.name: address_of(b.data.array) for b in buffers if b.data is not None}
