"""fuse: Graph -> Schedule. Groups become kernels, values get buffers, steps get a valid order.

Updates are written directly to the parameter's buffer if every reader of the old value can run
before; else through a temporary and a copy at the end (``fusion.updates``). An update that changes
nothing has no step. Every step with a run-time check runs before the first step that writes a
parameter, unless an earlier step has made the same check (``ir/verify.py``).

A kernel may rely on facts about sizes (``staticgrad.language.ir.kernels.known``).

They are common to all steps of a schedule, so that equal computations stay one kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from staticgrad.compiler.fusion.copies import WithCopies, with_copies, with_late_copies
from staticgrad.compiler.fusion.groups import CheckBuffer, Copied, Group, Groups, Home, Key
from staticgrad.compiler.fusion.merging import groups_of
from staticgrad.compiler.fusion.updates import PendingStep, Update, copied_updates, in_order
from staticgrad.compiler.lowering.operands import LoweredStep
from staticgrad.compiler.lowering.signatures import Lowerings
from staticgrad.compiler.preparation.products import is_wide_copy, narrowest
from staticgrad.compiler.preparation.sequence import prepared
from staticgrad.language.ir.bodies import BodyStep
from staticgrad.language.ir.calls import Routine
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
    nested,
)
from staticgrad.language.ir.schedule import (
    Binding,
    BoundStep,
    Buffer,
    CallStep,
    KernelStep,
    Role,
    Schedule,
)
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import I64, DType
from staticgrad.support.caches import collection_paused
from staticgrad.support.errors import GraphError
from staticgrad.support.records import dataclass, replace
from staticgrad.support.source import Location

if TYPE_CHECKING:
    from staticgrad.compiler.fusion.neighbours import KernelPair
    from staticgrad.compiler.lowering.loops.driven import LoweredBodies
    from staticgrad.compiler.lowering.loops.refusals import WhyDriven
    from staticgrad.compiler.lowering.loops.time_loops import Stretches


@collection_paused()
def fuse(graph: Graph, merge: bool = True) -> Schedule:
    """Return the schedule of ``graph``: outputs go to output buffers, updates to parameters.

    With ``merge`` off every node is a kernel of its own; the bytes of the results are the same.
    Near-linear in the nodes. The graph must be free of dead nodes (run ``dce`` first) or their
    kernels run for nothing.
    """
    return fusion(graph, merge).schedule


@dataclass(frozen=True, eq=False)
class Fusion:
    """A schedule with the groups that it was made of.

    ``steps``: the number of each step's group. ``updates``: of the groups that copy a new value to
    its parameter at the end, the parameter's name.
    """

    schedule: Schedule
    groups: Groups
    steps: tuple[int, ...]
    updates: Mapping[int, str]

    def neighbours(self) -> list[KernelPair]:
        """Return every pair of steps in which one reads a result of the other, with the reason."""
        from staticgrad.compiler.fusion.neighbours import neighbours

        step = {number: place for place, number in enumerate(self.steps)}
        return [
            replace(pair, computed_in=step[pair.computed_in], read_in=step[pair.read_in])
            for pair in neighbours(self.groups, self.updates)
        ]


def fusion(graph: Graph, merge: bool = True) -> Fusion:
    """Return the result of ``fuse`` with the groups; equal graphs give equal results."""
    computed = prepared(graph, fuse if merge else None)
    groups = groups_of(computed, merge)
    if merge and (narrow := _with_narrow_factors(groups)) is not groups.graph:
        groups = groups_of(narrow, merge)
    return lower_groups(with_copies(groups))


def _with_narrow_factors(groups: Groups) -> Graph:
    """Return the graph, products with kernels of their own reading narrow floats where they lie.

    A kernel of a product widens its factors while it packs them, so the sums are those of a wide
    copy. A product that became part of another kernel keeps its operands: it reads them from
    registers, or by vectors as they lie. Factors may have two dtypes then, which no op that users
    write has: the result goes to kernels.
    """
    products = {
        node
        for group in groups.all
        for node in group.nodes
        if group.kind == "gemm"
        and isinstance(node.form, Contract)
        and any(map(is_wide_copy, node.args))
    }
    if not products:
        return groups.graph

    def narrow(node: Node, args: tuple[Symbolic, ...]) -> tuple[Symbolic, ...] | None:
        if node not in products:
            return None
        found = tuple(map(narrowest, args))
        return Node(node.op, found, node.types, node.origin, node.order).values

    return groups.graph.replace_nodes(narrow).without_dead_nodes()


def lower_groups(placed: WithCopies) -> Fusion:
    """Return the schedule of these groups: each is lowered once, then updates get their buffers.

    While groups are lowered, the new value of a parameter has a separate buffer, ``new.name``.
    """
    graph = placed.groups.graph
    builder = _Builder(placed)
    works = builder.checked([builder.work(placed.groups, each) for each in placed.groups.all])
    works += builder.late_copies(copied_updates(works, [*builder.updates.values()]))
    ordered = in_order(works, [*builder.updates.values()])
    if ordered is None:
        raise GraphError(
            "the schedule has a cycle", hint="this is a defect of staticgrad; please report it"
        )
    steps = [_renamed(work.step, builder.new_names) for work in ordered]
    kernels = [step for step in steps if isinstance(step, KernelStep)]
    told = kernels_with_facts([(step.kernel, step.arguments) for step in kernels])
    steps = [
        replace(step, kernel=told[step.kernel]) if isinstance(step, KernelStep) else step
        for step in steps
    ]
    buffers = tuple(builder.buffers.values())
    schedule = Schedule(graph.name, buffers, tuple(steps), builder.outputs)
    numbers = tuple(work.group for work in ordered)
    return Fusion(schedule, builder.groups, numbers, builder.late)


class _Builder:
    """The names and buffers of one schedule; ``updates`` and ``new_names`` by ``new.name``."""

    def __init__(self, placed: WithCopies) -> None:
        self.placed = placed
        self.groups = placed.groups  # with the copies that were found to be needed later
        self.late: dict[int, str] = {}  # of these copies, the parameter that each writes
        self.buffers: dict[str, Buffer] = {}
        self.updates: dict[str, Update] = {}
        self.new_names: dict[str, str] = {}
        self._names: dict[Key, str] = {}
        self._lowerings = Lowerings()
        self._inner: dict[Computation, Schedule] = {}  # of the body
        self._position = {node: k for k, node in enumerate(placed.groups.graph.nodes)}
        pairs = placed.outputs.items()
        self.outputs = tuple([(name, self._output(name, key)) for name, key in pairs])
        for parameter, key in placed.updates:
            self._add_update(parameter, key)

    # -- buffers ----------------------------------------------------------------------------------

    def _add(self, prefix: str, role: Role, dtype: DType, size: Size, **more: object) -> str:
        name = (
            prefix if role in ("input", "parameter", "output") else f"{prefix}{len(self.buffers)}"
        )
        self.buffers[name] = Buffer(name, role, dtype, size, **more)  # type: ignore[arg-type]
        return name

    def _output(self, name: str, key: Key) -> str:
        groups = self.placed.groups
        kind, origin = groups.value_type(key), groups.graph.outputs[name].node.origin
        buffer = self._add(
            f"out.{name}", "output", kind.dtype, kind.size, label=name, origin=origin
        )
        self._names[key] = buffer
        return buffer

    def _add_update(self, parameter: Parameter, key: Key) -> None:
        """An update, whose new value has a name of its own until it is clear where it lies."""
        old, new = Home(parameter.node), f"new.{parameter.name}"
        name = self._parameter_buffer(parameter)
        self._names.setdefault(old, name)
        self._names[key] = new
        self.updates[new] = Update(key, old, new, name)
        self.new_names[new] = name

    def _buffer_of(self, key: Key) -> str:
        if key not in self._names:
            self._names[key] = self._make_buffer(key)
        return self._names[key]

    def _make_buffer(self, key: Key) -> str:
        origin, op = key.node.origin, key.node.op if isinstance(key, Home) else None
        if isinstance(key, CheckBuffer):
            return self._add("k", "check", I64, 2, origin=key.origin or origin)
        if isinstance(op, ParameterLeaf):
            return self._parameter_buffer(Parameter(key.node))
        kind = self.placed.groups.value_type(key)
        if isinstance(op, Input):
            name, label = f"in.{op.label}", op.label
            return self._add(name, "input", kind.dtype, kind.size, label=label, origin=origin)
        if isinstance(op, Constant):
            return self._add("c", "constant", kind.dtype, kind.size, data=op.data, origin=origin)
        return self._temporary(key)

    def _temporary(self, key: Key) -> str:
        groups = self.placed.groups
        kind, kept = groups.value_type(key), key in groups.kept
        return self._add("t", "temp", kind.dtype, kind.size, origin=key.node.origin, kept=kept)

    def _parameter_buffer(self, parameter: Parameter) -> str:
        name = f"param.{parameter.name}"
        if name not in self.buffers:
            kind = parameter.type
            origin = parameter.node.origin
            self._add(name, "parameter", kind.dtype, kind.size, label=parameter.name, origin=origin)
        return name

    # -- steps ------------------------------------------------------------------------------------

    def late_copies(self, updates: Iterable[Update]) -> list[PendingStep]:
        """Works that copy new values to their parameters, which lie in temporaries until then."""
        late = {update.key: update for update in updates}
        self.groups, copies = with_late_copies(self.placed.groups, late)
        owners = self.groups.owners
        for key, update in late.items():
            self.new_names[update.buffer] = self._names[key] = self._temporary(key)
            self._names[copies[key]] = update.parameter
            self.updates[update.buffer] = replace(update, key=copies[key])
            self.late[owners[copies[key]]] = self.buffers[update.parameter].label
        return [self.work(self.groups, self.groups.by_number[number]) for number in self.late]

    def checked(self, works: Sequence[PendingStep]) -> list[PendingStep]:
        if sum(work.checks for work in works) < 2 or not self.updates:
            return [*works]
        buffers = {
            **self.buffers,
            **{new: self.buffers[old] for new, old in self.new_names.items()},
        }
        implied = implied_checks([work.step for work in works], buffers)
        return [replace(work, checked=n in implied) for n, work in enumerate(works)]

    def work(self, groups: Groups, group: Group) -> PendingStep:
        position = max([self._position[node] for node in group.members], default=0)
        lowered: LoweredStep | LoweredBodies
        step: BoundStep
        if group.kind == "call":
            step, reads = self._call_step(groups, group)
            writes = tuple(Home(node, n) for node in group.nodes for n in range(len(node.types)))
            return PendingStep(group.number, step, reads, writes, position, group.level)
        if group.kind == "body":
            from staticgrad.compiler.lowering.loops.driven import lower_bodies  # few have loops

            (node,) = group.nodes
            for body in bodies_of(node):
                if body.computation not in self._inner:
                    self._inner[body.computation] = fuse(body, self.groups.fused)
            schedules = [self._inner[body.computation] for body in bodies_of(node)]
            bodies = lower_bodies(groups, group, schedules)
            whole: LoweredStep | Stretches | WhyDriven | None = None  # of a branch
            if self.groups.fused and bodies.form.kind != "branch":
                from staticgrad.compiler.lowering.loops.time_loops import lower_time_loop

                whole = lower_time_loop(bodies, _about(group))
            if isinstance(whole, LoweredStep):
                lowered, step = whole, self._step(group, whole)
            else:
                reason = "" if whole is None or isinstance(whole, tuple) else str(whole)
                if isinstance(whole, tuple):  # a kernel of several iterations
                    inner, stretches = whole
                    bodies = lower_bodies(groups, group, [inner], stretches)
                lowered, step = bodies, self._body_step(group, bodies, reason)
        else:
            lowered = self._lowerings.lower(groups, group)
            step = self._step(group, lowered)
        return PendingStep(group.number, step, lowered.reads, lowered.writes, position, group.level)

    def _step(self, group: Group, lowered: LoweredStep) -> KernelStep:
        scratch = {key: (dtype, size) for key, dtype, size in lowered.scratch}
        names = {
            key: self._add("s", "scratch", *scratch[key])
            if key in scratch
            else self._buffer_of(key)
            for key, _ in lowered.touched
        }
        bound = [Binding(names[key], offset) for key, offset in lowered.operands]
        return KernelStep.of(lowered.kernel, bound, lowered.arguments, *_about(group))

    def _call_step(self, groups: Groups, group: Group) -> tuple[CallStep, tuple[Key, ...]]:
        """Return the call of a routine, and what it reads."""
        (node,) = group.nodes
        form = node.form
        assert isinstance(form, CallForm)
        read = groups.places_of_operands(group)
        results = [(Home(node, number), 0) for number in range(len(node.types))]
        bound = [Binding(self._buffer_of(key), offset) for key, offset in (*read, *results)]
        bound += [Binding(self._add("s", "scratch", *each)) for each in form.scratch]
        modes: list[tuple[Mode, DType]] = [("in", arg.type.dtype) for arg in node.args]
        modes += [("out", kind.dtype) for kind in node.types]
        modes += [("scratch", dtype) for dtype, _ in form.scratch]
        if form.checks:
            modes.append(("check", I64))
            bound.append(Binding(self._buffer_of(CheckBuffer(node))))
        routine = Routine(form.routine, tuple(modes), form.alone)
        sizes = form.sizes, form.total, form.flops
        step = CallStep(routine, tuple(bound), *sizes, *_about(group))
        return step, tuple(dict.fromkeys(key for key, _ in read))

    def _body_step(self, group: Group, lowered: LoweredBodies, reason: str) -> BodyStep:
        form = lowered.form
        bound = [Binding(self._buffer_of(key), offset) for key, offset in lowered.operands]
        for _, each in lowered.rest:
            name = self._add(each.name, each.role, each.dtype, each.size, origin=each.origin)
            bound.append(Binding(name))
        return BodyStep(
            form.kind,
            (*lowered.types, *(operand for operand, _ in lowered.rest)),
            tuple(bound),
            lowered.schedules,
            lowered.iterations,
            form.carries,
            form.slices,
            form.reverse,
            form.logged,
            *_about(group),
            reason,
        )


def _about(group: Group) -> tuple[int, str, tuple[Location, ...]]:
    """Return the phase of a step, a label, its ops or the value that it copies, and its lines."""
    nodes = group.members
    names = ", ".join(dict.fromkeys([node.op.name for node in nodes]))
    copies = any(isinstance(each.target, Copied) for each in group.transfers)
    places = dict.fromkeys([place for node in nodes for place in node.origin.places])
    return group.phase, f"copy of {names}" if copies else names, tuple(places)


def _renamed(step: BoundStep, new_names: Mapping[str, str]) -> BoundStep:
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
    return {kernel: _with_facts(kernel, tuple(given)) for kernel, given in sizes.items()}


def _with_facts(kernel: Kernel, given: Sequence[tuple[Size, ...]]) -> Kernel:
    """Return the kernel with the facts that code depends on: the narrowest vector that a row fits
    in, the lengths of short rows that are summed, the numbers of few columns, the bounds of
    products, and which strides between rows of products are uneven."""
    extents: dict[Extent, bool] = {}  # whether they are those of products
    apart: set[Stride] = set()
    halved: set[Extent] = set()
    summed: set[Extent] = set()
    for stage, _ in nested(kernel.stages):
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
                apart.add(stage.a.stride(stage.i[0].name))
    if kernel.outer == "elements":
        extents = {}  # the loop over elements is cut anywhere
    columns = {stage.axis.extent for stage in kernel.stages if isinstance(stage, Columns)}
    transposed = {kernel.axes[-1].extent} - extents.keys() if kernel.transposed else set()
    found = []
    for name, column in zip(kernel.arguments, zip(*given, strict=True), strict=True):
        known = known_of(name, column)
        if name in columns and known.fixed:
            found.append(Known(name, most=known.most, fixed=True))
        elif name in transposed:
            found.append(Known(name, known.multiple))  # squares of such rows are whole
        elif name in extents or name in apart:
            vectors = [kernel.lanes // 2] * (name in halved) + [kernel.lanes]
            single = (lanes for lanes in vectors if known.short and 0 < known.most <= lanes)
            fixed = known.fixed and name in summed
            most = known.most if extents.get(name) or fixed else next(single, 0)
            uneven = known.uneven and name in apart
            found.append(replace(known, most=most, uneven=uneven, fixed=fixed))
    facts = tuple(known for known in found if not known.is_nothing)
    return replace(kernel, known=facts) if facts else kernel
