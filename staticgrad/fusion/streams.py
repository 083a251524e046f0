"""Results that kernels store past the caches, since no cache would hold them until they are read.

A kernel that moves more than the caches of a machine hold has pushed out what it wrote first before
it ends. Storing past them then costs nobody anything, and spares reading what is written over. So
it is for results of the program: what lies in the arena may take the place of what it is computed
from, which the caches have. The sizes are those that hints say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from staticgrad.fusion.copies import WithCopies
from staticgrad.fusion.groups import Group, Groups, Key
from staticgrad.ir.kernels.stages import HALF_LINE
from staticgrad.native.machine import current
from staticgrad.records import replace
from staticgrad.types.tensor import hint_bytes, hint_product, hint_value, product

#: What a kernel moves at least, by bytes of the last cache; and a result that is worth it.
_MOVED: Final = 3
_STORED: Final = 1 / 4
#: Bytes of an element: a vector of smaller ones, beside larger ones, may be a part of a line.
_WIDE: Final = 4
_KINDS: Final = ("map", "rows", "copy")


def with_streams(placed: WithCopies) -> WithCopies:
    """The groups, those that store results past the caches with these results."""
    outputs = {*placed.outputs.values()}
    found: Mapping[int, tuple[Key, ...]] = {
        group.number: tuple(_streamed(placed.groups, group, outputs)) for group in placed.groups.all
    }
    if not any(found.values()):
        return placed
    by_number = {
        number: replace(group, streamed=found[number]) if found[number] else group
        for number, group in placed.groups.by_number.items()
    }
    return replace(placed, groups=replace(placed.groups, by_number=by_number))


def _streamed(groups: Groups, group: Group, outputs: Iterable[Key]) -> list[Key]:
    """The results that a group stores past the caches."""
    if group.kind not in _KINDS:
        return []
    own = group.stored if group.transfer is None else (group.transfer.target,)
    large = [key for key in own if key in outputs and _is_large(groups, group, key)]
    return large if large and _moved(groups, group) >= _MOVED * current().l3 else []


def _is_large(groups: Groups, group: Group, key: Key) -> bool:
    """Whether a result has elements enough, in rows that begin where vectors may be streamed."""
    kind = groups.value_type(key)
    row = hint_value(group.domain[-1]) * kind.dtype.itemsize if len(group.domain) > 1 else 0
    wide = kind.dtype.itemsize >= _WIDE and row % HALF_LINE == 0
    return (
        wide and kind.size == product(group.domain) and hint_bytes(kind) >= _STORED * current().l3
    )


def _moved(groups: Groups, group: Group) -> int:
    """Bytes that a group reads and stores: of each buffer as many elements as it has itself."""
    read = [each.source.base for each in groups.reads(group)]
    outside = [base for base in read if groups.home(base) is not group]
    elements = hint_product(group.domain)
    types = [groups.value_type(key) for key in dict.fromkeys([*outside, *group.stored])]
    sizes = [(hint_value(each.size), each.dtype.itemsize) for each in types]
    return sum(min(size, elements) * itemsize for size, itemsize in sizes)
