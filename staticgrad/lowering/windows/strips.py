"""Convolutions whose windows lie next to each other: a strip of the image with its border, once.

An iteration copies its strip into scratch, border and all. There every tap is one distance from
the window, whatever the row: so the columns of the product are the strip's places in a row, those
between rows included and as many more as fill a panel, and nothing is packed for it. The results
pass through scratch, too, where what follows finds the columns that count. Sums are those of the
product that reads windows where they lie, term by term.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from staticgrad.fusion.groups import ScratchBuffer
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr, Position
from staticgrad.ir.forms import WindowAxis
from staticgrad.ir.kernels.stages import Ahead, Axis, Extent, Gemm, Map, Stage, Store
from staticgrad.lowering.operands import VECTOR, LoweredStep
from staticgrad.lowering.windows.places import AxisPlace, along, ends
from staticgrad.lowering.windows.products import WindowProducts, name_of
from staticgrad.records import dataclass
from staticgrad.types.arrays import c_strides, hint_value
from staticgrad.types.dim import Size, maximum

#: Elements of a strip and of its results, nearly: they stay in the second cache.
STRIP: Final = 3 << 15
#: Places of a strip along the only axis of an image, at least.
_LEAST: Final = 128
#: Iterations that there should be, columns of one that are worth their border, and rows of one.
_WANTED: Final = 4
_WORTH: Final = 256
_ROWS: Final = 16
#: The scratch: copies of strips, the strip of a channel, results of products.
PLANE, CHANNEL, RESULT = range(3)


@dataclass(frozen=True)
class Taps:
    """Taps along an axis: ``first`` + ``step`` * t of the filter, t below ``count``.

    They read the plane ``start`` + ``moved`` * t places on.
    """

    count: Size
    first: int
    step: int
    start: Size
    moved: int


class WindowStrips(WindowProducts):
    """The state of lowering such a product, for its result or for its image."""

    def lowered(self) -> LoweredStep:
        """The kernel of the group: a copy, the product, and what follows."""
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
        """The stages that make the results of a strip, ``found`` places along each axis."""
        taps = [_taps_of(axis, self.over_windows) for axis in self.form.axes]
        return self._multiplied(out, inner, taps), self._followed(out, found)

    # -- sizes ------------------------------------------------------------------------------------

    @property
    def over_windows(self) -> bool:
        """Whether the image is read, and not its windows."""
        return self.form.result == "windows"

    def _channels(self) -> tuple[Size, Size]:
        """Channels of the result, and those that are added up."""
        filters = self.filters.type.shape
        mine, other = self._part(filters[0]), filters[1]
        return (mine, other) if self.over_windows else (other, mine)

    def _extent(self, axis: WindowAxis) -> Size:
        """Places along an axis of what is computed."""
        return axis.windows if self.over_windows else axis.image

    def _reach(self, axis: WindowAxis) -> Size:
        """Places of the plane from the first to the last that a place reads."""
        return axis.reach

    def _start(self, axis: WindowAxis) -> Size:
        """What the first place of the plane reads."""
        return -axis.before if self.over_windows else axis.before - axis.reach

    def _strip(self, extent: Size, out: Size, inner: Size) -> int:
        """Places of a strip along the first axis, whose strips are about as long as each other."""
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
        """Iterations over images and groups."""
        return max(1, hint_value(self.read.type.shape[0])) * self.form.groups

    def _parts(self, out: Size) -> Size:
        """Channels of an iteration: fewer than there are where iterations would be too few."""
        if self.iterations >= _WANTED or not isinstance(out, int):
            return out
        enough = range(-(-_WANTED // self.iterations), _WANTED + 1)
        return next((out // parts for parts in enough if out % (parts * _ROWS) == 0), out)

    def _mine(self, loop: str, out: Size) -> AxisPlace:
        """The channel of the result at a loop over those of an iteration."""
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
        """The strip with its border."""
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
        """An element of the plane."""
        return Store(self._scratch(PLANE, moved), value.cast(self.read.type.dtype))

    def _bordered(self, axis: WindowAxis, name: str, wide: Size, first: bool) -> AxisPlace:
        """Where the element of a place in the plane is read."""
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
        """The product over all places of the strip, to one of the results."""
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
        """Elements of the plane from tap to tap along an axis, and where the first one reads."""
        return taps.moved * self.apart[number], taps.start * self.apart[number]

    def _over_columns(
        self, i: str, names: Sequence[str], extents: Sequence[Size]
    ) -> tuple[list[Axis], list[tuple[str, Extent]], tuple[AxisPlace, ...]]:
        """Loops over the rows and columns that count, places along each axis; what moves from one
        to the other in a result; and the place of their image."""
        loops = [self.loop(name, n) for name, n in zip((i, *names), extents, strict=True)]
        moved = [(i, self.argument(self.panels))]
        moved += [(n, self.argument(s)) for n, s in zip(names, self.apart, strict=True)]
        return loops, moved, along(self.n)

    def _followed(self, out: Size, found: Sequence[Size]) -> Map:
        """What follows, for the columns that count."""
        i, names = self._fresh(), [*(self._fresh() for _ in found[1:]), VECTOR]
        extents = [self.each, self.strip, *found[1:]]
        loops, moved, lead = self._over_columns(i, names, extents)
        dtype = self.read.type.dtype
        result: Expr = ex.load(self._scratch(RESULT, moved), dtype.compute).cast(dtype)
        high = self.strip * (-(-found[0] // self.strip)) - 1
        terms = ((self.strips, self.strip), (names[0], 1))
        first = AxisPlace(terms, 0, ends(0, high, found[0]))
        self.places = (*lead, self._mine(i, out), first, *along(*names[1:]))
        return Map(loops[-1], tuple(self.stores(result)), tuple(loops[:-1]))


def _taps_of(axis: WindowAxis, over_windows: bool) -> Taps:
    """Those of windows next to each other; over an element of the image they lie backwards."""
    if over_windows:
        return Taps(axis.taps, 0, 1, 0, axis.dilation)
    return Taps(axis.taps, 0, 1, axis.reach, -axis.dilation)
