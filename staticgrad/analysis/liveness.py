"""Order constraints of a schedule's steps, live ranges of buffers, and readers of values.

``Flow`` is what no size changes: accesses, conflicts between steps, in-place chances. It is derived
once per schedule and serves every order and every batch size. A *sequence* is an order in which
steps may occur several times; lifetimes follow from it alone. ``Extents`` fills in the numbers for
one set of sizes, each distinct expression evaluated once. The planner chooses offsets.

Of a graph: the readers of each value, its last use, and the phases of nodes. Values are keyed by
(node, index); lists are in node order. Readers and phases are kept with the graph; a rewritten
graph has its own. Phase 0 is the forward part, phase 1 its gradient, and so on. A value of one
phase that a later phase reads is a residual.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import (
    Callable,
    Container,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
    Set as AbstractSet,
)
from dataclasses import field, replace
from operator import itemgetter
from typing import Generic, TypeVar, cast

from staticgrad.errors import VerifyError
from staticgrad.language.ir.forms import Form, Identity, Pointwise, WindowReduce
from staticgrad.language.ir.graph import Graph, Node
from staticgrad.language.ir.index_checks import first_checks
from staticgrad.language.ir.plan import Plan, own_stride
from staticgrad.language.ir.schedule import CallStep, Schedule, Step
from staticgrad.language.types.arrays import ALIGNMENT, hint_value
from staticgrad.language.types.dim import Dim, Size, evaluate
from staticgrad.support.caches import cached_property
from staticgrad.support.records import NamedTuple, dataclass
from staticgrad.support.traversal import reach

K = TypeVar("K", bound=Hashable)
Getter = Callable[[Sequence[int]], tuple[int, ...]]


@dataclass(frozen=True)
class InPlace:
    """Operand ``out`` of a step may take the bytes of operand ``into`` (buffers by number)."""

    out: int
    into: int
    out_operand: int
    into_operand: int


class Life(NamedTuple):
    """A buffer holds something from position ``first`` to ``last`` of a sequence, inclusive.

    It begins where the buffer is written anew and ends at the last access before that happens
    again: whether a value is kept or computed twice is nothing but the sequence.
    """

    buffer: int
    first: int
    last: int


class Flow:
    """Accesses of a schedule's steps to its buffers, both by number.

    Attributes:
        names: buffer names by number; ``index`` is the inverse.
        reads, writes: per step, the distinct buffers it reads and writes.
        before: per step, steps that must come earlier (enough of them: the closure is complete).
        checks, commits: steps that check an index that none before them has checked, and steps
            that write a parameter. Every check comes before every commit.
        looking: all steps that check an index.
        collectives: steps that other processes take part in, in their order.
        begins: per step, the arena buffers of which it is the first writer (or that are its
            scratch): each of its runs begins a life of theirs.
        continues: per step, the other temporary buffers that it touches.
        resident: per step, the inputs and check words that it touches.
        in_place: per step, what it may overwrite, as far as kernels and bindings say.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.names = tuple(b.name for b in schedule.buffers)
        self.index = {name: i for i, name in enumerate(self.names)}
        self.reads = tuple(self._numbers(step.reads()) for step in schedule.steps)
        self.writes = tuple(self._numbers(step.writes()) for step in schedule.steps)
        self.touches = tuple(
            tuple(dict.fromkeys((*r, *w))) for r, w in zip(self.reads, self.writes, strict=True)
        )
        self.looking = tuple(i for i, step in enumerate(schedule.steps) if step.checks())
        self.checks = tuple(sorted(first_checks(schedule)))
        roles = [b.role for b in schedule.buffers]
        self.commits = tuple(
            i
            for i, written in enumerate(self.writes)
            if any(roles[b] == "parameter" for b in written)
        )
        self.collectives = collective_steps(schedule)
        over = {self.index[b.name]: self.index[b.over] for b in schedule.buffers if b.over}
        self.earlier_steps = _dependences(self.reads, self.writes, over)
        if len(self.collectives) > 1:
            earlier = dict(zip(self.collectives[1:], self.collectives, strict=False))
            self.earlier_steps = tuple(
                (*earlier_steps, earlier[step])
                if step in earlier and earlier[step] not in earlier_steps
                else earlier_steps
                for step, earlier_steps in enumerate(self.earlier_steps)
            )
        self.begins = self._begins()
        self.continues = tuple(
            tuple(b for b in touched if roles[b] in ("temp", "scratch") and b not in begun)
            for touched, begun in zip(self.touches, self.begins, strict=True)
        )
        self.resident = tuple(
            tuple(b for b in touched if roles[b] in ("input", "check")) for touched in self.touches
        )
        self.in_place = tuple(self._in_place(step) for step in schedule.steps)
        checking_commits = set(self.checks) & set(self.commits)
        if checking_commits:
            step = schedule.steps[min(checking_commits)]
            raise VerifyError(
                f"step {min(checking_commits)} ({step.label}) checks an index"
                " and writes a parameter",
                hint="a parameter is written after every check: split the kernel",
                at=step.origins[0] if step.origins else None,
            )

    def _numbers(self, names: Iterable[str]) -> tuple[int, ...]:
        return tuple(dict.fromkeys(self.index[name] for name in names))

    def _in_place(self, step: Step) -> tuple[InPlace, ...]:
        """Return the result and operand pairs of a step that may share a buffer."""
        pairs = step.in_place()
        if not pairs:
            return ()
        accesses, taking_over = step.accesses(), TakingOver(step)
        bound = [self.index[access.buffer] for access in accesses]
        times = Counter(bound)
        pairs_in_place = []
        for out, into in pairs:
            if (
                accesses[out].mode == "out"
                and self.schedule.buffers[bound[out]].role == "temp"
                and self.schedule.buffers[bound[into]].role in ("temp", "input")
                and times[bound[out]] == 1
                and taking_over.may(out, accesses[into].buffer, accesses[into].begin)
            ):
                pairs_in_place.append(InPlace(bound[out], bound[into], out, into))
        return tuple(pairs_in_place)

    def commit(self, order: Sequence[int]) -> int:
        """Position of the first step of ``order`` that writes a parameter, else its length."""
        commits = set(self.commits)
        return next((at for at, step in enumerate(order) if step in commits), len(order))

    def find_ancestors(self, step: int) -> set[int]:
        """Return the steps that come before a step in every order."""
        return {*reach(self.earlier_steps[step], self.earlier_steps.__getitem__)}

    def lives(self, sequence: Sequence[int], staged: Iterable[int] = ()) -> list[Life]:
        """Return the live range of each arena buffer for a sequence of steps.

        Inputs, checks, then by first use.

        Checks live from the start, where their words are reset, to the commit, where they are
        read; where a check runs after that, its words live for that step alone. A staged
        input lives from the start to its last read.
        """
        buffers: list[int] = []
        first: list[int] = []
        last: list[int] = []
        current: dict[int, int] = {}

        def begin(buffer: int, at: int) -> None:
            current[buffer] = len(buffers)
            buffers.append(buffer)
            first.append(at)
            last.append(at)

        for at, step in enumerate(sequence):
            for buffer in self.continues[step]:
                life = current.get(buffer)
                if life is None:
                    begin(buffer, at)
                else:
                    last[life] = at
            for buffer in self.begins[step]:
                begin(buffer, at)
        lives = [Life(*life) for life in zip(buffers, first, last, strict=True)]
        return [*self._resident_lives(sequence, frozenset(staged)), *lives]

    def _resident_lives(self, sequence: Sequence[int], staged: AbstractSet[int]) -> list[Life]:
        """Return the live ranges of staged feeds and check words in the arena."""
        commit = self.commit(sequence)
        last: dict[int, int] = {}
        again: list[Life] = []
        for at, step in enumerate(sequence):
            for buffer in self.resident[step]:
                if self.schedule.buffers[buffer].role == "check":
                    # all words of checks are read at once, before the commit
                    last[buffer] = commit - 1
                    if at >= commit:
                        again.append(Life(buffer, at, at))
                elif buffer in staged:
                    last[buffer] = at
        return [*(Life(buffer, 0, at) for buffer, at in last.items()), *again]

    def _begins(self) -> tuple[tuple[int, ...], ...]:
        """Return by step the arena buffers whose live range begins there."""
        arena = [b.in_arena and b.role != "check" for b in self.schedule.buffers]
        used = bytearray(len(self.names))  # by buffer, whether it was read or written before
        begun_by_step = []
        for step, reads, writes in zip(self.schedule.steps, self.reads, self.writes, strict=True):
            for buffer in reads:
                used[buffer] = True
            for scratch in step.scratch():
                # scratch begins anew with each step that uses it
                used[self.index[scratch.buffer]] = False
            begun_by_step.append(tuple([b for b in writes if not used[b] and arena[b]]))
            for buffer in writes:
                used[buffer] = True
        return tuple(begun_by_step)


