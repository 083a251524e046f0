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

from staticgrad.fusion.groups import Group, GroupValues
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr
from staticgrad.ir.forms import WindowAxis, WindowProduct
from staticgrad.ir.kernels.stages import (
    FEW,
    Accumulate,
    Axis,
    Columns,
    Map,
    Scalar,
    Stage,
    Store,
)
from staticgrad.lowering.operands import VECTOR, LoweredStep
from staticgrad.lowering.windows.maps import Residue, WindowMaps
from staticgrad.lowering.windows.places import (
    AxisPlace,
    WindowLowering,
    along,
    ends,
    inside,
    read_along,
    reading_place,
    tap_place,
)
from staticgrad.types.arrays import c_strides, hint_value
from staticgrad.types.dim import Size

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


def is_by_channels(groups: GroupValues, group: Group) -> bool:
    """Return whether a convolution has one channel on each side of a group and few taps."""
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
    """The state of lowering a depthwise convolution, or one of its transposes."""

    def lowered(self) -> LoweredStep:
        """Return the kernel of the group."""
        form = self.anchor.form
        assert isinstance(form, WindowProduct)
        self.axes = form.axes
        self.x, self.w = (self.groups.source(arg) for arg in self.anchor.args)
        self.dtype = self.anchor.types[0].dtype
        self.over_windows = form.result != "image"
        if form.result == "filter":
            return self._filter()
        steps = all(axis.step == 1 for axis in self.axes)
        if (self.over_windows or steps) and self._pays_to_copy(1):
            return self._chained()
        return self.mapped(self._chain) if self.over_windows else self.spread("product")

    # -- elements ---------------------------------------------------------------------------------

    def _weight(self, lead: Sequence[AxisPlace], tap: Sequence[int]) -> Expr:
        places = (lead[1], AxisPlace(()), *(AxisPlace((), k) for k in tap))
        return self.element(self.w, places)

    def _added(self, total: Expr, weight: Expr, value: Expr) -> Expr:
        return weight.fma(value, total) if self.dtype.is_float else total + weight * value

    def _chain(self, lead: Sequence[AxisPlace], loops: Sequence[str]) -> Expr:
        total = ex.literal(0, self.dtype)
        taps = product(*(range(int(axis.taps)) for axis in self.axes))
        for tap, (value, _) in zip(taps, self.taps(lead, loops), strict=True):
            total = self._added(total, self._weight(lead, tap), value)
        return total

    def _chained(self) -> LoweredStep:
        outer = self.lead
        extents = [axis.windows if self.over_windows else axis.image for axis in self.axes]
        taps = [*product(*(range(int(axis.taps)) for axis in self.axes))]
        together, rows = _rows_together(extents, len(taps)), extents[-2:][0]
        turns = -(-rows // together)
        extent = extents[-1]
        # If all rows of an image, a vector each, are interleaved, taps above or below the image
        # are known when lowering, and masks along rows cost less than a copy.
        numbers = [*self.ends, *self.starts]
        known = len(self.axes) == 2 and all(isinstance(number, int) for number in numbers)
        vector = isinstance(extent, int) and extent <= self.dtype.lanes
        where_it_lies = known and vector and together == rows > 1 and self.axes[-1].step == 1
        if together > 1:
            step = self.axes[-2].step if self.over_windows else 1
            self.wide[-2] = self.wide[-2] + step * (together * turns - rows)
            extents[-2] = turns
        self.literal_ends = where_it_lies
        loops = self._loops(extents, len(outer), where_it_lies)
        lead, names = along(*(axis.name for axis in outer)), [loop.name for loop in loops]
        copied = () if where_it_lies else self._copied((), lead, len(outer) + len(loops))
        stores: list[Store] = []
        for row in range(together):
            places = [*along(*names)]
            if where_it_lies:
                places[-2] = AxisPlace((), row)
            elif together > 1:
                end = ends(0, together * turns - 1, rows)
                places[-2] = AxisPlace(((names[-2], together),), row, end)
            self.move_to((*lead, *places))
            total = ex.literal(0, self.dtype)
            for tap in taps:
                if where_it_lies:
                    value = self._of_image(lead, names[-1], tap, row)
                else:
                    value = self._of_copy(names, tap, row, together)
                total = self._added(total, self._weight(lead, tap), value)
            stores += self.stores(self._rounded(total))
        stage = Map(loops[-1], tuple(stores), tuple(loops[:-1]))
        return self.finish([*copied, stage], outer)

    def _of_copy(self, names: Sequence[str], tap: Sequence[int], row: int, together: int) -> Expr:
        access = self._place_of("", names, tap, row, together)
        if (access, None) not in self.loaded:
            self.loaded[access, None] = ex.load(access, self.dtype)
        return self.loaded[access, None]

    def _of_image(self, lead: Sequence[AxisPlace], loop: str, tap: Sequence[int], row: int) -> Expr:
        y, x = (
            start + axis.dilation * (k if self.over_windows else int(axis.taps) - 1 - k)
            for axis, start, k in zip(self.axes, self.starts, tap, strict=True)
        )
        y = y + row * (self.axes[0].step if self.over_windows else 1)
        if not 0 <= y < self.ends[0]:
            return ex.literal(0, self.dtype)
        high = x + hint_value(self.group.domain[-1]) - 1
        place = AxisPlace(((loop, 1),), x, ends(x, high, self.ends[1]))
        return self.element(self.x, (*lead, AxisPlace((), y), place))

    def over(
        self, kind: str, lead: Sequence[AxisPlace], loops: Sequence[str], residue: Residue
    ) -> Expr:
        """Return the element of an image: the sum of the taps over it, one after the other."""
        total = ex.literal(0, self.dtype)
        if any(apart for _, apart in residue):
            return total
        for tap, places in self.taps_over(loops, residue):
            if places:
                weight, value = self._weight(lead, tap), self.element(self.x, (*lead, *places))
                total = self._added(total, weight, value)
        return total

    # -- filters ----------------------------------------------------------------------------------

    def _filter(self) -> LoweredStep:
        images, windows = self.x, self.w
        outer = [self.loop("i0", self.group.domain[0])]
        taps = self._taps_together(outer)
        made = len(outer)
        n = self.loop(f"i{made}", images.type.shape[0])
        ys = [self.loop(f"i{made + 1 + k}", axis.windows) for k, axis in enumerate(self.axes[:-1])]
        names = [*(y.name for y in ys), VECTOR]
        lead = along(n.name, "i0")
        given = self.element(windows, (*lead, *along(*names)))
        copied: Sequence[Stage] = ()
        if self._pays_to_copy(images.type.shape[0]):
            copied = self._copied((n,), lead, made + 1 + len(ys))
        along_row = self.loop(VECTOR, self.axes[-1].windows)
        down: list[Accumulate] = []
        kept: list[Store] = []
        across: list[Accumulate] = []
        stores: list[Store] = []
        for number, tap in enumerate(taps):
            if copied:
                read = ex.load(self._place_of(n.name, names, tap), self.dtype)
            else:
                found = zip(self.axes, names, tap, strict=True)
                read = self.element(images, (*lead, *(_read_place(*each) for each in found)))
            down.append(Accumulate(f"r{number}", "sum", read * given))
            row = self._row(number, self.axes[-1].windows)
            kept.append(Store(row, ex.ref(f"r{number}", self.dtype)))
            total = f"r{len(taps) + number}"
            across.append(Accumulate(total, "sum", ex.load(row, self.dtype)))
            self.move_to((*along("i0", ""), *map(_tap_of_filter, tap)))
            stores += self.stores(ex.ref(total, self.dtype))
        summed = Columns(along_row, (n, *ys), tuple(down), tuple(kept))
        stages: list[Stage] = [*copied, summed, Map(along_row, tuple(across))]
        return self.finish([*stages, Scalar(tuple(stores))], outer)

    def _taps_together(self, outer: list[Axis]) -> list[tuple[int | str, ...]]:
        counts = [int(axis.taps) for axis in self.axes]
        alone = len(counts) - 1 if prod(counts) > FEW else 0
        loops = [self.loop(f"i{1 + k}", counts[k], taps=True) for k in range(alone)]
        outer += loops
        rest = product(*map(range, counts[alone:]))
        return [(*(loop.name for loop in loops), *tap) for tap in rest]

    def _pays_to_copy(self, images: Size) -> bool:
        """Return whether taps lie in a border and are many, and a channel of so many images fits in
        L2."""
        self.wide = [
            axis.reach + (axis.step * (axis.windows - 1) + 1 if self.over_windows else axis.image)
            for axis in self.axes
        ]
        read = [read_along(axis, self.over_windows) for axis in self.axes]
        self.starts, self.ends = ([*each] for each in zip(*read, strict=True))
        size = hint_value(images) * prod(hint_value(extent) for extent in self.wide)
        many = prod(int(axis.taps) for axis in self.axes) >= _REUSED * prod(
            axis.step for axis in self.axes
        )
        return many and size <= _COPIED and any(end is not None for end in self._ends())

    def _ends(self) -> list[Size | None]:
        found = zip(self.starts, self.wide, self.ends, strict=True)
        return [ends(start, start + wide - 1, end) for start, wide, end in found]

    def _apart(self) -> Sequence[Size]:
        return c_strides((1, *self.wide))

    def _place_of(
        self,
        n: str,
        names: Sequence[str],
        tap: Sequence[int | str],
        row: int = 0,
        together: int = 1,
    ) -> Access:
        # ``row`` is one of the ``together`` interleaved rows along the last axis but one.
        plane, *apart = self._apart()
        found = [*zip(self.axes, names, apart, tap, strict=True)]
        moved = [(name, axis.step * by) for axis, name, by, _ in found]
        start: Size = 0
        if together > 1:
            name, by = moved[-2]
            moved[-2], start = (name, together * by), row * by
        for axis, _, by, k in found:
            if isinstance(k, str):
                moved.append((k, axis.dilation * by))
                continue
            past = k if self.over_windows else axis.taps - 1 - k
            start = start + axis.dilation * past * by
        return self.in_scratch(_COPY, [(n, plane), *moved], start)

    def _copied(self, n: tuple[Axis, ...], lead: Sequence[AxisPlace], made: int) -> Sequence[Map]:
        # If the extent of the border is known, zeros are stored first, then the image over them.
        names = [*(f"i{made + k}" for k in range(len(self.axes) - 1)), VECTOR]
        plane, *apart = self._apart()
        moved = [*((axis.name, plane) for axis in n), *zip(names, apart, strict=True)]
        found = [inside(*each) for each in zip(self.starts, self.wide, self.ends, strict=True)]
        places: list[AxisPlace] = []
        at: Size = 0
        for name, start, by, (first, _, end) in zip(names, self.starts, apart, found, strict=True):
            places.append(AxisPlace(((name, 1),), start + first, end))
            at = at + first * by
        value = self.element(self.x, (*lead, *places))
        store = Store(self.in_scratch(_COPY, moved, at), value)
        extents = [extent for _, extent, _ in found]
        rows = [self.loop(name, extent) for name, extent in zip(names, extents, strict=True)]
        copied = Map(rows[-1], (store,), (*n, *rows[:-1]))
        if extents == self.wide:
            return (copied,)
        images = self.x.type.shape[0] if n else 1
        whole = self.loop(VECTOR, images * plane)
        zero = Store(self.in_scratch(_COPY, [(VECTOR, 1)]), ex.literal(0, self.dtype))
        return Map(whole, (zero,)), copied

    def _row(self, number: int, extent: Size) -> Access:
        return self.in_scratch(_ROWS, [(VECTOR, 1)], number * extent)


def _rows_together(extents: Sequence[Size], taps: int) -> int:
    # An iteration with fewer rows takes about as long (latency), so iterations are kept few.
    rows = extents[-2] if len(extents) > 1 else 1
    most = _TOGETHER if taps < _LONG else 2 * _TOGETHER
    if not isinstance(rows, int):
        return most
    return -(-rows // max(-(-rows // most), 1)) or 1


def _read_place(axis: WindowAxis, window: str, tap: int | str) -> AxisPlace:
    if isinstance(tap, str):
        return reading_place(axis, window, tap)
    return tap_place(axis, window, tap)


def _tap_of_filter(tap: int | str) -> AxisPlace:
    return AxisPlace(((tap, 1),)) if isinstance(tap, str) else AxisPlace((), tap)
