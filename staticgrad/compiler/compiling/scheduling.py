"""From a program to its schedule (passes, constants, fusion), and schedules cached on disk.

If the schedule was on disk, the graph after the passes and their reports are computed on request:
they follow from the program.

An entry of the kernel cache contains the schedule of one program, pickled, with its plan if the
sizes are fixed; the code of its kernels is found by the kernels. So reading it needs neither fusion
nor code generation nor planning. Its name is a
digest of everything that a schedule follows from: the graph with its lines and their files, the
options, this package's sources, the processor and its L1 cache, and for programs with linear
algebra the core that OpenBLAS chose. A schedule that another package has a part in is not cached,
since its code may change unseen. An entry is as trusted as the machine code beside it and is read
under the same conditions (``native.cache``); a damaged or unreadable one is made anew.
"""

from __future__ import annotations

import linecache
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Final

from passes.base import Fixpoint, Pass, Pipeline, Report
from passes.remat import Policy
from passes.remat.recompute import StoreAll
from staticgrad.analysis.budgets import AtSizes, BudgetFit, BudgetShare, Limit
from staticgrad.compiler.compiling.artifacts import Kernels
from staticgrad.compiler.compiling.constant_steps import ROOM, constant_steps, run_steps
from staticgrad.compiler.memory.divided import Divided, Divisions, all_divisions, choose_division
from staticgrad.compiler.memory.planner import Planner
from staticgrad.compiler.runtime.executor import Executor, MakeTable
from staticgrad.compiler.runtime.step import LoopLimitError, Program, Table
from staticgrad.errors import (
    BudgetInfeasible,
    CallError,
    IndexOutOfRange,
    OpDefinitionError,
    OutOfMemory,
)
from staticgrad.language.ir.expr import Expr, postorder
from staticgrad.language.ir.graph import (
    BodyOp,
    Constant,
    Graph,
    Input,
    Node,
    ParameterLeaf,
    bodies_of,
)
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.printer import op_text, signature
from staticgrad.language.ir.schedule import Schedule
from staticgrad.language.ir.text import size_lines
from staticgrad.language.types.arrays import TensorType
from staticgrad.native import cache, loader, machine
from staticgrad.native.jit import ObjectCode
from staticgrad.support import config
from staticgrad.support.caches import cached_property
from staticgrad.support.records import NamedTuple, dataclass
from staticgrad.support.source import Location, Origin, position

#: Bytes of constants up to which a schedule, which holds them, is kept.
_MOST_CONSTANTS: Final = 1 << 20
_MOST_BYTES: Final = 16 << 20
#: What entries of kernels have a symbol for.
_KIND: Final = "schedule"


class KnownSchedule(NamedTuple):
    """The schedule of a program; those that computed its constants, once, and a note on that.

    ``plan``: its plan at the sizes that ``compile`` got, if these are all, for so many workers and
    so many seconds as ``plan_limits`` has.
    """

    schedule: Schedule
    once: tuple[Schedule, ...]
    note: str
    plan: Plan | None = None
    plan_limits: tuple[int, float] | None = None

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """The schedules in it."""
        return (self.schedule, *self.once)


def entry_name(graph: Graph, passes: Pipeline, policy: object, options: object) -> str | None:
    """Return the name of a program's schedule in the disk cache; None for one not stored."""
    settings = config.current()
    watched = settings.check or settings.dump is not None or "passes" in settings.log
    if watched or not settings.jit:
        return None
    if cache.directory(settings) is None:
        return None
    sources = _sources()
    if sources is None or not all(map(_is_own, (policy, *_iterate_passes(passes)))):
        return None
    try:
        text = "\n".join([sources, str(passes), repr((policy, options)), *_describe_graph(graph)])
        text += f"\n{machine.current()}\n{settings.limits}"
    except (OpDefinitionError, _NotKeptError):
        return None
    return cache.key(text, loader.host())


