"""Runs of one compiled program: from feeds to results, all or nothing.

It keeps what runs share: the arena, the tables of the plans seen lately, the output arrays. Every
check of feeds, sizes and output arrays comes before the first kernel. One program called from two
threads is serialised. The caller hands in the function that makes plans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad import native
from staticgrad.analysis.binding import Feeds, bind_sizes, concrete_shape
from staticgrad.compiler.runtime.arena import Arena, WrittenMemory, address_of
from staticgrad.compiler.runtime.feeds import (
    BoundFeeds,
    FeedBinder,
    OutputPool,
    Port,
    check_apart,
    copy_feed,
    given_outputs,
    input_ports,
    output_ports,
)
from staticgrad.compiler.runtime.step import ParameterLocks, Program, Table
from staticgrad.errors import BudgetInfeasible, ReentryError
from staticgrad.language.ir.graph import Graph, Symbolic
from staticgrad.language.ir.plan import Plan
from staticgrad.language.storage.locks import is_inside_another
from staticgrad.native.lock import LOCK
from staticgrad.native.system.floating_point import default_environment
from staticgrad.support.caches import SEEN_SIZES, BoundedCache
from staticgrad.support.forks import ProcessLock
from staticgrad.support.records import dataclass

if TYPE_CHECKING:
    from staticgrad.compiler.runtime.arena import BoundRun
    from staticgrad.compiler.runtime.entry import Entry, TableRecord

Array = npt.NDArray[Any]
#: (sizes, buffer names of staged inputs) -> plan; raises when there is none within the budget.
MakePlan = Callable[[Mapping[str, int], frozenset[str]], Plan]
#: (program, plan) -> what runs the plan: a Table, or one that watches its kernels.
MakeTable = Callable[[Program, Plan], Table]
_OFTEN: Final = 3  # runs before a program gets a native entry, whose code is loaded for the first
_RECORD: Final = 1000  # bytes of the native entry's record of a table, about


@dataclass(frozen=True)
class Memory:
    """Bytes of one step. ``arena`` is the plan's peak; the others stand beside it.

    ``constants`` are those that the step reads, what was computed once of others included.
    ``seen_sizes`` are the tables and plans that the program keeps ready for sizes that it has run
    at; those of all programs of the process together are bounded (``kept.SEEN_SIZES``), but that
    each keeps the two used last.
    A program that runs at several sizes keeps the arena of the largest, and of each output up to
    two arrays that its callers dropped.
    """

    arena: int
    feeds: int
    parameters: int
    outputs: int
    constants: int
    seen_sizes: int = 0

    @property
    def total(self) -> int:
        """The sum of all."""
        return self.arena + self.feeds + self.parameters + self.outputs + self.constants

    def __str__(self) -> str:
        rows = [(pool.name, getattr(self, pool.name)) for pool in fields(self)]
        rows.append(("total", self.total))
        return "\n".join([f"{name:<10}  {nbytes:>15,} bytes" for name, nbytes in rows])

    def _repr_html_(self) -> str:
        """Return the bytes of a step by kind as an HTML chart."""
        from staticgrad.support.pictures import charts, markup

        rows = [(pool.name, float(getattr(self, pool.name))) for pool in fields(self)]
        chart = charts.bars(rows, markup.nbytes, "bytes of a step")
        return markup.fragment(
            markup.paragraph(f"{markup.nbytes(self.total)} for a step"),
            f'<div class="chart">{chart}</div>',
        )


class _Prepared:
    """A table with the shapes of its outputs, and its record in the native entry."""

    __slots__ = ("record", "shapes", "table")

    def __init__(self, table: Table, shapes: dict[str, tuple[int, ...]]) -> None:
        self.table, self.shapes = table, shapes
        self.record: TableRecord | None = None


class Executor:
    """A program with its arena, tables and output arrays."""

    def __init__(
        self,
        graph: Graph,
        program: Program,
        make_plan: MakePlan,
        sizes: Mapping[str, int] | None = None,
        make_table: MakeTable = Table,
        single: bool = False,
    ) -> None:
        """``graph`` gives types and guards of inputs and outputs; ``sizes`` are fixed before.

        ``single``: the native entry returns the only output itself.
        """
        self.program = program
        self._graph, self._make_plan, self._make_table = graph, make_plan, make_table
        self._fixed_sizes = dict(sizes or {})
        self._inputs = input_ports(graph, program.schedule)
        self._outputs = output_ports(graph, program.schedule)
        self._feeds = FeedBinder(graph, frozenset(p.name for p in self._inputs if not p.is_read))
        self._duplicates = _duplicates(self._outputs)
        self._dtypes = {port.name: port.dtype for port in self._outputs}
        self._pools = {name: OutputPool(name, dtype) for name, dtype in self._dtypes.items()}
        self._locks = ParameterLocks(program)
        self._written = WrittenMemory(program.stores[name].array for name in program.updated_labels)
        self._single = single
        self._named = {port.name: port for port in self._inputs}
        self._keys: tuple[tuple[str, object], ...] = ()
        self._arena = Arena()
        self._tables: BoundedCache[object, _Prepared] = BoundedCache(SEEN_SIZES)
        self._lock = ProcessLock()
        self._latest: Table | None = None
        self._runs = 0
        self._entry: Entry | None = None
        #: ``enter(feeds)``: the results of a native run; None where ``run`` is to be called.
        self.enter: Callable[[object], Any] = _no_entry

    def run(self, feeds: Feeds, out: object = None) -> dict[str, Array]:
        """Run the compiled program: return its outputs by name, and update its parameters.

        Args:
            feeds: input name or input value -> array; see ``runtime.feeds`` for what is taken.
            out: arrays to write results into, by output name, or one array for the only output.
                After an IndexOutOfRange their contents are not specified.

        Raises:
            FeedError, OutputArrayError, OutOfMemory, BudgetInfeasible: before anything has run.
            IndexOutOfRange: before any parameter has changed.
            ReentryError: this code interrupts a step of the same thread (it is a signal handler, a
                finalizer, a debugger's watch) that is this program's, or shares parameters with it.
        """
        return self._run(feeds, out, None)

    def bind(self, feeds: Feeds, out: object = None) -> BoundRun[Any]:
        """Return a run of the program bound to these feeds and arrays, called without arguments.

        Raises:
            FeedError, OutputArrayError: as ``run`` does, for what the arrays are now.
        """
        bound = self._feeds.bind(feeds)
        sizes = self._sizes(bound)
        for port, array in zip(self._inputs, bound.arrays, strict=True):
            if port.name not in bound.staged_names and self._written:
                first = address_of(array)
                self._written.refuse(port.name, first, first + array.nbytes)
        if out is not None:
            self._check_outputs(out, self._result_shapes(sizes), bound)
            out = out if isinstance(out, Mapping) else {self._outputs[0].name: out}
        from staticgrad.compiler.runtime.arena import BoundRun

        return BoundRun(self, self._feeds.by_name(feeds), out)

    def run_bound(self, feeds: Feeds, out: object, whose: BoundRun[Any]) -> Any:
        """Run as ``run`` does; ``whose`` may note that its arrays have been checked."""
        results = self._run(feeds, out, whose)
        return next(iter(results.values())) if self._single else results

    def _run(self, feeds: Feeds, out: object, whose: BoundRun[Any] | None) -> dict[str, Array]:
        """Run with feeds: alone under the lock, or inside of a run of this thread."""
        bound = self._feeds.bind(feeds)
        if type(feeds) is dict and feeds.keys() != self._named.keys():
            self._keys = tuple((key.node.label, key) for key in feeds if type(key) is Symbolic)
        try:
            if self._lock.is_ours() or is_inside_another():
                return self._run_inside(bound, out, whose)
            with self._lock.mutex:
                return self._run_alone(bound, out, whose)
        except BudgetInfeasible as error:
            from staticgrad.analysis.budgets import name_reasons

            name_reasons(error, self._feeds.reasons(feeds, bound))
            raise

    def _run_inside(
        self, bound: BoundFeeds, out: object, whose: BoundRun[Any] | None
    ) -> dict[str, Array]:
        """Run for code that interrupts a step of its own thread: at once, or raise an error."""
        if self._lock.is_ours():
            raise _reentry("this program is running, and what interrupts its step calls it again")
        try:
            try:
                if not self._lock.try_to_take():
                    raise _reentry("this program runs in another thread, which may wait for a step "
                                   "that this code interrupts")  # fmt: skip
                return self._run_alone(bound, out, whose)
            finally:
                self._give_back()
        except BaseException:
            self._give_back()  # an interrupt may have come while it was being given back
            raise

    def _give_back(self) -> None:
        if self._lock.is_ours():
            self._lock.mutex.release()

    def _run_alone(
        self, bound: BoundFeeds, out: object, whose: BoundRun[Any] | None
    ) -> dict[str, Array]:
        """Run while the native entry is closed, and open it again."""
        try:
            if self._entry is not None:
                self._latest = self._entry.close() or self._latest
            return self._run_closed(bound, out, whose)
        finally:
            if self._entry is not None:
                self._entry.open()

    def _run_closed(
        self, bound: BoundFeeds, out: object, whose: BoundRun[Any] | None
    ) -> dict[str, Array]:
        """Run while no other run of this program, in Python or native, is in progress."""
        prepared = self._prepare(bound)
        results, addresses = self._results(prepared, bound, out)
        table = prepared.table
        if table.plan.peak_bytes > self._arena.capacity:
            if self._entry is not None:
                self._entry.keep(())  # what they know of the arena is no longer so
            self._arena.reserve(table.plan.peak_bytes)
        table.bind_arena(self._arena)
        self._bind_feeds(table, bound)
        for port in self._outputs:
            if port.buffer is not None:
                table.bind(port.buffer, addresses[port.name])
        self._locks.run(table.run, self._arena)
        for name, first in self._duplicates:
            np.copyto(results[name], results[first])
        self._latest = table
        if not self._runs:
            native.note_run()
        self._runs += 1
        if self._entry is not None and self._entry.would_give_up(table):
            self._entry.refuse(table)
        elif self._may_be_native(table, bound):
            self._admit(prepared, bound, results, whose)
        return results

    def _may_be_native(self, table: Table, bound: BoundFeeds) -> bool:
        """Return whether the native entry may run a plan that has just been run."""
        is_native = table.is_native and not table.has_called_python
        return is_native and self._takes_numbers(bound.staged_names) and not self._duplicates

    def _admit(
        self,
        prepared: _Prepared,
        bound: BoundFeeds,
        results: Mapping[str, Array],
        whose: BoundRun[Any] | None,
    ) -> None:
        """Let the native entry run the plan that has just been run."""
        entry = self._entry
        if entry is None and self._runs >= _OFTEN:
            entry = self._make_entry()
        if entry is None:
            return
        record = prepared.record
        if record is None or record.base != self._arena.base:
            from staticgrad.compiler.runtime.entry import TableRecord

            shapes = (bound.shapes, [*prepared.shapes.values()])
            ports = (entry.inputs, entry.outputs)
            record = TableRecord(
                bound.key, prepared.table, self._arena.base, ports, shapes, entry.is_unlocked
            )
            prepared.record = record
        entry.admit(record)
        if self._keys:
            entry.note_keys(self._keys)
            self._keys = ()
        if whose is not None:
            whose.note(entry, record, results)

    def _make_entry(
        self, set_in_order: Callable[[int, int, int], int] | None = None
    ) -> Entry | None:
        """Make the native entry; None if this driver or interpreter does not support it.

        ``set_in_order``: see ``Entry``; for a program without parameters.
        """
        with LOCK:  # a fork waits for it: no child is left with an import that a thread has begun
            from staticgrad.compiler.runtime.entry import Entry
            from staticgrad.native.entry.callables import unused_references

        driver = getattr(self.program.driver, "address", None)
        if driver is None or unused_references() is None:
            return None
        entry = self._entry = Entry(
            self._inputs,
            self._outputs,
            self._pools,
            self._written,
            self._locks,
            driver,
            self._single,
            set_in_order,
        )
        if set_in_order is None:
            self.enter = entry.enter
        return entry

    @property
    def native_entry(self) -> Entry | None:
        """The native entry, which there is after a few runs."""
        return self._entry

    @property
    def has_parameters(self) -> bool:
        """True if runs take locks of parameters."""
        return self._locks.holder is not None

    @property
    def is_busy(self) -> bool:
        """True if a run is in progress."""
        return self._lock.is_busy() or (self._entry is not None and self._entry.is_busy())

    def has_run(self, shapes: tuple[tuple[int, ...], ...]) -> bool:
        """Return whether feeds of these shapes, read in place, have a table."""
        return self._tables.peek((shapes, frozenset())) is not None

    def shapes(self, inputs: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Return the shapes of all results for feeds of these shapes.

        Raises:
            FeedError: the program does not take them.
        """
        shapes = dict(zip(self._named, inputs, strict=True))
        sizes = bind_sizes(self._graph, shapes, self._fixed_sizes)
        return [*self._result_shapes(sizes).values()]

    @property
    def ports(self) -> tuple[Sequence[Port], Sequence[Port]]:
        """The inputs and the outputs."""
        return self._inputs, self._outputs

    @property
    def runs(self) -> int:
        """The number of runs that ended well."""
        return self._runs + (0 if self._entry is None else self._entry.runs)

    def with_tables(self, make_table: MakeTable) -> Executor:
        """Return a copy of the program with tables of another kind."""
        sizes = self._fixed_sizes
        return Executor(self._graph, self.program, self._make_plan, sizes, make_table)

    def with_entry(self) -> Executor:
        """Return the program itself, with its native entry if it may have one."""
        with self._lock.mutex:
            entry = None if self._entry is not None else self._make_entry()
            if entry is not None:
                entry.open()
        return self

    def without_lock(self, set_in_order: Callable[[int, int, int], int]) -> Executor:
        """Return a copy of a program without parameters that threads run without Python's lock.

        It has an arena and tables of its own. ``set_in_order``: see ``Entry``.
        """
        sizes = self._fixed_sizes
        copy = Executor(self._graph, self.program, self._make_plan, sizes, self._make_table)
        entry = copy._make_entry(set_in_order)
        if entry is not None:
            entry.open()
        return copy

    def with_plan(self, plan: Plan) -> Executor:
        """Return a copy of the compiled program that runs this plan; staged feeds need another."""

        def make(sizes: Mapping[str, int], staged: frozenset[str]) -> Plan:
            fits = not staged and dict(sizes) == dict(plan.sizes)
            return plan if fits else self._make_plan(sizes, staged)

        return Executor(self._graph, self.program, make, self._fixed_sizes, self._make_table)

    def buffers_of(self, names: Iterable[str]) -> frozenset[str]:
        """The buffers of those of the named inputs that a step reads; no other feed is copied."""
        ports = (self._named[name] for name in names)
        return frozenset(p.buffer for p in ports if p.is_read and p.buffer is not None)

    def memory(self, plan: Plan) -> Memory:
        """Return the bytes that a run of a plan uses, by kind."""
        nbytes = dict(plan.buffer_bytes)
        totals = dict.fromkeys(("input", "parameter", "output", "constant"), 0)
        for buffer in self.program.schedule.buffers:
            if buffer.role in totals:
                totals[buffer.role] += nbytes[buffer.name]
        return Memory(
            plan.peak_bytes,
            totals["input"],
            totals["parameter"],
            totals["output"],
            totals["constant"],
            self._tables.nbytes,
        )

    @property
    def latest(self) -> Plan | None:
        """The plan of the latest run that ended well."""
        latest = self._latest_table()
        return None if latest is None else latest.plan

    @property
    def highest_touched(self) -> int | None:
        """The highest arena byte touched, by the table of the latest run; see ``Table``."""
        latest = self._latest_table()
        return None if latest is None else latest.highest_touched

    def _latest_table(self) -> Table | None:
        latest = None if self._entry is None else self._entry.latest
        return latest or self._latest

    def _prepare(self, bound: BoundFeeds) -> _Prepared:
        """Return the table of the plan for these feeds' sizes, cached or new."""
        prepared = self._tables.get(bound.key)
        if prepared is not None:
            return prepared
        sizes = self._sizes(bound)
        plan = self._make_plan(sizes, self.buffers_of(bound.staged_names))
        new_table = self._make_table(self.program.of(plan), plan)
        prepared = _Prepared(new_table, self._result_shapes(sizes))
        table = prepared.table
        self._tables.store(bound.key, prepared, table.held_bytes + plan.held_bytes + _RECORD)
        if self._entry is not None:
            self._entry.keep([r for r in self._entry.records if self._is_kept(r)])
        return prepared

    def _sizes(self, bound: BoundFeeds) -> dict[str, int]:
        """The sizes of a run, by name."""
        shapes = {port.name: shape for port, shape in zip(self._inputs, bound.shapes, strict=True)}
        return bind_sizes(self._graph, shapes, self._fixed_sizes)

    def _takes_numbers(self, staged: Iterable[str]) -> bool:
        """Return whether these inputs, which are copied, may be fed as numbers."""
        return all(self._named[name].number_bytes for name in staged)

    def _is_kept(self, record: TableRecord) -> bool:
        prepared = self._tables.peek(record.key)
        return prepared is not None and prepared.table is record.table

    def _result_shapes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        return {n: concrete_shape(t.shape, sizes) for n, t in self._graph.output_types.items()}

    def _check_outputs(
        self, out: object, shapes: Mapping[str, tuple[int, ...]], bound: BoundFeeds
    ) -> dict[str, Array]:
        """Check the arrays that the caller passed as ``out`` for results."""
        output_arrays = given_outputs(out, shapes, self._dtypes)
        feeds = [(f"feed {n!r}", a) for n, a in zip(self._named, bound.arrays, strict=True)]
        stores = [(f"parameter {n!r}", s.array) for n, s in self.program.stores.items()]
        check_apart(output_arrays, [*feeds, *stores])
        return output_arrays

    def _results(
        self, prepared: _Prepared, bound: BoundFeeds, out: object
    ) -> tuple[dict[str, Array], dict[str, int]]:
        """Return an array for each output of a run, and its address."""
        output_arrays = {} if out is None else self._check_outputs(out, prepared.shapes, bound)
        results, addresses = {}, {}
        for name, pool in self._pools.items():
            if name in output_arrays:
                results[name] = output_arrays[name]
                addresses[name] = address_of(output_arrays[name])
            else:
                results[name], addresses[name] = pool.take(prepared.shapes[name])
        return results, addresses

    def _bind_feeds(self, table: Table, bound: BoundFeeds) -> None:
        """Copy staged feeds into the arena, and bind the others' addresses to the table."""
        staged = bound.staged_names
        for port, array in zip(self._inputs, bound.arrays, strict=True):
            if port.name in staged:
                place = self._arena.array(table.staged[port.name], port.dtype, array.shape)
                copy_context().run(_copy_quietly, place, array)
            elif port.buffer is not None:
                address = address_of(array)
                if self._written:
                    self._written.refuse(port.name, address, address + array.nbytes)
                table.bind(port.buffer, address)


def _no_entry(_: object) -> None:
    """Do nothing: there is no run in native code."""


def _reentry(text: str) -> ReentryError:
    return ReentryError(text, hint="let a signal handler or finalizer set a flag that the "
                        "program's loop looks at, and run it there")  # fmt: skip


def _copy_quietly(place: Array, feed: Array) -> None:
    """Copy a feed in a separate context: NumPy's error state ends with it, interrupt or not."""
    np.seterr(all="ignore")
    with default_environment():
        copy_feed(place, feed)


def _duplicates(outputs: Sequence[Port]) -> tuple[tuple[str, str], ...]:
    """(output, the one that is written) for outputs that share a buffer of the schedule."""
    written = {port.buffer: port.name for port in outputs}
    return tuple((p.name, written[p.buffer]) for p in outputs if p.name != written[p.buffer])
