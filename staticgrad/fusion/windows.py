"""Values put together from parts that no buffer holds: whoever reads an element reads a part.

A gradient of a slice is zeros with the cotangent somewhere inside, a shift is two slices one behind
the other. Where such a value is read element by element, it needs no memory: a kernel over its
positions reads each part where that lies in its region (``staticgrad.lowering.windows.parts``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from staticgrad.analysis.users import ValueKey
from staticgrad.fusion.groups import Groups, Home, Source, Walk
from staticgrad.ir.forms import Assemble, Pointwise, Reduce
from staticgrad.ir.graph import Node
from staticgrad.records import dataclass
from staticgrad.types.dim import Size
from staticgrad.types.tensor import hint_value

#: Parts of a value that is read so, at most: each reads at every position, inside its region or
#: not. Values of more parts are written to a buffer, region by region.
MOST_PARTS: Final = 4
#: Elements up to which a kernel less is worth masks; and of which part of a larger value, at least,
#: its one part is: a masked load where no memory is takes hundreds of cycles.
FEW_ELEMENTS: Final = 1 << 14
#: Bytes of a row of a larger one for each of its parts, at least: a vector at its end takes as long
#: as several others.
LEAST_PART: Final = 128
#: Operations on its elements that are looked at for what reads them, at most.
MOST_READERS: Final = 16
MOST_BORDERS: Final = 4


@dataclass(frozen=True)
class AxisShift:
    """Where along ``axis`` of the whole a part is read: its index is step * position + start.

    It lies in the part if it is in [0, extent). The part moves by ``stride`` elements an index.
    """

    axis: int
    step: int
    start: Size
    stride: Size
    extent: Size

    @property
    def is_bounded(self) -> bool:
        """Whether an access itself tells what lies outside: one that moves does."""
        return self.stride != 0


@dataclass(frozen=True)
class Part:
    """A part as its reader finds it: ``walk`` along the axes that it fills, places along others."""

    source: Source
    walk: Walk
    places: tuple[AxisShift, ...]


def is_window(node: Node, users: Mapping[ValueKey, Sequence[Node]]) -> bool:
    """Whether a value put together from parts is read from the parts, instead of from a buffer.

    Its regions must be few, and their steps 1 or -1. A value with borders of one number takes one
    kernel so, whoever reads it, unless it is hardly anything but borders. One of parts side by side
    is read so where its elements are, and rows are long.
    """
    form, whole = node.form, hint_value(node.types[0].size)
    assert isinstance(form, Assemble)
    if not 0 < len(form.regions) <= MOST_PARTS:
        return False
    if any(step not in (1, -1) for region in form.regions for step in region.steps):
        return False
    if form.fill is not None and len(form.regions) == 1:
        part = hint_value(node.args[0].type.size)
        return whole <= FEW_ELEMENTS or part * MOST_BORDERS >= whole
    if not any(isinstance(user.form, Pointwise | Reduce) for user in users[node, 0]):
        return False
    return whole <= FEW_ELEMENTS or _has_long_rows(node, users)


def _has_long_rows(node: Node, users: Mapping[ValueKey, Sequence[Node]]) -> bool:
    """Whether most vectors along the last axis lie in one part, and no sum goes across them.

    A row of few elements is written out for a vector of rows.
    """
    kind, form, last = node.types[0], node.form, node.types[0].rank - 1
    assert isinstance(form, Assemble)
    length = kind.shape[last]
    if isinstance(length, int) and 1 < length <= kind.dtype.compute.lanes // 2:
        return True
    along = any(region.starts[last] != 0 for region in form.regions)
    row = hint_value(length) * kind.dtype.itemsize
    long = row >= LEAST_PART * (len(form.regions) if along else 1)
    return long and all(last in axes for axes in _reduced(node, users))


def _reduced(node: Node, users: Mapping[ValueKey, Sequence[Node]]) -> Iterator[tuple[int, ...]]:
    """The axes over which a value is reduced, or what is computed of its elements before that."""
    found, waiting = {node}, [node]
    while waiting and len(found) < MOST_READERS:
        for user in users[waiting.pop(), 0]:
            if isinstance(user.form, Reduce):
                yield user.form.axes
            elif isinstance(user.form, Pointwise) and user.types[0].shape == node.types[0].shape:
                waiting += [] if user in found else [user]
                found.add(user)


def parts_of(groups: Groups, node: Node) -> Iterator[Part]:
    """How each part of a window is read."""
    form = node.form
    assert isinstance(form, Assemble)
    whole = node.types[0].shape
    for arg, region in zip(node.args, form.regions, strict=True):
        source = groups.source(arg)
        strides: list[Size] = list(source.layout.strides)
        places = []
        described = zip(region.starts, region.steps, arg.shape, whole, strict=True)
        for axis, (start, step, extent, size) in enumerate(described):
            assert isinstance(step, int)
            if step == 1 and extent == size:  # then it starts at 0
                continue
            places.append(AxisShift(axis, step, -step * start, strides[axis], extent))
            strides[axis] = 0
        yield Part(source, Walk(source.base, source.layout.offset, tuple(strides)), tuple(places))


def axis_walk(node: Node, axis: int) -> Walk:
    """What moves along one axis alone, so that no other is taken as one with it."""
    return Walk(Home(node), 0, tuple(int(k == axis) for k in range(node.types[0].rank)))


def window_walks(groups: Groups, node: Node) -> Iterator[Walk]:
    """What a window moves along the axes of its reader."""
    for part in parts_of(groups, node):
        if not part.source.uniform:
            yield part.walk
        for place in part.places:
            yield axis_walk(node, place.axis)