def read_entry(name: str) -> KnownSchedule | None:
    """Read a cached schedule of that name from disk, or return None."""
    entry = cache.read(name)
    if entry is None or entry.symbol != _KIND:
        return None
    try:
        _, entry_schedule = pickle.loads(entry.elf)
    except Exception as error:  # whatever reading it runs into: a schedule can be made anew
        config.logger.warning("a schedule on disk cannot be read, made anew: %r", error)
        cache.discard(name)
        return None
    if not isinstance(entry_schedule, KnownSchedule) or not isinstance(
        entry_schedule.schedule, Schedule
    ):
        return None
    return entry_schedule


def write_entry(name: str, schedule: KnownSchedule) -> None:
    """Write a schedule to the disk cache for later processes.

    Unless they are too large, or deeper than pickle goes. Expressions stand before the schedule,
    operands before their readers: pickle, which writes an object once and goes from each to its
    parts, then goes one expression deep.
    """
    try:
        content = pickle.dumps((_expressions(schedule), schedule), protocol=5)
    except RecursionError:
        config.logger.info("a schedule of so many nodes in a tree is made anew by each process")
        return
    if len(content) <= _MOST_BYTES:
        cache.write(name, ObjectCode(content, _KIND))


def _expressions(known_schedule: KnownSchedule) -> list[Expr]:
    """Every expression of the kernels, operands before their readers."""
    steps = [step for schedule in known_schedule.schedules for step in schedule.steps]
    kernels = {id(kernel): kernel for step in steps for kernel in step.kernels()}
    return [*postorder([root for kernel in kernels.values() for root in kernel.expressions])]


# -- what a schedule follows from -----------------------------------------------------------------


class _NotKeptError(Exception):
    """Something in a program is not of this package, or large."""


def _iterate_passes(passes: Pipeline | Fixpoint) -> Iterator[Pass]:
    """The passes, those of passes too."""
    for member in passes.passes:
        yield member
        if isinstance(member, Pipeline | Fixpoint):
            yield from _iterate_passes(member)


def _is_own(member: object) -> bool:
    """Return whether a pass or policy depends only on code of this package."""
    in_package = type(member).__module__.partition(".")[0] in cache.PACKAGES
    return in_package and not getattr(member, "is_foreign", False)


def _sources() -> str | None:
    """A digest of the state of this package's source files; None if unknown."""
    return cache.state_of_sources(Path(__file__).parents[3])


def _describe_graph(graph: Graph) -> Iterator[str]:
    """Describe all of a graph that its schedule or an error message may show, for a cache key."""
    files: dict[str, None] = {}
    operations = _Operations()
    yield from _describe_nodes(graph, operations, files)
    yield from map(_file_state, files)
    if operations.call_lapack:  # whose results, computed beforehand, may stand in the schedule
        from staticgrad.native.libraries import scipy_library

        yield f"OpenBLAS {scipy_library.core()}"


def _describe_nodes(graph: Graph, operations: _Operations, files: dict[str, None]) -> Iterator[str]:
    """Yield the lines that describe a graph in a cache key: nodes, bodies, outputs, updates."""
    yield signature(graph)
    yield from size_lines(graph.sizes.values())
    numbers: dict[Node, int] = {}
    instructions: dict[tuple[int, int], str] = {}
    for node in graph.nodes:
        numbers[node] = len(numbers)
        args = [number for arg in node.args for number in (numbers[arg.node], arg.index)]
        place = _describe_origin(node.origin, instructions, files)
        yield f"{operations.text(node.op)} {args} {operations.types(node)} {node.order} {place}"
        for body in bodies_of(node):
            yield from _describe_nodes(body, operations, files)
    for name, value in graph.outputs.items():
        yield f"{name!r} {numbers[value.node]} {value.index}"
    for parameter, value in graph.updates:
        yield f"update {parameter.name!r} {numbers[value.node]} {value.index}"


