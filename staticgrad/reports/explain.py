"""What the compiler did with a graph, as sections: passes, kernels, memory. Text and JSON.

A section is data that was counted or decided, never timed, so that two explanations of one program
are equal and a difference is a difference of the program. The compiler hands the sections in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, field
from typing import Any

from staticgrad.analysis.binding import input_label
from staticgrad.analysis.pass_report import Report
from staticgrad.analysis.plan_check import peak_buffers
from staticgrad.analysis.plan_report import bodies_of, copied_feeds, memory_table
from staticgrad.ir.graph import Graph
from staticgrad.ir.plan import Plan
from staticgrad.ir.schedule import Schedule
from staticgrad.records import dataclass
from staticgrad.reports.dead import NodeCounts

#: Counts up when a field of the JSON document changes its meaning or goes.
SCHEMA = 1
_LISTED = 20  # steps that are named


@dataclass(frozen=True)
class StepSection:
    """One step: its kernel, the derivative order that it belongs to, what it computes and where.

    ``inside``: the steps of each of its bodies.
    """

    kernel: str
    phase: int
    computes: str
    lines: tuple[str, ...]
    inside: tuple[tuple[StepSection, ...], ...] = ()

    def __str__(self) -> str:
        order = f" ^{self.phase}" if self.phase else ""
        return f"{self.kernel}{order} {self.computes}  # {', '.join(self.lines)}"


def _step_lines(steps: Sequence[StepSection], plan: Plan | None, margin: str) -> Iterator[str]:
    """A line for each step; behind a loop or branch what an iteration or case takes, and its
    steps."""
    known = {} if plan is None else {planned.step: planned for planned in plan.steps}
    for number, step in enumerate(steps):
        yield f"{margin}{number:3} {step}"
        planned = known.get(number)
        found = None if plan is None or planned is None else bodies_of(plan, planned)
        for place, inside in enumerate(step.inside):
            if found is not None:
                yield f"{margin}      {found[place]}"
            body = None if planned is None else planned.bodies[place]
            yield from _step_lines(inside, body, margin + "      ")


@dataclass(frozen=True)
class Apart:
    """Why two steps are two: ``read_in`` reads what ``computed_in`` computes, both by number.

    ``computes`` and ``reads``: the operation that computes the value, and one that reads it, with
    their lines. ``reason`` is the kind of reason, ``numbers`` are what decided it.
    """

    computed_in: int
    read_in: int
    computes: str
    reads: str
    lines: tuple[str, str]
    reason: str
    numbers: Mapping[str, object]
    text: str

    @property
    def told(self) -> str:
        """All but the numbers of the steps."""
        return f"{self.computes} -> {self.reads}: {self.text}  # {' -> '.join(self.lines)}"


@dataclass(frozen=True)
class Sharing:
    """By how many threads a plan may be run, and the numbers of the steps that they share.

    Most of these are cut into groups of rows and columns. ``in_parts`` are products of few rows,
    cut into parts of the inner indices, so that a thread keeps the rows of weights that it has
    changed. Each of ``chains`` is run through by a thread for rows of its own, without waiting
    for the others in between. Other steps run on the calling thread; ``alone`` has them by the
    reason why.
    """

    threads: int
    steps: tuple[int, ...] = ()
    in_parts: tuple[int, ...] = ()
    chains: tuple[tuple[int, ...], ...] = ()
    alone: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        sharing = f"{len(self.steps)} steps: {_listed(self.steps)}"
        if not self.steps:
            sharing = "no step: the calling one runs all"
        lines = [f"threads: {self.threads}, sharing {sharing}"]
        if self.in_parts:
            cut = f"  by inner indices, since the weights are trained: {_listed(self.in_parts)}"
            lines.append(f"{cut}; each thread keeps its rows of them")
        own = "  each thread its own rows, without a wait:"
        lines.extend(f"{own} {_listed(chain)}" for chain in self.chains)
        if self.threads > 1:
            each = self.alone.items()
            lines.extend(f"  the calling one alone, since {why}: {_listed(n)}" for why, n in each)
        return "\n".join(lines)


def _listed(steps: Sequence[int]) -> str:
    """The first of some steps, and how many more there are."""
    listed = ", ".join(map(str, steps[:_LISTED]))
    return f"{listed} and {len(steps) - _LISTED} more" if len(steps) > _LISTED else listed


@dataclass(frozen=True)
class Unread:
    """What is declared and takes no part: names of inputs, of parameters, of updated parameters.

    No step reads the inputs: their feeds are checked, never copied. The parameters are neither
    read nor written, and not locked. The updates write what is there already.
    """

    inputs: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    updates: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """A line for each kind that there is."""
        if self.inputs:
            yield f"inputs that nothing reads: {', '.join(self.inputs)}"
        if self.parameters:
            yield f"parameters that nothing reads: {', '.join(self.parameters)}"
        if self.updates:
            yield f"updates that change nothing: {', '.join(self.updates)}"


def unread_of(graph: Graph, schedule: Schedule) -> Unread:
    """What is declared and touched by no step."""
    read = {name for step in schedule.steps for name in step.reads()}
    written = {name for step in schedule.steps for name in step.writes()}
    own = [(b.role, b.label, b.name) for b in schedule.buffers]
    touched = {(role, label) for role, label, name in own if name in read | written}
    changed = {label for role, label, name in own if role == "parameter" and name in written}
    inputs = [input_label(value) for value in graph.inputs]
    return Unread(
        tuple(name for name in inputs if ("input", name) not in touched),
        tuple(p.name for p in graph.parameters if ("parameter", p.name) not in touched),
        tuple(p.name for p, _ in graph.updates if p.name not in changed),
    )


@dataclass(frozen=True)
class Explanation:
    """All sections of one program; ``plan`` None where its sizes are open.

    ``computed_once``: the steps that read constants alone, and ran when the program was compiled.
    ``compilers``: how many of its kernels each backend compiled.
    ``apart``: every pair of steps of which one reads what the other computes.
    ``dead``: the nodes that nothing needs, counted. ``before``: the graph ahead of all passes, if
    it was asked for.
    """

    graph: str
    pipeline: str
    passes: tuple[Report, ...]
    computed_once: tuple[StepSection, ...]
    steps: tuple[StepSection, ...]
    kernels: int
    compilers: Mapping[str, int]
    apart: tuple[Apart, ...]
    unread: Unread
    open_sizes: tuple[str, ...]
    plan: Plan | None
    sharing: Sharing | None = None
    dead: NodeCounts | None = None
    before: Graph | None = None

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        from staticgrad.reports.pictures import explanation_html

        return explanation_html(self)

    def _lines(self) -> Iterator[str]:
        by = ", ".join(f"{n} by {name}" for name, n in self.compilers.items())
        yield f"{self.graph}: {len(self.steps)} steps, {self.kernels} kernels{by and f', {by}'}"
        yield from [] if self.dead is None else self.dead.lines()
        yield f"passes: {self.pipeline or 'none'}"
        for each in self.passes:
            yield f"  {each.summary}"
            yield from (f"      {count:4}x {name}" for name, count in each.hits.items())
        if self.computed_once:
            yield "computed once, of constants:"
            yield from (f"      {step}" for step in self.computed_once)
        yield "steps:"
        yield from _step_lines(self.steps, self.plan, "  ")
        yield from self._apart_lines()
        yield from self.unread.lines()
        if self.plan is None:
            yield f"arena: depends on {', '.join(self.open_sizes)}"
        else:
            yield memory_table(self.plan)
            yield from self._narrow_lines(self.plan)
            yield str(self.sharing)
        if self.before is not None:
            yield f"before the passes:\n{self.before}"

    def _narrow_lines(self, plan: Plan) -> Iterator[str]:
        """What narrow values are of the peak, if the program was made to have some."""
        if not any(each.name == "narrow" for each in self.passes):
            return
        kinds = [(place.nbytes, buffer.dtype) for place, buffer in peak_buffers(plan)]
        narrow = sum(n for n, dtype in kinds if dtype.is_storage)
        little = narrow < plan.peak_bytes / 20  # each spares as many bytes as it takes
        yield f"narrow values are {narrow:,} of the {plan.peak_bytes:,} bytes at the peak" + (
            ": narrow saves little here, for it does not round the others" if little else ""
        )

    def _apart_lines(self) -> Iterator[str]:
        """A line for each pair of steps; pairs that differ in the steps alone share one."""
        alike: dict[str, list[str]] = {}
        for each in self.apart:
            alike.setdefault(each.told, []).append(f"{each.computed_in} -> {each.read_in}")
        if alike:
            yield "neighbours that are two steps:"
        for told, pairs in alike.items():
            more = f", and {len(pairs) - 1} more" if len(pairs) > 1 else ""
            yield f"      {pairs[0]}{more}: {told}"

    def as_json(self) -> dict[str, Any]:
        """The explanation as JSON has it; ``peak_bytes`` is None where sizes are open."""
        return {
            "schema": SCHEMA,
            "graph": self.graph,
            "pipeline": self.pipeline,
            "passes": [each.as_json() for each in self.passes],
            "computed_once": [asdict(each) for each in self.computed_once],
            "steps": [asdict(each) for each in self.steps],
            "kernels": self.kernels,
            "compilers": dict(self.compilers),
            "apart": [asdict(each) for each in self.apart],
            "unread": asdict(self.unread),
            "sizes": None if self.plan is None else dict(self.plan.sizes),
            "peak_bytes": None if self.plan is None else self.plan.peak_bytes,
            "bodies": [] if self.plan is None else [*_bodies(self.plan)],
            "sharing": None if self.sharing is None else asdict(self.sharing),
            "copied_feeds": [] if self.plan is None else [*copied_feeds(self.plan)],
        }


def _bodies(plan: Plan) -> Iterator[dict[str, Any]]:
    """What iterations and cases take, of each loop and branch outside of others."""
    for planned in plan.steps:
        for each in bodies_of(plan, planned):
            yield {"step": planned.step, **asdict(each)}
