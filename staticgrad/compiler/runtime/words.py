"""The words of a driver's table: rows, records, and a block for each worker, written from a plan.

A row is ``native.Row``. Its record holds one pointer per access that workers share, then one word
per integer argument. Its words in a worker's block are one pointer for each access that is the
worker's own: scratch and check words. The block begins with a ``native.Head``. Rows of a step that
has bodies are those of their plans, each once, between rows that say where to go on: loops and
branches are jumps.

What a word of a record points to may change from iteration to iteration of a loop: then the loop
has an entry for it (``native.control_code``), whose own words say where it points in the first
iteration, in the second, and so on. In a loop inside another one those may change, too: they are
words like others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

import numpy as np

from staticgrad import native
from staticgrad.analysis.cost import FASTEST, call_seconds
from staticgrad.compiler.runtime.arena import address_of
from staticgrad.compiler.runtime.cuts import RowRange, Rows, StepCut, cuts, part_of, row_ranges
from staticgrad.compiler.runtime.pace import iteration_seconds
from staticgrad.compiler.runtime.places import (
    ARENA,
    FIXED,
    WORDS,
    BufferPlaces,
    Moves,
    MovingPlace,
    Place,
    further,
)
from staticgrad.compiler.runtime.sections import PlannedRow, SoloReason, divide_into_sections
from staticgrad.language.ir import control_flow as flow
from staticgrad.language.ir.control_flow import control_flow
from staticgrad.language.ir.kernels.chain_parts import PART
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.plan import PlannedStep
from staticgrad.language.ir.routines import Routine
from staticgrad.language.ir.schedule import Call, Step, StepBody, Touch
from staticgrad.language.types.dim import Size, evaluate
from staticgrad.native import HEAD_WORDS, ROW_WORDS, Head, Row
from staticgrad.native.table.control_code import ControlKind, EntryWord, LoopWord, ThroughWord
from staticgrad.support.records import NamedTuple


class Codes(NamedTuple):
    """The address of each kernel and routine; the words that records of routines end with."""

    addresses: Mapping[Kernel | Routine, int]
    tails: Mapping[Kernel | Routine, tuple[int, ...]]


class RowWriter:
    """Rows, records and blocks as they are written.

    In a row, the record is the number of its first word among all records'. A block begins with the
    words of its head; its others are bytes from the start of the arena. ``pointers`` are words that
    hold the address of another word, by their numbers.
    """

    def __init__(self, workers: int, codes: Codes, rows: Rows) -> None:
        self._rows = rows
        self._addresses, self._tails = codes.addresses, codes.tails
        self.drafts: list[PlannedRow] = []
        self.records: list[int] = []
        self.blocks: list[list[int]] = [[0] * HEAD_WORDS for _ in range(workers)]
        self.in_arena: list[tuple[int, int]] = []
        self.outside: list[tuple[int, str, int]] = []
        self.pointers: list[tuple[int, int]] = []
        self._seconds_by_call: dict[Call, float] = {}
        #: Rows that stand before one that calls Python, and whether others do without one.
        self.python_rows: list[int] = []
        self.always_calls_python = False
        self.times = 1  # iterations of the loops around what is written now, as far as known
        self.part: RowRange | None = None  # the rows that are written now, of a loop or a chain

    def write(self, places: BufferPlaces) -> list[int]:
        """Write the driver's rows of a plan; return the first row of each position."""
        plan = places.plan
        first_rows: list[int] = []
        for position, cut in cuts(plan, "single" if places.is_inside else self._rows).items():
            planned = plan.steps[position]
            step = plan.schedule.steps[planned.step]
            first_rows.append(len(self.drafts))
            if cut.ranges:
                self._write_chain(places, position, cut)
                first_rows += [len(self.drafts)] * (cut.end - position - 1)
            elif planned.bodies:
                _BodyWriter(self, places, position, planned, step).write()
            elif planned.fails and places.is_inside:
                # The step is not run: a check of its body certainly fails, and a note says so.
                for check in step.checks():
                    if check.name in planned.fails:
                        self.control(ControlKind.NOTE)
                        parts = places.parts(check.buffer, position, planned.offsets[check.access])
                        self.point(self.word(), (ARENA, parts[0]))
            else:
                self._write_row(places, position, cut)
        return first_rows

    def _write_chain(self, places: BufferPlaces, first: int, cut: StepCut) -> None:
        def write() -> None:
            for position in range(first, cut.end):
                self._write_row(places, position, StepCut(position + 1, False))

        self.write_through(cut.ranges, cut.seconds, write)

    def write_through(
        self, ranges: Sequence[RowRange], seconds: float, write: Callable[[], object]
    ) -> None:
        """Write a row that workers share; each one runs what ``write`` writes for its own rows.

        Those rows are words of its record, with a head.
        """
        drafts, record = self.drafts, len(self.records)
        self.records += [0] * (len(ThroughWord) * len(ranges))
        for number, self.part in enumerate(ranges):
            self.drafts = []
            write()
            place = record + len(ThroughWord) * number
            self.pointers.append((place + ThroughWord.FIRST, len(self.records)))
            for row, *_ in self.drafts:
                at = len(self.records) + Row._fields.index("record")
                self.pointers.append((at, row.record))
                self.records += row._replace(record=0)
            end = len(self.records)
            self.pointers += (place + ThroughWord.BEHIND, end), (place + ThroughWord.HEAD, end)
            self.records += Head(0)
        self.drafts, self.part = drafts, None
        row = Row(native.through(), record, 0, len(ranges), 1)
        self.drafts.append(PlannedRow(row, True, seconds, None, self.times))

    def _write_row(self, places: BufferPlaces, position: int, cut: StepCut) -> None:
        """Write the driver's row of a step; of a staged product one per worker and stage."""
        planned = places.plan.steps[position]
        step = places.plan.schedule.steps[planned.step]
        (call,) = step.calls(planned.arguments)
        workers, block_offset = len(self.blocks), 8 * len(self.blocks[0])
        accesses = [*zip(step.accesses(), planned.offsets, strict=True)]
        for access, inside in accesses:
            if access.is_own:
                parts = places.parts(access.buffer, position, inside)
                for block, own_place in zip(self.blocks, parts, strict=True):
                    block.append(own_place)
        alone = SoloReason.CALL if isinstance(call.kernel, Routine) and call.kernel.alone else None
        if alone is not None:
            if places.is_inside:
                self.python_rows.append(self.control(ControlKind.PYTHON))
            else:
                self.always_calls_python = True
        part = part_of(call, planned, self.part)
        seconds, total, grain = 0.0, part.total, planned.grain
        if workers > 1 and total:
            seconds = self._seconds(call._replace(arguments=part.arguments))
        if cut.stages:
            seconds, grain = seconds / len(cut.stages) / workers, 0
        packs = isinstance(call.kernel, Kernel) and call.kernel.outer == "tiles"
        tail = self._tails.get(call.kernel, ())
        for stage in cut.stages or ((None,),):
            for number, words in enumerate(stage):
                if cut.stages:
                    total = PART if words else 0
                code, record = self._addresses[call.kernel], len(self.records)
                row = Row(code, record, block_offset, total, grain, first=part.first)
                waits = (cut.waits and number == 0) or alone is not None  # parts run together
                draft = PlannedRow(row, waits, seconds, alone, self.times, cut.keeps, packs)
                self.drafts.append(draft)
                for (access, inside), byte_offset in zip(accesses, part.byte_offsets, strict=True):
                    if not access.is_own:
                        place = places.find(access.buffer, position, inside)
                        self.point(self.word(), further(place, byte_offset))
                self.records += (*part.arguments, *tail, *(words or ()))

    def _seconds(self, call: Call) -> float:
        """Return the predicted seconds of a row on one processor at its best."""
        if call not in self._seconds_by_call:
            self._seconds_by_call[call] = call_seconds(call, FASTEST)
        return self._seconds_by_call[call]

    # -- words and control ------------------------------------------------------------------------

    def word(self, value: int = 0) -> int:
        """A new word; its number."""
        self.records.append(value)
        return len(self.records) - 1

    def point(self, word: int, place: Place) -> None:
        """Point a word of a record to a location in memory."""
        if isinstance(place, MovingPlace):
            place.loop.append((word, place))
            return
        memory, at = place
        if memory == ARENA:
            self.in_arena.append((word, at))
        elif memory == WORDS:
            self.pointers.append((word, at))
        elif memory == FIXED:
            self.records[word] = at
        else:
            self.outside.append((word, memory, at))

    def control(self, kind: ControlKind, record: int | None = None) -> int:
        """A row that runs nothing, with the record that is written next or another one."""
        at = len(self.records) if record is None else record
        self.drafts.append(PlannedRow(Row(0, at, kind, 0, 0), True, 0.0, SoloReason.BODIES))
        return len(self.drafts) - 1

    def go(self, row: int, to: int | None = None) -> None:
        """Let a control row lead to another row, or to the next one that is written."""
        draft, to = self.drafts[row], len(self.drafts) if to is None else to
        self.drafts[row] = draft._replace(row=draft.row._replace(total=abs(to - row)))

    def entries(self, loop: Moves) -> tuple[int, int, int]:
        """Return where a loop's pointer entries begin in its record, and how many there are."""
        begin = len(self.records)
        entries = sorted(loop, key=lambda entry: entry[1].third is not None)
        for word, place in entries:
            at = len(self.records)
            self.records += [0] * len(EntryWord)
            self.pointers.append((at + EntryWord.WORD, word))
            self.point(at + EntryWord.FIRST, place.first)
            self.point(at + EntryWord.SECOND, place.second)
            if place.third is None:
                self.records[at + EntryWord.THIRD] = place.stride
            else:
                self.point(at + EntryWord.THIRD, place.third)
        turns = sum(place.third is not None for _, place in entries)
        return begin, len(entries) - turns, turns