class TakingOver:
    """The buffers that the results of one step may be written over."""

    def __init__(self, step: Step) -> None:
        self._accesses = step.accesses()
        self._pairs = frozenset(step.in_place())
        self._numbers: dict[str, list[int]] = {}
        for number, access in enumerate(self._accesses):
            self._numbers.setdefault(access.buffer, []).append(number)

    def may_update(self, new: str, old: str) -> bool:
        """Return whether the access that writes buffer ``new`` may overwrite buffer ``old``."""
        out = next(n for n in self._numbers[new] if self._accesses[n].mode != "in")
        return self.may(out, old, self._accesses[out].begin)

    def may(self, out: int, buffer: str, begin: Size) -> bool:
        """Return True if a result may overwrite an operand's buffer that is dead after the step.

        It may where the step touches the buffer from ``begin`` on only, and reads each element only
        where, and before, it writes that of ``out``.
        """
        return all(
            self._accesses[number].mode == "in"
            and (out, number) in self._pairs
            and self._accesses[number].begin == begin
            for number in self._numbers.get(buffer, ())
        )


class OldValues(Generic[K]):
    """The reads of old values that are still to come, while an order of steps is built.

    An update may write over the old value of a parameter after the last read of it. Its own reads
    do not count: ``TakingOver`` decides whether a step may read what it writes over.
    """

    def __init__(
        self, reads: Iterable[tuple[int, Iterable[K]]], writers: Mapping[K, Container[int]]
    ) -> None:
        """``reads``: every run of a step to come, with the old values that it reads.

        ``writers``: by old value, the steps that write over it.
        """
        self._writers = writers
        self._left = Counter(
            value for step, values in reads for value in values if step not in writers[value]
        )

    def is_needed(self, value: K) -> bool:
        """Return whether a step other than its writers has yet to read an old value."""
        return self._left[value] > 0

    def ran(self, step: int, values: Iterable[K]) -> list[K]:
        """A step has run that read these; those of them that nobody else is to read."""
        others = [value for value in values if step not in self._writers[value]]
        self._left.subtract(others)
        return [value for value in others if not self._left[value]]


