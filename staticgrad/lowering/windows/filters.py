"""Filter gradients of convolutions: an image at a time, copied to scratch with its border.

An iteration has some channels of the image and a panel of output channels, and loops over the
batch. It copies the channels of an image with the border. In the copy every tap of every window has
a fixed offset, for any step, so that no row of the product is packed. The windows of the image are
transposed once for all rows. The sums are those of the product that reads windows in place, term
by term.

Filter gradients of convolutions over small images: the terms of each tap are copied to a row.

Image by image, a run of terms is a row of windows: less than a vector
if images are small. Here an iteration copies some channels of all images once for each tap, in the
order in which that tap reads them. A row of the copy has all terms of a tap in the order of the
sum, and the result is a product of plain matrices, stored row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

from staticgrad.analysis.layout import collapse
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access
from staticgrad.ir.forms import WindowProduct
from staticgrad.ir.graph import Node
from staticgrad.ir.kernels.stages import (
    FED_ROWS,
    Axis,
    Gemm,
    Keep,
    Map,
    Scalar,
    Store,
    panel_columns,
)
from staticgrad.lowering.operands import VECTOR, LoweredStep
from staticgrad.lowering.windows.places import AxisPlace, along, ends, reading_place
from staticgrad.lowering.windows.products import WindowProducts, name_of
from staticgrad.lowering.windows.strips import STRIP
from staticgrad.preparation.windows import even_part, is_fed
from staticgrad.types.arrays import c_strides, hint_value
from staticgrad.types.dim import Size
from staticgrad.types.dtype import I64

#: Elements of the copied channels, about: they stay in L2.
COPIED: Final = 1 << 17
#: Rows of a product below which more iterations do not pay, and how many of those there should be.
_LEAST_ROWS: Final = 64
_WANTED: Final = 4
#: The numbers of columns, and of images, that are left for an iteration.
_COLUMNS: Final = "r0"
_IMAGES: Final = "r1"


class WindowFilters(WindowProducts):
    """The state of lowering a filter gradient."""

    def lowered(self) -> LoweredStep:
        """Return the kernel of the group: a product that copies images first."""
        self.outer: list[Axis] = []
        self.first, self.second = (self.groups.source(arg) for arg in self.anchor.args)
        axes, dtype = self.form.axes, self.first.type.dtype
        numbers, images, part = self._images()
        self.g = self._group()
        out, self.channels = self.group.domain[len(part) :][:2]
        self.out = self._part(out)
        self.wide = [axis.step * (axis.windows - 1) + axis.reach + 1 for axis in axes]
        self.plane, *self.apart = c_strides((1, *self.wide))
        width = panel_columns(dtype)
        self.part = self._channels_together(width)
        limit, columns = self._panel(width)
        self.chunk = self._outer_loop(-(-self.channels // self.part))
        column = Axis(VECTOR, width, _COLUMNS) if limit else self.loop(VECTOR, self.out)
        product = self._product_of((*part, columns), column, images)
        return self.finish((*numbers, *limit, product), self.outer)

    def _product_of(self, lead: Sequence[AxisPlace], column: Axis, images: Axis) -> Gemm:
        axes = self.form.axes
        self.c = self.loop(self._fresh(), self.part)
        taps = self._flattened([axis.taps for axis in axes], "i", [True] * len(axes))
        ys = self._flattened([axis.windows for axis in axes], "k", [False] * len(axes))
        stored = AxisPlace(self._of_part(), 0, self._beyond(self.channels))
        self.places = (*lead, stored, *along(*map(name_of, taps)))
        windows = (self.image, lead[-1], *along(*map(name_of, ys)))
        return Gemm(
            (self.c, *(tap for tap in taps if tap)),
            (column,),
            (images, *(y for y in ys if y)),
            self._taken(taps, ys),
            self._factor(self.second, windows),
            tuple(self.stores(ex.ref("acc", self.first.type.dtype))),
            (self._copied(),),
        )

    # -- sizes ------------------------------------------------------------------------------------

    def _images(self) -> tuple[tuple[Scalar, ...], Axis, tuple[AxisPlace, ...]]:
        """Return the loop over images: all, or those of a part.

        Before it the stage that stores how many are left; after it the place among the parts.
        """
        batch, name = self.second.type.shape[0], self._fresh()
        if not self.form.parts:
            (self.image,) = along(name)
            return (), self.loop(name, batch), ()
        each = -(-batch // self.form.parts)
        part = self._outer_loop(self.form.parts)
        self.image = AxisPlace(((part, each), (name, 1)), 0, batch, within=True)
        left = self.size(batch) - ex.index(part) * self.size(each)
        kept = Scalar((Keep(_IMAGES, left),))
        return (kept,), Axis(name, self.extent(each), _IMAGES), along(part)

    def _channels_together(self, width: int) -> int:
        taps = prod(int(axis.taps) for axis in self.form.axes)
        channels = max(1, hint_value(self.channels))
        around = max(1, self.form.parts) * self.form.groups * -(-hint_value(self.out) // width)
        most = min(FED_ROWS, max(28, COPIED // max(1, hint_value(self.plane)) * taps)) // taps
        chunks = -(-channels // max(1, most))
        pays = max(1, channels * taps // _LEAST_ROWS)
        chunks = max(chunks, min(pays, -(-_WANTED // max(1, around))))
        if chunks > 1 and chunks * around % 2:
            chunks += 1
        return -(-channels // chunks)

    def _outer_loop(self, extent: Size) -> str:
        self.outer.append(self.loop(f"i{len(self.outer)}", extent))
        return self.outer[-1].name

    def _panel(self, width: int) -> tuple[tuple[Scalar, ...], AxisPlace]:
        terms: list[tuple[str, Size]] = [(self.g, self.out)] if self.g else []
        if isinstance(self.out, int) and self.out <= width:
            return (), AxisPlace((*terms, (VECTOR, 1)))
        panel = self._outer_loop(-(-self.out // width))
        left = self.size(self.out) - ex.index(panel) * ex.literal(width, I64)
        kept = Scalar((Keep(_COLUMNS, left),))
        every = self.out * self.form.groups
        return (kept,), AxisPlace((*terms, (panel, width), (VECTOR, 1)), 0, every, within=True)

    def _of_part(self) -> tuple[tuple[str, Size], ...]:
        return (self.chunk, self.part), (self.c.name, 1)

    def _beyond(self, extent: Size) -> Size | None:
        """Return the end of an axis of channels if parts may reach beyond it, else None."""
        chunks = -(-self.channels // self.part)
        return None if ends(0, chunks * self.part - 1, self.channels) is None else extent

    # -- the product ------------------------------------------------------------------------------

    def _copied(self) -> Map:
        axes = self.form.axes
        names = [self._fresh() for _ in axes[1:]] + [VECTOR]
        places = [
            AxisPlace(
                ((name, 1),), -axis.before, ends(-axis.before, w - 1 - axis.before, axis.image)
            )
            for axis, name, w in zip(axes, names, self.wide, strict=True)
        ]
        around: list[tuple[str, Size]] = [(self.g, self.channels)] if self.g else []
        channel = AxisPlace(
            (*around, *self._of_part()), 0, self._beyond(self.channels * self.form.groups)
        )
        value = self.element(self.first, (self.image, channel, *places))
        moved = [(self.c.name, self.plane), *zip(names, self.apart, strict=True)]
        store = Store(self.in_scratch(0, moved), value)
        rows = [self.loop(name, size) for name, size in zip(names, self.wide, strict=True)]
        return Map(rows[-1], (store,), (self.c, *rows[:-1]))

    def _taken(self, taps: Sequence[Axis | None], ys: Sequence[Axis | None]) -> Access:
        moved: list[tuple[str, Size]] = [(self.c.name, self.plane)]
        for axis, apart, tap, y in zip(self.form.axes, self.apart, taps, ys, strict=True):
            moved += [(tap.name, axis.dilation * apart)] if tap else []
            moved += [(y.name, axis.step * apart)] if y else []
        return self.in_scratch(0, moved)


class WindowPoints(WindowFilters):
    """Filter gradients with one tap, the elements of the image: rows are read in place."""

    def _channels_together(self, width: int) -> int:
        found = even_part(int(self.channels))
        assert found is not None
        return found

    def _product_of(self, lead: Sequence[AxisPlace], column: Axis, images: Axis) -> Gemm:
        axes, given = self.form.axes, (self.first, self.second)
        self.c = self.loop("i", self.part)
        extents, strides = collapse(
            [axis.windows for axis in axes], [source.layout.strides[2:] for source in given]
        )
        points = [self.loop(self._fresh(), size) for size in extents[:-1]]
        points.append(self.loop("k", extents[-1] if extents else 1))
        moved = along(*(point.name for point in points))
        channel = AxisPlace(self._of_part())
        ones = tuple(AxisPlace(()) for _ in axes)
        self.places = (*lead, channel, *ones)
        a, b = (
            self._factor(source, (self.image, place, *moved), (*source.layout.strides[:2], *steps))
            for source, place, steps in zip(
                given, (channel, lead[-1]), (each or [1] for each in strides), strict=True
            )
        )
        result = ex.ref("acc", self.first.type.dtype)
        return Gemm((self.c,), (column,), (images, *points), a, b, tuple(self.stores(result)))


#: Elements of the copies of an iteration, at most.
_NEAR: Final = 2 * STRIP
#: Iterations that there should be; panels of columns of an iteration, at least.
_WANTED_COPIES: Final = 4
_PANELS: Final = 2
#: Rows of w windows, image by image, take 1 + 4 / w of a plain product's time; 1 + 8 / w with
#: steps. A vector of copies costs 30 multiplications of vectors; transposed panels cost a
#: twentieth of the product.
_SHORT: Final = 4
_COPIED: Final = 30
_TRANSPOSED: Final = 0.05


def channels_by_columns(node: Node) -> int:
    """Return the channels of an iteration, by the sizes' hints; 0 if copies do not pay."""
    form, dtype = node.form, node.types[0].dtype
    assert isinstance(form, WindowProduct)
    if not is_fed(form, dtype) or form.parts or form.tiles or form.groups > 1:
        return 0
    out, channels, *taps = node.types[0].shape
    if not (isinstance(channels, int) and all(isinstance(tap, int) for tap in taps)):
        return 0
    last = form.axes[-1]
    wide, slow = hint_value(last.windows), _SHORT * (2 if last.step > 1 else 1)
    spared = hint_value(out) / (2 * dtype.lanes) * (slow - _TRANSPOSED * wide)
    if wide >= dtype.lanes or spared < _COPIED:
        return 0
    count = prod(int(tap) for tap in taps)
    terms = prod(hint_value(axis.windows) for axis in form.axes)
    terms *= max(1, hint_value(node.args[0].type.shape[0]))
    most = min(_NEAR // max(1, count * terms), channels // _WANTED_COPIES)
    part = next((n for n in range(most, 0, -1) if channels % n == 0), 0)
    return part if part * count >= _PANELS * panel_columns(dtype) else 0


class WindowFilterColumns(WindowProducts):
    """The state of lowering such a gradient."""

    def lowered(self) -> LoweredStep:
        axes, dtype = self.form.axes, self.anchor.types[0].dtype
        kept, _ = self.merge_last(1 + len(axes), [])
        if len(kept) != 1:  # something else is read or stored in another order
            return WindowFilters(self.groups, self.group).lowered()
        self.first, self.second = (self.groups.source(arg) for arg in self.anchor.args)
        self.part = channels_by_columns(self.anchor)
        out, channels = self.group.domain[:2]
        self.outer: list[Axis] = [self.loop("i0", channels // self.part)]
        self.batch = self.second.type.shape[0]
        windows = [axis.windows for axis in axes]
        self.apart = c_strides((self.batch, *windows))
        self.terms: Size = prod(windows, start=self.batch)
        taps = prod(int(axis.taps) for axis in axes)
        columns = self.part * taps
        image = self._fresh()
        extents, (given,) = collapse(windows, [self.second.layout.strides[2:]])
        if not extents:  # an image has one window
            extents, given = [1], [1]
        names = [*(self._fresh() for _ in extents[1:]), "k"]
        points = [self.loop(name, size) for name, size in zip(names, extents, strict=True)]
        a = self._factor(
            self.second,
            (*along(image, "i"), *along(*names)),
            (*self.second.layout.strides[:2], *given),
        )
        moved = [(VECTOR, self.terms), (image, self.apart[0])]
        b = self.in_scratch(0, [*moved, *zip(names, c_strides(tuple(extents)), strict=True)])
        self.places = (*along("i"), AxisPlace((("i0", columns), (VECTOR, 1))))
        stores = tuple(self.stores(ex.ref("acc", dtype)))
        product = Gemm(
            (self.loop("i", out),),
            (self.loop(VECTOR, columns),),
            (self.loop(image, self.batch), *points),
            a,
            b,
            stores,
        )
        return self.finish([self._copied(taps), product], self.outer)

    def _copied(self, taps: int) -> Map:
        axes, c, image = self.form.axes, self._fresh(), self._fresh()
        names = [*(self._fresh() for _ in axes[1:]), VECTOR]
        own = [self._fresh() for _ in axes]
        places = [
            reading_place(axis, name, tap) for axis, name, tap in zip(axes, names, own, strict=True)
        ]
        channel = AxisPlace((("i0", self.part), (c, 1)))
        value = self.element(self.first, (*along(image), channel, *places))
        counts = tuple(axis.taps for axis in axes)
        moved: list[tuple[str, Size]] = [(c, taps * self.terms)]
        moved += [(tap, s * self.terms) for tap, s in zip(own, c_strides(counts), strict=True)]
        moved += zip((image, *names), self.apart, strict=True)
        loops = [
            self.loop(c, self.part),
            *(self.loop(tap, n, taps=True) for tap, n in zip(own, counts, strict=True)),
            self.loop(image, self.batch),
            *(self.loop(name, axis.windows) for name, axis in zip(names, axes, strict=True)),
        ]
        return Map(loops[-1], (Store(self.in_scratch(0, moved), value),), tuple(loops[:-1]))
