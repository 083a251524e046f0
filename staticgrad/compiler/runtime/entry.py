"""The native entry of one program: its words, and the records of plans that it may run.

A run in Python closes it, so that one of both uses the tables, and admits the plan that it ran:
runs of the same shapes then begin and end in native code (``native.entry.text``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad.compiler.runtime.arena import address_of
from staticgrad.compiler.runtime.feeds import OutputPool, Port
from staticgrad.compiler.runtime.step import ParameterLocks, Table
from staticgrad.language.storage.locks import POLL
from staticgrad.native.constants import ENDLESS
from staticgrad.native.entry import callables as native_entry
from staticgrad.native.entry.words import HeadWord, HoldWord, PlaceWord, RecordWord, ResultPoolWord
from staticgrad.support.forks import AtFork

Words = npt.NDArray[np.int64]
#: Plans that the entry tries, the latest first: a loop over batches has a last, smaller one, and
#: looks at other data now and then.
MOST_RECORDS: Final = 16
#: Predicted seconds from which on a run lets other Python threads in.
LONG: Final = 10e-6
#: Predicted nanoseconds of loops that only their tests end until the native run of one is given up:
#: the time after which CPython lets another thread in.
FUEL: Final = 5_000_000


#: Numbers that each run reads: members of an enumeration take longer.
_RUNNING, _CLOSED, _LATEST = map(int, (HeadWord.RUNNING, HeadWord.CLOSED, HeadWord.LATEST))


class _Sheet:
    """Words that point to each other: written by number, then put where addresses are known."""

    def __init__(self, first: int) -> None:
        self._words = [0] * first
        self._places: list[int] = []

    def add(self, words: Sequence[int]) -> int:
        at = len(self._words)
        self._words += words
        return at

    def write(self, at: int, word: int) -> None:
        self._words[at] = word

    def point(self, at: int, place: int) -> None:
        """Let a word be the address of another."""
        self._words[at] = 8 * place
        self._places.append(at)

    def array(self) -> Words:
        words = np.array(self._words, np.int64)
        words[self._places] += address_of(words)
        return words


class TableRecord:
    """The words of ``RecordWord`` for one table, where the arena begins at ``base``."""

    def __init__(
        self,
        key: object,
        table: Table,
        base: int,
        operands: tuple[Sequence[Port], Sequence[Port]],
        shapes: tuple[Sequence[tuple[int, ...]], Sequence[tuple[int, ...]]],
        unlocked: bool = False,
    ) -> None:
        """``key`` is what tables are kept by; ``operands`` and ``shapes`` are of the inputs, then
        the outputs. ``unlocked``: it runs without the interpreter lock."""
        self.key, self.table, self.base = key, table, base
        sheet = _Sheet(len(RecordWord))
        for kinds, operand_shapes, extents, places in zip(
            operands, shapes, (RecordWord.SHAPES_AT, RecordWord.RESULT_SHAPES_AT),
            (RecordWord.FEEDS_AT, RecordWord.RESULTS_AT), strict=True,
        ):  # fmt: skip
            sheet.point(
                extents, sheet.add([extent for shape in operand_shapes for extent in shape])
            )
            sheet.point(places, _write_places(sheet, table, base, kinds, operand_shapes))
        sheet.write(RecordWord.BLOCK, table.block)
        sheet.write(RecordWord.COMMIT, table.commit_row)
        sheet.write(RecordWord.ROWS, table.all_rows)
        notes = table.notes(base)
        sheet.write(RecordWord.NOTES, len(notes))
        sheet.point(RecordWord.NOTES_AT, sheet.add(notes))
        sheet.write(RecordWord.RELEASES, 2 if unlocked else int(table.pace.seconds > LONG))
        if table.pace.has_open_end or table.may_call_python:
            for word, value in (
                (RecordWord.FUEL, FUEL if table.pace.has_open_end else ENDLESS),
                (RecordWord.FUEL_AT, table.head_at("fuel")),
                (RecordWord.RESUME_AT, table.head_at("resume")),
                (RecordWord.ENDLESS, ENDLESS),
            ):
                sheet.write(word, value)
        self.words = sheet.array()
        self.address = address_of(self.words)


def _write_places(
    sheet: _Sheet,
    table: Table,
    base: int,
    operands: Sequence[Port],
    shapes: Sequence[tuple[int, ...]],
) -> int:
    """Write the words of each operand of a plan's record; return the first one's number."""
    first = sheet.add([0] * (len(PlaceWord) * len(operands)))
    for number, (operand, shape) in enumerate(zip(operands, shapes, strict=True)):
        at = first + len(PlaceWord) * number
        size = operand.dtype.itemsize
        for extent in shape:
            size *= extent
        sheet.write(at + PlaceWord.BYTES, size)
        slots = () if operand.buffer is None else table.slots(operand.buffer)
        sheet.write(at + PlaceWord.BOUND_AT, table.bound_at(operand.buffer))
        sheet.write(at + PlaceWord.SLOTS, len(slots))
        if operand.name in table.staged and operand.number_bytes:
            sheet.write(at + PlaceWord.NUMBER_AT, base + table.staged[operand.name])
        words = [word for place, inside in slots for word in (table.word_at(place), inside)]
        sheet.point(at + PlaceWord.SLOTS_AT, sheet.add(words))
    return first


class Entry(AtFork):
    """The native entry of a program: its tables, and whether it may run.

    Attributes:
        enter: ``enter(feeds)``: the results, or None where the run in Python has to be taken.
    """

    def __init__(
        self,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        pools: Mapping[str, OutputPool],
        written: Iterable[tuple[int, int]],
        locks: ParameterLocks,
        driver: int,
        single: bool,
        set_in_order: Callable[[int, int, int], int] | None = None,
    ) -> None:
        """``written``: (begin, end) of the memory that the step updates; ``driver`` its address.

        ``set_in_order``: that of ``native.entry.c_calls``, by which threads without the interpreter
        lock see a closed entry; only they use it then.
        """
        super().__init__()
        self._set_in_order = set_in_order
        self.inputs, self.outputs = inputs, outputs
        self._locks = locks
        self._gate = threading.Lock()
        self._records: list[TableRecord] = []
        self._own_hold = np.zeros(len(HoldWord), np.int64)
        self._own_hold[HoldWord.STANDS] = 1
        self._hold: Words | None = None
        self._settle = partial(_let_in, locks, self._gate)  # the words have its address
        self._calls = native_entry.calls()
        spans = [word for span in written for word in span]
        sheet = _Sheet(len(HeadWord))
        for at, words in (
            (HeadWord.NAMES_AT, [id(port.name) for port in inputs]),
            (HeadWord.TYPES_AT, [id(port.dtype) for port in inputs]),
            (HeadWord.RANKS_AT, [port.rank for port in inputs]),
            (HeadWord.BOOLS_AT, [int(port.is_checked) for port in inputs]),
            (HeadWord.NUMBERS_AT, [port.number_bytes for port in inputs]),
            (HeadWord.RESULT_NAMES_AT, [id(port.name) for port in outputs]),
            (HeadWord.RESULT_TYPES_AT, [id(port.dtype) for port in outputs]),
            (HeadWord.RESULT_RANKS_AT, [port.rank for port in outputs]),
            (HeadWord.WRITTEN_AT, spans),
        ):
            sheet.point(at, sheet.add(words))
        pool_words = sheet.add([0] * (len(ResultPoolWord) * len(outputs)))
        sheet.point(HeadWord.POOLS_AT, pool_words)
        self._key_words = sheet.add([0] * len(inputs))
        sheet.point(HeadWord.KEYS_AT, self._key_words)
        self._keys: dict[int, object] = {}
        for at, word in (
            (HeadWord.CLOSED, 1),
            (HeadWord.FEEDS, len(inputs)),
            (HeadWord.RESULTS, len(outputs)),
            (HeadWord.SINGLE, int(single)),
            (HeadWord.SETTLE, id(self._settle)),
            (HeadWord.WRITTEN, len(spans) // 2),
            (HeadWord.CALLS_AT, address_of(self._calls)),
            (HeadWord.DRIVER, driver),
            (HeadWord.UNUSED, native_entry.unused_references() or 0),
        ):
            sheet.write(at, word)
        self.head = sheet.array()
        self._head = self.head.data
        for number, port in enumerate(outputs):
            first = pool_words + len(ResultPoolWord) * number
            pools[port.name].note_blocks(self._head[first : first + len(ResultPoolWord)])
        self.enter: Callable[[object], Any] = native_entry.with_feeds(self.head)

    @property
    def runs(self) -> int:
        """The number of runs that began here and ended well."""
        return int(self._head[HeadWord.RUNS])

    @property
    def latest(self) -> Table | None:
        """The table that ran last here, since the entry was closed last."""
        address = self._head[HeadWord.LATEST]
        return next((r.table for r in self._records if r.address == address), None)

    def close(self) -> Table | None:
        """Block native runs, waiting for one in another thread to end; return ``latest``."""
        head = self._head
        self._set_closed(1)
        while head[_RUNNING]:
            self._gate.acquire(timeout=POLL)
        if not head[_LATEST]:
            return None
        latest = self.latest
        head[_LATEST] = 0
        return latest

    def open(self) -> None:
        """Allow native runs again, with the locks that are reserved now."""
        holder = self._locks.holder
        hold = self._own_hold if holder is None else holder.words
        if hold is not self._hold:
            self._head[HeadWord.HOLD_AT] = address_of(hold)
            self._hold = hold
        self._set_closed(0)

    def _set_closed(self, value: int) -> None:
        if self._set_in_order is None:
            self._head[_CLOSED] = value
        else:
            base = address_of(self.head)
            self._set_in_order(base + 8 * _CLOSED, value, base + 8 * _RUNNING)

    def note_keys(self, keys: Iterable[tuple[str, object]]) -> None:
        """Inputs by name, and the values by which they were fed; while closed."""
        number = {port.name: at for at, port in enumerate(self.inputs)}
        for name, key in keys:
            self._head[self._key_words + number[name]] = id(key)
            self._keys[number[name]] = key  # it lives on, and what it replaces is not looked for

    @property
    def is_unlocked(self) -> bool:
        """True if threads run it without the interpreter lock."""
        return self._set_in_order is not None

    def admit(self, record: TableRecord) -> None:
        """Let it run a plan, the one that is tried first; while closed."""
        if self._records and self._records[0] is record:
            return
        others = [earlier for earlier in self._records if earlier.table is not record.table]
        self.keep([record, *others[: MOST_RECORDS - 1]])

    def would_give_up(self, table: Table) -> bool:
        """Return whether a native run would be given up where the latest run of Python went.

        Its ``while`` loops took longer than the limit of a run, or it called Python.
        """
        return table.loop_nanoseconds > FUEL or table.has_called_python

    def refuse(self, table: Table) -> None:
        """Let it run a plan no more; while closed."""
        if any(record.table is table for record in self._records):
            self.keep([record for record in self._records if record.table is not table])

    def keep(self, records: Sequence[TableRecord]) -> None:
        """Set the plans that the native entry may run; call it while closed."""
        self._head[HeadWord.RECORD] = 0
        following = 0
        for record in reversed(records):
            record.words[RecordWord.NEXT], following = following, record.address
        self._records = [*records]
        self._head[HeadWord.RECORD] = following

    @property
    def records(self) -> Sequence[TableRecord]:
        """The records that it tries, in order."""
        return self._records

    def after_fork_in_child(self) -> None:
        self._head[HeadWord.RUNNING] = 0
        if self._hold is not None:
            self._hold[HoldWord.RUNNING] = self._hold[HoldWord.WRITING] = 0

    def is_busy(self) -> bool:
        return bool(self._head[_RUNNING])


def _let_in(locks: ParameterLocks, gate: threading.Lock) -> None:
    """Somebody waits for the end of a native run: for the program, or for its locks."""
    with suppress(RuntimeError):  # it is open already
        gate.release()
    locks.end_native_step()
