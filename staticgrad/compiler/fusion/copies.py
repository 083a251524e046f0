"""Values that need a buffer of their own, and results that are written by streaming stores.

Most of these are the home of some value, which its group then stores, in the required order of
axes. The others need a copy group: an output that is an input or a part of a value, a value that is
an output twice, a row of a reduction that is not contiguous.

**Streaming.** A kernel that moves more bytes than the caches hold has evicted its first results
before it ends. Streaming stores then cost nothing, and save reading the overwritten lines. They
are used for results of the program only: a value in the arena may reuse the bytes of an operand,
which are in the caches. Sizes are those of hints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import Final

from staticgrad.analysis.layout import Strided
from staticgrad.compiler.fusion.blocks import roles_of
from staticgrad.compiler.fusion.groups import (
    CopyBuffer,
    Group,
    Groups,
    Key,
    ResultBuffer,
    Source,
    TargetRegion,
    Transfer,
    Walk,
    needs_home,
)
from staticgrad.compiler.fusion.walks import broken_rows, lies_in_order, may_fold
from staticgrad.language.ir.graph import Node, Parameter, Symbolic
from staticgrad.language.ir.kernels.stages import HALF_LINE
from staticgrad.language.types.arrays import (
    Shape,
    TensorType,
    c_strides,
    hint_bytes,
    hint_product,
    hint_value,
    product,
)
from staticgrad.native.machine import current
from staticgrad.support.records import dataclass, replace
from staticgrad.support.traversal import reach


@dataclass(frozen=True, eq=False)
class GroupsWithCopies:
    """Groups that write every root into a buffer of its own.

    ``outputs``: the buffer of each output by name. ``updates``: the buffer of the new value of each
    parameter whose value changes.
    """

    groups: Groups
    outputs: Mapping[str, Key]
    updates: tuple[tuple[Parameter, Key], ...]


def add_copies(groups: Groups) -> GroupsWithCopies:
    """Add copy groups for fused values that need a separate buffer, such as aliased outputs."""
    roots = _CopyBuilder(groups)
    outputs = {name: roots.assign_root(value) for name, value in groups.graph.outputs.items()}
    changing = [pair for pair in groups.graph.updates if not _is_unchanged(groups, *pair)]
    updates = tuple((parameter, roots.assign_root(value)) for parameter, value in changing)
    rows = _CopyBuilder(roots.result())
    rows.make_rows_contiguous()
    return GroupsWithCopies(
        _add_lowering_facts(rows.result(), {*outputs.values()}), outputs, updates
    )


def add_late_copies(groups: Groups, keys: Iterable[Key]) -> tuple[Groups, Mapping[Key, Key]]:
    """Add groups that copy these buffers with their layout; return their copies, too."""
    copying = _CopyBuilder(groups)
    copies: dict[Key, Key] = {}
    for key in keys:
        kind = groups.value_type(key)
        flat = TensorType(kind.dtype, (kind.size,))
        source = Source(key, flat, Strided.contiguous(flat.shape))
        copies[key] = copying.copy(source, groups.phases[key.node])
    return copying.result(), copies


class _CopyBuilder:
    def __init__(self, groups: Groups) -> None:
        self._input = groups
        self._groups = dict(groups.by_number)
        self._owners = dict(groups.owners)
        self._types = dict(groups.types)
        self._newly_stored: dict[int, dict[Key, None]] = {}  # by group, besides ``Group.stored``
        self._root_buffers: set[Key] = set()
        self._count = max(groups.by_number, default=-1) + 1
        self._copies = sum(isinstance(key, CopyBuffer) for key in groups.types)

    def result(self) -> Groups:
        for number, more in self._newly_stored.items():
            group = self._groups[number]
            stored = tuple(dict.fromkeys([*group.stored, *more]))
            if len(stored) > len(group.stored):
                self._groups[number] = replace(group, stored=stored)
        return replace(self._input, by_number=self._groups, owners=self._owners, types=self._types)

    def assign_root(self, value: Symbolic) -> Key:
        """Return the buffer of a graph's output or update; copy it if its own cannot be used."""
        source = self._input.source(value)
        key = self._transpose_in_place(source)
        if key is None:
            if not source.uniform:
                source = self._store_source(source)
            phase = self._input.phases[value.node]
            base = source.base
            needs_no_copy = (
                not source.inline
                and base in self._owners
                and base not in self._root_buffers
                and self._is_complete(source)
            )
            key = base if needs_no_copy else self.copy(source, phase)
        self._root_buffers.add(key)
        return key

    def _transpose_in_place(self, source: Source) -> Key | None:
        """Let the group that computes an output store it in the output's order of axes."""
        # Let the group store a root in the order of axes of the root, if nothing else reads the
        # value: else it is stored in its own order, too. Readers of an inline value in memory, such
        # as loops, are not recorded.
        if source.inline:
            return None
        number, base = self._owners.get(source.base), source.base
        group = None if number is None else self._groups[number]
        if group is None or group.kind != "map" or group.reductions or group.keeps_axes:
            return None
        if group.regions or group.checked or group.stored != (base,) or base in self._root_buffers:
            return None
        permuted = _permuted_layout(source, self._input.value_type(base).shape)
        if permuted is None or base in self._input.retained or self._read_counts[base] != 1:
            return None
        key = self._new_copy(source)
        regions = {base: (TargetRegion(key, permuted),)}
        self._groups[group.number] = replace(group, stored=(), regions=regions)
        self._owners[key] = group.number
        return key

    @cached_property
    def _read_counts(self) -> Counter[Key]:
        """Count the reads of each buffer by groups and by outputs of the graph."""
        groups = self._input
        counts = Counter(groups.source(value).base for value in groups.graph.roots)
        for group in groups.all:
            own_values = {ResultBuffer(node) for node in group.nodes}
            reads = (read.source.base for read in groups.reads(group))
            counts.update(base for base in reads if base not in own_values)
        return counts

    def copy(self, source: Source, phase: int) -> Key:
        """Add a copy group that makes a value contiguous, and return its buffer."""
        if not source.uniform:
            source = self._store_source(source)
        key = self._new_copy(source)
        owner = None if source.inline else self._owners.get(source.base)
        level = 1 + (0 if owner is None else self._groups[owner].level)
        layout = Strided.contiguous(source.type.shape)
        transfers = (Transfer(key, source.type.dtype, layout, source),)
        group = Group(self._count, "copy", source.type.shape, level, phase, transfers=transfers)
        self._add(group, key)
        return key

    def _new_copy(self, source: Source) -> Key:
        key = CopyBuffer(source.base.node, self._copies)
        self._copies += 1
        self._types[key] = source.type
        return key

    def make_rows_contiguous(self) -> None:
        """Add copies of reduced operands with strided rows, and of calls' strided operands."""
        for group in [*self._groups.values()]:
            if group.kind in ("call", "body"):
                copied = self._copied_operands(group)
            else:
                copied = {}
                for walk in broken_rows(self._input, group):
                    kind = TensorType(self._input.value_type(walk.base).dtype, group.domain)
                    layout = Strided(walk.offset, walk.strides)
                    source = Source(walk.base, kind, layout, direct=False)
                    copied[walk] = self.copy(source, group.phase)
            if copied:
                self._groups[group.number] = replace(group, copied=copied)

    def _copied_operands(self, group: Group) -> dict[Walk | Source, Key]:
        copies: dict[Walk | Source, Key] = {}
        for source in (self._input.source(arg) for node in group.nodes for arg in node.args):
            if source not in copies and not lies_in_order(source):
                copies[source] = self.copy(source, group.phase)
        return copies

    def _add(self, group: Group, key: Key) -> None:
        self._groups[group.number] = group
        self._owners[key] = group.number
        self._count += 1

    def _store_source(self, source: Source) -> Source:
        if needs_home(source) and source.base not in self._owners:
            self._give_home(source)
        number = self._owners.get(source.base)
        if number is not None:
            self._newly_stored.setdefault(number, {})[source.base] = None
        return Source(source.base, source.type, source.layout, source.direct)

    def _give_home(self, source: Source) -> None:
        """Add a group that stores an inline value which is read from memory."""
        node = source.base.node
        home = Group(
            self._count,
            "map",
            node.types[0].shape,
            1,
            self._input.phases[node],
            (node,),
            indexed=not self._input.sources[node, 0].uniform,
        )
        self._add(home, source.base)

    def _is_complete(self, source: Source) -> bool:
        has_all_elements = source.type.size == self._input.value_type(source.base).size
        return source.direct or (
            has_all_elements and source.layout.is_contiguous(source.type.shape)
        )