def collective_steps(schedule: Schedule) -> tuple[int, ...]:
    """The steps that all ranks run together, by number."""
    return tuple(
        number
        for number, step in enumerate(schedule.steps)
        if isinstance(step, CallStep) and step.routine.is_collective
    )


def _dependences(
    reads: Sequence[Sequence[int]], writes: Sequence[Sequence[int]], over: Mapping[int, int]
) -> tuple[tuple[int, ...], ...]:
    """Return by step the earlier steps that it depends on: read after write, and reverse.

    ``over``: by buffer, the one in whose place it is written.
    """
    writer: dict[int, int] = {}
    readers: dict[int, list[int]] = {}
    earlier_by_step = []
    for step, (read, written) in enumerate(zip(reads, writes, strict=True)):
        earlier_steps: dict[int, None] = {writer[b]: None for b in (*read, *written) if b in writer}
        for buffer in written:
            earlier_steps.update(dict.fromkeys(readers.pop(buffer, ())))
            if buffer in over:
                earlier_steps.update(dict.fromkeys(readers.pop(over[buffer], ())))
            writer[buffer] = step
        for buffer in read:
            if buffer not in written:
                readers.setdefault(buffer, []).append(step)
        earlier_steps.pop(step, None)
        earlier_by_step.append(tuple(earlier_steps))
    return tuple(earlier_by_step)


def _stored_buffers(step: Step, index: Mapping[str, int]) -> tuple[int, ...]:
    """The buffers that a kernel's results go to, by number; none of a step that checks indices,
    which it does without results too, or that runs anything but a kernel."""
    if step.checks() or step.bodies() or not step.kernels():
        return ()
    return tuple(index[a.buffer] for a in step.accesses() if a.mode in ("out", "inout"))


