"""fuse: Graph -> Schedule. Groups become kernels, values get buffers, steps get a valid order.

A training step of least squares, ``w <- w - 0.1 * gradient``, becomes::

    graph                             schedule
    r = x @ w - y                     kernel 0   x, w, y -> r * r, parts of the gradient
    loss = sum(r * r)            ->   kernel 1   r * r -> loss
    gradient = 2 * x.T @ r            kernel 2   parts of the gradient -> gradient
    update w: w - 0.1 * gradient      kernel 3   w, gradient -> w

An update is written into the buffer of its parameter if all steps that read the old value can run
before that; else into a temporary buffer, which a copy at the end commits (``fusion.updates``). An
update that changes nothing has no step. A step with a run-time check runs before the first step
that writes a parameter, so that a failing check leaves all parameters old; it may run later if an
earlier step has made the same check (``ir/verify.py``).

Kernels may rely on facts about sizes, such as that a size is a multiple of 16
(``staticgrad.language.ir.kernels.known``). All kernels of a schedule have the same facts: with
facts of their own, two steps of one computation would be two kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from passes.base import Pass, Pipeline, Report, disable_passes
from passes.late.base import TOLERANCE, PricedPass, describe_prices, results_reused
from passes.late.loops import StripMining
from passes.late.products import is_wide_copy, multiplies_bfloat16, narrowest, read_unrounded
from passes.late.scalarization import Scalarization, find_larger_axes
from passes.pipelines import NARROW_FACTORS, PRICED, PRICES, pipeline
from staticgrad.analysis.cost import compare_seconds, seconds_at_scales
from staticgrad.analysis.liveness import phases_of
from staticgrad.compiler.fusion.copies import GroupsWithCopies, add_copies, add_late_copies
from staticgrad.compiler.fusion.groups import (
    CheckBuffer,
    CopyBuffer,
    Group,
    Groups,
    Key,
    ResultBuffer,
)
from staticgrad.compiler.fusion.merging import groups_of
from staticgrad.compiler.fusion.reasons import Reason
from staticgrad.compiler.fusion.updates import PendingStep, Update, find_copied_updates, order_steps
from staticgrad.compiler.lowering.operands import LoweredStep
from staticgrad.compiler.lowering.signatures import Lowerings
from staticgrad.errors import GraphError
from staticgrad.language.ir.bodies import BodyStep
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.expr import Stride
from staticgrad.language.ir.forms import CallForm, Contract
from staticgrad.language.ir.graph import (
    Computation,
    Constant,
    Graph,
    Input,
    Node,
    Parameter,
    ParameterLeaf,
    Symbolic,
    bodies_of,
)
from staticgrad.language.ir.index_checks import implied_checks
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.known import Known, known_of
from staticgrad.language.ir.kernels.legality import half_registers
from staticgrad.language.ir.kernels.stages import (
    Accumulate,
    ColumnAccumulate,
    Columns,
    Extent,
    Gemm,
    Map,
    Mode,
    nested_stages,
)
from staticgrad.language.ir.routines import Routine, choose_routine
from staticgrad.language.ir.schedule import (
    Binding,
    BoundStep,
    Buffer,
    CallStep,
    KernelStep,
    Role,
    Schedule,
)
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import BF16, I64, DType
from staticgrad.support import config
from staticgrad.support.caches import collection_paused
from staticgrad.support.records import dataclass, replace
from staticgrad.support.source import Location

if TYPE_CHECKING:
    from staticgrad.compiler.fusion.neighbours import KernelPair
    from staticgrad.compiler.lowering.loops.driven import LoweredBodies
    from staticgrad.compiler.lowering.loops.refusals import LoopRefusal
    from staticgrad.compiler.lowering.loops.time_loops import Stretches


@collection_paused()
def fuse(graph: Graph, merge: bool = True, disable: tuple[str, ...] = ()) -> Schedule:
    """Lower a graph to a schedule of kernels; updates are stored to parameters.

    With ``merge`` off every node is a separate kernel; the results are bitwise identical.
    ``disable`` leaves out late passes by name; other names have no effect.
    Takes time almost linear in the number of nodes. Run ``dce`` first: dead nodes get kernels, too.
    """
    return fusion(graph, merge, disable).schedule


@dataclass(frozen=True, eq=False)
class Fusion:
    """A schedule with the fusion groups of its steps.

    ``steps``: the number of each step's group. ``updates``: of each group that copies a new value
    to its parameter at the end, the reason. ``reports``: what each late pass did, also in the
    bodies of loops and branches.
    """

    schedule: Schedule
    groups: Groups
    steps: tuple[int, ...]
    updates: Mapping[int, Reason]
    reports: tuple[Report, ...] = ()

    def neighbours(self) -> list[KernelPair]:
        """Return pairs of steps of which one reads the other, with why they are not fused."""
        from staticgrad.compiler.fusion.neighbours import neighbours

        step = {number: position for position, number in enumerate(self.steps)}
        return [
            replace(pair, computed_in=step[pair.computed_in], read_in=step[pair.read_in])
            for pair in neighbours(self.groups, self.updates)
        ]


@results_reused()
def fusion(graph: Graph, merge: bool = True, disable: tuple[str, ...] = ()) -> Fusion:
    """Return the schedule of ``fuse`` with its fusion groups; equal graphs give equal results.

    Components of small axes stay, here and in the bodies of loops, only if the schedule is
    predicted to take less time than without them: what they save is known when their nodes are in
    kernels, and not before.
    """
    fusions = _Fusions(merge)
    best = fusions.fuse(graph, disable)
    if PRICES in disable or not _has_components(best):
        return best
    candidates = [fusions.fuse(graph, (*disable, PRICED)), best]
    if largest := find_larger_axes(graph):
        candidates.append(fusions.fuse(graph, disable, largest))
    seconds = [seconds_at_scales(f.schedule.steps) for f in candidates]
    chosen = 0
    for index in range(1, len(candidates)):
        if compare_seconds(seconds[index], seconds[chosen]) < 1.0 - TOLERANCE:
            chosen = index
    note = describe_prices(chosen > 0, seconds[chosen or 1], seconds[0])
    return _with_note(candidates[chosen], note)


def _has_components(scheduled: Fusion) -> bool:
    """Return whether a schedule has components of small axes, here or in bodies."""
    return any(report.name == PRICED and report.changed for report in scheduled.reports)


def _with_note(scheduled: Fusion, note: str) -> Fusion:
    """Add both prices to the report of the pass that is priced by whole schedules."""
    names = [report.name for report in scheduled.reports]
    reports = [*scheduled.reports]
    if PRICED in names:
        place = names.index(PRICED)
        reports[place] = replace(reports[place], note=note)
    else:
        graph = scheduled.groups.graph
        reports.append(Report(PRICED, graph, graph, note=note))
    return replace(scheduled, reports=tuple(reports))


class _Fusions:
    """The fusions of one program, each made once: those of its graph, of bodies and of trials.

    Trials compare the predicted time of schedules with a late pass and without it. What they fuse
    is often fused for another trial, too, or for the schedule that is returned: bodies of loops,
    and graphs most of which a pass changes.
    """

    def __init__(self, merge: bool) -> None:
        self._merge = merge
        self._pipelines: dict[tuple[tuple[str, ...], int], Pipeline] = {}
        self._lowered: dict[tuple[_Contents, tuple[str, ...]], Fusion] = {}
        self._bodies: dict[tuple[_Contents, tuple[str, ...]], Fusion] = {}
        self._lowerings = Lowerings()

    def fuse(self, graph: Graph, disable: tuple[str, ...], largest: int = 0) -> Fusion:
        """Return the fusion of a graph, by the late passes that are not in ``disable``.

        ``largest``: the largest axis that has components; that of the pass by default.
        """
        return self._fuse_by(self.pipeline(disable, largest), graph, disable)

    def pipeline(self, disable: tuple[str, ...], largest: int = 0) -> Pipeline:
        """Return the late passes that are not in ``disable``; priced passes try by trials."""
        key = disable, largest
        if key not in self._pipelines:
            self._pipelines[key] = self._make_pipeline(disable, largest)
        return self._pipelines[key]

    def _make_pipeline(self, disable: tuple[str, ...], largest: int) -> Pipeline:
        enabled = _late_passes(self._merge, disable)
        passes: list[Pass] = []
        for position, pass_ in enumerate(enabled):
            if isinstance(pass_, PricedPass) and PRICES not in disable:
                # Both graphs are fused by the passes behind this one.
                later_passes = Pipeline(enabled[position + 1 :])
                pass_ = type(pass_)(partial(self._try, later_passes, disable))
            elif isinstance(pass_, StripMining):
                pass_ = StripMining(partial(fuse, disable=(*disable, PRICES)))
            elif isinstance(pass_, Scalarization) and largest:
                pass_ = Scalarization(largest)
            passes.append(pass_)
        return Pipeline(tuple(passes))

    def _try(self, later_passes: Pipeline, disable: tuple[str, ...], graph: Graph) -> Schedule:
        """Return the schedule of a graph to which the first late passes were applied already."""
        return self._fuse_by(later_passes, graph, disable).schedule

    def _fuse_by(self, late: Pipeline, graph: Graph, disable: tuple[str, ...]) -> Fusion:
        computed, reports = run_late_passes(graph, late)
        key = _Contents(computed), disable
        if key not in self._lowered:
            self._lowered[key] = self._lower(computed, disable)
        lowered = self._lowered[key]
        return replace(lowered, reports=reports + lowered.reports)

    def _lower(self, computed: Graph, disable: tuple[str, ...]) -> Fusion:
        reports: tuple[Report, ...] = ()
        groups = groups_of(computed, self._merge)
        start = perf_counter()
        narrow = _with_narrow_factors(groups, self._merge and NARROW_FACTORS not in disable)
        if narrow is not computed:
            seconds = perf_counter() - start
            reports = (Report(NARROW_FACTORS, computed, narrow, {}, seconds),)
            groups = groups_of(narrow, self._merge)
        fuse_body = partial(self.fuse_body, disable)
        return lower_groups(add_copies(groups), fuse_body, self._lowerings, reports)

    def fuse_body(self, disable: tuple[str, ...], body: Graph) -> Fusion:
        """Return the fusion of the body of a loop or branch."""
        contents = _Contents(body)
        key = contents, disable
        if key not in self._bodies:
            self._bodies[key] = self.fuse(body, disable)
            if PRICED not in disable and not _has_components(self._bodies[key]):
                self._bodies[contents, (*disable, PRICED)] = self._bodies[key]
        return self._bodies[key]


class _Contents:
    """The contents of a graph as a key: its computation, and the derivative order of each node."""

    __slots__ = ("_computation", "_orders")

    def __init__(self, graph: Graph) -> None:
        self._computation = graph.computation
        self._orders = tuple([node.order for node in graph.nodes])

    def __hash__(self) -> int:
        return hash((self._computation, self._orders))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Contents):
            return NotImplemented
        return self._orders == other._orders and self._computation == other._computation


@cache
def _late_passes(merge: bool, disable: tuple[str, ...]) -> tuple[Pass, ...]:
    """Return the late passes that are not in ``disable``, without schedules to compare."""
    every = pipeline("late" if merge else "late-unfused")
    names = {pass_.name for pass_ in every.passes}
    return disable_passes(every, names.intersection(disable)).passes


def run_late_passes(
    graph: Graph, late: Pipeline, dump: Path | None = None
) -> tuple[Graph, tuple[Report, ...]]:
    """Run late passes, which make the graph that kernels are made of; return their reports.

    With ``dump`` the graph after each pass is written to this folder.
    """
    checks = config.current().check
    return late.run(graph, verify=checks, dump=dump or False)


def write_late_graphs(graph: Graph, merge: bool, disable: tuple[str, ...], folder: Path) -> None:
    """Write the graph after each late pass; those of bodies to a folder for each."""
    computed, _ = run_late_passes(graph, _Fusions(merge).pipeline(disable), folder)
    bodies = dict.fromkeys(body for node in computed.nodes for body in bodies_of(node))
    for number, body in enumerate(bodies):
        write_late_graphs(body, merge, disable, folder / f"body{number}")


def _with_narrow_factors(groups: Groups, reads_narrow: bool) -> Graph:
    """Let products read narrow floats without a wide copy (``reads_narrow``).

    The kernel of a product widens its factors while it packs them, so the sums equal those of a
    wide copy. A product of two wide copies of bfloat16 numbers is one of these numbers in any
    kernel. Another product that is part of a larger kernel keeps its operands: it reads them from
    registers, or in vectors from unpacked memory; so do factors that its kernel computes. The
    factors may then have two dtypes, which no op that users write has; only kernels are made of the
    result. Rounded copies of inputs and parameters are not needed either: kernels round while they
    pack.
    """
    products: dict[Node, list[Symbolic]] = {}  # the factors that each one reads narrow
    for group in groups.all:
        inside = set(group.nodes)
        for node in group.nodes:
            if not isinstance(node.form, Contract):
                continue
            if not (any(map(is_wide_copy, node.args)) or node.args[0].dtype is BF16):
                continue
            factors = [*node.args] if reads_narrow else []
            if group.kind != "gemm":
                rounds = isinstance(node.op, MatMul) and multiplies_bfloat16(node)
                factors = [x for x in factors if rounds and narrowest(x).node not in inside]
            products[node] = factors
    if not products:
        return groups.graph

    def narrow(node: Node, args: tuple[Symbolic, ...]) -> tuple[Symbolic, ...] | None:
        if node not in products:
            return None
        op = node.op
        if isinstance(op, MatMul) and multiplies_bfloat16(node):
            op = replace(op, factors=BF16)
        elif not products[node]:
            return None
        keys = {factor.key for factor in products[node]}
        factors = list(args)
        for place, old in enumerate(node.args):
            if old.key in keys:
                factors[place] = narrowest(args[place])
                if isinstance(op, MatMul) and op.factors is BF16:
                    factors[place] = read_unrounded(factors[place])
        return rebuild(node, tuple(factors), op=op, types=node.types).values

    return groups.graph.replace_nodes(narrow).without_dead_nodes()


def lower_groups(
    copied: GroupsWithCopies,
    fuse_body: Callable[[Graph], Fusion],
    lowerings: Lowerings,
    reports: tuple[Report, ...] = (),
) -> Fusion:
    """Lower each fusion group, and choose the buffers of updates; return the schedule.

    ``fuse_body`` fuses the body of a loop or branch. ``lowerings``: the lowered groups of other
    fusions of the program. ``reports``: those over the graph; those over bodies follow them.
    While groups are lowered, the new value of a parameter has a separate buffer, ``new.name``.
    """
    graph = copied.groups.graph
    builder = _Builder(copied, fuse_body, lowerings)
    works = builder.drop_implied_checks(
        [builder.lower_group(copied.groups, group) for group in copied.groups.all]
    )
    works += builder.late_copies(find_copied_updates(works, [*builder.updates.values()]))
    ordered = order_steps(works, [*builder.updates.values()])
    if ordered is None:
        raise GraphError(
            "the schedule has a cycle", hint="this is a defect of staticgrad; please report it"
        )
    steps = [_rename_buffers(work.step, builder.new_names) for work in ordered]
    kernels = [step for step in steps if isinstance(step, KernelStep)]
    specialized = kernels_with_facts([(step.kernel, step.arguments) for step in kernels])
    steps = [
        replace(step, kernel=specialized[step.kernel]) if isinstance(step, KernelStep) else step
        for step in steps
    ]
    buffers = tuple(builder.buffers.values())
    schedule = Schedule(graph.name, buffers, tuple(steps), builder.outputs)
    numbers = tuple(work.group for work in ordered)
    reports += tuple(builder.body_reports)
    return Fusion(schedule, builder.groups, numbers, builder.late, reports)


class _Builder:
    """The names and buffers of one schedule; ``updates`` and ``new_names`` by ``new.name``."""

    def __init__(
        self,
        copied: GroupsWithCopies,
        fuse_body: Callable[[Graph], Fusion],
        lowerings: Lowerings,
    ) -> None:
        self.copied = copied
        self.fuse_body = fuse_body
        self.body_reports: list[Report] = []
        self.groups = copied.groups  # later with the copies of ``late_copies``
        self.late: dict[int, Reason] = {}  # of each of these copies
        self.buffers: dict[str, Buffer] = {}
        self.updates: dict[str, Update] = {}
        self.new_names: dict[str, str] = {}
        self._names: dict[Key, str] = {}
        self._lowerings = lowerings
        self._inner: dict[Computation, Schedule] = {}  # of the body
        self._last_phase = max(phases_of(copied.groups.graph).values(), default=0)
        self._position = {node: k for k, node in enumerate(copied.groups.graph.nodes)}
        pairs = copied.outputs.items()
        self.outputs = tuple([(name, self._add_output(name, key)) for name, key in pairs])
        for parameter, key in copied.updates:
            # The new value has its own name until its buffer is chosen.
            old, new = ResultBuffer(parameter.node), f"new.{parameter.name}"
            name = self._parameter_buffer(parameter)
            self._names.setdefault(old, name)
            self._names[key] = new
            self.updates[new] = Update(key, old, new, name, parameter.name)
            self.new_names[new] = name

    # -- buffers ----------------------------------------------------------------------------------

    def _add(self, prefix: str, role: Role, dtype: DType, size: Size, **more: object) -> str:
        name = (
            prefix if role in ("input", "parameter", "output") else f"{prefix}{len(self.buffers)}"
        )
        self.buffers[name] = Buffer(name, role, dtype, size, **more)  # type: ignore[arg-type]
        return name

    def _add_output(self, name: str, key: Key) -> str:
        """Add the buffer of an output of the graph that a group computes."""
        groups = self.copied.groups
        kind, origin = groups.value_type(key), groups.graph.outputs[name].node.origin
        buffer = self._add(
            f"out.{name}", "output", kind.dtype, kind.size, label=name, origin=origin
        )
        self._names[key] = buffer
        return buffer

    def _buffer_of(self, key: Key) -> str:
        if key not in self._names:
            self._names[key] = self._make_buffer(key)
        return self._names[key]

    def _make_buffer(self, key: Key) -> str:
        """Add the buffer of an input, parameter, constant, check or temporary of a schedule."""
        origin, op = key.node.origin, key.node.op if isinstance(key, ResultBuffer) else None
        if isinstance(key, CheckBuffer):
            return self._add("k", "check", I64, 2, origin=key.origin or origin)
        if isinstance(op, ParameterLeaf):
            return self._parameter_buffer(Parameter(key.node))
        kind = self.copied.groups.value_type(key)
        if isinstance(op, Input):
            name, label = f"in.{op.label}", op.label
            return self._add(name, "input", kind.dtype, kind.size, label=label, origin=origin)
        if isinstance(op, Constant):
            return self._add("c", "constant", kind.dtype, kind.size, data=op.data, origin=origin)
        return self._temporary(key)

    def _temporary(self, key: Key) -> str:
        groups = self.copied.groups
        kind, is_kept = groups.value_type(key), key in groups.retained
        return self._add(
            "t", "temp", kind.dtype, kind.size, origin=key.node.origin, retained=is_kept
        )

    def _parameter_buffer(self, parameter: Parameter) -> str:
        name = f"param.{parameter.name}"
        if name not in self.buffers:
            kind = parameter.type
            origin = parameter.node.origin
            self._add(name, "parameter", kind.dtype, kind.size, label=parameter.name, origin=origin)
        return name

    # -- steps ------------------------------------------------------------------------------------

    def late_copies(self, updates: Mapping[Update, Reason]) -> list[PendingStep]:
        """Return the steps that copy new values from temporaries to their parameters."""
        late = {update.key: update for update in updates}
        self.groups, copies = add_late_copies(self.copied.groups, late)
        owners = self.groups.owners
        for key, update in late.items():
            self.new_names[update.buffer] = self._names[key] = self._temporary(key)
            self._names[copies[key]] = update.parameter
            self.updates[update.buffer] = replace(update, key=copies[key])
            self.late[owners[copies[key]]] = updates[update]
        return [
            self.lower_group(self.groups, self.groups.by_number[number]) for number in self.late
        ]

    def drop_implied_checks(self, works: Sequence[PendingStep]) -> list[PendingStep]:
        """Remove index checks of steps that other steps make already."""
        if sum(work.checks for work in works) < 2 or not self.updates:
            return [*works]
        buffers = {
            **self.buffers,
            **{new: self.buffers[old] for new, old in self.new_names.items()},
        }
        implied = implied_checks([work.step for work in works], buffers)
        return [replace(work, checked=n in implied) for n, work in enumerate(works)]

    def lower_group(self, groups: Groups, group: Group) -> PendingStep:
        """Lower a fusion group to steps: a kernel, a routine's call, a loop or a branch."""
        position = max([self._position[node] for node in group.members], default=0)
        lowered: LoweredStep | LoweredBodies
        step: BoundStep
        if group.kind == "call":
            step, reads = self._call_step(groups, group)
            writes = tuple(
                ResultBuffer(node, n) for node in group.nodes for n in range(len(node.types))
            )
            return PendingStep(group.number, step, reads, writes, position, group.level)
        if group.kind == "body":
            from staticgrad.compiler.lowering.loops.driven import lower_bodies  # few have loops

            (node,) = group.nodes
            for body in bodies_of(node):
                if body.computation not in self._inner:
                    fused = self.fuse_body(body)
                    self._inner[body.computation] = fused.schedule
                    self.body_reports += [
                        replace(r, inside=r.inside or f"the body of {node.op.name}")
                        for r in fused.reports
                    ]
            schedules = [self._inner[body.computation] for body in bodies_of(node)]
            bodies = lower_bodies(groups, group, schedules)
            time_loop: LoweredStep | Stretches | LoopRefusal | None = None  # of a branch
            if self.groups.fused and bodies.form.kind != "branch":
                from staticgrad.compiler.lowering.loops.time_loops import lower_time_loop

                time_loop = lower_time_loop(bodies, _describe_group(group, self._last_phase))
            if isinstance(time_loop, LoweredStep):
                lowered, step = time_loop, self._step(group, time_loop)
            else:
                reason = "" if time_loop is None or isinstance(time_loop, tuple) else str(time_loop)
                if isinstance(time_loop, tuple):  # a kernel of several iterations
                    inner, stretches = time_loop
                    bodies = lower_bodies(groups, group, [inner], stretches)
                elif self.groups.fused:
                    from staticgrad.compiler.lowering.loops.small_steps import join_small_steps

                    bodies = lower_bodies(groups, group, [*map(join_small_steps, schedules)])
                form = bodies.form
                bound = [Binding(self._buffer_of(key), offset) for key, offset in bodies.operands]
                for _, buffer in bodies.extra_operands:
                    name = self._add(
                        buffer.name, buffer.role, buffer.dtype, buffer.size, origin=buffer.origin
                    )
                    bound.append(Binding(name))
                lowered = bodies
                step = BodyStep(
                    form.kind,
                    (*bodies.types, *(operand for operand, _ in bodies.extra_operands)),
                    tuple(bound),
                    bodies.schedules,
                    bodies.iterations,
                    form.carries,
                    form.slices,
                    form.reverse,
                    form.logged,
                    *_describe_group(group, self._last_phase),
                    reason,
                )
        else:
            lowered = self._lowerings.lower(groups, group)
            step = self._step(group, lowered)
        return PendingStep(group.number, step, lowered.reads, lowered.writes, position, group.level)

    def _step(self, group: Group, lowered: LoweredStep) -> KernelStep:
        """Return the kernel step of a lowered group, with its operands bound to buffers."""
        scratch = {key: (dtype, size) for key, dtype, size in lowered.scratch}
        names = {
            key: self._add("s", "scratch", *scratch[key])
            if key in scratch
            else self._buffer_of(key)
            for key, _ in lowered.touched
        }
        bound = [Binding(names[key], offset) for key, offset in lowered.operands]
        return KernelStep.of(
            lowered.kernel, bound, lowered.arguments, *_describe_group(group, self._last_phase)
        )

    def _call_step(self, groups: Groups, group: Group) -> tuple[CallStep, tuple[Key, ...]]:
        """Return the step that calls a library routine, and the values that it reads."""
        (node,) = group.nodes
        form = node.form
        assert isinstance(form, CallForm)
        read = groups.operand_locations(group)
        results = [(ResultBuffer(node, number), 0) for number in range(len(node.types))]
        bound = [Binding(self._buffer_of(key), offset) for key, offset in (*read, *results)]
        name, scratch = choose_routine(form)
        bound += [Binding(self._add("s", "scratch", *array)) for array in scratch]
        modes: list[tuple[Mode, DType]] = [("in", arg.type.dtype) for arg in node.args]
        modes += [("out", kind.dtype) for kind in node.types]
        modes += [("scratch", dtype) for dtype, _ in scratch]
        if form.checks:
            modes.append(("check", I64))
            bound.append(Binding(self._buffer_of(CheckBuffer(node))))
        routine = Routine(name, tuple(modes), form.alone)
        sizes = form.sizes, form.total, form.flops
        step = CallStep(routine, tuple(bound), *sizes, *_describe_group(group, self._last_phase))
        return step, tuple(dict.fromkeys(key for key, _ in read))


