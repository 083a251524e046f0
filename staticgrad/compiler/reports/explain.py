"""A report of what the compiler did: sections on passes, kernels and memory; text and JSON.

A section is data that was counted or decided, never timed, so that two explanations of one program
are equal, and any difference is a difference of the program. The compiler passes the sections in.

Unneeded nodes are counted too: those never reached, and those that passes dropped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, field
from itertools import groupby
from typing import Any

from staticgrad.analysis.binding import input_label
from staticgrad.analysis.pass_report import Report
from staticgrad.analysis.plan_check import peak_buffers
from staticgrad.analysis.plan_report import bodies_of, copied_feeds, memory_table
from staticgrad.analysis.work import GraphWork, work_of
from staticgrad.autodiff.reverse import grad
from staticgrad.compiler.runtime.cuts import TOGETHER, cuts
from staticgrad.compiler.runtime.places import BufferPlaces
from staticgrad.compiler.runtime.sections import SoloReason, divide_into_sections
from staticgrad.compiler.runtime.words import Codes, RowWriter
from staticgrad.errors import StaticgradError
from staticgrad.language.ir.graph import Graph, Node, Symbolic, ancestors
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.schedule import Schedule
from staticgrad.support.deprecations import deprecated_attribute
from staticgrad.support.pictures.texts import PrintedText
from staticgrad.support.records import dataclass
from staticgrad.support.source import common_call, fold_labels


@dataclass(frozen=True)
class UnreadGradients:
    """Gradients that the loss has but that no call requested, so that they were never built.

    ``of``: names of inputs and parameters. ``work_without``: the work of the derivative;
    ``work_with``: that of a derivative with these gradients; ``forward``: the work of the loss.
    """

    of: tuple[str, ...]
    forward: GraphWork
    work_without: GraphWork
    work_with: GraphWork

    without = deprecated_attribute("0.2", "work_without")
    having = deprecated_attribute("0.2", "work_with")
    spared = deprecated_attribute("0.2", "saved_work")

    @property
    def saved_work(self) -> GraphWork:
        """Sum the bytes and operations of nodes that were removed as dead."""
        more, less = self.work_with, self.work_without
        return GraphWork(
            more.operations - less.operations,
            more.nbytes - less.nbytes,
            more.flops - less.flops,
        )

    def __str__(self) -> str:
        forward_flops = self.forward.flops
        ratios = [
            f"{work.flops / max(forward_flops, 1):.2f}"
            for work in (self.work_without, self.work_with)
        ]
        return (
            f"gradients that nobody asks for: {', '.join(self.of)}. Backward takes {ratios[0]}"
            f" times the FLOPs of forward, with them {ratios[1]} times:"
            f" {self.saved_work.flops:,} FLOPs and {self.saved_work.nbytes:,} bytes of values less"
        )


@dataclass(frozen=True)
class NodeCounts:
    """The number of nodes of a program, by kind.

    ``built``: from its first operation to its last, in the order of creation; ``reached``: those of
    them that an output or update depends on; ``left``: what the passes left of these.
    ``work_before_passes``, ``work_after_passes``: the work of what was reached, and of what was
    left; None where sizes are open.
    """

    built: int
    reached: int
    left: int
    work_before_passes: GraphWork | None
    work_after_passes: GraphWork | None
    unread: UnreadGradients | None

    before = deprecated_attribute("0.2", "work_before_passes")
    after = deprecated_attribute("0.2", "work_after_passes")

    def lines(self) -> Iterator[str]:
        """Return the lines of ``explain`` about dead nodes."""
        text = f"nodes: {self.built:,} built, {self.reached:,} reached from outputs and updates"
        text += f", {self.left:,} left by the passes"
        source, final = self.work_before_passes, self.work_after_passes
        if source is not None and final is not None:
            text += f"; {source.nbytes:,} -> {final.nbytes:,} bytes of values"
            text += f", {source.flops:,} -> {final.flops:,} FLOPs"
        yield text
        if self.unread is not None:
            yield str(self.unread)


def dead_nodes(graph: Graph, final_graph: Graph, sizes: Mapping[str, int] | None) -> NodeCounts:
    """Count the dead nodes of a graph, before and after the passes, for ``explain``."""
    roots = [*graph.outputs.values(), *(value for _, value in graph.updates)]
    live = set(ancestors(roots))
    serials = [node.serial for node in graph.nodes if not node.is_leaf]
    first, last = min(serials, default=0), max(serials, default=-1)
    inside = sum(first <= node.serial <= last for node in live)
    outside = len(live) - inside
    built, left = max(last - first + 1, inside) + outside, len(final_graph.nodes)
    if sizes is None:
        return NodeCounts(built, len(live), left, None, None, None)
    work = work_of(live, sizes), work_of(final_graph.nodes, sizes)
    return NodeCounts(built, len(live), left, *work, _find_unread_gradients(graph, live, sizes))


def _find_unread_gradients(
    graph: Graph, live: set[Node], sizes: Mapping[str, int]
) -> UnreadGradients | None:
    """Return the gradients of the loss that the graph does not contain, for ``explain``.

    The loss is the one floating output of one element that is no derivative.
    """
    losses = [
        value for value in graph.outputs.values()
        if value.dtype.is_float and not value.shape and not value.node.order
    ]  # fmt: skip
    derived = [node for node in live if node.order]
    if len(losses) != 1 or not derived:
        return None
    forward = set(ancestors(losses))
    leaves = [node for node in forward if node.is_leaf and node.label]
    variables = {n.label: Symbolic(n) for n in leaves if n.types[0].dtype.is_float}
    try:
        slopes = grad(losses[0], variables, allow_disconnected=True)
        numbers: dict[Any, int] = {}
        computed_numbers = {*_number_nodes(live, numbers).values()}
        of_slopes = _number_nodes(ancestors(slopes.values()), numbers)
        asked = [
            name for name, slope in slopes.items() if of_slopes[slope.node] in computed_numbers
        ]
        unread = tuple(sorted({*variables} - {*asked}))
        if not unread or not asked:
            return None
        requested_slopes = grad(
            losses[0], [variables[name] for name in asked], allow_disconnected=True
        )
    except StaticgradError:  # an op without a rule on the way
        return None
    having = set(ancestors(slopes.values())) - forward
    without = set(ancestors(requested_slopes)) - forward
    return UnreadGradients(
        unread, work_of(forward, sizes), work_of(without, sizes), work_of(having, sizes)
    )


def _number_nodes(nodes: Iterable[Node], numbers: dict[Any, int]) -> dict[Node, int]:
    """Number the nodes so that those which compute the same value share a number."""
    number_of: dict[Node, int] = {}
    for node in sorted(nodes, key=lambda node: node.serial):
        args = tuple([(number_of[arg.node], arg.index) for arg in node.args])
        key = node if node.label else (node.op, args, node.types)
        number_of[node] = numbers.setdefault(key, len(numbers))
    return number_of


#: Counts up when a field of the JSON document changes its meaning or goes.
SCHEMA = 1
_LISTED = 20  # steps that are named


@dataclass(frozen=True)
class StepSection:
    """One step: its kernel, the derivative order that it belongs to, what it computes and where.

    ``inside``: the steps of each of its bodies. ``driven``: why a loop is not one kernel, so that
    the driver runs the steps of its body in each iteration.
    """

    kernel: str
    phase: int
    computes: str
    lines: tuple[str, ...]
    inside: tuple[tuple[StepSection, ...], ...] = ()
    driven: str = ""

    def __str__(self) -> str:
        return self.text()

    def text(self, full: bool = False) -> str:
        """Return the step as a line; ``full``: with lines inside of called graphs."""
        order = f" ^{self.phase}" if self.phase else ""
        lines = self.lines if full else fold_labels(self.lines)
        return f"{self.kernel}{order} {self.computes}  # {', '.join(lines)}"


def _step_lines(
    steps: Sequence[StepSection], plan: Plan | None, margin: str, full: bool
) -> Iterator[str]:
    """Yield a line of ``explain`` for each step; after a loop or branch, its bodies' steps.

    Neighbouring steps of the call of a graph are one line, unless ``full``.
    """
    planned_steps = {} if plan is None else {planned.step: planned for planned in plan.steps}
    folded = {} if full else _steps_of_calls(steps)
    for number, step in enumerate(steps):
        if number in folded:
            text = folded[number]
            if text:
                yield f"{margin}{number:3} {text}"
            continue
        yield f"{margin}{number:3} {step.text(full)}"
        if step.driven:
            yield f"{margin}      not one kernel: {step.driven}"
        planned = planned_steps.get(number)
        body_summaries = None if plan is None or planned is None else bodies_of(plan, planned)
        for place, inside in enumerate(step.inside):
            if body_summaries is not None:
                yield f"{margin}      {body_summaries[place]}"
            body = None if planned is None else planned.bodies[place]
            yield from _step_lines(inside, body, margin + "      ", full)


def _steps_of_calls(steps: Sequence[StepSection]) -> dict[int, str]:
    """Return the lines of steps that are folded: text for the first of a call, none for others."""
    lines: dict[int, str] = {}
    keys = [(common_call(step.lines), step.phase) for step in steps]
    for (call, phase), numbers in groupby(range(len(steps)), key=keys.__getitem__):
        members = [*numbers]
        if not call or len(members) < 2:
            continue
        kernels = len({steps[number].kernel for number in members})
        order = f"^{phase} " if phase else ""
        what = f"{order}{len(members)} steps of {kernels} kernels"
        lines.update(dict.fromkeys(members, ""))
        lines[members[0]] = f"to {members[-1]}: {what}  # {call}"
    return lines


@dataclass(frozen=True)
class UnfusedPair:
    """The reason why two steps are not fused: step ``read_in`` reads a value of ``computed_in``.

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

    told = deprecated_attribute("0.2", "description")

    @property
    def description(self) -> str:
        """The text without the numbers of the steps."""
        lines = [fold_labels([line])[0] for line in self.lines]
        return f"{self.computes} -> {self.reads}: {self.text}  # {' -> '.join(lines)}"

    @property
    def is_folded(self) -> bool:
        """Return whether both operations are in one call of a graph."""
        return common_call(self.lines) != ""


