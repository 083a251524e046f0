"""One plan as the driver's table, the run of it, and stops for signals.

A table holds the driver's rows and every kernel's record in one i64 array. It is filled once per
plan; a run patches the addresses of feeds and outputs. Which numbers belong where is decided in
the plan; this file turns them into addresses. Where interrupts may come between the rows,
the rows update copies of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from inspect import isfunction
from typing import Any, ClassVar, Final, Protocol

import numpy as np
import numpy.typing as npt

from staticgrad.compiler.runtime.arena import Arena, address_of
from staticgrad.compiler.runtime.check_words import find_checks
from staticgrad.compiler.runtime.cuts import TOGETHER, Rows
from staticgrad.compiler.runtime.pace import PIECE, Pace
from staticgrad.compiler.runtime.places import BufferPlaces
from staticgrad.compiler.runtime.words import Codes, Words
from staticgrad.errors import OutOfMemory
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.routines import Routine
from staticgrad.language.ir.schedule import Schedule
from staticgrad.language.storage.parameter import ParameterStore, write_together
from staticgrad.language.storage.reservation import LockSet
from staticgrad.language.types.arrays import aligned_bytes
from staticgrad.native.constants import ENDLESS
from staticgrad.native.libraries.routines import RoutineCode
from staticgrad.native.table import pool
from staticgrad.support.records import dataclass

Array = npt.NDArray[Any]
#: Runs rows ``first`` to ``last`` (exclusive), as the worker whose block is at an address.
Driver = Callable[[int, int, int], object]
#: Predicted nanoseconds of the iterations of a loop between two looks for signals.
_FUEL: Final = int(PIECE * 1e9)


class LoadedKernel(Protocol):
    """The code of a kernel, which stays loaded as long as this is referred to."""

    @property
    def address(self) -> int:
        """The address of its function."""


@dataclass(frozen=True)
class Program:
    """A schedule with its code: kernels and parameters' stores.

    ``kernels`` holds the code of each kernel object of the schedule, which is loaded as long as the
    program lives; ``stores`` maps the labels of parameter buffers to their storage. Tables made
    from it live as long as the stores do. ``names`` are what messages call the kernels,
    ``routines`` the code of what else is called. ``make`` gives other schedules of the same
    parameters their code. ``failing`` are the kernels that note where they get no memory
    (``native.Code.fails``).
    """

    schedule: Schedule
    kernels: Mapping[Kernel, LoadedKernel]
    stores: Mapping[str, ParameterStore]
    driver: Driver
    names: Mapping[Kernel, str] = field(default_factory=dict)
    routines: Mapping[Routine, RoutineCode] = field(default_factory=dict)
    make: Callable[[Schedule], Program] | None = None
    failing: frozenset[Kernel] = frozenset()

    def of(self, plan: Plan) -> Program:
        """The program of a plan's schedule."""
        if plan.schedule is self.schedule or self.make is None:
            return self
        return self.make(plan.schedule)

    def codes(self, failures: int) -> Codes:
        """The code that rows of a table call; kernels note at ``failures`` that they failed."""
        addresses: dict[Kernel | Routine, int] = {k: c.address for k, c in self.kernels.items()}
        tails: dict[Kernel | Routine, tuple[int, ...]] = dict.fromkeys(self.failing, (failures,))
        for routine, code in self.routines.items():
            addresses[routine], tails[routine] = code.address, code.words
        return Codes(addresses, tails)

    @property
    def updated_labels(self) -> frozenset[str]:
        """Labels of the parameters that the schedule writes."""
        written = {name for step in self.schedule.steps for name in step.writes()}
        return frozenset(
            b.label for b in self.schedule.buffers if b.role == "parameter" and b.name in written
        )

    @property
    def is_divisible(self) -> bool:
        """True if the driver is Python code, and interrupts may come between its rows."""
        return isfunction(self.driver)


