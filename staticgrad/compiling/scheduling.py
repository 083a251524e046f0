"""From a program to its schedule: passes, constants, fusion; or what a process before found.

What the passes made of the graph, and what they did, is made when somebody asks for it, where the
schedule was on disk: it follows from the program, as it did then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from passes.base import Pipeline, Report
from passes.remat import Policy
from passes.remat.store_all import StoreAll
from staticgrad import config
from staticgrad.analysis.budgets import AtSizes, BudgetFit, BudgetShare, Limit
from staticgrad.compiling import schedule_cache
from staticgrad.compiling.artifacts import Kernels
from staticgrad.compiling.schedule_cache import KnownSchedule
from staticgrad.errors import BudgetInfeasible, CallError, IndexOutOfRange, OutOfMemory
from staticgrad.ir.graph import Graph
from staticgrad.ir.plan import Plan
from staticgrad.ir.schedule import Schedule
from staticgrad.kept import cached_property
from staticgrad.memory.divided import KEPT, Divided, Divisions, divided, divisions
from staticgrad.memory.planner import Planner
from staticgrad.records import dataclass
from staticgrad.runtime.executor import Executor, MakeTable
from staticgrad.runtime.step import LoopLimitError, Program, Table

#: Predicted nanoseconds of the loops that are computed beforehand. They may have no end; the limit
#: is a prediction so that what is compiled does not depend on the load of the machine.
LOOP_LIMIT: Final = 1_000_000_000
#: What a planner takes beside a schedule: policy, budget, workers, the least time shared.
Limits = tuple[Policy, int | BudgetShare | BudgetFit | None, int, float]


def scheduled(graph: Graph, fuse: bool) -> Schedule:
    """The kernels of a graph; the schedule is checked by code that shares nothing with fusion."""
    from staticgrad.ir.verify_schedule import verify_schedule
    from staticgrad.lowering.fuse import fuse as fuse_graph  # not where the schedule is on disk

    schedule = fuse_graph(graph, fuse)
    verify_schedule(schedule)
    return schedule


@dataclass(frozen=True, eq=False)
class Scheduling:
    """How one program gets its schedule.

    ``make`` makes the schedule of a graph; ``told`` is all else that it depends on, as values that
    print alike if they are equal; None where the schedule is not to be kept. ``make_table``: what
    runs the part of constants.
    """

    program: Graph
    passes: Pipeline
    sizes: Mapping[str, int]
    limits: Limits
    make: Callable[[Graph], Schedule]
    told: object
    kernels: Kernels
    make_table: MakeTable

    @cached_property
    def found(self) -> tuple[KnownSchedule, Divisions]:
        """The schedule and its plans; it is on disk afterwards, if it can be."""
        known, planner = self._found()
        return known, Divisions(planner, self._divisions)

    def _found(self) -> tuple[KnownSchedule, Planner]:
        name = None
        if self.told is not None:
            told = (self.told, *self._deciding, *self.sizes.items())
            name = schedule_cache.key(self.program, self.passes, self.limits[0], told)
        read = None if name is None else schedule_cache.read(name)
        if read is None:
            made, known = self._made
            if name is not None:
                schedule_cache.write(name, known, self.kernels.sources(*known.schedules))
            return known, made.planner
        known, sources = read
        self.kernels.know(sources)
        if known.once is not None:
            self.kernels.program(known.once)  # whose kernels reports name
        return known, Planner(known.schedule, *self._limits)

    def planners(self) -> Iterator[Planner]:
        """The planners of the program's divisions, that of its schedule first."""
        yield self.found[1].chosen
        yield from (each.planner for each in self._divisions(KEPT))

    @property
    def graph(self) -> Graph:
        """What the passes made of the program."""
        return self._passed[0]

    @property
    def reports(self) -> tuple[Report, ...]:
        """What each pass did."""
        return self._passed[1]

    def scheduled(self, schedule: Schedule) -> Graph:
        """The graph whose operations a schedule of this program runs."""
        return self.found[1].graph(schedule) or self._made[0].graph

    def _divisions(self, kept: Sequence[int] = ()) -> Iterator[Divided]:
        if not self._has_bodies:
            return iter(())
        return divisions(self._computed[0], self.make, self._limits, kept)

    @property
    def _deciding(self) -> tuple[object, ...]:
        """The limits that decide on the schedule: how many workers there are does where a policy
        or a budget has loops to divide."""
        policy, budget, *workers = self.limits
        divides = self._has_bodies and (budget is not None or policy != StoreAll())
        return (budget, *workers) if divides else (budget,)

    @property
    def _has_bodies(self) -> bool:
        return any(node.op.bodies for node in self.program.nodes)

    @cached_property
    def _limits(self) -> tuple[Policy, int | Limit | None, int, float]:
        """The limits, in which a budget knows what it is at any sizes."""
        policy, budget, workers, least = self.limits
        if isinstance(budget, BudgetShare | BudgetFit):
            limit = AtSizes(budget, lambda sizes: self._everything.plan(sizes))
            return policy, limit, workers, least
        return policy, budget, workers, least

    @cached_property
    def _everything(self) -> Planner:
        """Plans that store everything, of loops as they are."""
        whole = self.make(self._computed[0]) if self._has_bodies else self.found[0].schedule
        return Planner(whole, StoreAll(), None, *self.limits[2:])

    @cached_property
    def _passed(self) -> tuple[Graph, tuple[Report, ...]]:
        return self.passes.run(self.program)

    @cached_property
    def _made(self) -> tuple[Divided, KnownSchedule]:
        graph, once, note = self._computed
        chosen = divided(graph, self.sizes, self.make, self._limits)
        return chosen, KnownSchedule(chosen.schedule, once, note)

    @cached_property
    def _computed(self) -> tuple[Graph, Schedule | None, str]:
        """The graph with what its constants give as constants: computed here, once, by kernels.

        With the schedule that did it, and a note. Where that fails, takes loops longer than
        ``LOOP_LIMIT``, or needs more than the budget and more than ``ROOM``, the step computes it.
        """
        from staticgrad.compiling.constant_part import ROOM, constant_part

        part = constant_part(self.graph)
        if part is None:
            return self.graph, None, ""
        once = part.graph
        schedule = self.make(once)
        budget = self.limits[1]
        limit = budget if budget is None or isinstance(budget, int) else 0
        planner = Planner(schedule, budget=None if limit is None else max(limit, ROOM))
        executor = Executor(
            once,
            self.kernels.program(schedule),
            lambda sizes, staged: planner.plan(sizes, staged=staged),
            make_table=self._limited_table,
        )
        try:
            arrays = executor.run({})
        except (IndexOutOfRange, BudgetInfeasible, OutOfMemory, CallError, LoopLimitError):
            return self.graph, None, ""
        nbytes = sum(array.nbytes for array in arrays.values())
        note = f"computed once: {len(arrays)} values of constants, {nbytes} bytes"
        return part.replaced(arrays), schedule, note

    def _limited_table(self, program: Program, plan: Plan) -> Table:
        """A table whose loops may take no longer than ``LOOP_LIMIT``."""
        table = self.make_table(program, plan)
        if table.pace.comes_back and not config.current().jit:
            raise LoopLimitError  # plain Python does not count
        table.loop_limit = LOOP_LIMIT
        return table