@dataclass(frozen=True)
class SizeNumbers:
    """A schedule's numbers at one set of sizes.

    ``nbytes`` per buffer, for all workers; per step its ``arguments``, the byte ``offsets`` of its
    accesses inside their buffers, its ``totals`` of outer iterations (0 where it stores no
    element), and the plans of its ``bodies`` where it has any.
    """

    nbytes: tuple[int, ...]
    arguments: tuple[tuple[int, ...], ...]
    offsets: tuple[tuple[int, ...], ...]
    totals: tuple[int, ...]
    bodies: Mapping[int, tuple[Plan, ...]] = field(default_factory=dict)
    _sharing: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)

    def with_bodies(
        self, bodies: Mapping[int, tuple[Plan, ...]], rooms: Mapping[int, int]
    ) -> SizeNumbers:
        """Return a schedule's numbers with the plans of loop bodies and their arenas' bytes."""
        nbytes = list(self.nbytes)
        for buffer, room in rooms.items():
            nbytes[buffer] = room
        return replace(self, nbytes=tuple(nbytes), bodies=bodies)

    def arena_bytes(self, buffer: int) -> int:
        """Bytes that a buffer takes in the arena: rounded up to 64."""
        return -(-self.nbytes[buffer] // ALIGNMENT) * ALIGNMENT

    @cached_property
    def all_aligned(self) -> tuple[int, ...]:
        """``arena_bytes`` of every buffer."""
        return tuple([-(-nbytes // ALIGNMENT) * ALIGNMENT for nbytes in self.nbytes])

    def sharing(self, flow: Flow) -> bytes:
        """Return for each in-place pair if result and operand have equal bytes at these sizes.

        Cached, because many sequences of one schedule need it.
        """
        if not self._sharing:
            aligned = self.all_aligned
            self._sharing.append(
                bytes(
                    offsets[pair.out_operand] == offsets[pair.into_operand]
                    and aligned[pair.out] == aligned[pair.into]
                    for pairs, offsets in zip(flow.in_place, self.offsets, strict=True)
                    for pair in pairs
                )
            )
        return self._sharing[0]


class Extents:
    """Every size in a schedule, each distinct one in a slot, so that a new batch size is cheap."""

    def __init__(self, schedule: Schedule) -> None:
        self._slots: dict[Size, int] = {}
        self._nbytes = self._getter(b.nbytes for b in schedule.buffers)
        self._arguments = [self._getter(step.arguments) for step in schedule.steps]
        self._offsets = [self._getter(a.begin for a in step.accesses()) for step in schedule.steps]
        self._totals = self._getter(step.total for step in schedule.steps)
        index = {buffer.name: number for number, buffer in enumerate(schedule.buffers)}
        self._stored = [_stored_buffers(step, index) for step in schedule.steps]
        # Buffers of which each worker uses a part that belongs to it alone.
        owned = {check.buffer for step in schedule.steps for check in step.checks()}
        for step in schedule.steps:
            owned.update(scratch.buffer for scratch in step.scratch() if scratch.per == "worker")
        self._worker_buffers = {
            i: b.role for i, b in enumerate(schedule.buffers) if b.name in owned
        }
        self._sizes = tuple(self._slots)

    def _getter(self, sizes: Iterable[Size]) -> Getter:
        slots = [self._slots.setdefault(size, len(self._slots)) for size in sizes]
        if len(slots) > 1:
            return itemgetter(*slots)
        return lambda values: tuple(values[slot] for slot in slots)

    def at(self, sizes: Mapping[str, int], workers: int = 1) -> SizeNumbers:
        """The numbers at these values of the named sizes, with so many workers."""
        values = [s if isinstance(s, int) else evaluate(s, sizes) for s in self._sizes]
        return self._fill(values, workers)

    def typical(self) -> SizeNumbers:
        """The numbers at the hints of the named sizes: for decisions before any size is known."""
        return self._fill([hint_value(s) if isinstance(s, Dim) else s for s in self._sizes], 1)

    def _fill(self, values: Sequence[int], workers: int) -> SizeNumbers:
        """Evaluate the bytes, arguments and offsets of all steps of a schedule at sizes."""
        nbytes = self._nbytes(values)
        if workers > 1:
            all_bytes = list(nbytes)
            for buffer, role in self._worker_buffers.items():
                all_bytes[buffer] += (workers - 1) * own_stride(role, nbytes[buffer])
            nbytes = tuple(all_bytes)
        totals = self._totals(values)
        if 0 in nbytes:  # rows that store no element need not be walked: there may be 2**40
            totals = tuple(
                0 if stored and not any(nbytes[b] for b in stored) else total
                for total, stored in zip(totals, self._stored, strict=True)
            )
        return SizeNumbers(
            nbytes,
            tuple(get(values) for get in self._arguments),
            tuple(get(values) for get in self._offsets),
            totals,
        )


#: A value of a graph: its node and the index of the result.
ValueKey = tuple[Node, int]


#: The keys under which a graph stores the users of its values, and the phases of its nodes.
_USERS, _PHASES = "users", "phases"


def users_of(graph: Graph) -> Mapping[ValueKey, Sequence[Node]]:
    """For every value of the graph, the nodes that read it, each once, in order; maybe none."""
    users = graph.analyses.get(_USERS)
    if users is None:
        users = graph.analyses[_USERS] = _users_of(graph)
    return cast("dict[ValueKey, list[Node]]", users)


def _users_of(graph: Graph) -> dict[ValueKey, list[Node]]:
    """Return the nodes that read each value of a graph, each once."""
    readers_by_value: dict[ValueKey, list[Node]] = {
        (node, index): [] for node in graph.nodes for index in range(len(node.types))
    }
    for node in graph.nodes:
        for arg in node.args:
            users = readers_by_value[arg.node, arg.index]
            if not users or users[-1] is not node:  # x * x reads x twice
                users.append(node)
    return readers_by_value


def last_uses(graph: Graph) -> dict[Node, list[Node]]:
    """Return by node the values whose last use it is; roots are never among them.

    A node that nothing reads is listed at itself.
    """
    last = {node: node for node in graph.nodes}
    for node in graph.nodes:
        for arg in node.args:
            last[arg.node] = node
    root_nodes = {root.node for root in graph.roots}
    dying: dict[Node, list[Node]] = {node: [] for node in graph.nodes}
    for node, reader in last.items():
        if node not in root_nodes:
            dying[reader].append(node)
    return dying


def phases_of(graph: Graph) -> Mapping[Node, int]:
    """Return by node its phase: 0 forward, n for n-th derivatives.

    It is the highest derivative order among the node and all it depends on.

    A pointwise node, or a mark, that only later phases read belongs to the first of them: computed
    there, with its readers, it need not be stored across the border. What rounds a value to be
    stored stays, and a mask: they may be stored in the place of what they read. Places of maxima
    belong to the phase of what they are found in: they are a small part of its bytes.
    """
    phases = graph.analyses.get(_PHASES)
    if phases is None:
        phases = graph.analyses[_PHASES] = _phases_of(graph)
    return cast("dict[Node, int]", phases)


def _phases_of(graph: Graph) -> dict[Node, int]:
    """Compute each node's phase, and move cheap nodes to the phase that reads them."""
    users, roots = users_of(graph), {value.key for value in graph.roots}
    phases: dict[Node, int] = {}
    for node in graph.nodes:
        phase = 0 if _is_place(node.form) else node.order
        for arg in node.args:
            phase = max(phase, phases[arg.node])
        phases[node] = phase
    last = max(phases.values(), default=0)
    for node in reversed(graph.nodes):
        if phases[node] == last:
            continue
        first = min([phases[user] for user in users[node, 0]], default=0)
        if first > phases[node] and _runs_anywhere(node) and (node, 0) not in roots:
            phases[node] = first
    return phases


def _is_place(form: Form) -> bool:
    """Return whether a node of this form computes positions in windows."""
    return isinstance(form, WindowReduce) and form.kind == "place"


def _runs_anywhere(node: Node) -> bool:
    """Return whether a node can be recomputed by its readers at no extra cost."""
    if isinstance(node.form, Identity):
        return not node.form.materialized
    return isinstance(node.form, Pointwise) and not _is_rounded(node) and not _is_mask(node)


def _is_mask(node: Node) -> bool:
    """Return whether a node compares numbers: a byte per element, where an operand takes more."""
    full = [arg for arg in node.args if arg.shape == node.types[0].shape]
    return node.types[0].dtype.is_bool and any(not arg.dtype.is_bool for arg in full)


def _is_rounded(node: Node) -> bool:
    """Return whether a node converts its operand to a storage dtype."""
    stored = node.types[0].dtype
    return len(node.args) == 1 and stored.is_storage and node.args[0].dtype is stored.compute
