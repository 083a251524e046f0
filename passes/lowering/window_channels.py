"""Convolutions of each channel apart: maps over windows, or sums along rows, instead of products.

With one channel on each side of a group there is nothing that a tile of registers reads twice. An
element is a chain of its taps, in the order of the product's terms and with its bits; a tap of the
filter is the sum of rows multiplied, of which vectors are summed down the rows, and then along.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Final

from passes.fusion.groups import Group, Groups, ScratchBuffer
from passes.lowering.operands import VECTOR, LoweredStep
from passes.lowering.window_maps import Residue, WindowMaps
from passes.lowering.window_places import (
    AxisPlace,
    WindowLowering,
    along,
    reading_place,
)
from passes.lowering.window_products import window_place
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr
from staticgrad.ir.forms import WindowProduct
from staticgrad.ir.kernel_stages import Accumulate, Columns, Map, Scalar, Store

#: Taps that are written out for an element, at most, and remainders of strides.
_MOST_TAPS: Final = 49
_MOST_RESIDUES: Final = 9


def is_by_channels(groups: Groups, group: Group) -> bool:
    """Whether a convolution has one channel on each side of a group, and few taps."""
    node = WindowLowering(groups, group).anchor
    form = node.form
    if not isinstance(form, WindowProduct) or node.types[0].dtype.is_storage:
        return False
    filters = node.types[0] if form.result == "filter" else node.args[1].type
    taps = prod((axis.taps for axis in form.axes), start=1)
    single = filters.shape[0] == form.groups and filters.shape[1] == 1
    few = isinstance(taps, int) and taps <= _MOST_TAPS
    return single and few and prod(axis.step for axis in form.axes) <= _MOST_RESIDUES


class WindowChannels(WindowMaps):
    """The state of lowering such a convolution, or one of its transposes."""

    def lowered(self) -> LoweredStep:
        """The kernel of the group."""
        form = self.anchor.form
        assert isinstance(form, WindowProduct)
        self.axes = form.axes
        self.x, self.w = (self.groups.source(arg) for arg in self.anchor.args)
        self.dtype = self.anchor.types[0].dtype
        if form.result == "windows":
            return self.mapped(self._chain)
        return self.spread("product") if form.result == "image" else self._filter()

    # -- elements ---------------------------------------------------------------------------------

    def _weight(self, lead: Sequence[AxisPlace], tap: Sequence[int]) -> Expr:
        """A tap of the filter of this channel."""
        places = (lead[1], AxisPlace(()), *(AxisPlace((), k) for k in tap))
        return self.element(self.w, places)

    def _added(self, total: Expr, weight: Expr, value: Expr) -> Expr:
        return weight.fma(value, total) if self.dtype.is_float else total + weight * value

    def _chain(self, lead: Sequence[AxisPlace], loops: Sequence[str]) -> Expr:
        """The element of a window: its taps, one after the other."""
        total = ex.literal(0, self.dtype)
        taps = product(*(range(int(axis.taps)) for axis in self.axes))
        for tap, (value, _) in zip(taps, self.taps(lead, loops), strict=True):
            total = self._added(total, self._weight(lead, tap), value)
        return total

    def over(
        self, kind: str, lead: Sequence[AxisPlace], loops: Sequence[str], residue: Residue
    ) -> Expr:
        """The element of an image: the taps that lie over it, one after the other."""
        total = ex.literal(0, self.dtype)
        if any(apart for _, apart in residue):
            return total
        counts = [-(-int(axis.taps) // axis.residues) for axis in self.axes]
        for numbers in product(*map(range, counts)):
            found = zip(self.axes, residue, numbers, strict=True)
            tap = [u + axis.residues * t for axis, (u, _), t in found]
            if any(k >= int(axis.taps) for k, axis in zip(tap, self.axes, strict=True)):
                continue
            places = [
                window_place(axis, q, t)
                for axis, q, t in zip(self.axes, loops, numbers, strict=True)
            ]
            total = self._added(
                total, self._weight(lead, tap), self.element(self.x, (*lead, *places))
            )
        return total

    # -- filters ----------------------------------------------------------------------------------

    def _filter(self) -> LoweredStep:
        """Rows of image and windows multiplied, and added up: down the rows, then along them."""
        images, windows = self.x, self.w
        channels = self.group.domain[0]
        outer = [self.loop("i0", channels)]
        taps = [self.loop(f"i{n}", axis.taps, taps=True) for n, axis in enumerate(self.axes, 1)]
        n = self.loop(f"i{1 + len(taps)}", images.type.shape[0])
        ys = [
            self.loop(f"i{2 + len(taps) + k}", axis.windows)
            for k, axis in enumerate(self.axes[:-1])
        ]
        names = [*(y.name for y in ys), VECTOR]
        found = zip(self.axes, names, taps, strict=True)
        reading = [reading_place(axis, name, tap.name) for axis, name, tap in found]
        lead = along(n.name, "i0")
        value = self.element(images, (*lead, *reading)) * self.element(
            windows, (*lead, *along(*names))
        )
        key = ScratchBuffer(self.anchor)
        self.scratch[key] = self.operand(key, 0, self.dtype, "scratch")
        row = Access(self.scratch[key], ((VECTOR, 1),))
        along_row = self.loop(VECTOR, self.axes[-1].windows)
        down = Columns(
            along_row,
            (n, *ys),
            (Accumulate("r0", "sum", value),),
            (Store(row, ex.ref("r0", self.dtype)),),
        )
        across = Map(along_row, (Accumulate("r1", "sum", ex.load(row, self.dtype)),))
        self.places = (*along("i0", ""), *along(*(tap.name for tap in taps)))
        stores = self.stores(ex.ref("r1", self.dtype))
        return self.finish([down, across, Scalar(tuple(stores))], [*outer, *taps])
