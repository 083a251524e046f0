"""Depthwise convolutions: maps over windows, or sums along rows, instead of matrix products.

With one channel on each side of a group a tile of registers has no operand to reuse. An element is
a chain of its taps in the order of the product's terms, bitwise identical to the product. A tap of
the filter is a sum of products of rows: vectors are summed down the rows, then along the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Final

from staticgrad.compiler.lowering.operands import VECTOR, LoweredStep
from staticgrad.compiler.lowering.windows.maps import Residue, WindowMaps
from staticgrad.compiler.lowering.windows.places import (
    AxisPlace,
    StripAxis,
    along,
    map_over,
)
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Access, Expr
from staticgrad.language.ir.forms import WindowProduct
from staticgrad.language.ir.graph import Node
from staticgrad.language.ir.kernels.stages import (
    FEW,
    Accumulate,
    Axis,
    Columns,
    Map,
    Scalar,
    Stage,
    Store,
)
from staticgrad.language.types.arrays import c_strides, hint_value
from staticgrad.language.types.dim import Size, is_at_least

#: Taps that are written out for an element, at most, and remainders of strides.
_MOST_TAPS: Final = 49
_MOST_RESIDUES: Final = 9
#: Elements of a channel of all images that are copied with their border, at most.
_COPIED: Final = 1 << 17
#: Taps that read each element of a copy, from which on it pays: with 2.25 (3 x 3, step 2) results
#: and filters take 1.02 to 1.43 of the time without, with 6.25 (5 x 5, step 2) .44 to .87.
_REUSED: Final = 4
#: Rows that are interleaved, at most: each chain is bound by latency. Chains of at least ``_LONG``
#: taps interleave twice as many.
_TOGETHER: Final = 4
_LONG: Final = 25
#: The scratch buffers of a filter: rows of its taps, and the copy.
_ROWS, _COPY = 0, 1


def is_by_channels(node: Node) -> bool:
    """Return whether a convolution has one channel on each side of a group and few taps."""
    form = node.form
    if not isinstance(form, WindowProduct) or node.types[0].dtype.is_storage:
        return False
    filters = node.types[0] if form.result == "filter" else node.args[1].type
    taps = prod((axis.taps for axis in form.axes), start=1)
    single = filters.shape[0] == form.groups and filters.shape[1] == 1
    few = isinstance(taps, int) and taps <= _MOST_TAPS
    return single and few and prod(axis.step for axis in form.axes) <= _MOST_RESIDUES


class WindowChannels(WindowMaps):
    """The state of lowering a depthwise convolution, or one of its transposes."""

    def lower(self) -> LoweredStep:
        """Return the kernel of the group."""
        form = self.anchor.form
        assert isinstance(form, WindowProduct)
        self.axes, self.dtype = form.axes, self.anchor.types[0].dtype
        self.over_windows = form.result != "image"
        self.strips = [StripAxis(axis, self.over_windows) for axis in self.axes]
        if form.result == "filter":
            return self._filter()
        steps = all(axis.step == 1 for axis in self.axes)
        if (self.over_windows or steps) and self._pays_to_copy(1):
            return self._chained()
        return self.mapped(self._chain) if self.over_windows else self.spread("product")

    # -- elements ---------------------------------------------------------------------------------

    def _weight(self, lead: Sequence[AxisPlace], tap: Sequence[int]) -> Expr:
        places = (lead[1], AxisPlace(()), *(AxisPlace((), k) for k in tap))
        return self.element(self.second, places)

    def _added(self, total: Expr, weight: Expr, value: Expr) -> Expr:
        return weight.fma(value, total) if self.dtype.is_float else total + weight * value

    def _chain(self, lead: Sequence[AxisPlace], loops: Sequence[Axis]) -> Expr:
        total = ex.literal(0, self.dtype)
        taps = product(*(range(int(axis.taps)) for axis in self.axes))
        for tap, (value, _) in zip(taps, self.taps(lead, loops), strict=True):
            total = self._added(total, self._weight(lead, tap), value)
        return total

    def _chained(self) -> LoweredStep:
        outer = self._lead()
        extents = [axis.windows if self.over_windows else axis.image for axis in self.axes]
        taps = [*product(*(range(int(axis.taps)) for axis in self.axes))]
        together, rows = _rows_together(extents, len(taps)), extents[-2:][0]
        turns = -(-rows // together)
        # If all rows of an image, a vector each, are interleaved, taps above or below the image
        # are known when lowering, and masks along rows cost less than a copy.
        numbers = [number for axis in self.strips for number in (axis.start, axis.given)]
        known = len(self.axes) == 2 and all(isinstance(number, int) for number in numbers)
        vector = isinstance(extents[-1], int) and extents[-1] <= self.dtype.lanes
        in_place = known and vector and together == rows > 1 and self.axes[-1].step == 1
        if together > 1:
            step = self.axes[-2].step if self.over_windows else 1
            self.wide[-2] = self.wide[-2] + step * (together * turns - rows)
            extents[-2] = turns
        self.literal_ends = in_place
        lead = along(*outer)
        copied = () if in_place else self._copied((), lead)
        loops = [self.loop(extent, taps=in_place) for extent in extents[:-1]]
        loops.append(self.loop(extents[-1], VECTOR, taps=in_place))
        stores: list[Store] = []
        for row in range(together):
            places = [*along(*loops)]
            if in_place:
                places[-2] = AxisPlace((), row)
            elif together > 1:
                places[-2] = self.at((loops[-2], together), start=row, extent=rows)
            self.move_to((*lead, *places))
            total = ex.literal(0, self.dtype)
            for tap in taps:
                if in_place:
                    value = self._of_image(lead, loops[-1], tap, row)
                else:
                    access = self._in_copy(None, loops, tap, row, together)
                    value = self.loaded.setdefault((access, None), ex.load(access, self.dtype))
                total = self._added(total, self._weight(lead, tap), value)
            stores += self.stores(total)
        return self.finish([*copied, map_over(loops, stores)], outer)

    def _of_image(
        self, lead: Sequence[AxisPlace], loop: Axis, tap: Sequence[int], row: int
    ) -> Expr:
        y, x = (
            int(strip.start) + axis.dilation * (k if self.over_windows else int(axis.taps) - 1 - k)
            for axis, strip, k in zip(self.axes, self.strips, tap, strict=True)
        )
        y = y + row * (self.axes[0].step if self.over_windows else 1)
        if not 0 <= y < int(self.strips[0].given):
            return ex.literal(0, self.dtype)
        place = self.at((loop, 1), start=x, extent=self.strips[1].given)
        return self.element(self.first, (*lead, AxisPlace((), y), place))

    def over(
        self, kind: str, lead: Sequence[AxisPlace], loops: Sequence[Axis], residue: Residue
    ) -> Expr:
        """Return the element of an image: the sum of the taps over it, one after the other."""
        total = ex.literal(0, self.dtype)
        if any(apart for _, apart in residue):
            return total
        for tap, places in self.taps_over(loops, residue):
            if places:
                weight, value = self._weight(lead, tap), self.element(self.first, (*lead, *places))
                total = self._added(total, weight, value)
        return total

    # -- filters ----------------------------------------------------------------------------------

    def _filter(self) -> LoweredStep:
        group, counts = self.outer_loop(self.group.domain[0]), [int(a.taps) for a in self.axes]
        alone = len(counts) - 1 if prod(counts) > FEW else 0
        around = [self.outer_loop(count, taps=True) for count in counts[:alone]]
        rest = product(*map(range, counts[alone:]))
        taps: list[tuple[int | Axis, ...]] = [(*around, *tap) for tap in rest]
        n = self.loop(self.first.type.shape[0])
        copied: Sequence[Stage] = ()
        if self._pays_to_copy(self.first.type.shape[0]):
            copied = self._copied((n,), along(n, group))
        loops = self.nest(*(axis.windows for axis in self.axes))
        given = self.element(self.second, along(n, group, *loops))
        down: list[Accumulate] = []
        kept: list[Store] = []
        across: list[Accumulate] = []
        stores: list[Store] = []
        for number, tap in enumerate(taps):
            if copied:
                read = ex.load(self._in_copy(n, loops, tap), self.dtype)
            else:
                places = [self.read_place(*a) for a in zip(self.axes, loops, tap, strict=True)]
                read = self.element(self.first, (*along(n, group), *places))
            down.append(Accumulate(f"r{number}", "sum", read * given))
            row = self.in_scratch(_ROWS, [(loops[-1], 1)], number * self.axes[-1].windows)
            kept.append(Store(row, ex.ref(f"r{number}", self.dtype)))
            total = f"r{len(taps) + number}"
            across.append(Accumulate(total, "sum", ex.load(row, self.dtype)))
            self.move_to((*along(group, None), *(self.at((k, 1)) for k in tap)))
            stores += self.stores(ex.ref(total, self.dtype))
        summed = Columns(loops[-1], (n, *loops[:-1]), tuple(down), tuple(kept))
        stages: list[Stage] = [*copied, summed, Map(loops[-1], tuple(across))]
        return self.finish([*stages, Scalar(tuple(stores))], self.outer)

    def _pays_to_copy(self, images: Size) -> bool:
        """Return whether taps lie in a border and are many, and a channel of so many images fits in
        L2."""
        self.wide = [
            axis.reach + (axis.step * (axis.windows - 1) + 1 if self.over_windows else axis.image)
            for axis in self.axes
        ]
        size = hint_value(images) * prod(hint_value(extent) for extent in self.wide)
        many = prod(int(axis.taps) for axis in self.axes) >= _REUSED * prod(
            axis.step for axis in self.axes
        )
        bordered = any(
            not (is_at_least(axis.start, 0) and is_at_least(axis.given, axis.start + wide))
            for axis, wide in zip(self.strips, self.wide, strict=True)
        )
        return many and size <= _COPIED and bordered

    def _in_copy(
        self,
        n: Axis | None,
        loops: Sequence[Axis],
        tap: Sequence[int | Axis],
        row: int = 0,
        together: int = 1,
    ) -> Access:
        # ``row`` is one of the ``together`` interleaved rows along the last axis but one.
        plane, *apart = c_strides((1, *self.wide))
        moved: list[tuple[Axis | None, Size]] = [(n, plane)]
        start: Size = 0
        found = zip(self.axes, loops, apart, tap, strict=True)
        for number, (axis, loop, by, k) in enumerate(found, 2 - len(loops)):
            step = axis.step * by
            if number == 0:
                start, step = start + row * step, together * step
            moved.append((loop, step))
            if isinstance(k, int):
                past = k if self.over_windows else axis.taps - 1 - k
                start = start + axis.dilation * past * by
            else:
                moved.append((k, axis.dilation * by))
        return self.in_scratch(_COPY, moved, start)

    def _copied(self, n: tuple[Axis, ...], lead: Sequence[AxisPlace]) -> Sequence[Map]:
        # If the extent of the border is known, zeros are stored first, then the image over them.
        plane, *apart = c_strides((1, *self.wide))
        ranges: list[tuple[int, Size]] = []
        for strip, wide in zip(self.strips, self.wide, strict=True):
            start, past = strip.start, strip.start + wide - strip.given
            if isinstance(start, int) and isinstance(past, int):
                first = max(-start, 0)
                ranges.append((first, wide - first - max(past, 0)))
            else:
                ranges.append((0, wide))
        rows = self.nest(*(count for _, count in ranges))
        places = [
            self.at((row, 1), start=strip.start + first, extent=strip.given)
            for row, strip, (first, _) in zip(rows, self.strips, ranges, strict=True)
        ]
        at = sum(first * by for (first, _), by in zip(ranges, apart, strict=True))
        moved = [(loop, plane) for loop in n] + [*zip(rows, apart, strict=True)]
        value = self.element(self.first, (*lead, *places))
        store = Store(self.in_scratch(_COPY, moved, at), value)
        copied = map_over([*n, *rows], [store])
        if [count for _, count in ranges] == self.wide:
            return (copied,)
        whole = self.loop((self.first.type.shape[0] if n else 1) * plane, VECTOR)
        zero = Store(self.in_scratch(_COPY, [(whole, 1)]), ex.literal(0, self.dtype))
        return map_over([whole], [zero]), copied


def _rows_together(extents: Sequence[Size], taps: int) -> int:
    # An iteration with fewer rows takes about as long (latency), so iterations are kept few.
    rows = extents[-2] if len(extents) > 1 else 1
    most = _TOGETHER if taps < _LONG else 2 * _TOGETHER
    if not isinstance(rows, int):
        return most
    return -(-rows // max(-(-rows // most), 1)) or 1