@dataclass(frozen=True)
class Sharing:
    """The number of threads that may run a plan, and the numbers of the steps that they share.

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

    @classmethod
    def of(cls, plan: Plan) -> Sharing:
        """Count which rows of a plan's table workers share, by reason, for ``explain``."""
        writer = RowWriter(plan.workers, Codes(defaultdict(int), {}), TOGETHER)
        first_rows = writer.write(BufferPlaces(plan, {}))
        rows = divide_into_sections(writer.drafts, plan.workers)
        reasons: dict[SoloReason | None, list[int]] = {None: []}
        chains: list[tuple[int, ...]] = []
        in_parts: list[int] = []
        for at, cut in cuts(plan, TOGETHER).items():
            steps = [planned.step for planned in plan.steps[at : cut.end]]
            if cut.ranges:
                chains.append(tuple(steps))
            elif cut.stages:
                in_parts += steps
            why = SoloReason.BODIES if plan.steps[at].bodies else rows[first_rows[at]].alone
            reasons.setdefault(why, []).extend(steps)
        every = tuple(sorted(reasons[None]))
        alone = {why.value: tuple(sorted(reasons[why])) for why in SoloReason if why in reasons}
        return cls(plan.workers, every, tuple(in_parts), tuple(chains), alone)

    def __str__(self) -> str:
        sharing = f"{len(self.steps)} steps: {_list_steps(self.steps)}"
        if not self.steps:
            sharing = "no step: the calling one runs all"
        lines = [f"threads: {self.threads}, sharing {sharing}"]
        if self.in_parts:
            cut = f"  by inner indices, since the weights are trained: {_list_steps(self.in_parts)}"
            lines.append(f"{cut}; each thread keeps its rows of them")
        prefix = "  each thread its own rows, without a wait:"
        lines.extend(f"{prefix} {_list_steps(chain)}" for chain in self.chains)
        if self.threads > 1:
            reasons = self.alone.items()
            lines.extend(
                f"  the calling one alone, since {why}: {_list_steps(n)}" for why, n in reasons
            )
        return "\n".join(lines)