class _Operations:
    """Ops and types as text, each written once; constants are counted.

    Types are known by identity, which is why they are held.
    """

    def __init__(self) -> None:
        self._ops: dict[tuple[object, ...], str] = {}
        self._types: dict[int, tuple[TensorType, str]] = {}
        self._room = _MOST_CONSTANTS
        self.call_lapack = False

    def text(self, op: Op) -> str:
        """Return the text of an op in a cache key, without its bodies."""
        if isinstance(op, Constant):
            array = op.data.array
            self._room -= array.nbytes
            if self._room < 0:
                raise _NotKeptError
            return f"{op.name} {array.tobytes().hex()}"  # of the node's type
        if isinstance(op, Input | ParameterLeaf):
            return f"{op.name} {op.label!r}"
        text = self._ops.get(op.key)
        if text is None:
            if not _is_own(op) or op.rule_is_foreign:
                raise _NotKeptError
            text = self._ops[op.key] = op_text(op)
            self.call_lapack |= hasattr(op, "routine")  # ops.linalg.base.LinearAlgebra
        return text

    def types(self, node: Node) -> str:
        """The types of a node's results."""
        texts = []
        for kind in node.types:
            entry = self._types.get(id(kind))
            if entry is None:
                entry = self._types[id(kind)] = (kind, str(kind))
            texts.append(entry[1])
        return " ".join(texts)


def _describe_origin(
    origin: Location, instructions: dict[tuple[int, int], str], files: dict[str, None]
) -> str:
    """Describe a node's source line for a cache key, and record its file.

    Not by the offset: within one instruction it moves once the interpreter has specialised it.
    """
    if isinstance(origin, Origin):
        code, offset, scope = origin
        place_text = instructions.get((id(code), offset))
        if place_text is None:
            place = f"{code.co_filename}:{code.co_qualname}:{code.co_firstlineno}"
            place_text = instructions[id(code), offset] = f"{place} {position(code, offset)}"
            files[code.co_filename] = None
        return f"{place_text} {scope}"
    for location in origin.places:
        if isinstance(location, Origin):
            files[location[0].co_filename] = None
    return repr(origin.resolve())


def _file_state(name: str) -> str:
    """Return a value that changes when the text of a file changes."""
    try:
        status = Path(name).stat()
    except (OSError, ValueError):
        return repr(linecache.getlines(name))
    return f"{name} {status.st_mtime_ns} {status.st_size}"


#: Predicted nanoseconds of the loops that are computed beforehand. They may have no end; the limit
#: is a prediction so that what is compiled does not depend on the load of the machine.
LOOP_LIMIT: Final = 1_000_000_000
#: What a planner takes beside a schedule: policy, budget, workers, the least time shared.
Limits = tuple[Policy, int | BudgetShare | BudgetFit | None, int, float]


def make_schedule(
    graph: Graph,
    fuse: bool,
    tuned_at: Iterable[tuple[str, int]] | None = None,
    disable: tuple[str, ...] = (),
) -> Schedule:
    """Return the schedule of a graph, verified by a checker that is independent of fusion.

    ``tuned_at``: the sizes at which kernels are timed with several schedules; None: they are not.
    ``disable``: late passes that are left out.
    """
    from staticgrad.compiler.lowering.fuse import (
        fuse as fuse_graph,  # not where the schedule is on disk
    )
    from staticgrad.compiler.lowering.numbers import with_shared_kernels
    from staticgrad.language.ir.verify_schedule import verify_schedule

    schedule = with_shared_kernels(fuse_graph(graph, fuse, disable))
    if tuned_at is not None:
        from staticgrad.compiler.compiling.tuning import tune_schedule  # not by default

        schedule = tune_schedule(schedule, dict(tuned_at))
    verify_schedule(schedule)
    return schedule


#: Why steps of constants run in each run: they fail, do not fit, or take too long.
_REFUSED: Final = (IndexOutOfRange, BudgetInfeasible, OutOfMemory, CallError, LoopLimitError)


