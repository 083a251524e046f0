"""One plan as the driver's table, and the run of it: checks first, then what writes parameters.

A table holds the driver's rows and every kernel's record in one i64 array. It is filled once per
plan; a run patches the addresses of feeds and outputs. Which numbers belong where is decided in
the plan; this file turns them into addresses.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from inspect import isfunction
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad.analysis.barriers import barriers
from staticgrad.analysis.cost import all_seconds
from staticgrad.errors import IndexOutOfRange, VerifyError
from staticgrad.ir.kernel import Kernel
from staticgrad.ir.plan import Plan, PlannedStep, own_stride
from staticgrad.ir.schedule import KernelStep, Schedule, Step
from staticgrad.native import ROW_WORDS
from staticgrad.records import dataclass
from staticgrad.runtime.arena import Arena, address_of
from staticgrad.runtime.lookups import index_failure
from staticgrad.runtime.shadows import Shadows
from staticgrad.source import Location
from staticgrad.storage.parameter import ParameterStore
from staticgrad.storage.reservation import LockSet
from staticgrad.types.dim import evaluate

Array = npt.NDArray[Any]
#: Runs rows ``first`` to ``last`` (exclusive), as the worker whose block is at an address.
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
    """Pairs of i64 words of the arena in which a step's workers note the smallest failing index.

    ``words`` has the first of each worker's pair, by number. ``certain``: the step cannot but fail,
    and does not run.
    """

    words: tuple[int, ...]
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
    """The rows and records of one plan, and a block of words for each worker.

    A row is ``native.Row``. Its record holds one pointer per access that workers share, then one
    word per integer argument. Its words in a worker's block are one pointer for each access that is
    the worker's own: scratch and check words. The block begins with the address of the rows.
    The barriers are filled in where the plan is for several workers: one has nobody to wait for.
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
        places = _Places(plan)
        self._slots: dict[str, list[tuple[int, int]]] = {}
        self._bound: dict[str, int] = {}
        self._fill(program, steps, places)
        self._block = self.block(0)
        self._checks = self._find_checks(steps, places)
        self._noted = tuple(dict.fromkeys(w for check in self._checks for w in check.words))
        self._is_certain = any(check.certain for check in self._checks)
        self._pieces = _pieces(plan)
        self.staged = {
            b.label: offset
            for b in program.schedule.buffers
            if b.role == "input" and (offset := places.offset(b.name, 0)) is not None
        }

    def _fill(self, program: Program, steps: Sequence[Step], places: _Places) -> None:
        fixed = self._fixed_addresses(program)
        waiting = frozenset(barriers(self.plan) if self.plan.workers > 1 else ())
        rows, records = list[int](), list[int]()
        blocks: list[list[int]] = [[0] for _ in range(self.plan.workers)]
        arena: list[tuple[int, int]] = []  # words of records, and where in the arena they point to
        first = ROW_WORDS * len(steps)
        for row, (planned, step) in enumerate(zip(self.plan.steps, steps, strict=True)):
            assert isinstance(step, KernelStep)
            cut = (planned.total, planned.grain, row in waiting)
            rows += (program.addresses[step.kernel], len(records), 8 * len(blocks[0]), *cut)
            for access, inside in zip(step.accesses(), planned.offsets, strict=True):
                name = access.buffer
                place = places.offset(name, row)
                if access.is_own:
                    for block, part in zip(blocks, self._parts(name, place, inside), strict=True):
                        block.append(part)
                    continue
                if place is not None:
                    arena.append((first + len(records), place + inside))
                elif name not in fixed:
                    self._slots.setdefault(name, []).append((first + len(records), inside))
                records.append(fixed[name] + inside if place is None and name in fixed else 0)
            records += planned.arguments
        self._block_start, self._block_words = first + len(records), len(blocks[0])
        self._words = np.array([*rows, *records, *chain(*blocks)], np.int64)
        self._view = self._words.data
        self.address = address_of(self._words)
        self._words[1:first:ROW_WORDS] *= 8
        self._words[1:first:ROW_WORDS] += self.address + 8 * first
        starts = range(self._block_start, len(self._words), self._block_words)
        self._words[list(starts)] = self.address
        for start, block in zip(starts, blocks, strict=True):
            arena += enumerate(block[1:], start + 1)
        self._arena_words, self._arena_offsets = np.array(arena, np.int64).reshape(-1, 2).T.copy()
        self._arena_base = -1

    def _parts(self, buffer: str, place: int | None, inside: int) -> Sequence[int]:
        """Where in the arena each worker's part is of a buffer whose first part is at ``place``."""
        if place is None:
            raise VerifyError(f"{buffer!r} belongs to workers and is not in the arena")
        if self.plan.workers == 1:
            return (place + inside,)
        found = self._schedule.buffer(buffer)
        stride = own_stride(found.role, evaluate(found.nbytes, dict(self.plan.sizes)))
        return [place + inside + worker * stride for worker in range(self.plan.workers)]

    def block(self, worker: int) -> int:
        """The address of a worker's block, by its number; its first word is that of the rows."""
        return self.address + 8 * (self._block_start + worker * self._block_words)

    def words_of(self, row: int) -> Iterator[int]:
        """The word that points to each operand of a row, as the first worker has it."""
        at, own = (int(word) for word in self._words[ROW_WORDS * row + 1 : ROW_WORDS * row + 3])
        at, own = (at - self.address) // 8, self._block_start + own // 8
        for access in self._schedule.steps[self.plan.steps[row].step].accesses():
            yield own if access.is_own else at
            at, own = at + (not access.is_own), own + access.is_own

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
                    parts = self._parts(check.buffer, place, planned.offsets[check.access])
                    words = tuple(part // 8 for part in parts)
                    origin = self._schedule.buffer(check.buffer).origin or _origin(step)
                    certain = check.name in planned.fails
                    found.append(
                        _CheckWords(words, planned.step, planned, check.name, origin, certain)
                    )
        return sorted(found, key=lambda check: check.step)

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
        for word in self._noted:
            words[word] = words[word + 1] = -1
        if self._shadows is not None:
            self._shadows.take_over()
        for first, last in self._pieces:
            self._driver(self._block, first, last)
        for word in self._noted:
            if words[word] >= 0 or self._is_certain:
                raise self._first_failure(words)
        if self.plan.commit < len(self.plan.steps):
            self._commit(begin_writing)

    def _first_failure(self, words: memoryview) -> IndexOutOfRange:
        """The error of the smallest (step, position) of all that workers have noted."""
        for check in self._checks:
            if check.certain:
                return IndexOutOfRange(
                    "no index is in range for an axis of size 0",
                    hint="the axis is empty",
                    at=check.origin,
                )
            noted = [(words[at], words[at + 1]) for at in check.words if words[at] >= 0]
            if noted:
                return index_failure(
                    self._schedule, check.planned, check.operand, *min(noted), check.origin
                )
        raise AssertionError("no step has noted an index")

    def _commit(self, begin_writing: Callable[[], object]) -> None:
        if self._shadows is None:
            begin_writing()
            self._driver(self._block, self.plan.commit, len(self.plan.steps))
        else:
            self._driver(self._block, self.plan.commit, len(self.plan.steps))
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
