"""fuse: Graph -> Schedule. Groups become kernels, values get buffers, steps get a valid order.

Updates are written straight into the parameter's buffer where no reader of the old value can come
later; else through a temporary and a copy at the end; one that changes nothing is no step. Every
step with a run-time check comes before the first step that writes a parameter.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from itertools import pairwise

from passes.grouping import CHECK, FIRST_COPY, Group, Grouping, Key, Source
from passes.layout import Layout
from passes.lower import Lowered, RowNotContiguous, lower_group
from passes.lowering import Walk
from passes.marks import without_marks
from passes.vector_products import expand_vector_products
from staticgrad.errors import GraphError
from staticgrad.ir.dim import Size
from staticgrad.ir.dtype import I64, DType
from staticgrad.ir.graph import Constant, Graph, Input, Node, Parameter, ParameterLeaf, Symbolic
from staticgrad.ir.schedule import Buffer, Role, Schedule
from staticgrad.ir.types import TensorType


def fuse(graph: Graph, merge: bool = True) -> Schedule:
    """The schedule that computes ``graph``: outputs into output buffers, updates into parameters.

    With ``merge`` off every node is a kernel of its own; the bytes of the results are the same.
    Near-linear in the nodes. The graph must be free of dead nodes (run ``dce`` first) or their
    kernels run for nothing.
    """
    graph = expand_vector_products(without_marks(graph))
    copied_updates: set[str] = set()
    while True:
        builder = _Builder(graph, merge, copied_updates)
        schedule = builder.build()
        if schedule is not None:
            return schedule
        copied_updates = builder.copied_updates


@dataclass(eq=False)
class _Work:
    """A lowered group on its way to a place in the order."""

    lowered: Lowered
    group: Group
    position: int
    waits: int = 0
    readers: list[_Work] = field(default_factory=list)


class _Builder:
    def __init__(self, graph: Graph, merge: bool, copied_updates: set[str]) -> None:
        self.graph = graph
        self.grouping = Grouping(graph, merge)
        self.copied_updates = set(copied_updates)  # parameters written by a copy at the end
        self.names: dict[Key, str] = {}
        self.buffers: dict[str, Buffer] = {}
        self.copies = 0
        self._copy_types: dict[Key, TensorType] = {}

    def build(self) -> Schedule | None:
        """The schedule, or None if another update has to be a copy (now in ``copied_updates``)."""
        outputs = tuple((name, self._output(name)) for name in self.graph.outputs)
        updates = [pair for pair in self.graph.updates if not self._keeps_its_value(*pair)]
        updated = {parameter.node for parameter, _ in updates}
        for parameter, value in updates:
            self._update(parameter, value, updated)
        works = self._lower_all()
        if not self._in_place_is_sound(works):
            return None
        ordered = self._order(works)
        if ordered is None:
            return None
        steps = tuple(work.lowered.step for work in ordered)
        return Schedule(self.graph.name, tuple(self.buffers.values()), steps, outputs)

    # -- buffers ----------------------------------------------------------------------------------

    def _add(self, prefix: str, role: Role, dtype: DType, size: Size, **more: object) -> str:
        name = (
            prefix if role in ("input", "parameter", "output") else f"{prefix}{len(self.buffers)}"
        )
        self.buffers[name] = Buffer(name, role, dtype, size, **more)  # type: ignore[arg-type]
        return name

    def _new_buffer(self, role: str, dtype: DType, size: Size) -> str:
        return self._add("s", role, dtype, size)  # type: ignore[arg-type]

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
        kept = key in self.grouping.kept
        return self._add("t", "temp", kind.dtype, kind.size, origin=node.origin, kept=kept)

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

    def _update(self, parameter: Parameter, value: Symbolic, updated: Set[Node]) -> None:
        source = self._root(value)
        buffer = self._parameter_buffer(parameter)
        self.names.setdefault((parameter.node, 0), buffer)
        if parameter.name not in self.copied_updates and self._computed(source):
            self.names[source.base] = buffer
            return
        self.copied_updates.add(parameter.name)
        if source.base[0] in updated:  # its old value must be read before anybody writes it
            source = self._copied(source, self.grouping.phase(value.node))
        self._copied(source, self.grouping.phase(value.node), buffer)

    # -- steps ------------------------------------------------------------------------------------

    def _lower_all(self) -> list[_Work]:
        works: list[_Work] = []
        done = 0
        while done < len(self.grouping.groups):  # lowering may add copies
            groups = self.grouping.groups
            for group in groups[done:]:
                position = max((n.serial for n in group.nodes), default=0)
                if group.copy is not None:
                    position = group.copy.target[0].serial
                position = max([position, *(key[0].serial for key in group.reductions)])
                works.append(_Work(self._lower(group), group, position))
            done = len(groups)
        return works

    def _lower(self, group: Group) -> Lowered:
        copied: dict[Walk, Key] = {}
        while True:
            try:
                return lower_group(self.grouping, group, self._buffer_of, self._new_buffer, copied)
            except RowNotContiguous as signal:
                for walk in signal.walks:
                    kind = TensorType(self._type_of(walk.base).dtype, group.domain)
                    source = Source(
                        walk.base, kind, Layout(walk.offset, walk.strides), direct=False
                    )
                    copied[walk] = self._copied(source, group.phase).base

    def _in_place_is_sound(self, works: list[_Work]) -> bool:
        """Whether kernels that write a parameter check nothing, and read it where they write."""
        sound = True
        for work in works:
            step = work.lowered.step
            bound = list(zip(step.kernel.operands, step.operands, strict=True))
            checks = any(operand.mode == "check" for operand, _ in bound)
            for out, binding in bound:
                buffer = self.buffers[binding.buffer]
                if buffer.role != "parameter" or out.mode == "in":
                    continue
                reads = [
                    (o.name, b) for o, b in bound if o.mode == "in" and b.buffer == binding.buffer
                ]
                if checks or any(
                    (out.name, name) not in step.kernel.in_place or b != binding
                    for name, b in reads
                ):
                    self.copied_updates.add(buffer.label)
                    sound = False
        return sound

    def _order(self, works: list[_Work]) -> list[_Work] | None:
        """Topological order: creation order, parameter writes as soon as they may run."""
        writers: dict[Key, list[_Work]] = {}
        for work in works:
            for key in work.lowered.writes:
                writers.setdefault(key, []).append(work)
        updates = {
            id(w): w
            for w in works
            for b in w.lowered.step.writes()
            if self.buffers[b].role == "parameter"
        }
        for work in works:
            for key in work.lowered.reads:
                for writer in writers.get(key, ()):
                    _after(work, writer)
        for chain in writers.values():
            chain.sort(key=lambda w: w.group.level)
            for before, later in pairwise(chain):
                _after(later, before)
        self._order_updates(works, list(updates.values()))
        ordered = _sorted(works, lambda w: (id(w) not in updates, w.position))
        if len(ordered) < len(works):
            self._demote(works, ordered, updates)
            return None
        return ordered

    def _order_updates(self, works: list[_Work], updates: list[_Work]) -> None:
        """Writers of a parameter wait for all readers of its old value and for all checks."""
        checking = [
            w for w in works if any(o.mode == "check" for o in w.lowered.step.kernel.operands)
        ]
        old_readers: dict[str, list[_Work]] = {}
        for work in works:
            for node, index in work.lowered.reads:
                if isinstance(node.op, ParameterLeaf) and index == 0:
                    old_readers.setdefault(self.names[(node, 0)], []).append(work)
        for update in updates:
            for buffer in update.lowered.step.writes():
                for reader in old_readers.get(buffer, ()):
                    _after(update, reader)
            for check in checking:
                _after(update, check)

    def _demote(self, works: list[_Work], ordered: list[_Work], updates: dict[int, _Work]) -> None:
        """A cycle: one stuck in-place update becomes a copy at the end; try again."""
        placed = {id(w) for w in ordered}
        stuck = [
            w for w in works if id(w) not in placed and id(w) in updates and w.group.kind != "copy"
        ]
        if not stuck:
            raise GraphError(
                "the schedule has a cycle", hint="this is a defect of staticgrad; please report it"
            )
        for buffer in min(stuck, key=lambda w: w.position).lowered.step.writes():
            if self.buffers[buffer].role == "parameter":
                self.copied_updates.add(self.buffers[buffer].label)


def _after(later: _Work, before: _Work) -> None:
    if later is not before:
        before.readers.append(later)
        later.waits += 1


def _sorted(works: list[_Work], priority: Callable[[_Work], tuple[bool, int]]) -> list[_Work]:
    """Kahn's algorithm with a heap; stops early if there is a cycle."""
    ready = [(priority(w), n, w) for n, w in enumerate(works) if w.waits == 0]
    number = {id(w): n for n, w in enumerate(works)}
    heapq.heapify(ready)
    ordered: list[_Work] = []
    while ready:
        _, _, work = heapq.heappop(ready)
        ordered.append(work)
        for reader in work.readers:
            reader.waits -= 1
            if reader.waits == 0:
                heapq.heappush(ready, (priority(reader), number[id(reader)], reader))
    return ordered
