"""fuse: Graph -> Schedule. Groups become kernels, values get buffers, steps get a valid order.

Updates are written straight into the parameter's buffer where every reader of the old value can
come before; else through a temporary and a copy at the end (``passes.fusion.updates``); one that
changes nothing is no step. Every step with a run-time check comes before the first that writes a
parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from passes.fusion.grouping import CHECK, FIRST_COPY, Group, Grouping, Key, Source
from passes.fusion.updates import Update, Work, copied_updates, in_order
from passes.layout import Layout
from passes.lowering.operands import Lowered, Walk
from passes.lowering.signatures import Lowerings
from passes.lowering.stages import RowNotContiguous
from passes.marks import without_marks
from passes.vector_products import expand_vector_products
from staticgrad.errors import GraphError
from staticgrad.ir.graph import Constant, Graph, Input, Node, Parameter, ParameterLeaf, Symbolic
from staticgrad.ir.kernel import Operand
from staticgrad.ir.schedule import Binding, Buffer, KernelStep, Role, Schedule
from staticgrad.kept import collection_paused
from staticgrad.types.dim import Size
from staticgrad.types.dtype import I64, DType
from staticgrad.types.tensor import TensorType


@collection_paused()
def fuse(graph: Graph, merge: bool = True) -> Schedule:
    """The schedule that computes ``graph``: outputs into output buffers, updates into parameters.

    With ``merge`` off every node is a kernel of its own; the bytes of the results are the same.
    Near-linear in the nodes. The graph must be free of dead nodes (run ``dce`` first) or their
    kernels run for nothing.
    """
    return _Builder(expand_vector_products(without_marks(graph)), merge).build()


class _Builder:
    def __init__(self, graph: Graph, merge: bool) -> None:
        self.graph = graph
        self.grouping = Grouping(graph, merge)
        self.names: dict[Key, str] = {}
        self.buffers: dict[str, Buffer] = {}
        self.copies = 0
        self._copy_types: dict[Key, TensorType] = {}
        self._lowerings = Lowerings(self.grouping)
        self._lowered = 0  # groups

    def build(self) -> Schedule:
        """The schedule: every group is lowered once, then it is decided where updates write."""
        outputs = tuple((name, self._output(name)) for name in self.graph.outputs)
        changing = [pair for pair in self.graph.updates if not self._keeps_its_value(*pair)]
        updates = [self._update(parameter, value) for parameter, value in changing]
        works = self._lower_all()
        copied = copied_updates(works, updates)
        new_names = {update.buffer: update.parameter for update in updates}
        written = {update.buffer: update for update in updates}
        for update in copied:
            new_names[update.buffer], copy = self._written_by_copy(update)
            written[update.buffer] = replace(update, key=copy)
        works += self._lower_all()
        ordered = in_order(works, [*written.values()])
        if ordered is None:
            raise GraphError(
                "the schedule has a cycle", hint="this is a defect of staticgrad; please report it"
            )
        steps = tuple(_renamed(work.step, new_names) for work in ordered)
        return Schedule(self.graph.name, tuple(self.buffers.values()), steps, outputs)

    # -- buffers ----------------------------------------------------------------------------------

    def _add(self, prefix: str, role: Role, dtype: DType, size: Size, **more: object) -> str:
        name = (
            prefix if role in ("input", "parameter", "output") else f"{prefix}{len(self.buffers)}"
        )
        self.buffers[name] = Buffer(name, role, dtype, size, **more)  # type: ignore[arg-type]
        return name

    def _buffer_of(self, key: Key) -> str:
        if key not in self.names:
            self.names[key] = self._make_buffer(key)
        return self.names[key]

    def _make_buffer(self, key: Key) -> str:
        node, index = key
        if index == CHECK:
            return self._add("k", "check", I64, 2, origin=node.origin)
        kind = self._type_of(key)
        match node.op:
            case Input(label=label) if index == 0:
                return self._add(
                    f"in.{label}", "input", kind.dtype, kind.size, label=label, origin=node.origin
                )
            case ParameterLeaf() if index == 0:
                return self._parameter_buffer(Parameter(node))
            case Constant(data=data) if index == 0:
                return self._add(
                    "c", "constant", kind.dtype, kind.size, data=data, origin=node.origin
                )
        return self._temporary(key)

    def _temporary(self, key: Key) -> str:
        kind, kept = self._type_of(key), key in self.grouping.kept
        return self._add("t", "temp", kind.dtype, kind.size, origin=key[0].origin, kept=kept)

    def _parameter_buffer(self, parameter: Parameter) -> str:
        name = f"param.{parameter.name}"
        if name not in self.buffers:
            kind = parameter.type
            origin = parameter.node.origin
            self._add(name, "parameter", kind.dtype, kind.size, label=parameter.name, origin=origin)
        return name

    def _type_of(self, key: Key) -> TensorType:
        return self._copy_types[key] if key in self._copy_types else self.grouping.value_type(key)

    def _copy_key(self, near: Key, kind: TensorType) -> Key:
        """The key of a new copy that belongs to the node of ``near``."""
        key = (near[0], FIRST_COPY - self.copies)
        self.copies += 1
        self._copy_types[key] = kind
        return key

    def _copied(self, source: Source, phase: int, buffer: str | None = None) -> Source:
        """``source`` copied contiguously, into ``buffer`` or a new temporary."""
        key = self._copy_key(source.base, source.type)
        if buffer is not None:
            self.names[key] = buffer
        group = self.grouping.copied(source, key, source.type, phase)
        self.grouping.adopt(key, group)
        return Source(key, source.type, Layout.contiguous(source.type.shape))

    # -- outputs and updates ----------------------------------------------------------------------

    def _computed(self, source: Source) -> bool:
        """Whether a group computes just these bytes into a buffer that is still unnamed."""
        return (
            self._is_whole(source)
            and not source.inline
            and self.grouping.home(source.base) is not None
            and source.base not in self.names
        )

    def _is_whole(self, source: Source) -> bool:
        """Whether a value is all of its base in C order: the base, or a reshape of it."""
        whole = source.type.size == self._type_of(source.base).size
        return source.direct or (whole and source.layout.is_contiguous(source.type.shape))

    def _root(self, value: Symbolic) -> Source:
        """How an output or update is read; a value of positions gets a kernel of its own."""
        source = self.grouping.source(value)
        return source if source.uniform else self.grouping.in_memory(source)

    def _output(self, name: str) -> str:
        value = self.graph.outputs[name]
        source = self._root(value)
        origin = value.node.origin
        kind = source.type
        buffer = self._add(
            f"out.{name}", "output", kind.dtype, kind.size, label=name, origin=origin
        )
        if self._computed(source):
            self.names[source.base] = buffer
        else:
            self._copied(source, self.grouping.phase(value.node), buffer)
        return buffer

    def _keeps_its_value(self, parameter: Parameter, value: Symbolic) -> bool:
        """Whether an update writes what is there already: then it is no step, and takes no lock."""
        source = self.grouping.source(value)
        return (
            source.base == (parameter.node, 0)
            and source.type == parameter.type
            and source.layout == Layout.contiguous(parameter.type.shape)
        )

    def _update(self, parameter: Parameter, value: Symbolic) -> Update:
        """The update, whose new value has a name of its own until it is clear where it lies."""
        source = self._root(value)
        name = self._parameter_buffer(parameter)
        new = f"new.{parameter.name}"
        self.names.setdefault((parameter.node, 0), name)
        if self._computed(source):
            self.names[source.base] = new
            key = source.base
        else:
            key = self._copied(source, self.grouping.phase(value.node), new).base
        return Update(key, (parameter.node, 0), new, name)

    def _written_by_copy(self, update: Update) -> tuple[str, Key]:
        """A temporary for the new value, and the copy of it to the parameter."""
        key = update.key
        temporary = self._temporary(key)
        self.names[key] = temporary
        kind = self.buffers[update.parameter]
        plain = TensorType(kind.dtype, (kind.size,))
        source = Source(key, plain, Layout.contiguous(plain.shape))
        copy = self._copied(source, self.grouping.phase(key[0]), update.parameter)
        return temporary, copy.base

    # -- steps ------------------------------------------------------------------------------------

    def _lower_all(self) -> list[Work]:
        """The groups that are not lowered yet."""
        works: list[Work] = []
        while self._lowered < len(self.grouping.groups):  # lowering may add copies
            groups = self.grouping.groups
            works += [self._work(group) for group in groups[self._lowered :]]
            self._lowered = len(groups)
        return works

    def _work(self, group: Group) -> Work:
        lowered = self._lower(group)
        nodes = _nodes(group)
        position = max([self.grouping.position[node] for node in nodes], default=0)
        step = self._step(group, nodes, lowered)
        return Work(step, lowered.reads, lowered.writes, position, group.level)

    def _lower(self, group: Group) -> Lowered:
        copied: dict[Walk, Key] = {}
        while True:
            try:
                return self._lowerings.lower(group, copied)
            except RowNotContiguous as signal:
                for walk in signal.walks:
                    kind = TensorType(self._type_of(walk.base).dtype, group.domain)
                    source = Source(
                        walk.base, kind, Layout(walk.offset, walk.strides), direct=False
                    )
                    copied[walk] = self._copied(source, group.phase).base

    def _step(self, group: Group, nodes: Sequence[Node], lowered: Lowered) -> KernelStep:
        """A lowered group with its buffers, and what people are told about it."""
        scratch = dict(lowered.scratch)
        names = {
            key: self._add("s", "scratch", I64, scratch[key])
            if key in scratch
            else self._buffer_of(key)
            for key in lowered.touched
        }
        return KernelStep(
            lowered.kernel,
            tuple([Binding(names[key], offset) for key, offset in lowered.operands]),
            lowered.arguments,
            lowered.total,
            lowered.grain,
            group.phase,
            _label(group, nodes),
            tuple(dict.fromkeys([place for node in nodes for place in node.origin.places])),
        )


def _nodes(group: Group) -> list[Node]:
    """The nodes whose values a group computes."""
    if group.copy is not None:
        return [group.copy.target[0]]
    others = [key[0] for key in group.reductions if key[0] not in group.nodes]
    return [*group.nodes, *others]


def _label(group: Group, nodes: Sequence[Node]) -> str:
    """What a step computes, for people: its ops, or what it copies."""
    names = ", ".join(dict.fromkeys([node.op.name for node in nodes]))
    copies = group.copy is not None and group.copy.target[1] <= FIRST_COPY
    return f"copy of {names}" if copies else names


def _renamed(step: KernelStep, new_names: Mapping[str, str]) -> KernelStep:
    """The step with new values where they came to lie; what reads a parameter's says so."""
    if not any(binding.buffer in new_names for binding in step.operands):
        return step
    operands = tuple(
        _placed(operand, binding, new_names[binding.buffer])
        if binding.buffer in new_names
        else binding
        for operand, binding in zip(step.kernel.operands, step.operands, strict=True)
    )
    return replace(step, operands=operands)


def _placed(operand: Operand, binding: Binding, name: str) -> Binding:
    updated = operand.mode == "in" and name.startswith("param.")
    return Binding(name, binding.offset, updated)