class _BodyWriter:
    """Writes the rows of one step with bodies.

    In a loop, ``record`` is where that of the loop begins, and ``moves`` are the words it moves.
    """

    loop: flow.Loop
    moves: Moves
    record: int

    def __init__(
        self,
        writer: RowWriter,
        places: BufferPlaces,
        position: int,
        planned: PlannedStep,
        step: Step,
    ) -> None:
        self.writer, self.places, self.position = writer, places, position
        self.planned, self.step = planned, step
        self.accesses = step.accesses()
        self.bodies = step.bodies()
        self.iterations = planned.arguments[0]
        self._sizes = dict(places.plan.sizes)
        self.is_open = False  # a loop whose record and entries are not filled in

    def write(self) -> None:
        """Write the control rows of a loop or branch, and the rows of its bodies between them."""
        for instruction in control_flow(self.step):
            match instruction:
                case flow.Copy():
                    self.writer.control(ControlKind.MOVE)
                    self.writer.point(self.writer.word(), self._place(instruction.target))
                    self.writer.point(self.writer.word(), self._place(instruction.source))
                    self.writer.word(self._bytes(instruction.elements, instruction.target.access))
                case flow.Branch():
                    self._write_branch(instruction)
                case flow.Loop():
                    if not self._write_parts(instruction):
                        self._write_iterations(instruction)
        self._finish()

    def _place(self, place: flow.Location) -> Place:
        """Return the location of a place in a body while the step runs."""
        match place:
            case flow.StepAddress(access, offset, stride):
                touch = self.accesses[access]
                inside = self.planned.offsets[access] + self._bytes(offset, access)
                buffer_place = self.places.find(touch.buffer, self.position, inside)
                return (
                    buffer_place
                    if stride is None
                    else self._rows(buffer_place, self._bytes(stride, access))
                )
            case flow.CarryAddress(carry, written):
                return self._carry_places(carry)[written]
        return WORDS, self.record + LoopWord.NUMBER

    def _bytes(self, size: Size, access: int) -> int:
        """The bytes of so many elements of an access."""
        return evaluate(size, self._sizes) * self.accesses[access].dtype.itemsize

    def _rows(self, place: Place, stride: int) -> MovingPlace:
        """The rows of an array, one in each iteration."""
        if self.loop.backwards:
            place, stride = further(place, stride * (self.iterations - 1)), -stride
        return MovingPlace(self.moves, place, further(place, stride), None, stride)

    def _carry_places(self, carry: int) -> tuple[MovingPlace, MovingPlace]:
        """Return where a carried value is read and where it is written, over the iterations."""
        buffers = self.loop.carries[carry]
        even_place, odd_place = map(self._place, buffers.write_addresses(self.iterations))
        read = MovingPlace(self.moves, self._place(buffers.first), even_place, odd_place)
        return read, MovingPlace(self.moves, even_place, odd_place, even_place)

    def _write_run(self, run: flow.RunBody) -> None:
        """Write the rows of one body; the first one waits for all earlier rows."""
        fixed = _constants(self.bodies[run.body])
        bound = {name: self._place(place) for name, place in run.bound.items()}
        first = len(self.writer.drafts)
        self.writer.write(self.places.of_body(self.position, run.body, fixed, bound))
        if first < len(self.writer.drafts):
            drafts = self.writer.drafts
            drafts[first] = drafts[first]._replace(waits=True)

    def _write_branch(self, branch: flow.Branch) -> None:
        """Write a branch as control rows: a jump to the chosen case, and jumps to the end."""
        writer = self.writer
        choice = writer.control(ControlKind.CASE)
        writer.point(writer.word(), self._place(branch.selector))
        writer.word(len(branch.cases))
        cases = [writer.word() for _ in branch.cases]
        ends = []
        for case, run in zip(cases, branch.cases, strict=True):
            writer.records[case] = len(writer.drafts) - choice
            self._write_run(run)
            ends.append(writer.control(ControlKind.GO))
        for end in ends:
            writer.go(end)

    # -- loops ------------------------------------------------------------------------------------

    def _write_parts(self, loop: flow.Loop) -> bool:
        """Write a loop that workers share: each one runs all iterations for its own rows.

        False where iterations are not such: nothing is written then. Behind it, the loop is that
        of the last part.
        """
        writer, plan = self.writer, self.planned.bodies[0]
        control = self.step.control
        ranges, seconds = row_ranges(plan, self.bodies[0], control, self.iterations)
        if not ranges or writer.part is not None or not native.through():
            return False
        writer.write_through(ranges, seconds, lambda: self._write_iterations(loop))
        writer.go(writer.control(ControlKind.GO))  # what follows waits
        return True

    def _write_iterations(self, loop: flow.Loop) -> None:
        """Write the rows of a loop's body with its jump back."""
        writer = self.writer
        self._finish()  # the part before
        self.loop, self.moves, self.record = loop, Moves(), len(writer.records)
        self.is_open = True
        begin = writer.control(ControlKind.BEGIN)
        writer.records += [0] * len(LoopWord)
        times = writer.times
        writer.times = times * max(1, self.iterations if self.step.control.kind == "loop" else 1)
        leaves = []
        for instruction in loop.instructions:
            if isinstance(instruction, flow.RunBody):
                self._write_run(instruction)
            else:
                leaves.append(writer.control(ControlKind.UNLESS))
                writer.point(writer.word(), self._place(instruction.condition))
        writer.times = times
        end = writer.control(ControlKind.END, self.record)
        writer.go(end, begin + 1)
        for row in (begin, *leaves):
            writer.go(row)

    def _finish(self) -> None:
        """Fill in a loop's record: its body's range, and the pointers that each iteration moves."""
        if not self.is_open:
            return
        self.is_open = False
        begin, rows, turns = self.writer.entries(self.moves)
        records, record, backwards = self.writer.records, self.record, self.loop.backwards
        cost = iteration_seconds(self.planned.bodies)
        records[record + LoopWord.ITERATIONS] = self.iterations
        records[record + LoopWord.FROM] = self.iterations - 1 if backwards else 0
        records[record + LoopWord.BY] = -1 if backwards else 1
        records[record + LoopWord.ROWS], records[record + LoopWord.TURNS] = rows, turns
        records[record + LoopWord.COST] = int(cost * 1e9)
        self.writer.pointers.append((record + LoopWord.ENTRIES, begin))


