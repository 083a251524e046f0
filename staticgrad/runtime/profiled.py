"""A table that runs one position of its plan at a time and notes how long each takes."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Final

from staticgrad.analysis.binding import Feeds
from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import shown
from staticgrad.ir.plan import Plan
from staticgrad.runtime.arena import Arena
from staticgrad.runtime.executor import Executor
from staticgrad.runtime.step import ParameterLocks, Program, Table, nothing
from staticgrad.storage.parameter import write_together

#: Calls of no row, of which the shortest says what a call costs.
_EMPTY_CALLS: Final = 20


class TimedTable(Table):
    """A table whose every position is a call of its own; results have the bytes of a plain run.

    ``runs`` has, for each run, the nanoseconds of the clock at which each position began, and those
    that it took, without what the call itself costs.
    """

    rows_of_steps = "apart"

    def __init__(self, program: Program, plan: Plan) -> None:
        super().__init__(program, plan)
        self.runs: list[list[tuple[int, int]]] = []
        self._spans: list[tuple[int, int]] = []
        self._call_cost = 0

    def run(self, arena: Arena, begin_writing: Callable[[], object] = nothing) -> None:
        """As ``Table.run``; a run that fails is not noted."""
        self._spans = []
        self._call_cost = min(self._nanoseconds_of(0, 0) for _ in range(_EMPTY_CALLS))
        super().run(arena, begin_writing)
        self.runs.append(self._spans)

    def _call(self, first: int, last: int) -> None:
        for position in range(first, last):
            begun = perf_counter_ns()
            spent = self._nanoseconds_of(position, position + 1)
            self._spans.append((begun, max(0, spent - self._call_cost)))

    def _nanoseconds_of(self, first: int, last: int) -> int:
        begun = perf_counter_ns()
        super()._call(first, last)
        return perf_counter_ns() - begun

    def threads(self, position: int) -> int:
        """How many threads may share a position's work: 1 where it stays with the caller."""
        first, last = self._words.first_rows[position : position + 2]
        shared = any(row.section for row in self._words.rows[first:last])
        return self.plan.workers if shared else 1


def timed_runs(executor: Executor, feeds: Feeds, runs: int) -> TimedTable:
    """The table of so many runs with these feeds; parameters are put back.

    The first run, whose memory is new, is one more.

    Raises:
        ArgumentError: ``runs`` is no whole number from 1 on.
    """
    if type(runs) is not int or runs < 1:
        raise ArgumentError(f"profile: runs is {shown(runs)}, not a whole number from 1 on")
    tables: list[TimedTable] = []

    def make(program: Program, plan: Plan) -> Table:
        tables.append(TimedTable(program, plan))
        return tables[-1]

    timed, program = executor.with_tables(make), executor.program
    arrays = [program.stores[name].array for name in sorted(program.updated)]
    before = [array.copy() for array in arrays]

    def put_back(_: object, begin_writing: Callable[[], object]) -> None:
        begin_writing()
        write_together(arrays, before)

    try:
        for _ in range(runs + 1):
            timed.run(feeds)
    finally:
        ParameterLocks(program).run(put_back, None)
    return tables[-1]
