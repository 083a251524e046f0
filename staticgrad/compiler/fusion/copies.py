"""Values that need a buffer of their own, and results that are written by streaming stores.

Most of these are the home of some value, which its group then stores, in the order of axes that is
wanted. The others take a group that copies: an output that is an input or a part of a value, a
value that is an output twice, a row of a reduction that is several runs of memory.

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
    Copied,
    Group,
    Groups,
    Home,
    Key,
    Source,
    TargetRegion,
    Transfer,
    Walk,
    needs_home,
)
from staticgrad.compiler.fusion.walks import broken_rows, lies_in_order, may_fold
from staticgrad.language.ir.graph import Parameter, Symbolic
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


@dataclass(frozen=True, eq=False)
class WithCopies:
    """Groups that write every root into a buffer of its own.

    ``outputs``: the buffer of each output by name. ``updates``: the buffer of the new value of each
    parameter whose value changes.
    """

    groups: Groups
    outputs: Mapping[str, Key]
    updates: tuple[tuple[Parameter, Key], ...]


def with_copies(groups: Groups) -> WithCopies:
    """Return the groups, with copy groups for values that need a buffer of their own."""
    roots = _Copying(groups)
    outputs = {name: roots.of_root(value) for name, value in groups.graph.outputs.items()}
    changing = [pair for pair in groups.graph.updates if not _keeps_its_value(groups, *pair)]
    updates = tuple((parameter, roots.of_root(value)) for parameter, value in changing)
    rows = _Copying(roots.result())
    rows.make_rows_contiguous()
    return WithCopies(_finished(rows.result(), {*outputs.values()}), outputs, updates)


def with_late_copies(groups: Groups, keys: Iterable[Key]) -> tuple[Groups, Mapping[Key, Key]]:
    """The groups, and one for each of these buffers that copies it as it lies; the copies."""
    copying = _Copying(groups)
    found: dict[Key, Key] = {}
    for key in keys:
        kind = groups.value_type(key)
        flat = TensorType(kind.dtype, (kind.size,))
        source = Source(key, flat, Strided.contiguous(flat.shape))
        found[key] = copying.copy(source, groups.phases[key.node])
    return copying.result(), found


class _Copying:
    def __init__(self, groups: Groups) -> None:
        self._before = groups
        self._groups = dict(groups.by_number)
        self._owners = dict(groups.owners)
        self._types = dict(groups.types)
        self._stored: dict[int, dict[Key, None]] = {}  # by group, beyond what it stores already
        self._taken: set[Key] = set()  # buffers that are a root's
        self._count = max(groups.by_number, default=-1) + 1
        self._copies = sum(isinstance(key, Copied) for key in groups.types)

    def result(self) -> Groups:
        for number, more in self._stored.items():
            group = self._groups[number]
            stored = tuple(dict.fromkeys([*group.stored, *more]))
            if len(stored) > len(group.stored):
                self._groups[number] = replace(group, stored=stored)
        return replace(self._before, by_number=self._groups, owners=self._owners, types=self._types)

    def of_root(self, value: Symbolic) -> Key:
        source = self._before.source(value)
        key = self._transposed(source)
        if key is None:
            if not source.uniform:
                source = self._in_memory(source)
            phase = self._before.phases[value.node]
            key = source.base if self._may_be_taken(source) else self.copy(source, phase)
        self._taken.add(key)
        return key

    def _transposed(self, source: Source) -> Key | None:
        # Only where nobody else reads the value: else it lies in its own order anyway. Who reads an
        # inline value in memory, as loops do, is not known.
        if source.inline:
            return None
        number, base = self._owners.get(source.base), source.base
        group = None if number is None else self._groups[number]
        if group is None or group.kind != "map" or group.reductions or group.keeps_axes:
            return None
        if group.regions or group.checked or group.stored != (base,) or base in self._taken:
            return None
        lies = _in_order_of(source, self._before.value_type(base).shape)
        if lies is None or base in self._before.kept or self._reads[base] != 1:
            return None
        key = self._new_copy(source)
        regions = {base: (TargetRegion(key, lies),)}
        self._groups[group.number] = replace(group, stored=(), regions=regions)
        self._owners[key] = group.number
        return key

    @cached_property
    def _reads(self) -> Counter[Key]:
        groups = self._before
        found = Counter(groups.source(value).base for value in groups.graph.roots)
        for group in groups.all:
            mine = {Home(node) for node in group.nodes}
            reads = (read.source.base for read in groups.reads(group))
            found.update(base for base in reads if base not in mine)
        return found

    def copy(self, source: Source, phase: int) -> Key:
        if not source.uniform:
            source = self._in_memory(source)
        key = self._new_copy(source)
        owner = None if source.inline else self._owners.get(source.base)
        level = 1 + (0 if owner is None else self._groups[owner].level)
        layout = Strided.contiguous(source.type.shape)
        transfers = (Transfer(key, source.type.dtype, layout, source),)
        group = Group(self._count, "copy", source.type.shape, level, phase, transfers=transfers)
        self._add(group, key)
        return key

    def _new_copy(self, source: Source) -> Key:
        key = Copied(source.base.node, self._copies)
        self._copies += 1
        self._types[key] = source.type
        return key

    def make_rows_contiguous(self) -> None:
        """Copies of the operands whose rows a reduction would find in several runs of memory.

        And of those of calls that do not lie in C order.
        """
        for group in [*self._groups.values()]:
            if group.kind in ("call", "body"):
                copied = self._copied_operands(group)
            else:
                copied = {}
                for walk in broken_rows(self._before, group):
                    kind = TensorType(self._before.value_type(walk.base).dtype, group.domain)
                    layout = Strided(walk.offset, walk.strides)
                    source = Source(walk.base, kind, layout, direct=False)
                    copied[walk] = self.copy(source, group.phase)
            if copied:
                self._groups[group.number] = replace(group, copied=copied)

    def _copied_operands(self, group: Group) -> dict[Walk | Source, Key]:
        found: dict[Walk | Source, Key] = {}
        for source in (self._before.source(arg) for node in group.nodes for arg in node.args):
            if source not in found and not lies_in_order(source):
                found[source] = self.copy(source, group.phase)
        return found

    def _add(self, group: Group, key: Key) -> None:
        self._groups[group.number] = group
        self._owners[key] = group.number
        self._count += 1

    def _in_memory(self, source: Source) -> Source:
        if needs_home(source) and source.base not in self._owners:
            self._give_home(source)
        number = self._owners.get(source.base)
        if number is not None:
            self._stored.setdefault(number, {})[source.base] = None
        return Source(source.base, source.type, source.layout, source.direct)

    def _give_home(self, source: Source) -> None:
        """An inline value that somebody must read from memory gets a kernel of its own."""
        node = source.base.node
        home = Group(
            self._count,
            "map",
            node.types[0].shape,
            1,
            self._before.phases[node],
            (node,),
            indexed=not self._before.sources[node, 0].uniform,
        )
        self._add(home, source.base)

    def _may_be_taken(self, source: Source) -> bool:
        base = source.base
        return (
            not source.inline
            and base in self._owners
            and base not in self._taken
            and self._is_whole(source)
        )

    def _is_whole(self, source: Source) -> bool:
        whole = source.type.size == self._before.value_type(source.base).size
        return source.direct or (whole and source.layout.is_contiguous(source.type.shape))


def _in_order_of(source: Source, shape: Shape) -> Strided | None:
    """Return the permuted layout of ``source``, if it only permutes axes; else None."""
    steps = source.layout.strides
    axes = {
        (step, size): axis
        for axis, (step, size) in enumerate(zip(c_strides(shape), shape, strict=True))
    }
    order = [axes.get(pair, -1) for pair in zip(steps, source.type.shape, strict=True)]
    if source.layout.offset != 0 or sorted(order) != [*range(len(shape))]:
        return None
    places = dict(zip(order, c_strides(source.type.shape), strict=True))
    # An axis of one element may be the one that vectors run along, which must move.
    moves = [1 if size == 1 else places[axis] for axis, size in enumerate(shape)]
    return Strided(0, tuple(moves))


def _keeps_its_value(groups: Groups, parameter: Parameter, value: Symbolic) -> bool:
    source = groups.source(value)
    return (
        source.base == Home(parameter.node)
        and source.type == parameter.type
        and source.layout == Strided.contiguous(parameter.type.shape)
    )


def _lies_in_place(groups: Groups, group: Group) -> bool:
    """Return whether a result will probably be stored over an operand that is read last here."""
    results = [groups.value_type(key) for key in group.stored if _is_between(groups, key)]
    wanted = {(kind.size, kind.dtype.itemsize) for kind in results}
    for base in dict.fromkeys([read.source.base for read in groups.reads(group)]) if wanted else ():
        home, kind = groups.home(base), groups.value_type(base)
        if home is None or home is group or not _is_between(groups, base):
            continue
        if (kind.size, kind.dtype.itemsize) in wanted and _is_read_last(groups, group, base):
            return True
    return False


def _is_between(groups: Groups, key: Key) -> bool:
    return isinstance(key, Home) and key not in groups.roots and key not in groups.kept


def _is_read_last(groups: Groups, group: Group, base: Key) -> bool:
    waiting = [base.node]
    while waiting:
        node = waiting.pop()
        for user in [user for n in range(len(node.types)) for user in groups.users[node, n]]:
            reader = groups.home(Home(user))
            if reader is None:
                waiting.append(user)
            elif reader.level > group.level:
                return False
    return True


#: What a kernel moves at least, by bytes of the last cache; and a result that is worth it.
_MOVED: Final = 3
_STORED: Final = 1 / 4
#: Bytes of an element: a vector of smaller ones, beside larger ones, may be a part of a line.
_WIDE: Final = 4
_KINDS: Final = ("map", "rows", "copy")


def _finished(groups: Groups, outputs: Collection[Key]) -> Groups:
    """Return the groups with what lowering reads of their neighbours as fields."""
    by_number = dict(groups.by_number)
    for number, group in groups.by_number.items():
        streamed = tuple(_streamed(groups, group, outputs))
        roles = roles_of(groups, group) if group.kind == "block" else None
        in_place = group.kind == "map" and may_fold(group) and _lies_in_place(groups, group)
        if streamed or roles or in_place:
            by_number[number] = replace(group, streamed=streamed, roles=roles, in_place=in_place)
    return replace(groups, by_number=by_number)


def _streamed(groups: Groups, group: Group, outputs: Collection[Key]) -> list[Key]:
    if group.kind not in _KINDS:
        return []
    own = [each.target for each in group.transfers] or group.stored
    large = [key for key in own if key in outputs and _is_large(groups, group, key)]
    return large if large and _moved(groups, group) >= _MOVED * current().l3 else []


def _is_large(groups: Groups, group: Group, key: Key) -> bool:
    kind = groups.value_type(key)
    row = hint_value(group.domain[-1]) * kind.dtype.itemsize if len(group.domain) > 1 else 0
    wide = kind.dtype.itemsize >= _WIDE and row % HALF_LINE == 0
    return (
        wide and kind.size == product(group.domain) and hint_bytes(kind) >= _STORED * current().l3
    )


def _moved(groups: Groups, group: Group) -> int:
    read = [each.source.base for each in groups.reads(group)]
    outside = [base for base in read if groups.home(base) is not group]
    elements = hint_product(group.domain)
    types = [groups.value_type(key) for key in dict.fromkeys([*outside, *group.stored])]
    sizes = [(hint_product(each.shape), each.dtype.itemsize) for each in types]
    return sum(min(size, elements) * itemsize for size, itemsize in sizes)
