"""One plan as the driver's table, and the run of it: checks first, then what writes parameters.

A table holds the driver's rows and every kernel's record in one i64 array. It is filled once per
plan; a run patches the addresses of feeds and outputs. Which numbers belong where is decided in
the plan; this file turns them into addresses.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from inspect import isfunction
from operator import itemgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad.analysis.cost import all_seconds
from staticgrad.errors import IndexOutOfRange, VerifyError
from staticgrad.ir.kernel import Kernel
from staticgrad.ir.plan import Plan, PlannedStep
from staticgrad.ir.schedule import KernelStep, Schedule, Step
from staticgrad.native import ROW_WORDS
from staticgrad.records import dataclass
from staticgrad.runtime.arena import Arena, address_of
from staticgrad.runtime.lookups import index_failure
from staticgrad.runtime.shadows import Shadows
from staticgrad.source import Location
from staticgrad.storage.parameter import ParameterStore
from staticgrad.storage.reservation import LockSet

Array = npt.NDArray[Any]
#: Runs rows ``first`` to ``last`` (exclusive) of the table at an address.
Driver = Callable[[int, int, int], object]
#: Predicted seconds of rows that run in one call, behind which Python looks for signals. A call
#: costs a millionth of a second, and whoever presses Ctrl-C feels a tenth. Some machines are slower
#: than predicted; and a thread that computes in Python may take its turn between two calls.
PIECE: Final = 0.02


@dataclass(frozen=True)
class Program:
    """A schedule with its code: kernels by address, parameters by their stores.

    ``addresses`` holds one address per kernel object of the schedule; ``stores`` maps the labels
    of parameter buffers to their storage. Tables made from it live as long as the stores do.
    ``names`` are what messages call the kernels.
    """

    schedule: Schedule
    addresses: Mapping[Kernel, int]
    stores: Mapping[str, ParameterStore]
    driver: Driver
    names: Mapping[Kernel, str] = field(default_factory=dict)

    @property
    def updated(self) -> frozenset[str]:
        """Labels of the parameters that the schedule writes."""
        written = {name for step in self.schedule.steps for name in step.writes()}
        return frozenset(
            b.label for b in self.schedule.buffers if b.role == "parameter" and b.name in written
        )

    @property
    def is_divisible(self) -> bool:
        """Whether the driver is Python code, and interrupts may come between its rows."""
        return isfunction(self.driver)


class ParameterLocks(LockSet):
    """The locks of a program's parameters, in creation order, so that two runs cannot deadlock."""

    def __init__(self, program: Program) -> None:
        updated = program.updated
        used = {b.label for b in program.schedule.buffers if b.role == "parameter"}
        stores = sorted(program.stores.items(), key=lambda item: item[1].lock.serial)
        super().__init__((store.lock, label in updated) for label, store in stores if label in used)


def nothing() -> None:
    """What happens before the first write of a plan that nobody else can see."""


@dataclass(frozen=True)
class _CheckWords:
    """Two i64 words of the arena in which a step notes its smallest failing index.

    ``certain``: the step cannot but fail, and does not run.
    """

    word: int
    step: int
    planned: PlannedStep
    operand: str
    origin: Location | None
    certain: bool


class _Places:
    """Where arena buffers are at a row: a buffer has a place for each of its lives."""

    def __init__(self, plan: Plan) -> None:
        self._lives: dict[str, list[tuple[int, int, int]]] = {}
        for p in plan.placements:
            self._lives.setdefault(p.buffer, []).append((p.first, p.last, p.offset))
        for lives in self._lives.values():
            lives.sort()

    def offset(self, buffer: str, row: int) -> int | None:
        """Bytes from the start of the arena; None for a buffer outside it."""
        lives = self._lives.get(buffer)
        if lives is None:
            return None
        first, last, offset = lives[bisect_right(lives, row, key=itemgetter(0)) - 1]
        if not first <= row <= last:
            raise VerifyError(f"row {row} uses {buffer!r}, which has no place then")
        return offset


