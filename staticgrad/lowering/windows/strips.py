"""Convolutions with step 1: a strip of the image is copied once, with its border.

An iteration copies its strip into scratch with the border. There every tap has a fixed offset from
its window in every row. So the columns of the product are all consecutive places of the strip,
with those between rows and enough to fill a panel, and nothing is packed. The results are stored
in scratch, too, from which the epilogue reads the valid columns. The sums are those of the product
that reads windows in place, term by term.
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
        return -axis.before if self.over_windows else axis.before - axis.reach

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
        high = self.strip * (-(-found[0] // self.strip)) - 1
        terms = ((self.strips, self.strip), (names[0], 1))
        first = AxisPlace(terms, 0, ends(0, high, found[0]))
        self.places = (*lead, self._mine(i, out), first, *along(*names[1:]))
        return Map(loops[-1], tuple(self.stores(result)), tuple(loops[:-1]))


def _taps_of(axis: WindowAxis, over_windows: bool) -> Taps:
    """Return the taps of windows with step 1; over an element of the image in reverse order."""
    if over_windows:
        return Taps(axis.taps, 0, 1, 0, axis.dilation)
    return Taps(axis.taps, 0, 1, axis.reach, -axis.dilation)
