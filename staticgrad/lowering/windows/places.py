"""Accesses of kernels that read windows: several loops move an index along one axis.

Each axis of an operand, and of the group's results, has an ``AxisPlace``: the loops that move the
index, its start, and its bounds where a loop may leave them. Places and strides make an access.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field, replace
from typing import Final

from staticgrad.analysis.layout import collapse
from staticgrad.fusion.groups import Home, ScratchBuffer, Source, Walk
from staticgrad.fusion.walks import operand_walks
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr, Position
from staticgrad.ir.forms import WINDOWED, WindowAxis
from staticgrad.ir.graph import Node
from staticgrad.ir.kernels.stages import Axis, Extent, Mode, Store
from staticgrad.lowering.operands import Lowering
from staticgrad.records import dataclass
from staticgrad.types.arrays import Shape
from staticgrad.types.dim import Size, is_at_least
from staticgrad.types.dtype import DType

#: Extents of windows, and what moves by them, up to which a kernel is one for that number alone.
MOST_LITERAL: Final = 16


@dataclass(frozen=True)
class AxisPlace:
    """The index along an axis: start + the sum of step * loop over ``terms``.

    It may leave [0, extent) where there is an ``extent``; ``within``: its loops end before that.
    """

    terms: tuple[tuple[str, Size], ...]
    start: Size = 0
    extent: Size | None = None
    within: bool = False


def along(*loops: str) -> tuple[AxisPlace, ...]:
    """Return the places at these loops; an empty name stands for an axis of one element."""
    return tuple(AxisPlace(((name, 1),) if name else ()) for name in loops)


def ends(low: Size, high: Size, extent: Size) -> Size | None:
    """Return the extent of an axis if places from ``low`` to ``high`` may leave it, else None."""
    return None if is_at_least(low, 0) and is_at_least(extent, high + 1) else extent


def inside(start: Size, count: Size, extent: Size) -> tuple[int, Size, Size | None]:
    """Return the places from ``start`` on in [0, extent): the first, their number, and a bound.

    If their number depends on unknown sizes, all ``count`` places are returned with the bound to
    check, if they may leave it; else the bound is None.
    """
    past = start + count - extent
    if not isinstance(start, int) or not isinstance(past, int):
        return 0, count, ends(start, start + count - 1, extent)
    first = max(-start, 0)
    return first, count - first - max(past, 0), None


def place_of_part(outer: str, loop: str, each: Size, every: Size) -> AxisPlace:
    """Return the place at a loop over the ``each`` of an iteration of ``outer``; the last iteration
    may have fewer of ``every``."""
    last = each * (-(-every // each)) - 1
    return AxisPlace(((outer, each), (loop, 1)), 0, ends(0, last, every))


def read_along(axis: WindowAxis, over_windows: bool) -> tuple[Size, Size]:
    """Return the first index that windows, or the windows over an image, read, and the extent."""
    if over_windows:
        return -axis.before, axis.image
    return axis.before - axis.reach, axis.windows


def tap_place(axis: WindowAxis, window: str, tap: int) -> AxisPlace:
    """Return the index in the image of a tap of the window at a loop."""
    start = axis.dilation * tap - axis.before
    high = start + axis.step * (axis.windows - 1)
    terms = ((window, axis.step),) if window else ()
    return AxisPlace(terms, start, ends(start, high, axis.image))


def reading_place(axis: WindowAxis, window: str, tap: str) -> AxisPlace:
    """Return the index in the image of the tap at loop ``tap`` of the window at a loop."""
    last = axis.reach - axis.before
    high = last + axis.step * (axis.windows - 1)
    terms = [(n, s) for n, s in ((window, axis.step), (tap, axis.dilation)) if n]
    return AxisPlace(tuple(terms), -axis.before, ends(-axis.before, high, axis.image))


@dataclass
class WindowLowering(Lowering):
    """The state of lowering a group with windows; ``places`` are those of its domain's axes.

    ``literal_ends``: bounds of places are literals if they are small, like extents of taps.
    """

    places: tuple[AxisPlace, ...] = ()
    literal_ends: bool = False
    merged: dict[Shape, Shape] = field(default_factory=dict)  # strides over axes taken as one
    loaded: dict[tuple[Access, object], Expr] = field(default_factory=dict)

    @property
    def anchor(self) -> Node:
        """The node whose windows are read."""
        return next(node for node in self.group.nodes if isinstance(node.form, WINDOWED))

    def number(self, value: Size, most: int = MOST_LITERAL) -> Extent:
        """Return a step, a start, or a stride between taps; a literal if it is small."""
        if isinstance(value, int) and abs(value) <= most:
            return value
        return self.argument(value)

    def count(self, value: Size) -> Extent:
        """Return the extent of a loop over taps."""
        return value if isinstance(value, int) and value <= MOST_LITERAL else self.extent(value)

    def _end(self, value: Size | None) -> Extent | None:
        if value is None:
            return None
        return self.count(value) if self.literal_ends else self.extent(value)

    def located(
        self,
        source: Walk,
        places: Sequence[AxisPlace],
        dtype: DType,
        mode: Mode = "in",
        most: int = 1,
    ) -> Access:
        """Return the access of an operand that has these places along its axes.

        It has no bound along a repeated axis. Strides up to ``most`` are literals.
        """
        name = self.operand(source.base, source.offset, dtype, mode)
        strides: list[tuple[str, Extent]] = []
        positions = []
        for stride, own in zip(source.strides, places, strict=True):
            repeats = stride == 0 and own.extent != 1
            place = replace(own, extent=None) if repeats else own
            single = len(place.terms) == 1 and place.start == 0
            if stride == 0 and place.extent is None:
                continue
            if place.extent is None and (single or not place.terms) and place.start == 0:
                limit = MOST_LITERAL if stride == 1 else most
                strides += [(n, self.number(step * stride, limit)) for n, step in place.terms]
                continue
            terms = tuple((loop, self.number(step)) for loop, step in place.terms)
            extent = self._end(place.extent)
            moved = 1 if stride == 0 else stride  # of a single element
            positions.append(
                Position(
                    terms, self.number(place.start), self.number(moved, most), extent, place.within
                )
            )
        return Access(name, tuple(strides), (), tuple(positions))

    def access(
        self, walk: Walk, dtype: DType, mode: Mode = "in", gather: Sequence[Size] = ()
    ) -> Access:
        """Return an access over the domain."""
        strides = self.merged.get(walk.strides, walk.strides)
        return self.located(Walk(walk.base, walk.offset, strides), self.places, dtype, mode)

    def here(self, walk: Walk) -> tuple[Walk, tuple[int, ...]]:
        """Return the walk itself; its places are the current ``places``."""
        return walk, ()

    def move_to(self, places: Iterable[AxisPlace]) -> None:
        """Move to other places and clear the memo of evaluated values."""
        self.places = tuple(places)
        self.memo, self.loads = {}, {}

    def value(self, source: Source) -> Expr:
        """Return the element of a source at the current places; equal loads are one."""
        found = super().value(source)
        if found.op == "load":
            assert isinstance(found.attribute, Access)
            return self.loaded.setdefault((found.attribute, None), found)
        return found

    def element(
        self, source: Source, places: Sequence[AxisPlace], fill: bool | int | float = 0
    ) -> Expr:
        """Return an operand's element at some places, in its compute dtype; ``fill`` outside."""
        dtype = source.type.dtype
        access = self.located(
            Walk(source.base, source.layout.offset, source.layout.strides), places, dtype
        )
        filled = ex.literal(fill, dtype) if access.bounded and fill != 0 else None
        key = (access, fill if access.bounded else None)
        if key not in self.loaded:
            self.loaded[key] = ex.load(access, dtype, fill=filled)
        return self.widest(self.loaded[key])

    def in_scratch(self, number: int, moved: Iterable[tuple[str, Size]], start: Size = 0) -> Access:
        """Return an access to a scratch buffer; loops without a name do not move it."""
        key, dtype = ScratchBuffer(self.anchor, number), self.anchor.types[0].dtype
        self.scratch[key] = self.operand(key, 0, dtype, "scratch")
        strides = tuple((name, self.stride(name, step)) for name, step in moved if name)
        places = () if start == 0 else (Position((), self.argument(start)),)
        return Access(self.scratch[key], strides, (), places)

    def stores(self, anchor: Expr) -> list[Store]:
        """Return the stores at the current places, where the anchor has this element."""
        self.memo[Home(self.anchor)] = anchor
        for node in self.group.nodes:
            if node is not self.anchor:
                self.memo[Home(node)] = self.scalar(node)
        return [self.put(key, walk) for key, walk in self.whole_walks(self.group.stored)]

    def loop(self, name: str, extent: Size, taps: bool = False) -> Axis:
        """Return a loop of the kernel."""
        return Axis(name, self.count(extent) if taps else self.extent(extent))

    def merge_last(self, count: int, others: Sequence[Shape]) -> tuple[Shape, list[Shape]]:
        """Return the extents of the domain's last axes, collapsed where all walks allow it.

        ``others`` are strides of operands over the same axes; they are returned collapsed.
        """
        domain = self.group.domain
        walks = [
            *operand_walks(self.groups, self.group),
            *(w for _, w in self.whole_walks(self.group.stored)),
        ]
        strides = list(dict.fromkeys(walk.strides for walk in walks))
        first = len(domain) - count
        moves = [each[first:] for each in strides] + [*others]
        kept, moved = collapse(domain[first:], moves)
        for own, found in zip(strides, moved, strict=False):
            self.merged[own] = (*own[:first], *found)
        return tuple(kept), [tuple(each) for each in moved[len(strides) :]]