class Table:
    """The rows and records of one plan.

    A row is (kernel address, record address, 0, iterations); a record holds one pointer per access
    of the step, then one word per integer argument.
    """

    #: Where the highest arena byte ends that the latest run touched, on the next border of 64
    #: bytes; None in a table that does not watch its kernels.
    highest_touched: int | None = None

    def __init__(self, program: Program, plan: Plan) -> None:
        self.plan = plan
        self._driver = program.driver
        self._schedule = program.schedule
        self._shadows = self._make_shadows(program)
        steps = [program.schedule.steps[planned.step] for planned in plan.steps]
        starts = [ROW_WORDS * len(steps)]
        for step in steps:
            starts.append(starts[-1] + len(step.accesses()) + len(step.arguments))
        self._words = np.zeros(starts[-1] + 1, np.int64)  # never empty: it has an address
        self._view = self._words.data
        self.address = address_of(self._words)
        self._slots: dict[str, list[tuple[int, int]]] = {}
        self._bound: dict[str, int] = {}
        places = _Places(plan)
        self._fill(program, steps, starts, places)
        self._checks = self._find_checks(steps, places)
        self._reset = self._check_words()
        self._pieces = _pieces(plan)
        self.staged = {
            b.label: offset
            for b in program.schedule.buffers
            if b.role == "input" and (offset := places.offset(b.name, 0)) is not None
        }

    def _fill(
        self, program: Program, steps: Sequence[Step], starts: Sequence[int], places: _Places
    ) -> None:
        fixed = self._fixed_addresses(program)
        words, offsets = [], []
        for row, (planned, step) in enumerate(zip(self.plan.steps, steps, strict=True)):
            at = starts[row]
            record = self.address + 8 * at
            assert isinstance(step, KernelStep)
            self._words[ROW_WORDS * row : ROW_WORDS * (row + 1)] = (
                program.addresses[step.kernel], record, 0, planned.total,
            )  # fmt: skip
            for word, (access, inside) in enumerate(
                zip(step.accesses(), planned.offsets, strict=True), at
            ):
                name = access.buffer
                place = places.offset(name, row)
                if place is not None:
                    words.append(word)
                    offsets.append(place + inside)
                elif name in fixed:
                    self._words[word] = fixed[name] + inside
                else:
                    self._slots.setdefault(name, []).append((word, inside))
            arguments = at + len(step.accesses())
            self._words[arguments : arguments + len(planned.arguments)] = planned.arguments
        self._arena_words = np.array(words, np.int64)
        self._arena_offsets = np.array(offsets, np.int64)
        self._arena_base = -1

    def _fixed_addresses(self, program: Program) -> Mapping[str, int]:
        """The buffers whose addresses are written once, when the table is filled."""
        fixed = dict(fixed_addresses(program))
        for buffer in program.schedule.buffers:
            if self._shadows is not None and buffer.role == "parameter":
                fixed[buffer.name] = self._shadows.address(buffer.label) or fixed[buffer.name]
        return fixed

    def _make_shadows(self, program: Program) -> Shadows | None:
        """What the rows update in place of parameters, if interrupts may come between them."""
        if not program.is_divisible:
            return None
        return Shadows(program.stores[name] for name in program.updated)

    def _find_checks(self, steps: Sequence[Step], places: _Places) -> list[_CheckWords]:
        """The words of every check; what runs again after the commit has passed its check."""
        found = []
        for row in range(self.plan.commit):
            planned, step = self.plan.steps[row], steps[row]
            for check in step.checks():
                place = places.offset(check.buffer, row)
                if place is not None:
                    word = (place + planned.offsets[check.access]) // 8
                    origin = self._schedule.buffer(check.buffer).origin or _origin(step)
                    certain = check.name in planned.fails
                    found.append(
                        _CheckWords(word, planned.step, planned, check.name, origin, certain)
                    )
        return sorted(found, key=lambda check: check.step)

    def _check_words(self) -> tuple[int, ...]:
        """Every word that must be -1 before the run, each once."""
        return tuple(
            dict.fromkeys(w for check in self._checks for w in (check.word, check.word + 1))
        )

    @property
    def held_bytes(self) -> int:
        """About how many bytes the table's own objects take, without the plan."""
        words = (self._words, self._arena_words, self._arena_offsets)
        slots = sum(len(found) for found in self._slots.values())
        return 2000 + sum(w.nbytes for w in words) + 130 * slots + 300 * len(self._checks)

    def bind_arena(self, arena: Arena) -> None:
        """Point the records into the arena, where it has moved."""
        if self._arena_base != arena.base:
            self._arena_base = -1  # an interrupt between the words must not leave half of them old
            self._words[self._arena_words] = self._arena_offsets + arena.base
            self._arena_base = arena.base

    def bind(self, buffer: str, address: int) -> None:
        """Point the records' operands bound to a feed or output buffer to ``address``."""
        if self._bound.get(buffer) != address:
            view = self._view
            self._bound.pop(buffer, None)  # as above: until all words are written, none counts
            for word, inside in self._slots.get(buffer, ()):
                view[word] = address + inside
            self._bound[buffer] = address

    def run(self, arena: Arena, begin_writing: Callable[[], object] = nothing) -> None:
        """Run the plan: all that is before the commit, a look at the checks, the rest.

        Interrupts are seen between the pieces of the former, when every parameter is old. The rest
        is one call, after ``begin_writing``: behind it all are new.

        Raises:
            IndexOutOfRange: the smallest failing (step, position); no parameter was written.
        """
        words = arena.words
        for word in self._reset:
            words[word] = -1
        if self._shadows is not None:
            self._shadows.take_over()
        for first, last in self._pieces:
            self._driver(self.address, first, last)
        for check in self._checks:
            if check.certain:
                raise IndexOutOfRange(
                    "no index is in range for an axis of size 0",
                    hint="the axis is empty",
                    at=check.origin,
                )
            if words[check.word] >= 0:
                position, found = words[check.word], words[check.word + 1]
                raise index_failure(
                    self._schedule, check.planned, check.operand, position, found, check.origin
                )
        if self.plan.commit < len(self.plan.steps):
            self._commit(begin_writing)

    def _commit(self, begin_writing: Callable[[], object]) -> None:
        if self._shadows is None:
            begin_writing()
            self._driver(self.address, self.plan.commit, len(self.plan.steps))
        else:
            self._driver(self.address, self.plan.commit, len(self.plan.steps))
            begin_writing()
            self._shadows.publish()


def _pieces(plan: Plan) -> tuple[tuple[int, int], ...]:
    """The rows before the commit, (first, last), cut after each that ends ``PIECE`` seconds."""
    rows = plan.steps[: plan.commit]
    steps = [plan.schedule.steps[planned.step] for planned in rows]
    pieces, first, spent = [], 0, 0.0
    for row, seconds in enumerate(all_seconds(steps, [planned.arguments for planned in rows])):
        spent += seconds
        if spent > PIECE:
            pieces.append((first, row + 1))
            first, spent = row + 1, 0.0
    return (*pieces, (first, plan.commit)) if first < plan.commit else tuple(pieces)


def fixed_addresses(program: Program) -> dict[str, int]:
    """Addresses that no run changes: parameters and constants, by buffer."""
    fixed = {}
    for buffer in program.schedule.buffers:
        if buffer.role == "parameter":
            fixed[buffer.name] = address_of(program.stores[buffer.label].array)
        elif buffer.role == "constant" and buffer.data is not None:
            fixed[buffer.name] = address_of(buffer.data.array)
    return fixed


def _origin(step: Step) -> Location | None:
    return step.origins[0] if step.origins else None