class ParameterLocks(LockSet):
    """The locks of a program's parameters, in creation order, so that two runs cannot deadlock."""

    def __init__(self, program: Program) -> None:
        updated = program.updated_labels
        used = {b.label for b in program.schedule.buffers if b.role == "parameter"}
        stores = sorted(program.stores.items(), key=lambda item: item[1].lock.serial)
        super().__init__((store.lock, label in updated) for label, store in stores if label in used)


def nothing() -> None:
    """Do nothing before a plan's first write, the default."""


class Shadows:
    """Copies of the parameters that a plan updates, for a driver that interrupts may divide.

    With ``STATICGRAD_JIT=0`` the driver is Python code, and a signal handler, or the end of the
    run, may come between any two of its rows. So its kernels update copies, and one call that
    nothing divides writes them all to where they belong.
    """

    def __init__(self, stores: Iterable[ParameterStore]) -> None:
        self._originals = {store.name: store.array for store in stores}
        self._copies = {
            name: aligned_bytes(array.nbytes).view(array.dtype).reshape(array.shape)
            for name, array in self._originals.items()
        }

    def address(self, name: str) -> int | None:
        """Return the address of the copy of a parameter; None for one that is not updated."""
        copy = self._copies.get(name)
        return None if copy is None else address_of(copy)

    def take_over(self) -> None:
        """Copy the parameters' present values."""
        for name, array in self._originals.items():
            np.copyto(self._copies[name], array)

    def publish(self) -> None:
        """Give all parameters the values of their copies."""
        write_together([*self._originals.values()], [*self._copies.values()])


class LoopLimitError(Exception):
    """The loops of a run take longer than it may."""


