"""The cost of using less memory: a program's plans at some sizes, before compiling a kernel.

The rows are the plans that a budget chooses from, of every division of the program's loops, and of
some in which part of the iterations does not run again (a budget finds the part that it has room
for). What is both larger and slower than another is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from passes.pipelines import pipeline as read_pipeline
from passes.remat.recompute import StoreAll
from staticgrad.analysis.binding import check_sizes
from staticgrad.analysis.cost import plan_seconds
from staticgrad.analysis.plan_check import lower_bound
from staticgrad.compiler.compiling.arguments import (
    Compilable,
    all_sizes,
    read_budget,
    read_fuse,
    read_passes,
    read_program,
    read_sizes,
    room_here,
)
from staticgrad.compiler.compiling.constant_part import constant_part
from staticgrad.compiler.compiling.constant_steps import constant_steps
from staticgrad.compiler.compiling.scheduling import Scheduling, make_schedule
from staticgrad.compiler.memory.divided import all_divisions
from staticgrad.compiler.memory.planner import Planner
from staticgrad.errors import ArgumentError
from staticgrad.language.calls.arguments import public
from staticgrad.language.calls.execution import in_graphs
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.schedule import Schedule
from staticgrad.native.system import processors
from staticgrad.native.system.floating_point import default_environment
from staticgrad.support import config
from staticgrad.support.caches import collection_paused
from staticgrad.support.pictures import charts
from staticgrad.support.pictures.charts import Line
from staticgrad.support.pictures.markup import (
    CHART,
    byte_unit,
    details,
    fragment,
    on_screens,
    paragraph,
    seconds,
    table,
    text_table,
)
from staticgrad.support.pictures.shown import Picture
from staticgrad.support.records import dataclass

if TYPE_CHECKING:
    from staticgrad.analysis.planning.problem import MemoryProblem

#: The name and version of the document that ``as_json`` gives.
SCHEMA = "staticgrad-tradeoff/1"


class HasProgramGraph(Protocol):
    """A compiled program, which has the graph that it was made of."""

    @property
    def program_graph(self) -> Graph:
        """The graph before the passes."""
        ...


class HasGraphs(Protocol):
    """A function that is traced: of arguments it has a graph."""

    def graph(self, *arguments: Any, **named: Any) -> Graph:
        """The graph of a call."""
        ...


@dataclass(frozen=True)
class Choice:
    """One plan: the bytes of its arena, its predicted seconds, how many kernels run again."""

    peak_bytes: int
    seconds: float
    again: int
    plan: Plan = field(repr=False, compare=False)


@dataclass(frozen=True)
class Tradeoff:
    """The plans of a program at some sizes: ``choices`` from the quickest to the smallest.

    ``lower_bound``: bytes that no plan of these kernels can do without. Prints as a table;
    notebooks draw it.
    """

    graph: str
    sizes: tuple[tuple[str, int], ...]
    choices: tuple[Choice, ...]
    lower_bound: int

    @property
    def everything(self) -> Choice:
        """The plan that computes nothing twice."""
        return self.choices[0]

    @property
    def smallest(self) -> Choice:
        """The plan that needs the fewest bytes."""
        return self.choices[-1]

    @property
    def problem(self) -> MemoryProblem:
        """The input of ``sg.plan_abstract``: kernels that store everything, with what each costs,
        reads and makes, and the user's lines; ``analysis/planning/problem.py`` writes it."""
        plan = self.everything.plan
        return Planner(plan.schedule, workers=plan.workers).problem(dict(self.sizes))

    def within(self, budget: float | str) -> Choice | None:
        """Return the fastest plan within a budget, spelt as ``memory_budget``; None if none fits.

        Raises:
            ArgumentError: it is not a budget.
        """
        limit = room_here(read_budget(budget))
        if limit is None:
            return self.everything
        most = limit if isinstance(limit, int) else limit.of(self.everything.plan)
        return next((choice for choice in self.choices if choice.peak_bytes <= most), None)

    def share(self, choice: Choice) -> float:
        """The bytes of a choice beside those of storing everything."""
        everything_bytes = self.everything.peak_bytes
        return choice.peak_bytes / everything_bytes if everything_bytes else 1.0

    def extra(self, choice: Choice) -> float:
        """The predicted time of a choice beside that of storing everything, less one."""
        return choice.seconds / self.everything.seconds - 1 if self.everything.seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the trade-off of memory against time for JSON."""
        return {
            "schema": SCHEMA,
            "graph": self.graph,
            "sizes": dict(self.sizes),
            "lower_bound": self.lower_bound,
            "choices": [
                {"peak_bytes": c.peak_bytes, "seconds": c.seconds, "again": c.again}
                for c in self.choices
            ],
        }

    def __str__(self) -> str:
        lines = text_table(_HEADS, self._plan_rows(), range(len(_HEADS)))
        bound = f"no plan of these kernels needs fewer than {self.lower_bound:,} bytes"
        return "\n".join([self._title(), *lines, bound])

    def svg(self, chosen: Plan | None = None, width: int = CHART) -> Picture:
        """Return predicted time against memory as SVG text; ``chosen`` is marked."""
        top = self.everything.peak_bytes
        unit, size = byte_unit(top)
        points = [(c.peak_bytes / size, c.seconds) for c in self.choices]
        times = [time for _, time in points]
        bound = self.lower_bound / size
        series = [Line("plans", points), Line("bound", [(bound, t) for t in (max(times), 0.0)])]
        if chosen is not None:
            series.append(Line("this one", [(chosen.peak_bytes / size, plan_seconds(chosen))]))
        return Picture(
            charts.lines(
                series, f"{unit} of the arena", "predicted time of a run", show_y=seconds,
                log_x=False, log_y=False, class_of="eac", width=width,
            )
        )  # fmt: skip

    def html_chart(self, chosen: Plan | None = None) -> str:
        """Return predicted time against memory as HTML; ``chosen`` is marked."""
        return f'<div class="chart">{on_screens(partial(self.svg, chosen))}</div>'

    def _repr_html_(self) -> str:
        return fragment(
            paragraph(self._title()),
            self.html_chart(),
            self.html_table(),
            paragraph(f"no plan of these kernels needs fewer than {self.lower_bound:,} bytes"),
        )

    def html_table(self) -> str:
        """Return the memory plans to choose from as an HTML table; many are folded."""
        rows, numbers = self._plan_rows(), range(len(_HEADS))
        if len(rows) <= _MOST_ROWS:
            return table(_HEADS, rows, numbers)
        last = len(rows) - 1
        some = [rows[round(k * last / (_MOST_ROWS - 1))] for k in range(_MOST_ROWS)]
        every = details(f"all {len(rows)} plans", table(_HEADS, rows, numbers))
        return table(_HEADS, some, numbers) + every

    def _title(self) -> str:
        at = ", ".join(f"{name}={size}" for name, size in self.sizes)
        count = len(self.choices)
        return f"{self.graph}{' at ' + at if at else ''}: {count} plan{'s' * (count != 1)}"

    def _plan_rows(self) -> list[tuple[str, ...]]:
        """Return the table of memory plans: peak bytes, share, seconds, recomputed steps."""
        return [
            (
                f"{c.peak_bytes:,}", f"{self.share(c):.1%}", seconds(c.seconds),
                f"{self.extra(c):+z.1%}", f"{c.again:,}",
            )
            for c in self.choices
        ]  # fmt: skip


#: The number of choices that a page shows at first.
_MOST_ROWS = 12
_HEADS = ("bytes", "share", "predicted", "more time", "kernels again")


@public
@collection_paused()
@config.read_once()
@default_environment()
@in_graphs()
def tradeoff(
    program: Compilable | HasProgramGraph | HasGraphs,
    sizes: Mapping[str, int] | None = None,
    *,
    arguments: Sequence[Any] | None = None,
    pipeline: str = "O1",
    fuse: bool = True,
    threads: int | str | None = None,
) -> Tradeoff:
    """Return the plans that a ``memory_budget`` would choose from, without compiling a kernel.

    Args:
        program: a Graph, a Value, a dict of Values, or a compiled program, whose own kernels and
            threads are then meant; or an ``sg.function``.
        sizes: a value for each named size.
        arguments: of a function, those of a call, whose shapes and dtypes it is traced with.
        pipeline: the passes to run first, as ``compile`` takes them.
        fuse: merge neighbouring operations into kernels, as ``compile`` takes it.
        threads: how many may run it, as ``compile`` takes it: each has scratch of its own.

    Returns:
        The choices, from the quickest to the smallest, with their predicted times.

    Raises:
        ArgumentError: ``program`` is not a program; a function without ``arguments``, or something
            else with them.
        UnknownNameError: a size that the graph does not have, or one that is missing.
        SizeGuardError: sizes that the graph's conditions exclude, or at which a value is beyond
            what processors address.

    >>> import numpy as np, staticgrad as sg
    >>> x = sg.input("x", (256, 64))
    >>> ws = [sg.parameter(f"w{k}", np.eye(64, dtype="float32")) for k in range(4)]
    >>> h = x
    >>> for w in ws:
    ...     h = sg.tanh(h @ w)
    >>> found = sg.tradeoff({"dw": sg.grad((h * h).mean(), ws)[0]})
    >>> found.smallest.peak_bytes < found.everything.peak_bytes
    True
    """
    of_calls = getattr(program, "graph", None)  # of a function; of a compiled program, its graph
    of_calls = None if isinstance(of_calls, Graph) else of_calls
    if arguments is not None or callable(of_calls):
        program = _trace_call(of_calls, arguments)
    scheduling = getattr(program, "_scheduling", None)
    if isinstance(scheduling, Scheduling):
        graph, fixed_sizes = scheduling.program, dict(scheduling.sizes)
        planners = [*scheduling.planners()]
    else:
        (graph, _), fixed_sizes = read_program(program), {}
        passed, _ = read_pipeline(read_passes(pipeline)).run(graph)
        part = constant_part(passed)  # what ``compile`` computes once, no step does
        passed = passed if part is None else part.fill_zeros()
        fuses = read_fuse(fuse)

        def make(graph: Graph) -> Schedule:
            schedule = make_schedule(graph, fuses)
            steps = constant_steps(schedule)
            return schedule if steps is None else steps.fill_zeros()

        workers = processors.threads(config.current(threads=threads).threads)
        limits = (StoreAll(), None, workers, config.limits().section_seconds)
        planners = [division.planner for division in all_divisions(passed, make, limits)]
        planners = planners or [Planner(make(passed), *limits)]
    at = all_sizes(graph, fixed_sizes, dict(read_sizes(sizes)))
    check_sizes(graph, at)
    plans = [plan for planner in planners for plan, _ in planner.front(at)]
    front: list[Choice] = []
    for choice in sorted(map(_choice, plans), key=lambda c: (c.seconds, c.peak_bytes)):
        if not front or choice.peak_bytes < front[-1].peak_bytes:
            front.append(choice)
    return Tradeoff(graph.name, tuple(at.items()), tuple(front), min(map(lower_bound, plans)))


def _trace_call(of_calls: object, arguments: Sequence[Any] | None) -> Graph:
    """Return the graph that a function traces for these arguments."""
    if not callable(of_calls):
        raise ArgumentError("tradeoff: arguments are of a function, and this is none")
    if isinstance(arguments, str) or not isinstance(arguments, Sequence):
        raise ArgumentError(
            "tradeoff: a function is traced with the arguments of a call, in a list or a tuple",
            hint="sg.tradeoff(f, arguments=(x, y))",
        )
    graph: Graph = of_calls(*arguments)
    return graph


def _choice(plan: Plan) -> Choice:
    again = len(plan.steps) - len({planned.step for planned in plan.steps})
    return Choice(plan.peak_bytes, plan_seconds(plan), again, plan)
