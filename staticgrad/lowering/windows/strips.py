"""Convolutions with step 1: a strip of the image is copied once, with its border.

An iteration copies its strip into scratch with the border. There every tap has a fixed offset from
its window in every row. So the columns of the product are all consecutive places of the strip,
with those between rows and enough to fill a panel, and nothing is packed. The results are stored
in scratch, too, from which the epilogue reads the valid columns. The sums are those of the product
that reads windows in place, term by term.

Image gradients of strided convolutions: a product for each remainder of the strides.

Elements of an image at one remainder have the same taps, and these read adjacent windows. So a
strip of the windows is copied once, with its border, and each remainder is a product of its taps
over the places of the strip. The results of the remainders along the last axis
are stored together, next to each other.

Convolutions whose product has only windows as columns: for small images and for strides.

In a strip that is copied once, every row of windows ends in a border, and the product computes
unused columns there: half of all columns for a 4 x 4 image. Here a strip is copied once for each
tap along the last axis, in the order in which that tap reads it. Rows then follow each other
without a border, and rows of several images are adjacent. Taps along an axis with a step > 1 have
copies, too. All copies of a channel are made from its strip with the border, which is copied first,
so that no tap needs bounds or steps. The sums are those of the product that reads windows in
place, term by term.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Final

from staticgrad.fusion.groups import ScratchBuffer
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr, Position
from staticgrad.ir.forms import WindowAxis, WindowProduct
from staticgrad.ir.graph import Node
from staticgrad.ir.kernels.stages import Ahead, Axis, Extent, Gemm, Loop, Map, Stage, Store
from staticgrad.lowering.operands import VECTOR, LoweredStep
from staticgrad.lowering.windows.places import AxisPlace, along, ends, place_of_part, read_along
from staticgrad.lowering.windows.products import WindowProducts, name_of
from staticgrad.records import dataclass
from staticgrad.types.arrays import c_strides, hint_value
from staticgrad.types.dim import Size, maximum, minimum
from staticgrad.types.dtype import DType

#: Elements of a strip and of its results, about: they stay in L2.
STRIP: Final = 3 << 15
#: Places of a strip along the only axis of an image, at least.
_LEAST: Final = 128
#: Desired iterations, columns of an iteration that are worth a border, and its rows.
_WANTED: Final = 4
_WORTH: Final = 256
_ROWS: Final = 16
#: The scratch: copies of strips, the strip of a channel, results of products.
PLANE, CHANNEL, RESULT = range(3)


@dataclass(frozen=True)
class Taps:
    """Taps along an axis: ``first`` + ``step`` * t of the filter, t below ``count``.

    They read the plane at the offset ``start`` + ``moved`` * t, in places.
    """

    count: Size
    first: int
    step: int
    start: Size
    moved: int


class WindowStrips(WindowProducts):
    """The state of lowering such a convolution, for its result or for its image."""

    def lowered(self) -> LoweredStep:
        """Return the kernel of the group: a copy, the product and the epilogue."""
        self.outer: list[Axis] = []
        self.read, self.filters = (self.groups.source(arg) for arg in self.anchor.args)
        self.first, self.second = self.read, self.filters
        out, inner = self._channels()
        self.n, self.g = self._batch(), self._group()
        axes = self.form.axes
        reaches = [self._reach(axis) for axis in axes]
        found = [self._extent(axis) for axis in axes]
        self.wide: list[Size] = [n + r for n, r in zip(found, reaches, strict=True)]
        self.apart = c_strides((1, *self.wide[1:]))
        self.strip = self._strip(found[0], out, inner)
        self.strips = self._fresh()
        self.outer.append(self.loop(self.strips, -(-found[0] // self.strip)))
        self.each, self.part = self._parts(out), ""
        if self.each != out:
            self.part = self._fresh()
            self.outer.append(self.loop(self.part, out // self.each))
        steps = [self.strip, *found[1:]]
        self.columns: Size = 1 + sum(
            (n - 1) * apart for n, apart in zip(steps, self.apart, strict=True)
        )
        lanes = self.read.type.dtype.compute.lanes
        self.panels = -(-self.columns // lanes) * lanes
        further = -(self.panels - self.columns) // maximum(self.apart[0], 1)  # 0: nothing is there
        self.high = self.strip + reaches[0] - further
        self.plane = self.high * self.apart[0]
        return self.finish((self._copied(inner), *self._made(out, inner, found)), self.outer)

    def _made(self, out: Size, inner: Size, found: Sequence[Size]) -> tuple[Stage, ...]:
        taps = [_taps_of(axis, self.over_windows) for axis in self.form.axes]
        return self._multiplied(out, inner, taps), self._followed(out, found)

    # -- sizes ------------------------------------------------------------------------------------

    @property
    def over_windows(self) -> bool:
        """True if the product reads the image and computes windows; else the reverse."""
        return self.form.result == "windows"

    def _channels(self) -> tuple[Size, Size]:
        filters = self.filters.type.shape
        mine, other = self._part(filters[0]), filters[1]
        return (mine, other) if self.over_windows else (other, mine)

    def _extent(self, axis: WindowAxis) -> Size:
        return axis.windows if self.over_windows else axis.image

    def _reach(self, axis: WindowAxis) -> Size:
        return axis.reach

    def _start(self, axis: WindowAxis) -> Size:
        return read_along(axis, self.over_windows)[0]

    def _strip(self, extent: Size, out: Size, inner: Size) -> int:
        each = max(hint_value(out), hint_value(inner), 1) * max(hint_value(self.apart[0]), 1)
        least = _LEAST if len(self.wide) == 1 else 1
        places = max(1, hint_value(extent))
        strips = -(-places // max(STRIP // each, least))
        more = -(-_WANTED // self._around)
        if places * hint_value(self.apart[0]) >= more * _WORTH:
            strips = max(strips, more)
        self.iterations = self._around * strips
        return -(-places // strips)

    @property
    def _around(self) -> int:
        return max(1, hint_value(self.read.type.shape[0])) * self.form.groups

    def _parts(self, out: Size) -> Size:
        """Return the channels of an iteration: a part of all if iterations would be too few."""
        if self.iterations >= _WANTED or not isinstance(out, int):
            return out
        enough = range(-(-_WANTED // self.iterations), _WANTED + 1)
        return next((out // parts for parts in enough if out % (parts * _ROWS) == 0), out)

    def _mine(self, loop: str, out: Size) -> AxisPlace:
        terms: list[tuple[str, Size]] = [(self.g, out)] if self.g else []
        terms += [(self.part, self.each)] if self.part else []
        return AxisPlace((*terms, (loop, 1)))

    # -- the stages -------------------------------------------------------------------------------

    def _scratch(
        self, number: int, strides: Sequence[tuple[str, Extent]], *more: Position
    ) -> Access:
        key = ScratchBuffer(self.anchor, number)
        dtype = self.read.type.dtype
        held = dtype.compute if number >= RESULT else dtype
        self.scratch[key] = self.operand(key, 0, held, "scratch")
        return Access(self.scratch[key], tuple(strides), (), more)

    def _copied(self, inner: Size) -> Stage:
        axes = self.form.axes
        names = [self._fresh() for _ in axes[1:]] + [VECTOR]
        c = self._fresh()
        wide = [self.high, *self.wide[1:]]
        places = [
            self._bordered(axis, name, size, axis is axes[0])
            for axis, name, size in zip(axes, names, wide, strict=True)
        ]
        value = self.element(self.read, (*along(self.n), self._channel(self.g, inner, c), *places))
        loops = [
            self.loop(c, inner),
            *(self.loop(name, size) for name, size in zip(names, wide, strict=True)),
        ]
        moved = [(c, self.argument(self.plane))]
        moved += [(n, self.argument(s)) for n, s in zip(names, self.apart, strict=True)]
        return Map(loops[-1], (self._kept(moved, value),), tuple(loops[:-1]), Ahead(c, 1))

    def _kept(self, moved: Sequence[tuple[str, Extent]], value: Expr) -> Store:
        return Store(self._scratch(PLANE, moved), value.cast(self.read.type.dtype))

    def _bordered(self, axis: WindowAxis, name: str, wide: Size, first: bool) -> AxisPlace:
        start = self._start(axis)
        extent = axis.image if self.over_windows else axis.windows
        terms: list[tuple[str, Size]] = [(name, 1)]
        high = start + wide - 1
        if first:
            terms.insert(0, (self.strips, self.strip))
            high = high + self.strip * (-(-self._extent(axis) // self.strip) - 1)
        return AxisPlace(tuple(terms), start, ends(start, high, extent))

    def _multiplied(
        self, out: Size, inner: Size, along_axes: Sequence[Taps], result: int = RESULT
    ) -> Gemm:
        c, *taps = self._inner([inner, *(each.count for each in along_axes)])
        channel = along(name_of(c))
        filters = [
            AxisPlace(((tap.name, each.step),) if tap else (), each.first)
            for tap, each in zip(taps, along_axes, strict=True)
        ]
        if self.over_windows:
            a = self._factor(self.filters, (self._mine("i", out), *channel, *filters))
        else:
            rows = self._channel(self.g, inner, name_of(c))
            mine = AxisPlace(
                tuple(term for term in self._mine("i", out).terms if term[0] != self.g)
            )
            a = self._factor(self.filters, (rows, mine, *filters))
        moved: list[tuple[str, Extent]] = [(VECTOR, 1)]
        moved += [(c.name, self.argument(self.plane))] if c else []
        start: Size = 0
        for n, (each, tap) in enumerate(zip(along_axes, taps, strict=True)):
            step, first = self._plane_move(n, each)
            if tap is not None:
                moved.append((tap.name, self.argument(step)))
            start = start + first
        positions = () if start == 0 else (Position((), self.argument(start)),)
        b = self._scratch(PLANE, moved, *positions)
        loops = tuple(loop for loop in (c, *taps) if loop is not None)
        value = ex.ref("acc", self.read.type.dtype.compute)
        to = self._scratch(result, [("i", self.argument(self.panels)), (VECTOR, 1)])
        i, j = self.loop("i", self.each), self.loop(VECTOR, self.panels)
        return Gemm((i,), (j,), loops, a, b, (Store(to, value),))

    def _plane_move(self, number: int, taps: Taps) -> tuple[Size, Size]:
        return taps.moved * self.apart[number], taps.start * self.apart[number]

    def _over_columns(
        self, i: str, names: Sequence[str], extents: Sequence[Size]
    ) -> tuple[list[Axis], list[tuple[str, Extent]], tuple[AxisPlace, ...]]:
        """Return loops over the rows and valid columns, axis by axis; their strides in a result;
        and the place of their image."""
        loops = [self.loop(name, n) for name, n in zip((i, *names), extents, strict=True)]
        moved = [(i, self.argument(self.panels))]
        moved += [(n, self.argument(s)) for n, s in zip(names, self.apart, strict=True)]
        return loops, moved, along(self.n)

    def _followed(self, out: Size, found: Sequence[Size]) -> Map:
        i, names = self._fresh(), [*(self._fresh() for _ in found[1:]), VECTOR]
        extents = [self.each, self.strip, *found[1:]]
        loops, moved, lead = self._over_columns(i, names, extents)
        dtype = self.read.type.dtype
        result: Expr = ex.load(self._scratch(RESULT, moved), dtype.compute).cast(dtype)
        first = place_of_part(self.strips, names[0], self.strip, found[0])
        self.places = (*lead, self._mine(i, out), first, *along(*names[1:]))
        return Map(loops[-1], tuple(self.stores(result)), tuple(loops[:-1]))


def _taps_of(axis: WindowAxis, over_windows: bool) -> Taps:
    """Return the taps of windows with step 1; over an element of the image in reverse order."""
    if over_windows:
        return Taps(axis.taps, 0, 1, 0, axis.dilation)
    return Taps(axis.taps, 0, 1, axis.reach, -axis.dilation)


#: Remainders that have products in one kernel, at most.
MOST_PHASES: Final = 9


def has_phases(form: WindowProduct) -> bool:
    """Return whether a product gives images whose taps differ for each of a few remainders."""
    steps = [axis.step for axis in form.axes]
    known = all(isinstance(n, int) for axis in form.axes for n in (axis.taps, axis.before))
    apart = all(axis.shared == 1 for axis in form.axes)
    return form.result == "image" and known and apart and 1 < prod(steps) <= MOST_PHASES


class WindowPhases(WindowStrips):
    """The state of lowering such a gradient; places of the plane are windows."""

    def _extent(self, axis: WindowAxis) -> Size:
        return -(-axis.image // axis.step)

    def _reach(self, axis: WindowAxis) -> Size:
        low, high = windows_read(axis)
        return high - low

    def _start(self, axis: WindowAxis) -> Size:
        return windows_read(axis)[0]

    def _strip(self, extent: Size, out: Size, inner: Size) -> int:
        return super()._strip(extent, out * self.form.axes[-1].step, inner)

    def _made(self, out: Size, inner: Size, found: Sequence[Size]) -> tuple[Stage, ...]:
        *axes, last = self.form.axes
        stages: list[Stage] = []
        for phases in product(*(range(axis.step) for axis in axes)):
            kept = []
            for phase in range(last.step):
                every = zip(self.form.axes, (*phases, phase), strict=True)
                taps = []
                for axis, remainder in every:
                    first, count, at = _lying(axis, remainder)
                    start = at - windows_read(axis)[0]
                    taps.append(Taps(count, first, axis.step, start, -axis.dilation))
                kept.append(all(each.count for each in taps))
                if kept[-1]:
                    stages.append(self._multiplied(out, inner, taps, RESULT + phase))
            stages.append(self._stored(out, found, phases, kept))
        return tuple(stages)

    def _stored(
        self, out: Size, found: Sequence[Size], phases: Sequence[int], kept: Sequence[bool]
    ) -> Map:
        i, names = self._fresh(), [*(self._fresh() for _ in found[1:]), VECTOR]
        extents = [self.each, self.strip, *found[1:]]
        loops, moved, lead = self._over_columns(i, names, extents)
        dtype, stores = self.read.type.dtype, list[Store]()
        for phase, is_kept in enumerate(kept):
            every = zip(self.form.axes, (*phases, phase), names, strict=True)
            places = [self._place(axis, r, name, n == 0) for n, (axis, r, name) in enumerate(every)]
            self.move_to((*lead, self._mine(i, out), *places))
            value: Expr = ex.literal(0, dtype.compute)
            if is_kept:
                value = ex.load(self._scratch(RESULT + phase, moved), dtype.compute)
            stores += self.stores(value.cast(dtype))
        return Map(loops[-1], tuple(stores), tuple(loops[:-1]))

    def _place(self, axis: WindowAxis, phase: int, name: str, first: bool) -> AxisPlace:
        terms: list[tuple[str, Size]] = [(name, axis.step)]
        extent = self._extent(axis)
        if first:
            terms.insert(0, (self.strips, self.strip * axis.step))
            extent = self.strip * (-(-extent // self.strip))
        high = phase + axis.step * (extent - 1)
        return AxisPlace(tuple(terms), phase, ends(phase, high, axis.image))


def _lying(axis: WindowAxis, phase: int) -> tuple[int, int, int]:
    # step * window + dilation * tap - before equals the remainder. Each further tap is ``step`` on,
    # and its window is ``dilation`` back.
    before, taps = int(axis.before), int(axis.taps)
    first = next(
        k for k in range(axis.step) if (phase + before - axis.dilation * k) % axis.step == 0
    )
    return (
        first,
        max(0, -(-(taps - first) // axis.step)),
        (phase + before - axis.dilation * first) // axis.step,
    )


def windows_read(axis: WindowAxis) -> tuple[int, int]:
    """Return the first and the last window that the elements from 0 to step - 1 read."""
    found = [_lying(axis, phase) for phase in range(axis.step)]
    read = [(at - axis.dilation * (count - 1), at) for _, count, at in found if count]
    return min(low for low, _ in read), max(high for _, high in read)


#: Elements of the copies of an iteration, about, and iterations that there should be.
_NEAR: Final = 2 * STRIP
_WANTED_COPIES: Final = 4
#: The cost of a vector of a copy from a channel's strip, in multiplications of vectors; and of a
#: vector of a strip that is copied once, with bounds checks.
_COPIED: Final = 14
_COPIED_ONCE: Final = 24
#: Channels of the result from which copies pay where windows have a step > 1.
_ROWS_COPIED: Final = 64
#: Taps along the last axis, at most: each has a store in one loop.
_MOST_COPIES: Final = 32


@dataclass(frozen=True)
class _Shape:
    """A convolution at likely sizes: images, extents of the result, reach of the taps along each
    axis, numbers of copies and of taps, channels in and out."""

    images: int
    found: tuple[int, ...]
    reaches: tuple[int, ...]
    copies: int
    taps: int
    inner: int
    out: int
    lanes: int

    def columns(self, rows: int, images: int = 1, between: int = 0) -> int:
        row = self._between * (self.found[-1] + between) * images
        return -(-(rows * row - between) // self.lanes) * self.lanes

    def elements(self, rows: int, images: int) -> int:
        high = rows + self.reaches[0]
        return self.copies * self.inner * self.columns(high, images)

    @property
    def cuts(self) -> Iterator[tuple[int, int]]:
        high = self.found[0]
        yield 1, 1
        for rows in range(2, high + 1):
            if self.elements(rows, 1) > _NEAR:
                break
            yield -(-high // -(-high // rows)), 1
        for images in range(2, self.images // _WANTED_COPIES + 1):
            if self.elements(high, images) > _NEAR:
                break
            yield high, images

    def cost(self, cut: tuple[int, int]) -> float:
        """Return the cost per image of copies for each tap, in multiplications of vectors."""
        rows, images = cut
        copied = self.copies * self._copied(rows, 0) * images * _COPIED
        return (self._product(self.columns(rows, images)) + copied) * self._strips(rows) / images

    @property
    def cut(self) -> tuple[int, int]:
        return min(self.cuts, key=lambda cut: (self.cost(cut), self.elements(*cut)))

    @property
    def cost_of_strips(self) -> float:
        """The cost per image of strips that are copied once."""
        reach = self.reaches[-1]
        each = max(self.inner, self.out) * (self.found[-1] + reach)
        rows = -(-self.found[0] // self._strips(max(STRIP // each, 1)))
        copied = self._copied(rows, reach) * _COPIED_ONCE
        return (self._product(self.columns(rows, 1, reach)) + copied) * self._strips(rows)

    def _strips(self, rows: int) -> int:
        return -(-self.found[0] // rows)

    def _product(self, columns: int) -> int:
        return columns // self.lanes * self.out * self.inner * self.taps

    def _copied(self, rows: int, further: int) -> int:
        vectors = -(-(self.found[-1] + further) // self.lanes)
        return self.inner * (rows + self.reaches[0]) * self._between * vectors

    @property
    def _between(self) -> int:
        return prod(n + r for n, r in zip(self.found[1:-1], self.reaches[1:-1], strict=True))


def _shape_of(node: Node) -> _Shape:
    form = node.form
    assert isinstance(form, WindowProduct)
    over_windows, phases = form.result == "windows", has_phases(form)
    filters = [max(1, hint_value(size)) for size in node.args[1].type.shape[:2]]
    filters[0] = -(-filters[0] // form.groups)
    out, inner = filters if over_windows else filters[::-1]
    found, reaches, copies = [], [], 1
    for number, axis in enumerate(form.axes):
        extent = axis.windows if over_windows else -(-axis.image // axis.step)
        found.append(max(1, hint_value(extent)))
        low, high = windows_read(axis) if phases else (0, axis.reach)
        is_last = number == len(form.axes) - 1
        has_copies = is_last or (over_windows and axis.step > 1)
        reaches.append(0 if has_copies and not is_last else hint_value(high - low))
        if has_copies:
            copies *= hint_value(high - low + 1 if phases else axis.taps)
    dtype = node.types[0].dtype.compute
    images = max(1, hint_value(node.args[0].type.shape[0]))
    taps = max(1, prod(hint_value(axis.taps) for axis in form.axes))
    return _Shape(images, tuple(found), tuple(reaches), copies, taps, inner, out, dtype.lanes)


def by_columns(node: Node) -> type[WindowColumns] | None:
    """Return how a convolution is lowered by copies for each tap; None if it does not pay."""
    form = node.form
    assert isinstance(form, WindowProduct)
    taps = [axis.taps for axis in form.axes]
    if form.result == "filter" or len(taps) < 2 or all(count == 1 for count in taps):
        return None
    if not isinstance(taps[-1], int) or taps[-1] > _MOST_COPIES:
        return None
    phases = has_phases(form)
    strips = form.lies_in_strips or phases
    if form.result == "image" and not strips:
        return None
    shape = _shape_of(node)
    pays = shape.cost(shape.cut) < shape.cost_of_strips if strips else shape.out >= _ROWS_COPIED
    if not pays:
        return None
    return WindowPhaseColumns if phases else WindowColumns


class WindowColumns(WindowStrips):
    """The state of lowering such a convolution, for its result or for its image."""

    def lowered(self) -> LoweredStep:
        self.outer: list[Axis] = []
        self.read, self.filters = (self.groups.source(arg) for arg in self.anchor.args)
        self.first, self.second = self.read, self.filters
        out, inner = self._channels()
        found = [self._extent(axis) for axis in self.form.axes]
        self.strip, self.images = _shape_of(self.anchor).cut
        batch = self.group.domain[0]
        self.there = minimum(self.images, batch)
        self.n, self.strips = "i0", "i1"
        self.outer.append(self.loop(self.n, -(-batch // self.images)))
        self.outer.append(self.loop(self.strips, -(-found[0] // self.strip)))
        self.g = self._group()
        strips = -(-max(1, hint_value(found[0])) // self.strip)
        around = -(-max(1, hint_value(batch)) // self.images)
        self.iterations = around * strips * self.form.groups
        self.each, self.part = self._parts(out), ""
        if self.each != out:
            self.part = self._fresh()
            self.outer.append(self.loop(self.part, out // self.each))
        between = [n + self._shared_reach(k) for k, n in enumerate(found)][1:]
        strides = c_strides((1, self.there, *between))
        self.apart, self.beside = (strides[0], *strides[2:]), strides[1]
        extents = [self.strip, *found[1:]]
        columns: Size = 1 + (self.there - 1) * self.beside
        columns = columns + sum((n - 1) * s for n, s in zip(extents, self.apart, strict=True))
        lanes = self.read.type.dtype.compute.lanes
        self.panels = -(-columns // lanes) * lanes
        further = -(self.panels - columns) // maximum(self.apart[0], 1)  # 0: nothing is there
        self.high = self.strip + self._shared_reach(0) - further
        self.plane = self.high * self.apart[0]
        self.wide = [self.high, *between]
        self.whole = inner * self.plane
        return self.finish((self._copied(inner), *self._made(out, inner, found)), self.outer)

    def _has_copies(self, number: int) -> bool:
        axes = self.form.axes
        return number == len(axes) - 1 or (self.over_windows and axes[number].step > 1)

    def _copies(self, axis: WindowAxis) -> tuple[Size, int, Size, int]:
        """Return the number of copies along an axis, the offset from one to the next, the index of
        the first place of the first one, and the step from place to place."""
        if self.over_windows:
            return axis.taps, axis.dilation, -axis.before, axis.step
        return axis.taps, -axis.dilation, axis.before, 1

    def _shared_reach(self, number: int) -> Size:
        return 0 if self._has_copies(number) else self._reach(self.form.axes[number])

    def _image_of(self, loop: str) -> AxisPlace:
        return place_of_part(self.n, loop, self.images, self.group.domain[0])

    def _copy_strides(self) -> list[Size]:
        found: list[Size] = []
        further = self.whole
        for number in reversed(range(len(self.form.axes))):
            found.insert(0, further)
            if self._has_copies(number):
                further = further * self._copies(self.form.axes[number])[0]
        return found

    # -- the stages -------------------------------------------------------------------------------

    def _copied(self, inner: Size) -> Loop:
        # The strip of a channel is copied first, with the border, and split along the last axis by
        # remainders of the step. Taps then read adjacent elements of it, without bounds.
        c = self._fresh()
        return Loop(self.loop(c, inner), (), (self._bordered_strip(inner, c), self._spread(c)), ())

    def _bordered_strip(self, inner: Size, c: str) -> Map:
        *axes, last = self.form.axes
        image, rows = self._fresh(), [self._fresh() for _ in axes]
        places = [self._row_of_strip(k, row) for k, row in enumerate(rows)]
        lead = (self._image_of(image), self._channel(self.g, inner, c))
        beside, *apart = self._strip_strides()
        moved = [(image, beside), *zip(rows, apart, strict=False), (VECTOR, 1)]
        _, _, start, step = self._copies(last)
        start, stores = start - self._before(last), list[Store]()
        extent = last.image if self.over_windows else last.windows
        for remainder in range(step):
            at, high = start + remainder, start + remainder + step * (self._strip_row - 1)
            place = AxisPlace(((VECTOR, step),), at, ends(at, high, extent))
            value = self.element(self.read, (*lead, *places, place)).cast(self.read.type.dtype)
            to = self._in_strip(moved, remainder * self._strip_row)
            stores.append(Store(to, value))
        loops = [self.loop(image, self.there)]
        loops += [self.loop(row, self._strip_rows(k)) for k, row in enumerate(rows)]
        return Map(self.loop(VECTOR, self._strip_row), tuple(stores), tuple(loops))

    def _spread(self, c: str) -> Map:
        *axes, last = self.form.axes
        image, rows = self._fresh(), [self._fresh() for _ in axes]
        copies = [self._fresh() if self._has_copies(k) else "" for k in range(len(axes))]
        beside, *apart = self._strip_strides()
        read: list[tuple[str, Size]] = [(image, beside), (VECTOR, 1)]
        loops = []
        for axis, row, copy, by in zip(axes, rows, copies, apart, strict=False):
            count, further, _, step = self._copies(axis)
            read.append((row, by * (step if copy else 1)))
            if copy:
                read.append((copy, by * further))
                loops.append(self.loop(copy, count, taps=True))
        extents = [(image, self.there), *zip(rows, self.wide[:-1], strict=True)]
        loops += [self.loop(name, size) for name, size in extents]
        *between, beyond = self._copy_strides()
        moved = [*zip(copies, between, strict=True), *zip((*rows, VECTOR), self.apart, strict=True)]
        moved += [(c, self.plane), (image, self.beside)]
        strides = [(name, self.argument(step)) for name, step in moved if name]
        count, further, _, step = self._copies(last)
        stores = []
        for tap in range(int(count)):
            shift, remainder = divmod(further * tap + self._before(last), step)
            value = ex.load(self._in_strip(read, remainder * self._strip_row + shift), self._held)
            stores.append(Store(self._scratch(PLANE, strides, *self._at(tap * beyond)), value))
        return Map(self.loop(VECTOR, self.wide[-1]), tuple(stores), tuple(loops))

    @property
    def _held(self) -> DType:
        return self.read.type.dtype

    def _before(self, axis: WindowAxis) -> int:
        """Return how far the last copy of an axis begins before the first one; 0 if it does not."""
        count, apart, _, _ = self._copies(axis)
        return max(-apart, 0) * (int(count) - 1)

    @property
    def _strip_row(self) -> Size:
        count, apart, _, step = self._copies(self.form.axes[-1])
        return self.wide[-1] + abs(apart) * (int(count) - 1) // step

    def _strip_rows(self, number: int) -> Size:
        """Return the number of places of the strip along an axis but the last."""
        count, apart, _, step = self._copies(self.form.axes[number])
        if not self._has_copies(number):
            return self.wide[number]
        return step * (self.wide[number] - 1) + apart * (count - 1) + 1

    def _strip_strides(self) -> Sequence[Size]:
        rows = [self._strip_rows(number) for number in range(len(self.form.axes) - 1)]
        row = self._copies(self.form.axes[-1])[3] * self._strip_row
        return c_strides((1, *rows, row))

    def _in_strip(self, moved: Sequence[tuple[str, Size]], start: Size) -> Access:
        strides = [(name, self.stride(name, step)) for name, step in moved]
        return self._scratch(CHANNEL, strides, *self._at(start))

    def _at(self, start: Size) -> tuple[Position, ...]:
        return () if start == 0 else (Position((), self.argument(start)),)

    def _row_of_strip(self, number: int, row: str) -> AxisPlace:
        """Return the index at which a row of the strip is read, along an axis but the last."""
        axis = self.form.axes[number]
        _, _, start, step = self._copies(axis)
        if not self._has_copies(number):
            start, step = self._start(axis), 1
        terms: list[tuple[str, Size]] = [(row, 1)]
        high = start + self._strip_rows(number) - 1
        if number == 0:
            terms.insert(0, (self.strips, self.strip * step))
            high = high + self.strip * step * (-(-self._extent(axis) // self.strip) - 1)
        extent = axis.image if self.over_windows else axis.windows
        return AxisPlace(tuple(terms), start, ends(start, high, extent))

    def _plane_move(self, number: int, taps: Taps) -> tuple[Size, Size]:
        if self._has_copies(number):
            return self._copy_strides()[number], 0
        return super()._plane_move(number, taps)

    def _over_columns(
        self, i: str, names: Sequence[str], extents: Sequence[Size]
    ) -> tuple[list[Axis], list[tuple[str, Extent]], tuple[AxisPlace, ...]]:
        image = self._fresh()
        loops, moved, _ = super()._over_columns(i, names, extents)
        loops.insert(2, self.loop(image, self.there))
        return loops, [*moved, (image, self.argument(self.beside))], (self._image_of(image),)


class WindowPhaseColumns(WindowColumns, WindowPhases):
    """Copies for the image gradient of a strided convolution: one for each window that taps
    read."""

    def _copies(self, axis: WindowAxis) -> tuple[Size, int, Size, int]:
        return self._reach(axis) + 1, 1, self._start(axis), 1

    def _plane_move(self, number: int, taps: Taps) -> tuple[Size, Size]:
        if self._has_copies(number):
            apart = self._copy_strides()[number]
            return taps.moved * apart, taps.start * apart
        return super()._plane_move(number, taps)