def _permuted_layout(source: Source, shape: Shape) -> Strided | None:
    """Return the layout of a fused value that only permutes axes; else None."""
    steps = source.layout.strides
    axes = {
        (step, size): axis
        for axis, (step, size) in enumerate(zip(c_strides(shape), shape, strict=True))
    }
    order = [axes.get(pair, -1) for pair in zip(steps, source.type.shape, strict=True)]
    if source.layout.offset != 0 or sorted(order) != [*range(len(shape))]:
        return None
    places = dict(zip(order, c_strides(source.type.shape), strict=True))
    # An axis of one element may be the one that is vectorized, which must have a stride.
    moves = [1 if size == 1 else places[axis] for axis, size in enumerate(shape)]
    return Strided(0, tuple(moves))


def _is_unchanged(groups: Groups, parameter: Parameter, value: Symbolic) -> bool:
    source = groups.source(value)
    return (
        source.base == ResultBuffer(parameter.node)
        and source.type == parameter.type
        and source.layout == Strided.contiguous(parameter.type.shape)
    )


def _may_be_in_place(groups: Groups, group: Group) -> bool:
    """Return True if a group's result will probably overwrite an operand that is read last here."""
    results = [groups.value_type(key) for key in group.stored if _is_between(groups, key)]
    result_sizes = {(kind.size, kind.dtype.itemsize) for kind in results}
    for base in (
        dict.fromkeys([read.source.base for read in groups.reads(group)]) if result_sizes else ()
    ):
        home, kind = groups.home(base), groups.value_type(base)
        if home is None or home is group or not _is_between(groups, base):
            continue
        if (kind.size, kind.dtype.itemsize) in result_sizes and _is_read_last(groups, group, base):
            return True
    return False


