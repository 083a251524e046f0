"""Convolutions whose columns are windows alone: those of small images, and of strides.

In a strip that is copied once every row of windows has a border behind it, and columns of the
product that nobody needs are computed for it: of an image of four by four, half of them. Here a
strip is copied once for each tap along the last axis, as that tap reads it. So rows follow each
other without a border, and those of several images stand side by side. Taps along an axis whose
windows do not lie next to each other have copies of their own, too. Sums are those of the product
that reads windows where they lie, term by term.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Final

from passes.lowering.operands import VECTOR, LoweredStep
from passes.lowering.windows.phases import WindowPhases, has_phases, windows_read
from passes.lowering.windows.places import AxisPlace, ends, image_place_among
from passes.lowering.windows.strips import STRIP, Taps, WindowStrips
from staticgrad.ir.forms import WindowAxis, WindowProduct
from staticgrad.ir.graph import Node
from staticgrad.ir.kernels.stages import Axis, Extent, Map
from staticgrad.records import dataclass
from staticgrad.types.dim import Size, maximum, minimum
from staticgrad.types.tensor import c_strides, hint_value

#: Elements of the copies of an iteration, about, and iterations that there should be.
_NEAR: Final = 2 * STRIP
_WANTED: Final = 4
#: Multiplications of vectors in the time in which a vector of a short row is copied, behind the
#: ends of an image or with steps; and one of a strip that is copied once.
_COPIED: Final = 50
_COPIED_ONCE: Final = 24
#: Channels of the result that make up for copies where windows do not lie next to each other.
_ROWS: Final = 64


@dataclass(frozen=True)
class _Shape:
    """A convolution at likely sizes: images, places along each axis of what is computed, how far
    the taps of each axis reach, how many have copies, and are; channels in and out."""

    images: int
    found: tuple[int, ...]
    reaches: tuple[int, ...]
    copies: int
    taps: int
    inner: int
    out: int
    lanes: int

    def columns(self, rows: int, images: int = 1, between: int = 0) -> int:
        """Columns of a strip of so many rows, with so many places behind each row."""
        row = self._between * (self.found[-1] + between) * images
        return -(-(rows * row - between) // self.lanes) * self.lanes

    def elements(self, rows: int, images: int) -> int:
        """Elements of the copies of an iteration."""
        high = rows + self.reaches[0]
        return self.copies * self.inner * self.columns(high, images)

    @property
    def cuts(self) -> Iterator[tuple[int, int]]:
        """Rows and images of an iteration, whose copies stay near."""
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
        """What an image takes by copies for each tap: multiplications of vectors."""
        rows, images = cut
        copied = self.copies * self._copied(rows, 0) * images * _COPIED
        return (self._product(self.columns(rows, images)) + copied) * self._strips(rows) / images

    @property
    def cut(self) -> tuple[int, int]:
        """The cheapest cut; of equal ones the one with the fewest copies."""
        return min(self.cuts, key=lambda cut: (self.cost(cut), self.elements(*cut)))

    @property
    def cost_of_strips(self) -> float:
        """What an image takes in strips that are copied once."""
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
        """Vectors of one copy of an image's strip."""
        vectors = -(-(self.found[-1] + further) // self.lanes)
        return self.inner * (rows + self.reaches[0]) * self._between * vectors

    @property
    def _between(self) -> int:
        """Places of the axes between the first and the last, with what taps reach."""
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
    """How a convolution is lowered by copies for each tap, where that pays."""
    form = node.form
    assert isinstance(form, WindowProduct)
    if form.result == "filter" or len(form.axes) < 2 or all(a.taps == 1 for a in form.axes):
        return None
    phases = has_phases(form)
    strips = form.lies_in_strips or phases
    if form.result == "image" and not strips:
        return None
    shape = _shape_of(node)
    pays = shape.cost(shape.cut) < shape.cost_of_strips if strips else shape.out >= _ROWS
    if not pays:
        return None
    return WindowPhaseColumns if phases else WindowColumns


class WindowColumns(WindowStrips):
    """The state of lowering such a product, for its result or for its image."""

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
        self._lay_out(found)
        self.whole = inner * self.plane
        return self.finish((self._copied(inner), *self._made(out, inner, found)), self.outer)

    def _lay_out(self, found: Sequence[Size]) -> None:
        """Rows of a copy, in each the images, and of those the places along all other axes."""
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

    def _has_copies(self, number: int) -> bool:
        """Whether taps along an axis have a copy each."""
        axes = self.form.axes
        return number == len(axes) - 1 or (self.over_windows and axes[number].step > 1)

    def _copies(self, axis: WindowAxis) -> tuple[Size, int, Size, int]:
        """Copies along an axis, how far from one to the next, where the first one reads its first
        place, and how far it is from place to place."""
        if self.over_windows:
            return axis.taps, axis.dilation, -axis.before, axis.step
        return axis.taps, -axis.dilation, axis.before, 1

    def _shared_reach(self, number: int) -> Size:
        """Places behind those that are computed, which the taps of a copy read."""
        return 0 if self._has_copies(number) else self._reach(self.form.axes[number])

    def _image_of(self, loop: str) -> AxisPlace:
        """The image at a loop over those of an iteration."""
        return image_place_among(self.n, loop, self.images, self.group.domain[0])

    def _copy_strides(self) -> list[Size]:
        """Elements from the copy of a tap to that of the next one, along each axis."""
        found: list[Size] = []
        further = self.whole
        for number in reversed(range(len(self.form.axes))):
            found.insert(0, further)
            if self._has_copies(number):
                further = further * self._copies(self.form.axes[number])[0]
        return found

    # -- the stages -------------------------------------------------------------------------------

    def _copied(self, inner: Size) -> Map:
        """What each tap reads of the strips of some images."""
        axes, c, image = self.form.axes, self._fresh(), self._fresh()
        names = [self._fresh() for _ in axes[1:]] + [VECTOR]
        copies = [self._fresh() if self._has_copies(k) else "" for k in range(len(axes))]
        every = enumerate(zip(names, copies, strict=True))
        places = [self._read_at(k, name, copy) for k, (name, copy) in every]
        channel = self._channel(self.g, inner, c)
        value = self.element(self.read, (self._image_of(image), channel, *places))
        counts = [self._copies(axis)[0] for axis in axes]
        loops = [
            self.loop(n, extent, taps=True) for n, extent in zip(copies, counts, strict=True) if n
        ]
        extents = [*zip(names, self.wide, strict=True)]
        extents.insert(1, (image, self.there))
        # Masks change along all others: they are made before the loop over channels.
        extents.insert(-1, (c, inner))
        loops += [self.loop(name, size) for name, size in extents]
        moved = [*zip(copies, self._copy_strides(), strict=True)]
        moved += [(c, self.plane), (image, self.beside), *zip(names, self.apart, strict=True)]
        strides = [(name, self.argument(step)) for name, step in moved if name]
        return Map(loops[-1], (self._kept(strides, value),), tuple(loops[:-1]))

    def _read_at(self, number: int, name: str, copy: str) -> AxisPlace:
        """Where a copy, or the only one, reads at a place along an axis."""
        axis = self.form.axes[number]
        count, apart, start, step = self._copies(axis)
        if not copy:
            start = self._start(axis)
        terms: list[tuple[str, Size]] = [(name, step)]
        last = self.wide[number] - 1
        if number == 0:
            terms.insert(0, (self.strips, self.strip * step))
            last = last + self.strip * (-(-self._extent(axis) // self.strip) - 1)
        low, high = start, start + step * last
        if copy:
            terms.append((copy, apart))
            further = apart * (count - 1)
            low, high = (low, high + further) if apart > 0 else (low + further, high)
        extent = axis.image if self.over_windows else axis.windows
        return AxisPlace(tuple(terms), start, ends(low, high, extent))

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
    """The same of images by what was computed from every s-th window; copies are as far apart as
    the windows that taps read."""

    def _copies(self, axis: WindowAxis) -> tuple[Size, int, Size, int]:
        return self._reach(axis) + 1, 1, self._start(axis), 1

    def _plane_move(self, number: int, taps: Taps) -> tuple[Size, Size]:
        if self._has_copies(number):
            apart = self._copy_strides()[number]
            return taps.moved * apart, taps.start * apart
        return super()._plane_move(number, taps)