def _constants(body: StepBody) -> dict[str, int]:
    """The addresses of a body's constants, by buffer."""
    buffers = body.schedule.buffers
    return {b.name: address_of(b.data.array) for b in buffers if b.data is not None}


class Words:
    """The words of one plan. ``address`` is where the rows begin.

    Attributes:
        array: all words. Those that point into the arena, or into what a run binds, are 0.
        first_rows: the first row of each position of the plan, and behind the last one's. The row
            of a chain is that of its first position; the others' is the next one.
        waits: for each row whether every earlier one must be finished before it begins.
        arena_words, arena_offsets: words that point into the arena, and the bytes from its start.
        slots: by buffer that a run binds, words that point into it, with the bytes from its start.
        python_rows: rows in loops and branches that stand before one that calls Python.
        always_calls_python: whether a row outside of them calls Python.
    """

    def __init__(self, places: BufferPlaces, codes: Codes, rows: Rows) -> None:
        workers = places.plan.workers
        writer = RowWriter(workers, codes, rows)
        self.first_rows = (*writer.write(places), len(writer.drafts))
        self.python_rows = tuple(writer.python_rows)
        self.always_calls_python = writer.always_calls_python
        self.waits = bytes(draft.waits for draft in writer.drafts)
        written = [draft.row for draft in divide_into_sections(writer.drafts, workers)]
        first = ROW_WORDS * len(written)
        blocks = writer.blocks
        self._block_start, self._block_words = first + len(writer.records), len(blocks[0])
        words = [*chain.from_iterable(written), *writer.records, *chain(*blocks)]
        self.array = np.array(words, np.int64)
        self.address = address_of(self.array)
        self.array[1:first:ROW_WORDS] *= 8
        self.array[1:first:ROW_WORDS] += self.address + 8 * first
        for word, target in writer.pointers:
            self.array[first + word] = self.address + 8 * (first + target)
        starts = range(self._block_start, len(self.array), self._block_words)
        head = Head(self.address, 0, 8 * self._block_words, workers, 1)
        if any(row.function == 0 for row in written):
            head = head._replace(control=native.control())
        for start in starts:
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
        """True if there are rows that workers may share."""
        last = ROW_WORDS * self.first_rows[-1]
        return bool(self.array[Row._fields.index("section") : last : ROW_WORDS].any())

    def share(self, pool: int) -> None:
        """Let the driver share sections with the workers of the pool at an address."""
        self.array[self.head("pool")] = pool

    def head(self, name: str) -> int:
        """The number of a word at the head of the caller's block."""
        return self._block_start + Head._fields.index(name)

    def row_at(self, address: int) -> int:
        """The number of the row at an address; -1 for 0."""
        return (address - self.address) // (8 * ROW_WORDS) if address else -1

    def block(self, worker: int) -> int:
        """The address of a worker's block, by its number."""
        return self.address + 8 * (self._block_start + worker * self._block_words)

    def of_row(self, row: int, accesses: Sequence[Touch]) -> Iterator[int]:
        """The word that points to each operand of a row, as the first worker has it."""
        at, own_word = (int(word) for word in self.array[ROW_WORDS * row + 1 : ROW_WORDS * row + 3])
        at, own_word = (at - self.address) // 8, self._block_start + own_word // 8
        for access in accesses:
            yield own_word if access.is_own else at
            at, own_word = at + (not access.is_own), own_word + access.is_own