def _describe_group(group: Group, last_phase: int) -> tuple[int, str, tuple[Location, ...]]:
    """Return the phase of a step, its label (its ops, or what it copies), and its source lines.

    Updates that fusion keeps apart have a phase of their own there, behind the last one. Their
    steps are of the last one.
    """
    nodes = group.members
    names = ", ".join(dict.fromkeys([node.op.name for node in nodes]))
    copies = any(isinstance(transfer.target, CopyBuffer) for transfer in group.transfers)
    locations = dict.fromkeys([location for node in nodes for location in node.origin.places])
    return min(group.phase, last_phase), f"copy of {names}" if copies else names, tuple(locations)


def _rename_buffers(step: BoundStep, new_names: Mapping[str, str]) -> BoundStep:
    """Bind a step's operands to buffers under new names, after copies of updates are elided."""
    if not any(binding.buffer in new_names for binding in step.operands):
        return step
    operands = []
    for access, binding in zip(step.accesses(), step.operands, strict=True):
        name = new_names.get(binding.buffer)
        if name is not None:
            updated = access.mode == "in" and name.startswith("param.")
            binding = Binding(name, binding.offset, updated)
        operands.append(binding)
    return step.with_operands(tuple(operands))


def kernels_with_facts(uses: Iterable[tuple[Kernel, tuple[Size, ...]]]) -> dict[Kernel, Kernel]:
    """Return for each kernel a kernel with the facts that hold for all its sizes."""
    sizes: dict[Kernel, dict[tuple[Size, ...], None]] = {}
    for kernel, arguments in uses:
        sizes.setdefault(kernel, {})[arguments] = None
    return {kernel: _with_facts(kernel, tuple(arguments)) for kernel, arguments in sizes.items()}