class Table:
    """The words of one plan (``runtime.words``) and what runs them: who calls, and the pool."""

    #: Where the highest arena byte ends that the latest run touched, on the next border of 64
    #: bytes; None in a table that does not watch its kernels.
    highest_touched: int | None = None
    #: What its rows have (``division``); where Python runs them, each is a step.
    rows_of_steps: ClassVar[Rows] = TOGETHER

    def __init__(self, program: Program, plan: Plan) -> None:
        self.plan = plan
        self._driver, self._kernels = program.driver, program.kernels
        self._schedule = program.schedule
        self._shadows = self._make_shadows(program)
        #: A pair of words as those of checks, of which kernels without memory set the first.
        self._failures = np.full(2, -1)
        self._may_fail = bool(program.failing)
        places = BufferPlaces(plan, self._fixed_addresses(program))
        rows = "single" if program.is_divisible else self.rows_of_steps
        self._words = Words(places, program.codes(address_of(self._failures)), rows)
        if self._words.has_sections and not program.is_divisible:
            self._words.share(self._pool_address())
        self._view = self._words.array.data
        self._block = self._words.block(0)
        self._slots = self._words.slots
        self._arena_base = -1
        outside = [b.name for b in program.schedule.buffers if b.role in ("input", "output")]
        self._outside = {name: number for number, name in enumerate(outside)}
        #: The address of each buffer that a run binds, -1 while it has none.
        self._addresses = np.full(len(outside) + 1, -1, np.int64)
        self._bound = self._addresses.data
        self._checks = find_checks(places)
        self._noted = tuple(dict.fromkeys(w for check in self._checks for w in check.words))
        self._is_certain = any(check.certain for check in self._checks)
        self._notes = memoryview(b"")
        self.pace = Pace(plan)
        #: Predicted nanoseconds of the loops of the latest run, by the iterations that they made.
        self.loop_nanoseconds = 0
        #: How many of them a run may take: beyond, it raises LoopLimitError.
        self.loop_limit = ENDLESS
        # A subclass watches its rows, and shadows are copied: both need Python between the two
        # calls.
        plain = type(self) is Table and self._shadows is None
        #: Whether rows in loops and branches call Python, and whether the latest run came to one.
        self.may_call_python, self.has_called_python = bool(self._words.python_rows), False
        is_late = any(row >= self.commit_row for row in self._words.python_rows)
        calls_python = self._words.always_calls_python or is_late
        #: Whether two calls of native code run it and nobody watches. Python is called in loops and
        #: branches alone: a native run that comes to such a row is given up there.
        self.is_native = plain and not calls_python and self.pace.is_short and not self._is_certain
        self.staged = {
            b.label: offset
            for b in program.schedule.buffers
            if b.role == "input" and (offset := places.offset(b.name, 0)) is not None
        }

    def _fixed_addresses(self, program: Program) -> Mapping[str, int]:
        """The buffers whose addresses are written once, when the table is filled."""
        fixed = dict(fixed_addresses(program))
        for buffer in program.schedule.buffers:
            if self._shadows is not None and buffer.role == "parameter":
                fixed[buffer.name] = self._shadows.address(buffer.label) or fixed[buffer.name]
        return fixed

    def _pool_address(self) -> int:
        """The memory of the pool whose workers take part; 0 where only the caller runs rows."""
        workers = pool.pool(self.plan.workers)
        return 0 if workers is None else workers.address

    def _make_shadows(self, program: Program) -> Shadows | None:
        """Return shadow copies of the parameters, if a run may end between two updates.

        An interrupt, or a kernel that fails behind the commit, ends it there.
        """
        late = {
            self._schedule.steps[planned.step] for planned in self.plan.steps[self.plan.commit :]
        }
        kernels = {kernel for step in late for kernel in step.kernels()}
        if not (program.is_divisible or kernels & program.failing):
            return None
        return Shadows(program.stores[name] for name in program.updated_labels)

    @property
    def held_bytes(self) -> int:
        """Approximate bytes of the objects of the driver's table, without the plan."""
        words = (self._words.array, self._words.arena_words, self._words.arena_offsets)
        slots = sum(len(words_of_slot) for words_of_slot in self._slots.values())
        return (
            4000
            + 150 * len(self._outside)
            + sum(w.nbytes for w in words)
            + 130 * slots
            + 300 * len(self._checks)
        )

    def bind_arena(self, arena: Arena) -> None:
        """Point the records into the arena, where it has moved."""
        if self._arena_base != arena.base:
            self._arena_base = -1  # an interrupt between the words must not leave half of them old
            self._words.array[self._words.arena_words] = self._words.arena_offsets + arena.base
            self._arena_base = arena.base

    def bind(self, buffer: str, address: int) -> None:
        """Bind the records' operands of a feed or output buffer to ``address``."""
        number, bound = self._outside[buffer], self._bound
        if bound[number] != address:
            view = self._view
            bound[number] = -1  # as above: until all words are written, none counts
            for word, inside in self._slots.get(buffer, ()):
                view[word] = address + inside
            bound[number] = address

    def address(self, buffer: str) -> int | None:
        """Return the address that a feed or output buffer is bound to."""
        number = self._outside.get(buffer)
        return None if number is None or self._bound[number] == -1 else int(self._bound[number])

    # -- what native runs must know ---------------------------------------------------------------

    @property
    def block(self) -> int:
        """The address of the worker's block."""
        return self._block

    @property
    def commit_row(self) -> int:
        """The first row behind the commit."""
        return self._words.first_rows[self.plan.commit]

    @property
    def all_rows(self) -> int:
        return self._words.first_rows[-1]

    def notes(self, base: int) -> Sequence[int]:
        """Return addresses of words; in each and the following one a failure is noted.

        ``base`` is where the arena begins.
        """
        failures = [address_of(self._failures)] if self._may_fail else []
        return [*(base + 8 * word for word in self._noted), *failures]

    def slots(self, buffer: str) -> Sequence[tuple[int, int]]:
        """The words that point into a buffer, and how many bytes from its start."""
        return self._slots.get(buffer, ())

    def word_at(self, word: int) -> int:
        """The address of a word of the table."""
        return self._words.address + 8 * word

    def head_at(self, name: str) -> int:
        """The address of a word at the head of the caller's block."""
        return self.word_at(self._words.head(name))

    def bound_at(self, buffer: str | None) -> int:
        """The address of the word that says where a buffer is bound to; for None of one unused."""
        number = len(self._outside) if buffer is None else self._outside[buffer]
        return address_of(self._addresses) + 8 * number

    def run(self, arena: Arena, begin_writing: Callable[[], object] = nothing) -> None:
        """Run the plan: the steps before the commit, the checks, then the updates.

        Interrupts are seen between the pieces of the former, when every parameter is old. The rest
        is one call, after ``begin_writing``: behind it all are new.

        Raises:
            IndexOutOfRange: the smallest failing (step, position); no parameter was written.
            OutOfMemory: a kernel got no memory for its scratch; no parameter was written.
            LoopLimitError: loops before the commit took more than ``loop_limit``.
            BaseException: what a routine raises that failed; no parameter was written.
        """
        self._notes = words = arena.words
        for word in self._noted:
            words[word] = words[word + 1] = -1
        self._failures[0] = -1
        if self._shadows is not None:
            self._shadows.take_over()
        self.loop_nanoseconds = 0
        if self.may_call_python:
            self._run_with_python()
        else:
            self._run_pieces()
        self._look(words, self._is_certain)
        if self.plan.commit < len(self.plan.steps):
            if self._shadows is None:
                begin_writing()
                self._call(self.plan.commit, len(self.plan.steps))
            else:
                self._call(self.plan.commit, len(self.plan.steps))
                begin_writing()
                self._shadows.publish()

    def _run_pieces(self) -> None:
        for first, last in self.pace.pieces:
            self._call(first, last)

    def _run_with_python(self) -> None:
        """Run the steps before the commit, and note whether a row of a branch called Python."""
        view, python = self._view, self._words.head("python")
        view[python] = 1
        try:
            self._run_pieces()
        finally:
            self.has_called_python = view[python] != 1
            view[python] = 0

    def _look(self, words: memoryview, certain: bool = False) -> None:
        """Raise what was noted, if anything was; it is ``certain`` where something must have
        been."""
        for word in self._noted:
            if words[word] >= 0 or certain:
                failures = (check.failure(words) for check in self._checks)
                failure = next((failure for failure in failures if failure is not None), None)
                if failure is None:
                    raise AssertionError("no step has noted an index")
                raise failure

    def _drive(self, first: int, last: int) -> None:
        """Run rows ``first`` to ``last`` (exclusive) of the table by the native driver.

        Raises:
            OutOfMemory: a kernel got no memory for its scratch.
        """
        self._driver(self._block, first, last)
        if self._may_fail and self._failures[0] >= 0:
            raise OutOfMemory(
                "a kernel that Numba compiled got no memory for its scratch",
                hint="allow the process more address space (ulimit -v), or compile with "
                'backend="vector", whose kernels allocate nothing; no parameter was written',
            )

    def _call(self, first: int, last: int) -> None:
        """Run positions ``first`` to ``last`` (exclusive) of the plan by the native driver.

        Before the commit, a loop comes back to Python each time that its iterations were predicted
        to take ``PIECE``: there signals are seen.
        """
        rows, view = self._words.first_rows, self._view
        if not self.pace.comes_back or first >= self.plan.commit:
            self._drive(rows[first], rows[last])
            return
        at, fuel, resume = rows[first], self._words.head("fuel"), self._words.head("resume")
        piece = min(_FUEL, self.loop_limit)
        while at >= 0:
            view[fuel], view[resume] = piece, 0
            self._drive(at, rows[last])
            self.loop_nanoseconds += piece - view[fuel]
            at = self._words.row_at(view[resume])
            if at >= 0:  # a loop whose index has failed may have no end
                self._look(self._notes)
                if self.loop_nanoseconds > self.loop_limit:
                    raise LoopLimitError
        view[fuel] = ENDLESS


def fixed_addresses(program: Program) -> dict[str, int]:
    """Return the addresses that no run changes: parameters and constants, by buffer."""
    fixed = {}
    for buffer in program.schedule.buffers:
        if buffer.role == "parameter":
            fixed[buffer.name] = address_of(program.stores[buffer.label].array)
        elif buffer.role == "constant" and buffer.data is not None:
            fixed[buffer.name] = address_of(buffer.data.array)
    return fixed