def _list_steps(steps: Sequence[int]) -> str:
    """Return the first of some steps, and the number of the others."""
    listed = ", ".join(map(str, steps[:_LISTED]))
    return f"{listed} and {len(steps) - _LISTED} more" if len(steps) > _LISTED else listed


@dataclass(frozen=True)
class Unread:
    """Unused declarations: names of inputs, of parameters, of updated parameters.

    No step reads the inputs: their feeds are checked, never copied. The parameters are neither
    read nor written, and not locked. The updates write what is there already.
    """

    inputs: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    updates: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Yield a line of ``explain`` for each kind of unread declaration."""
        for what, names in (
            ("inputs that nothing reads", self.inputs),
            ("parameters that nothing reads", self.parameters),
            ("updates that change nothing", self.updates),
        ):
            if names:
                yield f"{what}: {', '.join(names)}"


def unread_of(graph: Graph, schedule: Schedule) -> Unread:
    """Return the inputs, parameters and guards of a graph that no step reads."""
    read = {name for step in schedule.steps for name in step.reads()}
    written = {name for step in schedule.steps for name in step.writes()}
    buffers = [(b.role, b.label, b.name) for b in schedule.buffers]
    touched = {(role, label) for role, label, name in buffers if name in read | written}
    changed = {label for role, label, name in buffers if role == "parameter" and name in written}
    inputs = [input_label(value) for value in graph.inputs]
    return Unread(
        tuple(name for name in inputs if ("input", name) not in touched),
        tuple(p.name for p in graph.parameters if ("parameter", p.name) not in touched),
        tuple(p.name for p, _ in graph.updates if p.name not in changed),
    )


@dataclass(frozen=True)
class Explanation:
    """All sections of one program; ``plan`` is None if its sizes are unknown.

    ``computed_once``: the steps that read constants alone, and ran when the program was compiled.
    ``kernels``, ``compilers``: how many distinct kernels these steps have, and how many of them
    each backend compiled.
    ``unfused_pairs``: every pair of steps of which one reads what the other computes.
    ``late``: what the late passes and those of a budget did to the graph that kernels are made of.
    ``tuning``: kernels whose schedules were measured, with the times (``sg.compile(tune=True)``).
    ``dead``: the nodes that nothing needs, counted. ``source_graph``: the graph ahead
    of all passes, if it was asked for.
    """

    graph: str
    pipeline: str
    passes: tuple[Report, ...]
    computed_once: tuple[StepSection, ...]
    steps: tuple[StepSection, ...]
    kernels: int
    compilers: Mapping[str, int]
    unfused_pairs: tuple[UnfusedPair, ...]
    unread: Unread
    open_sizes: tuple[str, ...]
    plan: Plan | None
    sharing: Sharing | None = None
    dead: NodeCounts | None = None
    source_graph: Graph | None = None
    tuning: tuple[str, ...] = ()
    late: tuple[Report, ...] = ()

    apart = deprecated_attribute("0.2", "unfused_pairs")
    before = deprecated_attribute("0.2", "source_graph")

    def __str__(self) -> str:
        return self.text()

    def text(self, full: bool = False) -> str:
        """Return all sections as text; ``full``: steps of called graphs one by one."""
        return PrintedText("\n".join(self._lines(full)))

    def _repr_html_(self) -> str:
        """Return the explanation as HTML: passes, steps and arena."""
        from staticgrad.compiler.reports.pictures import passes_table
        from staticgrad.language.ir.plan import plan_picture
        from staticgrad.support.pictures.markup import (
            details,
            fragment,
            paragraph,
            table,
            text_block,
        )

        plan = self.plan
        return fragment(
            paragraph(f"{self.graph}: {len(self.steps)} steps, {self.kernels} kernels"),
            passes_table(self.passes),
            table(("step", "kernel", "order", "computes", "lines"), _rows(self.steps)),
            "" if plan is None else plan_picture(plan),
            details("text", text_block(self.text(full=True))),
        )

    def _lines(self, full: bool) -> Iterator[str]:
        """Yield the lines of ``explain``: dead nodes, passes, steps, unfused pairs, arena."""
        by = ", ".join(f"{n} by {name}" for name, n in self.compilers.items())
        yield f"{self.graph}: {len(self.steps)} steps, {self.kernels} kernels{by and f', {by}'}"
        yield from [] if self.dead is None else self.dead.lines()
        yield f"passes: {self.pipeline or 'none'}"
        for report in self.passes:
            yield f"  {report.summary}"
            yield from (f"      {count:4}x {name}" for name, count in report.hits.items())
            yield from (f"      {line}" for line in report.misses)
        if changes := [r for r in self.late if r.changed or r.hits or r.note]:
            yield "late passes, for kernels:"
        for report in changes:
            yield f"  {report}"
            yield from (f"      {line}" for line in report.note.splitlines())
        if self.computed_once:
            yield "computed once, of constants:"
            yield from (f"      {step}" for step in self.computed_once)
        yield "steps:"
        yield from _step_lines(self.steps, self.plan, "  ", full)
        if self.tuning:
            yield "schedules by measurement:"
            yield from (f"      {line}" for line in self.tuning)
        alike: dict[str, list[str]] = {}
        for pair in self.unfused_pairs:
            if pair.is_folded and not full:
                continue
            alike.setdefault(pair.description, []).append(f"{pair.computed_in} -> {pair.read_in}")
        if alike:
            yield "neighbours that are two steps:"
        for description, pairs in alike.items():
            more = f", and {len(pairs) - 1} more" if len(pairs) > 1 else ""
            yield f"      {pairs[0]}{more}: {description}"
        yield from self.unread.lines()
        if self.plan is None:
            sizes = ", ".join(f"{name}=..." for name in self.open_sizes)
            yield f"arena: depends on {', '.join(self.open_sizes)}: f.explain({sizes})"
        else:
            yield memory_table(self.plan, full)
            yield from self._narrow_lines(self.plan)
            yield str(self.sharing)
        if self.source_graph is not None:
            yield f"before the passes:\n{self.source_graph}"

    def _narrow_lines(self, plan: Plan) -> Iterator[str]:
        """Yield the share of narrow floats in the peak, if the mixed-precision pass ran."""
        if not any(report.name == "narrow" for report in self.passes):
            return
        kinds = [(place.nbytes, buffer.dtype) for place, buffer in peak_buffers(plan)]
        narrow = sum(n for n, dtype in kinds if dtype.is_storage)
        little = narrow < plan.peak_bytes / 20  # each spares as many bytes as it takes
        yield f"narrow values are {narrow:,} of the {plan.peak_bytes:,} bytes at the peak" + (
            ": narrow saves little here, for it does not round the others" if little else ""
        )

    def as_json(self) -> dict[str, Any]:
        """Return the explanation for JSON; ``peak_bytes`` is None if sizes are open."""
        return {
            "schema": SCHEMA,
            "graph": self.graph,
            "pipeline": self.pipeline,
            "passes": [report.as_json() for report in self.passes],
            "late": [report.as_json() for report in self.late],
            "computed_once": [asdict(section) for section in self.computed_once],
            "steps": [asdict(section) for section in self.steps],
            "kernels": self.kernels,
            "compilers": dict(self.compilers),
            "tuning": [*self.tuning],
            "apart": [asdict(pair) for pair in self.unfused_pairs],
            "unread": asdict(self.unread),
            "sizes": None if self.plan is None else dict(self.plan.sizes),
            "peak_bytes": None if self.plan is None else self.plan.peak_bytes,
            "bodies": []
            if self.plan is None
            else [
                {"step": planned.step, **asdict(body)}
                for planned in self.plan.steps
                for body in bodies_of(self.plan, planned)
            ],
            "sharing": None if self.sharing is None else asdict(self.sharing),
            "copied_feeds": [] if self.plan is None else [*copied_feeds(self.plan)],
        }


def _rows(sections: Sequence[StepSection], prefix: str = "") -> list[tuple[str, ...]]:
    """Return the rows of the table of steps in a notebook, bodies numbered below them."""
    rows: list[tuple[str, ...]] = []
    for number, section in enumerate(sections):
        number_text = f"{prefix}{number}"
        order = "forward" if not section.phase else f"derivative {section.phase}"
        rows.append(
            (number_text, section.kernel, order, section.computes, ", ".join(section.lines))
        )
        for inside in section.inside:
            rows += _rows(inside, f"{number_text}.")
    return rows