def _with_facts(kernel: Kernel, arguments: Sequence[tuple[Size, ...]]) -> Kernel:
    """Set the facts in a kernel that its code depends on: row lengths, bounds, uneven strides."""
    extents: dict[Extent, bool] = {}  # True: an extent of a product
    row_strides: set[Stride] = set()
    halved: set[Extent] = set()
    summed: set[Extent] = set()
    for stage, _ in nested_stages(kernel.stages):
        if isinstance(stage, Map):
            extents.setdefault(stage.axis.extent, False)
            if half_registers(kernel, stage):
                halved.add(stage.axis.extent)
            sums = [s for s in stage.body if isinstance(s, Accumulate | ColumnAccumulate)]
            if kernel.axes and sums:
                summed.add(stage.axis.extent)
        elif isinstance(stage, Gemm):
            extents |= dict.fromkeys((axis.extent for axis in stage.loops), True)
            if stage.plain:
                row_strides.add(stage.a.stride(stage.i[0].name))
    if kernel.outer == "elements":
        extents = {}  # the loop over elements is cut anywhere
    columns = {stage.axis.extent for stage in kernel.stages if isinstance(stage, Columns)}
    transposed = {kernel.axes[-1].extent} - extents.keys() if kernel.transposed_loads else set()
    candidates = []
    for name, column in zip(kernel.arguments, zip(*arguments, strict=True), strict=True):
        fact = known_of(name, column)
        if name in columns and fact.fixed:
            candidates.append(Known(name, most=fact.most, fixed=True))
        elif name in transposed:
            candidates.append(Known(name, fact.multiple))  # squares of such rows are whole
        elif name in extents or name in row_strides:
            vectors = [kernel.lanes // 2] * (name in halved) + [kernel.lanes]
            single = (lanes for lanes in vectors if fact.short and 0 < fact.most <= lanes)
            fixed = fact.fixed and name in summed
            most = fact.most if extents.get(name) or fixed else next(single, 0)
            uneven = fact.uneven and name in row_strides
            candidates.append(replace(fact, most=most, uneven=uneven, fixed=fixed))
    facts = tuple(fact for fact in candidates if not fact.is_nothing)
    return replace(kernel, facts=facts) if facts else kernel
