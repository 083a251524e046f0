"""Filter gradients of convolutions over small images: the terms of each tap are copied to a row.

In ``filters``, which goes image by image, a run of terms is a row of windows: less than a vector
if images are small. Here an iteration copies some channels of all images once for each tap, in the
order in which that tap reads them. A row of the copy has all terms of a tap in the order of the
sum, and the result is a product of plain matrices, stored row by row.
"""

from __future__ import annotations

from math import prod
from typing import Final

from staticgrad.analysis.layout import collapse
from staticgrad.fusion.groups import ScratchBuffer
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access
from staticgrad.ir.forms import WindowProduct
from staticgrad.ir.graph import Node
from staticgrad.ir.kernels.stages import Axis, Gemm, Map, Store, panel_columns
from staticgrad.lowering.operands import VECTOR, LoweredStep
from staticgrad.lowering.windows.filters import WindowFilters
from staticgrad.lowering.windows.places import AxisPlace, along, reading_place
from staticgrad.lowering.windows.products import WindowProducts
from staticgrad.lowering.windows.strips import STRIP
from staticgrad.preparation.windows import is_fed
from staticgrad.types.arrays import c_strides, hint_value
from staticgrad.types.dim import Size

#: Elements of the copies of an iteration, at most.
_NEAR: Final = 2 * STRIP
#: Iterations that there should be; panels of columns of an iteration, at least.
_WANTED: Final = 4
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
    most = min(_NEAR // max(1, count * terms), channels // _WANTED)
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
        b = self._copy([*moved, *zip(names, c_strides(tuple(extents)), strict=True)])
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

    def _copy(self, moved: list[tuple[str, Size]]) -> Access:
        key = ScratchBuffer(self.anchor)
        self.scratch[key] = self.operand(key, 0, self.anchor.types[0].dtype, "scratch")
        return Access(self.scratch[key], tuple((n, self.stride(n, s)) for n, s in moved))

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
        return Map(loops[-1], (Store(self._copy(moved), value),), tuple(loops[:-1]))
