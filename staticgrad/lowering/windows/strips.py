"""Convolutions and image gradients: a strip of the operand is copied once, and products follow.

An iteration copies a strip of some channels into scratch, with its border. There every tap has a
fixed offset from its place in every row. So the columns of the product are all consecutive places
of the strip, with those between rows and enough to fill a panel, and nothing is packed. The results
are stored in scratch, too, from which the epilogue reads the valid columns. The sums are those of
the product that reads windows in place, term by term.

The image gradient of a strided convolution is a product for each remainder of the strides: elements
of an image at one remainder have the same taps, and these read adjacent windows. The results of the
remainders along the last axis are stored together, next to each other.

In a strip that is copied once, every row ends in a border, and the product computes unused columns
there: half of all columns for a 4 x 4 image. For small images and for strides a strip is copied
once for each tap along the last axis (im2col), in the order in which that tap reads it. Rows then
follow each other without a border, and rows of several images are adjacent. Taps along an axis with
a step > 1 have copies, too. All copies of a channel are made from its strip with the border, which
is copied first, so that no tap needs bounds or steps.
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
from staticgrad.ir.kernels.directives import Prefetch
from staticgrad.ir.kernels.stages import Axis, Gemm, Loop, Map, Stage, Store
from staticgrad.lowering.operands import VECTOR, LoweredStep
from staticgrad.lowering.windows.places import AxisPlace, along, ends, place_of_part
from staticgrad.lowering.windows.products import WindowProducts, name_of
from staticgrad.records import dataclass
from staticgrad.types.arrays import c_strides, hint_value
from staticgrad.types.dim import Size, maximum, minimum

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
#: Remainders that have products in one kernel, at most.
MOST_PHASES: Final = 9
#: Elements of the copies of an iteration, about.
_NEAR: Final = 2 * STRIP
#: The cost of a vector of a copy from a channel's strip, in multiplications of vectors; and of a
#: vector of a strip that is copied once, with bounds checks.
_COPIED: Final = 14
_COPIED_ONCE: Final = 24
#: Channels of the result from which copies pay where windows have a step > 1.
_ROWS_COPIED: Final = 64
#: Copies along the last axis, at most: each has a store in one loop.
_MOST_COPIES: Final = 32


@dataclass(frozen=True)
class Taps:
    """Taps along an axis: ``first`` + ``step`` * t of the filter, t below ``count``.

    They read the strip, or a copy of it, at ``start`` + ``moved`` * t.
    """

    count: Size
    first: int
    step: int
    start: Size
    moved: int


@dataclass(frozen=True)
class StripAxis:
    """An axis along which a strip is read, and results are computed.

    Results are at ``phase`` + ``step`` * q of ``every``, for q below ``found`` and each phase below
    ``step``. The strip is read from ``start`` on, ``reach`` places more than results, of ``given``.
    There may be ``copies`` of it, each ``apart`` further, whose places are ``stride`` apart.
    """

    of: WindowAxis
    over_windows: bool

    @property
    def step(self) -> int:
        return 1 if self.over_windows else self.of.step

    @property
    def every(self) -> Size:
        return self.of.windows if self.over_windows else self.of.image

    @property
    def given(self) -> Size:
        return self.of.image if self.over_windows else self.of.windows

    @property
    def found(self) -> Size:
        return -(-self.every // self.step)

    @property
    def start(self) -> Size:
        return -self.of.before if self.over_windows else self._windows_read[0]

    @property
    def reach(self) -> Size:
        if self.over_windows:
            return self.of.reach
        low, high = self._windows_read
        return high - low

    @property
    def copies(self) -> Size:
        return self.of.taps if self.over_windows else self.reach + 1

    @property
    def apart(self) -> int:
        return self.of.dilation if self.over_windows else 1

    @property
    def stride(self) -> int:
        return self.of.step if self.over_windows else 1

    @property
    def _windows_read(self) -> tuple[Size, Size]:
        """The first and the last window that the elements from 0 to step - 1 read."""
        read = [self._lying(phase) for phase in range(self.of.step)]
        low = [at - self.of.dilation * (count - 1) for _, count, at in read if count != 0]
        high = [at for _, count, at in read if count != 0]
        return (low[0], high[0]) if self.of.step == 1 else (min(map(int, low)), max(map(int, high)))

    def _lying(self, phase: int) -> tuple[int, Size, Size]:
        """The first tap at a phase, their number, and the window of the first.

        step * window + dilation * tap - before equals the phase. Each further tap is ``step`` on,
        and its window is ``dilation`` back.
        """
        axis = self.of
        if axis.step == 1:
            return 0, axis.taps, axis.before
        before, taps, step = int(axis.before), int(axis.taps), axis.step
        first = next(k for k in range(step) if (phase + before - axis.dilation * k) % step == 0)
        at = (phase + before - axis.dilation * first) // step
        return first, max(0, -(-(taps - first) // step)), at

    def taps(self, phase: int, copied: bool) -> Taps:
        """Return the taps of the results at a phase; ``copied``: each reads a copy."""
        if self.over_windows:
            return Taps(self.of.taps, 0, 1, 0, 1 if copied else self.of.dilation)
        first, count, at = self._lying(phase)
        return Taps(count, first, self.of.step, at - self.start, -self.of.dilation)


def has_phases(form: WindowProduct) -> bool:
    """Return whether a product gives images whose taps differ for each of a few remainders."""
    steps = [axis.step for axis in form.axes]
    known = all(isinstance(n, int) for axis in form.axes for n in (axis.taps, axis.before))
    apart = all(axis.shared == 1 for axis in form.axes)
    return form.result == "image" and known and apart and 1 < prod(steps) <= MOST_PHASES


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
        for images in range(2, self.images // _WANTED + 1):
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
    over_windows = form.result == "windows"
    filters = [max(1, hint_value(size)) for size in node.args[1].type.shape[:2]]
    filters[0] = -(-filters[0] // form.groups)
    out, inner = filters if over_windows else filters[::-1]
    axes = [StripAxis(axis, over_windows) for axis in form.axes]
    found = tuple(max(1, hint_value(axis.found)) for axis in axes)
    *before, last = axes
    reaches = [0 if axis.stride > 1 else hint_value(axis.reach) for axis in before]
    copies = prod(hint_value(axis.copies) for axis in axes if axis is last or axis.stride > 1)
    dtype = node.types[0].dtype.compute
    images = max(1, hint_value(node.args[0].type.shape[0]))
    taps = max(1, prod(hint_value(axis.taps) for axis in form.axes))
    reach = (*reaches, hint_value(last.reach))
    return _Shape(images, found, reach, copies, taps, inner, out, dtype.lanes)


def by_columns(node: Node) -> bool:
    """Return whether a convolution is lowered by copies for each tap."""
    form = node.form
    assert isinstance(form, WindowProduct)
    strips = form.lies_in_strips or has_phases(form)
    single = len(form.axes) < 2 or all(axis.taps == 1 for axis in form.axes)
    if form.result == "filter" or single or (form.result == "image" and not strips):
        return False
    copies = StripAxis(form.axes[-1], form.result == "windows").copies
    if not isinstance(copies, int) or copies > _MOST_COPIES:
        return False
    shape = _shape_of(node)
    return shape.cost(shape.cut) < shape.cost_of_strips if strips else shape.out >= _ROWS_COPIED


class WindowStrips(WindowProducts):
    """The state of lowering such a convolution, for its result or for its image."""

    #: Whether a strip has copies for the taps of some axes.
    copies = False

    def lowered(self) -> LoweredStep:
        """Return the kernel of the group: copies, products and the epilogue."""
        self.outer: list[Axis] = []
        self.read, self.filters = (self.groups.source(arg) for arg in self.anchor.args)
        self.first, self.second = self.read, self.filters
        self.over_windows = self.form.result == "windows"
        self.axes = [StripAxis(axis, self.over_windows) for axis in self.form.axes]
        filters, batch = self.filters.type.shape, self.group.domain[0]
        out, inner = self._part(filters[0]), filters[1]
        out, inner = (out, inner) if self.over_windows else (inner, out)
        self.strip, self.images = self._cut(out, inner)
        self.there = minimum(self.images, batch) if self.images > 1 else 1
        first = self.axes[0].found
        self.n, self.strips = "i0", "i1"
        self.outer.append(self.loop(self.n, -(-batch // self.images)))
        self.outer.append(self.loop(self.strips, -(-first // self.strip)))
        self.g = self._group()
        self.each, self.part = self._parts(out), ""
        if self.each != out:
            self.part = self._fresh()
            self.outer.append(self.loop(self.part, out // self.each))
        reaches = [0 if self._has_copies(k) else axis.reach for k, axis in enumerate(self.axes)]
        between = [axis.found + r for axis, r in zip(self.axes, reaches, strict=True)][1:]
        strides = c_strides((1, self.there, *between))
        self.apart, self.beside = (strides[0], *strides[2:]), strides[1]
        self.extents = [self.strip, *(axis.found for axis in self.axes[1:])]
        columns: Size = 1 + (self.there - 1) * self.beside
        columns = columns + sum((n - 1) * s for n, s in zip(self.extents, self.apart, strict=True))
        lanes = self.read.type.dtype.compute.lanes
        self.panels = -(-columns // lanes) * lanes
        further = -(self.panels - columns) // maximum(self.apart[0], 1)  # 0: nothing is there
        self.high = self.strip + reaches[0] - further
        self.plane = self.high * self.apart[0]
        self.wide = [self.high, *between]
        self.whole = inner * self.plane
        self.image = self._fresh() if self.images > 1 else ""
        return self.finish((self._copied(inner), *self._made(out, inner)), self.outer)

    # -- sizes ------------------------------------------------------------------------------------

    def _has_copies(self, number: int) -> bool:
        last = number == len(self.axes) - 1
        return self.copies and (last or self.axes[number].stride > 1)

    def _cut(self, out: Size, inner: Size) -> tuple[int, int]:
        """Return the rows of a strip and the images of an iteration."""
        if self.copies:
            return _shape_of(self.anchor).cut
        axes, batch = self.axes, max(1, hint_value(self.read.type.shape[0]))
        row = prod(hint_value(axis.found) + hint_value(axis.reach) for axis in axes[1:])
        channels = max(hint_value(out) * axes[-1].step, hint_value(inner), 1)
        least = _LEAST if len(axes) == 1 else 1
        places = max(1, hint_value(axes[0].found))
        strips = -(-places // max(STRIP // (channels * max(row, 1)), least))
        more = -(-_WANTED // (batch * self.form.groups))
        if places * row >= more * _WORTH:
            strips = max(strips, more)
        return -(-places // strips), 1

    def _parts(self, out: Size) -> Size:
        """Return the channels of an iteration: a part of all if iterations would be too few."""
        strips = -(-max(1, hint_value(self.axes[0].found)) // self.strip)
        around = -(-max(1, hint_value(self.group.domain[0])) // self.images)
        iterations = around * strips * self.form.groups
        if iterations >= _WANTED or not isinstance(out, int):
            return out
        enough = range(-(-_WANTED // iterations), _WANTED + 1)
        return next((out // parts for parts in enough if out % (parts * _ROWS) == 0), out)

    def _mine(self, loop: str, out: Size, group: bool = True) -> AxisPlace:
        terms: list[tuple[str, Size]] = [(self.g, out)] if self.g and group else []
        terms += [(self.part, self.each)] if self.part else []
        return AxisPlace((*terms, (loop, 1)))

    def _image_of(self, loop: str) -> AxisPlace:
        if not loop:
            return AxisPlace(((self.n, 1),))
        return place_of_part(self.n, loop, self.images, self.group.domain[0])

    def _of_images(self, loop: str) -> list[Axis]:
        """Return the loop over the images of an iteration, if there are several."""
        return [self.loop(loop, self.there)] if loop else []

    def _scratch(
        self, number: int, moved: Sequence[tuple[str, Size]], start: Size = 0, *more: Position
    ) -> Access:
        key = ScratchBuffer(self.anchor, number)
        dtype = self.read.type.dtype
        held = dtype.compute if number >= RESULT else dtype
        self.scratch[key] = self.operand(key, 0, held, "scratch")
        strides = tuple((name, self.stride(name, step)) for name, step in moved if name)
        places = () if start == 0 else (Position((), self.argument(start)),)
        return Access(self.scratch[key], strides, (), (*more, *places))

    # -- copies -----------------------------------------------------------------------------------

    def _copied(self, inner: Size) -> Stage:
        """Return the copy of a strip, or of each channel's strip and then its copies for taps."""
        c, names = self._fresh(), [*(self._fresh() for _ in self.axes[1:]), VECTOR]
        if self.copies:
            stages = (self._bordered_strip(inner, c), self._spread(c))
            return Loop(self.loop(c, inner), (), stages, ())
        places = [self._read_place(k, name) for k, name in enumerate(names)]
        lead = (self._image_of(""), self._channel(self.g, inner, c))
        value = self.element(self.read, (*lead, *places)).cast(self.read.type.dtype)
        store = Store(self._scratch(PLANE, [(c, self.plane), *self._moved(names)]), value)
        rows = [self.loop(name, size) for name, size in zip(names, self.wide, strict=True)]
        return Map(rows[-1], (store,), (self.loop(c, inner), *rows[:-1]), Prefetch(c, 1))

    def _moved(self, names: Sequence[str]) -> list[tuple[str, Size]]:
        return [*zip(names, self.apart, strict=True)]

    def _read_place(self, number: int, name: str) -> AxisPlace:
        """Return the index at which places of the strip along an axis are read."""
        axis = self.axes[number]
        step = axis.stride if self._has_copies(number) else 1
        terms: list[tuple[str, Size]] = [(name, 1)]
        high = axis.start + self._strip_rows(number) - 1
        if number == 0:
            terms.insert(0, (self.strips, self.strip * step))
            high = high + self.strip * step * (-(-axis.found // self.strip) - 1)
        return AxisPlace(tuple(terms), axis.start, ends(axis.start, high, axis.given))

    def _bordered_strip(self, inner: Size, c: str) -> Map:
        *axes, last = self.axes
        image, rows = self.image and self._fresh(), [self._fresh() for _ in axes]
        places = [self._read_place(k, row) for k, row in enumerate(rows)]
        lead = (self._image_of(image), self._channel(self.g, inner, c))
        beside, *apart = self._strip_strides()
        moved = [(image, beside), *zip(rows, apart, strict=False), (VECTOR, 1)]
        stores = list[Store]()
        for remainder in range(last.stride):
            at = last.start + remainder
            high = at + last.stride * (self._strip_row - 1)
            place = AxisPlace(((VECTOR, last.stride),), at, ends(at, high, last.given))
            value = self.element(self.read, (*lead, *places, place)).cast(self.read.type.dtype)
            to = self._scratch(CHANNEL, moved, remainder * self._strip_row)
            stores.append(Store(to, value))
        loops = self._of_images(image)
        loops += [self.loop(row, self._strip_rows(k)) for k, row in enumerate(rows)]
        return Map(self.loop(VECTOR, self._strip_row), tuple(stores), tuple(loops))

    def _spread(self, c: str) -> Map:
        *axes, last = self.axes
        image, rows = self.image and self._fresh(), [self._fresh() for _ in axes]
        copies = [self._fresh() if self._has_copies(k) else "" for k in range(len(axes))]
        beside, *apart = self._strip_strides()
        read: list[tuple[str, Size]] = [(image, beside), (VECTOR, 1)]
        loops = []
        for axis, row, copy, by in zip(axes, rows, copies, apart, strict=False):
            read.append((row, by * (axis.stride if copy else 1)))
            if copy:
                read.append((copy, by * axis.apart))
                loops.append(self.loop(copy, axis.copies, taps=True))
        loops += self._of_images(image)
        loops += [self.loop(row, size) for row, size in zip(rows, self.wide, strict=False)]
        *between, beyond = self._copy_strides()
        moved = [*zip(copies, between, strict=True), *self._moved((*rows, VECTOR))]
        moved += [(c, self.plane), (image, self.beside)]
        stores = []
        for tap in range(int(last.copies)):
            shift, remainder = divmod(last.apart * tap, last.stride)
            taken = self._scratch(CHANNEL, read, remainder * self._strip_row + shift)
            value = ex.load(taken, self.read.type.dtype)
            stores.append(Store(self._scratch(PLANE, moved, tap * beyond), value))
        return Map(self.loop(VECTOR, self.wide[-1]), tuple(stores), tuple(loops))

    def _copy_strides(self) -> list[Size]:
        """Return the stride from copy to copy along each axis."""
        found: list[Size] = []
        further = self.whole
        for number in reversed(range(len(self.axes))):
            found.insert(0, further)
            if self._has_copies(number):
                further = further * self.axes[number].copies
        return found

    @property
    def _strip_row(self) -> Size:
        last = self.axes[-1]
        return self.wide[-1] + last.apart * (int(last.copies) - 1) // last.stride

    def _strip_rows(self, number: int) -> Size:
        """Return the number of places of the strip along an axis."""
        axis = self.axes[number]
        if not self._has_copies(number):
            return self.wide[number]
        return axis.stride * (self.wide[number] - 1) + axis.apart * (axis.copies - 1) + 1

    def _strip_strides(self) -> Sequence[Size]:
        rows = [self._strip_rows(number) for number in range(len(self.axes) - 1)]
        return c_strides((1, *rows, self.axes[-1].stride * self._strip_row))

    # -- products ---------------------------------------------------------------------------------

    def _made(self, out: Size, inner: Size) -> Sequence[Stage]:
        """Return the products of each phase, with the epilogue after those of the last axis."""
        stages: list[Stage] = []
        for phases in product(*(range(axis.step) for axis in self.axes[:-1])):
            kept = []
            for phase in range(self.axes[-1].step):
                every = enumerate(zip(self.axes, (*phases, phase), strict=True))
                taps = [axis.taps(each, self._has_copies(k)) for k, (axis, each) in every]
                kept.append(all(each.count != 0 for each in taps))
                if kept[-1]:
                    stages.append(self._multiplied(out, inner, taps, RESULT + phase))
            stages.append(self._followed(out, phases, kept))
        return stages

    def _multiplied(self, out: Size, inner: Size, along_axes: Sequence[Taps], result: int) -> Gemm:
        c, *taps = self._inner([inner, *(each.count for each in along_axes)])
        filters = [
            AxisPlace(((tap.name, each.step),) if tap else (), each.first)
            for tap, each in zip(taps, along_axes, strict=True)
        ]
        if self.over_windows:
            channels = (self._mine("i", out), *along(name_of(c)))
        else:
            rows = self._channel(self.g, inner, name_of(c))
            channels = (rows, self._mine("i", out, group=False))
        a = self._factor(self.filters, (*channels, *filters))
        moved: list[tuple[str, Size]] = [(VECTOR, 1), (name_of(c), self.plane)]
        start: Size = 0
        copies = self._copy_strides()
        for n, (each, tap) in enumerate(zip(along_axes, taps, strict=True)):
            apart = copies[n] if self._has_copies(n) else self.apart[n]
            moved.append((name_of(tap), each.moved * apart))
            start = start + each.start * apart
        b = self._scratch(PLANE, moved, start)
        loops = tuple(loop for loop in (c, *taps) if loop is not None)
        value = ex.ref("acc", self.read.type.dtype.compute)
        to = self._scratch(result, [("i", self.panels), (VECTOR, 1)])
        i, j = self.loop("i", self.each), self.loop(VECTOR, self.panels)
        return Gemm((i,), (j,), loops, a, b, (Store(to, value),))

    def _followed(self, out: Size, phases: Sequence[int], kept: Sequence[bool]) -> Map:
        """Return the epilogue of the valid columns; 0 for the phases that no tap reaches."""
        i, names = self._fresh(), [*(self._fresh() for _ in self.axes[1:]), VECTOR]
        loops = [
            self.loop(name, n)
            for name, n in zip((i, *names), (self.each, *self.extents), strict=True)
        ]
        image = self.image and self._fresh()
        loops[2:2] = self._of_images(image)
        moved = [(i, self.panels), *self._moved(names), (image, self.beside)]
        dtype, stores = self.read.type.dtype, list[Store]()
        for phase, is_kept in enumerate(kept):
            places = [
                self._result_place(k, each, name)
                for k, (each, name) in enumerate(zip((*phases, phase), names, strict=True))
            ]
            self.move_to((self._image_of(image), self._mine(i, out), *places))
            value: Expr = ex.literal(0, dtype.compute)
            if is_kept:
                value = ex.load(self._scratch(RESULT + phase, moved), dtype.compute)
            stores += self.stores(value.cast(dtype))
        return Map(loops[-1], tuple(stores), tuple(loops[:-1]))

    def _result_place(self, number: int, phase: int, name: str) -> AxisPlace:
        axis = self.axes[number]
        terms: list[tuple[str, Size]] = [(name, axis.step)]
        extent = axis.found
        if number == 0:
            terms.insert(0, (self.strips, self.strip * axis.step))
            extent = self.strip * (-(-extent // self.strip))
        return AxisPlace(
            tuple(terms), phase, ends(phase, phase + axis.step * (extent - 1), axis.every)
        )


class WindowColumns(WindowStrips):
    """The same with copies of the strips for taps, and images side by side."""

    copies = True