def _is_between(groups: Groups, key: Key) -> bool:
    return isinstance(key, ResultBuffer) and key not in groups.roots and key not in groups.retained


def _is_read_last(groups: Groups, group: Group, base: Key) -> bool:
    """Return True if no group after this one reads a value, directly or through views."""

    def users(node: Node) -> list[Node]:
        return [user for n in range(len(node.types)) for user in groups.users[node, n]]

    def home(node: Node) -> Group | None:
        return groups.home(ResultBuffer(node))

    readers = reach(users(base.node), lambda user: users(user) if home(user) is None else ())
    return not any(reader.level > group.level for reader in map(home, readers) if reader)


#: Bytes that a kernel moves, and bytes of a result, at least, for streaming stores; as multiples of
#: the size of the L3 cache.
_LEAST_MOVED: Final = 3
_LEAST_RESULT: Final = 1 / 4
#: Least bytes of an element: a vector of smaller ones may be only a part of a cache line.
_LEAST_ITEMSIZE: Final = 4
_KINDS: Final = ("map", "rows", "copy")


def _add_lowering_facts(groups: Groups, outputs: Collection[Key]) -> Groups:
    """Set the facts of groups that lowering needs: in-place results, streaming stores."""
    by_number = dict(groups.by_number)
    for number, group in groups.by_number.items():
        streamed = tuple(_find_streamed(groups, group, outputs))
        roles = roles_of(groups, group) if group.kind == "block" else None
        in_place = group.kind == "map" and may_fold(group) and _may_be_in_place(groups, group)
        if streamed or roles or in_place:
            by_number[number] = replace(group, streamed=streamed, roles=roles, in_place=in_place)
    return replace(groups, by_number=by_number)


def _find_streamed(groups: Groups, group: Group, outputs: Collection[Key]) -> list[Key]:
    if group.kind not in _KINDS:
        return []
    written = [transfer.target for transfer in group.transfers] or group.stored
    large = [key for key in written if key in outputs and _is_large(groups, group, key)]
    return large if large and _traffic(groups, group) >= _LEAST_MOVED * current().l3 else []


def _is_large(groups: Groups, group: Group, key: Key) -> bool:
    """Return True if a result is so large that streaming stores pay."""
    kind = groups.value_type(key)
    row = hint_value(group.domain[-1]) * kind.dtype.itemsize if len(group.domain) > 1 else 0
    wide = kind.dtype.itemsize >= _LEAST_ITEMSIZE and row % HALF_LINE == 0
    return (
        wide
        and kind.size == product(group.domain)
        and hint_bytes(kind) >= _LEAST_RESULT * current().l3
    )


def _traffic(groups: Groups, group: Group) -> int:
    read = [read.source.base for read in groups.reads(group)]
    outside = [base for base in read if groups.home(base) is not group]
    elements = hint_product(group.domain)
    types = [groups.value_type(key) for key in dict.fromkeys([*outside, *group.stored])]
    sizes = [(hint_product(kind.shape), kind.dtype.itemsize) for kind in types]
    return sum(min(size, elements) * itemsize for size, itemsize in sizes)