class _Part(NamedTuple):
    """A schedule without its constant steps; these steps; how many values and bytes they gave."""

    schedule: Schedule
    once: Schedule
    counts: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Scheduling:
    """The stages from one program to its schedule.

    ``make`` makes the schedule of a graph; ``options`` is all else that it depends on, as values
    that print alike if they are equal; None where the schedule is not stored. ``make_table``: what
    runs the part of constants. ``disable``: passes that no budget or policy tries.
    """

    program: Graph
    passes: Pipeline
    sizes: Mapping[str, int]
    limits: Limits
    make: Callable[[Graph], Schedule]
    options: object
    kernels: Kernels
    make_table: MakeTable
    disable: tuple[str, ...] = ()
    #: What ``_make`` made, by the identity of the schedule.
    _parts: dict[int, _Part] = field(default_factory=dict)

    @cached_property
    def result(self) -> tuple[KnownSchedule, Divisions]:
        """Return the schedule, from the disk cache or new, and its plans."""
        schedule = self._disk_schedule
        if schedule is None:
            division, schedule = self._new_schedule
            return schedule, Divisions(division.planner, self._divisions)
        for once in schedule.once:
            self.kernels.program(once)  # whose kernels reports name
        return schedule, Divisions(Planner(schedule.schedule, *self._limits), self._divisions)

    @property
    def stored_plan(self) -> Plan | None:
        """The plan that an earlier process stored, if the limits that it depends on are equal."""
        entry = self._disk_schedule
        return entry.plan if entry and entry.plan_limits == self.limits[2:] else None

    def store(self, plan: Plan | None) -> None:
        """Store a new schedule on disk, with its plan at the sizes that ``compile`` got."""
        if self._entry is not None and self._disk_schedule is None:
            entry = self.result[0]
            if plan is not None and plan.schedule is entry.schedule:
                entry = entry._replace(plan=plan, plan_limits=self.limits[2:])
            write_entry(self._entry, entry)

    @cached_property
    def _entry(self) -> str | None:
        if self.options is None:
            return None
        options = (self.options, *self._deciding, *self.sizes.items())
        return entry_name(self.program, self.passes, self.limits[0], options)

    @cached_property
    def _disk_schedule(self) -> KnownSchedule | None:
        return None if self._entry is None else read_entry(self._entry)

    def planners(self) -> Iterator[Planner]:
        """The planners of the program's divisions, that of its schedule first."""
        yield self.result[1].chosen
        yield from (division.planner for division in self._divisions())

    @property
    def graph(self) -> Graph:
        """The graph after the passes."""
        return self._pass_output[0]

    @property
    def reports(self) -> tuple[Report, ...]:
        """The report of each pass."""
        return self._pass_output[1]

    def graph_of(self, schedule: Schedule) -> Graph:
        """Return the graph whose operations a schedule of this program runs."""
        return self.result[1].graph(schedule) or self._new_schedule[0].graph

    def division_reports(self, schedule: Schedule) -> tuple[Report, ...]:
        """Return what a budget or policy had done to the loops of the graph of a schedule."""
        if not self._is_divisible:
            return ()
        reports = self.result[1].reports(schedule)
        return self._new_schedule[0].reports if reports is None else reports

    def _divisions(self) -> Iterator[Divided]:
        if not self._is_divisible:
            return iter(())
        return all_divisions(self._folding_output[0], self._make, self._limits, self.disable)

    @property
    def _deciding(self) -> tuple[object, ...]:
        """The limits that decide on the schedule: how many workers there are does where a policy
        or a budget has loops to divide."""
        policy, budget, *workers = self.limits
        divides = (budget is not None or policy != StoreAll()) and self._is_divisible
        return (budget, *workers) if divides else (budget,)

    @cached_property
    def _is_divisible(self) -> bool:
        """True if a budget may have schedules of several graphs to choose from."""
        if self.program.has(BodyOp):
            return True
        from passes.late.chunks import has_wide_products

        return has_wide_products(self.program)

    @cached_property
    def _limits(self) -> tuple[Policy, int | Limit | None, int, float]:
        """Return the limits, with a budget that can be evaluated at any sizes."""
        policy, budget, workers, least = self.limits
        if isinstance(budget, BudgetShare | BudgetFit):
            limit = AtSizes(budget, lambda sizes: self._everything.plan(sizes))
            return policy, limit, workers, least
        return policy, budget, workers, least

    @cached_property
    def _everything(self) -> Planner:
        """Plans that store everything, of loops as they are."""
        schedule = (
            self._make(self._folding_output[0]) if self._is_divisible else self.result[0].schedule
        )
        return Planner(schedule, StoreAll(), None, *self.limits[2:])

    @cached_property
    def _pass_output(self) -> tuple[Graph, tuple[Report, ...]]:
        return self.passes.run(self.program)

    @cached_property
    def _new_schedule(self) -> tuple[Divided, KnownSchedule]:
        graph, once, counts = self._folding_output
        chosen = choose_division(graph, self.sizes, self._make, self._limits, self.disable)
        if part := self._parts.get(id(chosen.schedule)):
            once, counts = (*once, part.once), (*counts, part.counts)
        values, nbytes = map(sum, zip(*counts, strict=True)) if counts else (0, 0)
        note = f"computed once: {values} values of constants, {nbytes} bytes" if counts else ""
        return chosen, KnownSchedule(chosen.schedule, once, note)

    def _make(self, graph: Graph) -> Schedule:
        """Make the schedule of a graph, and run its steps of constants alone, once.

        Where that fails, each run makes them, as ``_folding_output``.
        """
        schedule = self.make(graph)
        part = constant_steps(schedule)
        if part is None:
            return schedule
        try:
            program = self.kernels.program(part.once)
            plan = self._once_planner(part.once).plan({})
            arrays = run_steps(part, program, plan, self._limited_table)
        except _REFUSED:
            return schedule
        remaining = part.substitute_results(arrays)
        nbytes = sum(array.nbytes for array in arrays.values())
        self._parts[id(remaining)] = _Part(remaining, part.once, (len(arrays), nbytes))
        return remaining

    def _once_planner(self, schedule: Schedule) -> Planner:
        """Return the planner of steps that run once: in the program's budget, or ``ROOM``."""
        budget = self.limits[1]
        limit = budget if budget is None or isinstance(budget, int) else 0
        return Planner(schedule, budget=None if limit is None else max(limit, ROOM))

    @cached_property
    def _folding_output(self) -> tuple[Graph, tuple[Schedule, ...], tuple[tuple[int, int], ...]]:
        """Return the graph with its constant part computed once by kernels, as constants.

        With the schedule that did it, and how many values and bytes it gave. Where that fails,
        takes loops longer than ``LOOP_LIMIT``, or needs more than the budget and more than
        ``ROOM``, the step computes it.
        """
        from staticgrad.compiler.compiling.constant_part import constant_part

        part = constant_part(self.graph)
        if part is None:
            return self.graph, (), ()
        once = part.graph
        schedule = self.make(once)
        planner = self._once_planner(schedule)
        executor = Executor(
            once,
            self.kernels.program(schedule),
            lambda sizes, staged: planner.plan(sizes, staged=staged),
            make_table=self._limited_table,
        )
        try:
            arrays = executor.run({})
        except _REFUSED:
            return self.graph, (), ()
        counts = (len(arrays), sum(array.nbytes for array in arrays.values()))
        return part.substitute_results(arrays), (schedule,), (counts,)

    def _limited_table(self, program: Program, plan: Plan) -> Table:
        """A table whose loops may take no longer than ``LOOP_LIMIT``."""
        table = self.make_table(program, plan)
        if table.pace.comes_back and not config.current().jit:
            raise LoopLimitError  # plain Python does not count
        table.loop_limit = LOOP_LIMIT
        return table
